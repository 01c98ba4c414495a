"""Rows near the target: the nearest to any target row, or some near each.

`nearest-to-target` ranks rows by the distance to their nearest target row; all it chooses may be
near a few target rows. `tapt` lets every target row take its nearest row in turn, so that all parts
of the target are served. Use them as plain rivals of `optimal-transport`, or where the target alone
matters and the pool does not.

Time O(n m d) for m target rows; memory O(n), and O(m k) for k neighbours each.
Source: task-adaptive pre-training with curated rows (TAPT), arXiv 2004.10964.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.measure.transport import nearest_costs
from samplewise.measure.vectors import directions
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["NearestToTarget", "TaskNeighbours", "take_turns"]

_NEIGHBOURS = 2**23  # the most neighbours held, of all target rows together
_PRODUCTS = 2**18  # pool rows that faiss looks at in one call

Metric = Literal["euclidean", "cosine"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Nearby(Selector):
    """Shared base of the two methods."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "target")
    cost: ClassVar[str] = "O(n m d) for m target rows"
    paper: ClassVar[str] = "2004.10964"

    metric: Metric = "euclidean"

    def distances(self, pool: Pool) -> NDArray[np.float64]:
        """Measure how far each row is from its nearest target row."""
        assert pool.embeddings is not None
        assert pool.target is not None
        assert pool.target.embeddings is not None
        return nearest_costs(pool.embeddings, pool.target.embeddings, self.metric)


@dataclass(frozen=True)
class NearestToTarget(Nearby):
    """The rows nearest to any row of the target.

    Ties go to the lowest index. Deterministic: the seed is not used.

    Parameters
    ----------
    metric : {'euclidean', 'cosine'}
        The distance, or 1 less the cosine similarity.

    References
    ----------
    Don't Stop Pretraining: Adapt Language Models to Domains and Tasks, arXiv 2004.10964.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[0.0], [4.0], [6.5], [9.0]]))
    >>> target = sw.Pool.from_arrays(np.array([[0.0], [9.5]]))
    >>> sw.select(pool, 2, "nearest-to-target", target=target).indices.tolist()
    [0, 3]
    """

    name: ClassVar[str] = "nearest-to-target"

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `distance`: to the nearest target row."""
        distance = self.distances(pool)
        order = np.argsort(distance, kind="stable")[:n]
        return Choice(order.astype(np.int64), columns={"distance": distance})


@dataclass(frozen=True)
class TaskNeighbours(Nearby):
    """The nearest rows of every target row, in turn.

    First the nearest row of each target row, then the second nearest of each, and so on; a row
    that was taken before is passed over. The order of the target rows is drawn at random, so that
    a budget smaller than the target serves any of them. Where the neighbours of all target rows
    are too many to hold (8 million), the rest is filled with the rows nearest to any.

    Parameters
    ----------
    metric : {'euclidean', 'cosine'}
        The distance, or 1 less the cosine similarity.

    References
    ----------
    Don't Stop Pretraining: Adapt Language Models to Domains and Tasks, arXiv 2004.10964.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[0.0], [0.1], [0.2], [9.0]]))
    >>> target = sw.Pool.from_arrays(np.array([[0.0], [7.0]]))
    >>> sorted(sw.select(pool, 2, "tapt", target=target, rng=0).indices.tolist())
    [0, 3]
    """

    name: ClassVar[str] = "tapt"
    aliases: ClassVar[tuple[str, ...]] = ("task-neighbours",)

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `distance`: to the nearest target row."""
        assert pool.embeddings is not None
        assert pool.target is not None
        assert pool.target.embeddings is not None
        source = pool.embeddings
        target = pool.target.embeddings[rng.permutation(len(pool.target))]
        most = max(1, min(len(source), _NEIGHBOURS // len(target)))
        count = min(most, 2 * -(-n // len(target)))
        taken = take_turns(_neighbours(source, target, count, self.metric), n)
        while len(taken) < n and count < most:
            count = min(most, 4 * count)
            taken = take_turns(_neighbours(source, target, count, self.metric), n)
        distance = self.distances(pool)
        rest = np.argsort(distance, kind="stable")
        rest = rest[~np.isin(rest, taken)][: n - len(taken)]
        return Choice(np.concatenate([taken, rest]), columns={"distance": distance})


def take_turns(neighbours: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Take the first of every line, then the second of every line, each row once, up to `n`.

    Parameters
    ----------
    neighbours : ndarray of int64, shape (m, k)
    n : int

    Returns
    -------
    ndarray of int64, shape (at most n,)

    Examples
    --------
    >>> take_turns(np.array([[4, 1, 0], [4, 2, 3]]), 3).tolist()
    [4, 1, 2]
    """
    turns = neighbours.T.ravel()
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)[:n]]


def _neighbours(source: Vectors, target: Vectors, count: int, metric: Metric) -> NDArray[np.int64]:
    """Find the `count` nearest source rows of every target row, nearest first, ties by index."""
    import faiss

    wanted = _ready(target, metric)
    best = faiss.ResultHeap(len(wanted), count, keep_max=metric == "cosine")
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    for low in range(0, len(source), _PRODUCTS):
        block = _ready(source[low : low + _PRODUCTS], metric)
        found, rows = faiss.knn(wanted, block, min(count, len(block)), metric=kind)
        best.add_result(found, rows + low)
    best.finalize()
    keys = -best.D if metric == "cosine" else best.D
    order = np.lexsort((best.I, keys))
    return np.asarray(np.take_along_axis(best.I, order, axis=1), dtype=np.int64)


def _ready(vectors: Vectors, metric: Metric) -> Vectors:
    """Copy vectors as faiss takes them, of length 1 for cosines."""
    rows = directions(vectors) if metric == "cosine" else vectors
    return np.array(rows, dtype=np.float32, order="C", subok=False)
