"""Laws of a temperature, weights in their place, what noise they bring, and their schedules."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from samplewise.errors import UsageError
from samplewise.mix import Sources, mix
from samplewise.mix.base import Mixer
from samplewise.mix.cooldown import Cooldown, TemperatureSchedule
from samplewise.mix.order_matters import OrderMatters
from samplewise.mix.temperature import (
    Scalarization,
    Temperature,
    scalarization_weights,
    second_moments,
    temperature_law,
    variance_factor,
)
from samplewise.mix.unimax import UniMax, unimax_draws

SIZES = st.lists(st.integers(1, 10**12), min_size=1, max_size=12)
TAUS = st.one_of(st.floats(1, 1e3), st.just(math.inf))


# --- exact ----------------------------------------------------------------------------------------


def test_known_figures():  # oracle 1
    sizes = (1000, 100, 10)
    assert temperature_law(sizes, 5).round(5).tolist() == [0.49284, 0.31096, 0.1962]
    assert scalarization_weights(sizes, 5).round(4).tolist() == [0.5471, 3.4517, 21.7785]
    assert round(variance_factor(sizes, 5), 5) == 5.61592
    factors = [round(variance_factor((9, 1), tau), 5) for tau in (1, 2, 5, 100)]
    assert factors == [1, 1.25, 1.94656, 2.72929]
    assert variance_factor((9, 1), math.inf) == pytest.approx(25 / 9, abs=1e-15)


@given(SIZES, TAUS, st.randoms(use_true_random=False))
def test_identities_of_law_and_weights(sizes, tau, random):  # oracle 1
    law, weights = temperature_law(sizes, tau), scalarization_weights(sizes, tau)
    shares = np.array(sizes) / sum(sizes)
    assert law.sum() == pytest.approx(1)
    assert shares @ weights == pytest.approx(1)
    np.testing.assert_allclose(temperature_law(sizes, 1), shares, rtol=1e-12)
    order = list(range(len(sizes)))
    random.shuffle(order)
    np.testing.assert_allclose(temperature_law(np.array(sizes)[order], tau), law[order], rtol=1e-12)
    logs = np.log(sizes) / tau
    np.testing.assert_allclose(law, np.exp(logs) / np.exp(logs).sum(), rtol=1e-9)


@given(SIZES, st.floats(1, 30), st.floats(1, 30))
def test_the_factor_is_one_or_more_and_never_falls(sizes, one, other):  # oracle 1, theorem 3
    low, high = sorted((one, other))
    assert 1 - 1e-12 <= variance_factor(sizes, low) <= variance_factor(sizes, high) * (1 + 1e-9)
    powers = (np.array(sizes) / max(sizes)) ** (1 / low)
    other_way = (powers**low).sum() * (powers ** (2 - low)).sum() / powers.sum() ** 2
    assert variance_factor(sizes, low) == pytest.approx(other_way, rel=1e-9)
    assert variance_factor([7] * len(sizes), high) == pytest.approx(1)


def test_an_infinite_temperature_is_exactly_uniform():
    for count in (1, 3, 7, 49):
        law = temperature_law(np.geomspace(1, 1e300, count), math.inf)
        assert law.tolist() == [1 / count] * count


def problem(seed=0, sizes=(45, 5)):
    """Gradients of a logistic regression, row by row, on two sources that differ."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(sum(sizes), 3)) + np.repeat([[0.0], [1.5]], sizes, axis=0)
    y = rng.integers(2, size=len(X))
    chances = 1 / (1 + np.exp(-X @ np.array([0.5, -1.0, 0.3])))
    return sizes, X * (chances - y)[:, None], np.repeat([0, 1], sizes)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0, math.inf])
def test_full_gradients_are_one_and_second_moments_those_of_the_formulas(tau):  # oracle 2
    sizes, gradients, of = problem()
    law, weights = temperature_law(sizes, tau), scalarization_weights(sizes, tau)
    drawn = (law / sizes)[of]  # the probability of each row
    plain = np.full(len(of), 1 / len(of))
    full = sum(share * gradients[of == source].mean(axis=0) for source, share in enumerate(law))
    np.testing.assert_allclose(drawn @ gradients, full, atol=1e-12)
    np.testing.assert_allclose((plain * weights[of]) @ gradients, full, atol=1e-12)
    norms = (gradients**2).sum(axis=1)
    moments = second_moments(sizes, tau, [norms[of == source].mean() for source in (0, 1)])
    assert moments.temperature == pytest.approx(drawn @ norms, abs=1e-12)
    assert moments.scalarization == pytest.approx(plain @ (weights[of] ** 2 * norms), abs=1e-12)
    alike = second_moments(sizes, tau, [2.0, 2.0])
    assert alike.scalarization - alike.temperature == pytest.approx(
        2 * (variance_factor(sizes, tau) - 1)
    )


def test_weighting_is_quieter_where_the_large_source_has_large_gradients():  # oracle 4
    for large, quieter in ((8.9, False), (9.1, True)):
        moments = second_moments([9, 1], math.inf, [large, 1.0])
        assert (moments.scalarization < moments.temperature) == quieter
    assert variance_factor([9, 1], math.inf) > 1  # whatever the gradients


# --- statistical ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1.0, 5.0, math.inf])
def test_draws_follow_the_temperature(tau):  # oracle 3
    stream = mix(sizes=[1000, 100, 10], method=f"temperature:tau={tau}", rng=1)
    counts = np.bincount(stream.draw(100_000).sources, minlength=3)
    assert chisquare(counts, 100_000 * temperature_law([1000, 100, 10], tau)).pvalue > 1e-4


@pytest.mark.parametrize("tau", [2.0, 5.0])
def test_stochastic_gradients_are_unbiased_and_as_noisy_as_told(tau):  # oracle 3
    sizes, gradients, of = problem(sizes=(90, 10))
    law = temperature_law(sizes, tau)
    full = sum(share * gradients[of == source].mean(axis=0) for source, share in enumerate(law))
    norms = (gradients**2).sum(axis=1)
    squares = [norms[of == source].mean() for source in (0, 1)]
    told = [moment - full @ full for moment in second_moments(sizes, tau, squares)]
    found = []
    for method in ("temperature", "scalarization"):
        drawn = mix(sizes=list(sizes), method=f"{method}:tau={tau}", rng=2).draw(200_000)
        each = gradients[drawn.indices] * drawn.weights[:, None]
        error = each.std(axis=0) / math.sqrt(len(each))
        assert (abs(each.mean(axis=0) - full) < 4 * error).all()
        found.append(each.var(axis=0).sum())
    assert found[1] / found[0] == pytest.approx(told[1] / told[0], rel=0.05)
    assert found[0] == pytest.approx(told[0], rel=0.05)


# --- schedules ------------------------------------------------------------------------------------


def laws(stream, total):
    """The law at every draw."""
    found = []
    for position in range(total):
        stream.position = position
        found.append(stream.law().tolist())
    return found


def test_cooldown_switches_once():
    sizes, hot, cold = [90, 10], temperature_law([90, 10], 5), temperature_law([90, 10], 1)
    for knobs, total, switch in (
        ({}, 20, 10),
        ({"switch": 0.25}, 20, 5),
        ({"switch_at": 3}, None, 3),
        ({"switch": 0.0}, 20, 0),
        ({"switch": 1.0}, 20, 20),
    ):
        stream = Cooldown(**knobs).start(Sources.of(sizes), rng=0, total=total)
        expected = [hot.tolist()] * switch + [cold.tolist()] * (24 - switch)
        assert laws(stream, 24) == expected


def test_cooldown_draws_as_the_two_temperatures_it_is_made_of():
    sizes, whole = [900, 100], mix(sizes=[900, 100], method="cooldown", rng=3, total=600).draw(600)
    for tau, part in ((5, slice(0, 300)), (1, slice(300, 600))):
        fixed = mix(sizes=sizes, method=f"temperature:tau={tau}", rng=3).draw(600)
        assert whole.indices[part].tolist() == fixed.indices[part].tolist()


def test_cooldown_goes_on_from_a_state_on_either_side_of_the_switch():
    whole = mix(sizes=[90, 10], method="cooldown:sampling=scalarization", rng=3, total=60).draw(60)
    for cut in (10, 30, 45):
        stream = mix(sizes=[90, 10], method="cooldown:sampling=scalarization", rng=3, total=60)
        stream.draw(cut)
        other = mix(sizes=[90, 10], method="cooldown", rng=4, total=60)
        other.load_state_dict(json.loads(json.dumps(stream.state_dict())))
        for column, full in zip(other.draw(60 - cut), whole, strict=True):
            assert column.tolist() == full[cut:].tolist()


def test_weights_stand_in_for_a_cooldown():
    stream = mix(sizes=[90, 10], method="cooldown:sampling=scalarization", rng=0, total=200)
    drawn = stream.draw(200)
    weights = scalarization_weights([90, 10], 5)
    np.testing.assert_array_equal(drawn.weights[:100], weights[drawn.sources[:100]])
    assert set(drawn.weights[100:].tolist()) == {1.0}
    np.testing.assert_allclose(stream.law(), [0.9, 0.1])


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"stages": 5}, [5, 4, 3, 2, 1]),
        ({"stages": 3, "curve": "exponential", "first": 9.0}, [9, 3, 1]),
        ({"stages": 3, "first": 1.0, "last": 5.0}, [1, 3, 5]),
    ],
)
def test_schedules_go_from_one_temperature_to_another(knobs, expected):
    schedule = TemperatureSchedule(**knobs)
    np.testing.assert_allclose(schedule.taus(), expected)
    total = 4 * len(expected)
    stream = schedule.start(Sources.of([90, 10]), rng=0, total=total)
    told = [temperature_law([90, 10], tau) for tau in expected for _ in range(4)]
    np.testing.assert_allclose(laws(stream, total), told)


def test_two_stages_are_a_cooldown():
    for hot, cold in ((5.0, 1.0), (1.0, 5.0)):
        two = TemperatureSchedule(first=hot, last=cold, stages=2)
        one = Cooldown(tau_hot=hot, tau_cold=cold)
        streams = [method.start(Sources.of([90, 10]), rng=0, total=50) for method in (two, one)]
        assert laws(streams[0], 50) == laws(streams[1], 50)


def test_order_matters_adds_small_sources_late():
    stream = mix(sizes=[100, 60, 40, 1], method="order-matters", rng=0, total=400)
    drawn = stream.draw(400)
    assert set(drawn.sources[:200].tolist()) == {0, 1}
    assert set(drawn.sources[200:].tolist()) == {0, 1, 2, 3}
    assert stream.stages[0].law.tolist() == [0.625, 0.375, 0, 0]
    assert stream.law().tolist() == temperature_law([100, 60, 40, 1], 5).tolist()


# --- unimax ---------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    st.floats(1, 5000),
    st.floats(0.1, 10),
)
def test_a_budget_is_shared_out_evenly_under_the_caps(sizes, total, epochs):
    draws, caps = unimax_draws(sizes, total, epochs), epochs * np.array(sizes)
    assert (draws <= caps * (1 + 1e-12)).all()
    assert draws.sum() == pytest.approx(min(total, caps.sum()))
    # Whoever is below its cap has no less than anyone: the one even split there is.
    below = draws < caps * (1 - 1e-9)
    assert not below.any() or draws[below].min() >= draws.max() * (1 - 1e-9)


def test_unimax_holds_passes_at_both_paces():
    sizes, epochs, total = [900, 90, 10], 2, 600
    even = mix(sizes=sizes, method="unimax:epochs=2", rng=0, total=total)
    drop = mix(sizes=sizes, method="unimax:epochs=2:pace=drop", rng=0)
    for stream in (even, drop):
        stream.position = total
        np.testing.assert_allclose(stream.epochs() * sizes, [400, 180, 20])
    assert [stage.start for stage in drop.stages] == [0, 60, 380, 2000]
    assert drop.stages[1].law.tolist() == [0.5, 0.5, 0]
    drop.position = epochs * sum(sizes)
    np.testing.assert_allclose(drop.epochs(), [2, 2, 2])
    drop.position = 4 * sum(sizes)
    np.testing.assert_allclose(drop.epochs(), [4, 4, 4])  # then by size: as often each
    over = mix(sizes=sizes, method="unimax:epochs=2", rng=0, total=10_000)
    np.testing.assert_allclose(over.law(), [0.9, 0.09, 0.01])


def test_equal_sources_are_dropped_together():
    drop = mix(sizes=[5, 20, 5], method="unimax:pace=drop", rng=0)
    assert [stage.start for stage in drop.stages] == [0, 15, 30]
    assert drop.stages[1].law.tolist() == [0, 1, 0]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "knobs", "said"),
    [
        *itertools.product([Temperature, Scalarization], [{"tau": 0.5}, {"tau": -1.0}], ["tau is"]),
        (Cooldown, {"tau_hot": 0.0}, "tau_hot"),
        (Cooldown, {"tau_cold": 0.9}, "tau_cold"),
        (Cooldown, {"switch": 1.1}, "switch is"),
        (Cooldown, {"switch_at": -1}, "switch_at"),
        (TemperatureSchedule, {"first": math.inf}, "first"),
        (TemperatureSchedule, {"last": 0.5}, "last"),
        (TemperatureSchedule, {"stages": 1}, "stages"),
        (UniMax, {"epochs": 0.0}, "epochs"),
        (UniMax, {"epochs": math.inf}, "epochs"),
        (OrderMatters, {"small": 2.0}, "small"),
        (OrderMatters, {"tau": 0.0}, "tau"),
        (OrderMatters, {"switch": -0.1}, "switch"),
    ],
)
def test_knobs_that_make_no_sense(method, knobs, said):
    with pytest.raises(UsageError, match=said):
        method(**knobs)


@pytest.mark.parametrize("name", ["cooldown", "temperature-schedule", "unimax", "order-matters"])
def test_schedules_need_a_total(name):
    with pytest.raises(UsageError, match=f"{name} needs the total"):
        Mixer.named(name).start(Sources.of([3, 2]))


@pytest.mark.parametrize("sizes", [[], [0, 1], [-1, 1], [math.nan, 1], [math.inf, 1], [[1, 2]]])
def test_sizes_that_make_no_sense(sizes):
    with pytest.raises(UsageError, match="sizes are"):
        temperature_law(sizes, 2)


def test_nan_and_wrong_squares():
    with pytest.raises(UsageError, match="tau is nan"):
        temperature_law([1, 2], math.nan)
    for squares in ([1.0], [1.0, -1.0], [1.0, math.nan]):
        with pytest.raises(UsageError, match="squares"):
            second_moments([1, 2], 2, squares)
