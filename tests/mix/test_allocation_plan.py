"""Plans against exhaustive search, a general solver and their limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from samplewise.errors import UsageError
from samplewise.measure.learning_curve import Polyline, PowerCurve
from samplewise.mix import allocation_plan
from samplewise.mix.allocation_plan import (
    OBJECTIVES,
    Utility,
    plan,
    split_spend,
    uniform_random,
)

SUMS = [objective for objective in OBJECTIVES if objective != "maximin"]
CARD = {  # drops, weights and costs of the closed form
    "drops": np.array([1, 0.5, 0.3]),
    "weights": np.array([0.7, 0.2, 0.1]),
    "costs": np.array([1.0, 2, 3]),
}


def random_curves(rng, groups=3):
    return [
        PowerCurve(rng.uniform(0.6, 1), rng.uniform(0.05, 0.5), rng.uniform(0.2, 2))
        for _ in range(groups)
    ]


def closed_form(drops, weights, costs, exponent, budget):
    """Power laws of one exponent, without bounds: n in proportion to (w q b / c)^(1 / (q + 1))."""
    shares = (exponent * weights * drops / costs) ** (1 / (exponent + 1))
    return budget * shares / (costs @ shares)


def value_of(curves, counts, weights, objective, aversion=2.0):
    """Give the objective by its definition."""
    performance = np.array([float(c.value(n)) for c, n in zip(curves, counts, strict=True)])
    if objective == "maximin":
        return performance.min()
    return weights @ Utility(objective, aversion).value(performance)


def exhaustive(curves, budget, weights, costs, objective, lower, upper):
    """Try everything."""
    ranges = [
        np.arange(low, min(high, int(budget // cost)) + 1)
        for low, high, cost in zip(lower, upper, costs, strict=True)
    ]
    values = [curve.value(n) for curve, n in zip(curves, ranges, strict=True)]
    if objective != "maximin":
        utility = Utility(objective, 2.0)
        values = [weight * utility.value(v) for weight, v in zip(weights, values, strict=True)]
    spends = [cost * n for cost, n in zip(costs, ranges, strict=True)]
    a, b, c = np.meshgrid(*values, indexing="ij")
    total = np.minimum(np.minimum(a, b), c) if objective == "maximin" else a + b + c
    return total[sum(np.meshgrid(*spends, indexing="ij")) <= budget].max()


# --- the sum of utilities -------------------------------------------------------------------------


def test_the_closed_form_is_that_of_the_card_and_of_a_general_solver():
    found = closed_form(**CARD, exponent=0.5, budget=1000)
    np.testing.assert_allclose(found, [657.491, 113.189, 38.710], atol=5e-4)
    curves = [PowerCurve(0.9, drop, 0.5) for drop in CARD["drops"]]
    weights, costs = CARD["weights"], CARD["costs"]
    planned = plan(curves, 1000, costs=costs, weights=weights, whole=False)
    np.testing.assert_allclose(planned.counts, found, rtol=1e-9)
    assert planned.spend == pytest.approx(1000)
    best = minimize(
        lambda n: -value_of(curves, n, weights, "identity") * 1e3,
        [300.0, 150, 130],
        bounds=[(1, None)] * 3,
        constraints={"type": "eq", "fun": lambda n: costs @ n - 1000},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    np.testing.assert_allclose(best.x, found, rtol=1e-3)
    # The price is the derivative of the value by the budget.
    more = plan(curves, 1001, costs=costs, weights=weights, whole=False)
    less = plan(curves, 999, costs=costs, weights=weights, whole=False)
    assert (more.value - less.value) / 2 == pytest.approx(planned.price, rel=1e-5)


@pytest.mark.parametrize("objective", ["log", "power"])
def test_bent_utilities_are_stationary_in_fractions(objective):
    curves = random_curves(np.random.default_rng(1), 4)
    costs = np.array([1.0, 2, 3, 0.5])
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    found = plan(curves, 500, costs=costs, weights=weights, objective=objective, whole=False)
    slopes = Utility(objective, 2.0).slope(found.performance)
    slopes = slopes * [float(c.slope(n)) for c, n in zip(curves, found.counts, strict=True)]
    np.testing.assert_allclose(weights * slopes / costs, found.price, rtol=1e-6)
    assert costs @ found.counts == pytest.approx(500)


def test_greedy_is_exhaustive_search_with_equal_costs():
    """The card's check: 200 instances of 3 groups and 12 samples."""
    rng = np.random.default_rng(0)
    split = np.array([(i, j, 12 - i - j) for i in range(1, 11) for j in range(1, 12 - i)])
    for seed in range(200):
        objective = SUMS[seed % 3]
        curves, weights = random_curves(rng), rng.dirichlet(np.ones(3))
        utility = Utility(objective, 2.0)
        values = sum(
            weight * utility.value(curve.value(split[:, group]))
            for group, (curve, weight) in enumerate(zip(curves, weights, strict=True))
        )
        found = plan(curves, 12, weights=weights, objective=objective, lower=[1, 1, 1])
        assert found.counts.sum() == 12
        assert found.value == pytest.approx(values.max(), abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(SUMS), st.booleans())
@settings(max_examples=120)
def test_the_knapsack_is_exhaustive_search_with_unequal_costs(seed, objective, whole_costs):
    rng = np.random.default_rng(seed)
    curves, weights = random_curves(rng), rng.dirichlet(np.ones(3))
    costs = rng.integers(1, 8, 3).astype(float) if whole_costs else rng.uniform(1, 8, 3)
    lower = np.array([1, 1, int(rng.integers(1, 3))])
    upper = lower + rng.integers(0, 12, 3)
    budget = costs @ lower + rng.uniform(0, 30)
    budget = float(np.floor(budget)) if whole_costs else budget
    found = plan(
        curves,
        budget,
        costs=costs,
        weights=weights,
        objective=objective,
        lower=lower,
        upper=upper,
    )
    assert (lower <= found.counts).all()
    assert (found.counts <= upper).all()
    assert costs @ found.counts <= budget * (1 + 1e-9)
    best = exhaustive(curves, budget, weights, costs, objective, lower, upper)
    assert found.value == pytest.approx(best, abs=1e-12)


def test_greedy_alone_would_not_be():
    curves = [PowerCurve(1.0, 0.5, 1.0), PowerCurve(1.0, 0.9, 1.0)]
    args = {"costs": [3, 5], "lower": [1, 1], "weights": [0.5, 0.5]}
    budgets = range(8, 60)
    exact = [plan(curves, budget, **args).value for budget in budgets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allocation_plan, "_STATES", 0)
        greedy = [plan(curves, budget, **args).value for budget in budgets]
    assert all(a >= b for a, b in zip(exact, greedy, strict=True))
    assert any(a > b + 1e-6 for a, b in zip(exact, greedy, strict=True))


@pytest.mark.parametrize("costs", [[1, 1, 1], [1, 2, 3], [1.0, 1.7, 30.1]])
@pytest.mark.parametrize("objective", SUMS)
def test_large_budgets_give_what_putting_all_samples_in_order_gives(costs, objective):
    curves = random_curves(np.random.default_rng(3))
    budget = 20_000.0
    expected = plan(curves, budget, costs=costs, objective=objective)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allocation_plan, "_MANY", 100)
        found = plan(curves, budget, costs=costs, objective=objective)
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.price == expected.price


def test_a_billion_samples():
    found = plan([PowerCurve(0.9, drop, 1.0) for drop in (1.0, 4.0, 25.0)], 8 * 10**9)
    np.testing.assert_allclose(found.counts, [10**9, 2 * 10**9, 5 * 10**9], atol=20)
    assert found.counts.sum() == 8 * 10**9


# --- maximin --------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=80)
def test_maximin_is_exhaustive_search_and_levels_are_one_sample_apart(seed, unit):
    rng = np.random.default_rng(seed)
    curves = random_curves(rng)
    costs = np.ones(3) if unit else rng.integers(1, 6, 3).astype(float)
    lower, upper = np.array([1, 1, 1]), rng.integers(3, 30, 3)
    budget = float(np.floor(costs @ lower + rng.uniform(0, 30)))
    found = plan(curves, budget, costs=costs, objective="maximin", lower=lower, upper=upper)
    assert costs @ found.counts <= budget
    if unit:
        assert found.counts.sum() == min(budget, upper.sum())
    best = exhaustive(curves, budget, None, costs, "maximin", lower, upper)
    assert found.value == pytest.approx(best, abs=1e-12)
    # No group that can be raised got more than one sample beyond the lowest of them.
    free = ~found.unreachable
    if unit and free.any():
        lowest = found.performance[free].min()
        for curve, n in zip(curves, found.counts, strict=True):
            assert n == 1 or curve.value(n - 1) <= lowest + 1e-12


def test_maximin_does_not_feed_a_group_that_cannot_follow():
    curves = [PowerCurve(0.9, 1.0, 0.5), PowerCurve(0.9, 2.0, 0.5), PowerCurve(0.3, 0.2, 0.5)]
    strict = plan(curves, 3000, objective="maximin")
    assert strict.counts[2] > 2900  # it alone is the lowest, whatever the others get
    found = plan(curves, 3000, objective="maximin", least_gain=0.01)
    assert found.unreachable.tolist() == [False, False, True]
    assert found.counts[2] == 400  # 0.3 - 0.2 / 20
    assert found.counts[1] / found.counts[0] == pytest.approx(4, rel=0.01)
    assert found.counts.sum() == 3000
    # Where nobody has more than that to gain, the rest is still spent.
    tight = plan(curves, 3000, objective="maximin", least_gain=0.5)
    assert tight.unreachable.all()
    assert tight.counts.sum() == 3000


def test_maximin_in_fractions_is_level_and_has_the_price_of_its_level():
    curves = random_curves(np.random.default_rng(5))
    costs = np.array([1.0, 2, 4])
    low, found, high = (
        plan(curves, b, costs=costs, objective="maximin", whole=False) for b in (299, 300, 301)
    )
    reached = found.performance[~found.unreachable & (found.counts > 0)]
    np.testing.assert_allclose(reached, found.value, rtol=1e-6)
    assert (high.value - low.value) / 2 == pytest.approx(found.price, rel=1e-2)


def test_the_logarithm_stops_at_what_little_is_left_to_gain():
    curves = [PowerCurve(0.9, 1.0, 1.0), PowerCurve(0.02, 0.02, 0.5)]
    free = plan(curves, 400, objective="log", lower=[2, 2])
    capped = plan(curves, 400, objective="log", lower=[2, 2], least_gain=0.002)
    assert capped.counts[1] == 100 < free.counts[1]
    assert capped.unreachable.tolist() == [False, True]
    assert capped.counts.sum() == 400


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("whole", [True, False])
def test_identical_groups_share_alike(objective, whole):
    found = plan([PowerCurve(0.9, 0.8, 0.6)] * 4, 400, objective=objective, whole=whole)
    np.testing.assert_allclose(found.counts, 100, rtol=1e-6)


@pytest.mark.parametrize("objective", SUMS)
def test_a_group_without_weight_gets_its_lower_bound(objective):
    curves = random_curves(np.random.default_rng(0))
    args = {"weights": [0.5, 0.0, 0.5], "objective": objective}
    assert plan(curves, 100, lower=[0, 3, 0], **args).counts[1] == 3
    assert plan(curves, 100, **args).counts[1] == 0
    # Even where nothing else is to be had.
    assert plan(curves, 100, upper=[9, 50, 9], **args).counts.tolist() == [9, 0, 9]


def test_costs():
    rng = np.random.default_rng(0)
    curves = [PowerCurve(0.9, drop, 1.0) for drop in rng.uniform(1, 5, 3)]
    plain = plan(curves, 5000, whole=False).counts
    doubled = plan(curves, 5000, costs=[2, 1, 1], whole=False).counts
    ratio = (doubled[0] / doubled[1]) / (plain[0] / plain[1])
    assert ratio == pytest.approx(1 / math.sqrt(2))
    for objective in OBJECTIVES:
        one = plan(curves, 777, costs=[1, 2, 5], objective=objective).counts.tolist()
        for factor in (1e-6, 10.0, 1e7):
            costs = factor * np.array([1, 2, 5])
            assert (
                plan(curves, factor * 777, costs=costs, objective=objective).counts.tolist() == one
            )


@given(st.integers(0, 10**6), st.sampled_from(OBJECTIVES))
@settings(max_examples=40)
def test_more_budget_is_no_worse_and_groups_have_no_order(seed, objective):
    rng = np.random.default_rng(seed)
    curves, weights = random_curves(rng, 4), rng.dirichlet(np.ones(4))
    costs = rng.integers(1, 5, 4)
    args = {"objective": objective, "lower": [1] * 4}
    values = [plan(curves, b, costs=costs, weights=weights, **args).value for b in range(20, 60, 5)]
    assert (np.diff(values) >= -1e-12).all()
    order = rng.permutation(4)
    one = plan(curves, 200, weights=weights, **args).counts
    other = plan([curves[i] for i in order], 200, weights=weights[order], **args).counts
    assert other.tolist() == one[order].tolist()


def test_a_large_budget_reaches_the_ceilings():
    curves = random_curves(np.random.default_rng(2))
    weights = np.array([0.5, 0.3, 0.2])
    for objective in SUMS:
        ceilings = Utility(objective, 2.0).value(np.array([curve.ceiling for curve in curves]))
        value = plan(curves, 1e14, weights=weights, objective=objective).value
        assert value == pytest.approx(weights @ ceilings, abs=2e-3)


def test_stocks_are_redistributed_and_floors_met():
    curves = [PowerCurve(0.9, drop) for drop in (1.0, 4.0, 25.0)]
    found = plan(curves, 3000, upper=[math.inf, math.inf, 1000])
    assert found.counts.sum() == 3000
    assert found.counts[1] / found.counts[0] == pytest.approx(2, rel=0.01)
    found = plan(curves, 3000, floors=[0.899, -math.inf, 0.88])
    assert found.counts[0] == 1000  # 0.9 - 1 / 1000
    assert (found.performance >= [0.899, -math.inf, 0.88 - 1e-12]).all()


def test_pieces_of_a_line_are_split_to_spend_all():
    line = Polyline((1.0, 50.0, 99.0), (0.1, 0.59, 0.6), (0.01, 0.01 / 49))
    found = plan([line, line], 61, whole=False)
    assert found.counts.sum() == pytest.approx(61)
    assert plan([line, line], 61).counts.sum() == 61


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("aversion", [0.0, 0.5, 1.0, 3.0])
def test_utilities_rise_bend_and_have_their_slope(kind, aversion):
    utility = Utility(kind, aversion)
    x = np.array([-0.5, -0.001, 0.0005, 0.01, 0.3, 0.9])
    h = 1e-7
    numeric = (utility.value(x + h) - utility.value(x - h)) / (2 * h)
    np.testing.assert_allclose(utility.slope(x), numeric, rtol=1e-4)
    for rise in (1e-4, 0.05):
        expected = utility.value(x + rise) - utility.value(x)
        np.testing.assert_allclose(utility.gain(x, np.full(6, rise)), expected, rtol=1e-6)
    assert (np.diff(utility.slope(np.linspace(-1, 1, 99))) <= 1e-12).all()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("costs", {"costs": [1, 0, 1]}),
        ("costs", {"costs": [1, 1]}),
        ("costs", {"costs": [1, 1, math.nan]}),
        ("weights", {"weights": [1, -1, 1]}),
        ("lower bounds cost 12", {"lower": [4, 4, 4], "budget": 11}),
        ("lower", {"lower": [0.5, 0, 0]}),
        ("upper", {"lower": [4, 4, 4], "upper": [9, 3, 9]}),
        ("floor", {"floors": [0.95, 0, 0]}),
        ("lower bounds cost", {"floors": [0.85, 0.85, 0.85], "budget": 30}),
        ("objective", {"objective": "mean"}),
        ("aversion", {"objective": "power", "aversion": -1.0}),
        ("budget", {"budget": math.nan}),
        ("least_gain", {"least_gain": -1.0}),
    ],
)
def test_nonsense_is_refused_by_name(field, arguments):
    with pytest.raises(UsageError, match=field):
        plan([PowerCurve(0.9, 1.0, 1.0)] * 3, **{"budget": 100, **arguments})


def test_no_group_is_refused():
    with pytest.raises(UsageError, match="groups"):
        plan([], 10)


# --- plain splits ---------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=150)
def test_a_split_sums_to_the_spend_and_is_as_near_to_the_shares_as_can_be(seed, unit):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 7))
    shares = rng.choice([0.0, 0.1, 1 / 3, 0.7, 1.0], groups)
    shares[0] = 1.0
    held = rng.integers(0, 20, groups)
    upper = np.where(rng.random(groups) < 0.5, np.inf, held + rng.integers(0, 9, groups))
    costs = np.ones(groups) if unit else rng.integers(1, 9, groups).astype(float)
    spend = int(rng.integers(0, 60))
    counts = split_spend(shares, spend, costs, held, upper)
    room = costs @ np.where(shares > 0, upper - held, 0)
    assert (counts >= 0).all()
    assert (held + counts <= upper).all()
    assert counts[shares == 0].sum() == 0
    if unit:
        assert counts.sum() == min(spend, room)
        # Nobody who got one is ahead of somebody with room, by more than the one.
        level = (held + counts) / np.where(shares > 0, shares, np.nan)
        before = (held + counts - 1) / np.where(shares > 0, shares, np.nan)
        after = (held + counts + 1) / np.where(shares > 0, shares, np.nan)
        ahead = np.where(counts > 0, before, -np.inf)
        behind = np.where((held + counts < upper) & (shares > 0), after, np.inf)
        assert np.nanmax(ahead) < np.nanmin(behind) + 1e-6
        assert not np.isnan(level[0])
    else:
        assert costs @ counts <= spend
        if spend < room:
            assert spend - costs @ counts < costs.sum()


def test_random_draws_spend_the_budget_evenly():
    counts = uniform_random(30_000, 3, rng=0)
    assert counts.sum() == 30_000
    assert np.abs(counts - 10_000).max() < 5 * math.sqrt(30_000 * 2 / 9)
    assert uniform_random(100, 3, costs=[1, 2, 3], rng=1) @ [1, 2, 3] in (98, 99, 100)
