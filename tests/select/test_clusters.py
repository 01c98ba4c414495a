import numpy as np
import pytest
from scipy import stats

import samplewise as sw
from samplewise.engine.local import LocalEngine
from samplewise.errors import UsageError
from samplewise.select.clusters import (
    KMeansDynamic,
    automatic_clusters,
    best_clusters,
    draw_repeating,
    draw_within,
    dynamic_weights,
)


def blobs(sizes=(50, 30, 20), score=None):
    """Rows in blobs far from each other; the pool's label is the blob."""
    rng = np.random.default_rng(1)
    centres = 50 * np.eye(len(sizes))
    points = np.concatenate(
        [
            rng.normal(centre, 1, (size, len(sizes)))
            for centre, size in zip(centres, sizes, strict=True)
        ]
    )
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return sw.Pool.from_arrays(points.astype(np.float32), y=owner, score=score), owner


def test_allocation_is_proportional_or_equal():
    pool, owner = blobs()
    knobs = {"clusters": 3, "restarts": 10, "rng": 0}
    chosen = sw.select(pool, 10, "kmeans-random", **knobs).indices
    assert np.bincount(owner[chosen]).tolist() == [5, 3, 2]
    chosen = sw.select(pool, 9, "kmeans-random", allocation="equal", **knobs).indices
    assert np.bincount(owner[chosen]).tolist() == [3, 3, 3]


def test_equal_allocation_hands_on_what_a_small_cluster_cannot_take():
    pool, owner = blobs((50, 45, 5))
    chosen = sw.select(
        pool, 60, "kmeans-random", clusters=3, restarts=10, allocation="equal", rng=0
    ).indices
    counts = np.bincount(owner[chosen])
    assert counts[2] == 5
    assert counts.sum() == 60
    assert abs(counts[0] - counts[1]) <= 1


def test_one_cluster_drawn_uniformly_is_simple_random_sampling():
    pool = sw.Pool.from_arrays(np.random.default_rng(0).normal(size=(12, 2)))
    hits = np.zeros(12)
    for seed in range(600):
        hits[sw.select(pool, 3, "kmeans-random", clusters=1, iterations=1, rng=seed).indices] += 1
    # Counts of draws without replacement vary less than multinomial ones by (n - b) / (n - 1).
    statistic = np.sum((hits - 150) ** 2 / 150) * 11 / 9
    assert stats.chi2.sf(statistic, 11) > 1e-3


def test_a_cluster_a_row_and_the_whole_budget_returns_all_rows():
    pool = sw.Pool.from_arrays(np.random.default_rng(0).normal(size=(20, 2)))
    chosen = sw.select(pool, 20, "kmeans-random", clusters=20, rng=0).indices
    assert sorted(chosen.tolist()) == list(range(20))


def test_low_temperature_takes_the_best_of_each_cluster():
    score = np.random.default_rng(5).normal(size=100)
    pool, owner = blobs(score=score)
    chosen = sw.select(
        pool, 10, "kmeans-quality", clusters=3, restarts=10, temperature=1e-6, rng=0
    ).indices
    best = [
        row
        for blob, count in enumerate([5, 3, 2])
        for row in sorted(np.flatnonzero(owner == blob), key=lambda row: -score[row])[:count]
    ]
    assert sorted(chosen.tolist()) == sorted(best)


@pytest.mark.parametrize("knobs", [{"score": np.full(100, 7.5)}, {"temperature": 1e12}])
def test_constant_quality_or_high_temperature_is_kmeans_random(knobs):
    score = knobs.pop("score", np.random.default_rng(5).normal(size=100))
    pool, _ = blobs(score=score)
    quality = sw.select(pool, 10, "kmeans-quality", clusters=3, rng=4, **knobs).indices
    random = sw.select(pool, 10, "kmeans-random", clusters=3, rng=4).indices
    assert quality.tolist() == random.tolist()


def test_draws_with_replacement_follow_the_softmax():
    quality = np.array([0.3, 1.0, -0.5, 2.0, 0.0])
    pool = sw.Pool.from_arrays(np.zeros((5, 2)), score=quality)
    labels, counts = np.zeros(5, np.int32), np.array([20_000])
    draws = draw_repeating(labels, counts, quality, np.random.default_rng(0))
    expected = np.exp(quality) / np.exp(quality).sum()
    error = np.sqrt(expected * (1 - expected) / 20_000)
    assert np.all(np.abs(np.bincount(draws, minlength=5) / 20_000 - expected) < 4 * error)
    chosen = sw.select(pool, 5, "kmeans-quality", replacement=True, clusters=1, rng=0)
    assert len(chosen) == 5


def test_draws_with_replacement_stay_in_their_cluster():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 500)
    labels[labels == 2] = 3
    counts = np.array([10, 0, 0, 50, 7, 900])
    draws = draw_repeating(labels, counts, 300 * rng.normal(size=500), rng)
    assert np.bincount(labels[draws], minlength=6).tolist() == counts.tolist()


def test_draw_within_is_a_sort_of_each_cluster():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 9, 400)
    keys = rng.integers(0, 30, 400).astype(float)
    counts = np.minimum(np.bincount(labels[labels >= 0], minlength=9), rng.integers(0, 60, 9))
    chosen = draw_within(labels, counts, keys)
    for cluster in range(9):
        rows = np.flatnonzero(labels == cluster)
        best = sorted(rows, key=lambda row: (-keys[row], row))[: counts[cluster]]
        assert [row for row in chosen if labels[row] == cluster] == best
    assert len(chosen) == counts.sum()


def test_closest_takes_the_rows_nearest_to_the_centroid():
    pool, owner = blobs()
    selection = sw.select(pool, 10, "kmeans-closest", clusters=3, restarts=10, rng=0)
    for blob, count in enumerate([5, 3, 2]):
        rows = np.flatnonzero(owner == blob)
        points = pool.embeddings[rows]
        distances = np.linalg.norm(points - points.mean(0), axis=1)
        nearest = rows[np.argsort(distances)[:count]]
        assert set(nearest) <= set(selection.indices.tolist())


def test_median_takes_the_rows_at_the_median_distance():
    pool, owner = blobs((51, 31, 21))
    selection = sw.select(pool, 3, "kmeans-median", clusters=3, restarts=10, rng=0)
    for blob in range(3):
        rows = np.flatnonzero(owner == blob)
        points = pool.embeddings[rows]
        distances = np.linalg.norm(points - points.mean(0), axis=1)
        assert rows[np.argsort(distances)[len(rows) // 2]] in selection.indices


def test_the_beginning_of_a_selection_is_spread_over_the_clusters():
    pool, owner = blobs((40, 40, 40))
    chosen = sw.select(pool, 30, "kmeans-random", clusters=3, restarts=10, rng=0).indices
    assert sorted(owner[chosen[:3]].tolist()) == [0, 1, 2]


def test_silhouette_finds_the_number_of_blobs(monkeypatch):
    monkeypatch.setattr("samplewise.select.clusters._GRID", (2, 3, 5, 9))
    pool, _ = blobs((60, 60, 60))
    rng = np.random.default_rng(0)
    assert best_clusters(pool.embeddings, 60, rng, LocalEngine()) == 3
    selection = sw.select(pool, 60, "kmeans-random", clusters="silhouette", rng=0)
    assert len(np.unique(selection.columns["cluster"])) == 3


def test_automatic_clusters():
    assert [automatic_clusters(n) for n in (1, 3, 40, 2_759, 10**6)] == [1, 1, 10, 689, 1_024]


@pytest.mark.parametrize(
    "knobs",
    [
        {"clusters": 0},
        {"clusters": "many"},
        {"iterations": 0},
        {"restarts": -1},
        {"allocation": "fair"},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"nothing": 1},
    ],
)
def test_a_wrong_knob_is_named(knobs):
    pool, _ = blobs(score=np.zeros(100))
    with pytest.raises(UsageError, match=next(iter(knobs))):
        sw.select(pool, 5, "kmeans-quality", **knobs)


def test_dynamic_rounds_follow_the_quality_just_drawn():
    X, score = np.repeat(np.eye(3), 100, axis=0), np.repeat([0.0, 1.0, 3.0], 100)
    pool = sw.Pool.from_arrays(X, score=score)
    knobs = {"clusters": 3, "restarts": 5, "per_round": 4}
    chosen = sw.select(pool, 48, "kmeans-dynamic", rng=0, **knobs).indices // 100
    # First round 4, 4, 4; then by quality 0 : 4 : 12, so 0, 3, 9; then 0 : 3 : 27, ...
    assert np.bincount(chosen[:12], minlength=3).tolist() == [4, 4, 4]
    assert np.bincount(chosen[12:24], minlength=3).tolist() == [0, 3, 9]
    assert np.bincount(chosen[24:36], minlength=3).tolist() == [0, 1, 11]


def test_dynamic_weights_by_hand():
    drawn = np.array([2, 2, 0])
    found = dynamic_weights(np.ones(3), drawn, np.array([1.0, 3.0, 0.0]))
    np.testing.assert_allclose(found, [1 / 6, 1 / 2, 1 / 3])
    np.testing.assert_allclose(dynamic_weights(np.ones(3), drawn, np.zeros(3)), np.ones(3) / 3)


def test_dynamic_with_one_quality_keeps_equal_shares():
    X = np.repeat(np.eye(4), 50, axis=0)
    pool = sw.Pool.from_arrays(X, score=np.full(200, 1e308))
    knobs = {"clusters": 4, "restarts": 5, "per_round": 5}
    chosen = sw.select(pool, 100, "kmeans-dynamic", rng=0, **knobs).indices
    assert np.bincount(chosen // 50).tolist() == [25] * 4
    assert KMeansDynamic().automatic(2_759) == 91
    with pytest.raises(UsageError, match="per_round"):
        KMeansDynamic(per_round=0)
