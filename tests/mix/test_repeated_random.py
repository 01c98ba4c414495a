"""Rounds of rows: what each holds, where they go on from, and that training on them is the same."""

import json
import math
import pickle
from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samplewise.errors import UsageError
from samplewise.measure.learning_rate import cosine_rate
from samplewise.mix import Sources, mix
from samplewise.mix.base import Mixer
from samplewise.mix.repeated_random import RepeatedRandom, ShuffledEpochs, StaticSubset
from samplewise.mix.rounds import Passes, round_size

NO_REPLACEMENT = ["carry", "drop", "official"]
SPECS = [
    *(f"repeated-random:ragged={ragged}" for ragged in NO_REPLACEMENT),
    "repeated-random:variant=replacement",
    "repeated-random:variant=stratified",
    "static-subset",
]


def start(spec, rows, seed=0, **more):
    sizes = rows if isinstance(rows, list) else [rows]
    return mix(sizes=sizes, method=spec, rng=seed, **more)


def take(stream, rounds):
    return list(islice(stream.rounds(), rounds))


# --- exact ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "official" not in spec])
@given(rows=st.integers(3, 40), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_every_round_has_m_different_rows(spec, rows, share, seed):  # oracle a
    size = round(share * rows)
    assume(size >= 1)
    stream = start(f"{spec}:ratio={share}", [rows - 2, 1, 1], seed)
    for drawn in take(stream, 25):
        assert drawn.dtype == np.int64
        assert len(drawn) == len(set(drawn.tolist())) == size
        assert 0 <= drawn.min() <= drawn.max() < rows


@pytest.mark.parametrize("spec", [*SPECS, "shuffled"])
def test_a_ratio_of_one_gives_permutations(spec):  # oracle b
    stream = start(spec if spec == "shuffled" else f"{spec}:ratio=1", [4, 3])
    rounds = take(stream, 6)
    assert all(sorted(drawn.tolist()) == list(range(7)) for drawn in rounds)
    assert len({tuple(drawn.tolist()) for drawn in rounds}) > 3


@pytest.mark.parametrize("ragged", NO_REPLACEMENT)
@pytest.mark.parametrize("k", [2, 3, 4])
def test_k_rounds_of_a_kth_part_the_rows(ragged, k):  # oracle c
    stream = start(f"rs2:ratio={1 / k}:ragged={ragged}", 24)
    for _ in range(3):
        together = np.concatenate(take(stream, k))
        assert sorted(together.tolist()) == list(range(24))


@given(rows=st.integers(2, 40), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_visits_of_carried_rows_differ_by_one_at_most(rows, share, seed):  # oracle d
    assume(round(share * rows) >= 1)
    counts = np.zeros(rows, int)
    for drawn in take(start(f"rs2:ratio={share}", rows, seed), 30):
        np.add.at(counts, drawn, 1)
        assert counts.max() - counts.min() <= 1


def test_ten_rounds_of_three_of_ten_rows_visit_each_three_times():  # oracle d
    rows = np.concatenate(take(start("rs2:ratio=0.3", 10), 10))
    assert np.bincount(rows, minlength=10).tolist() == [3] * 10


@pytest.mark.parametrize("spec", [*SPECS, "shuffled"])
@given(data=st.data())
@settings(max_examples=20)
def test_a_stream_goes_on_from_any_place(spec, data):  # oracle e
    share = data.draw(st.sampled_from([0.1, 0.3, 0.45, 0.7, 0.9]))
    spec = spec if spec == "shuffled" else f"{spec}:ratio={share}"
    cut = data.draw(st.integers(0, 150))
    whole = start(spec, [14, 9], 5).draw(200)
    first = start(spec, [14, 9], 5)
    first.draw(cut)
    state = json.loads(json.dumps(first.state_dict()))
    other = start(spec, [14, 9], 6)
    other.draw(data.draw(st.integers(0, 60)))
    other.load_state_dict(state)
    rest = other.draw(200 - cut)
    for column, full in zip(rest, whole, strict=True):
        assert column.tolist() == full[cut:].tolist()
    # And back again, from wherever it is.
    low = data.draw(st.integers(0, 199))
    high = data.draw(st.integers(low, 200))
    assert other.between(low, high).indices.tolist() == whole.indices[low:high].tolist()


def test_rounds_go_on_in_the_middle_of_one():
    whole = take(start("rs2:ratio=0.3", 10), 5)
    stream = start("rs2:ratio=0.3", 10)
    stream.draw(4)
    assert stream.round == 1
    rest = take(stream, 4)
    assert rest[0].tolist() == whole[1][1:].tolist()
    assert [one.tolist() for one in rest[1:]] == [one.tolist() for one in whole[2:]]
    assert stream.position == 15


def test_other_seeds_give_other_rows_and_pickles_the_same():
    stream = start("rs2:ratio=0.5", 40)
    stream.draw(7)
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.draw(50).indices.tolist() == stream.draw(50).indices.tolist()
    assert start("rs2", 40, 1).draw(40).indices.tolist() != start("rs2", 40, 2).draw(40)[0].tolist()


@pytest.mark.parametrize("spec", SPECS)
def test_processes_share_one_order(spec):
    whole = start(f"{spec}:ratio=0.3", [11, 6]).draw(90)
    parts = [
        start(f"{spec}:ratio=0.3", [11, 6], rank=rank, world_size=3).draw(30) for rank in range(3)
    ]
    for place, column in enumerate(whole):
        assert np.stack([part[place] for part in parts], axis=1).ravel().tolist() == column.tolist()


def test_labels_give_rows_and_sources():
    labels = list("abcab" * 4)
    drawn = mix(labels=labels, method="rs2:ratio=0.4", rng=0).draw(40)
    assert [labels[row] for row in drawn.indices] == ["abc"[source] for source in drawn.sources]
    assert np.bincount(drawn.indices).tolist() == [2] * 20
    assert set(drawn.weights.tolist()) == {1.0}


def train(stream, batches, X, y):
    """Logistic regression, with the schedule of the paper."""
    weights, velocity = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for step in range(batches):
        rows = stream.draw(5).indices
        error = 1 / (1 + np.exp(-X[rows] @ weights)) - y[rows]
        velocity = 0.9 * velocity + X[rows].T @ error / 5
        weights = weights - cosine_rate(step, batches, high=0.1, low=1e-4) * velocity
    return weights


def test_two_rounds_of_half_train_as_one_plain_epoch():  # oracle f
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(2, size=60)
    half = train(start("rs2:ratio=0.5", 60, 3), 12, X, y)
    plain = train(start("shuffled", 60, 3), 12, X, y)
    assert half.tobytes() == plain.tobytes()
    assert half.tobytes() != train(start("shuffled", 60, 4), 12, X, y).tobytes()


@pytest.mark.parametrize(
    ("rows", "ratio", "sizes"),
    [
        (10, 0.3, [3, 3, 3, 2, 3, 3, 3, 2]),
        (100, 0.3, [30, 30, 30, 29, 30, 30]),
        (7, 0.5, [4, 3, 4, 3]),
        (10, 0.5, [5, 5, 5, 5]),
    ],
)
def test_the_published_code_has_short_rounds(rows, ratio, sizes):  # oracle g
    stream = start(f"rs2:ratio={ratio}:ragged=official", rows)
    rounds = take(stream, len(sizes))
    assert [len(drawn) for drawn in rounds] == sizes
    assert all(len(set(drawn.tolist())) == len(drawn) for drawn in rounds)
    assert stream.steps(len(sizes), 2) == sum(math.ceil(size / 2) for size in sizes)


def published(rows, size, rng):
    """The state machine of the published code, with our orders."""
    order, begin, end = None, None, -1
    while True:
        if begin is None or end < begin or end == rows:
            order, begin, end = next(rng), 0, size
        else:
            begin, end = end, (end + size) % (rows + 1)
        wraps = begin >= end
        yield np.concatenate([order[begin:], order[:end]]) if wraps else order[begin:end]


@pytest.mark.parametrize(("rows", "ratio"), [(10, 0.3), (7, 0.5), (12, 0.25), (9, 0.8), (5, 1.0)])
def test_official_rounds_are_those_of_the_published_code(rows, ratio):
    size = round_size(rows, ratio)
    stream = start(f"rs2:ratio={ratio}:ragged=official", rows)
    orders = (Passes(rows, rows).rows(stream.seed, number, None) for number in range(99))
    for ours, theirs in zip(take(stream, 20), published(rows, size, orders), strict=False):
        assert ours.tolist() == theirs.tolist()


def test_dropped_rows_are_those_that_do_not_fill_a_round():
    rounds = take(start("rs2:ratio=0.3:ragged=drop", 10), 30)
    for first in range(0, 30, 3):
        assert len(set(np.concatenate(rounds[first : first + 3]).tolist())) == 9
    left = [set(range(10)) - set(np.concatenate(rounds[at : at + 3])) for at in range(0, 30, 3)]
    assert len(set(map(tuple, left))) > 2


def test_the_schedule_is_that_of_the_short_rounds():  # oracle h
    stream = start("rs2:ratio=0.1", 1257)
    assert stream.steps(200, 32) == 200 * math.ceil(126 / 32)
    assert stream.steps(200, 32, drop_last=True) == 200 * (126 // 32)
    assert start("shuffled", 1257).steps(2, 32) == 2 * math.ceil(1257 / 32)


def test_strata_have_their_share():
    sizes = [50, 30, 20]
    stream = start("rs2:ratio=0.1:variant=stratified", sizes)
    for _ in range(20):
        assert np.bincount(stream.draw(10).sources).tolist() == [5, 3, 2]
    counts = [
        np.bincount(start("rs2:ratio=0.1:variant=stratified", [55, 45], seed).draw(10).sources)
        for seed in range(400)
    ]
    assert set(map(tuple, np.array(counts).tolist())) == {(5, 5), (6, 4)}
    # Rounded up in half of the rounds: a share of 5.5 is met on average.
    assert abs(np.mean(counts, axis=0)[0] - 5.5) < 4 * 0.5 / 20


def test_small_strata_get_a_row_each_as_long_as_there_are_enough():
    tiny = start("rs2:ratio=0.1:variant=stratified", [95, 3, 2])
    rounds = [np.bincount(tiny.draw(10).sources, minlength=3) for _ in range(300)]
    assert min(map(min, rounds)) == 1
    assert {int(one.sum()) for one in rounds} == {10}
    fewer = start("rs2:ratio=0.2:variant=stratified", [1] * 10)
    seen = np.bincount(fewer.draw(2 * 500).indices, minlength=10)
    assert seen.min() > 100 - 4 * math.sqrt(500 * 0.2 * 0.8)


def test_a_static_subset_never_changes():
    first, *others = take(start("static-subset:ratio=0.2", 50), 8)
    assert all(set(one.tolist()) == set(first.tolist()) for one in others)
    assert len({tuple(one.tolist()) for one in [first, *others]}) == 8
    later = start("static-subset:ratio=0.2", 50).between(70, 80).indices
    assert later.tolist() == others[6].tolist()


def test_importance_weighs_the_draws(tmp_path):
    path = tmp_path / "importance.npy"
    labels = ["b", "a", "b", "a", "b"]
    np.save(path, [1.0, 2.0, 3.0, 4.0, 0.0])
    spec = f"rs2:ratio=0.2:variant=replacement:importance={path}"
    drawn = mix(labels=labels, method=spec, rng=0).draw(4000).indices
    shares = np.bincount(drawn, minlength=5) / 4000
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4, 0.0], atol=4 * 0.5 / 63)
    assert shares[4] == 0
    # Two of a round: the second in proportion, among those that are left.
    spec = f"rs2:ratio=0.4:variant=replacement:importance={path}"
    pairs = mix(labels=labels, method=spec, rng=0).draw(8000).indices.reshape(-1, 2)
    after = pairs[pairs[:, 0] == 3, 1]
    np.testing.assert_allclose(
        np.bincount(after, minlength=5) / len(after),
        np.array([1, 2, 3, 0, 0]) / 6,
        atol=4 * 0.5 / math.sqrt(len(after)),
    )
    kept = {
        tuple(sorted(start(f"static-subset:ratio=0.8:importance={path}", 5, seed).draw(4)[0]))
        for seed in range(5)
    }
    assert kept == {(0, 1, 2, 3)}


# --- statistical ----------------------------------------------------------------------------------


def test_rounds_with_replacement_are_uniform_and_independent():
    rounds = 20_000
    drawn = start("rs2:ratio=0.1:variant=replacement", 50).draw(5 * rounds).indices.reshape(-1, 5)
    seen = np.zeros((rounds, 50), np.bool_)
    np.put_along_axis(seen, drawn, True, axis=1)
    error = math.sqrt(0.1 * 0.9 / rounds)
    assert abs(seen.mean(axis=0) - 0.1).max() < 4 * error
    overlap = (seen[1:] & seen[:-1]).sum(axis=1)
    assert abs(overlap.mean() - 0.5) < 4 * overlap.std() / math.sqrt(rounds)
    distinct = seen.reshape(2000, 10, 50).any(axis=1).sum(axis=1)
    assert abs(distinct.mean() - 50 * (1 - 0.9**10)) < 0.15


@pytest.mark.parametrize("variant", ["replacement", "no_replacement:ragged=carry"])
def test_a_rounds_gradient_is_unbiased_with_the_variance_of_a_finite_set(variant):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    gradients = X * (X @ np.array([0.3, -1.0, 0.5]) - y)[:, None]
    rounds = start(f"rs2:ratio=0.3:variant={variant}", 40).draw(12 * 12_000).indices
    found = gradients[rounds].reshape(-1, 12, 3).mean(axis=1)
    variance = (1 - 12 / 40) * gradients.var(axis=0, ddof=1) / 12
    error = np.sqrt(variance / len(found))
    assert (abs(found.mean(axis=0) - gradients.mean(axis=0)) < 4 * error).all()
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.05)


def test_carried_rounds_are_uniform_where_passes_overlap():
    """Half the rows or more: the passes before decide what a round may take."""
    counts = np.zeros((12, 12))
    for seed in range(1000):
        drawn = start("rs2:ratio=0.75", 12, seed).between(9 * 5, 9 * 6).indices  # spans two passes
        counts[np.ix_(drawn, drawn)] += 1
    once, twice = counts.diagonal() / 1000, counts[np.triu_indices(12, 1)] / 1000
    assert abs(once - 0.75).max() < 4 * math.sqrt(0.75 * 0.25 / 1000)
    pair = 9 * 8 / (12 * 11)
    assert abs(twice - pair).max() < 4.5 * math.sqrt(pair * (1 - pair) / 1000)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, math.inf])
def test_a_ratio_is_a_share(ratio):
    for method in (RepeatedRandom, StaticSubset):
        with pytest.raises(UsageError, match="ratio"):
            method(ratio=ratio)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no row"):
        start("rs2:ratio=0.04", 10)
    with pytest.raises(UsageError, match="variant"):
        Mixer.named("rs2:variant=other")
    with pytest.raises(UsageError, match="variant is no_replacement"):
        RepeatedRandom(importance="file.npy")
    stream = start("rs2:ratio=0.5", 10)
    with pytest.raises(UsageError, match="no full batch"):
        stream.steps(3, 6, drop_last=True)
    with pytest.raises(UsageError, match="batch_size"):
        stream.steps(3, 0)
    with pytest.raises(UsageError, match="same rows and ratio"):
        stream.load_state_dict(start("rs2:ratio=0.4", 10).state_dict())
    path = tmp_path / "importance.npy"
    spec = f"rs2:ratio=0.5:variant=replacement:importance={path}"
    with pytest.raises(UsageError, match="cannot be read"):
        start(spec, 10)
    for wrong, text in (
        (np.ones(9), "the shape"),
        (-np.ones(10), "0 or more"),
        (np.full(10, np.nan), "finite"),
        (np.eye(10)[0], "1 rows above 0"),
    ):
        np.save(path, wrong)
        with pytest.raises(UsageError, match=text):
            start(spec, 10)


def test_plain_epochs_need_no_knob():
    assert ShuffledEpochs().settings() == {}
    assert Sources.of(3).total == len(start("epochs", 3).draw(3).indices)
