import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.select import k_center
from samplewise.select.k_center import farthest_first


def brute_force(X, n, first):
    """Greedy by the definition, over the whole distance matrix."""
    X = X.astype(np.float64)
    matrix = ((X[:, None] - X[None]) ** 2).sum(axis=2)
    chosen = [first]
    while len(chosen) < n:
        nearest = matrix[:, chosen].min(axis=1)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen, np.sqrt(matrix[:, chosen].min(axis=1))


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([1, 2, 5, 256, 257, 600]))
@settings(max_examples=60)
def test_picks_are_those_of_brute_force_ties_included(seed, m, d):
    rng = np.random.default_rng(seed)
    # Small whole numbers: squares are exact in float32, and ties and duplicates are many.
    X = rng.integers(-2, 3, (m, d)).astype(np.float32)
    n, first = int(rng.integers(1, m + 1)), int(rng.integers(m))
    indices, distances = farthest_first(X, n, first)
    expected, nearest = brute_force(X, n, first)
    assert indices.tolist() == expected
    np.testing.assert_allclose(distances, nearest, rtol=1e-6)


@pytest.mark.parametrize("centre", [0.0, 1e3])
def test_picks_are_those_of_brute_force_on_real_numbers(centre):
    rng = np.random.default_rng(0)
    blobs = rng.normal(size=(12, 100))[rng.integers(0, 12, 600)]
    X = (centre + blobs + 0.2 * rng.normal(size=(600, 100))).astype(np.float32)
    indices, distances = farthest_first(X, 200, 17)
    expected, nearest = brute_force(X, 200, 17)
    assert indices.tolist() == expected
    np.testing.assert_allclose(distances, nearest, rtol=1e-4)


def test_threads_change_nothing(monkeypatch):
    X = np.random.default_rng(0).integers(0, 3, (999, 3)).astype(np.float32)
    alone = farthest_first(X, 40, 5)[0].tolist()
    monkeypatch.setattr(k_center, "_PART", 100)
    monkeypatch.setattr(k_center, "cores", lambda: 7)
    assert farthest_first(X, 40, 5)[0].tolist() == alone == brute_force(X, 40, 5)[0]


def test_what_remains_is_at_most_twice_the_best_possible():
    from itertools import combinations

    X = np.random.default_rng(3).normal(size=(14, 2)).astype(np.float32)
    matrix = np.linalg.norm(X[:, None] - X[None], axis=2)
    best = min(matrix[:, list(centres)].min(axis=1).max() for centres in combinations(range(14), 3))
    for first in range(14):
        assert best * 0.999 <= farthest_first(X, 3, first)[1].max() <= 2 * best


def test_duplicates_are_filled_by_lowest_index():
    X = np.zeros((6, 3), np.float32)
    assert farthest_first(X, 4, 2)[0].tolist() == [2, 0, 1, 3]
    X[5] = 1
    assert farthest_first(X, 4, 2)[0].tolist() == [2, 5, 0, 1]


def test_the_first_pick_is_uniform_and_the_column_is_a_distance():
    pool = sw.Pool.from_arrays(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    firsts = [int(sw.select(pool, 1, "k-center", rng=seed).indices[0]) for seed in range(600)]
    assert min(np.bincount(firsts, minlength=3)) > 150
    selection = sw.select(pool, 1, "k-center", rng=firsts.index(0))
    np.testing.assert_allclose(selection.columns["distance"], [0, 5, 1])


def test_memory_mapped_and_strided_vectors_give_the_same_rows(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = sw.Pool.read(tmp_path / "X.npy")
    assert isinstance(mapped.embeddings, np.memmap)
    expected = sw.select(sw.Pool.from_arrays(X), 30, "k-center", rng=0).indices.tolist()
    assert sw.select(mapped, 30, "k-center", rng=0).indices.tolist() == expected
    assert farthest_first(np.asfortranarray(X), 30, expected[0])[0].tolist() == expected


def test_speed():
    X = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    farthest_first(X[:10], 2, 0)  # compile
    start = time.perf_counter()
    farthest_first(X, 500, 0)
    assert time.perf_counter() - start < 5  # 0.3 s on two cores; an n x n matrix takes minutes


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 20]), st.sampled_from([1, 8, 50]))
@settings(max_examples=40)
def test_following_few_rows_changes_nothing(seed, few, block):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (120, 3)).astype(np.float32)
    n, first = int(rng.integers(1, 121)), int(rng.integers(120))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_center, "_FEW", few)
        patch.setattr(k_center, "_BLOCK", block)
        indices, distances = farthest_first(X, n, first)
    expected, nearest = brute_force(X, n, first)
    assert indices.tolist() == expected
    np.testing.assert_allclose(distances, nearest, rtol=1e-6)


def test_squares_that_overflow_are_no_error():
    X = np.array([[1e30, 0], [-1e30, 0], [0, 1], [0, 2]], dtype=np.float32)
    assert sorted(farthest_first(X, 4, 2)[0].tolist()) == [0, 1, 2, 3]
