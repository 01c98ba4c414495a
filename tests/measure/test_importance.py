"""Closed forms, invariances, bounds and brute force for scores of rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.measure.importance import (
    column_basis,
    leverage_scores,
    lewis_weights,
    lp_sensitivities,
    root_leverage_scores,
    row_budget,
    sensitivity_bounds,
    total_sensitivity,
)

POWERS = [1, 1.5, 2, 3, 4]
ALL = {
    "sensitivity": lp_sensitivities,
    "upper": lambda A, p: lp_sensitivities(A, p, "upper"),
    "root": root_leverage_scores,
    "lewis": lewis_weights,
    "leverage": lambda A, p: leverage_scores(A),
}


def heavy(n=200, d=3, seed=0):
    return np.random.default_rng(seed).standard_t(2, size=(n, d))


# --- closed forms ---------------------------------------------------------------------------------


def test_leverage_is_the_row_norm_of_q():
    A = heavy(500, 7)
    Q = np.linalg.qr(A)[0]
    np.testing.assert_allclose(leverage_scores(A), (Q**2).sum(axis=1), atol=1e-12)


def test_p_2_is_leverage():
    A = heavy()
    expected = (np.linalg.qr(A)[0] ** 2).sum(axis=1)
    for name in ("sensitivity", "upper", "root", "lewis"):
        np.testing.assert_allclose(ALL[name](A, 2), expected, atol=1e-10)
    assert abs(total_sensitivity(A, 2) - 3) < 1e-10


@pytest.mark.parametrize("p", [*POWERS, 8])
def test_square_and_invertible_gives_ones(p):
    A = np.random.default_rng(0).normal(size=(5, 5))
    np.testing.assert_allclose(lp_sensitivities(A, p), 1, atol=1e-8)
    np.testing.assert_allclose(lewis_weights(A, p), 1, atol=1e-8)


@pytest.mark.parametrize("p", [*POWERS, 8])
def test_stacked_identity(p):
    A = np.tile(np.eye(3), (5, 1))
    np.testing.assert_allclose(lp_sensitivities(A, p), 1 / 5, atol=1e-8)
    np.testing.assert_allclose(lewis_weights(A, p), 1 / 5, atol=1e-8)


@pytest.mark.parametrize("p", [*POWERS, 8])
def test_one_column(p):
    a = heavy(30, 1)
    expected = (np.abs(a) ** p / (np.abs(a) ** p).sum())[:, 0]
    np.testing.assert_allclose(lp_sensitivities(a, p), expected, atol=1e-12)
    np.testing.assert_allclose(lewis_weights(a, p), expected, atol=1e-8)


# --- invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", ALL)
def test_a_change_of_basis_or_scale_changes_nothing(name, p):
    A = heavy(60)
    M = np.array([[1.0, 2, 0], [0, 1e3, 1], [3, 0, 1e-3]])
    expected = ALL[name](A, p)
    for other in (A @ M, 1e-30 * A, 1e30 * A, A * [1e-20, 1, 1e20]):
        np.testing.assert_allclose(ALL[name](other, p), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", ["sensitivity", "lewis"])
def test_halves_of_a_row_share_its_score(name, p):
    A = heavy(40)
    half = A[:1] * 2 ** (-1 / p)
    expected = ALL[name](A, p)
    found = ALL[name](np.vstack([half, A[1:], half]), p)
    np.testing.assert_allclose(found[[0, -1]], expected[0] / 2, rtol=1e-7)
    np.testing.assert_allclose(found[1:-1], expected[1:], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 3, 4])
def test_flattening(p):
    """Rows split so that none is over C S / n keep the total, at few rows more."""
    A, C = heavy(80), 2
    sigma = lp_sensitivities(A, p)
    S, n = sigma.sum(), len(A)
    copies = np.ceil(np.maximum(sigma * n / (C * S), 1e-9)).astype(int)
    flat = np.repeat(A / copies[:, None] ** (1 / p), copies, axis=0)
    found = lp_sensitivities(flat, p)
    assert len(flat) - n <= n / C
    assert abs(found.sum() - S) < 1e-5 * S
    assert found.max() <= C * S / n * (1 + 1e-6)


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", ALL)
def test_dependent_columns_and_rows_of_zeros(name, p):
    A = heavy(50)
    wide = np.column_stack([A, A[:, 0] - 2 * A[:, 1], np.zeros(50)])
    wide = np.vstack([wide, np.zeros((1, 5))])
    found = ALL[name](wide, p)
    assert found[-1] == 0
    more = 51 / 50 if p > 2 and name == "root" else 1.0  # it counts rows
    expected = np.minimum(ALL[name](A, p) * more ** (p / 2 - 1), 1)
    # 'upper' is the smaller of two bounds, of which one counts rows.
    np.testing.assert_allclose(found[:-1], expected, rtol=0.03 if name == "upper" else 1e-6)


@pytest.mark.parametrize("p", POWERS)
def test_wide_zero_and_single_matrices(p):
    wide = np.random.default_rng(0).normal(size=(3, 8))
    for score in ALL.values():
        np.testing.assert_allclose(score(wide, p), 1, atol=1e-6)
        assert score(np.zeros((4, 2)), p).tolist() == [0, 0, 0, 0]
        np.testing.assert_allclose(score([[3.0]], p), [1], atol=1e-6)


def test_the_basis_is_orthonormal_where_the_columns_nearly_are_not():
    x = np.linspace(-1, 1, 3_000)
    for A in (np.vander(x, 12), np.vander(x, 6) * 10.0 ** np.arange(-150, 150, 50)):
        Q, M = column_basis(A)
        np.testing.assert_allclose(Q.T @ Q, np.eye(A.shape[1]), atol=1e-11)
        np.testing.assert_allclose(A @ M, Q, atol=1e-9)


def test_blocks_of_rows_change_nothing(monkeypatch):
    A = heavy(500, 5)
    expected = leverage_scores(A), lewis_weights(A, 1.3)
    monkeypatch.setattr("samplewise.measure.importance._CELLS", 35)
    np.testing.assert_allclose(leverage_scores(A), expected[0], atol=1e-12)
    np.testing.assert_allclose(lewis_weights(A, 1.3), expected[1], atol=1e-8)


# --- bounds and brute force -----------------------------------------------------------------------


@pytest.mark.parametrize(("p", "S"), [(1, 2.14), (1.5, 2.67), (2, 3.0), (3, 3.23), (4, 3.32)])
def test_totals_of_heavy_tails(p, S):
    """The totals noted when this was designed, for the same 200 rows."""
    assert abs(total_sensitivity(heavy(), p) - S) < 0.005


@pytest.mark.parametrize("p", [1, 1.2, 1.5, 2, 2.5, 3, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_on_sensitivities(p, seed):
    A = heavy(seed=seed, n=120)
    lower, upper = sensitivity_bounds(A, p)
    np.testing.assert_allclose(lower, upper, rtol=5e-8)
    assert lower.sum() <= 3 ** max(1, p / 2) * (1 + 1e-9)
    assert (lower <= root_leverage_scores(A, p) * (1 + 1e-9)).all()
    assert (lower <= 3 ** max(0, p / 2 - 1) * lewis_weights(A, p) * (1 + 1e-8)).all()
    bound = lp_sensitivities(A, p, "upper")
    assert (lower <= bound * (1 + 1e-9)).all()
    assert (bound <= root_leverage_scores(A, p) * (1 + 1e-9)).all()


def test_the_largest_sensitivity_grows_with_p():
    A = heavy()
    largest = [lp_sensitivities(A, p).max() for p in (1, 1.2, 1.5, 2, 2.5, 3, 4, 6)]
    assert (np.diff(largest) >= -1e-9).all()


def test_vandermonde():
    S = total_sensitivity(np.vander(np.linspace(-1, 1, 300), 4), 4)
    assert abs(S - 5.6149) < 1e-3
    assert S < 13 < 16


@pytest.mark.parametrize("p", [1, 1.3, 1.5, 2, 3, 4, 7])
def test_brute_force_over_a_circle(p):
    A = heavy(40, 2, seed=3)
    angles = np.linspace(0, np.pi, 40_001)
    shares = np.abs(A @ np.stack([np.cos(angles), np.sin(angles)])) ** p
    np.testing.assert_allclose(
        lp_sensitivities(A, p), (shares / shares.sum(axis=0)).max(axis=1), atol=1e-4
    )


# --- Lewis weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 1.99, 2.01, 3, 3.9, 4, 6, 8, 10, 30, 100])
def test_lewis_weights_are_their_own_leverage_scores(p):
    A = heavy(100)
    w = lewis_weights(A, p)
    assert abs(w.sum() - 3) < 1e-9
    again = leverage_scores(A * w[:, None] ** (0.5 - 1 / p))
    some = w > 1e-200
    np.testing.assert_allclose(again[some], w[some], rtol=1e-6)


def test_lewis_weights_say_when_they_have_not_settled():
    with pytest.raises(ArithmeticError, match="p = 8"):
        lewis_weights(heavy(), 8, iterations=2)


# --- advice and refusals --------------------------------------------------------------------------


def test_row_budget_rates():
    S, d, eps = 5.0, 8, 0.25
    log = math.log(2 * d / 0.1)
    expected = {
        ("sensitivity", 1): S**2 / eps**2,
        ("sensitivity", 4): S**1.5 / eps**2,
        ("augmented", 1): (S + d) / eps**2,
        ("augmented", 4): d**0.5 * S / eps**2,
        ("generic", 3): S * d / eps**2,
        ("lewis", 1): d / eps**2,
        ("lewis", 4): d**2 / eps**2,
        ("root-leverage", 1): d / eps**4,
        ("root-leverage", 4): d**2 / eps**4,
    }
    for (rule, p), rate in expected.items():
        assert row_budget(S, d, p, eps, rule=rule) == math.ceil(rate * log)
    # With S = d sensitivities beat Lewis weights for every p > 2: (p - 2)^2 / (2 p) > 0.
    for p in (2.5, 3, 4, 6):
        assert row_budget(8, 8, p, eps) < row_budget(8, 8, p, eps, rule="lewis")
    assert row_budget(8, 8, 1, 0.1) > row_budget(8, 8, 1, 0.2)
    assert row_budget(8, 8, 1, 0.1, delta=0.01) > row_budget(8, 8, 1, 0.1, delta=0.1)


@pytest.mark.parametrize("p", [0.5, 0, -1, math.inf, math.nan])
@pytest.mark.parametrize("name", ["sensitivity", "root", "lewis"])
def test_norms_outside_the_theory_are_refused(name, p):
    with pytest.raises(ValueError, match="p is"):
        ALL[name](heavy(), p)


@pytest.mark.parametrize("A", [[[1.0, np.nan]], [[np.inf]], [1.0, 2.0], np.zeros((0, 2)), [[]]])
def test_what_is_no_finite_matrix_is_refused(A):
    for score in ALL.values():
        with pytest.raises(ValueError, match="A"):
            score(A, 1)


def test_other_refusals():
    with pytest.raises(ValueError, match="method"):
        lp_sensitivities([[1.0]], 1, "both")
    for bad in ({"eps": 0}, {"eps": 1}, {"delta": 0}, {"sensitivity": 0}, {"d": 0}, {"rule": "x"}):
        with pytest.raises(ValueError):
            row_budget(**{"sensitivity": 5.0, "d": 3, "p": 1, "eps": 0.1, **bad})


@settings(max_examples=40)
@given(
    st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([1, 1.4, 3, 5])
)
def test_any_matrix_of_small_whole_numbers(n, d, seed, p):
    """Ties, dependent columns, zeros: all scores are in [0, 1], and bounds hold."""
    A = np.random.default_rng(seed).integers(-1, 2, (n, d)).astype(float)
    rank = np.linalg.matrix_rank(A)
    lower, upper = sensitivity_bounds(A, p)
    assert ((lower >= 0) & (lower <= upper + 1e-9) & (upper <= 1)).all()
    np.testing.assert_allclose(lower, upper, atol=1e-6)
    assert (lower <= lp_sensitivities(A, p, "upper") + 1e-9).all()
    assert abs(leverage_scores(A).sum() - rank) < 1e-9
    assert abs(lewis_weights(A, p, iterations=10_000).sum() - rank) < 1e-6
    assert ((lower > 0) == A.any(axis=1)).all()
