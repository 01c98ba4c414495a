"""Beam search over stretches of an answer, by the model's own log-probabilities.

Use it as a rival that spends tokens on the likeliest continuation. Each kept beginning is continued
several times by a stretch of tokens, and those with the highest mean log-probability are kept. The
continuations are sampled, so that it works with any model that goes on with an answer it has begun
and gives log-probabilities.

Cost: beams x branches stretches a round. A baseline of arXiv 2505.18149 and 2512.02008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError, UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Message

__all__ = ["Beam"]


@dataclass(frozen=True)
class _Begun:
    """A beginning of an answer."""

    text: str = ""
    log_probabilities: tuple[float, ...] = ()
    ended: bool = False

    @property
    def value(self) -> float:
        """Mean log-probability of its tokens."""
        return float(np.mean(self.log_probabilities)) if self.log_probabilities else -np.inf

    def with_piece(self, piece: Completion) -> _Begun:
        """Give the beginning with one more stretch."""
        return _Begun(
            self.text + piece.text,
            self.log_probabilities + (piece.log_probabilities or ()),
            piece.finish != "length",
        )


@dataclass(frozen=True)
class Beam(Strategy):
    """Keep the likeliest beginnings of an answer, stretch by stretch.

    Parameters
    ----------
    beams : int
        Beginnings that are kept.
    branches : int
        Continuations of each.
    stretch : int
        Tokens of a continuation.
    rounds : int
        Stretches of an answer, at most.

    References
    ----------
    arXiv 2512.02008
    """

    beams: int = 2
    branches: int = 2
    stretch: int = 32
    rounds: int = 32

    name: ClassVar[str] = "beam"
    paper: ClassVar[str] = "2512.02008"
    cost: ClassVar[str] = "beams x branches stretches a round"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("beams", "branches", "stretch", "rounds"):
            if getattr(self, knob) < 1:
                raise UsageError(f"knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Go on round by round until every kept beginning has ended."""
        kept, waited = [_Begun()], 0
        for number in range(self.rounds):
            try:
                grown, longest = await self._grow(draws, kept, 1 if number else self.beams)
            except BudgetError:
                break
            waited += longest
            different = {one.text: one for one in reversed(grown)}.values()
            kept = sorted(different, key=lambda one: -one.value)[: self.beams]
            if not kept or all(one.ended for one in kept):
                break
        best = next((one for one in kept if one.text), None)
        if best is None:
            return Kept(None, sequential_tokens=waited)
        return Kept(best.text, None, waited)

    async def _grow(self, draws: Draws, kept: list[_Begun], times: int) -> tuple[list[_Begun], int]:
        """Continue each beginning that has not ended, all side by side."""
        grown = [one for one in kept if one.ended]
        growing = [one for one in kept if not one.ended]
        requests = []
        for one in growing:
            turns = list(draws.problem.messages)
            if one.text:
                turns.append(Message("assistant", one.text))
            requests += draws.requests(
                self.branches * times, turns, max_tokens=self.stretch, log_probabilities=True
            )
        pieces = await draws.complete(requests, kind="piece")
        for place, piece in enumerate(pieces):
            if piece.finish == "failed":
                continue
            if piece.log_probabilities is None:
                raise UsageError(
                    "beam needs log-probabilities, and the model gives none",
                    mend="use a model of this machine, or a server that gives logprobs",
                )
            grown.append(growing[place // (self.branches * times)].with_piece(piece))
        return grown, max((piece.tokens for piece in pieces), default=0)
