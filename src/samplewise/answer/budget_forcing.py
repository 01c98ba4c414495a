"""Budget forcing: whenever the model would end, it is told to wait and to think on.

Use it as a rival that spends tokens one after the other, where repeated sampling spends them side
by side. The model must be able to go on with an answer that it has begun: models on this machine
and vLLM do.

Cost: up to `tokens` tokens, in turn. Source: arXiv 2501.19393, as arXiv 2512.02008 ran it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError, UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Message

__all__ = ["BudgetForcing"]


@dataclass(frozen=True)
class BudgetForcing(Strategy):
    """Make the model think on until its tokens are used up, then ask for the answer.

    Parameters
    ----------
    tokens : int
        Tokens a problem, those of the final answer among them.
    answer_tokens : int
        Of these, for the final answer; less than `tokens`.
    rounds : int
        How often at most the model is made to go on.
    wait : str
        What is put in its mouth when it would end.
    header : str
        What the final answer begins with. The model is stopped when it writes that by itself.

    References
    ----------
    arXiv 2501.19393, arXiv 2512.02008
    """

    tokens: int = 4000
    answer_tokens: int = 1000
    rounds: int = 100
    wait: str = "Wait"
    header: str = "Final answer:"

    name: ClassVar[str] = "budget-forcing"
    paper: ClassVar[str] = "2501.19393"
    cost: ClassVar[str] = "up to `tokens` tokens in turn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.answer_tokens < self.tokens:
            raise UsageError(
                f"knob 'answer_tokens' is {self.answer_tokens}, of {self.tokens} tokens",
                mend="give 1 or more, and less than the tokens",
            )
        if self.rounds < 0:
            raise UsageError(f"knob 'rounds' is {self.rounds}", mend="give 0 or more")
        if not self.header:
            raise UsageError("knob 'header' is empty", mend="give what an answer begins with")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Think in rounds, then answer."""
        thought, left = "", self.tokens - self.answer_tokens
        for number in range(self.rounds + 1):
            if number:
                thought = f"{thought.rstrip()}\n{self.wait}"
            try:
                piece = await self._go_on(draws, thought, left, (self.header,))
            except BudgetError:
                break
            if piece.finish == "failed":
                return Kept(None, reason=piece.error, sequential_tokens=draws.tokens)
            thought += piece.text
            left -= piece.tokens
            if piece.finish != "stop" or left < 1:
                break
        begun = f"{thought.rstrip()}\n\n{self.header}"
        final = await self._go_on(draws, begun, self.answer_tokens, ())
        if final.finish == "failed":
            return Kept(None, reason=final.error, sequential_tokens=draws.tokens)
        return Kept(begun + final.text, None, draws.tokens)

    async def _go_on(
        self, draws: Draws, begun: str, most: int, stop: tuple[str, ...]
    ) -> Completion:
        turns = list(draws.problem.messages)
        if begun:
            turns.append(Message("assistant", begun))
        requests = draws.requests(1, turns, max_tokens=most, stop=stop)
        [piece] = await draws.complete(requests, kind="piece")
        return piece
