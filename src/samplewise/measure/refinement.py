"""What refining the best answer can gain over sampling anew: exact curves, and a simulation.

An answer is a number of slots, each right or wrong. Sampled anew, a slot is right by chance; shown
an answer, the model mends each of its wrong slots with one probability and spoils each right one
with another. With an exact verifier the loop is a Markov chain on the number of right slots, and
its curve is exact; with an error, or with a score for perfect answers alone, it is simulated.

Cost: a curve is O(rounds x slots^2) after O(slots^3); a simulation O(runs x answers), and so its
memory. Source: arXiv 2504.01931 for the loop and its rivals; the model of slots and all algebra are
our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["Slots", "expected_best", "revised_share"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def expected_best(values: ArrayLike, chances: ArrayLike, draws: int) -> float:
    """Give the mean of the best of some independent draws.

    Parameters
    ----------
    values : array_like, shape (m,)
        The rewards there are.
    chances : array_like, shape (m,)
        The probability of each.
    draws : int
        1 or more.

    Returns
    -------
    float
        The lowest reward, and the integral of ``1 - F(r) ** draws`` above it.

    Raises
    ------
    ValueError
        If the shapes differ, the chances are none, or there is no draw.

    Examples
    --------
    With rewards of 0 and 1 it is the chance that one of the draws succeeds:

    >>> round(expected_best([0, 1], [0.8, 0.2], 3), 3), round(1 - 0.8**3, 3)
    (0.488, 0.488)
    """
    rewards, weights = np.asarray(values, np.float64), np.asarray(chances, np.float64)
    if rewards.ndim != 1 or rewards.shape != weights.shape or not len(rewards):
        raise ValueError(f"values have shape {rewards.shape}, and chances {weights.shape}")
    if not (weights >= 0).all() or not np.isclose(weights.sum(), 1):
        raise ValueError("chances are not 0 or more with a sum of 1")
    _at_least_one(draws, "draws")
    order = np.argsort(rewards)
    below = np.minimum(weights[order].cumsum(), 1.0)[:-1]
    return float(rewards[order[0]] + np.diff(rewards[order]) @ (1 - below**draws))


def revised_share(first: float, mend: float, spoil: float, rounds: int) -> Floats:
    """Give the share of right slots when the last answer is always revised, round by round.

    Parameters
    ----------
    first : float
        Share in the first answer.
    mend, spoil : float
        Probability that a revision mends a wrong slot, and that it spoils a right one.
    rounds : int
        Answers, the first among them.

    Returns
    -------
    ndarray, shape (rounds,)
        It tends to ``mend / (mend + spoil)``, from above or from below.

    Raises
    ------
    ValueError
        If a probability is out of range, or there is no round.

    Examples
    --------
    >>> revised_share(0.35, 0.15, 0.05, 8)[[0, 1, 7]].round(3).tolist()
    [0.35, 0.43, 0.666]
    """
    _probabilities(first=first, mend=mend, spoil=spoil)
    _at_least_one(rounds, "rounds")
    if not mend + spoil:
        return np.full(rounds, float(first))
    limit = mend / (mend + spoil)
    return np.asarray(limit + (1 - mend - spoil) ** np.arange(rounds) * (first - limit))


@dataclass(frozen=True)
class Slots:
    """Answers of slots, and a model that mends and spoils them.

    Parameters
    ----------
    slots : int
        Of an answer.
    right : float
        Probability that a slot of an answer sampled anew is right.
    mend, spoil : float
        As `revised_share` takes them.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    arXiv 2504.01931, for the loop

    Examples
    --------
    At eight calls, with an exact verifier:

    >>> model = Slots(20, 0.35, 0.15, 0.05)
    >>> round(model.best_of(8), 3), model.refined(8)[[0, 1, 7]].round(3).tolist()
    (0.504, [0.35, 0.433, 0.714])
    """

    slots: int = 20
    right: float = 0.35
    mend: float = 0.15
    spoil: float = 0.05

    def __post_init__(self) -> None:
        _at_least_one(self.slots, "slots")
        _probabilities(right=self.right, mend=self.mend, spoil=self.spoil)

    def best_of(self, draws: int) -> float:
        """Give the share of right slots in the best of independent answers, exactly."""
        shares = np.arange(self.slots + 1) / self.slots
        return expected_best(shares, self._sampled(), draws)

    def refined(self, rounds: int, candidates: int = 1) -> Floats:
        """Give the share of right slots in the best answer so far, round by round, exactly.

        Parameters
        ----------
        rounds : int
        candidates : int
            Answers a round; later ones are all made from the best so far.

        Returns
        -------
        ndarray, shape (rounds,)
            It never falls.

        Raises
        ------
        ValueError
            If a number is below 1.
        """
        _at_least_one(rounds, "rounds")
        _at_least_one(candidates, "candidates")
        counts = np.arange(self.slots + 1)
        best = np.diff(self._sampled().cumsum() ** candidates, prepend=0.0)
        # What the best of a round's candidates is at most, given the best before; and the best
        # before stands where no candidate is above it.
        at_most = self._revised().cumsum(axis=1) ** candidates
        at_most[counts[:, None] > counts] = 0.0
        step = np.diff(at_most, axis=1, prepend=0.0)
        curve = []
        for _ in range(rounds):
            curve.append(best @ counts / self.slots)
            best = best @ step
        return np.array(curve)

    def simulated(
        self,
        rounds: int,
        *,
        revise: Literal["best", "last", "shuffled", "none"] = "best",
        noise: float = 0.0,
        sparse: bool = False,
        ties: Literal["first", "last", "random"] = "first",
        runs: int = 4000,
        rng: RandomState = None,
    ) -> Floats:
        """Simulate the loop of one candidate a round.

        Parameters
        ----------
        rounds : int
        revise : {'best', 'last', 'shuffled', 'none'}
            Which answer so far is revised: the best, the last, any, or none (best of n). Kept is
            the best; the last, where the last is revised.
        noise : float
            Standard deviation of the verifier's error.
        sparse : bool
            Whether only an answer with all slots right has a score.
        ties : {'first', 'last', 'random'}
            Which of equally good answers is the best.
        runs : int
        rng : int, numpy.random.Generator or None

        Returns
        -------
        ndarray, shape (runs,)
            The true share of right slots in the answer that is kept.

        Raises
        ------
        ValueError
            If a number is out of range.
        """
        _at_least_one(rounds, "rounds")
        _at_least_one(runs, "runs")
        if not noise >= 0:
            raise ValueError(f"noise is {noise}, below 0")
        source = generator(rng)
        right = np.zeros((runs, rounds), np.int64)
        score = np.zeros((runs, rounds))
        rows = np.arange(runs)
        for number in range(rounds):
            if number == 0 or revise == "none":
                drawn = source.binomial(self.slots, self.right, runs)
            else:
                shown = right[rows, _shown(score[:, :number], revise, ties, source)]
                drawn = source.binomial(shown, 1 - self.spoil)
                drawn += source.binomial(self.slots - shown, self.mend)
            right[:, number] = drawn
            score[:, number] = drawn == self.slots if sparse else drawn / self.slots
            if noise:
                score[:, number] += source.normal(0, noise, runs)
        kept = _shown(score, "last" if revise == "last" else "best", ties, source)
        return right[rows, kept] / self.slots

    def _sampled(self) -> Floats:
        """Give the probability of each number of right slots of an answer sampled anew."""
        from scipy.stats import binom

        return np.asarray(binom.pmf(np.arange(self.slots + 1), self.slots, self.right))

    def _revised(self) -> Floats:
        """Give the same of a revision, a row for each number of right slots before."""
        from scipy.stats import binom

        rows = []
        for before in range(self.slots + 1):
            wrong = self.slots - before
            stay = binom.pmf(np.arange(before + 1), before, 1 - self.spoil)
            rows.append(np.convolve(stay, binom.pmf(np.arange(wrong + 1), wrong, self.mend)))
        return np.array(rows)


def _shown(score: Floats, revise: str, ties: str, rng: np.random.Generator) -> Ints:
    """Give the column of each row's answer that is revised."""
    runs, made = score.shape
    if revise == "last":
        return np.full(runs, made - 1)
    if revise == "shuffled":
        return np.asarray(rng.integers(made, size=runs))
    level = score == score.max(axis=1, keepdims=True)
    if ties == "random":
        return np.asarray((level * (1 + rng.random(level.shape))).argmax(axis=1))
    if ties == "last":
        return np.asarray(made - 1 - level[:, ::-1].argmax(axis=1))
    return np.asarray(level.argmax(axis=1))


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}, below 1")


def _probabilities(**named: float) -> None:
    for name, value in named.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, not between 0 and 1")
