"""How well a choice of rows covers the rows it was made from: distances, similarity, clusters.

All functions are pure and hold a block of products at a time, never one number a pair of rows.
Distances and similarity cost O(n b d), the others O(n).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.vectors import directions

__all__ = [
    "Cover",
    "cluster_entropy",
    "distribution_cover",
    "facility_location",
    "nearest_distances",
    "nearest_similarities",
    "share_of_clusters_covered",
]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

_CELLS = 2_000_000  # products held at a time: 8 MB of float32


def nearest_distances(vectors: ArrayLike, chosen: ArrayLike) -> Floats:
    """Measure the Euclidean distance of each vector to its nearest chosen one.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        The rows to be covered.
    chosen : array_like, shape (b, d)
        The vectors of the chosen rows, b >= 1.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ValueError
        If a shape does not fit, or nothing is chosen.

    Examples
    --------
    >>> nearest_distances([[0, 0], [3, 4], [3, 5]], [[0, 0], [3, 4]]).tolist()
    [0.0, 0.0, 1.0]
    """
    rows, picks = _matrices(vectors, chosen)
    # Distances do not change with the origin, and products near it lose the fewest digits.
    origin = picks.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows, picks = rows - origin, picks - origin
    halves = -0.5 * np.einsum("ij,ij->i", picks, picks)
    return _distances(rows, picks[_best(rows, picks, halves)])


class Cover(NamedTuple):
    """How large balls around the chosen rows must be to hold a share of all rows.

    Attributes
    ----------
    shares : ndarray of float64, shape (n,)
        1/n, 2/n, ... 1.
    radii : ndarray of float64, shape (n,)
        The smallest radius that holds each of these shares; never falls.
    area : float
        Area under the curve of the radius over the share, from 0 to 1: the mean distance of a
        row to its nearest chosen one. Lower is better.
    """

    shares: Floats
    radii: Floats
    area: float


def distribution_cover(vectors: ArrayLike, chosen: ArrayLike) -> Cover:
    """Measure what share p of the rows lies within r of a chosen one, as a curve r(p).

    Such a choice is called a p-partial r-cover of the distribution that the rows are drawn from,
    and the area under r(p) is known as AUC_pr.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        The rows to be covered: those of the pool, or of a test set.
    chosen : array_like, shape (b, d)
        The vectors of the chosen rows, b >= 1.

    Returns
    -------
    Cover

    Raises
    ------
    ValueError
        If a shape does not fit, there are no rows, or nothing is chosen.

    References
    ----------
    H. Zheng et al., "Coverage-centric Coreset Selection for High Pruning Rates",
    arXiv 2210.15809.

    Examples
    --------
    >>> rows = [[float(x)] for x in range(10)]
    >>> cover = distribution_cover(rows, [[0.0], [9.0]])
    >>> cover.radii.tolist(), cover.area
    ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0], 2.0)
    """
    radii = np.sort(nearest_distances(vectors, chosen))
    if not len(radii):
        raise ValueError("there are no rows to be covered: give (n, d) with n >= 1")
    return Cover(np.arange(1, len(radii) + 1) / len(radii), radii, float(radii.mean()))


def nearest_similarities(vectors: ArrayLike, chosen: ArrayLike) -> Floats:
    """Measure the cosine similarity of each vector to the most similar chosen one.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        The rows to be covered.
    chosen : array_like, shape (b, d)
        The vectors of the chosen rows, b >= 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1]; a vector of zeros is as similar as an orthogonal one: 0.

    Raises
    ------
    ValueError
        If a shape does not fit, or nothing is chosen.

    Examples
    --------
    >>> nearest_similarities([[2, 0], [0, 5], [3, 4]], [[1, 0]]).round(3).tolist()
    [1.0, 0.0, 0.6]
    """
    rows, picks = _matrices(vectors, chosen)
    rows, picks = directions(rows), directions(picks)
    nearest = picks[_best(rows, picks)]
    cosines: Floats = np.einsum("ij,ij->i", rows, nearest, dtype=np.float64)
    return np.clip(cosines, -1.0, 1.0)


def facility_location(vectors: ArrayLike, chosen: ArrayLike) -> float:
    """Average over the rows of the cosine similarity to the most similar chosen one.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        The rows to be covered.
    chosen : array_like, shape (b, d)
        The vectors of the chosen rows, b >= 1.

    Returns
    -------
    float
        In [-1, 1]; 1.0 where every row points the way of a chosen one.

    Raises
    ------
    ValueError
        If a shape does not fit, or nothing is chosen.

    Examples
    --------
    >>> round(facility_location([[2, 0], [3, 4]], [[1, 0]]), 3)
    0.8
    """
    return float(nearest_similarities(vectors, chosen).mean())


def cluster_entropy(labels: ArrayLike, chosen: ArrayLike) -> float:
    """Measure how evenly the chosen rows spread over the clusters.

    Parameters
    ----------
    labels : array_like, shape (n,)
        The cluster of every row, as numbers or names.
    chosen : array_like of int
        Indices of the chosen rows, at least one.

    Returns
    -------
    float
        Entropy of the chosen rows' clusters, divided by that of an even spread over all clusters
        among `labels`: 0.0 where one cluster has them all, 1.0 where each has as many. With one
        cluster in all, 1.0.

    Raises
    ------
    ValueError
        If `labels` is not one-dimensional, or nothing is chosen.

    Examples
    --------
    >>> labels = ["a", "a", "a", "b"]
    >>> cluster_entropy(labels, [0, 3]), cluster_entropy(labels, [0, 1])
    (1.0, 0.0)
    >>> round(cluster_entropy(labels, [0, 1, 2, 3]), 4)
    0.8113
    """
    held, clusters = _held(labels, chosen)
    if clusters == 1:
        return 1.0
    share = held[held > 0] / held.sum()
    return max(0.0, min(1.0, -float(share @ np.log(share)) / float(np.log(clusters))))


def share_of_clusters_covered(labels: ArrayLike, chosen: ArrayLike) -> float:
    """Measure the share of the clusters that hold at least one chosen row.

    Parameters
    ----------
    labels : array_like, shape (n,)
        The cluster of every row, as numbers or names.
    chosen : array_like of int
        Indices of the chosen rows, at least one.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ValueError
        If `labels` is not one-dimensional, or nothing is chosen.

    Examples
    --------
    >>> share_of_clusters_covered([7, 7, 8, 9], [0, 1, 3]).__round__(3)
    0.667
    """
    held, clusters = _held(labels, chosen)
    return int((held > 0).sum()) / clusters


def _matrices(
    vectors: ArrayLike, chosen: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, picks = np.asarray(vectors, np.float32), np.asarray(chosen, np.float32)
    if rows.ndim != 2 or picks.ndim != 2 or rows.shape[1] != picks.shape[1] or not len(picks):
        raise ValueError(
            f"vectors {rows.shape} and chosen {picks.shape}: give (n, d) and (b, d) with b >= 1"
        )
    return rows, picks


def _best(
    rows: NDArray[np.float32],
    picks: NDArray[np.float32],
    bonus: NDArray[np.float32] | None = None,
) -> Indices:
    """Give for each row the pick with the largest product (plus the pick's bonus)."""
    best = np.empty(len(rows), np.int64)
    step = max(1, _CELLS // len(picks))
    for start in range(0, len(rows), step):
        products = rows[start : start + step] @ picks.T
        if bonus is not None:
            products += bonus
        best[start : start + step] = products.argmax(axis=1)
    return best


def _distances(rows: NDArray[np.float32], nearest: NDArray[np.float32]) -> Floats:
    """Subtract row by row: unlike a product, exactly 0 where a row is its own nearest."""
    gap = rows - nearest
    squares: Floats = np.einsum("ij,ij->i", gap, gap, dtype=np.float64)
    return np.sqrt(squares)


def _held(labels: ArrayLike, chosen: ArrayLike) -> tuple[Indices, int]:
    """Count the chosen rows in each cluster, and the clusters."""
    found, picks = np.asarray(labels), np.asarray(chosen, np.int64)
    if found.ndim != 1 or picks.ndim != 1 or not len(picks):
        raise ValueError(
            f"labels {found.shape} and chosen {picks.shape}: give (n,) and (b,) with b >= 1"
        )
    # Counting is much faster than sorting, where the labels are small whole numbers.
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 4 * len(found) + 1024:
        names, found = np.unique(found, return_inverse=True)
        return np.bincount(found[picks], minlength=len(names)), len(names)
    return np.bincount(found[picks]), int(np.count_nonzero(np.bincount(found)))
