"""Least norms against a linear program of SciPy, and their own proof against the definition."""

import numpy as np
import pytest
from scipy.optimize import linprog

from samplewise.measure.least_norm import least_norms

POWERS = [1, 1.05, 1.2, 1.5, 1.9, 2, 2.5, 3, 4, 8, 20]


def basis(n, r, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_t(2, size=(n, r)))[0]


def by_linear_program(Q, g):
    """Variables x, t: minimise the sum of t >= |Qx| with g^T x = 1."""
    n, r = Q.shape
    cost = np.concatenate([np.zeros(r), np.ones(n)])
    sides = np.block([[Q, -np.eye(n)], [-Q, -np.eye(n)]])
    held = np.concatenate([g, np.zeros(n)])[None]
    bounds = [(None, None)] * r + [(0, None)] * n
    return linprog(cost, sides, np.zeros(2 * n), held, [1.0], bounds, method="highs").fun


@pytest.mark.parametrize(("n", "r"), [(12, 2), (40, 5), (80, 9)])
def test_p_1_is_the_linear_program(n, r):
    Q = basis(n, r, seed=n)
    found = least_norms(Q, Q[:8], 1)
    expected = [by_linear_program(Q, g) for g in Q[:8]]
    np.testing.assert_allclose(found.values, expected, rtol=1e-8)
    np.testing.assert_allclose(found.bounds, expected, rtol=1e-8)


@pytest.mark.parametrize("p", POWERS)
def test_values_and_bounds_meet(p):
    Q = basis(150, 4)
    found = least_norms(Q, Q, p)
    np.testing.assert_allclose(found.bounds, found.values, rtol=2e-8)
    assert (found.bounds <= found.values * (1 + 1e-12)).all()
    np.testing.assert_allclose(np.einsum("ij,ij->i", found.points, Q), 1, rtol=1e-9)
    norms = (np.abs(found.points @ Q.T) ** p).sum(axis=1)
    np.testing.assert_allclose(norms, found.values, rtol=1e-9)


@pytest.mark.parametrize("p", POWERS)
def test_no_point_nearby_is_better(p):
    Q = basis(60, 3, seed=4)
    g = np.array([[0.3, -1.0, 0.2]])
    best = least_norms(Q, g, p)
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-1, 1):
        others = best.points + size * rng.normal(size=(500, 3))
        others /= (others @ g[0])[:, None]
        norms = (np.abs(others @ Q.T) ** p).sum(axis=1)
        assert norms.min() >= best.bounds[0]


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_scale_of_the_functional(p):
    Q = basis(50, 3)
    one, other = least_norms(Q, Q[:4], p), least_norms(Q, 1e-3 * Q[:4], p)
    np.testing.assert_allclose(other.values, one.values * 1e3**p, rtol=1e-7)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_one_at_a_time_is_as_good_as_a_batch(p):
    """Few problems take another way to the normal equations than many."""
    Q = basis(100, 6)
    batch = least_norms(Q, Q[:20], p)
    single = [least_norms(Q, Q[i : i + 1], p).values[0] for i in range(20)]
    np.testing.assert_allclose(single, batch.values, rtol=2e-8)


def test_too_few_iterations_show_in_the_gap():
    Q = basis(150, 4)
    found = least_norms(Q, Q, 8, iterations=1)
    assert (found.values / found.bounds).max() > 1 + 1e-5
    exact = least_norms(Q, Q, 8)
    assert (found.bounds <= exact.values).all()
    assert (found.values >= exact.bounds).all()
