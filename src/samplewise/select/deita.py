"""The best rows by score, passing over those too near to one that was taken.

Rows are looked at by falling score, and one is taken if its distance to the nearest row taken so
far is above a threshold. Use it where the score is to be trusted and repetition is the problem; it
is the quality-first rival of the methods that start from diversity.

Time O(v b d) for v rows looked at, as products of matrices; memory O(b d).
Source: DEITA, arXiv 2312.15685; the threshold as in the baseline of arXiv 2409.11378.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Deita", "filter_near"]

_BLOCK = 512  # rows looked at together


@dataclass(frozen=True)
class Deita(Selector):
    """The rows of the highest score that are not near to a better one.

    Where the pool runs out before the budget is full, the best of the rows passed over fill it; the
    column `taken` says which. Ties in score go to the lowest index. Deterministic.

    Parameters
    ----------
    threshold : float
        A row is taken if the squared Euclidean distance to the nearest row taken is above it. For
        vectors of length 1 that is 2 - 2 cos: 0.9 asks for a cosine below 0.55.

    References
    ----------
    What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data Selection in
    Instruction Tuning, arXiv 2312.15685.
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.array([[0.0, 0], [0.1, 0], [3, 0], [3, 0.1], [9, 9]])
    >>> selection = sw.select(sw.Pool.from_arrays(X, score=[5, 4, 3, 2, 1]), 4, "deita")
    >>> selection.indices.tolist(), selection.columns["taken"].tolist()
    ([0, 2, 4, 1], ['far', 'fill', 'far', '', 'far'])
    """

    name: ClassVar[str] = "deita"
    aliases: ClassVar[tuple[str, ...]] = ("score-first",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "score")
    paper: ClassVar[str] = "2312.15685"
    cost: ClassVar[str] = "O(v b d) for v rows looked at"

    threshold: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < np.inf:
            raise UsageError(
                f"{self.name}: knob 'threshold' is {self.threshold}", mend="give 0 or more"
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `taken`: 'far' or 'fill', and `distance` when looked at."""
        assert pool.embeddings is not None
        assert pool.score is not None
        order = np.argsort(-pool.score, kind="stable")
        far, squares = filter_near(pool.embeddings, order, n, self.threshold)
        fill = order[~np.isin(order, far)][: n - len(far)]
        taken = np.full(len(pool), "", dtype="<U4")
        taken[far], taken[fill] = "far", "fill"
        columns = {"taken": taken, "distance": np.sqrt(squares)}
        return Choice(np.concatenate([far, fill]), columns=columns)


def filter_near(
    vectors: NDArray[np.float32], order: NDArray[np.int64], n: int, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Walk through rows in order, and take those that are far from all taken before.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
    order : ndarray of int64, shape (k,)
        The rows to look at, in turn.
    n : int
        Rows to take at most.
    threshold : float
        Squared distance to the nearest row taken that must be exceeded.

    Returns
    -------
    taken : ndarray of int64, shape (at most n,)
    squares : ndarray of float32, shape (m,)
        Squared distance to the nearest row taken before it; infinite for the first row, NaN where
        a row was not looked at.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    >>> filter_near(X, np.arange(3), 3, 2.0)
    (array([0, 2]), array([inf,  1.,  9.], dtype=float32))
    """
    # Seen from the middle of all: the products then lose the fewest digits.
    middle = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.full(len(vectors), np.nan, dtype=np.float32)
    taken = np.empty((min(n, len(order)), vectors.shape[1]), dtype=np.float32)
    rows: list[int] = []
    for start in range(0, len(order), _BLOCK):
        if len(rows) == n:
            break
        some = order[start : start + _BLOCK]
        block = vectors[some] - middle
        nearest = _squares(block, taken[: len(rows)]).min(axis=1, initial=np.inf)
        for place, row in enumerate(some.tolist()):
            squares[row] = nearest[place]
            if nearest[place] > threshold:
                taken[len(rows)] = block[place]
                rows.append(row)
                if len(rows) == n:
                    break
                gaps = block[place + 1 :] - block[place]
                later = np.einsum("ij,ij->i", gaps, gaps)
                np.minimum(nearest[place + 1 :], later, out=nearest[place + 1 :])
    return np.array(rows, dtype=np.int64), squares


def _squares(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances between rows, shape (len(left), len(right)); 0 within rounding."""
    lengths = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)
    found: NDArray[np.float32] = lengths - 2 * (left @ right.T)
    found[found < 1e-6 * lengths] = 0
    return found
