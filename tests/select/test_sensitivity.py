"""Chances, draws, and what draws by importance are for: norms and fits that hold on all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.measure.importance import (
    leverage_scores,
    lewis_weights,
    lp_sensitivities,
    root_leverage_scores,
    total_sensitivity,
)
from samplewise.measure.least_norm import least_norms
from samplewise.measure.regression import lp_objective, lp_regression
from samplewise.select.sensitivity import (
    RootLeverage,
    Sensitivity,
    draw_fixed_size,
    inclusion_probabilities,
    stage_sizes,
)

NAMES = ["sensitivity", "leverage", "lewis", "root-leverage"]
POWERS = [1, 1.5, 2, 3, 4]


def heavy(n=200, d=3, seed=0):
    return np.random.default_rng(seed).standard_t(2, size=(n, d)).astype(np.float32)


def spiked(n=2_000, d=4):
    """Rows alike, but for four that hold most of some direction each."""
    A = np.random.default_rng(0).normal(size=(n, d))
    A[:d] = 300 * np.eye(d)
    return A.astype(np.float32)


def knobs_of(name, p):
    return {} if name == "leverage" else {"p": p}


def select(A, n, name, p, rng, **knobs):
    return sw.select(sw.Pool.from_arrays(A), n, name, rng=rng, **knobs_of(name, p), **knobs)


# --- chances and draws ----------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.integers(1, 60), st.integers(0, 10**6), st.floats(0, 12))
def test_chances_sum_to_the_budget(m, seed, spread):
    rng = np.random.default_rng(seed)
    scores = np.exp(spread * rng.normal(size=m))
    n = int(rng.integers(1, m + 1))
    chances = inclusion_probabilities(scores, n)
    assert abs(chances.sum() - n) < 1e-6
    assert ((chances > 0) & (chances <= 1)).all()
    below = chances < 1 - 1e-9
    ratios = chances[below] / scores[below]
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-9)
    if below.any():  # a sure row is one that would have had a chance above 1
        assert (scores[~below] * ratios[0] >= 1 - 1e-6).all()
    drawn = draw_fixed_size(chances, rng)
    assert len(drawn) == n == len(np.unique(drawn))
    assert set(np.flatnonzero(chances == 1)) <= set(drawn.tolist())


def test_every_row_is_drawn_as_often_as_its_chance():
    chances = inclusion_probabilities(np.array([60.0, 9, 8, 8, *np.linspace(1, 6, 16)]), 8)
    rng, draws = np.random.default_rng(0), 6_000
    counts = np.zeros(20)
    together = np.zeros((20, 20))
    for _ in range(draws):
        row = draw_fixed_size(chances, rng)
        counts[row] += 1
        together[np.ix_(row, row)] += 1
    error = np.sqrt(chances * (1 - chances) / draws)
    assert (np.abs(counts / draws - chances) <= 4 * error + 1e-9).all()
    assert (together > 0).all()  # no two rows shut each other out


def test_chances_next_to_nothing():
    chances = inclusion_probabilities(np.array([1.0, 1.0, 1e-14, 1e-14]), 2)
    np.testing.assert_allclose(chances, [1, 1, 0, 0], atol=1e-13)
    assert sorted(draw_fixed_size(chances, np.random.default_rng(0)).tolist()) == [0, 1]


def test_stages_leave_the_same_part_each_time():
    assert stage_sizes(10_000, 10, 3) == [1_000, 100, 10]
    assert stage_sizes(5, 4, 3) == [5, 4, 4]
    assert stage_sizes(1, 1, 4) == [1, 1, 1, 1]


# --- selections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 3])
def test_columns_hold_scores_and_chances(p):
    A = heavy()
    expected = {
        "sensitivity": lp_sensitivities(A, p),
        "leverage": leverage_scores(A),
        "lewis": lewis_weights(A, p),
        "root-leverage": root_leverage_scores(A, p),
    }
    for name in NAMES:
        chosen = select(A, 40, name, p, rng=0)
        scores, chances = chosen.columns["importance"], chosen.columns["chance"]
        np.testing.assert_allclose(scores, expected[name], rtol=1e-3)
        np.testing.assert_allclose(
            chances, inclusion_probabilities(scores + 1 / len(A), 40), rtol=1e-12
        )
        np.testing.assert_allclose(chosen.weights, 1 / chances[chosen.indices], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_weighted_norm_is_right_on_average(name):
    A, x, p = heavy(), np.array([1.0, -2.0, 0.5]), 1.5
    terms = np.abs(A @ x) ** p
    chances = select(A, 30, name, p, rng=0).columns["chance"]
    rng = np.random.default_rng(1)
    draws = (draw_fixed_size(chances, rng) for _ in range(2_000))
    sums = np.array([(terms[rows] / chances[rows]).sum() for rows in draws])
    assert abs(sums.mean() - terms.sum()) < 4 * sums.std() / np.sqrt(len(sums))


@pytest.mark.parametrize("depth", [2, 3])
def test_stages_are_right_on_average_too(depth):
    A, x, p = heavy(60), np.array([1.0, -2.0, 0.5]), 1.5
    terms, rng = np.abs(A @ x) ** p, np.random.default_rng(1)
    pool, method = sw.Pool.from_arrays(A), RootLeverage(p=p, depth=depth)
    sums = []
    for _ in range(500):
        chosen = method.choose(pool, 20, rng, None)
        sums.append(terms[chosen.indices] @ chosen.weights)
    assert abs(np.mean(sums) - terms.sum()) < 4 * np.std(sums) / np.sqrt(len(sums))


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_pool_keeps_its_norms(name):
    A = heavy(50)
    chosen = select(A, 50, name, 1.5, rng=0)
    assert chosen.weights.tolist() == [1.0] * 50
    assert sorted(chosen.indices.tolist()) == list(range(50))


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_zeros_and_dependent_columns(name):
    A = np.column_stack([heavy(40, 2), np.zeros((40, 2))]).astype(np.float32)
    A[10:] = 0
    chosen = select(A, 20, name, 1.5, rng=0)
    assert np.isfinite(chosen.weights).all()
    assert (chosen.columns["chance"] > 0).all()
    alike = select(np.zeros((9, 2)), 3, name, 1.5, rng=0)
    np.testing.assert_allclose(alike.weights, 3, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_that_alone_holds_a_direction_is_always_chosen(name):
    A = np.tile(np.float32([1, 0]), (100, 1))
    A[37] = [0, 1]
    for seed in range(20):
        chosen = select(A, 20, name, 1, rng=seed)
        assert 37 in chosen.indices
        assert chosen.weights[chosen.indices.tolist().index(37)] == 1


def test_p_2_is_leverage_for_every_method():
    A = heavy()
    expected = select(A, 30, "leverage", 2, rng=5)
    for name in NAMES:
        found = select(A, 30, name, 2, rng=5)
        assert found.indices.tolist() == expected.indices.tolist()
        np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-9)


def test_augmented_adds_leverage():
    A = heavy()
    plain = select(A, 30, "sensitivity", 1, rng=0).columns["importance"]
    augmented = select(A, 30, "sensitivity", 1, rng=0, augmented=True).columns["importance"]
    np.testing.assert_allclose(augmented, plain + leverage_scores(A), rtol=1e-9)


def test_exact_and_upper_scores():
    A = heavy(2_500, 8)
    found = {how: Sensitivity(p=3, scores=how).scores_of(A) for how in ("auto", "upper")}
    assert np.array_equal(found["auto"], found["upper"])  # too much for exact
    small = {how: Sensitivity(p=3, scores=how).scores_of(A[:90]) for how in ("auto", "exact")}
    assert np.array_equal(small["auto"], small["exact"])
    assert (Sensitivity(p=3, scores="upper").scores_of(A[:90]) > small["exact"]).all()


def test_the_floor_lifts_rows_that_do_not_matter():
    A = heavy()
    low, high = (select(A, 30, "leverage", 2, rng=0, floor=f).columns["chance"] for f in (0.1, 50))
    assert low.min() < high.min()
    assert high.max() < low.max() + 1e-12


def test_repeated_root_leverage_comes_nearer_to_lewis_weights():
    A = np.eye(2, dtype=np.float32)[(np.arange(4_000) < 100).astype(int)]
    pool, knobs = sw.Pool.from_arrays(A), {"p": 1, "floor": 0.01}

    def drawn_of_the_few(name, **more):
        draws = (sw.select(pool, 20, name, rng=seed, **knobs, **more) for seed in range(20))
        return np.mean([(chosen.indices < 100).sum() for chosen in draws])

    # Lewis weights of a direction sum to 1, however many rows share it; roots of leverage do not.
    found = [drawn_of_the_few("root-leverage", depth=depth) for depth in (1, 2, 4, 8)]
    assert abs(found[0] - 20 * 10 / (10 + 3_900**0.5)) < 0.5
    assert found[0] + 1 < found[1] < found[2] < found[3]
    assert abs(found[3] - drawn_of_the_few("lewis")) < 1


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_a_column_where_asked(name):
    A = heavy()
    score = np.where(np.arange(200) == 7, 1e4, 0.0)  # a target that one row alone has
    pool = sw.Pool.from_arrays(A, score=score)
    with_score = sw.select(pool, 20, name, rng=0, with_score=True)
    assert with_score.columns["chance"][7] == 1
    assert sw.select(pool, 20, name, rng=0).columns["chance"][7] < 1
    with pytest.raises(InputError, match="score"):
        sw.select(sw.Pool.from_arrays(A), 20, name, rng=0, with_score=True)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        *((name, {"floor": value}) for name in NAMES for value in (0.0, -1.0, np.inf, np.nan)),
        *((n, {"p": v}) for n in NAMES if n != "leverage" for v in (0.5, np.inf, np.nan)),
        ("root-leverage", {"depth": 0}),
    ],
)
def test_knobs_are_checked(name, knobs):
    with pytest.raises(UsageError, match=f"{name}: knob '{next(iter(knobs))}'"):
        sw.select(sw.Pool.from_arrays(heavy()), 5, name, **knobs)


def test_scores_knob_is_checked():
    with pytest.raises(UsageError, match="sensitivity: knob 'scores'"):
        Sensitivity(scores="none")


# --- what it is for -------------------------------------------------------------------------------


def directions(A, p, rows, rng, count=300):
    """Random directions, and those in which each of some rows matters most."""
    Q = np.linalg.qr(A)[0]
    X = np.vstack([rng.normal(size=(count, A.shape[1])), least_norms(Q, Q[rows], p).points])
    terms = np.abs(Q @ X.T) ** p
    return terms / terms.sum(axis=0)


def worst_error(terms, rows, weights):
    return np.abs(weights @ terms[rows] - 1).max()


def draws_of(A, n, name, p, count):
    """Draw many times with chances worked out once."""
    if name == "random":
        rng = np.random.default_rng(1)
        for _ in range(count):
            yield rng.choice(len(A), n, replace=False), np.full(n, len(A) / n)
        return
    knobs = {"scores": "upper"} if name == "sensitivity" else {}
    chances = select(A, n, name, p, rng=0, **knobs).columns["chance"]
    rng = np.random.default_rng(1)
    for _ in range(count):
        rows = draw_fixed_size(chances, rng)
        yield rows, 1 / chances[rows]


@pytest.mark.parametrize("p", POWERS)
def test_ten_times_better_than_random_rows_in_the_worst_case(p):
    A, n = spiked(), 200
    terms = directions(A.astype(float), p, np.arange(8), np.random.default_rng(0))
    worst = {
        name: max(worst_error(terms, *draw) for draw in draws_of(A, n, name, p, 40))
        for name in ["random", *NAMES]
    }
    for name in NAMES:
        if name == "leverage" and p != 2:
            continue  # it is for p = 2
        assert 10 * worst[name] < worst["random"], worst


def test_error_on_a_steep_polynomial():
    """Vandermonde, p = 4, three rows enlarged: sensitivity, Lewis, leverage, random, in order."""
    rng = np.random.default_rng(3)
    A = np.vander(rng.uniform(-1, 1, 1_000), 4)
    A[rng.choice(1_000, 3, replace=False)] *= np.array([[5.0], [6.0], [7.0]])
    terms = directions(A, 4, np.arange(0), rng, 500)
    methods = {
        "sensitivity": lp_sensitivities(A, 4),
        "lewis": lewis_weights(A, 4),
        "leverage": leverage_scores(A),
    }
    errors = {}
    for n in (100, 400):
        for name, scores in methods.items():
            chances = inclusion_probabilities(scores + 1e-3, n)
            rows = [draw_fixed_size(chances, rng) for _ in range(60)]
            errors[name, n] = np.median([worst_error(terms, r, 1 / chances[r]) for r in rows])
        errors["random", n] = np.median(
            [worst_error(terms, *draw) for draw in draws_of(A, n, "random", 4, 60)]
        )
    assert errors["sensitivity", 100] < errors["leverage", 100] < errors["random", 100] / 3
    assert errors["sensitivity", 100] < 0.15
    assert errors["lewis", 100] < 0.2
    assert errors["sensitivity", 400] < errors["sensitivity", 100] / 2  # as m^(-1/2) or faster


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", ["sensitivity", "lewis"])
def test_a_fit_on_the_sample_is_nearly_as_good_on_all_rows(name, p):
    """Within 1 + eps in 95% of draws at 40 rows a column, for the eps of the rate."""
    rng = np.random.default_rng(0)
    A = rng.standard_t(2.5, size=(320, 4)).astype(np.float32)
    b = (A.sum(axis=1) + rng.standard_t(2.5, size=320)).astype(np.float32)
    A, b = A.astype(float), b.astype(float)
    n = 40 * 4
    both = np.column_stack([A, b])
    S = total_sensitivity(both, p, "exact")
    eps = np.sqrt(S ** (2 / p if p <= 2 else 2 - 2 / p) / n)
    best = lp_regression(A, b, p).objective
    excess = []
    pool = sw.Pool.from_arrays(A, score=b)
    chances = sw.select(pool, n, name, rng=0, with_score=True, p=p).columns["chance"]
    for _ in range(40):
        rows = draw_fixed_size(chances, rng)
        x = lp_regression(A[rows], b[rows], p, 1 / chances[rows]).x
        excess.append(lp_objective(A, b, x, p) / best - 1)
    assert np.min(excess) > -1e-8
    assert np.mean(np.array(excess) <= eps) >= 0.95
