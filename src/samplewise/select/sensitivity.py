"""Rows that keep the l_p norm of Ax for every x at once, each with the weight that makes it so.

For fitting linear models: the loss of any model on the chosen rows, times their weights, is near
its loss on the pool. A is the matrix of the pool's embeddings. Rows are drawn by chance, those
that can matter more for sure or more often, and weighted by one over that chance; use these
instead of `random` wherever few rows can decide a fit. `lewis` is the one to begin with;
`sensitivity` needs fewer rows where the total sensitivity is small, and is exact for small pools;
`leverage` is for p = 2; `root-leverage` is cheap for any p.

Time O(n d^2) for leverage scores and about 20 times that for Lewis weights; memory O(n d). Exact
sensitivities take O(n^2 d^2) an iteration.
Source: Sharper Bounds for l_p Sensitivity Sampling, arXiv 2306.00732.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.measure.importance import (
    leverage_scores,
    lewis_weights,
    lp_sensitivities,
    root_leverage_scores,
)
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = [
    "Leverage",
    "Lewis",
    "RootLeverage",
    "Sensitivity",
    "draw_fixed_size",
    "inclusion_probabilities",
]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

_SURE = 1 - 1e-9  # a chance from here on is 1


@dataclass(frozen=True)
class ByImportance(Selector):
    """Shared base: score the rows, turn scores into chances, draw, weight by one over chance."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "2306.00732"

    floor: float = 1.0
    with_score: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.floor < np.inf:
            raise UsageError(
                f"{self.name}: knob 'floor' is {self.floor}",
                mend="give a finite number above 0: every row must have a chance",
            )
        p = getattr(self, "p", 2.0)
        if not 1 <= p < np.inf:
            raise UsageError(f"{self.name}: knob 'p' is {p}", mend="give a finite number from 1")
        if self.with_score:
            # The base checks the pool's score for every method that names it here.
            object.__setattr__(self, "needs", (*type(self).needs, "score"))

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `importance` and `chance`."""
        A = matrix_of(pool, self.with_score)
        scores = self.scores_of(A)
        chances = inclusion_probabilities(scores + self.floor / len(A), n)
        indices = draw_fixed_size(chances, rng)
        columns = {"importance": scores, "chance": chances}
        return Choice(indices, 1 / chances[indices], columns)

    @abstractmethod
    def scores_of(self, A: Floats) -> Floats:
        """Give each row its score, at least 0."""


@dataclass(frozen=True)
class Sensitivity(ByImportance):
    """Rows by the largest share that each can have of the l_p norm of Ax.

    Row i is chosen with probability q_i = min(1, c (sigma_i + floor / N)), where sigma_i is its
    l_p sensitivity among the N rows of the pool, and c is such that exactly the budget is chosen
    (the paper draws each row on its own, and gets a random number of them). Its weight is 1 / q_i:
    it multiplies |a_i x|^p, so the row itself is to be scaled by q_i^(-1/p). On average over draws
    the weighted sum of |a_i x|^p is that over the whole pool, for every x.

    Columns: `importance`, the score, and `chance`, q.

    Parameters
    ----------
    p : float
        The norm, 1 <= p < infinity: 1 for least absolute deviations, 2 for least squares, more to
        come near the smallest largest error.
    augmented : bool
        Whether leverage scores are added to the sensitivities: best possible up to logarithms for
        p <= 2 (arXiv 2406.00328). That it is right for p > 2 too is an inference.
    scores : {'auto', 'exact', 'upper'}
        Whether sensitivities are exact (one convex problem a row, so that twice the rows take four
        times as long) or bounded from above by Lewis weights and root leverage scores. 'auto':
        exact for p = 2 and for pools up to about 1,000 rows of 16 dimensions.
    floor : float
        What every row gets on top of its score, in parts of 1 / N, above 0. The paper's is 1.
    with_score : bool
        Whether the pool's score is one more column of A: the target of a regression.

    References
    ----------
    Woodruff and Yasuda, "Sharper Bounds for l_p Sensitivity Sampling", arXiv 2306.00732.
    Munteanu and Omlor, "Optimal bounds for l_p sensitivity sampling via l_2 augmentation",
    arXiv 2406.00328.

    Examples
    --------
    The last row alone has anything in the second column: it is always chosen, with weight 1.

    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]]))
    >>> chosen = sw.select(pool, 4, "sensitivity", rng=0)
    >>> dict(zip(chosen.indices.tolist(), chosen.weights.round(6).tolist()))[9]
    1.0
    >>> round(float(chosen.weights.sum()), 6)
    10.0
    """

    name: ClassVar[str] = "sensitivity"
    cost: ClassVar[str] = "O(n d^2) an iteration; exact O(n^2 d^2)"

    p: float = 1.0
    augmented: bool = False
    scores: Literal["auto", "exact", "upper"] = "auto"

    def scores_of(self, A: Floats) -> Floats:
        """Give l_p sensitivities."""
        scores = lp_sensitivities(A, self.p, self.scores)
        return scores + leverage_scores(A) if self.augmented else scores


@dataclass(frozen=True)
class Leverage(ByImportance):
    """Rows by leverage score: the largest share that each can have of the Euclidean norm of Ax.

    The same as `sensitivity` with p = 2, and for least squares. As there, row i is chosen with
    probability q_i = min(1, c (tau_i + floor / N)) and has weight 1 / q_i.

    Columns: `importance`, the score, and `chance`, q.

    Parameters
    ----------
    floor, with_score
        As in `Sensitivity`.

    References
    ----------
    Woodruff and Yasuda, "Sharper Bounds for l_p Sensitivity Sampling", arXiv 2306.00732.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]]))
    >>> 9 in sw.select(pool, 4, "leverage", rng=0).indices
    True
    """

    name: ClassVar[str] = "leverage"
    cost: ClassVar[str] = "O(n d^2)"

    def scores_of(self, A: Floats) -> Floats:
        """Give leverage scores."""
        return leverage_scores(A)


@dataclass(frozen=True)
class Lewis(ByImportance):
    """Rows by l_p Lewis weight: leverage scores after they have reweighted the rows.

    As in `sensitivity`, row i is chosen with probability q_i = min(1, c (w_i + floor / N)) and has
    weight 1 / q_i, which multiplies |a_i x|^p. About d / eps^2 rows for p < 2 and d^(p/2) / eps^2
    for p > 2 keep every norm within 1 +- eps, whatever the data.

    Columns: `importance`, the Lewis weight, and `chance`, q.

    Parameters
    ----------
    p : float
        The norm, 1 <= p < infinity.
    floor, with_score
        As in `Sensitivity`.

    References
    ----------
    Woodruff and Yasuda, "Sharper Bounds for l_p Sensitivity Sampling", arXiv 2306.00732.
    Cohen and Peng, "l_p row sampling by Lewis weights", arXiv 1412.0588.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]]))
    >>> 9 in sw.select(pool, 4, "lewis", rng=0, p=4).indices
    True
    """

    name: ClassVar[str] = "lewis"
    cost: ClassVar[str] = "O(n d^2) an iteration, about 20"

    p: float = 1.0

    def scores_of(self, A: Floats) -> Floats:
        """Give Lewis weights."""
        # The chances need no more digits than these.
        return lewis_weights(A, self.p, tolerance=1e-4, iterations=10_000)


@dataclass(frozen=True)
class RootLeverage(ByImportance):
    """Rows by a power of their leverage score, which bounds their share of the l_p norm of Ax.

    Rows are chosen with probability min(1, c (r_i + floor / N)), where r_i is tau_i^(p/2) for
    p <= 2 and min(1, N^(p/2 - 1) tau_i^(p/2)) above, of leverage scores tau. With `depth` above 1
    some are chosen first, scaled, scored anew among themselves, and so on: each time the
    scores come nearer to Lewis weights. A row's chance is the product of those it had each time;
    its weight, one over that, multiplies |a_i x|^p.

    Columns: `importance`, the score that a row had last; `chance`, the product of its chances as
    far as it came; `stage`, how often it was chosen.

    Parameters
    ----------
    p : float
        The norm, 1 <= p < infinity.
    depth : int
        How often rows are chosen. On the way, each time the same part is left.
    floor, with_score
        As in `Sensitivity`.

    References
    ----------
    Woodruff and Yasuda, "Sharper Bounds for l_p Sensitivity Sampling", arXiv 2306.00732.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]]))
    >>> chosen = sw.select(pool, 4, "root-leverage", rng=0, depth=2)
    >>> np.bincount(chosen.columns["stage"]).tolist()
    [4, 2, 4]
    """

    name: ClassVar[str] = "root-leverage"
    cost: ClassVar[str] = "O(n d^2)"

    p: float = 1.0
    depth: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1:
            raise UsageError(f"{self.name}: knob 'depth' is {self.depth}", mend="give 1 or more")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows, in `depth` stages."""
        A = matrix_of(pool, self.with_score)
        scores, chances = np.zeros(len(A)), np.ones(len(A))
        stage = np.zeros(len(A), np.int64)
        rows = np.arange(len(A))
        for size in stage_sizes(len(A), n, self.depth):
            scale = (1 / chances[rows]) ** (1 / self.p)
            scores[rows] = self.scores_of(A[rows] * scale[:, None])
            here = inclusion_probabilities(scores[rows] + self.floor / len(rows), size)
            chances[rows] *= here
            rows = rows[draw_fixed_size(here, rng)]
            stage[rows] += 1
        columns = {"importance": scores, "chance": chances, "stage": stage}
        return Choice(rows, 1 / chances[rows], columns)

    def scores_of(self, A: Floats) -> Floats:
        """Give root leverage scores."""
        return root_leverage_scores(A, self.p)


def matrix_of(pool: Pool, with_score: bool) -> Floats:
    """Give the pool's embeddings, and where asked its score as one more column, in float64."""
    assert pool.embeddings is not None
    if not with_score:
        return pool.embeddings.astype(np.float64)
    assert pool.score is not None
    return np.column_stack([pool.embeddings, pool.score]).astype(np.float64, copy=False)


def stage_sizes(rows: int, n: int, depth: int) -> list[int]:
    """Say how many rows are left after each stage: every one leaves the same part of them.

    Examples
    --------
    >>> stage_sizes(1_000, 10, 2), stage_sizes(7, 7, 1)
    ([100, 10], [7])
    """
    shares = np.arange(1, depth + 1) / depth
    sizes = np.rint(np.exp((1 - shares) * np.log(rows) + shares * np.log(n)))
    return [int(size) for size in np.clip(sizes, n, rows)]


def inclusion_probabilities(scores: Floats, n: int) -> Floats:
    """Turn scores into chances min(1, c score), for the c that makes them sum to `n`.

    Parameters
    ----------
    scores : ndarray of float64, shape (m,)
        Finite and above 0.
    n : int
        1 <= n <= m.

    Returns
    -------
    ndarray of float64, shape (m,)
        In (0, 1].

    Examples
    --------
    >>> inclusion_probabilities(np.array([1.0, 1.0, 2.0, 16.0]), 2).tolist()
    [0.25, 0.25, 0.5, 1.0]
    """
    if n == len(scores):
        return np.ones(n)
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    rest = np.cumsum(falling[::-1])[::-1]  # of each row and all below it
    # With the k best rows sure, the others share n - k; the first k that leaves none above 1.
    factors = (n - np.arange(n)) / rest[:n]
    below = np.flatnonzero(factors * falling[:n] < _SURE)
    sure = int(below[0]) if len(below) else n - 1  # all others are next to nothing
    chances = np.ones(len(scores))
    chances[order[sure:]] = factors[sure] * falling[sure:]
    return chances


def draw_fixed_size(chances: Floats, rng: np.random.Generator) -> Indices:
    """Draw rows so that each has its chance exactly, and their number is always the same.

    Systematic sampling: rows in random order lie end to end on a line, each as long as its chance,
    and those that a comb of unit spacing meets are drawn.

    Parameters
    ----------
    chances : ndarray of float64, shape (m,)
        In (0, 1], with a whole sum.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64
        As many as the chances sum to, each once, in random order.

    Examples
    --------
    >>> sorted(draw_fixed_size(np.array([1.0, 0.5, 0.5, 1.0]), np.random.default_rng(0)).tolist())
    [0, 1, 3]
    """
    sure = np.flatnonzero(chances >= _SURE)
    others = rng.permutation(np.flatnonzero(chances < _SURE))
    ends = np.cumsum(chances[others])
    count = round(float(ends[-1])) if len(others) else 0
    if count:
        teeth = (rng.random() + np.arange(count)) / count * ends[-1]
        places = np.searchsorted(ends, teeth, side="right")
        drawn = others[np.minimum(places, len(others) - 1)]
        return rng.permutation(np.concatenate([sure, drawn]))
    return rng.permutation(sure)
