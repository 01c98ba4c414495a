"""Problems that a policy learns to solve: a prompt, a way to check an answer, often a solution.

`Arithmetic` is made here and is solved by small models in seconds of training; `ProblemFile` reads
problems of the user's, for a language model.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.errors import UsageError
from samplewise.train.base import Task

__all__ = ["Arithmetic", "Problems"]


class Problems(Task):
    """Problems, numbered from 0; those for a test come after those for training."""

    longest: ClassVar[int] = 32
    """Tokens of an answer, at most, where the loop does not say."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Problems to train on."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """Problems for a test, numbered from `count`."""

    @abstractmethod
    def prompt(self, number: int) -> str:
        """Give what the model is asked."""

    @abstractmethod
    def solution(self, number: int) -> str:
        """Give a right answer."""

    def reward(self, number: int, text: str) -> float:
        """Say what an answer is worth: 1 if it is right, 0 if not."""
        return float(text.strip() == self.solution(number).strip())

    def rewards(self, numbers: Sequence[int], texts: Sequence[str]) -> list[float]:
        """Say what answers are worth."""
        return [self.reward(number, text) for number, text in zip(numbers, texts, strict=True)]


@dataclass(frozen=True)
class Arithmetic(Problems):
    """Sums of numbers of some digits, as text: ``"27+5="``, and the answer ``"32"``.

    Half of the problems have fewer digits than asked for, so that some are easy and some hard.

    Parameters
    ----------
    digits : int
        Of a number, at most.
    problems, test : int
        To train on, and held out; no problem is in both.
    seed : int

    Examples
    --------
    >>> task = Arithmetic(digits=2, seed=1)
    >>> task.reward(0, task.solution(0)), task.reward(0, "no idea")
    (1.0, 0.0)
    """

    label: ClassVar[str] = "arithmetic"
    longest: ClassVar[int] = 8

    digits: int = 2
    problems: int = 512
    test: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        most = 10 ** (2 * self.digits)
        if min(self.digits, self.problems, self.test) < 1 or self.problems + self.test > most // 2:
            raise UsageError(
                f"digits {self.digits}, problems {self.problems}, test {self.test}",
                mend=f"give 1 or more, and {most // 2} problems at most",
            )

    @property
    def count(self) -> int:
        """Problems to train on."""
        return self.problems

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return self.test

    @functools.cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The numbers of every problem."""
        random = np.random.default_rng(self.seed)
        found: dict[tuple[int, int], None] = {}
        while len(found) < self.problems + self.test:
            digits = int(random.integers(1, self.digits + 1))
            a, b = random.integers(0, 10**digits, size=2).tolist()
            found[a, b] = None
        return list(found)

    def prompt(self, number: int) -> str:
        """Give what the model is asked."""
        a, b = self.pairs[number]
        return f"{a}+{b}="

    def solution(self, number: int) -> str:
        """Give the sum."""
        return str(sum(self.pairs[number]))
