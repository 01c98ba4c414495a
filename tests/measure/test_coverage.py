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
    distribution_cover,
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


def test_cover_of_all_rows_is_zero_and_of_two_ends_is_two():
    rows = np.arange(10.0)[:, None]
    assert distribution_cover(rows, rows).area == 0.0
    cover = distribution_cover(rows, rows[[0, 9]])
    assert cover.area == 2.0
    assert cover.radii.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert cover.shares.tolist() == [(i + 1) / 10 for i in range(10)]


def test_cover_is_the_quantiles_of_the_distance_and_their_integral():
    rng = np.random.default_rng(4)
    rows, picks = rng.normal(size=(157, 5)), rng.normal(size=(9, 5))
    cover = distribution_cover(rows, picks)
    distances = nearest_distances(rows, picks)
    for share, radius in zip(cover.shares, cover.radii, strict=True):
        assert (distances <= radius).mean() >= share - 1e-12
        assert (distances < radius).mean() < share
    # The curve is a staircase: each of its n steps is 1 / n wide.
    assert cover.area == pytest.approx(np.diff(cover.shares, prepend=0.0) @ cover.radii)


def test_cover_never_gets_worse_with_more_rows():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    order = rng.permutation(300)
    areas = [distribution_cover(rows, rows[order[:b]]).area for b in range(1, 301, 13)]
    assert np.diff(areas).max() <= 1e-6
    assert areas[0] > 2 * areas[-1]


def test_cover_of_random_points_on_a_circle():
    rng = np.random.default_rng(6)
    rows = np.linspace(0, 1, 200, endpoint=False)[:, None]
    areas = []
    for _ in range(2_000):
        points = rng.random((9, 1))
        # On the line, images one turn away make the distance that along the circle.
        areas.append(distribution_cover(rows, np.vstack([points - 1, points, points + 1])).area)
    assert np.mean(areas) == pytest.approx(1 / (2 * 10), abs=0.002)


def test_cover_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        distribution_cover(np.empty((0, 2)), [[1.0, 2.0]])
