"""What all streams share: one order, decided by a seed, a position and the laws so far."""

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Setting, Sources, largest_remainder, mix
from samplewise.mix.mixture import MixtureStream, Stage, alias_table, uniforms
from samplewise.pool import Pool

SIZES = [7, 1, 30, 12]
LAWS = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)


def stage(start, *law):
    shares = np.array(law, float)
    return Stage(start, shares / shares.sum(), np.ones(len(law)))


def stream(seed=0, stages=None, rank=0, world_size=1, sizes=SIZES):
    stages = stages or [stage(0, 1, 2, 3, 4), stage(37, 4, 0, 0, 1), stage(61, 1, 1, 1, 1)]
    return MixtureStream(Sources.of(sizes), Setting(seed, None, rank, world_size), stages)


def same(one, other):
    return all(
        left.tolist() == right.tolist() and left.dtype == right.dtype
        for left, right in zip(one, other, strict=True)
    )


# --- random numbers -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**31 - 2),
    start=st.one_of(st.integers(0, 100), st.integers(2**40, 2**50)),
    skip=st.integers(0, 50),
    count=st.integers(0, 50),
)
def test_each_position_has_numbers_of_its_own(seed, start, skip, count):
    whole = uniforms(seed, start, skip + count)
    assert whole.shape == (skip + count, 2)
    assert (whole[skip:] == uniforms(seed, start + skip, count)).all()
    assert ((whole >= 0) & (whole < 1)).all()


def test_no_two_positions_or_seeds_share_a_number():
    numbers = np.concatenate([uniforms(seed, 0, 500).ravel() for seed in range(4)])
    assert len(set(numbers.tolist())) == len(numbers)


# --- the alias table ------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda law: sum(law) > 1e-3))
def test_an_alias_table_holds_the_law_exactly(law):
    keep, other = alias_table(law)
    held = keep.copy()
    np.add.at(held, other, 1 - keep)
    np.testing.assert_allclose(held / len(law), np.array(law) / sum(law), atol=1e-13)
    assert ((keep >= 0) & (keep <= 1)).all()


@given(st.lists(st.sampled_from([0.0, 0.1, 1 / 3, 7.0, 1e-9]), min_size=2, max_size=30))
def test_a_source_without_a_share_is_never_drawn(law):
    if not any(law):
        law[0] = 1.0
    drawn = stream(stages=[stage(0, *law)], sizes=[2] * len(law)).draw(500)
    assert (np.array(law)[drawn.sources] > 0).all()


# --- draws ----------------------------------------------------------------------------------------


def test_draws_follow_the_law_of_their_stage():
    laws = [(1, 2, 3, 4), (8, 0, 1, 1)]
    both = stream(stages=[stage(0, *laws[0]), stage(20_000, *laws[1])])
    first, second = both.draw(20_000), both.draw(20_000)
    counts = np.bincount(first.sources, minlength=4)
    assert chisquare(counts, np.array(laws[0]) * 2_000).pvalue > 1e-4
    counts = np.bincount(second.sources, minlength=4)[[0, 2, 3]]
    assert chisquare(counts, np.array([8, 1, 1]) * 2_000).pvalue > 1e-4
    # Rows of a source are alike, and drawn apart from the choice of the source.
    rows = np.bincount(first.indices[first.sources == 2] - 8, minlength=30)
    assert chisquare(rows).pvalue > 1e-4


def test_rows_are_of_their_source():
    drawn = stream().draw(300)
    ends = np.cumsum(SIZES)
    assert (drawn.indices < ends[drawn.sources]).all()
    assert (drawn.indices >= (ends - SIZES)[drawn.sources]).all()
    labels = np.array(list("xyxxzy" * 5))
    sources = Sources.of(labels=labels)
    named = MixtureStream(sources, Setting(0), [stage(0, 1, 1, 1)]).draw(300)
    assert labels[named.indices].tolist() == np.array(sources.names)[named.sources].tolist()
    assert set(named.indices.tolist()) == set(range(30))


def test_weights_are_those_of_the_source_and_stage():
    stages = [
        Stage(0, np.full(4, 0.25), np.array([1.0, 2.0, 3.0, 4.0])),
        Stage(50, np.full(4, 0.25), np.ones(4)),
    ]
    drawn = stream(stages=stages).draw(100)
    assert drawn.weights[:50].tolist() == (drawn.sources[:50] + 1.0).tolist()
    assert set(drawn.weights[50:].tolist()) == {1.0}


@given(st.integers(0, 90), st.integers(0, 90))
def test_any_range_is_part_of_one_order(start, stop):
    whole = stream().draw(90)
    part = stream().between(start, stop)
    assert same(part, [column[start:stop] for column in whole])


@given(st.integers(1, 5), st.lists(st.integers(0, 12), max_size=8), st.integers(0, 99))
def test_processes_take_turns_in_one_order(world_size, counts, seed):
    ranks = [stream(seed, rank=rank, world_size=world_size) for rank in range(world_size)]
    total = sum(counts)
    parts = [[one.draw(count) for count in counts] for one in ranks]
    whole = stream(seed).draw(total * world_size)
    for place in range(3):
        columns = [
            np.concatenate([part[place] for part in own]) if own else np.empty(0) for own in parts
        ]
        assert np.stack(columns, axis=1).ravel().tolist() == whole[place].tolist()
    assert {one.position for one in ranks} == {total * world_size}


def test_passes_over_sources_are_counted_by_the_laws_so_far():
    one = stream()
    one.draw(40)
    expected = 37 * np.array([0.1, 0.2, 0.3, 0.4]) + 3 * np.array([0.8, 0, 0, 0.2])
    np.testing.assert_allclose(one.epochs(), expected / SIZES)
    many = stream(stages=[stage(0, 1, 2, 3, 4)])
    drawn = many.draw(20_000)
    seen = np.bincount(drawn.sources, minlength=4) / SIZES
    np.testing.assert_allclose(seen, many.epochs(), rtol=0.06)


# --- states ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 40), st.none() | LAWS), max_size=6),
    st.integers(0, 99),
    st.integers(0, 40),
)
@settings(max_examples=40)
def test_a_state_gives_all_that_follows(way, seed, moved):
    one = stream(seed)
    for count, law in way:
        one.draw(count)
        if law:
            one.change(law, weights=[1.0, 2.0, 0.5, 3.0])
    state = one.state_dict()
    assert json.loads(json.dumps(state)) == state
    other = stream(seed + 1)
    other.draw(moved)
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.position == one.position
    assert (other.law() == one.law()).all()
    assert same(other.between(0, 80), one.between(0, 80))  # what was behind, too
    assert same(other.draw(80), one.draw(80))
    assert other.state_dict() == one.state_dict()


def test_a_state_may_be_of_an_earlier_draw():
    one, other = stream(), stream()
    ahead = one.draw(64)
    other.load_state_dict(one.state_dict(position=40))
    assert same(other.draw(24), [column[40:] for column in ahead])


def test_a_change_leaves_what_is_behind_and_what_comes_by_the_same_numbers():
    one = stream()
    before = one.draw(40)
    one.change([0, 0, 5, 5])
    after = one.draw(60)
    assert same(one.between(0, 40), before)
    assert set(after.sources.tolist()) == {2, 3}
    assert one.law().tolist() == [0, 0, 0.5, 0.5]  # the stage that was to come is gone
    one.load_state_dict(one.state_dict(position=40))
    one.change([1, 0, 0, 0])
    assert set(one.draw(10).sources.tolist()) == {0}
    assert len(one.stages) == 3


# --- one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [1, 3])
def test_rows_one_by_one_are_those_of_draws(world_size):
    one, other = (stream(rank=world_size - 1, world_size=world_size) for _ in range(2))
    rows = list(islice(one, 50))
    assert rows == other.draw(50).indices.tolist()
    assert one.position == other.position == 50 * world_size
    assert one.draw(9).indices.tolist() == list(islice(other, 9))


def test_rows_one_by_one_go_past_what_is_made_at_once():
    one = stream()
    assert list(islice(one, 5000)) == stream().draw(5000).indices.tolist()


def test_a_law_changed_on_the_way_holds_from_the_next_row():
    one, other = stream(), stream()
    rows = iter(one)
    first = [next(rows) for _ in range(10)]
    one.change([0, 1, 0, 0])
    one.between(0, 5)  # a look at other draws hides nothing from the iterator
    assert [next(rows) for _ in range(10)] == [7] * 10
    other.draw(10)
    one.load_state_dict(other.state_dict())
    one.between(0, 5)
    assert first + [next(rows) for _ in range(60)] == stream().draw(70).indices.tolist()


def test_another_seed_at_the_same_place_is_noticed():
    one, other = stream(1), stream(2)
    rows = iter(one)
    next(rows)
    other.draw(1)
    one.load_state_dict(other.state_dict())
    assert [next(rows) for _ in range(40)] == other.draw(40).indices.tolist()


def test_two_loops_share_one_position():
    one = stream()
    first, second = iter(one), iter(one)
    rows = [next(turn) for _ in range(10) for turn in (first, second)]
    assert rows == stream().draw(20).indices.tolist()


# --- sources and shares ---------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["b", "a", "d", "c"]), min_size=1, max_size=40))
def test_sources_of_labels_know_their_rows(labels):
    sources = Sources.of(labels=labels)
    assert sources.names == tuple(sorted(set(labels)))
    assert sources.total == len(labels) == sum(sources.sizes)
    for name, first, size in zip(sources.names, sources.first, sources.sizes, strict=True):
        rows = sources.rows[first : first + size].tolist()
        assert rows == [row for row, label in enumerate(labels) if label == name]


def test_sources_of_sizes_keep_their_order_and_nothing_a_row():
    sources = Sources.of({"sw": 1, "en": 3})
    assert sources.names == ("sw", "en")
    assert sources.rows is None
    assert sources.first.tolist() == [0, 1]
    assert sources.shares.tolist() == [0.25, 0.75]
    assert Sources.of(5).sizes.tolist() == [5]
    assert Sources.of(np.array([2, 3], np.uint8)).names == ("0", "1")


def test_sources_of_a_pool():
    pool = Pool.from_rows([{"text": "x", "source": name} for name in ("b", "a", "b")])
    assert Sources.of_pool(pool).names == ("a", "b")
    assert mix(pool, "temperature:tau=1", rng=0).sources.rows.tolist() == [1, 0, 2]
    plain = Pool.from_rows([{"text": "x"}, {"text": "y"}])
    assert Sources.of_pool(plain).sizes.tolist() == [2]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"sizes": 3, "labels": ["a"]},
        {"sizes": []},
        {"sizes": [3, 0]},
        {"sizes": [1.5]},
        {"sizes": [[1, 2]]},
        {"sizes": [True]},
        {"labels": []},
        {"labels": "ab"},
        {"labels": [["a"]]},
        {"labels": ["a", None]},
    ],
)
def test_what_are_no_sources(given):
    with pytest.raises(UsageError):
        Sources.of(**given)


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=20).filter(lambda one: max(one) > 1e-3),
    st.integers(0, 10**6),
)
def test_the_largest_remainders_get_what_is_left(shares, count):
    counts = largest_remainder(shares, count)
    exact = np.array(shares) / sum(shares) * count
    assert counts.sum() == count
    assert (abs(counts - exact) < 1 + 1e-6).all()
    rest = exact - np.floor(exact + 1e-9)
    up = counts > exact + 1e-9
    assert not up.any() or not (~up).any() or rest[up].min() > rest[~up].max() - 1e-6


@pytest.mark.parametrize("shares", [[], [0.0, 0.0], [1.0, -1.0], [np.nan], [np.inf, 1.0]])
def test_shares_that_split_nothing(shares):
    with pytest.raises(UsageError, match="shares"):
        largest_remainder(shares, 3)


# --- what is refused ------------------------------------------------------------------------------


def test_what_no_stream_can_be_made_of():
    method = Mixer.named("temperature")
    for knobs in ({"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 0}, {"total": 0}):
        with pytest.raises(UsageError):
            method.start(Sources.of(3), **knobs)
    with pytest.raises(UsageError, match="stages"):
        stream(stages=[stage(1, 1, 1, 1, 1)])
    with pytest.raises(UsageError, match="a pool has sources"):
        mix(Pool.from_rows([{"text": "x"}]), sizes=3)
    with pytest.raises(UsageError, match="no mixer"):
        Mixer.named(7)


def test_what_a_stream_refuses():
    one = stream()
    with pytest.raises(UsageError, match="count"):
        one.draw(-1)
    with pytest.raises(UsageError, match="learns from nothing"):
        one.tell([1, 2, 3, 4])
    for law in ([1, 1], [1, -1, 1, 1], [np.nan, 1, 1, 1], [0, 0, 0, 0]):
        with pytest.raises(UsageError, match="the law"):
            one.change(law)
    for weights in ([1, 1], [np.inf, 1, 1, 1]):
        with pytest.raises(UsageError, match="weights"):
            one.change([1, 1, 1, 1], weights)
    with pytest.raises(UsageError, match="same sources"):
        one.load_state_dict(stream(stages=[stage(0, 1, 1)], sizes=[1, 1]).state_dict())
