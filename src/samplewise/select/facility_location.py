"""Rows that between them stand close to every row of the pool.

Every row of the pool is served by the chosen row most like it; rows are chosen one by one, each
the one that raises the pool's summed likeness most, which comes within 1 - 1/e of the best
possible. Use it for a small, typical and still varied part of the pool; unlike `k-center` it
leaves lone outliers aside. With `alpha` above 0 quality counts too.

A gain can only fall as rows are chosen, so one worked out earlier is an upper bound, and few rows
are looked at again for each pick. Once little of a row's likeness is still worth anything, that
little is kept, and looking again needs no product of vectors.

Time O(n r d) for r reference rows at first, then for b picks O(b r d) at best and O(b n r d) at
worst; memory O((n + r) d).
Source: facility location, Minoux (1978) for the lazy greedy; with quality, arXiv 2311.14736.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["FacilityLocation", "lazy_greedy"]

_BLOCK = 256  # rows whose likeness to the reference is worked out at once
_KEPT_BYTES = 2**30  # the most that is kept of earlier likenesses


@dataclass(frozen=True)
class FacilityLocation(Selector):
    """The rows most like the rest of the pool, each for a part that no other serves.

    Maximises over sets A of n rows the sum over rows v of max over a in A of max(0, cos(v, a)),
    greedily. Ties go to the lowest index. Deterministic where the pool has at most `reference`
    rows.

    Parameters
    ----------
    reference : int
        Rows v that are summed over. Where the pool has more, that many of its rows, drawn at
        random, stand for it; every row of the pool can be chosen all the same.
    alpha : float
        From 0 to 1: how much quality counts. A row's gain is (1 - alpha) times its mean gain in
        likeness over the reference rows plus alpha times its score, which is needed above 0.

    References
    ----------
    M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions" (1978).
    Bukharin et al., "Data Diversity Matters for Robust Instruction Tuning", arXiv 2311.14736.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.array([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [-1, 0]])
    >>> sw.select(sw.Pool.from_arrays(X), 3, "facility-location").indices.tolist()
    [0, 4, 3]
    """

    name: ClassVar[str] = "facility-location"
    aliases: ClassVar[tuple[str, ...]] = ("qdit",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "2311.14736"
    cost: ClassVar[str] = "O(n r d) for r reference rows, then O(b r d) at best"

    reference: int = 10_000
    alpha: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference < 1:
            raise UsageError(
                f"{self.name}: knob 'reference' is {self.reference}", mend="give 1 or more"
            )
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"{self.name}: knob 'alpha' is {self.alpha}", mend="give 0 to 1")
        if self.alpha > 0:
            # The base checks the pool's score for every method that names it here.
            object.__setattr__(self, "needs", (*type(self).needs, "score"))

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `gain`: what each raised the objective by."""
        assert pool.embeddings is not None
        rows = np.arange(len(pool))
        if len(pool) > self.reference:
            rows = np.sort(rng.choice(len(pool), self.reference, replace=False))
        quality = np.zeros(len(pool))
        if self.alpha > 0:
            assert pool.score is not None
            quality = self.alpha * pool.score
        indices, gains = lazy_greedy(
            pool.embeddings, rows, n, (1 - self.alpha) / len(rows), quality
        )
        column = np.full(len(pool), np.nan)
        column[indices] = gains
        return Choice(indices, columns={"gain": column})


def lazy_greedy(
    vectors: NDArray[np.float32],
    reference: NDArray[np.int64],
    n: int,
    scale: float = 1.0,
    quality: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose `n` rows, each the one of the largest gain.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
        May be memory-mapped, and of any length: only directions count.
    reference : ndarray of int64, shape (r,)
        The rows that are to be served.
    n : int
        1 <= n <= m.
    scale : float
        Multiplies the gains in likeness, summed over the reference rows.
    quality : ndarray of float64, shape (m,), optional
        Is added to them.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    gains : ndarray of float64, shape (n,)

    Examples
    --------
    >>> X = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    >>> lazy_greedy(X, np.arange(3), 2)
    (array([0, 2]), array([2., 1.]))
    """
    m = len(vectors)
    quality = np.zeros(m) if quality is None else quality
    cover = _Cover(vectors, reference)
    bounds = np.concatenate(
        [cover.gains(np.arange(i, min(i + _BLOCK, m)), keep=False) for i in range(0, m, _BLOCK)]
    )
    # The heap's top is the largest bound, and of equal ones the lowest index.
    heap = list(zip((-scale * bounds - quality).tolist(), range(m), strict=True))
    heapq.heapify(heap)
    fresh = np.zeros(m, dtype=np.int64)  # the step in which a row's bound was last its gain
    indices, gains = np.empty(n, np.int64), np.empty(n)
    for step in range(n):
        size = 4
        while fresh[heap[0][1]] != step:
            stale = _pop_stale(heap, fresh, step, size)
            keys = -scale * cover.gains(stale) - quality[stale]
            fresh[stale] = step
            for entry in zip(keys.tolist(), stale.tolist(), strict=True):
                heapq.heappush(heap, entry)
            size = min(2 * size, _BLOCK)
        key, row = heapq.heappop(heap)
        indices[step], gains[step] = row, -key
        cover.add(row)
    return indices, gains


def _pop_stale(
    heap: list[tuple[float, int]], fresh: NDArray[np.int64], step: int, size: int
) -> NDArray[np.int64]:
    """Take up to `size` rows off the heap, as long as their bounds are of an earlier step."""
    stale: list[int] = []
    while heap and len(stale) < size and fresh[heap[0][1]] != step:
        stale.append(heapq.heappop(heap)[1])
    return np.array(stale, dtype=np.int64)


class _Cover:
    """How well each reference row is served by the rows chosen so far."""

    def __init__(self, vectors: NDArray[np.float32], reference: NDArray[np.int64]) -> None:
        m, d = vectors.shape
        self.vectors = vectors
        self.reference = _directions(vectors[reference])
        self.served = np.zeros(len(reference), dtype=np.float32)
        # For a row that can still serve at most d reference rows better: which, and how well.
        slots = min(m, _KEPT_BYTES // (8 * d))
        self.slot = np.full(m, -1, dtype=np.int64)
        self.used = np.zeros(1, dtype=np.int64)
        self.who = np.empty((slots, d), dtype=np.int32)
        self.how = np.empty((slots, d), dtype=np.float32)
        self.count = np.zeros(slots, dtype=np.int64)

    def gains(self, rows: NDArray[np.int64], *, keep: bool = True) -> NDArray[np.float64]:
        """Work out by how much each row would raise the sum."""
        dense, sparse = _kernels()
        found = np.empty(len(rows))
        kept = self.slot[rows] >= 0
        if kept.any():
            found[kept] = sparse(self.slot[rows[kept]], self.served, self.who, self.how, self.count)
        if not kept.all():
            fresh = rows[~kept]
            likeness = _directions(self.vectors[fresh]) @ self.reference.T
            room = self.used if keep else np.full(1, len(self.who))
            found[~kept] = dense(
                likeness, fresh, self.served, self.slot, room, self.who, self.how, self.count
            )
        return found

    def add(self, row: int) -> None:
        """Let a row serve."""
        likeness = self.reference @ _directions(self.vectors[row : row + 1])[0]
        np.maximum(self.served, likeness, out=self.served)


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors to length 1; a zero vector stays zero and is like no row."""
    # In float64, where no square of a float32 overflows or vanishes.
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1.0
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)


@functools.cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    # Only the order of additions is freed: it lets the compiler add several at once.
    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def dense(  # type: ignore[no-untyped-def] # numba infers the types
        likeness, rows, served, slot, used, who, how, count
    ):
        """Sum what each row adds; keep the parts where few reference rows gain."""
        found = np.empty(len(rows), dtype=np.float64)
        for i in range(len(rows)):
            line = likeness[i]
            total, better = 0.0, 0
            for v in range(len(served)):
                gain = line[v] - served[v]
                total += max(gain, np.float32(0.0))
                better += gain > 0
            found[i] = total
            if better <= who.shape[1] and used[0] < len(who):
                place = used[0]
                used[0] += 1
                slot[rows[i]] = place
                kept = 0
                for v in range(len(served)):
                    if line[v] > served[v]:
                        who[place, kept], how[place, kept] = v, line[v]
                        kept += 1
                count[place] = kept
        return found

    @numba.njit(nogil=True, cache=True)
    def sparse(  # type: ignore[no-untyped-def] # numba infers the types
        slots, served, who, how, count
    ):
        """Sum what each row adds over the kept parts, and drop those that add no more."""
        found = np.empty(len(slots), dtype=np.float64)
        for i in range(len(slots)):
            place = slots[i]
            total, kept = 0.0, 0
            for j in range(count[place]):
                v, value = who[place, j], how[place, j]
                if value > served[v]:
                    total += value - served[v]
                    who[place, kept], how[place, kept] = v, value
                    kept += 1
            found[i] = total
            count[place] = kept
        return found

    return dense, sparse
