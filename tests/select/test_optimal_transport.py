import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.measure.transport import pairwise_costs, sinkhorn
from samplewise.select.optimal_transport import OptimalTransport, rank_by_gradient


def aimed(X, Y):
    return sw.Pool.from_arrays(np.asarray(X)).with_target(sw.Pool.from_arrays(np.asarray(Y)))


def cats_and_dogs(rare, common, target, seed=0):
    rng = np.random.default_rng(seed)
    dog = np.array([5.0, 0.0])
    X = np.concatenate([rng.normal(0, 0.3, (common, 2)), dog + rng.normal(0, 0.3, (rare, 2))])
    Y = np.concatenate([rng.normal(0, 0.3, (target, 2)), dog + rng.normal(0, 0.3, (target, 2))])
    return X, Y


@pytest.mark.parametrize(
    ("solver", "sizes"), [("sinkhorn", (20, 1_980, 100)), ("exact", (5, 295, 15))]
)
def test_what_the_pool_lacks_is_chosen(solver, sizes):
    rare, common, _ = sizes
    pool = aimed(*cats_and_dogs(*sizes))
    chosen = sw.select(pool, rare, "got-d", solver=solver).indices
    assert sorted(chosen.tolist()) == list(range(common, common + rare))
    near = sw.select(pool, rare, "nearest-to-target").indices
    assert (near >= common).sum() < rare / 2  # a match of places cannot tell


def test_repel_leaves_alone_what_is_like_the_target():
    rng = np.random.default_rng(1)
    X, _ = cats_and_dogs(20, 1_980, 1)
    pool = aimed(X, np.array([5.0, 0]) + rng.normal(0, 0.3, (200, 2)))
    assert sw.select(pool, 50, "optimal-transport", mode="repel").indices.max() < 1_980


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
def test_one_target_row_is_nearest_first_and_farthest_first(metric):
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(40, 3)), rng.normal(size=(1, 3))
    C = pairwise_costs(X, Y, metric)[:, 0]
    for mode, order in (("attract", C.argsort()), ("repel", (-C).argsort())):
        selection = sw.select(aimed(X, Y), 40, "optimal-transport", metric=metric, mode=mode)
        assert selection.indices.tolist() == order.tolist()
        gradient, potential = selection.columns["gradient"], selection.columns["potential"]
        np.testing.assert_allclose(gradient, 40 / 39 * (C - C.mean()), atol=1e-6)
        np.testing.assert_allclose(potential - potential.mean(), C - C.mean(), atol=1e-6)
        np.testing.assert_allclose(selection.columns["distance"], C, atol=1e-5)


def test_repel_is_attract_of_the_negated_gradient():
    g = np.random.default_rng(3).normal(size=50).round(1)
    assert rank_by_gradient(g, "repel").tolist() == rank_by_gradient(-g).tolist()
    assert rank_by_gradient(g).tolist() == np.argsort(g, kind="stable").tolist()


def test_rounding_does_not_order_equal_rows():
    g = np.array([1.0, 1.0 - 1e-13, -2.0, 1.0 + 1e-13])
    assert rank_by_gradient(g).tolist() == [2, 0, 1, 3]
    assert rank_by_gradient(np.zeros(3), "repel").tolist() == [0, 1, 2]


def test_rows_too_far_from_the_target_come_last():
    X = np.array([[0.0], [1.0], [50.0], [2.0], [60.0]])
    pool = aimed(X, [[0.0], [1.0]])
    first = sw.select(pool, 2, "optimal-transport", mode="repel").indices
    assert sorted(first.tolist()) == [2, 4]
    capped = sw.select(pool, 5, "optimal-transport", mode="repel", max_distance=10).indices
    assert capped.tolist()[0] == 3
    assert capped.tolist()[3:] == [4, 2]


def test_auto_is_exact_where_rows_are_few():
    X, Y = cats_and_dogs(10, 90, 10)
    pool = aimed(X, Y)
    by = {
        solver: sw.select(pool, 5, "optimal-transport", solver=solver).columns["potential"]
        for solver in ("auto", "exact", "sinkhorn")
    }
    assert np.array_equal(by["auto"], by["exact"])
    assert not np.allclose(by["auto"], by["sinkhorn"])
    large = aimed(*cats_and_dogs(10, 990, 10))
    found = sw.select(large, 5, "optimal-transport").columns["potential"]
    expected = sinkhorn(large.embeddings, large.target.embeddings).source
    assert np.array_equal(found, expected)


def test_too_many_pairs_for_the_exact_solver_are_refused_before_any_work():
    pool = aimed(np.ones((1_001, 2)), np.ones((500, 2)))
    with pytest.raises(UsageError, match="500,500 pairs"):
        sw.select(pool, 5, "optimal-transport", solver="exact")


def test_a_target_of_other_dimensions_is_refused():
    with pytest.raises(InputError, match="3 dimensions, and the pool's have 2"):
        sw.select(aimed(np.ones((4, 2)), np.ones((4, 3))), 2, "optimal-transport")


def test_a_run_that_does_not_converge_warns():
    pool = aimed(*cats_and_dogs(2, 50, 5))
    with pytest.warns(UserWarning, match="not converged"):
        sw.select(pool, 5, "optimal-transport", solver="sinkhorn", iterations=2)


@pytest.mark.parametrize(
    "knobs",
    [
        {"metric": "taxi"},
        {"solver": "guess"},
        {"mode": "ignore"},
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
        {"iterations": 0},
        {"tolerance": -1.0},
        {"max_distance": 0.0},
    ],
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        OptimalTransport(**knobs)
