"""The difference of two means over the same problems, or seeds, with an interval.

Cost: O(resamples x n) by the bootstrap; O(n) by Student's t, which few pairs need.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from samplewise.rng import RandomState, generator

__all__ = ["Difference", "paired_difference", "paired_t"]


class Difference(NamedTuple):
    """A mean difference and its interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: RandomState = 0,
) -> Difference:
    """Compare two methods on the same problems, by a bootstrap over problems.

    Parameters
    ----------
    first, second : array_like of float or bool, shape (n,)
        What each method was worth on each problem.
    confidence : float
        Of the interval, between 0 and 1.
    resamples : int
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Difference
        Of the mean of `first` from that of `second`.

    Raises
    ------
    ValueError
        If the shapes differ, there is no problem, or `confidence` is not between 0 and 1.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13: the percentile interval.

    Examples
    --------
    >>> paired_difference([1, 1, 1, 0], [0, 0, 0, 0], confidence=0.5).mean
    0.75
    >>> paired_difference([1, 0], [1, 0])
    Difference(mean=0.0, low=0.0, high=0.0)
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise ValueError(f"shapes {one.shape} and {other.shape}: give two rows of one length")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    away = one - other
    picks = generator(rng).integers(len(away), size=(resamples, len(away)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(away[picks].mean(axis=1), [tail, 1 - tail])
    return Difference(float(away.mean()), float(low), float(high))


def paired_t(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Difference:
    """Compare two methods over the same seeds, by Student's t.

    Parameters
    ----------
    first, second : array_like of float, shape (n,)
        What each method was worth with each seed; n is 2 or more.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    Difference
        Of the mean of `first` from that of `second`.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two pairs, or `confidence` is not between 0 and
        1.

    References
    ----------
    Student (1908), "The probable error of a mean".

    Examples
    --------
    >>> paired_t([3.0, 2.0, 4.0], [1.0, 1.0, 1.0], confidence=0.5).mean
    2.0
    """
    from scipy.stats import t

    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1 or len(one) < 2:
        raise ValueError(f"shapes {one.shape} and {other.shape}: give two pairs or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    away = one - other
    half = float(t.ppf((1 + confidence) / 2, len(away) - 1) * away.std(ddof=1) / len(away) ** 0.5)
    return Difference(float(away.mean()), float(away.mean()) - half, float(away.mean()) + half)
