"""Graphs that join like rows, built without comparing all of them with all.

Rows are compared only inside a small part of the pool: a mini-batch that holds every class in its
share, a chunk, or a bucket of rows with the same random-projection code. Of a part's pairs, a
fixed share with the least distance is kept, or each row's nearest. The parts of several rounds,
levels or views are put together.

Time O(r n b d) for r rounds or levels of parts of at most b rows; memory O(b^2) and the edges.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Graph",
    "Rule",
    "batches",
    "bit_codes",
    "buckets",
    "chunks",
    "directions",
    "join",
    "nearest_graph",
    "pairs_of_parts",
    "pairs_within",
    "scale",
]

Rows: TypeAlias = NDArray[np.int64]
Similarity: TypeAlias = Literal["euclidean", "manhattan", "cosine"]

_METRICS = {"euclidean": "euclidean", "manhattan": "cityblock", "cosine": "cosine"}
_BLOCK = 65_536  # rows scaled or hashed at once


class Graph(NamedTuple):
    """Edges between rows, in both directions, none from a row to itself.

    Attributes
    ----------
    receivers, senders : ndarray of int64, shape (e,)
        Edge k lets row `receivers[k]` look at row `senders[k]`; ordered by receiver, then sender.
    meetings : ndarray of int64, shape (e,)
        In how many parts (of all rounds, levels or views) the pair was found.
    rows : int
        Rows of the pool.
    """

    receivers: Rows
    senders: Rows
    meetings: Rows
    rows: int

    @property
    def degrees(self) -> Rows:
        """Neighbours of each row, shape (rows,)."""
        return np.bincount(self.receivers, minlength=self.rows).astype(np.int64)

    def keep(self, kept: NDArray[np.bool_]) -> Graph:
        """Give the graph of some of the edges, marked, shape (e,)."""
        edges = (self.receivers[kept], self.senders[kept], self.meetings[kept])
        return Graph(*edges, self.rows)


class Rule(NamedTuple):
    """Which pairs of a part become edges.

    Attributes
    ----------
    similarity : {'euclidean', 'manhattan', 'cosine'}
        1 / (1 + distance) for the first two, 1 - distance for cosine. Only its order counts, so
        distances are compared.
    percentile : float
        From 0 to below 1: the pairs above this quantile of similarity are kept, at least one.
    neighbours : int or None
        Where given, each row is joined to so many nearest rows instead.
    """

    similarity: Similarity = "euclidean"
    percentile: float = 0.97
    neighbours: int | None = None


def scale(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every column to [0, 1]; columns that hold one value are dropped.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)

    Returns
    -------
    ndarray of float32, shape (n, at most d)
        One column of zeros where no column varies.

    Examples
    --------
    >>> scale(np.array([[1, 7, 0], [3, 7, 8], [2, 7, 2]], np.float32)).tolist()
    [[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]]
    """
    low = vectors.min(axis=0).astype(np.float64)
    span = vectors.max(axis=0) - low
    kept = np.flatnonzero(span > 0)
    if not len(kept):
        return np.zeros((len(vectors), 1), np.float32)
    scaled = np.empty((len(vectors), len(kept)), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK, kept]
        scaled[start : start + _BLOCK] = (block - low[kept]) / span[kept]
    return scaled


# --- parts of the pool ----------------------------------------------------------------------------


def batches(classes: Rows, size: int, rng: np.random.Generator) -> list[Rows]:
    """Deal the rows into mini-batches, each class in its share.

    Parameters
    ----------
    classes : ndarray of int64, shape (n,)
    size : int
        Rows of a batch, at most.

    Returns
    -------
    list of ndarray of int64
        ceil(n / size) batches; sizes, and the rows of any one class, differ by at most one.

    Examples
    --------
    >>> classes = np.repeat([0, 1], [6, 3])
    >>> dealt = batches(classes, 3, np.random.default_rng(0))
    >>> [np.bincount(classes[rows]).tolist() for rows in dealt]
    [[2, 1], [2, 1], [2, 1]]
    """
    shuffled = rng.permutation(len(classes))
    dealt = shuffled[np.argsort(classes[shuffled], kind="stable")]
    count = -(-len(classes) // size)
    return [dealt[start::count] for start in range(count)]


def chunks(rows: int, size: int, rng: np.random.Generator) -> list[Rows]:
    """Split the rows at random into ceil(rows / size) parts, whatever their class."""
    return np.array_split(rng.permutation(rows), -(-rows // size))


def directions(bits: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the Gaussian directions of a hash, shape (bits, dimensions)."""
    return rng.standard_normal((bits, dimensions))


def bit_codes(vectors: NDArray[np.float32], across: NDArray[np.float64]) -> Rows:
    """Give each row one bit a direction: on which side of the mean's hyperplane it lies.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    across : ndarray of float64, shape (h, d)
        At most 62 directions.

    Returns
    -------
    ndarray of int64, shape (n,)
        Bit k is 1 where the row, less the mean of all, has a positive product with direction k.

    Examples
    --------
    >>> bit_codes(np.array([[0, 0], [0, 2], [2, 2]], np.float32), np.eye(2)).tolist()
    [0, 2, 3]
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    places = 1 << np.arange(len(across), dtype=np.int64)
    codes = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        centred = vectors[start : start + _BLOCK] - mean
        codes[start : start + _BLOCK] = (centred @ across.T > 0) @ places
    return codes


def buckets(codes: Rows, cap: int, rng: np.random.Generator) -> list[Rows]:
    """Put rows of equal code together; a bucket above `cap` rows is split at random.

    Examples
    --------
    >>> found = buckets(np.array([5, 1, 5, 5, 5]), 2, np.random.default_rng(0))
    >>> [len(rows) for rows in found]
    [1, 2, 2]
    """
    shuffled = rng.permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    whole = np.split(order, starts)
    return [part for rows in whole for part in np.array_split(rows, -(-len(rows) // cap))]


# --- edges ----------------------------------------------------------------------------------------


def pairs_within(
    vectors: NDArray[np.float32], rule: Rule, masked: NDArray[np.bool_] | None = None
) -> tuple[Rows, Rows]:
    """Find the pairs of a part that the rule keeps, each once, as (i, j) with i < j.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
        All pairs are compared: m is to be small.
    rule : Rule
        Of pairs at the same distance, those that stand nearest to each other in the part (taken
        as a ring) come first: rows that repeat share the edges, and none becomes a hub by chance.
    masked : ndarray of bool, shape (m (m - 1) / 2,), optional
        Pairs, in the order of `numpy.triu_indices(m, 1)`, that are left out.

    Examples
    --------
    >>> points = np.array([[0], [1], [5], [7]], np.float32)
    >>> [side.tolist() for side in pairs_within(points, Rule(percentile=0.6))]
    [[0, 2, 1], [1, 3, 2]]
    >>> [side.tolist() for side in pairs_within(points, Rule(neighbours=1))]
    [[0, 2], [1, 3]]
    """
    from scipy.spatial.distance import pdist

    m = len(vectors)
    first, second, apart = _triangle(m)
    if m < 2:
        return first, second
    distances = pdist(vectors.astype(np.float64), _METRICS[rule.similarity])
    distances = np.nan_to_num(distances, nan=1.0)  # a zero vector has no direction: cosine 0
    open_pairs = np.arange(len(distances)) if masked is None else np.flatnonzero(~masked)
    if rule.neighbours is not None:
        kept = _nearest_pairs(distances, open_pairs, m, rule.neighbours)
    else:
        kept = _closest_pairs(distances, open_pairs, apart, rule.percentile)
    return first[kept], second[kept]


def join(found: Iterable[tuple[Rows, Rows]], rows: int) -> Graph:
    """Make one graph of pairs, which may repeat.

    Examples
    --------
    >>> graph = join([(np.array([0, 1]), np.array([1, 2])), (np.array([1]), np.array([0]))], 3)
    >>> graph.receivers.tolist(), graph.senders.tolist(), graph.meetings.tolist()
    ([0, 1, 1, 2], [1, 0, 2, 1], [2, 2, 1, 1])
    """
    keys = [np.minimum(a, b) * rows + np.maximum(a, b) for a, b in found]
    pairs, met = np.unique(np.concatenate([np.empty(0, np.int64), *keys]), return_counts=True)
    low, high = np.divmod(pairs, rows)
    receivers, senders = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((senders, receivers))
    return Graph(receivers[order], senders[order], np.tile(met, 2)[order], rows)


def pairs_of_parts(
    vectors: NDArray[np.float32],
    parts: Sequence[Rows],
    rule: Rule,
    *,
    mask: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Iterable[tuple[Rows, Rows]]:
    """Yield the pairs that the rule keeps of every part, as rows of the pool.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    parts : sequence of ndarray of int64
    rule : Rule
    mask : float
        The share of pairs, drawn with `rng`, that are left out.
    rng : numpy.random.Generator, optional
    """
    for rows in parts:
        masked = None
        if mask > 0 and rng is not None:
            masked = rng.random(len(rows) * (len(rows) - 1) // 2) < mask
        first, second = pairs_within(vectors[rows], rule, masked)
        yield rows[first], rows[second]


def nearest_graph(vectors: NDArray[np.float32], rule: Rule) -> Graph:
    """Join every row to its nearest rows of the whole pool; O(n^2 d) time at worst."""
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    rows = len(vectors)
    count = min(rule.neighbours or 5, rows - 1)
    if not count:
        return join([], rows)
    with config_context(working_memory=32):
        finder = NearestNeighbors(n_neighbors=count, metric=rule.similarity).fit(vectors)
        found = finder.kneighbors(return_distance=False)  # of every row, itself left out
    near = found.astype(np.int64).ravel()
    return join([(np.repeat(np.arange(rows), count), near)], rows)


def _closest_pairs(distances: NDArray[np.float64], among: Rows, apart: Rows, share: float) -> Rows:
    """Keep the pairs above the quantile `share` of similarity, at least one."""
    if not len(among):
        return among
    here = distances[among]
    count = max(1, len(here) - int(share * len(here)))
    limit = np.partition(here, count - 1)[count - 1]
    closer, level = among[here < limit], among[here == limit]
    level = level[np.argsort(apart[level], kind="stable")]
    return np.concatenate([closer, level[: count - len(closer)]])


def _nearest_pairs(distances: NDArray[np.float64], among: Rows, m: int, count: int) -> Rows:
    """Keep each row's `count` nearest; a pair is kept if either row asks for it."""
    first, second, _ = _triangle(m)
    table = np.full((m, m), np.inf)
    table[first[among], second[among]] = table[second[among], first[among]] = distances[among]
    near = np.argsort(table, axis=1, kind="stable")[:, : min(count, m - 1)]
    wanted = np.zeros((m, m), dtype=bool)
    wanted[np.arange(m)[:, None], near] = True
    wanted &= np.isfinite(table)
    kept: Rows = np.flatnonzero((wanted | wanted.T)[first, second])
    return kept


@functools.lru_cache(maxsize=32)
def _triangle(m: int) -> tuple[Rows, Rows, Rows]:
    """Give the pairs i < j of m rows, and how far apart they stand on a ring."""
    first, second = (side.astype(np.int64) for side in np.triu_indices(m, 1))
    gap = second - first
    return first, second, np.minimum(gap, m - gap)
