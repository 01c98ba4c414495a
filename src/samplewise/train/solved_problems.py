"""Questions with a number for an answer, some with a program that was run and gave it.

`WordProblems` is made here, for small models. `SolvedFile` reads what ``program-prompting`` has
annotated, or any file of questions and programs.
"""

from __future__ import annotations

import functools
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.errors import InputError, UsageError
from samplewise.pool import Pool
from samplewise.train.problems import Problems
from samplewise.verify.programs import Example, as_number, read_examples, run_programs

__all__ = ["SolvedFile", "SolvedProblems", "WordProblems", "near", "values_of", "whole_program"]


class SolvedProblems(Problems):
    """Questions whose answer is a number; of those to train on, some have an accepted program."""

    longest: ClassVar[int] = 600

    @property
    @abstractmethod
    def accepted(self) -> Sequence[int]:
        """The problems to train on that have a program, which gave the right answer."""

    @abstractmethod
    def answer(self, number: int) -> float | None:
        """Give the right answer, where it is known."""

    def reward(self, number: int, text: str) -> float:
        """Say what a program is worth: 1 if its value is right, 0 if not."""
        return self.rewards([number], [text])[0]

    def rewards(self, numbers: Sequence[int], texts: Sequence[str]) -> list[float]:
        """Run programs in the sandbox, and say what they are worth."""
        values = values_of(texts)
        return [
            float(near(value, self.answer(number)))
            for number, value in zip(numbers, values, strict=True)
        ]


def near(value: float | None, answer: float | None, tolerance: float = 1e-2) -> bool:
    """Compare a value with the right one.

    Parameters
    ----------
    value, answer : float or None
        None is never right.
    tolerance : float
        How far apart they may be; of an answer below 1, as a share of it.

    Returns
    -------
    bool

    Notes
    -----
    The published code has no such share, and takes any tiny value for another.

    Examples
    --------
    >>> near(2.999, 3.0), near(3.02, 3.0), near(0.009, 0.001)
    (True, False, False)
    """
    if value is None or answer is None:
        return False
    return abs(value - answer) <= max(1e-9, tolerance * min(1.0, abs(answer)))


def values_of(texts: Sequence[str], seconds: float = 10.0) -> list[float | None]:
    r"""Run what a student wrote in the sandbox, and give the numbers.

    Parameters
    ----------
    texts : sequence of str
    seconds : float
        For one program.

    Returns
    -------
    list of float or None
        None where there is no finite number.

    Raises
    ------
    UsageError
        Without bubblewrap.

    Examples
    --------
    >>> values_of(["def solution():\n    return 6 * 7\n\nThat is it.", "no program"])
    [42.0, None]
    """
    results = run_programs([whole_program(text) for text in texts], seconds=seconds)
    numbers = [None if one.value is None else as_number(one.value) for one in results]
    return [None if number is None else float(number) for number in numbers]


def whole_program(text: str) -> str:
    r"""Take the text up to the first blank line after its function, and import what it needs.

    Examples
    --------
    >>> whole_program("def solution():\n    return 1\n\nQuestion: ...")
    'def solution():\n    return 1'
    >>> whole_program("def solution():\n    return sympy.pi")
    'import sympy\ndef solution():\n    return sympy.pi'
    """
    start = max(0, text.find("def "))
    blank = re.search(r"\n[ \t]*(?:\n|$)", text[start:])
    program = text[: start + blank.start()] if blank else text
    return f"import sympy\n{program}" if "sympy." in program else program


# --- made problems --------------------------------------------------------------------------------

_KINDS = (
    ("{name} has {a} {things} and buys {b}. How many now?", "{a} + {b}"),
    ("{name} had {a} {things} and lost {b}. How many are left?", "{a} - {b}"),
    ("{a} boxes hold {b} {things} each. How many are there?", "{a} * {b}"),
    ("{name} buys {a} bags of {b} {things} and eats {c}. How many?", "{a} * {b} - {c}"),
    ("{name} has {a} {things} and finds {b} packs of {c}. How many?", "{a} + {b} * {c}"),
    ("{name} sells {a} {things} at {b} and pays {c}. What is the gain?", "{b} * {a} - {c}"),
)
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn")
_THINGS = ("pens", "figs", "caps", "nuts", "maps", "eggs")


@dataclass(frozen=True)
class WordProblems(SolvedProblems):
    r"""Word problems of six kinds, such as ``"4 boxes hold 5 pens each. How many are there?"``.

    Parameters
    ----------
    problems, test : int
        To train on, and held out; no question is there twice.
    coverage : float
        Share of the problems to train on that have an accepted program; 1 or more have one.
    largest : int
        Numbers are drawn from 2 to it.
    seed : int

    Examples
    --------
    >>> task = WordProblems(problems=10, coverage=0.3)
    >>> len(task.accepted)
    3
    >>> task.rewards([0, 0], [task.solution(0), "def solution():\n    return None"])
    [1.0, 0.0]
    """

    label: ClassVar[str] = "word-problems"
    longest: ClassVar[int] = 80

    problems: int = 256
    test: int = 64
    coverage: float = 1.0
    largest: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.problems, self.test) < 1 or self.problems + self.test > 4000:
            raise UsageError(
                f"problems {self.problems}, test {self.test}", mend="give 1 or more, 4000 in all"
            )
        if not 0 < self.coverage <= 1:
            raise UsageError(f"coverage is {self.coverage}", mend="give more than 0, and 1 at most")
        if self.largest < 9:
            raise UsageError(f"largest is {self.largest}", mend="give 9 or more")

    @property
    def count(self) -> int:
        """Problems to train on."""
        return self.problems

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return self.test

    @functools.cached_property
    def accepted(self) -> Sequence[int]:
        """The problems that have a program; with more coverage, these and others."""
        order = np.random.default_rng([self.seed, 1]).permutation(self.problems)
        return sorted(order[: max(1, round(self.coverage * self.problems))].tolist())

    @functools.cached_property
    def made(self) -> list[tuple[str, str, int]]:
        """The question, formula and answer of every problem."""
        random = np.random.default_rng(self.seed)
        found: dict[str, tuple[str, str, int]] = {}
        while len(found) < self.problems + self.test:
            one = _make(random, self.largest)
            found.setdefault(one[0], one)
        return list(found.values())

    def prompt(self, number: int) -> str:
        """Give the question."""
        return self.made[number][0]

    def solution(self, number: int) -> str:
        """Give a program."""
        return f"def solution():\n    result = {self.made[number][1]}\n    return result"

    def answer(self, number: int) -> float:
        """Give the right answer."""
        return float(self.made[number][2])


def _make(random: np.random.Generator, largest: int) -> tuple[str, str, int]:
    question, formula = _KINDS[random.integers(len(_KINDS))]
    a, b, c = random.integers(2, largest + 1, size=3).tolist()
    words: Mapping[str, str | int] = {
        "name": _NAMES[random.integers(len(_NAMES))],
        "things": _THINGS[random.integers(len(_THINGS))],
        **{"a": a, "b": b, "c": c},
    }
    program = formula.format(**words)
    return question.format(**words), program, value_of(program)


def value_of(formula: str) -> int:
    """Work out sums, differences and products of whole numbers; no Python is run.

    Examples
    --------
    >>> value_of("3 + 4 * 5"), value_of("4 * 5 - 3")
    (23, 17)
    """
    terms = [
        (sign or "+", math.prod(int(factor) for factor in term.split("*")))
        for sign, term in re.findall(r"([-+]?)([^-+]+)", formula)
    ]
    return sum(-value if sign == "-" else value for sign, value in terms)


# --- problems of the user's -----------------------------------------------------------------------


@dataclass(frozen=True)
class SolvedFile(SolvedProblems):
    """Questions with programs, of a file; and questions for a test.

    Parameters
    ----------
    path : str
        Rows with ``question`` and ``program``, and optionally ``score`` (0 for a program that is
        wrong); or the ``answers.jsonl`` of a run of ``program-prompting``.
    test : str
        Rows with ``question`` and ``answer``, a number.
    """

    label: ClassVar[str] = "solved-file"

    path: str = ""
    test: str = ""

    def __post_init__(self) -> None:
        for field in ("path", "test"):
            if not getattr(self, field):
                raise UsageError(f"solved-file: {field} is empty", mend="name a file of questions")

    @functools.cached_property
    def examples(self) -> list[Example]:
        """The problems to train on."""
        found = read_examples(self.path)
        if not any(one.solved for one in found):
            raise UsageError(
                f"no row of {self.path} has a program that is right",
                mend="give rows with question and program",
            )
        return found

    @functools.cached_property
    def asked(self) -> list[tuple[str, float]]:
        """The questions and answers of the test."""
        pool = Pool.read(self.test, text="question", strict=True)
        found = []
        for line, row in enumerate(pool.rows(range(len(pool))), 1):
            answer = as_number(str(row.get("answer")))
            if answer is None:
                raise InputError("is no number", file=self.test, line=line, field="answer")
            found.append((str(row["question"]), float(answer)))
        return found

    @property
    def count(self) -> int:
        """Problems to train on."""
        return len(self.examples)

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return len(self.asked)

    @property
    def accepted(self) -> Sequence[int]:
        """Those whose program is right."""
        return [number for number, one in enumerate(self.examples) if one.solved]

    def prompt(self, number: int) -> str:
        """Give the question."""
        if number < self.count:
            return self.examples[number].question
        return self.asked[number - self.count][0]

    def solution(self, number: int) -> str:
        """Give the program; those for a test have none."""
        return self.examples[number].program if number < self.count else ""

    def answer(self, number: int) -> float | None:
        """Give the right answer, where it is known."""
        return None if number < self.count else self.asked[number - self.count][1]
