"""Resample until a verifier accepts, at most so many times, and else abstain.

Use it where a wrong answer costs something: `samplewise.measure.imperfect_verifier` says how many
attempts pay when the verifier lets wrong answers pass, and which accuracy no number can exceed.

Cost: 1 to `attempts` completions, one after the other. Source: arXiv 2411.17501.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError, UsageError

__all__ = ["UntilAccepted"]


@dataclass(frozen=True)
class UntilAccepted(Strategy):
    """Draw completions one by one until the verifier accepts one; else give no answer.

    Parameters
    ----------
    attempts : int
        The most completions, 1 or more.

    References
    ----------
    arXiv 2411.17501
    """

    attempts: int = 10

    name: ClassVar[str] = "until-accepted"
    aliases: ClassVar[tuple[str, ...]] = ("resample",)
    paper: ClassVar[str] = "2411.17501"
    cost: ClassVar[str] = "up to n completions in turn"
    verifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempts < 1:
            raise UsageError(f"knob 'attempts' is {self.attempts}", mend="give 1 or more")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw until one is accepted."""
        for place in range(self.attempts):
            try:
                drawn = await draws.complete(draws.requests(1))
            except BudgetError as error:
                return Kept(None, sequential_tokens=draws.tokens, reason=error.message)
            [verdict] = await judge.verify(drawn)
            if verdict.correct:
                return Kept(drawn[0].text, place, draws.tokens)
        return Kept(
            None, sequential_tokens=draws.tokens, reason=f"{self.attempts} attempts were rejected"
        )
