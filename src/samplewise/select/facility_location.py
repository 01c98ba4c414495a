"""Rows that between them stand close to every row of the pool.

Every row of the pool is served by the chosen row most like it; rows are chosen one by one, each
the one that raises the pool's summed likeness most, which comes within 1 - 1/e of the best
possible. Use it for a small, typical and still varied part of the pool; unlike `k-center` it
leaves lone outliers aside. With `alpha` above 0 quality counts too.

A gain can only fall as rows are chosen, so one worked out earlier is an upper bound, and few rows
are looked at again for each pick. As soon as little of the rows' likeness is still worth anything,
that little is kept, and from then on no product of vectors is needed. Before that, where too many
rows would have to be looked at again, all gains are brought up to date from the reference rows that
the last picks serve better.

Time O(n r d) for r reference rows, about twice; what follows is small beside it. Memory O(r d)
beside the vectors, and up to 9 KB a row, 1 GB in all, for what is kept. All cores work, and the
answer does not depend on how many there are.
Source: facility location, Minoux (1978) for the lazy greedy; with quality, arXiv 2311.14736.
"""

from __future__ import annotations

import copy
import functools
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.engine.blas import one_blas_thread
from samplewise.engine.local import LocalEngine, cores
from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine
from samplewise.measure.vectors import directions

__all__ = ["FacilityLocation", "directions", "lazy_greedy"]

_BLOCK = 256  # rows looked at together
_PRODUCTS = 3 * 2**18  # likenesses worked out at once
_SHARE = 2**24  # likenesses for which another thread is worth its memory
_LOOK = 128  # rows looked at to tell whether there is room
_KEPT_BYTES = 2**30  # the most that is kept of likenesses
_SMALL = 2**13  # rows
_KEPT_A_ROW = 1_536  # likenesses that are kept of a row, on average


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
    cost: ClassVar[str] = "O(n r d) for r reference rows"

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
    likeness: Literal["cosine", "nearness"] = "cosine",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose `n` rows, each the one of the largest gain.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
        May be memory-mapped.
    reference : ndarray of int64, shape (r,)
        The rows that are to be served.
    n : int
        1 <= n <= m.
    scale : float
        Multiplies the gains in likeness, summed over the reference rows.
    quality : ndarray of float64, shape (m,), optional
        Is added to them.
    likeness : {'cosine', 'nearness'}
        Cosine, and 0 where it is negative; or a constant less the Euclidean distance, which is
        at least 0 for every pair.

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
    kind = Cosine if likeness == "cosine" else Nearness
    # The blocks run side by side, each on one thread: no sum depends on how many there are.
    with one_blas_thread():
        cover = _Cover(kind(vectors, reference), m, len(reference))
        return _greedy(cover, n, scale, quality)


def _greedy(
    cover: _Cover, n: int, scale: float, quality: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    m = len(quality)
    keys = np.full(m, -np.inf)  # minus the most that each row can still gain
    fresh = np.full(m, -1, dtype=np.int64)  # the step in which that was last its gain
    free = np.ones(m, dtype=bool)
    indices, gains = np.empty(n, np.int64), np.empty(n)
    heap: list[tuple[float, int]] = []
    eager = False  # whether looking again at single rows has shown to be no gain

    for step in range(n):
        if not cover.complete:
            if cover.fits():
                keys, fresh[:] = -scale * cover.keep() - quality, step
                heap = _heap(keys, free)
            elif eager:
                keys, fresh[:] = -scale * cover.refresh() - quality, step
                heap = _heap(keys, free)
            elif step & (step - 1) == 0:  # in steps 0, 1, 2, 4, 8, ...
                keys = np.maximum(keys, -scale * cover.bounds() - quality)
                heap = _heap(keys, free)
        size, seen = 4, 0
        while fresh[heap[0][1]] != step:
            if not cover.complete and 2 * seen > m * cover.changed():
                eager = True
                keys, fresh[:] = -scale * cover.refresh() - quality, step
                heap = _heap(keys, free)
                break
            stale = _pop_stale(heap, fresh, step, size)
            seen += len(stale)
            keys[stale], fresh[stale] = -scale * cover.gains(stale) - quality[stale], step
            for entry in zip(keys[stale].tolist(), stale.tolist(), strict=True):
                heapq.heappush(heap, entry)
            size = min(2 * size, 4 * _BLOCK)
        key, row = heapq.heappop(heap)
        indices[step], gains[step], free[row] = row, -key, False
        cover.add(row)
    return indices, gains


def _heap(keys: NDArray[np.float64], free: NDArray[np.bool_]) -> list[tuple[float, int]]:
    """Put all rows that are free on a heap: on top the largest bound, of equals the lowest row."""
    rows = np.flatnonzero(free)
    heap = list(zip(keys[rows].tolist(), rows.tolist(), strict=True))
    heapq.heapify(heap)
    return heap


def _pop_stale(
    heap: list[tuple[float, int]], fresh: NDArray[np.int64], step: int, size: int
) -> NDArray[np.int64]:
    """Take up to `size` rows off the heap, as long as their bounds are of an earlier step."""
    stale: list[int] = []
    while heap and len(stale) < size and fresh[heap[0][1]] != step:
        stale.append(heapq.heappop(heap)[1])
    return np.array(stale, dtype=np.int64)


class Cosine:
    """Cosine of rows to the reference rows; a row of zeros is like none."""

    def __init__(self, vectors: NDArray[np.float32], reference: NDArray[np.int64]) -> None:
        self.vectors = vectors
        self.reference = directions(vectors[reference])

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the likeness of rows, shape (len(rows), r)."""
        found: NDArray[np.float32] = directions(self.vectors[rows]) @ self.reference.T
        return found

    def only(self, which: NDArray[np.int64]) -> Cosine:
        """Give the likeness to some of the reference rows."""
        part = copy.copy(self)
        part.reference = self.reference[which]
        return part

    def bounds(self, rows: NDArray[np.int64], served: NDArray[np.float32]) -> NDArray[np.float64]:
        """Bound the gains from above without a product for every pair.

        Over the reference rows v, let z = likeness less served. The gain is the sum of max(0, z),
        which is half of sum z + sum |z|, and (sum |z|)^2 is at most r sum z^2; both sums follow
        from the reference rows' sums and moments alone. Close at the start, loose later.
        """
        given = directions(self.vectors[rows]).astype(np.float64)
        served64 = served.astype(np.float64)
        r = len(served)
        sums = given @ self.total - served64.sum()
        squares = np.einsum("ij,ij->i", given @ self.moments, given)
        squares += served64 @ served64 - 2 * given @ (served @ self.reference).astype(np.float64)
        slack = 1e-5 * r  # more than rounding can take off
        return np.asarray(0.5 * (sums + np.sqrt(r * (squares.clip(min=0) + slack)) + slack))

    @functools.cached_property
    def total(self) -> NDArray[np.float64]:
        """Sum of the reference rows, shape (d,)."""
        return np.asarray(self.reference.sum(axis=0, dtype=np.float64))

    @functools.cached_property
    def moments(self) -> NDArray[np.float64]:
        """Sum of the reference rows' outer products, shape (d, d)."""
        return (self.reference.T @ self.reference).astype(np.float64)


class Nearness:
    """A constant less the Euclidean distance of rows to the reference rows."""

    def __init__(self, vectors: NDArray[np.float32], reference: NDArray[np.int64]) -> None:
        self.vectors = vectors
        # From the middle of all: the squares below then lose the fewest digits.
        self.middle = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.reference = vectors[reference] - self.middle
        self.squares = np.einsum("ij,ij->i", self.reference, self.reference)
        farthest = max(
            float(np.square(vectors[i : i + _BLOCK] - self.middle).sum(axis=1).max())
            for i in range(0, len(vectors), _BLOCK)
        )
        self.most = np.float32(2 * np.sqrt(farthest))

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the likeness of rows, shape (len(rows), r)."""
        given = self.vectors[rows] - self.middle
        found: NDArray[np.float32] = given @ self.reference.T
        found *= -2
        found += self.squares
        found += np.einsum("ij,ij->i", given, given)[:, None]
        np.maximum(found, 0, out=found)
        np.sqrt(found, out=found)
        return np.subtract(self.most, found, out=found)

    def only(self, which: NDArray[np.int64]) -> Nearness:
        """Give the likeness to some of the reference rows."""
        part = copy.copy(self)
        part.reference, part.squares = self.reference[which], self.squares[which]
        return part

    def bounds(self, rows: NDArray[np.int64], served: NDArray[np.float32]) -> NDArray[np.float64]:
        """Bound the gains from above: nothing is known without a product."""
        return np.full(len(rows), np.inf)


class _Part(NamedTuple):
    """What a block of rows adds: each row's gain and, end to end, whom it serves better."""

    gains: NDArray[np.float64]
    counts: NDArray[np.int64]
    who: NDArray[Any]
    how: NDArray[np.float32]


class _Cover:
    """How well each reference row is served by the rows chosen so far."""

    def __init__(self, likeness: Cosine | Nearness, m: int, r: int) -> None:
        self.likeness = likeness
        self.m, self.r = m, r
        self.served = np.zeros(r, dtype=np.float32)
        # Row i can serve better only who[start[i] : start[i] + count[i]]; -1: that is not kept.
        self.start = np.full(m, -1, dtype=np.int64)
        self.count = np.zeros(m, dtype=np.int64)
        index = np.dtype(np.uint16 if r <= 2**16 else np.int32)
        self.who, self.how = np.empty(0, index), np.empty(0, np.float32)
        # Of a small pool no more than one in 14 of all pairs: the others are soon worked out anew.
        a_row = min(r, _KEPT_A_ROW if m > _SMALL else max(_BLOCK, m // 14))
        self.room = int(min(m * a_row, _KEPT_BYTES // (index.itemsize + 4)))
        self.complete = False
        self.engine = LocalEngine(int(np.clip(m * r // _SHARE, 1, cores())))
        # The gains at the last refresh, and how well each reference row was served then. None could
        # be served better at the start: all gains are 0.
        self.then = np.zeros(m)
        self.at = np.full(r, np.inf, dtype=np.float32)

    def fits(self) -> bool:
        """Tell, from some rows, whether there is room to keep whom each row serves better."""
        rows = np.unique(np.linspace(0, self.m - 1, _LOOK).astype(np.int64))
        parts = self._parts(self._blocks(rows), keep=False)
        mean = np.concatenate([part.counts for part in parts]).mean()
        return bool(1.1 * mean * self.m <= self.room or self.m * self.r <= self.room)

    def keep(self) -> NDArray[np.float64]:
        """Work out by how much each row would raise the sum, and keep what later sums need."""
        self.who, self.how = np.empty(self.room, self.who.dtype), np.empty(self.room, np.float32)
        self.start[:] = -1
        found, used = np.empty(self.m), 0
        blocks = self._blocks(np.arange(self.m))
        for rows, part in zip(blocks, self._parts(blocks, keep=True), strict=True):
            found[rows] = part.gains
            end = used + len(part.who)
            if end <= self.room:
                self.who[used:end], self.how[used:end] = part.who, part.how
                self.count[rows] = part.counts
                self.start[rows] = used + np.cumsum(part.counts) - part.counts
                used = end
        self.complete = bool((self.start >= 0).all())
        return found

    def changed(self) -> float:
        """Give the part of the reference rows that are better served than at the last refresh."""
        return float((self.at != self.served).mean())

    def refresh(self) -> NDArray[np.float64]:
        """Work out by how much each row would raise the sum, from what it was at the last time.

        Only reference rows that are better served since then make a difference.
        """
        which = np.flatnonzero(self.at != self.served)
        work = functools.partial(
            self._change, self.likeness.only(which), self.at[which], self.served[which]
        )
        blocks = self._blocks(np.arange(self.m))
        self.then = self.then + np.concatenate(list(self.engine.map(work, blocks)))
        self.at = self.served.copy()
        return self.then

    def _change(
        self,
        likeness: Cosine | Nearness,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        rows: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        found: NDArray[np.float64] = _kernels().change(likeness(rows), before, after)
        return found

    def bounds(self) -> NDArray[np.float64]:
        """Give no less than each row would raise the sum by."""
        work = functools.partial(self.likeness.bounds, served=self.served)
        blocks = [np.arange(i, min(i + _BLOCK, self.m)) for i in range(0, self.m, _BLOCK)]
        return np.concatenate(list(self.engine.map(work, blocks)))

    def gains(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Work out by how much each of some rows would raise the sum."""
        found = np.empty(len(rows))
        kept = self.start[rows] >= 0
        if kept.any():
            arrays = self.served, self.start, self.count, self.who, self.how
            found[kept] = _kernels().kept(rows[kept], *arrays)
        if not kept.all():
            parts = self._parts(self._blocks(rows[~kept]), keep=False)
            found[~kept] = np.concatenate([part.gains for part in parts])
        return found

    def add(self, row: int) -> None:
        """Let a row serve."""
        if self.start[row] >= 0:
            part = slice(self.start[row], self.start[row] + self.count[row])
            who = self.who[part]
            self.served[who] = np.maximum(self.served[who], self.how[part])
        else:
            np.maximum(self.served, self.likeness(np.array([row]))[0], out=self.served)

    def _blocks(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        size = int(np.clip(_PRODUCTS // self.r, 16, _BLOCK))
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _parts(self, blocks: list[NDArray[np.int64]], *, keep: bool) -> Iterator[_Part]:
        work = functools.partial(self._part, keep=keep)
        return map(work, blocks) if len(blocks) == 1 else self.engine.map(work, blocks)

    def _part(self, rows: NDArray[np.int64], *, keep: bool) -> _Part:
        likeness = self.likeness(rows)
        kernels = _kernels()
        gains, counts = kernels.gains(likeness, self.served)
        who = np.empty(counts.sum() if keep else 0, self.who.dtype)
        how = np.empty(len(who), np.float32)
        if keep:
            kernels.keep(likeness, self.served, who, how)
        return _Part(gains, counts, who, how)


class _Kernels(NamedTuple):
    gains: Callable[..., Any]
    change: Callable[..., Any]
    keep: Callable[..., Any]
    kept: Callable[..., Any]


@functools.cache
def _kernels() -> _Kernels:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    # Only the order of additions is freed: it lets the compiler add several at once.
    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def gains(likeness, served):  # type: ignore[no-untyped-def] # numba infers the types
        """Sum what each row adds, and count whom it serves better."""
        found = np.empty(len(likeness), dtype=np.float64)
        counts = np.empty(len(likeness), dtype=np.int64)
        for i in range(len(likeness)):
            line = likeness[i]
            total, better = np.float64(0.0), np.int64(0)
            for start in range(0, len(served), 1024):
                part, more = np.float32(0.0), np.int32(0)
                for v in range(start, min(start + 1024, len(served))):
                    gain = line[v] - served[v]
                    part += max(gain, np.float32(0.0))
                    more += np.int32(gain > 0)
                total += part
                better += more
            found[i], counts[i] = total, better
        return found, counts

    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def change(likeness, before, after):  # type: ignore[no-untyped-def]
        """Sum by how much less each row adds than before."""
        found = np.empty(len(likeness), dtype=np.float64)
        for i in range(len(likeness)):
            line = likeness[i]
            total = 0.0
            for v in range(len(after)):
                now = max(line[v] - after[v], np.float32(0.0))
                total += now - max(line[v] - before[v], np.float32(0.0))
            found[i] = total
        return found

    @numba.njit(nogil=True, cache=True)
    def keep(likeness, served, who, how):  # type: ignore[no-untyped-def] # numba infers the types
        """Write, row after row, whom each serves better and how well."""
        place = 0
        for i in range(len(likeness)):
            line = likeness[i]
            for v in range(len(served)):
                if line[v] - served[v] > 0:
                    who[place], how[place] = v, line[v]
                    place += 1

    @numba.njit(nogil=True, cache=True)
    def kept(  # type: ignore[no-untyped-def] # numba infers the types
        rows, served, start, count, who, how
    ):
        """Sum what each row adds over the kept parts, and drop those that add no more."""
        found = np.empty(len(rows), dtype=np.float64)
        for i in range(len(rows)):
            row = rows[i]
            first = start[row]
            total, left = 0.0, first
            for j in range(first, first + count[row]):
                v, value = who[j], how[j]
                if value > served[v]:
                    total += value - served[v]
                    who[left], how[left] = v, value
                    left += 1
            found[i] = total
            count[row] = left - first
        return found

    return _Kernels(gains, change, keep, kept)
