import itertools

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from samplewise.engine.local import LocalEngine
from samplewise.measure import kmeans as module
from samplewise.measure.kmeans import kmeans, silhouette

ENGINE = LocalEngine(workers=2)


def test_eight_points_in_two_clusters_are_the_best_partition():
    points = np.random.default_rng(3).normal(size=(8, 2)).astype(np.float32)
    found = kmeans(points, 2, rng=np.random.default_rng(0), engine=ENGINE, restarts=30)

    def inertia(members):
        inside = np.isin(np.arange(8), members)
        return sum(((part - part.mean(0)) ** 2).sum() for part in (points[inside], points[~inside]))

    best = min(
        inertia(members)
        for size in range(1, 5)
        for members in itertools.combinations(range(8), size)
    )
    assert found.distances.sum() == pytest.approx(best, rel=1e-5)


def test_as_many_clusters_as_points():
    points = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    found = kmeans(points, 12, rng=np.random.default_rng(0), engine=ENGINE)
    assert sorted(found.labels.tolist()) == list(range(12))
    assert kmeans(points, 99, rng=np.random.default_rng(0), engine=ENGINE).sizes.sum() == 12


def test_labels_do_not_depend_on_threads_or_memory_mapping(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 100)
    points = np.random.default_rng(0).normal(size=(1_050, 16)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert isinstance(module._blocks(mapped)[0].source, str)
    one = kmeans(points, 20, rng=np.random.default_rng(0), engine=LocalEngine(workers=1))
    two = kmeans(mapped, 20, rng=np.random.default_rng(0), engine=LocalEngine(workers=2))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.distances, two.distances)


@pytest.mark.parametrize("view", [lambda v: v[::-1], lambda v: v[:500], lambda v: v[:, :8]])
def test_a_view_of_a_mapped_file_is_not_taken_for_the_file(tmp_path, view):
    points = np.random.default_rng(0).normal(size=(1_000, 16)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    part = view(np.load(tmp_path / "points.npy", mmap_mode="r"))
    blocks = np.concatenate([block.load() for block in module._blocks(part)])
    np.testing.assert_array_equal(blocks, part)


def test_silhouette_is_scikit_learns():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 1, (40, 5)) for c in (0, 2, 5)]).astype(np.float32)
    labels = np.concatenate([np.repeat([0, 1, 2], 40)[:-1], [7]]).astype(np.int32)
    ours = silhouette(points, labels, rng=rng, sample=len(points))
    assert ours == pytest.approx(silhouette_score(points, labels), abs=1e-5)
    assert silhouette(points, np.zeros(120, np.int32), rng=rng) == 0
