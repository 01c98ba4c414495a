"""One completion a problem: what every other strategy must beat at equal cost.

Cost: one completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws

__all__ = ["Single"]


@dataclass(frozen=True)
class Single(Strategy):
    """Draw one completion, and keep it."""

    name: ClassVar[str] = "single"
    aliases: ClassVar[tuple[str, ...]] = ("simple-decoding",)
    cost: ClassVar[str] = "1 completion"

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw one completion."""
        [completion] = await draws.complete(draws.requests(1))
        if completion.finish == "failed":
            return Kept(None, reason=completion.error)
        return Kept(completion.text, 0, completion.tokens)
