"""Problems of the user's, for a language model: asked as a user's turn, checked by a verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from samplewise.errors import UsageError
from samplewise.problems import Problem
from samplewise.train.problems import Problems
from samplewise.verify.base import Verifier

__all__ = ["ProblemSet"]


@dataclass(frozen=True)
class ProblemSet(Problems):
    """Problems with a verifier; the last of them are held out.

    Parameters
    ----------
    rows : sequence of Problem
    verifier : Verifier
        Says whether an answer is right.
    test : int
        How many of them are held out.
    template : callable, optional
        Makes the text that the model goes on with from a problem; by default the question and an
        empty line.

    Raises
    ------
    UsageError
        If no problem is left to train on.
    InputError
        If a problem lacks what the verifier needs.
    """

    label: ClassVar[str] = "problems"
    longest: ClassVar[int] = 256

    rows: Sequence[Problem]
    verifier: Verifier
    test: int = 0
    template: Callable[[Problem], str] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.test < len(self.rows):
            raise UsageError(
                f"test is {self.test}, of {len(self.rows)} problems",
                mend="hold out fewer, or give more problems",
            )
        for problem in self.rows:
            self.verifier.check(problem)

    @property
    def count(self) -> int:
        """Problems to train on."""
        return len(self.rows) - self.test

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return self.test

    @property
    def solved(self) -> bool:
        """Whether every problem has an answer."""
        return all(problem.answer is not None for problem in self.rows)

    def prompt(self, number: int) -> str:
        """Give what the model is asked."""
        problem = self.rows[number]
        return self.template(problem) if self.template else f"{problem.question}\n\n"

    def solution(self, number: int) -> str:
        """Give the right answer.

        Raises
        ------
        UsageError
            If the problem has none.
        """
        answer = self.rows[number].answer
        if answer is None:
            raise UsageError(
                f"problem {self.rows[number].id!r} has no answer", mend="give rows with an answer"
            )
        return answer

    def reward(self, number: int, text: str) -> float:
        """Give the verifier's score of an answer."""
        return self.rewards([number], [text])[0]

    def rewards(self, numbers: Sequence[int], texts: Sequence[str]) -> list[float]:
        """Give the verifier's scores; answers to one problem are judged together."""
        places: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            places.setdefault(number, []).append(place)

        async def judge() -> list[Any]:
            return await asyncio.gather(
                *(
                    self.verifier.verify(self.rows[number], [texts[place] for place in asked])
                    for number, asked in places.items()
                )
            )

        found = [0.0] * len(texts)
        for asked, verdicts in zip(places.values(), asyncio.run(judge()), strict=True):
            for place, verdict in zip(asked, verdicts, strict=True):
                found[place] = float(verdict.score)
        return found
