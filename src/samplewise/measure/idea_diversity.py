"""How many different ideas a pool of answers holds, and how much hangs on the idea.

Idea diversity is the chance that two answers, drawn at random, rest on different ideas. It tells,
before more is spent, whether more samples will pay: near copies of one idea fail together.

Cost: O(n^2) for n answers, of which every pair is judged; `samplewise.answer.idea_judge` does that.
Source: arXiv 2409.03733; the standard error, the expectation and the test of conditioning are
derived here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = [
    "IdeaConditioning",
    "MeanDiversity",
    "diversity_error",
    "diversity_of_ideas",
    "expected_diversity",
    "idea_conditioning",
    "idea_diversity",
    "judged_same",
    "mean_diversity",
    "relative_gain",
]

Floats: TypeAlias = NDArray[np.float64]


def judged_same(reply: str) -> bool | None:
    """Read a judge's reply: whether two ideas are the same.

    The first word counts if it is yes or no; else the one of these two words that the reply has.

    Parameters
    ----------
    reply : str

    Returns
    -------
    bool or None
        None where it says neither, or both. (The published code takes every reply with "yes"
        anywhere in it for a yes, and every other one for a no.)

    Examples
    --------
    >>> judged_same("Yes."), judged_same("No, although yesterday ..."), judged_same("Perhaps")
    (True, False, None)
    """
    words = re.findall(r"[a-z]+", reply.lower())
    said = set(words[:1]) & {"yes", "no"} or set(words) & {"yes", "no"}
    return said == {"yes"} if len(said) == 1 else None


def idea_diversity(same: ArrayLike) -> float:
    """Give D = 1 - (pairs of the same idea) / (pairs) for the answers of one problem.

    Parameters
    ----------
    same : array_like of bool or float, shape (n, n)
        Whether two answers rest on the same idea; NaN where no judgement is known. Only what is
        above the diagonal is read. It need not be transitive.

    Returns
    -------
    float
        In [0, 1]: 0 where all are the same, 1 where all differ. The mean is over the pairs that
        were judged; NaN if there is none, as for one answer.

    Raises
    ------
    ValueError
        If `same` is not square, or holds anything but 0, 1 and NaN.

    References
    ----------
    arXiv 2409.03733 (an appendix calls D the probability of being similar; the formula says the
    opposite, and is what is meant)

    Examples
    --------
    >>> round(idea_diversity([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), 3)
    0.667
    """
    alike, judged = _pairs(same)
    pairs = judged.sum() / 2
    return float(1 - alike.sum() / 2 / pairs) if pairs else float("nan")


def diversity_error(same: ArrayLike) -> float:
    """Estimate the standard error of D as an estimate for ever more answers, by the jackknife.

    Parameters
    ----------
    same : array_like of bool or float, shape (n, n)
        As `idea_diversity` takes it.

    Returns
    -------
    float
        Spread of D over other draws of n answers to the same problem. NaN where leaving out one
        answer leaves no pair, as for two.

    Raises
    ------
    ValueError
        As in `idea_diversity`.

    References
    ----------
    Arvesen (1969), Jackknifing U-statistics, Annals of Mathematical Statistics 40

    Examples
    --------
    >>> round(diversity_error([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), 3)
    0.667
    """
    alike, judged = _pairs(same)
    pairs = judged.sum() / 2 - judged.sum(axis=1)
    if not len(pairs) or not pairs.all():
        return float("nan")
    without = 1 - (alike.sum() / 2 - alike.sum(axis=1)) / pairs
    return float(np.sqrt((len(without) - 1) * without.var()))


def diversity_of_ideas(ideas: Iterable[Hashable]) -> float:
    """Give D where the idea of each answer is known by name. O(n).

    Parameters
    ----------
    ideas : iterable of hashable

    Returns
    -------
    float
        NaN for fewer than two answers.

    Examples
    --------
    >>> diversity_of_ideas(["sort", "sort", "heap", "heap", "scan"])
    0.8
    """
    counts = Counter(ideas).values()
    n = sum(counts)
    alike = sum(count * (count - 1) for count in counts)
    return 1 - alike / (n * (n - 1)) if n > 1 else float("nan")


def expected_diversity(chances: ArrayLike) -> Floats:
    """Give what D is expected to be, for any number of answers, from the chance of each idea.

    Parameters
    ----------
    chances : array_like, shape (..., ideas)
        Each row sums to 1.

    Returns
    -------
    ndarray of float64, shape (...)

    Raises
    ------
    ValueError
        If a row is no distribution.

    Examples
    --------
    >>> expected_diversity([[0.5, 0.5], [1.0, 0.0]]).tolist()
    [0.5, 0.0]
    """
    table = np.asarray(chances, np.float64)
    if table.ndim < 1 or (table < 0).any() or not np.allclose(table.sum(axis=-1), 1):
        raise ValueError("give probabilities that sum to 1 along the last axis")
    return np.asarray(1 - (table**2).sum(axis=-1), np.float64)


class MeanDiversity(NamedTuple):
    """The mean of D over problems, its interval, and how many problems it is over."""

    mean: float
    low: float
    high: float
    problems: int


def mean_diversity(
    diversities: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: RandomState = 0,
) -> MeanDiversity:
    """Average D over problems, with an interval by a bootstrap over problems.

    Parameters
    ----------
    diversities : array_like of float, shape (problems,)
        NaN, a problem without a judged pair, is left out.
    confidence : float
        Of the interval, between 0 and 1.
    resamples : int
    rng : int, numpy.random.Generator or None

    Returns
    -------
    MeanDiversity

    Raises
    ------
    ValueError
        If no problem is left, or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> mean_diversity([0.5, float("nan"), 0.5])
    MeanDiversity(mean=0.5, low=0.5, high=0.5, problems=2)
    """
    values = np.asarray(diversities, np.float64)
    values = values[~np.isnan(values)]
    if values.ndim != 1 or not len(values):
        raise ValueError("there is no problem with a judged pair")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    picks = generator(rng).integers(len(values), size=(resamples, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[picks].mean(axis=1), [tail, 1 - tail])
    return MeanDiversity(float(values.mean()), float(low), float(high), len(values))


def relative_gain(first: ArrayLike, last: ArrayLike) -> Floats:
    """Give how much pass@k gains on pass@1, as a share of it: what D is held against.

    Parameters
    ----------
    first, last : array_like of float
        pass@1 and pass@k.

    Returns
    -------
    ndarray of float64
        NaN where pass@1 is 0.

    Examples
    --------
    >>> relative_gain([0.4, 0.0], [0.6, 0.5]).round(3).tolist()
    [0.5, nan]
    """
    one, many = np.asarray(first, np.float64), np.asarray(last, np.float64)
    gain = np.full(np.broadcast(one, many).shape, np.nan)
    np.divide(many - one, one, out=gain, where=one > 0)
    return gain


class IdeaConditioning(NamedTuple):
    """How much hangs on the idea.

    Attributes
    ----------
    rates : ndarray of float64
        Share of right answers given each idea.
    settled : float
        Share of the ideas whose answers are all right, or all wrong.
    settled_by_chance : float
        What that is expected to be if the same verdicts were dealt to the ideas at random.
    """

    rates: Floats
    settled: float
    settled_by_chance: float


def idea_conditioning(right: ArrayLike) -> IdeaConditioning:
    """Measure whether the idea settles an answer: rates given an idea then pile up at 0 and 1.

    Parameters
    ----------
    right : array_like of bool, shape (ideas, answers)
        Verdicts of the answers drawn from each idea of one problem; only a problem with right and
        wrong answers can tell. (The paper draws 5 ideas and 25 answers of each.)

    Returns
    -------
    IdeaConditioning

    Raises
    ------
    ValueError
        If `right` is not a table with an answer in it.

    References
    ----------
    arXiv 2409.03733

    Examples
    --------
    >>> found = idea_conditioning([[True, True], [False, False]])
    >>> found.rates.tolist(), found.settled, round(found.settled_by_chance, 3)
    ([1.0, 0.0], 1.0, 0.333)
    """
    table = np.asarray(right, bool)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"right has shape {table.shape}, not (ideas, answers)")
    rates = table.mean(axis=1)
    each, n, c = table.shape[1], table.size, int(table.sum())
    dealt = (math.comb(c, each) + math.comb(n - c, each)) / math.comb(n, each)
    return IdeaConditioning(rates, float(np.isin(rates, (0, 1)).mean()), dealt)


def _pairs(same: ArrayLike) -> tuple[Floats, Floats]:
    """Give two symmetric tables with 0 on the diagonal: which pairs are alike, which are judged."""
    table = np.asarray(same, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"same has shape {table.shape}, not (n, n)")
    upper = np.triu(np.ones(table.shape, bool), 1)
    known = upper & ~np.isnan(table)
    if not np.isin(table[known], (0, 1)).all():
        raise ValueError("same holds something other than 0, 1 and NaN")
    alike = np.where(known, table, 0.0)
    return alike + alike.T, (known + known.T).astype(np.float64)
