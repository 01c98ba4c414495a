"""Answer, hear why a check rejected it, and answer again: programs mended against public tests.

Use it as a rival of searches that draw side by side: it spends its draws one after the other, each
with all that went wrong before in view. Give the public tests as the verifier to be asked.

Cost: 1 to `turns` completions, in turn, of growing prompts. A baseline of arXiv 2409.03733.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.answer.levels import Levels, Talk
from samplewise.errors import UsageError

__all__ = ["ErrorFeedback"]


@dataclass(frozen=True)
class ErrorFeedback(Prompted):
    """Answer until the verifier accepts, and say each time why it did not; else keep the last.

    Parameters
    ----------
    turns : int
        The most answers, 1 or more.

    Notes
    -----
    Reconstructed: of the paper's baseline only its ten turns and that errors are fed back is known.

    References
    ----------
    arXiv 2409.03733
    """

    turns: int = 10

    name: ClassVar[str] = "error-feedback"
    paper: ClassVar[str] = "2409.03733"
    cost: ClassVar[str] = "up to n completions in turn"
    wording: ClassVar[str] = "error-feedback"
    verifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns < 1:
            raise UsageError(f"knob 'turns' is {self.turns}", mend="give 1 or more")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Answer, and mend the answer while it is rejected."""
        levels, talk, kept = Levels(draws), Talk(draws.problem.messages), Kept(None)
        for _ in range(self.turns):
            reply = (await levels.ask({0: talk})).get(0)
            if reply is None:
                break
            kept = Kept(reply.text, reply.place)
            [verdict] = await judge.verify([reply.completion])
            if verdict.correct:
                break
            draws.remark(reply.place, feedback=verdict.reason)
            talk = talk.after(reply, self.texts.fill("feedback", reason=verdict.reason))
        return kept._replace(sequential_tokens=levels.waited)
