"""Coverage: the share of problems that at least one of k samples solves, and how sure that is.

All forms are exact and stable for tens of thousands of samples. Cost: O(problems x numbers of k).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["CoverageCurve", "beta_coverage", "coverage_curve", "pass_at_k", "plug_in_pass_at_k"]

Floats: TypeAlias = NDArray[np.float64]


def pass_at_k(drawn: ArrayLike, right: ArrayLike, k: ArrayLike) -> Floats:
    """Estimate, without bias, the probability that at least one of k samples is right.

    It is the share of all subsets of k of the samples drawn that hold a right one.

    Parameters
    ----------
    drawn, right : array_like of int
        Samples of each problem, and how many of them are right; broadcast with `k`.
    k : array_like of int
        From 1 to `drawn`.

    Returns
    -------
    ndarray of float64
        Of the shape the arguments broadcast to.

    Raises
    ------
    ValueError
        If a count makes no sense, or a k is more than was drawn.

    References
    ----------
    arXiv 2407.21787, arXiv 2107.03374

    Examples
    --------
    >>> pass_at_k(10, 3, [1, 2, 8]).round(5).tolist()
    [0.3, 0.53333, 1.0]
    """
    from scipy.special import gammaln

    n, c, k = _counts(drawn, right, k)
    wrong = n - c
    with np.errstate(invalid="ignore"):  # where k > wrong, the logarithm has no meaning
        # log of C(wrong, k) / C(n, k)
        missed = gammaln(wrong + 1) - gammaln(wrong - k + 1) + gammaln(n - k + 1) - gammaln(n + 1)
    some = np.where(k > wrong, 1.0, -np.expm1(np.minimum(missed, 0.0)))
    found: Floats = np.where(c == 0, 0.0, some)
    return found


def plug_in_pass_at_k(drawn: ArrayLike, right: ArrayLike, k: ArrayLike) -> Floats:
    """Give 1 - (1 - right / drawn)^k: it looks the same, and is too low.

    Kept to compare with: at k near the number drawn it misses much of the coverage.

    Parameters
    ----------
    drawn, right, k
        As `pass_at_k` takes them.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        As in `pass_at_k`.

    Examples
    --------
    >>> float(plug_in_pass_at_k(10, 1, 10).round(3)), float(pass_at_k(10, 1, 10))
    (0.651, 1.0)
    """
    n, c, k = _counts(drawn, right, k)
    return np.asarray(1.0 - (1.0 - c / n) ** k, np.float64)


def beta_coverage(alpha: float, beta: float, k: ArrayLike) -> Floats:
    """Give the coverage of problems whose success rates are Beta distributed, in closed form.

    Parameters
    ----------
    alpha, beta : float
        Above 0.
    k : array_like of float
        0 or more.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> beta_coverage(1, 1, [1, 9]).round(3).tolist()
    [0.5, 0.9]
    """
    from scipy.special import gammaln

    k = np.asarray(k, np.float64)
    if not (alpha > 0 and beta > 0 and (k >= 0).all()):
        raise ValueError(f"alpha {alpha} and beta {beta} must be above 0, and k at least 0")
    missed = gammaln(beta + k) + gammaln(alpha + beta) - gammaln(beta) - gammaln(alpha + beta + k)
    return np.asarray(-np.expm1(missed), np.float64)


class CoverageCurve(NamedTuple):
    """Coverage at each k, with an interval.

    Attributes
    ----------
    k : ndarray of int64
    mean, low, high : ndarray of float64
        Mean over the problems, and its interval.
    problems : ndarray of int64
        Over how many problems each mean is.
    """

    k: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    problems: NDArray[np.int64]


def coverage_curve(
    counts: ArrayLike,
    ks: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: RandomState = 0,
    allow: Literal["all", "available"] = "all",
) -> CoverageCurve:
    """Estimate coverage at several k, with intervals by a bootstrap over problems.

    The interval says how far other problems of the same kind may differ; it holds at each k alone.

    Parameters
    ----------
    counts : array_like of int, shape (problems, 2)
        Samples drawn and samples right.
    ks : array_like of int, optional
        By default every k up to the fewest samples that any problem has.
    confidence : float
        Of the intervals, between 0 and 1.
    resamples : int
    rng : int, numpy.random.Generator or None
    allow : {'all', 'available'}
        Whether every problem must have k samples, or the mean is over those that have.

    Returns
    -------
    CoverageCurve

    Raises
    ------
    ValueError
        If there is no problem, a count makes no sense, or a k is more than was drawn.

    References
    ----------
    arXiv 2407.21787

    Examples
    --------
    >>> curve = coverage_curve([[4, 1], [4, 0], [4, 4]])
    >>> curve.mean.round(3).tolist()
    [0.417, 0.5, 0.583, 0.667]
    """
    table = np.asarray(counts, np.int64)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise ValueError(f"counts has shape {table.shape}, not (problems, 2)")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    drawn, right = table.T
    most = int(drawn.max() if allow == "available" else drawn.min())
    grid = np.arange(1, most + 1) if ks is None else np.asarray(ks, np.int64)
    if len(grid) and int(grid.max()) > most:
        raise ValueError(f"k is {int(grid.max())}, and a problem has {most} samples")
    has = drawn[:, None] >= grid[None, :]
    usable = np.minimum(grid[None, :], np.maximum(drawn, 1)[:, None])
    each = np.where(has, pass_at_k(drawn[:, None], right[:, None], usable), 0.0)
    picks = generator(rng).multinomial(len(table), np.full(len(table), 1 / len(table)), resamples)
    with np.errstate(invalid="ignore"):
        means = (picks @ each) / (picks @ has.astype(np.float64))
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail], axis=0)
    problems = has.sum(axis=0)
    return CoverageCurve(grid, each.sum(axis=0) / problems, low, high, problems)


def _counts(drawn: ArrayLike, right: ArrayLike, k: ArrayLike) -> tuple[Floats, Floats, Floats]:
    n, c, k = (np.asarray(one, np.float64) for one in (drawn, right, k))
    if not ((n >= 1) & (c >= 0) & (c <= n)).all():
        raise ValueError("every problem needs 1 sample or more, of which 0 or more are right")
    if not ((k >= 1) & (k <= n)).all():
        raise ValueError("k must be from 1 to the number of samples drawn")
    return n, c, k
