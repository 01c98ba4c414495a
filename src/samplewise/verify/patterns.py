"""Whether a text has the form it should: the very words, a pattern, a letter, a JSON schema."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from samplewise.errors import UsageError
from samplewise.extras import need
from samplewise.problems import Problem
from samplewise.verify.base import Verdict, Verifier

__all__ = ["Choice", "Exact", "JsonSchema", "Regex"]

_LONGEST = 1_000_000
"""Characters of a text that is judged at all."""


class _Simple(Verifier):
    """A verifier of one text at a time, at once."""

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts."""
        self.check(problem)
        return [self.judge(problem, text) for text in texts]

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Judge one text: the answer found in it is the right one."""
        answer = self.extract(text)
        if answer is None:
            return Verdict(False, 0.0, None, "no answer")
        correct = self.same(answer, problem.answer or "")
        return Verdict(correct, float(correct), answer, "" if correct else "another answer")


class Exact(_Simple):
    r"""The text is the answer, apart from spaces around it.

    Examples
    --------
    >>> import asyncio
    >>> problem = Problem.ask("The capital of France?", answer="Paris")
    >>> [v.correct for v in asyncio.run(Exact().verify(problem, [" Paris\n", "It is Paris"]))]
    [True, False]
    """

    name: ClassVar[str] = "exact"
    needs: ClassVar[tuple[str, ...]] = ("answer",)

    def same(self, first: str, second: str) -> bool:
        """Compare without the spaces around them."""
        return first.strip() == second.strip()


class Regex(_Simple):
    r"""The last match of a pattern is the answer; without an answer, a match is enough.

    Parameters
    ----------
    pattern : str
        Its first group is the answer, where it has groups, else all that matches.

    Raises
    ------
    UsageError
        If the pattern is none.

    Notes
    -----
    A pattern that repeats what repeats can take for ever on a text made for it.

    Examples
    --------
    >>> Regex(r"total: (\d+)").extract("total: 1, no, total: 2")
    '2'
    """

    name: ClassVar[str] = "regex"

    def __init__(self, pattern: str) -> None:
        try:
            self.pattern = re.compile(pattern, re.MULTILINE)
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from error

    def extract(self, text: str) -> str | None:
        """Give the last match."""
        found = None
        for found in self.pattern.finditer(text[-_LONGEST:]):  # noqa: B007 - the last one is wanted
            pass
        return None if found is None else (found[1] if found.re.groups else found[0])

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Judge one text."""
        answer = self.extract(text)
        if problem.answer is None and answer is not None:
            return Verdict(True, 1.0, answer)
        return super().judge(problem, text)


_LETTER = re.compile(
    r"\\boxed\{\s*(?:\\text\{)?\(?([A-Z])\b|"
    r"(?:answer|choice|option)\b(?:\s+(?:is|would be))?"
    r"[:\s*]*(?:option\s*)?\(?([A-Z])\b(?!')",
    re.IGNORECASE,
)
_ALONE = re.compile(r"^[\s*]*\(?([A-Z])\)?[\s*]*(?:[.:,)].*)?$", re.MULTILINE)
_IN_BRACKETS = re.compile(r"\(([A-Z])\)")


class Choice(_Simple):
    """Multiple choice: the letter that a text settles on, or the only choice that it names.

    The problem's answer is a letter, or the text of a choice.

    Examples
    --------
    >>> import asyncio
    >>> problem = Problem.ask("2 + 2?", answer="B", choices=("3", "4"))
    >>> texts = ["The answer is (B).", "A", "It is 4", "I do not know"]
    >>> [v.correct for v in asyncio.run(Choice().verify(problem, texts))]
    [True, False, True, False]
    """

    name: ClassVar[str] = "choice"
    needs: ClassVar[tuple[str, ...]] = ("answer", "choices")

    def extract(self, text: str) -> str | None:
        """Give the letter that a text settles on."""
        text = text[-_LONGEST:]
        said = [first or second for first, second in _LETTER.findall(text)]
        for found in (said, _ALONE.findall(text), _IN_BRACKETS.findall(text)):
            if found:
                return str(found[-1]).upper()
        return None

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Judge one text."""
        letters = _letters(problem)
        answer = self.extract(text)
        if answer not in letters:
            named = [
                letter
                for letter, choice in letters.items()
                if re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", text, re.IGNORECASE)
            ]
            answer = named[0] if len(named) == 1 else None
        if answer is None:
            return Verdict(False, 0.0, None, "no choice")
        correct = answer == _right_letter(problem, letters)
        return Verdict(correct, float(correct), answer, "" if correct else "another choice")


def _letters(problem: Problem) -> dict[str, str]:
    return {chr(ord("A") + place): choice for place, choice in enumerate(problem.choices)}


def _right_letter(problem: Problem, letters: dict[str, str]) -> str | None:
    answer = (problem.answer or "").strip()
    for letter, choice in letters.items():
        if choice.strip() == answer:
            return letter
    letter = answer.strip("().").upper()
    return letter if letter in letters else None


_BLOCK = re.compile(r"^```(?:json)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


class JsonSchema(_Simple):
    """The text, or its first fenced block, is JSON of a schema, and the answer where there is one.

    Parameters
    ----------
    schema : str or dict
        The schema, or the file that it is in.

    Raises
    ------
    UsageError
        If there is no such file, or it holds no schema, or jsonschema is missing.
    """

    name: ClassVar[str] = "json"

    def __init__(self, schema: str | dict[str, Any]) -> None:
        validators = need("jsonschema", "verify", "verifier json").validators
        try:
            if isinstance(schema, str):
                schema = json.loads(Path(schema).read_text("utf-8"))
            kind = validators.validator_for(schema)
            kind.check_schema(schema)
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"no JSON schema: {first}", mend="name a file that holds one"
            ) from error
        # Nothing that a schema refers to elsewhere is fetched.
        registry = need("referencing", "verify", "verifier json").Registry()
        self._validator = kind(schema, registry=registry)

    def extract(self, text: str) -> str | None:
        """Give the JSON in the one way that makes equal values equal texts."""
        block = _BLOCK.search(text[:_LONGEST])
        try:
            value = json.loads(block[1] if block else text[:_LONGEST])
            return json.dumps(value, sort_keys=True)
        except (ValueError, RecursionError):
            return None

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Judge one text."""
        answer = self.extract(text)
        if answer is None:
            return Verdict(False, 0.0, None, "no JSON")
        try:
            error = next(self._validator.iter_errors(json.loads(answer)), None)
        except Exception as raised:  # nesting that is too deep, a reference that leads nowhere
            return Verdict(False, 0.0, answer, f"{type(raised).__name__}: {raised}"[:300])
        if error is not None:
            return Verdict(False, 0.0, answer, f"{error.json_path}: {error.message}"[:300])
        if problem.answer is not None and self.extract(problem.answer) != answer:
            return Verdict(False, 0.0, answer, "another answer")
        return Verdict(True, 1.0, answer)

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts beside the event loop: a schema may hold slow patterns."""
        return await asyncio.to_thread(lambda: [self.judge(problem, text) for text in texts])
