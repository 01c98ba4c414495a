import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.measure.transport import pairwise_costs
from samplewise.select import nearest
from samplewise.select.nearest import NearestToTarget, TaskNeighbours, take_turns


def problem(n=200, m=7, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    pool = sw.Pool.from_arrays(X.astype(np.float32))
    return pool.with_target(sw.Pool.from_arrays(Y.astype(np.float32)))


def dense(pool, metric, seed=0):
    """Costs, the target rows in the order of their turns."""
    order = np.random.default_rng(seed).permutation(len(pool.target))
    return pairwise_costs(pool.embeddings, pool.target.embeddings[order], metric)


def turns_by_hand(C, n):
    """Round by round, every target row takes its next nearest row, if it is free."""
    order, taken = C.argsort(axis=0, kind="stable"), []
    for place in range(len(C)):
        for target in range(C.shape[1]):
            if order[place, target] not in taken:
                taken.append(int(order[place, target]))
    return taken[:n]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_first(metric):
    pool = problem()
    C = dense(pool, metric).min(axis=1)
    selection = sw.select(pool, 200, "nearest-to-target", metric=metric)
    assert selection.indices.tolist() == C.argsort().tolist()
    np.testing.assert_allclose(selection.columns["distance"], C, atol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 30, 200])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [2**18, 33])
def test_every_target_takes_its_turn(metric, n, block, monkeypatch):
    monkeypatch.setattr(nearest, "_PRODUCTS", block)
    pool = problem()
    found = sw.select(pool, n, "tapt", rng=0, metric=metric).indices.tolist()
    assert found == turns_by_hand(dense(pool, metric), n)


def test_where_neighbours_are_too_many_the_nearest_fill_the_rest(monkeypatch):
    monkeypatch.setattr(nearest, "_NEIGHBOURS", 14)  # two for each of seven
    pool = problem()
    C = dense(pool, "euclidean")
    begin = turns_by_hand(np.where(np.sort(C, axis=0)[1] >= C, C, np.inf), 200)[:14]
    both = set(C.argsort(axis=0)[:2].ravel().tolist())
    found = sw.select(pool, 50, "tapt", rng=0).indices.tolist()
    assert found[: len(both)] == begin[: len(both)]
    rest = [row for row in C.min(axis=1).argsort().tolist() if row not in both]
    assert found[len(both) :] == rest[: 50 - len(both)]


def test_a_small_budget_serves_any_target_row():
    pool = sw.Pool.from_arrays(np.eye(6)).with_target(sw.Pool.from_arrays(np.eye(6)))
    first = {int(sw.select(pool, 1, "tapt", rng=seed).indices[0]) for seed in range(60)}
    assert first == set(range(6))


def test_ties_go_to_the_lowest_index():
    pool = sw.Pool.from_arrays(np.array([[1.0], [0], [0], [1]]))
    pool = pool.with_target(sw.Pool.from_arrays(np.array([[0.0]])))
    for method in ("nearest-to-target", "tapt"):
        assert sw.select(pool, 4, method).indices.tolist() == [1, 2, 0, 3]


def test_turns_stop_at_the_budget():
    assert take_turns(np.array([[0, 1], [0, 2]]), 10).tolist() == [0, 1, 2]
    assert take_turns(np.array([[0, 1], [0, 2]]), 2).tolist() == [0, 1]


@pytest.mark.parametrize("method", [NearestToTarget, TaskNeighbours])
def test_knobs_are_checked(method):
    with pytest.raises(UsageError, match="knob 'metric'"):
        method(metric="taxi")
