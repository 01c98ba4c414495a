"""Rows that leave no row of the pool far from one that was chosen.

Greedy farthest point: the first row is drawn at random, and every next one is the row farthest
from all those chosen before. The largest distance that remains is at most twice the smallest
possible one. Use it to cover the whole pool, rare corners and all; where the corners are junk,
it chooses the junk, and `facility-location` is the better choice.

Time O(n b d) at worst, for b picks; memory O(n + b d). Many rows are passed over: by the triangle
inequality a row cannot be nearer to the new pick than to its own, or a part of the dimensions
shows that it is not.
Source: T. F. Gonzalez (1985).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["KCenter", "farthest_first"]

_PART = 2**19  # numbers below which a second thread costs more than it brings


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
    m, d = vectors.shape
    squares = np.full(m, np.inf, dtype=np.float32)  # -1 once a row is chosen
    owner = np.zeros(m, dtype=np.int64)
    centres = np.empty((n, d), dtype=np.float32)
    indices = np.empty(n, dtype=np.int64)
    parts = min(len(os.sched_getaffinity(0)), 1 + vectors.size // _PART)
    bounds = np.linspace(0, m, parts + 1).astype(np.int64)
    update = _update()
    pick = first
    with ThreadPoolExecutor(parts) as threads:
        run = map if parts == 1 else threads.map
        for step in range(n):
            indices[step], centres[step], squares[pick] = pick, vectors[pick], -1.0
            gaps = np.square(centres[:step] - centres[step]).sum(axis=1)
            task = functools.partial(update, vectors, centres[step], step, gaps, squares, owner)
            found = list(run(task, bounds[:-1], bounds[1:]))
            pick = max(found, key=lambda one: (squares[one], -one))
            if squares[pick] <= 0:  # every row equals one that was chosen
                rest = np.flatnonzero(squares >= 0)[: n - step - 1]
                indices[step + 1 :] = rest
                break
    return indices, np.sqrt(squares.clip(min=0))


@functools.cache
def _update() -> Callable[..., Any]:
    """Compile the inner loop; numba keeps it on disk for the next process."""
    import numba

    # Only the order of additions is freed: it lets the compiler add several dimensions at once.
    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def update(  # type: ignore[no-untyped-def] # numba infers the types
        vectors, centre, step, gaps, squares, owner, low, high
    ):
        """Lower the distances of rows low to high by a new centre; give the farthest row."""
        d = vectors.shape[1]
        best, farthest = low, np.float32(-2.0)
        for row in range(low, high):
            nearest = squares[row]
            # Triangle inequality, with room for rounding: the row's own centre is nearer.
            if nearest > 0 and (step == 0 or gaps[owner[row]] < np.float32(4.001) * nearest):
                total = np.float32(0.0)
                start = 0
                while start < d and total < nearest:
                    stop = min(start + 256, d)
                    left, right = vectors[row, start:stop], centre[start:stop]
                    part = np.float32(0.0)
                    for j in range(stop - start):
                        difference = left[j] - right[j]
                        part += difference * difference
                    total += part
                    start = stop
                if total < nearest:
                    squares[row] = nearest = total
                    owner[row] = step
            if nearest > farthest:
                best, farthest = row, nearest
        return best

    return update  # type: ignore[no-any-return]
