"""Whether a stream of yes/no decisions is fair and memoryless, as the flips of a coin are.

Use it before a model, or any other agent, plays the coin in a simulation. Fairness (half of the
answers are yes), memory (what was said before tells what comes next) and the habit of switching too
often are separate properties, each with a test of its own. Decisions are arrays of 0 and 1 whose
last axis is time, so that many series of one length are tested in one call. Two ways of asking
differ: *one-shot*, a call for every answer, whose series are the calls in order of time; and
*few-shot*, one call for many answers, whose series is the list in the reply.

Cost: O(n) a series, and for exact tests O(n log n) for each different number of ones. Source: arXiv
2501.16356. Reconstructed: the paper names the properties; its tests, sample sizes and prompts are
not known to us, so the tests here are the standard ones for these properties, and the prompts ours.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = [
    "Cell",
    "Combined",
    "Counts",
    "Finding",
    "Line",
    "Parsed",
    "Recency",
    "RecencyCurve",
    "Record",
    "RunLengths",
    "ShareDifference",
    "Significance",
    "Transitions",
    "answer_logit",
    "audit",
    "combine_calls",
    "compare_shares",
    "count",
    "draw_chain",
    "empirical_logit",
    "exact_power",
    "few_shot_prompt",
    "holm",
    "independence",
    "markov_order",
    "negative_recency",
    "one_shot_prompt",
    "order_statistic",
    "parse_answer",
    "parse_answers",
    "recency_curve",
    "run_lengths",
    "runs",
    "share_interval",
    "temperature_line",
    "transitions",
    "uniformity",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

_EXACT = 1000  # decisions up to which tests are exact by default
_FEW = 5.0  # expected count of a cell below which chi-square is not trusted
_CONSTANT = "all answers of a series are the same"
_NEVER_LEFT = "an answer never comes before, or never after, another"


class Significance(NamedTuple):
    """What a test says; arrays have one number a series.

    Attributes
    ----------
    statistic, p_value : ndarray of float64
        NaN where the test is undefined.
    reason : str
        Why it is undefined, where it is.
    """

    statistic: Floats
    p_value: Floats
    reason: str = ""


class Counts(NamedTuple):
    """All that the tests of order 1 need to know of series of one length.

    Attributes
    ----------
    n : int
        Decisions of a series.
    ones : ndarray of int64, shape (...)
    pairs : ndarray of int64, shape (..., 2, 2)
        How often i is followed by j.
    """

    n: int
    ones: Ints
    pairs: Ints

    @property
    def switches(self) -> Ints:
        """How often a decision differs from the one before."""
        return np.asarray(self.pairs[..., 0, 1] + self.pairs[..., 1, 0], np.int64)


def count(decisions: ArrayLike) -> Counts:
    """Count ones and transitions.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
        2 or more.

    Returns
    -------
    Counts

    Raises
    ------
    ValueError
        If there are fewer than 2, or one is neither 0 nor 1.

    Examples
    --------
    >>> count([0, 1, 1, 0]).pairs.tolist()
    [[0, 1], [1, 1]]
    """
    series = _series(decisions)
    return Counts(
        series.shape[-1],
        np.asarray(series.sum(axis=-1, dtype=np.int64)),
        _words(series, 2).reshape(*series.shape[:-1], 2, 2),
    )


def _series(decisions: ArrayLike, least: int = 2) -> NDArray[np.int8]:
    given = np.asarray(decisions)
    if given.ndim < 1 or given.shape[-1] < least:
        raise ValueError(f"shape {given.shape} of decisions: give {least} or more of a series")
    if not np.isin(given, (0, 1)).all():
        raise ValueError("a decision is neither 0 nor 1")
    return given.astype(np.int8)


def _words(series: NDArray[np.int8], length: int) -> Ints:
    """Count each word of some length; shape (..., 2^length), the first letter weighs most."""
    places = series.shape[-1] - length + 1
    letters = [series[..., i : i + places].astype(np.int64) for i in range(length)]
    codes = sum((letter << (length - 1 - i) for i, letter in enumerate(letters)), letters[0] * 0)
    return np.stack([(codes == code).sum(axis=-1) for code in range(2**length)], axis=-1)


# --- fairness -------------------------------------------------------------------------------------


def uniformity(
    decisions: ArrayLike, share: float = 0.5, *, exact: bool | None = None
) -> Significance:
    """Test whether ones have a given share, a half by default.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
    share : float
        Another than a half asks, for example, whether answers follow the frequency of the word in
        some corpus.
    exact : bool, optional
        Whether the p-value is that of the exact binomial test; by default for 1000 or fewer.

    Returns
    -------
    Significance
        The chi-square of 1 degree of freedom, and the two-sided p-value.

    Raises
    ------
    ValueError
        If the decisions cannot be tested, or the share is not between 0 and 1.

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> test = uniformity([1, 1, 1, 1])
    >>> float(test.statistic), float(test.p_value)
    (4.0, 0.125)
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, not between 0 and 1")
    return _uniformity(count(decisions), share, exact)


def _uniformity(counts: Counts, share: float = 0.5, exact: bool | None = None) -> Significance:
    from scipy.stats import binomtest, chi2

    n, ones = counts.n, counts.ones
    statistic = np.asarray((ones - n * share) ** 2 / (n * share * (1 - share)), np.float64)
    if exact is False or (exact is None and n > _EXACT):
        return Significance(statistic, chi2.sf(statistic, 1))
    different, place = np.unique(ones, return_inverse=True)
    known = np.array([binomtest(int(k), n, share).pvalue for k in different])
    return Significance(statistic, known[place].reshape(ones.shape))


def share_interval(
    ones: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Give Wilson's interval of a share, which holds near 0 and 1 too; NaN where n is 0.

    Parameters
    ----------
    ones, n : array_like of int
    confidence : float

    Returns
    -------
    low, high : ndarray of float64

    Examples
    --------
    >>> low, high = share_interval(43, 100)
    >>> round(float(low), 4), round(float(high), 4)
    (0.3373, 0.5278)
    """
    from scipy.stats import norm

    k, m = np.asarray(ones, np.float64), np.asarray(n, np.float64)
    z = float(norm.isf((1 - confidence) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (k + z * z / 2) / (m + z * z)
        half = z / (m + z * z) * np.sqrt(k * (m - k) / m + z * z / 4)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


class ShareDifference(NamedTuple):
    """The difference of two shares of ones.

    Attributes
    ----------
    difference, low, high : float
        The first less the second, with Newcombe's interval.
    p_value : float
        Of Fisher's exact test; NaN where none was asked for.
    """

    difference: float
    low: float
    high: float
    p_value: float = float("nan")


def compare_shares(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> ShareDifference:
    """Compare the share of ones in two streams, such as of two prompts, versions or ways to ask.

    The answers within a stream are taken as independent, which `independence` tests.

    Parameters
    ----------
    first, second : array_like of 0 and 1, shapes (n,) and (m,)
    confidence : float

    Returns
    -------
    ShareDifference

    Raises
    ------
    ValueError
        If one of them is no series of 0 and 1.

    Examples
    --------
    >>> found = compare_shares([1, 1, 1, 1], [0, 0, 0, 0])
    >>> found.difference, round(found.p_value, 4)
    (1.0, 0.0286)
    """
    from scipy.stats import fisher_exact

    one, other = _series(first, 1), _series(second, 1)
    table = [[int(s.sum()), int(s.size - s.sum())] for s in (one, other)]
    return ShareDifference(
        *_newcombe(table[0][0], one.size, table[1][0], other.size, confidence),
        float(fisher_exact(table).pvalue),
    )


def _newcombe(
    first: int, n: int, second: int, m: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Give a difference of shares with its interval, made of the two Wilson intervals."""
    if not n or not m:
        return float("nan"), float("nan"), float("nan")
    p, q = first / n, second / m
    (p_low, q_low), (p_high, q_high) = share_interval([first, second], [n, m], confidence)
    below = np.hypot(p - p_low, q_high - q)
    above = np.hypot(p_high - p, q - q_low)
    return p - q, float(p - q - below), float(p - q + above)


# --- memory ---------------------------------------------------------------------------------------


class Transitions(NamedTuple):
    """What comes after what.

    Attributes
    ----------
    pairs : ndarray of int64, shape (2, 2)
        How often i is followed by j.
    yes_after : ndarray of float64, shape (2,)
        Share of ones after a 0 and after a 1; NaN where that never comes before another.
    low, high : ndarray of float64, shape (2,)
        Wilson's 95% intervals of these shares.
    dependence : ShareDifference
        The share after a 1 less that after a 0: 0 for a stream without memory.
    """

    pairs: Ints
    yes_after: Floats
    low: Floats
    high: Floats
    dependence: ShareDifference


def transitions(*calls: ArrayLike) -> Transitions:
    """Estimate the transition probabilities of one series, or of several together.

    Parameters
    ----------
    *calls : array_like of 0 and 1, shape (n,) each
        Pairs are counted within each, never across two.

    Returns
    -------
    Transitions

    Examples
    --------
    >>> transitions([0, 1, 0, 1, 0]).yes_after.tolist()
    [1.0, 0.0]
    """
    pairs = np.sum([count(call).pairs for call in calls], axis=0)
    before = pairs.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = pairs[:, 1] / before
    low, high = share_interval(pairs[:, 1], before)
    counted = (int(pairs[1, 1]), int(before[1]), int(pairs[0, 1]), int(before[0]))
    return Transitions(pairs, shares, low, high, ShareDifference(*_newcombe(*counted)))


def independence(decisions: ArrayLike, *, exact: bool | None = None) -> Significance:
    """Test whether a decision depends on the one before.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
    exact : bool, optional
        Whether the p-value is exact over all orders of the same decisions, rather than that of
        chi-square; by default where a cell of the table of transitions expects fewer than 5.

    Returns
    -------
    Significance
        Chi-square of 1 degree of freedom. Undefined where all are the same, or where one answer
        is only first or only last.

    Raises
    ------
    ValueError
        If the decisions cannot be tested.

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> float(independence([0, 1] * 4 + [0]).statistic), independence([1, 1, 1]).reason
    (8.0, 'an answer never comes before, or never after, another')
    """
    return _independence(count(decisions), exact)


def _independence(counts: Counts, exact: bool | None = None) -> Significance:
    from scipy.stats import chi2

    statistic = _association(counts)
    p_value = np.asarray(chi2.sf(statistic, 1), np.float64)
    few = _expected(counts) < _FEW if exact is None else np.full(statistic.shape, exact)
    few &= ~np.isnan(statistic)
    p_value = np.where(few, _exact_tail(counts, _association, few), p_value)
    return Significance(statistic, p_value, _NEVER_LEFT if np.isnan(statistic).any() else "")


def _association(counts: Counts) -> Floats:
    """Give chi-square of the tables of transitions; NaN where a row or column is empty."""
    pairs = counts.pairs.astype(np.float64)
    before, after = pairs.sum(axis=-1), pairs.sum(axis=-2)
    apart = pairs[..., 0, 0] * pairs[..., 1, 1] - pairs[..., 0, 1] * pairs[..., 1, 0]
    below = before.prod(axis=-1) * after.prod(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((counts.n - 1) * apart**2 / np.where(below, below, np.nan), np.float64)


def _expected(counts: Counts) -> Floats:
    """Give the smallest expected count of a table."""
    before, after = counts.pairs.sum(axis=-1), counts.pairs.sum(axis=-2)
    return np.asarray(before.min(axis=-1) * after.min(axis=-1) / (counts.n - 1), np.float64)


def markov_order(decisions: ArrayLike, order: int = 2) -> Significance:
    """Test whether a decision depends on the one `order` before it, given those between.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
    order : int
        1 tests memory of any kind against none, 2 a memory of two against one of one, ...

    Returns
    -------
    Significance
        The likelihood ratio G, which is chi-square distributed with 2^(order - 1) degrees of
        freedom, fewer where a word in between never has both neighbours on both sides; undefined
        where none has.

    Raises
    ------
    ValueError
        If the decisions cannot be tested, or the order is below 1.

    Examples
    --------
    >>> round(float(markov_order([0, 0, 1, 1] * 20).statistic), 1)  # two steps back tell all
    108.1
    """
    return _ratio_test(*order_statistic(_order_counts(decisions, order)))


def _order_counts(decisions: ArrayLike, order: int) -> Ints:
    if order < 1:
        raise ValueError(f"order is {order}: give 1 or more")
    series = _series(decisions, order + 1)
    return _words(series, order + 1).reshape(*series.shape[:-1], 2, 2 ** (order - 1), 2)


def _ratio_test(statistic: Floats, freedom: Ints) -> Significance:
    from scipy.stats import chi2

    defined = freedom > 0
    p_value = np.where(defined, chi2.sf(statistic, np.maximum(freedom, 1)), np.nan)
    return Significance(
        np.where(defined, statistic, np.nan), p_value, "" if defined.all() else _NEVER_LEFT
    )


def order_statistic(counts: ArrayLike) -> tuple[Floats, Ints]:
    """Give the likelihood ratio of first and last letter given what is between them.

    Parameters
    ----------
    counts : array_like, shape (..., 2, m, 2)
        How often words come, by first letter, middle and last letter.

    Returns
    -------
    statistic : ndarray of float64, shape (...)
        0 exactly where first and last are independent given the middle.
    freedom : ndarray of int64, shape (...)
        Middles that have both letters on both sides.

    Examples
    --------
    >>> statistic, freedom = order_statistic([[[2, 4]], [[3, 6]]])
    >>> float(statistic), int(freedom)
    (0.0, 1)
    """
    seen = np.asarray(counts, np.float64)
    first, last = seen.sum(axis=-1, keepdims=True), seen.sum(axis=-3, keepdims=True)
    middle = last.sum(axis=-1, keepdims=True)
    ratio = np.divide(seen * middle, first * last, out=np.ones_like(seen), where=seen > 0)
    full = (first[..., 0] > 0).all(axis=-2) & (last[..., 0, :, :] > 0).all(axis=-1)
    return (
        np.asarray(2 * (seen * np.log(ratio)).sum(axis=(-3, -2, -1)), np.float64),
        np.asarray(full.sum(axis=-1), np.int64),
    )


def runs(decisions: ArrayLike, *, exact: bool | None = None) -> Significance:
    """Test whether there are too many or too few runs of equal decisions (Wald and Wolfowitz).

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
    exact : bool, optional
        Whether the p-value is exact over all orders of the same decisions; by default for 1000 or
        fewer.

    Returns
    -------
    Significance
        z, positive for too many runs, and the two-sided p-value. Undefined where all are the same.

    Raises
    ------
    ValueError
        If the decisions cannot be tested.

    Examples
    --------
    >>> round(float(runs([0, 1, 0, 1, 0, 1]).p_value), 3)
    0.2
    """
    return _runs(count(decisions), exact)


def _runs(counts: Counts, exact: bool | None = None) -> Significance:
    from scipy.stats import norm

    z = _runs_z(counts)
    defined = ~np.isnan(z)
    if exact is False or (exact is None and counts.n > _EXACT):
        p_value = np.asarray(2 * norm.sf(np.abs(z)), np.float64)
    else:
        p_value = _exact_tail(counts, lambda one: np.abs(_runs_z(one)), defined)
    return Significance(z, p_value, "" if defined.all() else _CONSTANT)


def _runs_z(counts: Counts) -> Floats:
    n, ones = counts.n, counts.ones.astype(np.float64)
    product = 2 * ones * (n - ones)
    variance = product * (product - n) / (n * n * (n - 1))
    with np.errstate(invalid="ignore"):
        deviation = np.where(variance > 0, np.sqrt(np.abs(variance)), np.nan)
    return np.asarray((counts.switches - product / n) / deviation, np.float64)


class RunLengths(NamedTuple):
    """How long runs of equal decisions are.

    Attributes
    ----------
    length : ndarray of int64
        1, 2, ...
    seen : ndarray of int64
        Runs of that length, no longer.
    expected : ndarray of float64
        Their mean number in as many flips of a fair coin; of all runs, a share of about 2^-length.
    """

    length: Ints
    seen: Ints
    expected: Floats


def run_lengths(decisions: ArrayLike, longest: int = 5) -> RunLengths:
    """Count the runs of each length, with what a fair coin would give.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (n,)
    longest : int

    Returns
    -------
    RunLengths

    Examples
    --------
    >>> run_lengths([0, 0, 1, 0, 0], 3).seen.tolist()
    [1, 2, 0]
    """
    series = _series(decisions)
    n, length = len(series), np.arange(1, longest + 1)
    edges = np.flatnonzero(np.diff(series)) + 1
    found = np.bincount(np.diff([0, *edges, n]), minlength=longest + 1)[1 : longest + 1]
    # Runs within, with an end on either side, and the one at each edge, with one end.
    expected = np.where(length < n, (n - length + 3) * 0.5 ** (length + 1), 0.0)
    expected[length == n] = 0.5 ** (n - 1)
    return RunLengths(length, found, expected)


class Recency(NamedTuple):
    """Whether decisions switch too often, as people's do who believe that a six is due.

    Attributes
    ----------
    switching : ndarray of float64
        Share of decisions that differ from the one before.
    fair : Significance
        z and one-sided p-value against a fair coin, which switches half of the time. A skewed
        stream switches less whatever its memory, so that this hides its habit.
    expected : ndarray of float64
        Mean share of switches over all orders of the same decisions.
    corrected : Significance
        z and one-sided p-value against these orders: skew does not disturb it.
    """

    switching: Floats
    fair: Significance
    expected: Floats
    corrected: Significance


def negative_recency(decisions: ArrayLike, *, exact: bool | None = None) -> Recency:
    """Test whether decisions switch too often.

    Parameters
    ----------
    decisions : array_like of 0 and 1, shape (..., n)
    exact : bool, optional
        Whether p-values are exact; by default for 1000 decisions or fewer.

    Returns
    -------
    Recency

    Raises
    ------
    ValueError
        If the decisions cannot be tested.

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> found = negative_recency([0, 1, 0, 1, 0, 1])
    >>> float(found.switching), float(found.fair.p_value), float(found.corrected.p_value)
    (1.0, 0.03125, 0.1)
    """
    return _negative_recency(count(decisions), exact)


def _negative_recency(counts: Counts, exact: bool | None = None) -> Recency:
    from scipy.stats import binom, norm

    n, switches = counts.n, counts.switches
    fair = np.asarray((2 * switches - (n - 1)) / np.sqrt(n - 1), np.float64)
    skewed = _runs_z(counts)
    defined = ~np.isnan(skewed)
    if exact is False or (exact is None and n > _EXACT):
        chances = norm.sf(fair), norm.sf(skewed)
    else:
        # The flips of a fair coin switch independently, each with probability a half.
        chances = binom.sf(switches - 1, n - 1, 0.5), _exact_tail(counts, _runs_z, defined)
    return Recency(
        switches / (n - 1),
        Significance(fair, np.asarray(chances[0], np.float64)),
        2 * counts.ones * (n - counts.ones) / (n * (n - 1)),
        Significance(
            skewed, np.asarray(chances[1], np.float64), "" if defined.all() else _CONSTANT
        ),
    )


class RecencyCurve(NamedTuple):
    """How often the next decision differs after a run.

    Attributes
    ----------
    length : ndarray of int64
        The last r decisions were equal, r = 1, 2, ...
    cases : ndarray of int64
        How often they were.
    differs : ndarray of float64
        Share of these after which the next differs; NaN where there is none.
    memoryless : ndarray of float64
        What a stream without memory and with the same share of ones would give: a half at every
        length where it is fair, and falling with the length where it is skewed.
    """

    length: Ints
    cases: Ints
    differs: Floats
    memoryless: Floats


def recency_curve(*calls: ArrayLike, longest: int = 5) -> RecencyCurve:
    """Measure how the chance to switch depends on how long the run has been.

    Parameters
    ----------
    *calls : array_like of 0 and 1, shape (n,) each
        Series that are taken together; no run goes on from one to the next.
    longest : int

    Returns
    -------
    RecencyCurve

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> curve = recency_curve([0, 0, 1, 1, 0, 0, 1], longest=2)
    >>> curve.cases.tolist(), curve.differs.tolist()
    ([6, 3], [0.5, 1.0])
    """
    cases, differs = np.zeros(longest, np.int64), np.zeros(longest, np.int64)
    series = [_series(call) for call in calls]
    for one in series:
        equal = one[1:] == one[:-1]
        ran = np.ones(len(equal), bool)  # whether the last r are equal, at every place but the last
        for r in range(min(longest, len(equal))):
            cases[r] += ran.sum()
            differs[r] += (ran & ~equal[r:]).sum()
            ran = ran[1:] & equal[: len(equal) - r - 1]
    length = np.arange(1, longest + 1)
    p = float(np.concatenate(series).mean())
    with np.errstate(invalid="ignore"):
        shares = differs / cases
        flat = (p**length * (1 - p) + (1 - p) ** length * p) / (p**length + (1 - p) ** length)
    return RecencyCurve(length, cases, shares, flat)


# --- exact distributions --------------------------------------------------------------------------


class _Orders(NamedTuple):
    """All series of n decisions, those with equal counts together."""

    counts: Counts
    first: Ints
    log_number: Floats


def _orders(n: int, ones: ArrayLike | None = None) -> _Orders:
    """List the kinds of series by ones, first decision and number of runs.

    These three decide all four transition counts. How many series are of a kind is the number of
    ways to cut the ones, and the zeros, into their runs.
    """
    from scipy.special import gammaln

    given = np.arange(n + 1) if ones is None else np.atleast_1d(ones)
    most = int(2 * np.minimum(given, n - given).max() + 1)
    k, first, number = (
        one.ravel() for one in np.meshgrid(given, [0, 1], np.arange(1, most + 1), indexing="ij")
    )
    mine, other = (number + 1) // 2, number // 2
    runs_of = np.stack([np.where(first == 0, mine, other), np.where(first == 1, mine, other)])
    totals = np.stack([n - k, k])
    possible = ((runs_of <= totals) & ((runs_of > 0) == (totals > 0))).all(axis=0)
    k, first, runs_of, totals = (
        k[possible],
        first[possible],
        runs_of[:, possible],
        totals[:, possible],
    )
    into = runs_of[::-1] - np.stack([first == 1, first == 0])  # 0 to 1, and 1 to 0
    stay = totals - runs_of
    pairs = np.stack([stay[0], into[0], into[1], stay[1]], axis=-1).reshape(-1, 2, 2)
    above, below = np.maximum(totals, 1), np.maximum(runs_of, 1)
    ways = gammaln(above) - gammaln(below) - gammaln(above - below + 1)
    return _Orders(Counts(n, k, pairs), first, ways.sum(axis=0))


def _exact_tail(counts: Counts, statistic: Callable[[Counts], Floats], where: Flags) -> Floats:
    """Give the share of all orders of the same decisions whose statistic is as high or higher."""
    observed, ones = statistic(counts), counts.ones
    found = np.full(ones.shape, np.nan)
    places = np.flatnonzero(where)
    places = places[np.argsort(ones.flat[places], kind="stable")]
    for same in np.split(places, np.flatnonzero(np.diff(ones.flat[places])) + 1):
        if not len(same):
            continue
        orders = _orders(counts.n, ones.flat[same[0]])
        values = np.nan_to_num(statistic(orders.counts), nan=-np.inf)
        rank = np.argsort(values)
        chances = np.exp(orders.log_number - orders.log_number.max())
        tail = np.cumsum(chances[rank][::-1])[::-1] / chances.sum()
        near = observed.flat[same]
        near = near - 1e-9 * (1 + np.abs(near))  # equal but for the last bits
        found.flat[same] = tail[np.searchsorted(values[rank], near)]
    return found


def exact_power(
    n: int, up: float, down: float, *, start: float | None = None, alpha: float = 0.05
) -> dict[str, float]:
    """Compute how often each test rejects a stream with a memory of one, by enumeration.

    All series of n decisions are summed over, a term for each kind that the tests can tell apart.
    With a fair coin it is the size of the tests.

    Parameters
    ----------
    n : int
        2 or more; memory grows with n^2.
    up, down : float
        Probability of a 1 after a 0, and of a 0 after a 1. A skewed coin has ``up`` and
        ``1 - up``.
    start : float, optional
        Probability that the first is 1; by default that of the stationary stream.
    alpha : float
        Level of the tests.

    Returns
    -------
    dict
        Of ``"uniformity"``, ``"independence"``, ``"runs"``, ``"recency"`` (against a fair coin) and
        ``"recency, corrected"``: the probability that p is at most `alpha`. Where a test is
        undefined it does not reject.

    Raises
    ------
    ValueError
        If n is below 2, or a probability is none.

    Examples
    --------
    >>> round(exact_power(500, 0.5, 0.5)["uniformity"], 4)
    0.0441
    """
    from scipy.special import xlog1py, xlogy

    first = start if start is not None else up / (up + down) if up + down else 0.5
    if n < 2 or not all(0 <= one <= 1 for one in (up, down, first)):
        raise ValueError("give n of 2 or more, and probabilities from 0 to 1")
    orders = _orders(n)
    pairs = orders.counts.pairs
    chances = np.exp(
        orders.log_number
        + np.where(orders.first == 1, xlogy(1, first), xlog1py(1, -first))
        + xlogy(pairs[:, 0, 1], up)
        + xlog1py(pairs[:, 0, 0], -up)
        + xlogy(pairs[:, 1, 0], down)
        + xlog1py(pairs[:, 1, 1], -down)
    )
    recency = _negative_recency(orders.counts)
    tests = {
        "uniformity": _uniformity(orders.counts),
        "independence": _independence(orders.counts),
        "runs": _runs(orders.counts),
        "recency": recency.fair,
        "recency, corrected": recency.corrected,
    }
    return {name: float(chances[test.p_value <= alpha].sum()) for name, test in tests.items()}


def draw_chain(
    size: int, n: int, up: float, down: float, *, rng: RandomState = 0
) -> NDArray[np.int8]:
    """Draw stationary streams with a memory of one.

    Parameters
    ----------
    size, n : int
        Streams, and decisions of each.
    up, down : float
        Probability of a 1 after a 0, and of a 0 after a 1; not both 0.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ndarray of int8, shape (size, n)

    Examples
    --------
    >>> draw_chain(1, 4, 1.0, 1.0).tolist() in ([[0, 1, 0, 1]], [[1, 0, 1, 0]])
    True
    """
    draws = generator(rng).random((n, size))
    found = np.empty((n, size), np.int8)
    found[0] = draws[0] < up / (up + down)
    for t in range(1, n):
        found[t] = draws[t] < np.where(found[t - 1] == 1, 1 - down, up)
    return np.ascontiguousarray(found.T)


# --- temperature ----------------------------------------------------------------------------------


def answer_logit(yes: ArrayLike, no: ArrayLike, temperature: float = 1.0) -> float:
    """Give the logit of yes against no, from the logits of all ways to write each.

    Spellings such as "Yes" and "yes" split an answer's probability: their mass is added up at the
    temperature asked for, before the two answers are compared. With one spelling each it is
    ``(yes - no) / temperature``.

    Parameters
    ----------
    yes, no : array_like of float
        Logits, or log-probabilities, of the first tokens of each answer.
    temperature : float
        Above 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there is no spelling, or the temperature is not above 0.

    Examples
    --------
    >>> answer_logit(1.0, 0.0, 0.5)
    2.0
    """
    from scipy.special import logsumexp

    one, other = np.atleast_1d(np.asarray(yes, float)), np.atleast_1d(np.asarray(no, float))
    if not one.size or not other.size or not temperature > 0:
        raise ValueError("give a spelling of each answer, and a temperature above 0")
    return float(logsumexp(one / temperature) - logsumexp(other / temperature))


def empirical_logit(ones: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Estimate logits from counts, finite at 0 and n too, with the weight each deserves.

    Parameters
    ----------
    ones, n : array_like of int

    Returns
    -------
    logit, weight : ndarray of float64
        The weight is one over the variance.

    Examples
    --------
    >>> empirical_logit(5, 10)[0].tolist()
    0.0
    """
    k, m = np.asarray(ones, np.float64) + 0.5, np.asarray(n, np.float64) + 1
    return np.log(k / (m - k)), 1 / (1 / k + 1 / (m - k))


class Line(NamedTuple):
    """Logits as a line in one over the temperature.

    Attributes
    ----------
    slope : float
        The logit at temperature 1, where the line goes through 0.
    intercept : float
        0 where temperature does nothing but divide logits.
    worst : float
        The largest distance of a logit from the line.
    """

    slope: float
    intercept: float
    worst: float


def temperature_line(
    temperatures: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None
) -> Line:
    """Fit the logit of yes as a line in one over the temperature.

    Parameters
    ----------
    temperatures, logits : array_like of float, shape (m,)
        Two temperatures at least, above 0.
    weights : array_like of float, shape (m,), optional
        As `empirical_logit` gives them.

    Returns
    -------
    Line

    Raises
    ------
    ValueError
        If there are fewer than two temperatures.

    Examples
    --------
    >>> temperature_line([0.5, 1.0, 2.0], [2.0, 1.0, 0.5])
    Line(slope=1.0, intercept=0.0, worst=0.0)
    """
    inverse = 1 / np.asarray(temperatures, np.float64)
    y = np.asarray(logits, np.float64)
    if len(np.unique(inverse)) < 2 or (inverse <= 0).any() or y.shape != inverse.shape:
        raise ValueError("give logits at two or more temperatures above 0")
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    x_mean, y_mean = np.average(inverse, weights=w), np.average(y, weights=w)
    slope = float((w * (inverse - x_mean) * y).sum() / (w * (inverse - x_mean) ** 2).sum())
    intercept = float(y_mean - slope * x_mean)
    return Line(slope, intercept, float(np.abs(y - slope * inverse - intercept).max()))


# --- calls that give many answers -----------------------------------------------------------------


class Combined(NamedTuple):
    """The tests of several calls, taken together.

    Attributes
    ----------
    uniformity : Significance
        Stouffer's z of the calls, weighed by the root of their lengths, and the two-sided p-value.
    independence : Significance
        Sum of the calls' chi-squares; their degrees of freedom, one each, are summed.
    recency, corrected : Significance
        Stouffer's z, positive for too many switches, and the one-sided p-value: against a fair
        coin, and against all orders of each call's answers.
    between : Significance
        Chi-square of the calls' shares of ones against one common share.
    """

    uniformity: Significance
    independence: Significance
    recency: Significance
    corrected: Significance
    between: Significance


def combine_calls(
    calls: Sequence[ArrayLike], *, resamples: int = 10_000, rng: RandomState = 0
) -> Combined:
    """Test the series of several calls one by one, and combine what is found.

    A call for which a test is undefined has no part in it.

    Parameters
    ----------
    calls : sequence of array_like of 0 and 1
        A series each, of any length of 2 or more.
    resamples : int
        Orders drawn of each call's answers where a table of transitions expects fewer than 5: the
        sum of chi-squares is then held against those of such orders.
    rng : int, numpy.random.Generator or None
        Draws them.

    Returns
    -------
    Combined

    Raises
    ------
    ValueError
        If there is no call, or one cannot be tested.

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> found = combine_calls([[0, 1, 0, 1, 1, 0]] * 4)
    >>> float(found.uniformity.p_value), round(float(found.recency.p_value), 3)
    (1.0, 0.004)
    """
    if not len(calls):
        raise ValueError("there is no call")
    counts = [count(np.ravel(call)) for call in calls]
    n = np.array([one.n for one in counts])
    ones = np.array([int(one.ones) for one in counts])
    fair = np.array([float(_negative_recency(one, exact=False).fair.statistic) for one in counts])
    skewed = np.array([float(_runs_z(one)) for one in counts])
    return Combined(
        _stouffer((2 * ones - n) / np.sqrt(n), n, two_sided=True),
        _summed(counts, resamples, rng),
        _stouffer(fair, n - 1),
        _stouffer(skewed, n - 1),
        _between(ones, n),
    )


def _stouffer(z: Floats, weight: Ints, two_sided: bool = False) -> Significance:
    from scipy.stats import norm

    known = ~np.isnan(z)
    if not known.any():
        return _undefined(_CONSTANT)
    root = np.sqrt(weight[known])
    joint = np.asarray((root * z[known]).sum() / np.sqrt((root**2).sum()), np.float64)
    chance = 2 * norm.sf(abs(joint)) if two_sided else norm.sf(joint)
    return Significance(joint, np.asarray(chance, np.float64), "" if known.all() else _CONSTANT)


def _summed(counts: Sequence[Counts], resamples: int, rng: RandomState) -> Significance:
    from scipy.stats import chi2

    each = np.array([float(_association(one)) for one in counts])
    known = [one for one, value in zip(counts, each, strict=True) if not np.isnan(value)]
    reason = "" if len(known) == len(counts) else _NEVER_LEFT
    if not known:
        return _undefined(_NEVER_LEFT)
    total = np.asarray(np.nansum(each), np.float64)
    if min(float(_expected(one)) for one in known) >= _FEW:
        return Significance(total, np.asarray(chi2.sf(total, len(known)), np.float64), reason)
    random = generator(rng)
    drawn = np.zeros(resamples)
    for one in known:
        orders = _orders(one.n, one.ones)
        values = _association(orders.counts)
        chances = np.where(np.isnan(values), 0.0, np.exp(orders.log_number))
        drawn += random.choice(values, resamples, p=chances / chances.sum())
    as_high = int((drawn >= total * (1 - 1e-9)).sum())
    return Significance(total, np.asarray((1 + as_high) / (1 + resamples), np.float64), reason)


def _order(calls: Sequence[ArrayLike], order: int) -> Significance:
    """Add up the likelihood ratios of several series, and their degrees of freedom."""
    each = [order_statistic(_order_counts(call, order)) for call in calls]
    return _ratio_test(np.sum([g for g, _ in each], axis=0), np.sum([f for _, f in each], axis=0))


def _between(ones: Ints, n: Ints) -> Significance:
    from scipy.stats import chi2_contingency

    if len(n) < 2:
        return _undefined("there is one call")
    if ones.sum() in (0, n.sum()):
        return _undefined(_CONSTANT)
    found = chi2_contingency(np.column_stack([ones, n - ones]), correction=False)
    return Significance(np.asarray(found.statistic), np.asarray(found.pvalue))


def _undefined(reason: str) -> Significance:
    return Significance(np.asarray(np.nan), np.asarray(np.nan), reason)


# --- many cells -----------------------------------------------------------------------------------


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values of many tests, so that a false rejection among them all stays rare (Holm).

    Parameters
    ----------
    p_values : array_like of float, shape (m,)
        NaN for a test that is undefined: it stays NaN, and is not counted.

    Returns
    -------
    ndarray of float64, shape (m,)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(2).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    given = np.asarray(p_values, np.float64)
    found = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found


@dataclass(frozen=True)
class Cell:
    """What was collected under one condition.

    Parameters
    ----------
    calls : sequence of array_like of 0 and 1
        One series where every answer had a call of its own, else a series a call.
    mode : {'one_shot', 'few_shot'}
    model, prompt : str
    temperature : float
    invalid : int
        Answers that could not be read.

    Raises
    ------
    ValueError
        If one-shot answers are not one series.
    """

    calls: Sequence[ArrayLike]
    mode: Literal["one_shot", "few_shot"] = "one_shot"
    model: str = ""
    prompt: str = ""
    temperature: float = 1.0
    invalid: int = 0

    def __post_init__(self) -> None:
        if self.mode == "one_shot" and len(self.calls) != 1:
            raise ValueError(f"{len(self.calls)} one-shot series: give all answers as one series")


class Finding(NamedTuple):
    """One test of one cell.

    Attributes
    ----------
    statistic, p_value : float
    adjusted : float
        p-value corrected for all deciding tests of all cells; NaN for a test that decides nothing.
    reason : str
        Why it is undefined, for some series or all.
    """

    statistic: float
    p_value: float
    adjusted: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """What an audit says of one cell.

    Attributes
    ----------
    cell : Cell
    answers : int
        Answers that could be read.
    invalid_rate : float
        Share of all answers that could not.
    share, low, high : float
        Of ones, with Wilson's 95% interval, which takes answers as independent.
    transitions : Transitions
    curve : RecencyCurve
    tests : mapping of str to Finding
    uniform : bool or None
        Whether a share of a half is not rejected; None where the test is undefined.
    markov_independent : bool or None
        Whether no test of memory rejects.
    negative_recency : bool or None
        Whether it switches too often for its share of ones.
    """

    cell: Cell
    answers: int
    invalid_rate: float
    share: float
    low: float
    high: float
    transitions: Transitions
    curve: RecencyCurve
    tests: Mapping[str, Finding]
    uniform: bool | None
    markov_independent: bool | None
    negative_recency: bool | None


def audit(
    cells: Sequence[Cell], *, alpha: float = 0.05, order: int = 1, longest: int = 5
) -> list[Record]:
    """Run all tests on all cells, corrected for their number (Holm).

    Fairness is decided by ``uniformity``, memory by ``independence`` (and by ``order 2``, ... up to
    `order`), switching by ``recency, corrected``; these are corrected together, over all cells.

    Parameters
    ----------
    cells : sequence of Cell
    alpha : float
        Level of all decisions together.
    order : int
        How far back memory is looked for.
    longest : int
        Length of the recency curve.

    Returns
    -------
    list of Record
        One a cell.

    Raises
    ------
    ValueError
        If a series cannot be tested.

    References
    ----------
    arXiv 2501.16356

    Examples
    --------
    >>> [record] = audit([Cell([[0, 1] * 30], model="alternator")])
    >>> record.uniform, record.markov_independent, record.negative_recency
    (True, False, True)
    """
    orders = [f"order {one}" for one in range(2, order + 1)]
    deciding = ("uniformity", "independence", *orders, "recency, corrected")
    tests = [_tests(cell, order) for cell in cells]
    keys = [(place, name) for place, one in enumerate(tests) for name in deciding if name in one]
    adjusted = dict(
        zip(keys, holm([float(tests[i][name].p_value) for i, name in keys]).tolist(), strict=True)
    )
    records = []
    for place, (cell, found) in enumerate(zip(cells, tests, strict=True)):
        findings = {
            name: Finding(
                float(test.statistic),
                float(test.p_value),
                adjusted.get((place, name), float("nan")),
                test.reason,
            )
            for name, test in found.items()
        }
        records.append(_record(cell, findings, ("independence", *orders), alpha, longest))
    return records


def _tests(cell: Cell, order: int) -> dict[str, Significance]:
    series = [_series(np.ravel(call)) for call in cell.calls]
    further = {f"order {one}": _order(series, one) for one in range(2, order + 1)}
    if cell.mode == "few_shot":
        joint = combine_calls(series)
        return {
            "uniformity": joint.uniformity,
            "independence": joint.independence,
            **further,
            "recency": joint.recency,
            "recency, corrected": joint.corrected,
            "between calls": joint.between,
        }
    [only] = series
    recency = negative_recency(only)
    return {
        "uniformity": uniformity(only),
        "independence": independence(only),
        **further,
        "runs": runs(only),
        "recency": recency.fair,
        "recency, corrected": recency.corrected,
    }


def _record(
    cell: Cell, tests: Mapping[str, Finding], memory: Sequence[str], alpha: float, longest: int
) -> Record:
    pooled = np.concatenate([np.ravel(call) for call in cell.calls])
    low, high = share_interval(pooled.sum(), len(pooled))

    def rejects(names: Sequence[str]) -> bool | None:
        known = [tests[name].adjusted for name in names if not np.isnan(tests[name].adjusted)]
        return min(known) <= alpha if known else None

    skewed, remembers = rejects(["uniformity"]), rejects(memory)
    return Record(
        cell,
        len(pooled),
        cell.invalid / (cell.invalid + len(pooled)),
        float(pooled.mean()),
        float(low),
        float(high),
        transitions(*cell.calls),
        recency_curve(*cell.calls, longest=longest),
        tests,
        None if skewed is None else not skewed,
        None if remembers is None else not remembers,
        rejects(["recency, corrected"]),
    )


# --- asking ---------------------------------------------------------------------------------------


def one_shot_prompt(randomly: bool = False) -> str:
    """Word the question that asks for one answer.

    Parameters
    ----------
    randomly : bool
        Whether the answer is to be random, and not merely yes or no.

    Returns
    -------
    str

    Examples
    --------
    >>> one_shot_prompt()
    'Decide: yes or no? Answer with the one word alone.'
    """
    how = " at random, as the flip of a fair coin would" if randomly else ""
    return f"Decide{how}: yes or no? Answer with the one word alone."


def few_shot_prompt(answers: int, randomly: bool = False) -> str:
    """Word the question that asks for many answers in one reply.

    Parameters
    ----------
    answers : int
    randomly : bool
        As in `one_shot_prompt`.

    Returns
    -------
    str

    Examples
    --------
    >>> few_shot_prompt(3)
    'Write a list of 3 answers, each of them yes or no, one a line.'
    """
    asked = f"Write a list of {answers} answers, each of them yes or no, one a line."
    return f"{asked} Draw each at random, as the flip of a fair coin would." if randomly else asked


_WORD = re.compile(r"[^\W\d_]+")
_VALUES = {"no": 0, "yes": 1}


def parse_answer(text: str) -> int | None:
    """Read one answer: its first word, whatever its case and the signs around it.

    Parameters
    ----------
    text : str

    Returns
    -------
    int or None
        1 for yes, 0 for no, None where it begins with neither.

    Examples
    --------
    >>> [parse_answer(text) for text in ("Yes.", "**no**, I think", "Not sure", "I say no", "")]
    [1, 0, None, None, None]
    """
    word = _WORD.search(text)
    return _VALUES.get(word[0].lower()) if word else None


class Parsed(NamedTuple):
    """The answers in one reply.

    Attributes
    ----------
    decisions : ndarray of int8
        As many as there are, whatever was asked for.
    invalid : int
        Lines that hold something else, such as a heading.
    """

    decisions: NDArray[np.int8]
    invalid: int


def parse_answers(text: str) -> Parsed:
    r"""Read a reply of many answers, line by line.

    A line counts where its words are yes and no alone; numbers and signs do not matter.

    Parameters
    ----------
    text : str

    Returns
    -------
    Parsed

    Examples
    --------
    >>> reply = "Here are 4 answers, yes or no:\n1. Yes\n2) no\n- yes, no"
    >>> found = parse_answers(reply)
    >>> found.decisions.tolist(), found.invalid
    ([1, 0, 1, 0], 1)
    """
    lines = [[word.lower() for word in _WORD.findall(line)] for line in text.splitlines()]
    answers = [line for line in lines if line and set(line) <= _VALUES.keys()]
    invalid = sum(bool(line) for line in lines) - len(answers)
    decisions = [_VALUES[word] for word in itertools.chain.from_iterable(answers)]
    return Parsed(np.array(decisions, np.int8), invalid)
