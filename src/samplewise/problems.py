"""Problems to be answered: what is asked, and what a verifier knows of the right answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = ["Message", "Problem", "Role"]

Role: TypeAlias = Literal["system", "user", "assistant"]


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Problem:
    """One problem.

    Parameters
    ----------
    id : str
        Names it within its file.
    messages : tuple of Message
        What the model is asked.
    answer : str, optional
        The right answer, as the file has it.
    tests : str, optional
        Python tests of a program, or JSON of inputs and outputs.
    entry_point : str, optional
        The function that the tests call.
    preamble : str
        Python that comes with the problem and that the tests may use, such as the beginning of the
        program that is to be completed.
    choices : tuple of str
        What can be chosen from, where it is multiple choice.
    row : mapping
        The row it was read from.
    line : int, optional
        Where that is in its file, from 1.

    Examples
    --------
    >>> Problem.ask("What is 2 + 3?", answer="5").messages
    (Message(role='user', content='What is 2 + 3?'),)
    """

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    tests: str | None = None
    entry_point: str | None = None
    preamble: str = ""
    choices: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None

    @classmethod
    def ask(cls, question: str, *, id: str = "1", **known: Any) -> Problem:
        """Make a problem of one question."""
        return cls(id, (Message("user", question),), **known)

    @property
    def question(self) -> str:
        """What the user asks, without the system's turns."""
        return "\n".join(turn.content for turn in self.messages if turn.role != "system")
