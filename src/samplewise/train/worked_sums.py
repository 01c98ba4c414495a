"""Sums whose answer is easy with working, hard without, and often worked out needlessly long.

A small transformer imitates the working within seconds. Its solutions go through the sum again and
again, which helps nobody: what a loop that controls length can save, at the same accuracy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.errors import UsageError
from samplewise.train.problems import Problems

__all__ = ["WorkedSums"]


@dataclass(frozen=True)
class WorkedSums(Problems):
    """Last digits of sums of digits, worked out: ``"2413="``, and ``"120;120;120=0"`` in base 5.

    The working is the last digit of the sum after two terms, three, and so on; it is repeated some
    times, and the answer follows ``=``. The answer alone decides whether a text is right.

    Parameters
    ----------
    terms : int
        Of a sum; 2 or more.
    base : int
        Of the digits, 2 to 10.
    passes : int
        How often the working of a solution goes through the sum, at most; at least once.
    problems, test : int
        To train on, and held out; no problem is in both.
    seed : int

    Examples
    --------
    >>> task = WorkedSums(seed=1)
    >>> task.prompt(0), task.solution(0)
    ('223400=', '42111;42111;42111=1')
    >>> task.reward(0, "42111=1"), task.reward(0, "42111=2"), task.reward(0, "42111")
    (1.0, 0.0, 0.0)
    """

    label: ClassVar[str] = "worked-sums"
    longest: ClassVar[int] = 40

    terms: int = 6
    base: int = 5
    passes: int = 6
    problems: int = 4096
    test: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.terms < 2 or self.passes < 1 or not 2 <= self.base <= 10:
            raise UsageError(
                f"terms {self.terms}, base {self.base}, passes {self.passes}",
                mend="give 2 terms or more, a base from 2 to 10, and 1 pass or more",
            )
        most = self.base**self.terms // 2
        if min(self.problems, self.test) < 1 or self.problems + self.test > most:
            raise UsageError(
                f"problems {self.problems}, test {self.test}",
                mend=f"give 1 or more, and {most} at most in all, or more terms",
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
    def sums(self) -> list[tuple[int, ...]]:
        """The terms of every problem."""
        random = np.random.default_rng(self.seed)
        found: dict[tuple[int, ...], None] = {}
        while len(found) < self.problems + self.test:
            found[tuple(random.integers(self.base, size=self.terms).tolist())] = None
        return list(found)

    def prompt(self, number: int) -> str:
        """Give what the model is asked."""
        return "".join(map(str, self.sums[number])) + "="

    def solution(self, number: int) -> str:
        """Give a right answer whose working goes through the sum some times."""
        totals = np.cumsum(self.sums[number])[1:] % self.base
        working = "".join(map(str, totals.tolist()))
        passes = int(np.random.default_rng((self.seed, number)).integers(1, self.passes + 1))
        return ";".join([working] * passes) + f"={working[-1]}"

    def reward(self, number: int, text: str) -> float:
        """Say what an answer is worth: 1 if what follows the last ``=`` is right, 0 if not."""
        _, mark, answer = text.rpartition("=")
        return float(bool(mark) and answer == str(sum(self.sums[number]) % self.base))
