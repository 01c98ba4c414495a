"""Conversations drawn level by level: what a search over texts asks, and what it waits for.

A level is all that can be asked at once. What was asked in vain (the budget was spent, the draw
failed, nothing came back) is left out, so that a search goes on with what it has.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError
from samplewise.models.completion import Completion
from samplewise.problems import Message

__all__ = ["Levels", "Reply", "Talk", "asked"]

K = TypeVar("K", bound=Hashable)


class Reply(NamedTuple):
    """What came back, and its place among all that was drawn."""

    place: int
    completion: Completion

    @property
    def text(self) -> str:
        """What was said."""
        return self.completion.text


@dataclass(frozen=True)
class Talk:
    """A conversation that waits for the model's next turn.

    Attributes
    ----------
    turns : tuple of Message
    parents : tuple of int
        The draws that it was made from.
    """

    turns: tuple[Message, ...]
    parents: tuple[int, ...] = ()

    def after(self, reply: Reply, then: str) -> Talk:
        """Give the conversation with the model's turn, and what it is told next."""
        said = (Message("assistant", reply.text), Message("user", then))
        return Talk((*self.turns, *said), (reply.place,))


class Levels:
    """Draws of one problem, level by level.

    Attributes
    ----------
    draws : Draws
    waited : int
        Tokens that had to be waited for: of each level, those of its longest draw.
    """

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self.waited = 0

    async def ask(
        self, talks: Mapping[K, Talk], kind: str = "answer", temperature: float | None = None
    ) -> dict[K, Reply]:
        """Draw the next turn of each conversation.

        Parameters
        ----------
        talks : mapping of Talk
            By any name.
        kind : str
            What the draws are.
        temperature : float, optional
            By default the run's.

        Returns
        -------
        dict of Reply
            By the same names, in their order; without those that got none.
        """
        settings: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        requests = [
            request
            for talk in talks.values()
            for request in self.draws.requests(1, talk.turns, **settings)
        ]
        parents = [talk.parents for talk in talks.values()]
        first = len(self.draws.made)
        while (done := len(self.draws.made) - first) < len(requests):
            try:  # again, since what the first draws left of the budget buys more
                some = await self.draws.complete(requests[done:], kind=kind, parents=parents[done:])
            except BudgetError:
                break
            self.waited += max(completion.tokens for completion in some)
        return {
            name: Reply(place, completion)
            for place, (name, completion) in enumerate(
                zip(talks, self.draws.made[first:], strict=False), first
            )
            if _says_something(completion)
        }


def asked(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    """Give a problem's turns with another text in place of the last, which asks it."""
    return (*turns[:-1], turns[-1]._replace(content=text))


def _says_something(completion: Completion) -> bool:
    return completion.finish != "failed" and bool(completion.text.strip())
