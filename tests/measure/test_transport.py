import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import logsumexp
from scipy.stats import wasserstein_distance

from samplewise.measure import transport
from samplewise.measure.transport import (
    calibrated_gradient,
    exact_transport,
    nearest_costs,
    pairwise_costs,
    sinkhorn,
)


def points(n=8, m=5, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5


def lp_value(C, a, b):
    """The linear program written out densely, apart from our own code."""
    n, m = C.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    done = linprog(
        C.ravel(),
        A_eq=np.vstack([rows, columns]),
        b_eq=np.concatenate([a, b]),
        method="highs-ds",
        options=options,
    )
    assert done.status == 0
    return done.fun


def cats_and_dogs(rare=20, common=1_980, target=100, seed=0):
    rng = np.random.default_rng(seed)
    dog = np.array([5.0, 0.0])
    X = np.concatenate([rng.normal(0, 0.3, (common, 2)), dog + rng.normal(0, 0.3, (rare, 2))])
    Y = np.concatenate([rng.normal(0, 0.3, (target, 2)), dog + rng.normal(0, 0.3, (target, 2))])
    return X, Y


def uniform(n):
    return np.full(n, 1 / n)


def plan_of(found, C, a, b, eps):
    """The smoothed plan that the potentials stand for."""
    return a[:, None] * b * np.exp((found.source[:, None] + found.target - C) / eps)


# --- costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", ["euclidean", "sqeuclidean", "cosine"])
def test_costs_are_those_of_scipy(cost):
    from scipy.spatial.distance import cdist

    X, Y = points(40, 7, 5)
    C = pairwise_costs(X, Y, cost)
    np.testing.assert_allclose(C, cdist(X, Y, cost), atol=1e-12)
    np.testing.assert_allclose(nearest_costs(X, Y, cost), C.min(axis=1), atol=1e-5)


def test_a_vector_of_zeros_has_no_direction():
    X, Y = np.array([[0.0, 0], [2, 0]]), np.array([[1.0, 0], [0, 3]])
    assert pairwise_costs(X, Y, "cosine").tolist() == [[1, 1], [0, 1]]
    assert nearest_costs(X, Y, "cosine").tolist() == [1, 0]


# --- exact ----------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_value_is_the_linear_programs_and_the_prices_prove_it(n, m, seed):
    rng = np.random.default_rng(seed)
    X, Y = points(n, m, seed=seed)
    C, a, b = pairwise_costs(X, Y), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    a, b = (a + 1e-3) / (1 + 1e-3 * n), (b + 1e-3) / (1 + 1e-3 * m)
    found = exact_transport(C, a, b)
    f, h, plan = found.source, found.target, found.plan.toarray()
    assert abs(found.value - lp_value(C, a, b)) < 1e-9
    assert abs(a @ f + b @ h - found.value) < 1e-9
    slack = C - f[:, None] - h
    assert slack.min() > -1e-12
    assert abs(slack[plan > 1e-9]).max() < 1e-9
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-9)
    assert found.converged
    assert found.error < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_gradient_is_the_finite_difference(seed):
    X, Y = points(seed=seed)
    C, n, step = pairwise_costs(X, Y), 8, 1e-4
    gradient = calibrated_gradient(exact_transport(C).source)
    for i in range(n):
        way = np.full(n, -1 / (n - 1))
        way[i] = 1
        ends = [lp_value(C, uniform(n) + sign * step * way, uniform(5)) for sign in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * step) - gradient[i]) < 1e-8


@pytest.mark.parametrize("seed", range(3))
def test_one_sided_differences_bracket_the_gradient_where_masses_tie(seed):
    X, Y = points(6, 6, seed=seed)
    C, n, step = pairwise_costs(X, Y), 6, 1e-4
    found = exact_transport(C)
    gradient = calibrated_gradient(found.source)
    gaps = []
    for i in range(n):
        way = np.full(n, -1 / (n - 1))
        way[i] = 1
        up = (lp_value(C, uniform(n) + step * way, uniform(6)) - found.value) / step
        down = (found.value - lp_value(C, uniform(n) - step * way, uniform(6))) / step
        assert down - 1e-8 <= gradient[i] <= up + 1e-8
        gaps.append(up - down)
    assert max(gaps) > 1e-3  # the case is degenerate indeed


def test_gradient_sums_to_zero_and_ranks_as_the_potential_does():
    f = np.random.default_rng(0).normal(size=30)
    g = calibrated_gradient(f)
    assert abs(g.sum()) < 1e-12
    assert g.argsort().tolist() == f.argsort().tolist()
    np.testing.assert_allclose(calibrated_gradient(f + 7.5), g, atol=1e-12)
    others = [f[i] - np.delete(f, i).mean() for i in range(30)]
    np.testing.assert_allclose(g, others, atol=1e-12)
    assert calibrated_gradient([3.0]).tolist() == [0.0]
    with pytest.raises(ValueError, match="potential"):
        calibrated_gradient([])


@pytest.mark.parametrize("smoothed", [False, True])
def test_one_target_is_the_mean_distance(smoothed):
    X, Y = points(9, 1)
    C = pairwise_costs(X, Y)[:, 0]
    found = sinkhorn(X, Y) if smoothed else exact_transport(C[:, None])
    assert abs(found.value - C.mean()) < 1e-12
    np.testing.assert_allclose(found.source - found.source.mean(), C - C.mean(), atol=1e-12)


def test_a_pool_that_is_the_target_costs_nothing():
    X, _ = points(7)
    C = pairwise_costs(X, X)
    np.fill_diagonal(C, 0)
    found = exact_transport(C)
    assert abs(found.value) < 1e-12
    # Prices of zero are among the right ones: they are feasible, and worth the value.
    assert C.min() >= 0


@pytest.mark.parametrize("seed", range(3))
def test_on_a_line_the_value_is_that_of_sorted_differences(seed):
    X, Y = points(30, 30, 1, seed)
    closed = np.abs(np.sort(X[:, 0]) - np.sort(Y[:, 0])).mean()
    assert abs(exact_transport(pairwise_costs(X, Y)).value - closed) < 1e-9
    assert abs(closed - wasserstein_distance(X[:, 0], Y[:, 0])) < 1e-12


@pytest.mark.parametrize("reach", [2e-3, 1e-6])
def test_a_large_program_cut_down_has_the_same_value(reach, monkeypatch):
    X, Y = cats_and_dogs(2, 148, 20)
    C = pairwise_costs(X, Y)
    whole = exact_transport(C)
    monkeypatch.setattr(transport, "_WHOLE_PROGRAM", 0)
    monkeypatch.setattr(transport, "_REACH", reach)
    found = exact_transport(C)
    assert (found.iterations > 1) == (reach < 1e-3)  # a small reach has to be widened
    assert abs(found.value - whole.value) < 1e-9
    assert abs(found.source.mean() + found.target.mean() - whole.value) < 1e-9
    assert (C - found.source[:, None] - found.target).min() > -1e-12
    assert found.error < 1e-9
    assert exact_transport(np.zeros((20, 9))).value == 0
    assert abs(exact_transport(np.full((20, 9), 3.0)).value - 3) < 1e-12


# --- smoothed -------------------------------------------------------------------------------------


def textbook_sinkhorn(C, a, b, eps, iterations):
    h = np.zeros(len(b))
    for _ in range(iterations):
        f = -eps * logsumexp((h - C) / eps, b=b, axis=1)
        h = -eps * logsumexp((f[:, None] - C) / eps, b=a[:, None], axis=0)
    return f, h


@pytest.mark.parametrize("cost", ["euclidean", "sqeuclidean", "cosine"])
def test_sinkhorn_is_the_textbooks(cost):
    rng = np.random.default_rng(4)
    X, Y = points(12, 7)
    C, a, b = pairwise_costs(X, Y, cost), rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(7))
    eps = 0.1 * float(a @ C @ b)
    found = sinkhorn(
        X, Y, cost=cost, epsilon=0.1, tolerance=1e-10, source_weights=a, target_weights=b
    )
    f, h = textbook_sinkhorn(C, a, b, eps, 1_000)
    np.testing.assert_allclose(found.source - a @ found.source, f - a @ f, atol=1e-7)
    np.testing.assert_allclose(found.target - b @ found.target, h - b @ h, atol=1e-7)
    plan = plan_of(found, C, a, b, eps)
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-12)
    assert abs(np.abs(plan.sum(axis=0) - b).sum() - found.error) < 1e-12
    assert abs((plan * C).sum() - found.value) < 1e-9


def test_sinkhorn_tends_to_the_exact_prices():
    X, Y = points()
    C = pairwise_costs(X, Y)
    exact = exact_transport(C)
    gaps, values = [], []
    for eps in (1, 0.3, 0.1, 0.03, 0.01):
        found = sinkhorn(X, Y, epsilon=eps / C.mean(), iterations=50_000)
        gap = (found.source - found.source.mean()) - (exact.source - exact.source.mean())
        gaps.append(np.abs(gap).max())
        values.append(found.value)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.03
    assert values == sorted(values, reverse=True)
    assert exact.value <= values[-1] < exact.value + 0.005


@pytest.mark.parametrize("setting", [("_CELLS", 64), ("_KEPT_BYTES", 0), ("_PRECISE_CELLS", 0)])
def test_blocks_and_precision_change_nothing(setting, monkeypatch):
    X, Y = points(300, 11, 6)
    expected = sinkhorn(X, Y)
    monkeypatch.setattr(transport, *setting)
    found = sinkhorn(X, Y)
    close = 1e-5 if setting[0] == "_PRECISE_CELLS" else 1e-10
    np.testing.assert_allclose(found.source, expected.source, atol=close)
    assert abs(found.value - expected.value) < close


def test_permuted_rows_have_permuted_prices():
    X, Y = points(50, 9)
    order = np.random.default_rng(1).permutation(50)
    np.testing.assert_allclose(
        sinkhorn(X[order], Y).source, sinkhorn(X, Y).source[order], atol=1e-9
    )
    C = pairwise_costs(X, Y)
    f, moved = exact_transport(C).source, exact_transport(C[order]).source
    np.testing.assert_allclose(calibrated_gradient(moved), calibrated_gradient(f)[order], atol=1e-9)


def test_far_apart_and_little_smoothing_do_not_underflow():
    X, Y = cats_and_dogs(5, 95, 10)
    X[0], Y[0] = (1e4, 0), (-1e4, 0)
    found = sinkhorn(X, Y, epsilon=1e-3, iterations=5_000, tolerance=1e-4)
    exact = exact_transport(pairwise_costs(X, Y))
    assert found.converged
    assert np.isfinite(found.source).all()
    assert abs(found.value / exact.value - 1) < 0.01


def test_identical_points_cost_nothing():
    found = sinkhorn(np.ones((5, 3)), np.ones((2, 3)))
    assert found.value == 0
    assert found.converged
    assert found.source.tolist() == [0] * 5


def test_no_matrix_of_all_pairs(monkeypatch):
    X, Y = points(4_000, 500, 8)
    sinkhorn(X[:9], Y[:9])  # compile
    monkeypatch.setattr(transport, "_KEPT_BYTES", 0)
    monkeypatch.setattr(transport, "_PRECISE_CELLS", 0)
    monkeypatch.setattr(transport, "_CELLS", 50_000)
    tracemalloc.start()
    sinkhorn(X, Y, tolerance=1e-2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000 * 500 * 4 / 2


def test_it_says_when_it_has_not_converged():
    X, Y = points(30, 9)
    with pytest.warns(UserWarning, match="not converged in 3 iterations"):
        found = sinkhorn(X, Y, epsilon=0.01, iterations=3)
    assert not found.converged
    assert found.iterations == 3
    assert found.error > 1e-6


# --- the bound and the example --------------------------------------------------------------------


def test_the_gradient_predicts_a_small_mixture_from_below():
    X, Y = cats_and_dogs(4, 196, 25)
    C = pairwise_costs(X, Y)
    base = exact_transport(C)
    chosen = base.source.argsort()[:4]
    assert chosen.min() >= 196
    for share in (0.05, 0.2):
        a = (1 - share) * uniform(200)
        a[chosen] += share / 4
        change = exact_transport(C, a).value - base.value
        linear = share * (base.source[chosen].mean() - base.source.mean())
        assert change >= linear - 1e-9
        if share == 0.05:
            assert abs(change / linear - 1) < 0.01


# --- hostile input --------------------------------------------------------------------------------


def test_weights_that_do_not_sum_to_one_are_scaled():
    X, Y = points()
    C = pairwise_costs(X, Y)
    with pytest.warns(UserWarning, match="source_weights sum to 8"):
        assert abs(exact_transport(C, np.ones(8)).value - exact_transport(C).value) < 1e-12
    with pytest.warns(UserWarning, match="target_weights sum to 10"):
        found = sinkhorn(X, Y, target_weights=np.full(5, 2))
    np.testing.assert_allclose(found.source, sinkhorn(X, Y).source)


@pytest.mark.parametrize("weights", [[1, 2], np.zeros(8), np.full(8, np.nan), -np.ones(8)])
def test_weights_that_make_no_sense_are_refused(weights):
    X, Y = points()
    with pytest.raises(ValueError, match="source_weights"):
        sinkhorn(X, Y, source_weights=weights)
    with pytest.raises(ValueError, match="source_weights"):
        exact_transport(pairwise_costs(X, Y), weights)


@pytest.mark.parametrize(
    ("X", "Y", "word"),
    [
        (np.ones((3, 2)), np.ones((3, 3)), "source"),
        (np.ones((0, 2)), np.ones((3, 2)), "source"),
        (np.ones((3, 2)), np.ones((0, 2)), "target"),
        (np.array([[np.nan, 1.0]]), np.ones((3, 2)), "source holds"),
        (np.ones((3, 2)), np.array([[np.inf, 1.0]]), "target holds"),
    ],
)
def test_vectors_that_make_no_sense_are_refused(X, Y, word):
    for function in (sinkhorn, pairwise_costs, nearest_costs):
        with pytest.raises(ValueError, match=word):
            function(X, Y)


@pytest.mark.parametrize("setting", [{"epsilon": 0}, {"iterations": 0}, {"tolerance": np.nan}])
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        sinkhorn(*points(), **setting)


def test_other_requests_that_make_no_sense():
    with pytest.raises(ValueError, match="no cost 'taxi'"):
        sinkhorn(*points(), cost="taxi")
    with pytest.raises(ValueError, match="finite"):
        exact_transport([[np.nan]])
    with pytest.raises(ValueError, match="use sinkhorn"):
        exact_transport(np.broadcast_to(1.0, (6_000, 6_000)))
