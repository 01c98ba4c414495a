"""The baselines of coverage-centric selection, against plain loops."""

import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select.clusters import medians
from samplewise.select.hardest import Hardest
from samplewise.select.moderate import distances_to_mean


def random_pool(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 200))
    labels = rng.choice(["a", "b", "c", "d"], n, p=[0.6, 0.25, 0.1, 0.05])
    return sw.Pool.from_arrays(
        rng.normal(size=(n, 3)), y=labels, score=rng.normal(size=n).round(1)
    ), labels


@pytest.mark.parametrize("seed", range(10))
def test_hardest_is_the_beginning_of_a_stable_sort(seed):
    pool, _ = random_pool(seed)
    n = 1 + len(pool) // 3
    order = np.argsort(-pool.score, kind="stable")
    assert sw.select(pool, n, "hardest").indices.tolist() == order[:n].tolist()
    order = np.argsort(pool.score, kind="stable")
    assert sw.select(pool, n, "hardest", hard="low").indices.tolist() == order[:n].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_hardest_per_class_takes_each_classs_own_share(seed):
    pool, labels = random_pool(seed)
    n = 1 + len(pool) // 3
    rows = sw.select(pool, n, "hardest", per_class=True).indices
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        taken = rows[labels[rows] == label]
        assert abs(len(taken) - n * len(own) / len(pool)) < 1
        order = own[np.argsort(-pool.score[own], kind="stable")]
        assert taken.tolist() == order[: len(taken)].tolist()


def test_hardest_needs_groups_only_per_class():
    pool = sw.Pool.from_arrays(np.eye(4), score=[1, 2, 3, 4])
    assert sw.select(pool, 1, "hardest").indices.tolist() == [3]
    with pytest.raises(InputError, match="source or a label"):
        sw.select(pool, 1, "hardest", per_class=True)
    with pytest.raises(UsageError, match="knob 'hard'"):
        Hardest(hard="best")


@pytest.mark.parametrize("seed", range(10))
def test_moderate_takes_the_rows_nearest_each_classs_median(seed):
    pool, labels = random_pool(seed)
    n = 1 + len(pool) // 3
    selection = sw.select(pool, n, "moderate")
    rows, X = selection.indices, pool.embeddings.astype(np.float64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        distance = np.linalg.norm(X[own] - X[own].mean(axis=0), axis=1)
        np.testing.assert_allclose(selection.columns["distance"][own], distance, rtol=1e-9)
        gap = np.abs(distance - np.median(distance))
        taken = np.isin(own, rows)
        assert abs(taken.sum() - n * len(own) / len(pool)) < 1
        assert gap[taken].max(initial=0) <= gap[~taken].min(initial=np.inf) + 1e-9


def test_blocks_do_not_change_the_distances(monkeypatch):
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(53, 4)).astype(np.float32), rng.integers(0, 5, 53)
    whole = distances_to_mean(X, groups)
    monkeypatch.setattr("samplewise.select.moderate._BLOCK", 7)
    np.testing.assert_allclose(distances_to_mean(X, groups), whole, rtol=1e-12)


def test_medians_match_numpy():
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=60).round(1), rng.choice([0, 2, 3, 5], 60)
    expected = [np.median(values[groups == g]) if (groups == g).any() else 0 for g in range(6)]
    np.testing.assert_allclose(medians(values, groups), expected)


def test_rows_without_a_class_are_one_of_their_own():
    rows = [{"text": f"row {i}", "label": "a" if i % 2 else None, "score": i} for i in range(20)]
    pool = sw.Pool.from_rows(rows).with_embeddings(np.eye(20))
    for method, knobs in (("moderate", {}), ("hardest", {"per_class": True})):
        chosen = sw.select(pool, 6, method, **knobs).indices
        assert (chosen % 2).sum() == 3
