"""k-means at scale: faiss on a sample, assignment in blocks on an engine.

The blocks are the same on every engine and each is assigned by one thread, so that the labels do
not depend on where the work ran.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.rng import seed_of
from samplewise.shards import Mapper

__all__ = ["Clustering", "kmeans", "nearest", "silhouette"]

_BLOCK = 16_384  # rows assigned by one call
_SAMPLE = 256  # rows a centroid is trained on, as faiss does by default


class Clustering(NamedTuple):
    """The outcome of k-means.

    Attributes
    ----------
    labels : ndarray of int32, shape (n,)
    centroids : ndarray of float32, shape (k, d)
    distances : ndarray of float32, shape (n,)
        Squared Euclidean distance of each vector to its own centroid.
    """

    labels: NDArray[np.int32]
    centroids: NDArray[np.float32]
    distances: NDArray[np.float32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each cluster, shape (k,)."""
        return np.bincount(self.labels, minlength=len(self.centroids)).astype(np.int64)


def kmeans(
    vectors: NDArray[np.float32],
    k: int,
    *,
    rng: np.random.Generator,
    engine: Mapper,
    iterations: int = 20,
    restarts: int = 1,
) -> Clustering:
    """Cluster vectors by Euclidean distance.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        May be memory-mapped; at most 256 k of them are held in memory.
    k : int
        Clusters; at most n are made, and some may be empty where rows repeat.
    rng : numpy.random.Generator
    engine : Engine
        Where the assignment runs.
    iterations : int
        Lloyd iterations.
    restarts : int
        The best of so many runs is kept.

    Examples
    --------
    >>> from samplewise.engine.local import LocalEngine
    >>> points = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], dtype=np.float32)
    >>> found = kmeans(points, 2, rng=np.random.default_rng(0), engine=LocalEngine())
    >>> sorted(found.sizes.tolist()), found.distances.tolist()
    ([2, 2], [0.25, 0.25, 0.25, 0.25])
    """
    import faiss

    k = min(k, len(vectors))
    trainer = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=iterations,
        nredo=restarts,
        seed=seed_of(rng),
        max_points_per_centroid=_SAMPLE,
        min_points_per_centroid=1,
    )
    trainer.train(vectors)
    centroids = np.asarray(trainer.centroids, dtype=np.float32).reshape(k, -1)
    labels, distances = nearest(vectors, centroids, 1, engine=engine)
    return Clustering(labels[:, 0], centroids, distances[:, 0])


def nearest(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], count: int, *, engine: Mapper
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the `count` centroids nearest to each vector, 1 <= count <= k; the nearest is first.

    Returns
    -------
    labels : ndarray of int32, shape (n, count)
    distances : ndarray of float32, shape (n, count)
        Squared.

    Examples
    --------
    >>> from samplewise.engine.local import LocalEngine
    >>> points, centroids = np.array([[0.0], [5]], "f4"), np.array([[1.0], [4], [9]], "f4")
    >>> nearest(points, centroids, 2, engine=LocalEngine())[0].tolist()
    [[0, 1], [1, 0]]
    """
    blocks = list(engine.map(functools.partial(_assign, centroids, count), _blocks(vectors)))
    labels, distances = zip(*blocks, strict=True)
    return np.concatenate(labels), np.concatenate(distances)


def silhouette(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int32],
    *,
    rng: np.random.Generator,
    sample: int = 1_000,
) -> float:
    """Mean silhouette of a random sample of the rows, each against all rows.

    For row i: a = mean distance to its own cluster, v = lowest mean distance to another one, and
    s = (v - a) / max(a, v); 0 for a cluster of one row.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    labels : ndarray of int, shape (n,)
    rng : numpy.random.Generator
    sample : int
        Rows it is taken over. Time is O(sample n d).

    Returns
    -------
    float
        In [-1, 1]; higher is better.
    """
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    sizes = np.bincount(labels)
    if len(sizes) < 2:
        return 0.0
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.arange(len(vectors))
    if sample < len(rows):
        rows = np.sort(rng.choice(rows, sample, replace=False))
    squares = np.einsum("ij,ij->i", vectors, vectors)
    total = 0.0
    for block in np.array_split(rows, max(1, len(rows) * len(vectors) // 20_000_000)):
        products = vectors[block] @ vectors.T
        distances = np.sqrt(np.maximum(squares[block, None] + squares[None, :] - 2 * products, 0))
        distances[np.arange(len(block)), block] = 0
        sums = np.add.reduceat(distances[:, order], starts, axis=1, dtype=np.float64)
        own = labels[block]
        here = np.arange(len(block))
        inside = sums[here, own] / np.maximum(sizes[own] - 1, 1)
        means = sums / sizes
        means[here, own] = np.inf
        outside = means.min(axis=1)
        largest = np.maximum(np.maximum(inside, outside), np.finfo(float).tiny)
        total += float(np.sum(np.where(sizes[own] > 1, (outside - inside) / largest, 0)))
    return total / len(rows)


class _Block(NamedTuple):
    """Rows of an array: its file, where it is memory-mapped, so that they travel as a name."""

    source: str | NDArray[np.float32]
    start: int
    stop: int

    def load(self) -> NDArray[np.float32]:
        if isinstance(self.source, str):
            mapped: NDArray[np.float32] = np.load(self.source, mmap_mode="r")
            return mapped[self.start : self.stop]
        return self.source


def _blocks(vectors: NDArray[np.float32]) -> list[_Block]:
    bounds = [(at, min(at + _BLOCK, len(vectors))) for at in range(0, len(vectors), _BLOCK)]
    file: Any = getattr(vectors, "filename", None)
    whole = vectors.flags.c_contiguous and str(file).endswith(".npy")
    if whole and np.load(file, mmap_mode="r").shape == vectors.shape:
        return [_Block(str(file), start, stop) for start, stop in bounds]
    return [_Block(vectors[start:stop], start, stop) for start, stop in bounds]


def _assign(
    centroids: NDArray[np.float32], count: int, block: _Block
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Give the nearest centroids of each row, and the squared distances to them."""
    import faiss

    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    distances, labels = index.search(np.ascontiguousarray(block.load()), count)
    faiss.omp_set_num_threads(threads)
    return labels.astype(np.int32), np.maximum(distances, 0)
