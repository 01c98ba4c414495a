"""Rows that leave no row of the pool far from one that was chosen.

Greedy farthest point: the first row is drawn at random, and every next one is the row farthest
from all those chosen before. The largest distance that remains is at most twice the smallest
possible one. Use it to cover the whole pool, rare corners and all; where the corners are junk,
it chooses the junk, and `facility-location` is the better choice.

A distance can only fall as rows are chosen. So the next pick is found among the rows that were
farthest when all were last looked at, for as long as one of them stays farther than all others
were then; after that, all rows are compared with the new picks at once, by a matrix product, and
exactly where its rounding leaves a doubt.

Time O(n b d) for b picks, as products of matrices; memory O(n + b d).
Source: T. F. Gonzalez (1985).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.engine.blas import one_blas_thread
from samplewise.engine.local import LocalEngine, cores
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["KCenter", "farthest_first"]

_BLOCK = 1_024  # rows compared with new picks at once
_PART = 2**22  # multiplications below which a second thread costs more than it brings
_FEW = 1_024  # rows that are followed from pick to pick, at least


@dataclass(frozen=True)
class KCenter(Selector):
    """The row farthest from all rows chosen so far, again and again.

    Distances are Euclidean, in the pool's embeddings as they are. Ties go to the lowest index.

    References
    ----------
    T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical
    Computer Science 38 (1985).
    O. Sener, S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", arXiv 1708.00489.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> corners = 10 * np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> pool = sw.Pool.from_arrays(np.repeat(corners, 25, axis=0))
    >>> sorted((sw.select(pool, 4, "k-center", rng=0).indices // 25).tolist())
    [0, 1, 2, 3]
    """

    name: ClassVar[str] = "k-center"
    aliases: ClassVar[tuple[str, ...]] = ("farthest-first", "core-set")
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "Gonzalez (1985)"
    cost: ClassVar[str] = "O(n b d)"

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows, the first at random; column `distance`: to the nearest of them."""
        assert pool.embeddings is not None
        indices, distances = farthest_first(pool.embeddings, n, int(rng.integers(len(pool))))
        return Choice(indices, columns={"distance": distances})


def farthest_first(
    vectors: NDArray[np.float32], n: int, first: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose `n` rows, each the farthest from those before it.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
        May be memory-mapped: it is read in order, and never copied.
    n : int
        1 <= n <= m.
    first : int
        The first row.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    distances : ndarray of float32, shape (m,)
        From each row to the nearest of them.

    Examples
    --------
    >>> farthest_first(np.array([[0.0], [1], [5], [9]], dtype=np.float32), 3, first=0)
    (array([0, 3, 2]), array([0., 1., 0., 0.], dtype=float32))
    """
    vectors = np.ascontiguousarray(vectors).view(np.ndarray)
    m = len(vectors)
    squares = np.full(m, np.inf, dtype=np.float32)  # -1 once a row is chosen
    indices = np.empty(n, dtype=np.int64)
    # Seen from the middle of all: the products then lose the fewest digits.
    middle = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    count, pick, size = 0, first, _FEW
    # Blocks run side by side, each on one thread: no distance depends on how many there are.
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        while True:
            found = _follow(vectors, squares, pick, size, n - count)
            indices[count : count + len(found)] = found
            count += len(found)
            _compare(vectors, squares, found, middle)
            pick = int(squares.argmax())
            if count == n or squares[pick] <= 0:
                break
            # Few picks for a look at all rows: follow more rows next time.
            size = min(2 * size, m) if len(found) < 64 else size
    indices[count:] = np.flatnonzero(squares >= 0)[: n - count]  # rows that equal chosen ones
    return indices, np.sqrt(squares.clip(min=0))


def _follow(
    vectors: NDArray[np.float32], squares: NDArray[np.float32], pick: int, size: int, most: int
) -> NDArray[np.int64]:
    """Choose `pick` and the rows after it that are known without a look at all rows."""
    near, limit = _farthest(squares, size)
    close, nearest = vectors[near], squares[near]
    found = [pick]
    update = _kernels()[0]
    while True:
        squares[pick] = -1.0
        nearest[near == pick] = -1.0
        if len(found) == most or not len(near):
            break
        best = update(close, vectors[pick], nearest)
        if not nearest[best] > limit:
            break
        pick = int(near[best])
        found.append(pick)
    return np.array(found)


def _farthest(squares: NDArray[np.float32], size: int) -> tuple[NDArray[np.int64], np.float32]:
    """Give about `size` rows of the largest squares, in order, and the largest of the others."""
    if size >= len(squares):
        return np.arange(len(squares)), np.float32(0)  # 0: where only doubles are left, stop
    limit = np.partition(squares, len(squares) - size - 1)[len(squares) - size - 1]
    return np.flatnonzero(squares > limit), max(limit, np.float32(0))


def _compare(
    vectors: NDArray[np.float32],
    squares: NDArray[np.float32],
    picks: NDArray[np.int64],
    middle: NDArray[np.float32],
) -> None:
    """Lower the squares of all rows by new picks."""
    centres = vectors[picks]
    moved = centres - middle
    task = functools.partial(_compare_block, vectors, squares, centres, moved, middle)
    workers = min(cores(), 1 + len(picks) * vectors.size // _PART)
    starts = range(0, len(vectors), _BLOCK)
    for _ in map(task, starts) if workers == 1 else LocalEngine(workers).map(task, starts):
        pass


def _compare_block(
    vectors: NDArray[np.float32],
    squares: NDArray[np.float32],
    centres: NDArray[np.float32],
    moved: NDArray[np.float32],
    middle: NDArray[np.float32],
    start: int,
) -> None:
    part = slice(start, start + _BLOCK)
    block = vectors[part] - middle
    lengths, others = (np.einsum("ij,ij->i", one, one) for one in (block, moved))
    # What rounding can take off a square, of the product's way and of the exact one.
    unsure = np.float32((4 * vectors.shape[1] + 64) * 2.0**-24)
    _kernels()[1](vectors[part], centres, block @ moved.T, lengths, others, unsure, squares[part])


@functools.cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    # Only the order of additions is freed: it lets the compiler add several dimensions at once.
    fast = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})

    @fast
    def square(left, right, most):  # type: ignore[no-untyped-def] # numba infers the types
        """Give a squared distance; one of `most` or more may be cut short."""
        d = len(left)
        total = np.float32(0.0)
        start = 0
        while start < d and total < most:
            stop = min(start + 256, d)
            one, other = left[start:stop], right[start:stop]
            part = np.float32(0.0)
            for j in range(stop - start):
                difference = one[j] - other[j]
                part += difference * difference
            total += part
            start = stop
        return total

    @fast
    def update(vectors, centre, squares):  # type: ignore[no-untyped-def]
        """Lower the squares by one centre; give the first row of the largest."""
        best, farthest = 0, np.float32(-2.0)
        for row in range(len(vectors)):
            if squares[row] > 0:
                squares[row] = min(squares[row], square(vectors[row], centre, squares[row]))
            if squares[row] > farthest:
                best, farthest = row, squares[row]
        return best

    @fast
    def compare(  # type: ignore[no-untyped-def]
        vectors, centres, products, lengths, others, unsure, squares
    ):
        """Lower the squares by many centres, exactly where the products leave it open."""
        for row in range(len(vectors)):
            nearest = squares[row]
            if nearest > 0:
                for j in range(len(centres)):
                    both = lengths[row] + others[j]
                    # Not a number, where a square is too large: open too.
                    if not both - 2 * products[row, j] - unsure * both >= nearest:
                        nearest = min(nearest, square(vectors[row], centres[j], nearest))
                squares[row] = nearest

    return update, compare
