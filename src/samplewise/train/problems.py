"""Problems that a policy learns to solve: a prompt, a way to check an answer, often a solution.

`Arithmetic` is made here: after some seconds of imitation a small model solves a quarter of it or
more, and a loop has room to improve.
"""

from __future__ import annotations

import functools
import itertools
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

    @property
    def longest(self) -> int:
        """Tokens of an answer, at most, where the loop does not say."""
        return 32

    @property
    @abstractmethod
    def count(self) -> int:
        """Problems to train on."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """Problems for a test, numbered from `count`."""

    @property
    def solved(self) -> bool:
        """Whether every problem has a solution."""
        return True

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
    """Sums with running totals, as text: ``"3+5+9="``, worked out as ``"8,17"``.

    Only the last total is checked: how an answer gets there is the model's own affair. Problems
    have two numbers or more, and those of few and small numbers are easier.

    Parameters
    ----------
    digits : int
        Of a number, at most.
    terms : int
        Numbers of a sum, at most; 2 or more.
    problems, test : int
        To train on, and held out; no problem is in both, but one of few and small numbers may be
        trained on under several numbers.
    seed : int

    Examples
    --------
    >>> task = Arithmetic(seed=1)
    >>> task.prompt(3), task.solution(3)
    ('0+4+0+2=', '4,4,6')
    >>> task.reward(3, "6"), task.reward(3, "4,4,5")
    (1.0, 0.0)
    """

    label: ClassVar[str] = "arithmetic"

    digits: int = 1
    terms: int = 4
    problems: int = 2048
    test: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.digits, self.terms - 1, self.problems, self.test) < 1:
            raise UsageError(
                f"digits {self.digits}, terms {self.terms}, problems {self.problems}, "
                f"test {self.test}",
                mend="give 2 terms or more, and 1 or more of the others",
            )
        most = 10 ** (self.digits * self.terms) // 2
        if self.problems + self.test > most:
            raise UsageError(
                f"problems {self.problems} and test {self.test}, of numbers so short and few",
                mend=f"give {most} at most, or more digits or terms",
            )

    @property
    def longest(self) -> int:
        """Tokens of an answer, at most: a small model's are characters."""
        return (self.terms - 1) * (self.digits + len(str(self.terms)) + 1)

    @property
    def count(self) -> int:
        """Problems to train on."""
        return self.problems

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return self.test

    @functools.cached_property
    def sums(self) -> list[tuple[int, ...]]:
        """The numbers of every problem."""
        random = np.random.default_rng(self.seed)
        held_out: dict[tuple[int, ...], None] = {}
        while len(held_out) < self.test:
            held_out[self._make(random)] = None
        learned: list[tuple[int, ...]] = []
        while len(learned) < self.problems:
            one = self._make(random)
            if one not in held_out:
                learned.append(one)
        return [*learned, *held_out]

    def _make(self, random: np.random.Generator) -> tuple[int, ...]:
        terms = int(random.integers(2, self.terms + 1))
        digits = int(random.integers(1, self.digits + 1))
        return tuple(random.integers(0, 10**digits, size=terms).tolist())

    def prompt(self, number: int) -> str:
        """Give what the model is asked."""
        return "+".join(map(str, self.sums[number])) + "="

    def solution(self, number: int) -> str:
        """Give the total after every number but the first."""
        return ",".join(map(str, itertools.accumulate(self.sums[number]))).partition(",")[2]

    def reward(self, number: int, text: str) -> float:
        """Say whether the last total is right: 1 if it is, 0 if not."""
        return float(text.rpartition(",")[2].strip() == str(sum(self.sums[number])))
