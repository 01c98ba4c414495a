"""Coverage figures against brute force over all pairs."""

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure.coverage import (
    cluster_entropy,
    facility_location,
    nearest_distances,
    nearest_similarities,
    share_of_clusters_covered,
)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("n", "b", "d"), [(1, 1, 1), (200, 7, 5), (50, 80, 33)])
def test_nearest_distances_match_brute_force(n, b, d, offset):
    rng = np.random.default_rng(n)
    rows = (rng.normal(size=(n, d)) + offset).astype(np.float32)
    picks = (rng.normal(size=(b, d)) + offset).astype(np.float32)
    gaps = rows[:, None].astype(np.float64) - picks[None]
    expected = np.sqrt((gaps**2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(nearest_distances(rows, picks), expected, rtol=1e-3)


def test_a_chosen_row_is_at_distance_zero_exactly():
    rows = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32) + 5
    assert not nearest_distances(rows, rows[::-1]).any()


def test_facility_location_matches_brute_force():
    rng = np.random.default_rng(1)
    rows, picks = rng.normal(size=(200, 9)), rng.normal(size=(11, 9))
    cosines = [max(r @ p / math.sqrt((r @ r) * (p @ p)) for p in picks) for r in rows]
    np.testing.assert_allclose(nearest_similarities(rows, picks), cosines, atol=1e-6)
    assert facility_location(rows, picks) == pytest.approx(np.mean(cosines), abs=1e-6)


def test_similarity_ignores_length_and_takes_zero_vectors():
    rows = np.array([[0.0, 0.0], [1e-6, 0.0], [0.0, 1e6]])
    assert nearest_similarities(rows, [[5.0, 0.0]]).tolist() == [0.0, 1.0, 0.0]


def test_blocks_do_not_change_the_answer(monkeypatch):
    rng = np.random.default_rng(2)
    rows, picks = rng.normal(size=(101, 4)), rng.normal(size=(13, 4))
    whole = nearest_distances(rows, picks)
    monkeypatch.setattr("samplewise.measure.coverage._CELLS", 40)
    np.testing.assert_array_equal(nearest_distances(rows, picks), whole)


def test_memory_stays_far_below_all_pairs():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(20_000, 4)).astype(np.float32)
    tracemalloc.start()
    nearest_distances(rows, rows[:10_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all pairs would take 800 MB


@pytest.mark.parametrize("function", [nearest_distances, nearest_similarities])
@pytest.mark.parametrize(
    ("rows", "picks"), [([[1, 2]], [[1]]), ([1, 2], [[1, 2]]), ([[1, 2]], np.empty((0, 2)))]
)
def test_shapes_that_do_not_fit_are_refused(function, rows, picks):
    with pytest.raises(ValueError, match="give"):
        function(rows, picks)


@given(st.lists(st.integers(-3, 5), min_size=1, max_size=40), st.data())
def test_cluster_figures_match_counting(labels, data):
    chosen = data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=1))
    held = Counter(labels[i] for i in chosen)
    clusters = len(set(labels))
    shares = [count / len(chosen) for count in held.values()]
    entropy = -sum(share * math.log(share) for share in shares)
    expected = entropy / math.log(clusters) if clusters > 1 else 1.0
    for kind in (labels, [str(label) for label in labels], [label + 10**9 for label in labels]):
        assert cluster_entropy(kind, chosen) == pytest.approx(expected, abs=1e-12)
        assert share_of_clusters_covered(kind, chosen) == pytest.approx(len(held) / clusters)


@pytest.mark.parametrize("function", [cluster_entropy, share_of_clusters_covered])
def test_nothing_chosen_is_refused(function):
    with pytest.raises(ValueError, match="give"):
        function([1, 2], [])
