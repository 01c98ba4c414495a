"""Repeated sampling: many completions of one prompt, and a rule that keeps one of them.

Use it where checking an answer is cheaper than finding one. Coverage, the share of problems that at
least one completion solves, grows with the number of completions; how much of it a rule can keep is
another matter, which `samplewise.measure.voting` measures.

Cost: n completions, side by side. Source: arXiv 2407.21787.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError, UsageError
from samplewise.measure.voting import best_of, majority, weighted
from samplewise.models.completion import Completion

__all__ = ["Repeated", "Selector", "select", "voted"]

Selector: TypeAlias = Literal["majority", "verifier", "best-of-n", "weighted"]


@dataclass(frozen=True)
class Repeated(Strategy):
    """Draw many completions, and keep one by vote, by score or by the verifier.

    Parameters
    ----------
    samples : int
        Completions a problem, 1 or more.
    selector : {'majority', 'verifier', 'best-of-n', 'weighted'}
        Keep the most frequent answer; the first that the verifier accepts, or none; the one it
        scores highest; or the answer whose scores sum highest. Ties go to the answer seen first.
        Scores below 0 make a frequent answer lose the weighted vote.

    References
    ----------
    arXiv 2407.21787
    """

    samples: int = 16
    selector: Selector = "majority"

    name: ClassVar[str] = "repeated"
    aliases: ClassVar[tuple[str, ...]] = ("monkeys",)
    paper: ClassVar[str] = "2407.21787"
    cost: ClassVar[str] = "n completions side by side"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise UsageError(f"knob 'samples' is {self.samples}", mend="give 1 or more")

    def asks_verifier(self) -> bool:
        """All selectors but the plain vote do."""
        return self.selector != "majority"

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw all completions at once, and keep one."""
        drawn = await draws.complete(draws.requests(self.samples))
        while len(drawn) < self.samples:  # what the first draws left of the budget buys more
            try:
                drawn += await draws.complete(draws.requests(self.samples - len(drawn)))
            except BudgetError:
                break
        waited = max(completion.tokens for completion in drawn)
        place = await select(drawn, judge, self.selector)
        if place is None:
            return Kept(None, sequential_tokens=waited)
        return Kept(drawn[place].text, place, waited)


async def select(drawn: Sequence[Completion], judge: Judge, selector: Selector) -> int | None:
    """Give the place of the completion that a rule keeps; None where it keeps none."""
    if selector == "majority":
        return voted(drawn, judge)
    verdicts = await judge.verify(drawn)
    if selector == "verifier":
        return next((place for place, one in enumerate(verdicts) if one.correct), None)
    scores = [verdict.score for verdict in verdicts]
    if selector == "best-of-n":
        return best_of(scores)
    answers = [judge.extract(completion) for completion in drawn]
    return weighted(answers, scores, same=judge.same)


def voted(drawn: Sequence[Completion], judge: Judge) -> int | None:
    """Give the place of the first completion with the most frequent answer; None if there is none.

    Failed completions have no vote.
    """
    answers = [judge.extract(completion) for completion in drawn]
    return majority(answers, same=judge.same)
