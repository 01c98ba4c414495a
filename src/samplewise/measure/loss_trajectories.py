"""Groups of rows that were learned alike, found from how their losses fell.

A row's losses at the checkpoints of one or more training runs are its trajectory; rows of one skill
fall together, even where their texts look like all others.

Cost: O(n c k) an iteration for n rows, c checkpoints and k groups.
Source: arXiv 2307.14430, appendix D.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator, seed_of

__all__ = ["cluster_accuracy", "cluster_trajectories"]


def cluster_trajectories(
    losses: ArrayLike, k: int, *, rng: RandomState = None
) -> NDArray[np.int64]:
    """Group rows by k-means on their losses.

    Parameters
    ----------
    losses : array_like of float, shape (rows, checkpoints)
        Those of several runs side by side.
    k : int
        Groups, from 1 to the rows.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ndarray of int64, shape (rows,)

    Raises
    ------
    ValueError
        If losses are no finite table, or `k` is out of range.

    Examples
    --------
    >>> early, late = [1.0, 0.1, 0.0], [1.0, 0.9, 0.1]
    >>> groups = cluster_trajectories([early, late, early, late], 2, rng=0)
    >>> cluster_accuracy(groups, ["first", "second", "first", "second"])
    1.0
    """
    from sklearn.cluster import KMeans

    table = np.asarray(losses, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"losses have the shape {table.shape}, or are not finite")
    if not 1 <= k <= len(table):
        raise ValueError(f"k is {k}, with {len(table)} rows")
    seed = seed_of(generator(rng))
    labels: NDArray[np.int64] = (
        KMeans(k, n_init=10, random_state=seed).fit_predict(table).astype(np.int64)
    )
    return labels


def cluster_accuracy(groups: ArrayLike, truth: ArrayLike) -> float:
    """Give the share of rows in the right group, groups being named as suits them best.

    Parameters
    ----------
    groups, truth : array_like, shape (rows,)
        Labels of any kind.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there is no row, or the lengths differ.

    Examples
    --------
    >>> cluster_accuracy([1, 1, 0, 0], ["a", "a", "b", "a"])
    0.75
    """
    from scipy.optimize import linear_sum_assignment

    found, known = np.asarray(groups), np.asarray(truth)
    if found.ndim != 1 or found.shape != known.shape or not len(found):
        raise ValueError(f"groups have the shape {found.shape}, and truth {known.shape}")
    found, known = (np.unique(each, return_inverse=True)[1] for each in (found, known))
    counts = np.zeros((found.max() + 1, known.max() + 1), np.int64)
    np.add.at(counts, (found, known), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(found))
