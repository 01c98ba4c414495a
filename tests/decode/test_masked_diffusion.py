import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from samplewise import registry
from samplewise.decode import masked_diffusion
from samplewise.decode.mask_schedule import share_of_masks
from samplewise.decode.masked_diffusion import (
    Ancestral,
    FirstHitting,
    MaskedOrder,
    extrapolated,
    group_starts,
    hitting_times,
)
from samplewise.errors import UsageError
from samplewise.measure.diversity import sequence_entropy
from samplewise.testing.masked_laws import KnownLaw, ancestral_law, distance, random_order_law

GROUPED = [
    FirstHitting(groups=3),
    FirstHitting(groups=3, variant="extrapolate"),
    FirstHitting(groups=3, variant="predictor-corrector"),
    FirstHitting(groups=3, schedule="cosine", sample_dtype="float32"),
    MaskedOrder(groups=3),
]
SAMPLERS = [
    FirstHitting(),
    MaskedOrder(),
    Ancestral(steps=20),
    Ancestral(steps=20, cache=False, schedule="cosine", sample_dtype="float32"),
    *GROUPED,
]


def flat(law):
    """A model that sees nothing: every place has one law."""
    logs = np.log(np.asarray(law))
    return lambda tokens, time: np.broadcast_to(logs, (*tokens.shape, len(logs)))


def forced_order_law(model, sampler, monkeypatch):
    """The sampler's exact law: every text is forced through its code, in every order."""
    chances = np.zeros(len(model.texts))
    orders = list(itertools.permutations(range(model.length)))
    for order in orders:
        places, logs = iter(order), np.zeros(len(model.texts))

        def follow(laws, *_, places=places, logs=logs):
            values = model.texts[:, next(places)]
            logs += np.log(laws[np.arange(len(laws)), values])
            return values

        table = np.tile(order, (len(model.texts), 1))
        monkeypatch.setattr(masked_diffusion, "random_order", lambda *_, table=table: table)
        monkeypatch.setattr(masked_diffusion, "categorical", follow)
        filled = sampler.fill(model, model.masks(len(model.texts)), model.vocabulary, 0)
        assert (filled.tokens == model.texts).all()
        chances += np.exp(logs) / len(orders)
    return chances


def forced_ancestral_law(model, steps, monkeypatch):
    """The law after a few steps: every text and every way to it is forced through the code."""
    ways = np.array(list(itertools.product(range(steps), repeat=model.length)))
    texts = np.repeat(model.texts, len(ways), axis=0)
    falls = np.tile(ways, (len(model.texts), 1))
    logs = np.zeros(len(texts))
    count = itertools.count()

    def follow(laws, *_):
        step = next(count)
        rows, places = np.nonzero(falls >= step)
        now = falls[rows, places] == step
        values = np.where(now, texts[rows, places], model.vocabulary)
        np.add.at(logs, rows, np.log(laws[np.arange(len(laws)), values]))
        return values

    monkeypatch.setattr(masked_diffusion, "categorical", follow)
    filled = Ancestral(steps=steps).fill(model, model.masks(len(texts)), model.vocabulary, 0)
    assert (filled.tokens == texts).all()
    return np.exp(logs).reshape(len(model.texts), -1).sum(axis=1)


@pytest.mark.parametrize("sampler", [FirstHitting(), MaskedOrder()], ids=lambda s: s.name)
def test_first_hitting_draws_the_joint_law_exactly(sampler, monkeypatch):
    model = KnownLaw(3, 4, rng=0)
    found = forced_order_law(model, sampler, monkeypatch)
    np.testing.assert_allclose(found, model.law, rtol=0, atol=1e-12)


def test_without_one_joint_law_it_draws_the_mean_over_orders(monkeypatch):
    model = KnownLaw(3, 4, rng=0, warp=0.5)
    expected = random_order_law(model)
    found = forced_order_law(model, FirstHitting(), monkeypatch)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert distance(expected, model.law) > 0.05


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ancestral_steps_are_the_exact_transitions(steps, monkeypatch):
    model = KnownLaw(2, 3, rng=1, warp=0.5)
    found = forced_ancestral_law(model, steps, monkeypatch)
    expected = ancestral_law(model, np.arange(steps, -1, -1) / steps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("warp", [0, 0.5])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_ancestral_law_tends_to_first_hitting_as_one_over_steps(warp, schedule):
    model = KnownLaw(2, 4, rng=2, evenness=0.5, warp=warp)
    limit = random_order_law(model)
    gaps = [
        distance(ancestral_law(model, share_of_masks(np.arange(n, -1, -1) / n, schedule)), limit)
        for n in (1, 64, 128, 256)
    ]
    assert gaps[0] > 0.1
    for gap, half in itertools.pairwise(gaps[1:]):
        assert half / gap == pytest.approx(0.5, abs=0.03)


def test_samples_of_a_larger_space_are_as_near_as_independent_draws():
    model = KnownLaw(3, 5, rng=3, evenness=0.7)
    law, n = model.law, 30_000
    kept = law > 5 / n
    pool = [law[kept].sum(), law[~kept].sum()]
    assert pool[1] < 0.02
    drawn = np.random.default_rng(0).multinomial(n, law) / n
    for sampler in (FirstHitting(), FirstHitting(schedule="cosine"), MaskedOrder()):
        share = model.frequencies(sampler.fill(model, model.masks(n), 3, rng=5).tokens)
        observed = np.append(share[kept], share[~kept].sum())
        expected = np.append(law[kept], law[~kept].sum())
        assert chisquare(observed * n, expected * n).pvalue > 1e-3
        assert distance(share, law) == pytest.approx(distance(drawn, law), abs=0.005)
    for steps in (1, 4, 16):
        share = model.frequencies(Ancestral(steps).fill(model, model.masks(n), 3, 0).tokens)
        exact = ancestral_law(model, np.arange(steps, -1, -1) / steps)
        assert distance(share, exact) == pytest.approx(distance(drawn, law), abs=0.005)
        assert distance(share, law) > distance(drawn, law) + 0.15 / steps


def test_masks_in_a_prompt_follow_the_conditional_law():
    model = KnownLaw(3, 4, rng=4)
    prompt = np.tile([3, 1, 3, 3], (20_000, 1))
    filled = FirstHitting().fill(model, prompt, 3, rng=0)
    assert (filled.tokens[:, 1] == 1).all()
    assert filled.calls == 3
    conditional = model.law.reshape(3, 3, 3, 3)[:, 1]
    counts = np.bincount(
        np.ravel_multi_index(tuple(filled.tokens[:, [0, 2, 3]].T), (3, 3, 3)), minlength=27
    )
    assert chisquare(counts, 20_000 * (conditional / conditional.sum()).ravel()).pvalue > 1e-3


def timed(tokens, time):
    """Two places: the first to fall is 1 with probability t; the other is the same with t."""
    seen = np.where(tokens < 2, tokens, 0).sum(axis=1)
    alone = (tokens == 2).all(axis=1)
    one = np.where(alone | (seen == 1), time, 1 - time).clip(1e-12, 1 - 1e-12)
    laws = np.stack([1 - one, one], axis=1)
    return np.log(np.broadcast_to(laws[:, None], (len(tokens), 2, 2)))


@pytest.mark.parametrize("sampler", [FirstHitting(), Ancestral(steps=1000, cache=False)])
def test_a_network_that_takes_a_time_sees_the_right_ones(sampler):
    rows = 40_000 if isinstance(sampler, FirstHitting) else 3_000
    filled = sampler.fill(timed, np.full((rows, 2), 2), 2, rng=2)
    first, second = np.take_along_axis(filled.tokens, filled.order, axis=1).T
    # First t is the largest of two uniform numbers, the second uniform below it.
    expected = np.array([1 / 12, 1 / 4, 5 / 12, 1 / 4])
    assert chisquare(np.bincount(2 * first + second), rows * expected).pvalue > 1e-3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_each_row_is_given_the_time_at_which_its_mask_falls(schedule):
    model = KnownLaw(2, 4, rng=0)
    filled = FirstHitting(schedule=schedule).fill(model, model.masks(5), 2, rng=0)
    np.testing.assert_array_equal(np.array(model.times).T, filled.times)
    grouped = FirstHitting(groups=2, schedule=schedule).fill(model, model.masks(5), 2, rng=0)
    np.testing.assert_array_equal(np.array(model.times[4:]).T, grouped.times[:, [0, 2]])
    MaskedOrder().fill(model, model.masks(5), 2, rng=0)
    assert model.times[6:] == [None] * 4


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_hitting_times_are_order_statistics_of_uniform_numbers(schedule):
    length, rows = 5, 20_000
    times = hitting_times(np.full(rows, length), np.random.default_rng(0), schedule)
    assert (np.diff(times) < 0).all()
    shares = share_of_masks(times, schedule)
    place = length - np.arange(length)
    mean, variance = place / (length + 1), place * (length + 1 - place) / (length + 1) ** 2 / 7
    assert (np.abs(shares.mean(axis=0) - mean) < 4 * np.sqrt(variance / rows)).all()
    assert kstest(shares.ravel(), "uniform").pvalue > 1e-3


def test_hitting_times_survive_random_numbers_at_both_ends():
    class Edge(np.random.Generator):
        def __init__(self, value):
            super().__init__(np.random.PCG64(0))
            self.value = value

        def random(self, size=None, dtype=np.float64, out=None):
            return np.full(size, self.value, dtype)

    for value in (0.0, 1 - 2.0**-53):
        for schedule in ("linear", "cosine"):
            times = hitting_times(np.array([1000, 1]), Edge(value), schedule)
            inside = times[~np.isnan(times)]
            assert ((inside >= 0) & (inside <= 1)).all()
            assert len(inside) == 1001


def test_as_many_calls_as_masks_and_ten_times_fewer_than_a_grid():
    calls = []

    def model(tokens, time):
        calls.append(len(tokens))
        return np.zeros((*tokens.shape, 4))

    masks = np.full((2, 64), 4)
    filled = FirstHitting().fill(model, masks, 4, rng=0)
    assert filled.calls == len(calls) == 64
    assert filled.draws == 2 * 64
    grid = Ancestral(steps=1000, cache=False).fill(model, masks, 4, rng=0)
    assert grid.calls == len(calls) - 64 >= 10 * filled.calls
    assert grid.draws > 100 * filled.draws


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_cached_calls_are_the_papers_formula(schedule):
    steps, rows, length, runs = 30, 2, 6, 400
    rng = np.random.default_rng(0)
    sampler = Ancestral(steps, schedule=schedule)
    masks = np.full((rows, length), 2)
    calls = [sampler.fill(flat([0.5, 0.5]), masks, 2, rng).calls for _ in range(runs)]
    falls = np.diff(share_of_masks(np.arange(steps + 1) / steps, schedule))
    expected = (1 - (1 - falls) ** (rows * length)).sum()
    assert np.mean(calls) == pytest.approx(expected, abs=4 * np.std(calls) / np.sqrt(runs))
    assert expected < 0.5 * steps


@pytest.mark.parametrize("variant", ["plain", "extrapolate"])
def test_groups_of_one_are_token_by_token(variant):
    model = KnownLaw(3, 5, rng=6)
    one = FirstHitting().fill(model, model.masks(500), 3, rng=7)
    other = FirstHitting(groups=5, variant=variant).fill(model, model.masks(500), 3, rng=7)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one.times, other.times)


def test_extrapolation_is_nearer_to_the_law_than_plain_groups():
    model = KnownLaw(2, 8, rng=0)
    gaps = {}
    for variant in ("plain", "extrapolate"):
        sampler = FirstHitting(groups=4, variant=variant)
        tokens = sampler.fill(model, model.masks(40_000), 2, rng=0).tokens
        gaps[variant] = distance(model.frequencies(tokens), model.law)
    assert gaps["extrapolate"] < gaps["plain"] - 0.02


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_extrapolation_continues_a_line_and_stays_a_law(seed):
    rng = np.random.default_rng(seed)
    start, slope = rng.dirichlet(np.ones(4), 3), 0.1 * rng.normal(size=(3, 4))
    slope -= slope.mean(axis=1, keepdims=True)
    times = np.sort(rng.random((3, 3)), axis=0)[::-1]
    older, newer, line = (start + slope * (t[:, None] - times[0][:, None]) for t in times)
    found = extrapolated(older, newer, *times)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    inside = (line >= 0).all(axis=1)
    np.testing.assert_allclose(found[inside], line[inside], atol=1e-9)
    still = extrapolated(older, start, times[0], times[0], times[1])
    np.testing.assert_allclose(still, start, atol=1e-12)


def test_the_corrector_leaves_alone_what_the_newer_prediction_confirms():
    masks = np.full((50, 7), 3)
    plain, corrected = (
        FirstHitting(groups=3, variant=variant).fill(flat([0.2, 0.3, 0.5]), masks, 3, rng=0)
        for variant in ("plain", "predictor-corrector")
    )
    np.testing.assert_array_equal(plain.tokens, corrected.tokens)
    assert corrected.calls == plain.calls == 3
    assert (plain.draws, corrected.draws) == (50 * 7, 50 * (7 + 4))  # groups of 2, 2 and 3


def test_the_corrector_redraws_from_the_mean_of_both_predictions():
    def model(tokens, time):
        seen = (tokens < 2).any(axis=1)
        laws = np.where(seen[:, None], [0.1, 0.9], [0.7, 0.3])
        return np.log(np.broadcast_to(laws[:, None], (*tokens.shape, 2)))

    rows = 20_000
    sampler = FirstHitting(groups=2, variant="predictor-corrector")
    filled = sampler.fill(model, np.full((rows, 2), 2), 2, rng=0)
    first, second = np.take_along_axis(filled.tokens, filled.order, axis=1).mean(axis=0)
    assert first == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / rows))
    assert second == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / rows))


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 12))
def test_sizes_of_groups_are_as_equal_as_can_be(counts, groups):
    counts = np.array([0 if 0 < count < groups else count for count in counts], int)
    starts = group_starts(counts, groups)
    assert (starts[:, -1] == counts).all()
    for row, count in zip(np.diff(starts), counts, strict=True):
        assert row.sum() == count
        assert not count or row.max() - row.min() <= 1 <= row.min()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_prompts_with_different_numbers_of_masks(sampler):
    tokens = np.array([[4, 4, 4, 4, 4], [0, 1, 2, 3, 0], [4, 2, 4, 4, 1]])
    given = tokens.copy()
    filled = sampler.fill(flat([0.25] * 4), tokens, 4, rng=1)
    np.testing.assert_array_equal(tokens, given)
    assert not np.shares_memory(filled.tokens, tokens)
    assert filled.tokens.dtype == np.int64
    assert ((filled.tokens >= 0) & (filled.tokens < 4)).all()
    np.testing.assert_array_equal(filled.tokens[given < 4], given[given < 4])
    assert [sorted(set(row) - {-1}) for row in filled.order.tolist()] == [
        [0, 1, 2, 3, 4],
        [],
        [0, 2, 3],
    ]
    assert filled.order[2, 3:].tolist() == [-1, -1]
    timed = not isinstance(sampler, MaskedOrder)
    assert (np.isnan(filled.times) == ((filled.order < 0) | (not timed))).all()
    if timed:
        assert (np.diff(filled.times[0]) <= 0).all()
        assert (np.diff(filled.times[2, :3]) <= 0).all()
    again = sampler.fill(flat([0.25] * 4), tokens, 4, rng=1)
    np.testing.assert_array_equal(filled.tokens, again.tokens)
    many = [sampler.fill(flat([0.25] * 4), tokens, 4, rng=s).tokens[0].tolist() for s in range(9)]
    assert len({tuple(row) for row in many}) > 1


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_nothing_to_fill_and_no_rows(sampler):
    def never(tokens, time):
        raise AssertionError("the network was called")

    filled = sampler.fill(never, [[0, 1], [1, 1]], 2, rng=0)
    assert filled.tokens.tolist() == [[0, 1], [1, 1]]
    assert (filled.calls, filled.draws, filled.order.shape) == (0, 0, (2, 0))
    assert sampler.fill(never, np.empty((0, 4), int), 2, rng=0).tokens.shape == (0, 4)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_a_forbidden_token_is_never_drawn(sampler):
    with np.errstate(divide="ignore"):
        model = flat([0.5, 0.0, 0.5, 0.0])
    filled = sampler.fill(model, np.full((40, 30), 4), 4, rng=0)
    assert set(np.unique(filled.tokens)) == {0, 2}


@pytest.mark.parametrize("cls", [FirstHitting, MaskedOrder, Ancestral])
def test_temperature_sharpens_the_law(cls):
    filled = cls(temperature=0.5).fill(flat([0.2, 0.8]), np.full((100, 50), 2), 2, rng=0)
    share = 16 / 17
    assert filled.tokens.mean() == pytest.approx(share, abs=4 * np.sqrt(share / 17 / 5_000))


def test_large_vocabularies_are_drawn_in_blocks(monkeypatch):
    model = KnownLaw(3, 4, rng=0)
    for sampler in (FirstHitting(groups=2), Ancestral(steps=8)):
        whole = sampler.fill(model, model.masks(300), 3, rng=0)
        monkeypatch.setattr(masked_diffusion, "_BLOCK", 50)
        # The same random numbers in the same order.
        parts = sampler.fill(model, model.masks(300), 3, rng=0)
        np.testing.assert_array_equal(whole.tokens, parts.tokens)
        monkeypatch.undo()


def test_cut_off_random_numbers_act_as_a_lower_temperature_the_more_steps_the_more():
    law = 1 / np.arange(1, 201)
    masks = np.full((1, 400), 200)

    def entropy(steps, largest):
        sampler = Ancestral(steps, largest_gumbel=largest)
        return sequence_entropy(sampler.fill(flat(law), masks, 200, rng=0).tokens[0])

    fair = sequence_entropy(FirstHitting().fill(flat(law), masks, 200, rng=0).tokens[0])
    assert entropy(256, None) == pytest.approx(fair, abs=0.1)
    assert entropy(256, 36.7) == pytest.approx(fair, abs=0.1)
    assert entropy(16, 8.0) < fair - 0.25
    assert entropy(256, 8.0) < entropy(16, 8.0) - 0.25


@pytest.mark.parametrize(
    ("tokens", "vocabulary", "word"),
    [
        ([[0, 3]], 2, "tokens go from 0 to 3"),
        ([[-1, 2]], 2, "tokens go from -1"),
        ([[0.0, 1.0]], 2, "float64"),
        ([0, 1], 2, "shape"),
        ([[0]], 0, "vocabulary is 0"),
    ],
)
def test_tokens_that_make_no_sense(tokens, vocabulary, word):
    with pytest.raises(UsageError, match=word):
        FirstHitting().fill(flat([0.5, 0.5]), tokens, vocabulary)


@pytest.mark.parametrize("sampler", [FirstHitting(), MaskedOrder(), Ancestral()], ids=repr)
@pytest.mark.parametrize(
    ("logits", "word"),
    [
        (np.zeros(3), "and none for the mask"),
        (np.array([np.nan, 0.0]), "no numbers"),
        (np.array([-np.inf, -np.inf]), "forbid every token"),
        (np.array([np.inf, 0.0]), "no numbers"),
    ],
)
def test_logits_that_make_no_sense(sampler, logits, word):
    def model(tokens, time):
        return np.broadcast_to(logits, (*tokens.shape, len(logits)))

    with pytest.raises(UsageError, match=word):
        sampler.fill(model, [[0, 2]], 2)


@pytest.mark.parametrize(
    ("name", "knobs", "word"),
    [
        ("ancestral", {"steps": 0}, "steps"),
        ("ancestral", {"temperature": 0.0}, "temperature"),
        ("ancestral", {"sample_dtype": "float16"}, "sample_dtype"),
        ("ancestral", {"largest_gumbel": 0.0}, "largest_gumbel"),
        ("fhs", {"groups": 0}, "groups"),
        ("fhs", {"variant": "third-order"}, "variant"),
        ("fhs", {"schedule": "square"}, "schedule"),
        ("masked-order", {"temperature": float("inf")}, "temperature"),
        ("masked-order", {"groups": -1}, "groups"),
    ],
)
def test_knobs_that_make_no_sense(name, knobs, word):
    with pytest.raises(UsageError, match=word):
        registry.make(name, knobs, "decode")


def test_more_groups_than_masks():
    with pytest.raises(UsageError, match="row 1 has 2 masks"):
        FirstHitting(groups=3).fill(flat([0.5, 0.5]), [[2, 2, 2], [0, 2, 2]], 2)
