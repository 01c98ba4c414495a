"""Win rates: how often a judge prefers a system to its opponent, per language and over languages.

A preference is 1 where the system wins, 0 where it loses, one half for a tie, and may lie between
where several verdicts were averaged, as both orders of showing should be.

Cost: O(resamples x prompts). Source: arXiv 2506.20544 for the protocol; Wilson, 1927, and Efron,
1979, for the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["WinRate", "WinRates", "both_orders", "wilson_interval", "win_rate", "win_rates"]

Floats: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = Literal["wilson", "bootstrap"]


class WinRate(NamedTuple):
    """A win rate, its interval, and what it is made of.

    Attributes
    ----------
    rate, low, high : float
        Mean preference and its interval.
    wins, ties, losses : int
        Preferences above, at and below one half.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int

    @property
    def prompts(self) -> int:
        """Over how many prompts it is."""
        return self.wins + self.ties + self.losses

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out one half."""
        return self.low > 0.5 or self.high < 0.5


@dataclass(frozen=True)
class WinRates:
    """Win rates by language.

    Attributes
    ----------
    languages : dict of WinRate
        Each language's, in the order they are seen.
    pooled : WinRate
        Over all prompts, whatever their language.
    macro : WinRate
        The mean of the languages' rates: each weighs the same, however many prompts it has.
    """

    languages: dict[str, WinRate]
    pooled: WinRate
    macro: WinRate


def both_orders(shown_first: ArrayLike, shown_second: ArrayLike) -> Floats:
    """Average a judge's preference over both orders, so that a taste for a place cancels.

    Parameters
    ----------
    shown_first : array_like, shape (prompts,)
        Preference for the answer shown first, where that is the system's.
    shown_second : array_like, shape (prompts,)
        Preference for the answer shown first, where the system's is the second.

    Returns
    -------
    ndarray of float64, shape (prompts,)
        Preference for the system.

    Raises
    ------
    ValueError
        If the shapes differ, or a preference is not from 0 to 1.

    Examples
    --------
    >>> both_orders([1.0, 1.0, 0.5], [1.0, 0.0, 0.0]).tolist()
    [0.5, 1.0, 0.75]
    """
    one, other = _preferences(shown_first), _preferences(shown_second)
    if one.shape != other.shape:
        raise ValueError(f"shapes {one.shape} and {other.shape}: give the same prompts")
    return (one + 1 - other) / 2


def wilson_interval(rate: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Give the score interval of a share.

    Parameters
    ----------
    rate : float
        The share, from 0 to 1. Ties count one half; the interval is then a little too wide, as a
        tie varies less than a win and a loss.
    n : int
        Of how many, 1 or more.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    Examples
    --------
    >>> [round(value, 4) for value in wilson_interval(0.8, 10)]
    [0.4902, 0.9433]
    """
    from scipy.special import ndtri

    if not (0 <= rate <= 1 and n >= 1 and 0 < confidence < 1):
        raise ValueError(f"rate {rate} of {n} with confidence {confidence}")
    z = float(ndtri((1 + confidence) / 2))
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def win_rate(
    preferences: ArrayLike,
    *,
    interval: Interval = "wilson",
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: RandomState = 0,
) -> WinRate:
    """Average preferences over prompts.

    Parameters
    ----------
    preferences : array_like, shape (prompts,)
        From 0 to 1; one half is a tie.
    interval : {'wilson', 'bootstrap'}
        Wilson's, which also holds for few prompts and for rates near 0 and 1, or that of a
        bootstrap over prompts, which knows that ties vary less.
    confidence : float
    resamples : int
        Of the bootstrap.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    WinRate

    Raises
    ------
    ValueError
        If there is no prompt, or a number is out of range.

    Examples
    --------
    >>> win_rate([1, 1, 0.5, 0])[0], win_rate([1, 1, 0.5, 0])[3:]
    (0.625, (2, 1, 1))
    """
    values = _preferences(preferences)
    rate = float(values.mean())
    if interval == "wilson":
        low, high = wilson_interval(rate, len(values), confidence)
    else:
        means = _resampled(values, resamples, generator(rng))
        low, high = _percentiles(means, confidence)
    return WinRate(rate, low, high, *_outcomes(values))


def win_rates(
    preferences: ArrayLike,
    languages: Sequence[str],
    *,
    leave_out: Sequence[str] = (),
    interval: Interval = "wilson",
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: RandomState = 0,
) -> WinRates:
    """Average preferences language by language, and over languages.

    What a system gains on another is a paired matter: give both preferences on the same prompts to
    `samplewise.measure.paired.paired_difference`.

    Parameters
    ----------
    preferences : array_like, shape (prompts,)
        From 0 to 1; one half is a tie.
    languages : sequence of str, as long
        The language of each prompt.
    leave_out : sequence of str
        Languages left out of all, such as ``["en"]`` for what is not English.
    interval : {'wilson', 'bootstrap'}
        Of each language and of all prompts together. A mean of languages is no share of prompts, so
        that the interval of `macro` is always a bootstrap's, over the prompts of each language.
    confidence : float
    resamples : int
    rng : int, numpy.random.Generator or None

    Returns
    -------
    WinRates

    Raises
    ------
    ValueError
        If the lengths differ, no prompt is left, or a number is out of range.

    References
    ----------
    arXiv 2506.20544

    Examples
    --------
    >>> rates = win_rates([1, 1, 1, 0], ["en", "en", "en", "de"])
    >>> rates.pooled.rate, rates.macro.rate, rates.languages["de"].losses
    (0.75, 0.5, 1)
    """
    values = _preferences(preferences)
    if len(values) != len(languages):
        raise ValueError(f"{len(values)} preferences and {len(languages)} languages")
    names = [name for name in dict.fromkeys(languages) if name not in leave_out]
    parts = {name: values[[one == name for one in languages]] for name in names}
    if not parts:
        raise ValueError("no prompt is left")
    random = generator(rng)

    def rate_of(some: Floats) -> WinRate:
        return win_rate(
            some, interval=interval, confidence=confidence, resamples=resamples, rng=random
        )

    every = np.concatenate(list(parts.values()))
    means = np.mean([_resampled(part, resamples, random) for part in parts.values()], axis=0)
    macro = WinRate(
        float(np.mean([part.mean() for part in parts.values()])),
        *_percentiles(means, confidence),
        *_outcomes(every),
    )
    return WinRates({name: rate_of(part) for name, part in parts.items()}, rate_of(every), macro)


def _preferences(values: ArrayLike) -> Floats:
    table = np.asarray(values, np.float64)
    if table.ndim != 1 or not len(table) or not ((table >= 0) & (table <= 1)).all():
        raise ValueError("give one row of preferences, each from 0 to 1")
    return table


def _outcomes(values: Floats) -> tuple[int, int, int]:
    """Count wins, ties and losses."""
    return int((values > 0.5).sum()), int((values == 0.5).sum()), int((values < 0.5).sum())


def _resampled(values: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """Give the mean of each resample of the prompts."""
    n = len(values)
    picks = random.multinomial(n, np.full(n, 1 / n), resamples)
    return np.asarray(picks @ values / n)


def _percentiles(means: Floats, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
