"""The adviser against the plan that knows the curves, and what it does with what it is told."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from samplewise.errors import UsageError
from samplewise.measure.learning_curve import PowerCurve, TwoTermCurve
from samplewise.mix import Allocator
from samplewise.mix.allocation_plan import plan
from samplewise.mix.equitable import Equitable, GroupOutcomes
from samplewise.mix.quotas import Equal, Proportional, WorstFirst

DROPS = np.array([1.0, 4, 25])
CURVES = [PowerCurve(0.9, drop) for drop in DROPS]
METHODS = ["equitable", "equal", "equal:by=spend", "proportional", "worst-first"]
SD = 0.02


def truth(curves, counts):
    return np.array([float(c.value(n)) for c, n in zip(curves, counts, strict=True)])


def collect(allocation, curves, spends=None, rng=None, sd=None):
    """Go through rounds: of given spends, or as the method chooses."""
    spends = iter(spends) if spends is not None else None
    while True:
        n = next(spends, 0) if spends is not None else None
        if n == 0 or (n is None and allocation.remaining() < 1):
            return allocation
        counts = allocation.ask(n)
        performance = truth(curves, allocation.collected + counts)
        errors = None
        if sd is not None:
            performance = performance + rng.normal(0, sd, len(curves))
            errors = np.full(len(curves), sd)
        allocation.tell(counts, GroupOutcomes(performance, errors))


# --- the card's oracles ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "curves"),
    [
        ({"exponent": 1.0}, CURVES),
        ({"exponent": None}, CURVES),
        ({"exponent": 1.0, "objective": "log"}, CURVES),
        ({"exponent": 1.0, "objective": "power", "aversion": 3.0}, CURVES),
        ({"exponent": 1.0, "objective": "maximin"}, CURVES),
        (
            {"exponent": 1.0, "family": "offset-power"},
            [PowerCurve(0.9, drop, 1.0, 40.0) for drop in (10, 40, 90)],
        ),
    ],
    ids=str,
)
def test_noiseless_rounds_end_within_a_batch_of_the_plan_that_knows(knobs, curves):
    method = Equitable(batch=60, **knobs)
    # A pilot in three sizes, so that two free numbers beside the ceiling can be told.
    spends = [60, 60, 60, *[60] * 47]
    rounds = collect(method.start(3), curves, spends)
    expected = plan(
        curves, 3000, objective=method.objective, aversion=method.aversion, lower=[60] * 3
    ).counts
    assert rounds.collected.sum() == 3000
    assert np.abs(rounds.collected - expected).max() <= 60


def test_two_terms_find_the_plan_that_knows():
    curves = [TwoTermCurve(0.9, own, 2.0) for own in (0.5, 1.0, 3.0)]
    known = [curve.at_total(3000.0) for curve in curves]
    rounds = Equitable(family="two-term", batch=60).start(3)
    for n in (90, 90, *[60] * 47):
        counts = rounds.ask(n)
        now = rounds.collected + counts
        # Models of unequal parts of the samples, without which the terms cannot be told apart.
        parts = np.stack([now, np.maximum(now // [1, 2, 4], 1), np.maximum(now // [4, 2, 1], 1)])
        table = [truth([c.at_total(row.sum()) for c in curves], row) for row in parts]
        rounds.tell(counts, GroupOutcomes(table, sizes=parts))
    expected = plan(known, 3000, lower=[60] * 3).counts
    assert np.abs(rounds.collected - expected).max() <= 60


def test_shared_gains_favour_cheap_samples():
    """With unequal costs a cheap sample is worth more where all groups gain from it."""
    curves = [TwoTermCurve(0.9, 1.0, common) for common in (5.0, 5.0)]
    rounds = Equitable(family="two-term").start(2, costs=[1, 4])
    sizes = np.array([[30, 30], [60, 30], [30, 60], [60, 60], [90, 40]])
    rounds.tell([60, 60])
    table = [truth([c.at_total(row.sum()) for c in curves], row) for row in sizes]
    rounds.tell([0, 0], GroupOutcomes(table, sizes=sizes))
    found = rounds.plan(600)
    counts = np.stack(np.meshgrid(np.arange(60, 900), np.arange(60, 250), indexing="ij"), axis=-1)
    counts = counts.reshape(-1, 2)
    counts = counts[counts @ [1, 4] <= 900]
    total = counts.sum(axis=1)
    value = 0.9 - (counts**-0.5).mean(axis=1) - 5.0 * total**-0.5
    best = counts[value.argmax()]
    np.testing.assert_allclose(found.counts, best, atol=4)


def test_noisy_returns_beat_equal_and_come_close_to_the_plan_that_knows():
    """The card's simulation, with fewer seeds; noise of 0.02, batches of 60, a budget of 3000."""

    def excess(counts):
        return float((DROPS / counts).mean())

    oracle = excess(plan(CURVES, 3000).counts)
    assert oracle == pytest.approx(0.00711, abs=5e-6)
    assert excess(np.full(3, 1000)) == pytest.approx(0.0100, abs=5e-6)
    assert excess(3000 * np.array([0.8, 0.15, 0.05])) == pytest.approx(0.0587, abs=5e-5)
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rounds = Equitable(exponent=1.0, batch=120).start(3, budget=3000)
        collect(rounds, CURVES, rng=rng, sd=SD)
        assert rounds.collected.sum() == 3000
        found.append(excess(rounds.collected))
    half = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / math.sqrt(len(found))
    assert np.mean(found) + half < 0.0100
    assert np.mean(found) + half < 1.2 * oracle


# --- rounds ---------------------------------------------------------------------------------------


@given(
    st.integers(0, 10**6),
    st.sampled_from(["identity", "log", "maximin"]),
    st.sampled_from(["power", "offset-power", "isotonic", "last-gain", "two-term"]),
    st.booleans(),
)
@settings(max_examples=40)
def test_counts_sum_to_what_was_asked_within_bounds(seed, objective, family, unit):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 5))
    costs = np.ones(groups) if unit else rng.uniform(0.5, 6, groups)
    lower = rng.integers(0, 15, groups)
    upper = np.where(rng.random(groups) < 0.5, np.inf, lower + rng.integers(0, 200, groups))
    method = Equitable(objective=objective, family=family, pilot=10, highest=1.0)
    rounds = method.start(
        groups,
        costs=costs,
        weights=rng.uniform(0, 1, groups),
        lower=lower,
        upper=upper,
        floors=np.where(rng.random(groups) < 0.5, -np.inf, rng.uniform(0, 1, groups)),
        collected=np.minimum(rng.integers(0, 8, groups), upper),
    )
    for _ in range(5):
        room = costs @ np.maximum(upper - rounds.collected, 0)
        n = int(min(rng.integers(0, 60), room))
        counts = rounds.ask(n)
        assert counts.dtype == np.int64
        assert (counts >= 0).all()
        assert (rounds.collected + counts <= upper).all()
        if unit:
            assert counts.sum() == n
        else:
            assert costs @ counts <= n + 1e-6
        if (counts @ costs) > 0 and (rounds.collected + counts > np.maximum(lower, 10)).any():
            assert (rounds.collected + counts >= np.minimum(np.maximum(lower, 10), upper)).all()
        now = rounds.collected + counts
        rounds.tell(
            counts,
            GroupOutcomes(
                rng.uniform(0, 1, groups),
                np.where(now > 0, 0.1, np.inf),
            ),
        )


def test_a_chosen_spend_goes_through_the_pilot_then_batches_that_are_halved_at_the_end():
    rounds = Equitable(pilot=20, batch=40).start(2, budget=200)
    spends = []
    while rounds.remaining():
        spends.append(rounds.next_spend())
        counts = rounds.ask()
        assert counts.sum() == spends[-1]
        rounds.tell(counts, GroupOutcomes(0.9 - np.array([1, 2]) / (rounds.collected + counts)))
    assert spends == [20, 20, 40, 40, 40, 20, 10, 10]
    with pytest.raises(UsageError, match="budget"):
        Equitable().start(2).ask()


@pytest.mark.parametrize("costs", [[1, 5, 7.5], [0.3, 0.3, 0.3], [1, 1, 1]])
@pytest.mark.parametrize("budget", [4.4, 60, 321.7])
def test_a_budget_is_spent_to_what_can_buy_nothing_more(costs, budget):
    rounds = Equitable(exponent=1.0, pilot=8, batch=30).start(3, costs=costs, budget=budget)
    for _ in range(40):
        if not (n := rounds.next_spend()):
            break
        counts = rounds.ask()
        assert counts.any()
        assert costs @ counts <= n + 1e-9
        now = rounds.collected + counts
        stderr = np.where(now > 0, 0.01, np.inf)
        rounds.tell(counts, GroupOutcomes(0.9 - DROPS / np.maximum(now, 1), stderr))
    assert rounds.next_spend() == 0
    assert -1e-9 <= rounds.remaining() < max(costs) * (1 + 1e-9)


def test_identical_groups_share_alike_and_weightless_ones_get_only_what_is_certain():
    same = [PowerCurve(0.9, 2.0)] * 3
    rounds = collect(Equitable(exponent=1.0).start(3), same, [90, 90, 90, *[60] * 10])
    assert np.ptp(rounds.collected) <= 1
    rounds = Equitable(exponent=1.0, explore=0.0).start(3, weights=[0.5, 0, 0.5])
    collect(rounds, same, [90, 90, *[60] * 10])
    assert rounds.collected[1] == 60


def test_groups_that_are_not_known_get_their_part():
    rounds = Equitable(exponent=1.0, pilot=10, explore=0.5).start(3, collected=[10, 20, 40])
    sizes = np.array([[5, 10, 20], [10, 20, 40]])
    errors = np.full((2, 3), 0.01)
    performance = 0.9 - np.array([2.0, 0.01, 5.0]) / sizes
    rounds.tell([0, 0, 0], GroupOutcomes(performance, errors, sizes))
    known = rounds.estimates()
    assert known.uncertain.tolist() == [False, True, False]
    np.testing.assert_allclose(known.performance, performance[1])
    np.testing.assert_allclose(known.slope, [0.02, 0.01 / 400, 5 / 1600])
    assert rounds.ask(60)[1] == 10  # half of an equal share
    # Measured at one size only: an equal share.
    errors[0, 1] = np.inf
    other = Equitable(exponent=1.0, pilot=10, explore=0.5).start(3, collected=[10, 20, 40])
    other.tell([0, 0, 0], GroupOutcomes(performance, errors, sizes))
    assert math.isnan(other.estimates().slope[1])
    assert other.ask(60)[1] == 20
    guarded = Equitable(exponent=1.0, pilot=10, least_share=1.0).start(3, collected=[10, 20, 40])
    guarded.tell([0, 0, 0], GroupOutcomes(performance, errors, sizes))
    assert guarded.ask(60).tolist() == [20, 20, 20]


def test_optimism_is_for_what_is_not_certain_and_shrinking_against_it():
    def counts(**knobs):
        rounds = Equitable(exponent=1.0, pilot=40, explore=0.0, **knobs).start(
            2, collected=[40, 40]
        )
        sizes = np.array([[20, 20], [40, 40]])
        stderr = np.array([[0.001, 0.05], [0.001, 0.05]])
        performance = 0.9 - np.array([3.0, 1.0]) / sizes
        rounds.tell([0, 0], GroupOutcomes(performance, stderr, sizes))
        return rounds.ask(60)

    assert counts(optimism=2.0)[1] > counts()[1] < counts(shrink_slopes=True)[1]


def test_floors_come_before_the_objective_and_are_left_where_they_cannot_be_reached():
    def counts(floors):
        rounds = Equitable(exponent=1.0, pilot=20).start(3, floors=floors)
        collect(rounds, CURVES, [30, 30, 30])
        return rounds.collected + rounds.ask(300)

    plain = counts(None)
    assert counts([0.8901, -np.inf, -np.inf])[0] == 102 > plain[0]  # 0.9 - 1 / 102
    assert counts([0.95, -np.inf, -np.inf]).tolist() == plain.tolist()
    # More than a round can pay for is approached, and nothing else bought.
    assert counts([0.8999, -np.inf, -np.inf])[0] > 300


def test_a_group_that_cannot_be_learnt_is_told_and_capped_under_maximin():
    curves = [PowerCurve(0.9, 2.0), PowerCurve(0.9, 4.0), PowerCurve(0.2, 0.5)]
    rounds = Equitable(objective="maximin", exponent=1.0, least_gain=0.01, explore=0.0).start(3)
    collect(rounds, curves, [90, 90, 30, *[60] * 6])
    found = rounds.plan(60)
    assert found.unreachable.tolist() == [False, False, True]
    assert rounds.collected[2] < 80
    assert rounds.estimates().spent[2] == rounds.collected[2]


def test_performance_is_not_guessed_above_its_highest():
    rounds = Equitable(exponent=0.5, highest=1.0).start(1)
    rounds.tell([10], GroupOutcomes([0.5], [0.01]))
    rounds.tell([30], GroupOutcomes([0.95], [0.01]))
    assert rounds.estimates().ceiling[0] == 1.0


@pytest.mark.parametrize("family", ["power", "isotonic", "two-term"])
def test_a_saved_allocation_goes_on_as_if_nothing_had_happened(family):
    def start():
        method = Equitable(family=family, pilot=20, optimism=1.0)
        return method.start(3, costs=[1, 2, 3], budget=900)

    def told(rounds, seed):
        rng = np.random.default_rng(seed)
        counts = rounds.ask(100)
        stderr = [0.02, 0.03, np.inf if seed == 4 else 0.01]
        performance = truth(CURVES, rounds.collected + counts) + rng.normal(0, 0.02, 3)
        rounds.tell(counts, GroupOutcomes(performance, stderr))
        return counts.tolist()

    first, second = start(), start()
    for seed in range(5):
        told(first, seed)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert [told(first, seed) for seed in (5, 6)] == [told(second, seed) for seed in (5, 6)]
    assert first.state_dict() == second.state_dict()
    assert first.remaining() == second.remaining()


@pytest.mark.parametrize("spec", METHODS)
def test_every_method_of_the_kind_keeps_its_state_and_takes_no_more_than_asked(spec):
    method = Allocator.named(spec)
    one, other = method.start(3, rng=0), method.start(3, rng=0)
    assert one.ask(0).tolist() == [0, 0, 0]
    for n in (1, 7, 200, 60):
        assert one.ask(n).sum() == n
        assert (one.ask(n) == one.ask(n)).all()  # asking changes nothing
        counts = one.ask(n)
        one.tell(
            counts, GroupOutcomes([0.5, 0.3, 0.4], np.where(one.collected + counts, 0.1, np.inf))
        )
    other.load_state_dict(json.loads(json.dumps(one.state_dict(), allow_nan=False)))
    assert one.ask(50).tolist() == other.ask(50).tolist()
    with pytest.raises(UsageError, match="collected"):
        method.start(2).load_state_dict(one.state_dict())


# --- plain rivals ---------------------------------------------------------------------------------


def test_samples_that_come_one_by_one_follow_the_shares():
    rounds = Proportional().start(3, shares=[0.8, 0.15, 0.05])
    for _ in range(40):
        rounds.tell(rounds.ask(1))
    assert rounds.collected.tolist() == [32, 6, 2]
    rounds = Equal().start(3)
    for _ in range(7):
        rounds.tell(rounds.ask(1))
    assert sorted(rounds.collected.tolist()) == [2, 2, 3]


def test_shares_are_of_the_population_and_not_of_what_is_there():
    rounds = Proportional().start(2, shares=[0.5, 0.5], collected=[90, 10])
    assert rounds.ask(100).tolist() == [10, 90]


def test_rivals_redistribute_what_a_stock_lacks():
    assert Equal().start(3, upper=[2, np.inf, np.inf]).ask(10).tolist() == [2, 4, 4]
    shares = Proportional().start(3, shares=[1, 1, 0], upper=[2, 3, np.inf])
    assert shares.ask(10).tolist() == [2, 3, 5]
    worst = WorstFirst().start(3, upper=[np.inf, 4, np.inf])
    worst.tell([3, 3, 3], GroupOutcomes([0.6, 0.5, 0.7]))
    assert worst.ask(10).tolist() == [9, 1, 0]
    assert Equal().start(2, lower=[8, 0]).ask(10).tolist() == [8, 2]
    assert Equal(by="spend").start(2, costs=[1, 3]).ask(60).tolist() == [30, 10]


def test_the_worst_is_by_the_last_measurement_of_each_group():
    rounds = WorstFirst().start(2)
    rounds.tell([5, 5], GroupOutcomes([0.5, 0.6]))
    rounds.tell([5, 0], GroupOutcomes([0.7, 0.0], [0.1, np.inf]))
    assert rounds.ask(3).tolist() == [0, 3]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("costs", {"costs": [1, -1]}),
        ("costs", {"costs": [1, 0]}),
        ("weights", {"weights": [1, -1]}),
        ("weights", {"weights": [1, 1, 1]}),
        ("upper", {"lower": [3, 3], "upper": [2, 9]}),
        ("floors", {"floors": [0.5]}),
        ("collected", {"collected": [1, -1]}),
        ("collected", {"collected": [1, 0.5]}),
        ("lower bounds cost 8", {"lower": [5, 5], "collected": [2, 0], "budget": 7}),
        ("groups", {"groups": 0}),
    ],
)
def test_nonsense_is_refused_at_the_start(field, arguments):
    with pytest.raises(UsageError, match=field):
        Equitable().start(**{"groups": 2, **arguments})


@pytest.mark.parametrize(
    ("field", "knobs"),
    [
        ("exponent", {"exponent": 0.0}),
        ("exponent", {"exponent": 2.5}),
        ("aversion", {"aversion": -1.0}),
        ("optimism", {"optimism": -1.0}),
        ("least_gain", {"least_gain": math.inf}),
        ("explore", {"explore": 1.5}),
        ("least_share", {"least_share": -0.1}),
        ("pilot", {"pilot": 1}),
        ("batch", {"batch": 0}),
        ("family", {"family": "spline"}),
        ("objective", {"objective": "mean"}),
    ],
)
def test_bad_knobs_are_refused(field, knobs):
    with pytest.raises(UsageError, match=field):
        Equitable(**knobs)


@pytest.mark.parametrize("n", [-1, 2.5, math.nan, math.inf, "7", True])
def test_bad_spends_are_refused(n):
    with pytest.raises(UsageError, match="n is"):
        Equitable().start(2).ask(n)


def test_more_than_there_is_is_refused():
    rounds = Equitable().start(2, upper=[5, 5], budget=8)
    with pytest.raises(UsageError, match="8 is left"):
        rounds.ask(9)
    rounds.tell(rounds.ask(8))
    with pytest.raises(UsageError, match="0 is left"):
        rounds.ask(1)
    with pytest.raises(UsageError, match="upper"):
        rounds.tell([5, 0])
    with pytest.raises(UsageError, match="no curve"):
        rounds.plan(1)


@pytest.mark.parametrize(
    ("field", "outcomes"),
    [
        ("performance", GroupOutcomes([0.5, math.nan])),
        ("performance", GroupOutcomes([0.5, math.nan], [0.1, 0.1])),
        ("performance", GroupOutcomes([0.5, 0.5, 0.5])),
        ("stderr", GroupOutcomes([0.5, 0.5], [0.1, 0.0])),
        ("shape", GroupOutcomes([0.5, 0.5], [[0.1, 0.1], [0.1, 0.1]])),
        ("sizes", GroupOutcomes([0.5, 0.5], sizes=[0, 5])),
    ],
)
def test_bad_outcomes_are_refused_and_leave_no_trace(field, outcomes):
    rounds = Equitable().start(2)
    before = rounds.state_dict()
    with pytest.raises(UsageError, match=field):
        rounds.tell([5, 5], outcomes)
    assert rounds.state_dict() == before
    with pytest.raises(UsageError, match="counts"):
        rounds.tell([5, -5])


def test_standard_errors_come_always_or_never():
    rounds = Equitable().start(2)
    rounds.tell([5, 5], GroupOutcomes([0.5, 0.5]))
    with pytest.raises(UsageError, match="stderr"):
        rounds.tell([5, 5], GroupOutcomes([0.5, 0.5], [0.1, 0.1]))
    assert rounds.collected.tolist() == [5, 5]
