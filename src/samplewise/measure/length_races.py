"""Whether the first of several completions to end is the right one: theory, and offline replay.

The theory takes the lengths of right and of wrong completions as normal, each with its mean and
spread. A normal length may be below 0, so that for many completions the figures lose their meaning.

Cost: one integral a figure; a replay is O(n log n). Source: arXiv 2505.18149 for the method and the
assumption (the algebra is derived here); replay and the first and last k of n, arXiv 2512.02008.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.voting import majority

__all__ = ["LengthModel", "Replay", "Trace", "first_finish", "last_finish", "vote"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class LengthModel:
    """Right and wrong completions, of normal lengths.

    Parameters
    ----------
    accuracy : float
        Share of right completions, between 0 and 1.
    right_mean, right_sd, wrong_mean, wrong_sd : float
        In tokens; spreads above 0.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    arXiv 2505.18149

    Examples
    --------
    >>> model = LengthModel(0.6, 8000, 2500, 12000, 2500)
    >>> round(model.first_finish_accuracy(4), 4), round(model.expected_shortest(4), 1)
    (0.8951, 6354.2)
    """

    accuracy: float
    right_mean: float
    right_sd: float
    wrong_mean: float
    wrong_sd: float

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ValueError(f"accuracy is {self.accuracy}, not between 0 and 1")
        if not (self.right_sd > 0 and self.wrong_sd > 0):
            raise ValueError("spreads must be above 0")

    def logit(self, length: ArrayLike) -> Floats:
        """Give the logarithm of the odds that a completion of some length is right."""
        t = np.asarray(length, np.float64)
        right = -(((t - self.right_mean) / self.right_sd) ** 2) / 2 - np.log(self.right_sd)
        wrong = -(((t - self.wrong_mean) / self.wrong_sd) ** 2) / 2 - np.log(self.wrong_sd)
        return np.asarray(np.log(self.accuracy / (1 - self.accuracy)) + right - wrong)

    def posterior(self, length: ArrayLike) -> Floats:
        """Give the probability that a completion of some length is right."""
        from scipy.special import expit

        return np.asarray(expit(self.logit(length)))

    @property
    def turning_length(self) -> float | None:
        """Where the probability turns, as a function of length; None where it never does.

        With wrong lengths more spread than right ones it is highest here, and completions that are
        shorter still are worse again: too many of them then hurt.
        """
        if self.right_sd == self.wrong_sd:
            return None
        one, other = self.right_sd**2, self.wrong_sd**2
        return float((self.right_mean * other - self.wrong_mean * one) / (other - one))

    def survival(self, length: ArrayLike) -> Floats:
        """Give the probability that a completion is longer."""
        from scipy.stats import norm

        right = norm.sf(length, self.right_mean, self.right_sd)
        wrong = norm.sf(length, self.wrong_mean, self.wrong_sd)
        return np.asarray(self.accuracy * right + (1 - self.accuracy) * wrong)

    def first_finish_accuracy(self, n: int) -> float:
        """Give the probability that the shortest of n completions is right."""
        from scipy.integrate import quad
        from scipy.stats import norm

        _check(n)
        low, high, points = self._range(n)
        found, _ = quad(
            lambda t: (
                n
                * self.accuracy
                * norm.pdf(t, self.right_mean, self.right_sd)
                * self.survival(t) ** (n - 1)
            ),
            low,
            high,
            points=points,
            limit=500,
            epsabs=1e-11,
        )
        return float(found)

    def expected_shortest(self, n: int) -> float:
        """Give the mean length of the shortest of n completions."""
        from scipy.integrate import quad

        _check(n)
        low, high, points = self._range(n)
        found, _ = quad(
            lambda t: self.survival(t) ** n, low, high, points=points, limit=500, epsabs=1e-7
        )
        return float(low + found)

    def _range(self, n: int) -> tuple[float, float, list[float]]:
        """Give bounds that hold all but nothing of the shortest, and where the integrand bends."""
        reach = 9.0 + np.sqrt(2 * np.log(n))
        sides = ((self.right_mean, self.right_sd), (self.wrong_mean, self.wrong_sd))
        low = min(mean - reach * sd for mean, sd in sides)
        high = max(mean + 9.0 * sd for mean, sd in sides)
        return low, high, sorted({mean for mean, _ in sides})


class Trace(NamedTuple):
    """One completion on record."""

    length: int
    answer: Hashable | None
    finished: bool = True


class Replay(NamedTuple):
    """What a rule would have done on recorded completions.

    Attributes
    ----------
    answer : hashable or None
        What it keeps; None where no completion has an answer.
    voters : tuple of int
        The completions that voted, in the order of the record.
    sequential_tokens : int
        Tokens that had to be waited for.
    total_tokens : int
        Tokens truly drawn: every completion up to the cut-off.
    voters_tokens : int
        Tokens of the completions up to the cut-off alone, as the published code counts: what the
        others had drawn until then is left out.
    """

    answer: Hashable | None
    voters: tuple[int, ...]
    sequential_tokens: int
    total_tokens: int
    voters_tokens: int


def first_finish(traces: Sequence[Trace], k: int = 1) -> Replay:
    """Replay a race: it stops when k completions with an answer have ended, and these vote.

    Of completions that end at the cut-off together, those recorded first vote. If fewer than k end
    with an answer, all completions run to their end, and what can be read votes.

    Parameters
    ----------
    traces : sequence of Trace
    k : int
        From 1 to the number of traces; with all of them it is a plain vote.

    Returns
    -------
    Replay

    Raises
    ------
    ValueError
        If there is no trace, a length is below 0, or k is out of range.

    References
    ----------
    arXiv 2505.18149, arXiv 2512.02008

    Examples
    --------
    >>> first_finish([Trace(5, "a"), Trace(3, "b"), Trace(9, "a")])
    Replay(answer='b', voters=(1,), sequential_tokens=3, total_tokens=9, voters_tokens=3)
    """
    _check_traces(traces, k)
    order = sorted(_valid(traces), key=lambda place: traces[place].length)
    longest = max(trace.length for trace in traces)
    if len(order) < k:
        return _replay(traces, tuple(range(len(traces))), longest)
    return _replay(traces, tuple(sorted(order[:k])), traces[order[k - 1]].length)


def last_finish(traces: Sequence[Trace], k: int = 1) -> Replay:
    """Replay the opposite: all run to their end, and the k longest with an answer vote.

    Parameters
    ----------
    traces : sequence of Trace
    k : int

    Returns
    -------
    Replay

    Raises
    ------
    ValueError
        As in `first_finish`.

    References
    ----------
    arXiv 2512.02008

    Examples
    --------
    >>> last_finish([Trace(5, "a"), Trace(3, "b"), Trace(9, "c")]).answer
    'c'
    """
    _check_traces(traces, k)
    order = sorted(_valid(traces), key=lambda place: -traces[place].length)
    voters = order[:k] or list(range(len(traces)))
    return _replay(traces, tuple(sorted(voters)), max(trace.length for trace in traces))


def vote(traces: Sequence[Trace]) -> Replay:
    """Replay a plain vote among all that ended with an answer.

    Examples
    --------
    >>> vote([Trace(5, "a"), Trace(3, "b"), Trace(9, "a")]).answer
    'a'
    """
    return last_finish(traces, len(traces))


def _replay(traces: Sequence[Trace], voters: tuple[int, ...], cutoff: int) -> Replay:
    answers = [traces[place].answer for place in voters]
    winner = majority(answers)
    return Replay(
        None if winner is None else answers[winner],
        voters,
        cutoff,
        sum(min(trace.length, cutoff) for trace in traces),
        sum(trace.length for trace in traces if trace.length <= cutoff),
    )


def _valid(traces: Sequence[Trace]) -> list[int]:
    return [i for i, trace in enumerate(traces) if trace.finished and trace.answer is not None]


def _check(n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}: give 1 or more")


def _check_traces(traces: Sequence[Trace], k: int) -> None:
    if not traces or not 1 <= k <= len(traces):
        raise ValueError(f"k is {k}, with {len(traces)} traces")
    if any(trace.length < 0 for trace in traces):
        raise ValueError("a length is below 0")
