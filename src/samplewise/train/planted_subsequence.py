"""A planted subsequence: a problem whose solution is hidden in a map, with exact figures.

A prompt is a row of symbols. An answer is a row of tokens as long as the budget, and it is solved
at the first token by which the images of the symbols under a hidden map have appeared in order,
with anything between them. The sooner, the more it returns: one for every token from then on.

The policy to be improved (the base) takes a strategy for every answer: it follows the true map,
follows a wrong one (a decoy), or follows none. Following means to give the next token that is
needed, and at a given rate any token instead. So answers to one prompt are of very different worth,
and how much is set by the shares of the strategies. Its laws are found by dynamic programs.

Cost: O(budget) a token row; O(budget x length^2 x maps^2) a prompt for the exact laws.
Source: the environment of arXiv 2410.08146, section 3.3, carried over to arXiv 2502.12118 from its
summaries; strategies and decoys are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.measure.heterogeneity import best_in_ball
from samplewise.train.base import Task

__all__ = ["PlantedSubsequence", "Pool"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Pool(NamedTuple):
    """Answers of the base to the prompts of the test, on which learners are compared.

    Attributes
    ----------
    numbers : ndarray of int64, shape (test x rollouts,)
        The prompt of each.
    tokens : ndarray of int64, shape (test x rollouts, budget)
    returns : ndarray of int64, shape (test, rollouts, maps)
        What each would return if each map were the true one.
    """

    numbers: Ints
    tokens: Ints
    returns: Ints


@dataclass(frozen=True)
class PlantedSubsequence(Task):
    """Answers that must hold the images of some symbols under a hidden map, in order.

    Parameters
    ----------
    vocabulary : int
        Symbols, and tokens; 2 or more.
    length : int
        Symbols of a prompt.
    budget : int
        Tokens of an answer; at least `length`.
    noise : float
        Share of tokens that are any instead of the next one needed, where a map is followed.
    noise_spread : float
        Each prompt has its own noise, evenly spread this far to both sides.
    known : float
        Share of the base's answers that follow the true map.
    decoys : int
        Wrong maps.
    misled : float
        Share of the base's answers that follow one of them; with `known` at most 1, and the rest
        are any tokens.
    prompts, test : int
        To learn from, and for the test.
    rollouts : int
        Answers of the base to every prompt of the test.
    seed : int

    Examples
    --------
    >>> task = PlantedSubsequence(noise=0.9, known=1.0, misled=0.0, decoys=0)
    >>> law = task.laws[0, task.truth]
    >>> round(float(law @ np.arange(41)) / 40, 3), round(float(1 - law[0]), 3)
    (0.294, 0.789)
    """

    label: ClassVar[str] = "planted-subsequence"

    vocabulary: int = 15
    length: int = 5
    budget: int = 40
    noise: float = 0.5
    noise_spread: float = 0.0
    known: float = 0.25
    decoys: int = 1
    misled: float = 0.25
    prompts: int = 8
    test: int = 8
    rollouts: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.noise - self.noise_spread, self.noise + self.noise_spread
        checks = {
            f"vocabulary {self.vocabulary}": self.vocabulary >= 2,
            f"length {self.length} and budget {self.budget}": 1 <= self.length <= self.budget,
            f"noise {self.noise} and noise_spread {self.noise_spread}": 0 <= low <= high <= 1,
            f"known {self.known} and misled {self.misled}": min(self.known, self.misled) >= 0
            and self.known + self.misled <= 1,
            f"decoys {self.decoys} and misled {self.misled}": self.decoys > 0
            or (self.decoys == 0 and self.misled == 0),
            f"prompts {self.prompts}, test {self.test}, rollouts {self.rollouts}": min(
                self.prompts, self.test, self.rollouts
            )
            >= 1,
        }
        for what, fine in checks.items():
            if not fine:
                raise UsageError(
                    f"{self.label}: {what}",
                    mend="give counts of 1 or more, a length within the budget, shares from 0 to 1 "
                    "that sum to 1 at most, and decoys where some answers are misled",
                )

    @functools.cached_property
    def maps(self) -> Ints:
        """The maps that may be the true one, shape (1 + decoys, vocabulary)."""
        random = np.random.default_rng([self.seed, 0])
        return np.array([random.permutation(self.vocabulary) for _ in range(1 + self.decoys)])

    @functools.cached_property
    def truth(self) -> int:
        """Which of the maps is the true one."""
        return int(np.random.default_rng([self.seed, 1]).integers(1 + self.decoys))

    @functools.cached_property
    def symbols(self) -> Ints:
        """The prompts, those of the test last; shape (prompts + test, length)."""
        random = np.random.default_rng([self.seed, 2])
        return random.integers(self.vocabulary, size=(self.prompts + self.test, self.length))

    @functools.cached_property
    def noises(self) -> Floats:
        """The noise of every prompt, shape (prompts + test,)."""
        random = np.random.default_rng([self.seed, 3])
        spread = random.uniform(-1, 1, self.prompts + self.test) * self.noise_spread
        return np.clip(self.noise + spread, 0.0, 1.0)

    @property
    def targets(self) -> Ints:
        """The tokens needed by every prompt under every map; shape (prompts, maps, length)."""
        return self.maps[:, self.symbols].transpose(1, 0, 2)

    @property
    def shares(self) -> Floats:
        """Share of the base's answers that follow each map, and at the end, none."""
        shares = np.full(2 + self.decoys, self.misled / max(1, self.decoys))
        shares[self.truth] = self.known
        shares[-1] = 1 - self.known - self.misled
        return shares

    def sample(self, numbers: Ints, rng: np.random.Generator) -> Ints:
        """Draw the base's answer to each of some prompts, which may be repeated.

        Returns
        -------
        ndarray of int64, shape (numbers, budget)
        """
        rows = len(numbers)
        strategy = rng.choice(len(self.shares), size=rows, p=self.shares)
        off = rng.random((rows, self.budget)) < self.noises[numbers][:, None]
        off |= (strategy == len(self.maps))[:, None]
        tokens = rng.integers(self.vocabulary, size=(rows, self.budget))
        followed = self.targets[numbers, np.minimum(strategy, len(self.maps) - 1)]
        _kernels().follow(tokens, off, followed)
        return tokens

    def returns(self, numbers: Ints, tokens: Ints) -> Ints:
        """Give what answers return if each map were the true one.

        Returns
        -------
        ndarray of int64, shape (numbers, maps)
            From 0, where an answer is not solved, to budget - length + 1.
        """
        found = np.zeros((len(numbers), len(self.maps)), np.int64)
        _kernels().returns(tokens, self.targets[numbers], found)
        return found

    def log_probabilities(self, numbers: Ints, tokens: Ints) -> Floats:
        """Give the log-probability of answers under the base, shape (numbers,)."""
        from scipy.special import logsumexp

        parts = np.zeros((len(numbers), len(self.shares)))
        _kernels().score(
            tokens, self.targets[numbers], self.noises[numbers], self.vocabulary, parts
        )
        parts[:, -1] = -self.budget * np.log(self.vocabulary)
        return np.asarray(logsumexp(parts, axis=1, b=self.shares), np.float64)

    @functools.cached_property
    def laws(self) -> Floats:
        """The law of the base's return at every prompt, if each map were the true one.

        Returns
        -------
        ndarray of float64, shape (prompts + test, maps, budget + 1)
            The probability of every return from 0 to `budget`; exact.
        """
        law, size = _kernels().law, self.vocabulary
        found = np.zeros((*self.targets.shape[:2], self.budget + 1))
        for prompt, (targets, noise) in enumerate(zip(self.targets, self.noises, strict=True)):
            for wanted, place in zip(targets, found[prompt], strict=True):
                for followed, share in zip(targets, self.shares, strict=False):
                    law(followed, wanted, noise, size, share, 0, place)
                law(wanted, wanted, noise, size, self.shares[-1], self.length, place)
        return found

    def tilts(self, kappa: float) -> Floats:
        """Give the best policy within a chi-square distance of the base, for each map.

        Returns
        -------
        ndarray of float64, shape (prompts + test, maps, budget + 1)
            How many times likelier an answer of each return is than under the base.
        """
        laws = self.laws.reshape(-1, self.budget + 1)
        every = np.broadcast_to(np.arange(self.budget + 1), laws.shape)
        return best_in_ball(every, kappa, laws).weights.reshape(self.laws.shape)

    @functools.cached_property
    def pool(self) -> Pool:
        """Answers of the base to the prompts of the test."""
        numbers = np.repeat(np.arange(self.prompts, self.prompts + self.test), self.rollouts)
        tokens = self.sample(numbers, np.random.default_rng([self.seed, 4]))
        returns = self.returns(numbers, tokens).reshape(self.test, self.rollouts, -1)
        return Pool(numbers, tokens, returns)


class _Kernels(NamedTuple):
    follow: Callable[..., Any]
    returns: Callable[..., Any]
    score: Callable[..., Any]
    law: Callable[..., Any]


@functools.cache
def _kernels() -> _Kernels:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def follow(tokens, off, followed):  # type: ignore[no-untyped-def] # numba infers the types
        """Write the next token needed wherever a row is not off."""
        length = followed.shape[1]
        for row in range(len(tokens)):
            place = 0
            for step in range(tokens.shape[1]):
                if place == length:
                    break
                if not off[row, step]:
                    tokens[row, step] = followed[row, place]
                if tokens[row, step] == followed[row, place]:
                    place += 1

    @numba.njit(nogil=True, cache=True)
    def returns(tokens, targets, found):  # type: ignore[no-untyped-def]
        """Count the tokens from the one on that solves each target."""
        rows, maps, length = targets.shape
        for row in range(rows):
            for one in range(maps):
                place = 0
                for step in range(tokens.shape[1]):
                    if tokens[row, step] == targets[row, one, place]:
                        place += 1
                        if place == length:
                            found[row, one] = tokens.shape[1] - step
                            break

    @numba.njit(nogil=True, cache=True)
    def score(tokens, targets, noise, size, found):  # type: ignore[no-untyped-def]
        """Add up the log-probability of rows if each map were followed."""
        rows, maps, length = targets.shape
        for row in range(rows):
            other = noise[row] / size
            for one in range(maps):
                place = 0
                for step in range(tokens.shape[1]):
                    chance = 1.0 / size
                    if place < length:
                        chance = other
                        if tokens[row, step] == targets[row, one, place]:
                            chance = 1 - noise[row] + other
                            place += 1
                    found[row, one] += np.log(chance) if chance > 0 else -np.inf

    @numba.njit(nogil=True, cache=True)
    def law(followed, wanted, noise, size, share, start, found):  # type: ignore[no-untyped-def]
        """Add the law of the return, where `start` tokens of what is followed are behind."""
        length, budget = len(wanted), len(found) - 1
        other = noise / size
        now = np.zeros((length + 1, length))
        now[start, 0] = share
        for step in range(budget):
            then = np.zeros_like(now)
            for i in range(length + 1):
                for j in range(min(step + 1, length)):
                    mass = now[i, j]
                    if mass == 0:
                        continue
                    both = gives = 0.0  # chances that both move on, or only what is followed
                    want = 1.0 / size
                    if i < length:
                        gives, want = 1 - noise + other, other
                        if followed[i] == wanted[j]:
                            both, gives, want = gives, 0.0, 0.0
                    then[i, j] += mass * (1 - both - gives - want)
                    if i < length:
                        then[i + 1, j] += mass * gives
                    if j + 1 == length:
                        found[budget - step] += mass * (both + want)
                    else:
                        then[i, j + 1] += mass * want
                        if i < length:
                            then[i + 1, j + 1] += mass * both
            now = then
        found[0] += now.sum()

    return _Kernels(follow, returns, score, law)
