"""Of every class, the rows that are neither typical nor odd.

A row's distance to the mean of its class says how typical it is; the rows nearest to the median
distance are taken. It needs no training, and keeps clear of outliers and of near-copies of the
mean alike. Time O(n d + n log n), memory O(n + c d) for c classes.
Source: Moderate coreset, X. Xia et al. (2023); a baseline of arXiv 2210.15809.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.pool import Pool
from samplewise.select.allocation import allocate
from samplewise.select.base import Choice, Selector
from samplewise.select.clusters import draw_within, medians

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Moderate", "distances_to_mean"]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

_BLOCK = 4_096  # rows held in float64 at a time


@dataclass(frozen=True)
class Moderate(Selector):
    """Of every label (or source), the rows at about the median distance to its mean.

    Every class gives the same share of its rows; rows without a class are one of their own.
    Distances are Euclidean, in the pool's embeddings as they are. Deterministic: ties go to the
    lowest index.

    References
    ----------
    X. Xia et al., "Moderate Coreset: A Universal Method of Data Selection for Real-world
    Data-efficient Deep Learning", ICLR (2023).

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.array([[0.0], [1], [2], [-1], [-2], [9], [-9]])  # distances 0 1 2 1 2 9 9
    >>> sorted(sw.select(sw.Pool.from_arrays(X, y=["a"] * 7), 2, "moderate").indices.tolist())
    [2, 4]
    """

    name: ClassVar[str] = "moderate"
    aliases: ClassVar[tuple[str, ...]] = ("moderate-ds",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    paper: ClassVar[str] = "Xia et al. (2023)"
    cost: ClassVar[str] = "O(n d + n log n)"

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `distance`: to the mean of the row's class."""
        assert pool.embeddings is not None
        assert pool.classes is not None
        groups = pool.classes.codes.astype(np.int64) + 1  # without a class: 0
        distances = distances_to_mean(pool.embeddings, groups)
        gaps = np.abs(distances - medians(distances, groups)[groups])
        counts = allocate(np.bincount(groups), n)
        return Choice(draw_within(groups, counts, -gaps), columns={"distance": distances})


def distances_to_mean(vectors: NDArray[np.float32], groups: Indices) -> Floats:
    """Measure the Euclidean distance of each vector to the mean of its group.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        May be memory-mapped: it is read in order, twice, and never copied.
    groups : ndarray of int64, shape (n,)
        From 0.

    Examples
    --------
    >>> distances_to_mean(np.array([[0.0], [4.0], [7.0]]), np.array([0, 0, 1])).tolist()
    [2.0, 2.0, 0.0]
    """
    sizes = np.bincount(groups)
    means = np.zeros((len(sizes), vectors.shape[1]))
    for rows, block in _blocks(vectors):
        np.add.at(means, groups[rows], block)
    means /= np.maximum(sizes, 1)[:, None]
    distances = np.empty(len(vectors))
    for rows, block in _blocks(vectors):
        block -= means[groups[rows]]
        distances[rows] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return distances


def _blocks(vectors: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[Any]]]:
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, np.array(vectors[rows], dtype=np.float64)
