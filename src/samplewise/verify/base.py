"""The one protocol of verifiers: whether an answer is right, and how good it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from samplewise.errors import InputError
from samplewise.problems import Problem

__all__ = ["Verdict", "Verifier"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one text.

    Attributes
    ----------
    correct : bool
        Whether it accepts.
    score : float
        Higher is better: 1 or 0 where the verifier knows no more, else a reward.
    answer : str, optional
        The answer found in the text, as votes count it; None where there is none.
    reason : str
        Why it was rejected, in a few words.
    """

    correct: bool
    score: float
    answer: str | None = None
    reason: str = ""


class Verifier(ABC):
    """Something that judges texts.

    A verifier derives from it, sets `name`, and writes `verify`. Which fields of a problem it
    cannot do without is named in `needs`.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Of ``answer``, ``tests``, ``choices``."""

    @abstractmethod
    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts that answer one problem; one verdict a text, in their order."""

    def extract(self, text: str) -> str | None:
        """Find the answer in a text, as votes count it."""
        return text.strip() or None

    def same(self, first: str, second: str) -> bool:
        """Say whether two extracted answers are one answer."""
        return first == second

    def check(self, problem: Problem, file: str = "") -> None:
        """Refuse a problem that lacks what the verifier needs.

        Raises
        ------
        InputError
            If a field is missing.
        """
        for need in self.needs:
            if not getattr(problem, need):
                raise InputError(
                    f"verifier {self.name} needs it, and problem {problem.id!r} has none",
                    file=file,
                    line=problem.line,
                    field=need,
                )

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of processes."""
