"""Rows of every difficulty, without the hardest of all.

A share of the rows, the hardest, is set aside: there mislabelled rows gather. The scores of the
others are cut into strata of equal width, the budget is spread over the strata as evenly as their
sizes allow, and rows are drawn at random inside each. Use it to train on 5% to 30% of a labelled
set, where keeping only the hardest rows (`hardest`) falls below chance. `samplewise.score` makes
the scores: `aum` first, or `el2n`, `forgetting`, `prediction-entropy`.

Time O(n log n), memory O(n).
Source: coverage-centric coreset selection (CCS), arXiv 2210.15809.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector
from samplewise.select.clusters import draw_within
from samplewise.select.hardest import hardness_of

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["CoverageCentric", "equal_width_strata", "keep_after_cut", "stratum_budgets"]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class CoverageCentric(Selector):
    """Rows of every difficulty in equal numbers, without the hardest, which are often mislabelled.

    Where so many rows are asked for that the cut leaves too few, less is cut, with a warning. With
    one stratum and no cut it is random selection.

    Parameters
    ----------
    strata : int
        Bins of equal width over the scores that are left.
    beta : float
        Share of the pool, the hardest rows, that is set aside first; of equal scores any, by
        chance. From 0 to below 1. The more labels are wrong, and the smaller the budget, the
        higher: the paper searches a grid, and published 0.2 to 0.3 for budgets of 10% to 20%.
    hard : {'high', 'low'}
        Which scores are hard: 'high' for those of `samplewise.score`, 'low' where the pool's
        score is a quality or a margin.

    References
    ----------
    H. Zheng, R. Liu, F. Lai, A. Prakash, "Coverage-centric Coreset Selection for High Pruning
    Rates", arXiv 2210.15809.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> score = np.r_[np.zeros(80), np.linspace(1, 2, 10), np.full(10, 9.0)]
    >>> pool = sw.Pool.from_arrays(np.eye(100), score=score)
    >>> chosen = sw.select(pool, 12, "coverage-centric", strata=2, rng=0).indices
    >>> np.bincount(np.digitize(chosen, [80, 90])).tolist()  # easy, middling, hardest
    [6, 6]
    """

    name: ClassVar[str] = "coverage-centric"
    aliases: ClassVar[tuple[str, ...]] = ("ccs",)
    needs: ClassVar[tuple[str, ...]] = ("score",)
    paper: ClassVar[str] = "2210.15809"
    cost: ClassVar[str] = "O(n log n)"

    strata: int = 50
    beta: float = 0.1
    hard: Literal["high", "low"] = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strata < 1:
            raise UsageError(f"{self.name}: knob 'strata' is {self.strata}", mend="give 1 or more")
        if not 0 <= self.beta < 1:
            raise UsageError(
                f"{self.name}: knob 'beta' is {self.beta}", mend="give 0 to below 1, such as 0.1"
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `stratum`: from easy to hard, -1 where the row was cut."""
        assert pool.score is not None
        hardness = hardness_of(pool.score, self.hard)
        cut = int(self.beta * len(pool) + 1e-9)  # 0.29 of 100 is 29, whatever floats make of it
        if cut > len(pool) - n:
            cut = len(pool) - n
            warnings.warn(
                f"{self.name}: {n} of {len(pool)} rows leave no room to cut a share of "
                f"{self.beta}; {cut} rows are cut",
                stacklevel=2,
            )
        kept = keep_after_cut(hardness, cut, rng)
        strata = np.full(len(pool), -1)
        strata[kept] = equal_width_strata(hardness[kept], self.strata)
        sizes = np.bincount(strata[kept], minlength=self.strata)
        budgets = stratum_budgets(sizes, n)
        indices = draw_within(strata, budgets, rng.random(len(pool)))
        return Choice(indices, columns={"stratum": strata})


def keep_after_cut(hardness: Floats, cut: int, rng: np.random.Generator) -> Indices:
    """Give the rows left when the `cut` hardest are gone, in order; ties are broken by chance.

    Parameters
    ----------
    hardness : ndarray of float64, shape (n,)
        What the cut goes by; it may be another score than that of the strata.
    cut : int
        0 <= cut < n.
    rng : numpy.random.Generator

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> keep_after_cut(np.array([0.1, 0.9, 0.3, 0.8]), 2, rng).tolist()
    [0, 2]
    """
    shuffled = rng.permutation(len(hardness))
    order = shuffled[np.argsort(hardness[shuffled], kind="stable")]
    return np.sort(order[: len(order) - cut])


def equal_width_strata(hardness: Floats, strata: int) -> Indices:
    """Cut the range of some scores into bins of equal width.

    A bin holds its lower edge; the last one holds both. Where all scores are equal, they are in
    the first.

    Parameters
    ----------
    hardness : ndarray of float64, shape (n,)
    strata : int

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> equal_width_strata(np.array([0.0, 1.0, 2.0, 3.9, 4.0]), 4).tolist()
    [0, 1, 2, 3, 3]
    """
    # A power of two scales exactly, and keeps the products below from overflowing.
    _, exponent = np.frexp(np.abs(hardness).max())
    scaled = np.ldexp(hardness, -int(exponent))
    low = scaled.min()
    width = scaled.max() - low
    if not width:
        return np.zeros(len(hardness), np.int64)
    # Multiplied first: whole numbers then fall exactly on the edges that they are.
    bins = np.floor((scaled - low) * strata / width).astype(np.int64)
    clipped: Indices = np.minimum(bins, strata - 1)
    return clipped


def stratum_budgets(sizes: Indices, n: int) -> Indices:
    """Spread a budget over strata as evenly as their sizes allow.

    From the smallest stratum to the largest, each gives its equal part of what is still to be
    given, or all it has. What does not divide goes to the larger ones.

    Parameters
    ----------
    sizes : ndarray of int64, shape (k,)
        Rows in each stratum; 0 is allowed.
    n : int
        Rows to be given.

    Returns
    -------
    ndarray of int64, shape (k,)
        They sum to `n`, or to all there is where that is less.

    Examples
    --------
    >>> stratum_budgets(np.array([0, 3, 10, 100]), 10).tolist()
    [0, 3, 3, 4]
    """
    budgets = np.zeros_like(sizes)
    left = n
    for place, stratum in enumerate(np.argsort(sizes, kind="stable")):
        budgets[stratum] = min(int(sizes[stratum]), left // (len(sizes) - place))
        left -= int(budgets[stratum])
    return budgets
