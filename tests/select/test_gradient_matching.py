from itertools import combinations

import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.select import gradient_matching
from samplewise.select.gradient_matching import Craig, assign, probe_gradients


def distances(X):
    return np.linalg.norm(X[:, None].astype(np.float64) - X[None], axis=2)


def labelled_pool(sizes, seed=0, d=6):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(sizes), d))[y] + rng.normal(size=(len(y), d))
    return sw.Pool.from_arrays(X.astype(np.float32), [f"class {one}" for one in y]), y


@pytest.mark.parametrize("seed", range(8))
def test_every_pick_is_one_of_a_dense_greedy(seed):
    X = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
    gap = distances(X)
    most = gap.max()
    selection = sw.select(sw.Pool.from_arrays(X), 10, "craig")
    served = np.zeros(len(X))
    for step, row in enumerate(selection.indices):
        gain = np.maximum(most - gap - served[:, None], 0).sum(axis=0)
        gain[selection.indices[:step]] = -np.inf
        assert gain[row] >= gain.max() - 1e-3
        if step:  # the first gain holds the constant, of which there is a free choice
            np.testing.assert_allclose(selection.columns["gain"][row], gain[row], atol=1e-3)
        served = np.maximum(served, most - gap[:, row])


def test_within_the_greedy_bound_of_the_best_set():
    X = np.random.default_rng(4).normal(size=(13, 3)).astype(np.float32)
    likeness = distances(X).max() - distances(X)
    worth = {some: likeness[:, list(some)].max(axis=1).sum() for some in combinations(range(13), 3)}
    chosen = tuple(sorted(sw.select(sw.Pool.from_arrays(X), 3, "craig").indices.tolist()))
    assert worth[chosen] >= (1 - 1 / np.e) * max(worth.values())


def test_weights_count_the_rows_nearest_to_each_and_sum_to_all():
    X = np.random.default_rng(1).normal(size=(90, 4)).astype(np.float32)
    selection = sw.select(sw.Pool.from_arrays(X), 9, "craig")
    nearest = distances(X)[:, selection.indices].argmin(axis=1)
    assert selection.weights.tolist() == np.bincount(nearest, minlength=9).tolist()
    assert selection.weights.sum() == 90
    assert (selection.indices[nearest] == selection.columns["stands_for"]).all()


def test_budget_and_weights_are_shared_over_the_classes():
    pool, y = labelled_pool([50, 30, 20])
    selection = sw.select(pool, 10, "craig")
    assert np.bincount(y[selection.indices]).tolist() == [5, 3, 2]
    assert np.bincount(y[selection.indices], selection.weights).tolist() == [50, 30, 20]


def test_rows_of_a_class_that_gives_none_are_counted_with_others():
    pool, y = labelled_pool([40, 40, 1])
    selection = sw.select(pool, 4, "craig")
    assert 2 not in y[selection.indices]
    assert selection.weights.sum() == 81
    assert selection.columns["stands_for"][80] in selection.indices


def test_copies_of_a_chosen_row_keep_a_weight():
    selection = sw.select(sw.Pool.from_arrays(np.ones((7, 2))), 5, "craig")
    assert (selection.weights >= 1).all()
    assert selection.weights.sum() == 7


def test_the_weighted_gradients_add_up_better_than_those_of_random_rows():
    pool, y = labelled_pool([150, 100, 50], seed=5)
    rng = np.random.default_rng(0)
    gradients = probe_gradients(pool.embeddings, y, 1.0, 50, rng)(np.arange(300))
    full = gradients.sum(axis=0)

    def error(rows, weights):
        return np.linalg.norm(weights @ gradients[rows] - full)

    ours = sw.select(pool, 30, "craig")
    random = [error(rng.choice(300, 30, replace=False), np.full(30, 10.0)) for _ in range(50)]
    assert error(ours.indices, ours.weights) < 0.25 * np.median(random)
    assert error(ours.indices, ours.weights) < 0.05 * np.abs(gradients).sum()


def test_gradients_are_probabilities_less_the_truth():
    from sklearn.linear_model import LogisticRegression

    pool, y = labelled_pool([40, 40, 40])
    rng = np.random.default_rng(0)
    found = probe_gradients(pool.embeddings, y, 2.0, 200, rng)(np.arange(120))
    model = LogisticRegression(C=2.0, max_iter=200).fit(pool.embeddings, y)
    np.testing.assert_allclose(
        found, model.predict_proba(pool.embeddings) - np.eye(3)[y], atol=1e-3
    )
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-5)


def test_small_classes_are_one_to_the_probe(monkeypatch):
    monkeypatch.setattr(gradient_matching, "_MOST", 2)
    pool, y = labelled_pool([30, 5, 20, 5])
    gradients = probe_gradients(pool.embeddings, y, 1.0, 50, np.random.default_rng(0))
    assert gradients(np.arange(60)).shape == (60, 3)
    assert len(sw.select(pool, 12, "craig")) == 12


def test_one_class_or_none_is_matched_in_the_embeddings():
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    plain = sw.select(sw.Pool.from_arrays(X), 6, "craig")
    one = sw.select(sw.Pool.from_arrays(X, ["a"] * 50), 6, "craig")
    assert plain.indices.tolist() == one.indices.tolist()


def test_a_part_of_a_class_stands_for_it():
    X = np.random.default_rng(0).normal(size=(2_000, 3)).astype(np.float32)
    pool = sw.Pool.from_arrays(X)

    def left(**knobs):
        chosen = sw.select(pool, 20, "craig", **knobs).indices
        return distances(X)[:, chosen].min(axis=1).sum()

    assert left(reference=400, rng=0) < 1.05 * left()
    assert sw.select(pool, 20, "craig", reference=400, rng=0).weights.sum() == 2_000


def test_assign_is_that_of_all_distances():
    rng = np.random.default_rng(0)
    X, some = (1e3 + rng.normal(size=(m, 5)).astype(np.float32) for m in (5_000, 9))
    exact = np.linalg.norm(X[:, None].astype(np.float64) - some[None], axis=2).argmin(axis=1)
    assert (assign(X, some) == exact).mean() > 0.999


@pytest.mark.parametrize(
    "knobs", [{"reference": 0}, {"iterations": 0}, {"penalty": 0.0}, {"penalty": float("nan")}]
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        Craig(**knobs)
