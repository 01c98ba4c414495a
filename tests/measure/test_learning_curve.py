"""Curves against their definitions, and fits against curves that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from samplewise.measure.learning_curve import (
    Polyline,
    PowerCurve,
    TwoTermCurve,
    fit_concave,
    fit_power,
    fit_two_terms,
    shrink,
)

SIZES = np.array([10.0, 20, 30, 60, 120, 250])
CURVES = [
    PowerCurve(0.9, 4.0, 0.7),
    PowerCurve(0.9, 4.0, 1.0, 25.0),
    PowerCurve(0.5, 0.0),
    Polyline((10.0, 20.0, 60.0), (0.2, 0.5, 0.8), (0.03, 0.0075)),
    Polyline((10.0, 20.0, 60.0), (0.2, 0.5, 0.8), (0.03, 0.0075), highest=0.9),
    TwoTermCurve(0.9, 1.0, 2.0).at_total(400.0),
]


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_slope_and_gain_are_those_of_the_value_and_it_is_concave_below_its_ceiling(curve):
    n = np.arange(5.25, 400, 0.5)  # no knot lies between n and n + h
    h = 1e-5
    np.testing.assert_allclose(
        (curve.value(n + h) - curve.value(n - h)) / (2 * h), curve.slope(n), rtol=1e-4, atol=1e-9
    )
    np.testing.assert_allclose(curve.gain(n), curve.value(n + 1) - curve.value(n), atol=1e-14)
    assert (np.diff(curve.slope(n)) <= 1e-12).all()
    assert (curve.slope(n) >= 0).all()
    assert curve.value(1e12) == pytest.approx(curve.ceiling, abs=1e-4)
    assert (curve.value(n) <= curve.ceiling).all()


def test_no_sample_is_worth_minus_infinity_and_large_n_keep_their_digits():
    curve = PowerCurve(0.9, 1.0, 1.0)
    assert curve.value(0) == -np.inf
    assert curve.gain(0) == np.inf == curve.slope(0)
    assert PowerCurve(0.9, 0.0).value(0) == 0.9
    n = 1e9
    assert curve.gain(n) == pytest.approx(1 / (n * (n + 1)), rel=1e-12)


def test_steeper_curves_are_worth_the_same_at_their_place():
    curve = PowerCurve(0.9, 4.0, 0.7, 3.0)
    other = curve.steeper(50, 0.01)
    assert other.value(50) == pytest.approx(float(curve.value(50)), abs=1e-14)
    assert other.slope(50) == pytest.approx(float(curve.slope(50)) + 0.01, abs=1e-14)


@pytest.mark.parametrize(
    ("curve", "free"),
    [
        (PowerCurve(0.9, 3.0, 0.7), {}),
        (PowerCurve(-0.2, 3.0, 1.9), {}),
        (PowerCurve(0.9, 3.0, 1.0), {"exponent": 1.0}),
        (PowerCurve(0.9, 3.0, 1.0, 40.0), {"exponent": 1.0, "offset": None}),
        (PowerCurve(0.9, 3.0, 0.8, 15.0), {"offset": None}),
        (PowerCurve(0.9, 3.0, 0.8, 15.0), {"exponent": 0.8, "offset": 15.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("errors", [None, 0.01])
def test_exact_measurements_give_back_their_curve(curve, free, errors):
    stderr = None if errors is None else np.full(len(SIZES), errors)
    fit = fit_power(SIZES, curve.value(SIZES), stderr, **free)
    np.testing.assert_allclose(fit.curve.value([5, 1000]), curve.value([5, 1000]), atol=1e-5)
    assert fit.slope == pytest.approx(float(curve.slope(250)), rel=1e-4)
    assert fit.slope_error > 0 if errors else fit.slope_error < 1e-6


def test_a_fixed_exponent_is_plain_weighted_least_squares():
    rng = np.random.default_rng(0)
    y = 0.9 - 3 / SIZES + 0.05 * rng.normal(size=6)
    stderr = rng.uniform(0.02, 0.1, 6)
    fit = fit_power(SIZES, y, stderr, exponent=1.0)
    design = np.stack([np.ones(6), -1 / SIZES], axis=1) / stderr[:, None]
    expected, *_ = np.linalg.lstsq(design, y / stderr, rcond=None)
    np.testing.assert_allclose([fit.curve.ceiling, fit.curve.drop], expected, rtol=1e-10)
    variance = np.linalg.inv(design.T @ design)[1, 1]
    assert fit.slope_error == pytest.approx(math.sqrt(variance) / 250**2, rel=1e-8)


@given(st.integers(0, 10**6), st.sampled_from([math.inf, 0.6]))
@settings(max_examples=40)
def test_bounds_hold_and_nothing_within_them_is_nearer(seed, highest):
    rng = np.random.default_rng(seed)
    y = rng.normal(0.5, 0.2, 6)
    stderr = rng.uniform(0.02, 0.1, 6)
    curve = fit_power(SIZES, y, stderr, exponent=0.5, highest=highest).curve
    assert curve.drop >= 0
    assert curve.ceiling <= highest

    def loss(p):
        return (((y - p[0] + p[1] * SIZES**-0.5) / stderr) ** 2).sum()

    best = minimize(
        loss, [0.5, 1.0], bounds=[(None, highest), (0, None)], method="L-BFGS-B", tol=1e-14
    )
    assert loss([curve.ceiling, curve.drop]) <= best.fun * (1 + 1e-9)


def test_too_few_sizes_fix_what_is_free():
    two = fit_power([10, 40], [0.5, 0.7], [0.01, 0.01]).curve
    assert (two.exponent, two.offset) == (0.5, 0.0)
    np.testing.assert_allclose(two.value([10, 40]), [0.5, 0.7])
    one = fit_power([10, 10], [0.5, 0.7], exponent=1.0)
    assert (one.curve.ceiling, one.curve.drop) == (pytest.approx(0.6), 0.0)
    assert (one.slope, one.slope_error) == (0.0, math.inf)
    assert fit_concave([10], [0.5]).slope_error == math.inf
    assert fit_two_terms([10], [30], [0.5]).slope_error == math.inf
    # Two sizes without standard errors leave nothing to judge by.
    assert fit_power([10, 40], [0.5, 0.7], exponent=0.5).slope_error == math.inf


def test_what_was_not_measured_does_not_count():
    stderr = np.array([0.1, 0.1, np.inf])
    fit = fit_power([10, 40, 90], [0.5, 0.7, -9.0], stderr, exponent=0.5)
    assert fit.size == 40
    np.testing.assert_allclose(fit.curve.value([10, 40]), [0.5, 0.7])


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_the_concave_fit_rises_ever_more_slowly_and_is_the_nearest(seed):
    rng = np.random.default_rng(seed)
    y = np.log(SIZES) / 6 + rng.normal(0, 0.1, 6)
    weights = rng.uniform(0.5, 2, 6)
    fit = fit_concave(SIZES, y, weights**-0.5)
    values = np.array(fit.curve.values)
    slopes = np.diff(values) / np.diff(SIZES)
    assert (slopes >= -1e-12).all()
    assert (np.diff(slopes) <= 1e-12).all()

    def loss(v):
        return (weights * (y - v) ** 2).sum()

    rules = [{"type": "ineq", "fun": lambda v: np.diff(v)}]
    rules.append({"type": "ineq", "fun": lambda v: -np.diff(np.diff(v) / np.diff(SIZES))})
    best = minimize(loss, values, constraints=rules, method="SLSQP", options={"ftol": 1e-13})
    assert loss(values) <= best.fun + 1e-6


def test_concave_measurements_are_met_exactly():
    y = 0.9 - 2 / SIZES
    fit = fit_concave(SIZES, y, np.full(6, 0.01))
    np.testing.assert_allclose(fit.curve.values, y, atol=1e-12)
    assert fit.slope_error == pytest.approx(0.01 * math.sqrt(2) / 130)


@pytest.mark.parametrize("exponent", [0.5, None])
def test_two_terms_are_told_apart_where_shares_vary(exponent):
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 400, 14).astype(float)
    totals = sizes + rng.integers(20, 900, 14)
    curve = TwoTermCurve(0.9, 1.5, 2.0)
    y = 0.9 - 1.5 * sizes**-0.5 - 2.0 * totals**-0.5
    fit = fit_two_terms(sizes, totals, y, exponent=exponent)
    for total in (300.0, 1000.0):
        n = np.array([30.0, 200.0])
        close = 1e-9 if exponent else 1e-4
        expected = curve.at_total(total).value(n)
        np.testing.assert_allclose(fit.curve.at_total(total).value(n), expected, atol=close)
    h = 1e-3
    rise = curve.at_total(400 + h).value(50) - curve.at_total(400 - h).value(50)
    assert rise / (2 * h) == pytest.approx(curve.common_slope(400), rel=1e-5)


def test_two_terms_that_cannot_be_told_apart_have_no_known_slope():
    sizes = np.array([20.0, 40, 80])
    fit = fit_two_terms(sizes, 3 * sizes, 0.9 - sizes**-0.5, np.full(3, 0.01), exponent=0.5)
    assert fit.slope_error == math.inf


def test_errors_cover_the_truth():
    """The slope's z value is nearly standard normal: 300 draws lie within 2 errors 95% of times."""
    rng = np.random.default_rng(0)
    curve = PowerCurve(0.9, 3.0, 0.7)
    stderr = np.full(6, 0.01)
    hits = 0
    for _ in range(300):
        fit = fit_power(SIZES, curve.value(SIZES) + rng.normal(0, 0.01, 6), stderr, exponent=0.7)
        hits += abs(fit.slope - curve.slope(250)) < 1.96 * fit.slope_error
    # Binomial(300, 0.95): outside with a probability below 1e-4.
    assert 268 <= hits <= 298


def test_shrinking_goes_to_the_mean_without_spread_and_nowhere_with_much():
    np.testing.assert_allclose(shrink([1.0, 1.2], [1.0, 1.0]), [1.1, 1.1])
    np.testing.assert_allclose(shrink([1.0, 1000.0], [0.01, 0.01]), [1.0, 1000.0], rtol=1e-6)
    np.testing.assert_allclose(shrink([1.0, 5.0], [math.inf, 1.0]), [5.0, 5.0])
    np.testing.assert_allclose(shrink([1.0, 5.0], [math.inf, math.inf]), [0.0, 0.0])


@pytest.mark.parametrize(
    "bad",
    [
        ([10, 20], [0.5], None),
        ([10, 20], [0.5, np.nan], None),
        ([0, 20], [0.5, 0.6], None),
        ([10, 20], [0.5, 0.6], [0.0, 0.1]),
        ([10, 20], [0.5, 0.6], [np.inf, np.inf]),
    ],
)
def test_bad_measurements_are_refused(bad):
    for fit in (fit_power, fit_concave):
        with pytest.raises(ValueError):
            fit(*bad)


def test_bad_curves_are_refused():
    for numbers in ((0.9, -1.0), (0.9, 1.0, 0.0), (0.9, 1.0, 1.0, -1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="curve"):
            PowerCurve(*numbers)
