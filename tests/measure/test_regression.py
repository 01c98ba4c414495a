"""l_p regression against SciPy's linear program, its minimiser, and closed forms."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from samplewise.measure.regression import lp_objective, lp_regression


def problem(n=120, d=4, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_t(2, size=(n, d))
    return A, A @ np.arange(1.0, d + 1) + rng.standard_t(1.5, size=n), rng.uniform(0, 3, n)


def least_absolute(A, b, w):
    n, d = A.shape
    cost = np.concatenate([np.zeros(d), w])
    sides = np.block([[A, -np.eye(n)], [-A, -np.eye(n)]])
    bounds = [(None, None)] * d + [(0, None)] * n
    return linprog(cost, sides, np.concatenate([b, -b]), bounds=bounds, method="highs").fun


@pytest.mark.parametrize("seed", range(4))
def test_p_1_is_the_linear_program(seed):
    A, b, w = problem(seed=seed)
    for weights in (np.ones(len(b)), w):
        found = lp_regression(A, b, 1, weights)
        expected = least_absolute(A, b, weights)
        assert abs(found.objective / expected - 1) < 1e-8
        assert abs(found.bound / expected - 1) < 1e-8


@pytest.mark.parametrize("seed", range(4))
def test_p_2_is_least_squares(seed):
    A, b, w = problem(seed=seed)
    root = np.sqrt(w)
    expected = np.linalg.lstsq(A * root[:, None], b * root, rcond=None)[0]
    np.testing.assert_allclose(lp_regression(A, b, 2, w).x, expected, rtol=1e-10)


@pytest.mark.parametrize("p", [1.2, 1.5, 3, 4, 8])
def test_other_p_against_a_general_minimiser(p):
    A, b, w = problem()
    found = lp_regression(A, b, p, w)
    assert 0 <= found.objective / found.bound - 1 < 2e-8
    # Scaled, because the general minimiser stops by the size of the gradient.
    size = np.linalg.norm(A * w[:, None] ** (1 / p), axis=0)

    def loss(z):
        left = A @ (z / size) - b
        value = w @ np.abs(left) ** p / found.bound
        slope = p * (w * np.abs(left) ** (p - 1) * np.sign(left)) @ A / size / found.bound
        return value, slope

    start = lp_regression(A, b, 2, w).x * size
    other = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-12})
    assert other.fun >= 1 - 1e-12
    assert abs(other.fun - found.objective / found.bound) < 1e-7


def test_constants():
    b = np.array([0.0, 1, 2, 3, 10])
    best = {p: lp_regression(np.ones((5, 1)), b, p).x[0] for p in (1, 2, 200)}
    assert abs(best[1] - 2) < 1e-8
    assert abs(best[2] - 3.2) < 1e-12
    assert abs(best[200] - 5) < 0.05  # half way between the smallest and the largest


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_what_can_be_fitted_exactly_is(p):
    A, _, w = problem()
    x = np.array([1.0, -2, 3, -4])
    found = lp_regression(A, A @ x, p, w)
    np.testing.assert_allclose(found.x, x, rtol=1e-9)
    assert found.objective < 1e-12
    assert lp_regression(A[:2], [5.0, 7.0], p).objective < 1e-12
    assert lp_regression(A, np.zeros(len(A)), p).x.tolist() == [0, 0, 0, 0]
    # No columns to speak of: nothing can be fitted.
    assert lp_regression(np.zeros((3, 2)), [1.0, 2, 3], p).objective == sum(
        v**p for v in (1.0, 2, 3)
    )


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_weights_are_copies(p):
    A, b, _ = problem(40)
    counts = np.random.default_rng(1).integers(0, 4, 40)
    copies = lp_regression(np.repeat(A, counts, axis=0), np.repeat(b, counts), p)
    weighted = lp_regression(A, b, p, counts)
    assert abs(copies.objective / weighted.objective - 1) < 2e-8
    assert abs(lp_objective(A, b, weighted.x, p, counts) / weighted.objective - 1) < 1e-12


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_dependent_columns_and_wild_scales(p):
    A, b, w = problem()
    expected = lp_regression(A, b, p, w).objective
    wide = np.column_stack([A, A[:, 0] + A[:, 1]])
    assert abs(lp_regression(wide, b, p, w).objective / expected - 1) < 1e-7
    scaled = lp_regression(A * [1e-9, 1, 1e9, 1], b, p, w)
    assert abs(scaled.objective / expected - 1) < 1e-7
    assert abs(lp_regression(A, b, p, 1e12 * w).objective / expected / 1e12 - 1) < 1e-7


def test_refusals():
    A, b, w = problem(10)
    for bad in ((A, b[:9]), (A, np.full(10, np.nan)), (A, b, 1, -w), (A, b, 1, 0 * w)):
        with pytest.raises(ValueError):
            lp_regression(bad[0], bad[1], 1, *bad[3:])
    with pytest.raises(ValueError, match="p is"):
        lp_regression(A, b, np.inf)
