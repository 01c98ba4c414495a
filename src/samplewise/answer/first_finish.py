"""First finish search: start n completions, keep the one that ends first, and cancel the others.

Use it with reasoning models whose short traces are the better ones, or where the answer must come
soon. It needs no verifier. Where longer traces are as good or better, it loses to a plain vote:
`samplewise.measure.length_races` says when. `last-finish` is its opposite, as a rival.

Cost: n times the tokens of the winner, and the time of the winner alone. Source: arXiv 2505.18149;
its generalisation to the first k of n, and last finish, arXiv 2512.02008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws
from samplewise.answer.repeated import voted
from samplewise.errors import UsageError
from samplewise.models.completion import Completion

__all__ = ["FirstFinish", "LastFinish"]


@dataclass(frozen=True)
class FirstFinish(Strategy):
    """Race completions, keep what the first to end say, and cancel the others.

    On this machine all draws are one batch, a token each a step, and stop within the step
    (Sync-FFS). From a server they come at their own pace (Async-FFS), and the others' connections
    are closed at once.

    Parameters
    ----------
    samples : int
        Completions that race, 1 or more.
    finish : int
        How many must end before the race is over; their answers are put to the vote. At most
        `samples`, where it is a plain vote of all.
    first : {'length', 'time'}
        Which of those that ended are first: the shortest, or the earliest. They differ only where
        draws have unequal speed.
    require_valid : bool
        Whether only a completion with an answer in it counts as ended. An empty one would else win
        every race.

    References
    ----------
    arXiv 2505.18149, arXiv 2512.02008
    """

    samples: int = 4
    finish: int = 1
    first: Literal["length", "time"] = "time"
    require_valid: bool = True

    name: ClassVar[str] = "first-finish"
    aliases: ClassVar[tuple[str, ...]] = ("ffs",)
    paper: ClassVar[str] = "2505.18149"
    cost: ClassVar[str] = "n completions, each as long as the shortest"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self.samples, self.finish, "finish")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Race, and vote among the first to end."""
        drawn = await draws.race(
            draws.requests(self.samples),
            lambda ended: len(self._valid(ended, judge)) >= self.finish,
        )
        valid = self._valid(drawn, judge)
        ahead = sorted(valid, key=self._order)[: self.finish]
        return _kept(ahead, drawn, judge, max((one.tokens for one in drawn), default=0))

    def _valid(self, ended: Sequence[Completion], judge: Judge) -> list[Completion]:
        return [
            one
            for one in ended
            if one.finished and not (self.require_valid and judge.extract(one) is None)
        ]

    def _order(self, completion: Completion) -> float:
        return completion.tokens if self.first == "length" else completion.seconds


@dataclass(frozen=True)
class LastFinish(Strategy):
    """Draw completions to their end, and keep what the longest say.

    Parameters
    ----------
    samples : int
        Completions, 1 or more.
    last : int
        How many of the longest have a vote; at most `samples`, where it is a plain vote of all.

    References
    ----------
    arXiv 2512.02008
    """

    samples: int = 4
    last: int = 1

    name: ClassVar[str] = "last-finish"
    aliases: ClassVar[tuple[str, ...]] = ("lfs",)
    paper: ClassVar[str] = "2512.02008"
    cost: ClassVar[str] = "n completions side by side"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self.samples, self.last, "last")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw all, and vote among the longest that ended."""
        drawn = await draws.complete(draws.requests(self.samples))
        valid = [one for one in drawn if one.finished and judge.extract(one) is not None]
        longest = sorted(valid, key=lambda one: -one.tokens)[: self.last]
        return _kept(longest, drawn, judge, max((one.tokens for one in drawn), default=0))


def _check_counts(samples: int, some: int, knob: str) -> None:
    if samples < 1:
        raise UsageError(f"knob 'samples' is {samples}", mend="give 1 or more")
    if not 1 <= some <= samples:
        raise UsageError(
            f"knob {knob!r} is {some}, with {samples} samples", mend="give 1 to the samples"
        )


def _kept(
    some: Sequence[Completion], drawn: Sequence[Completion], judge: Judge, waited: int
) -> Kept:
    """Vote among some completions; among all that have an answer, if there are none."""
    # In the order they were asked for, so that a tied vote goes the same way on every run.
    voters = [one for one in drawn if any(one is other for other in some)] or list(drawn)
    place = voted(voters, judge)
    if place is None and some:  # ended, with no answer in it that votes could count
        place = 0
    if place is None:
        return Kept(None, sequential_tokens=waited)
    winner = voters[place]
    return Kept(winner.text, next(i for i, one in enumerate(drawn) if one is winner), waited)
