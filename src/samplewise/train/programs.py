"""Problems that are solved by short programs whose last result is named ``answer``.

`ShortPrograms` is made here: three statements over three constants, for small models. `ProgramFile`
reads problems of the user's, and runs programs in the sandbox.
"""

from __future__ import annotations

import functools
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.pool import Pool
from samplewise.train.problems import Problems
from samplewise.verify.trace import (
    Code,
    Statement,
    Trace,
    Value,
    statements_of,
    trace_programs,
)

__all__ = [
    "ProgramFile",
    "Programs",
    "ShortPrograms",
    "all_answers",
    "arithmetic_trace",
    "right_value",
    "same_answer",
    "statement_at",
]


class Programs(Problems):
    """Problems with a reference program each, of straight-line Python that sets ``answer``."""

    longest: ClassVar[int] = 100

    @abstractmethod
    def answer(self, number: int) -> float:
        """Give the right answer."""

    def given(self, number: int) -> str:
        """Give the statements that run before a program."""
        return ""

    def trace(self, numbers: Sequence[int], programs: Sequence[str]) -> list[Trace | None]:
        """Run programs for some problems; None where one cannot be run."""
        return trace_programs(programs, [self.given(number) for number in numbers])

    def reward(self, number: int, text: str) -> float:
        """Say what a program is worth: 1 if its answer is right, 0 if not."""
        return self.rewards([number], [text])[0]

    def rewards(self, numbers: Sequence[int], texts: Sequence[str]) -> list[float]:
        """Say what programs are worth."""
        return [
            float(trace is not None and _is_right(trace, self.answer(number)))
            for number, trace in zip(numbers, self.trace(numbers, texts), strict=True)
        ]


def _is_right(trace: Trace, answer: float) -> bool:
    return bool(trace) and right_value(trace[-1].state, answer)


def right_value(state: Mapping[str, Value], answer: float) -> bool:
    """Say whether a state holds the right answer."""
    found = state.get("answer")
    return found is not None and same_answer(found.number, answer)


def same_answer(found: float | None, answer: float) -> bool:
    """Compare answers: 1e-4 apart at most, or by a billionth of the larger.

    Examples
    --------
    >>> same_answer(43.00005, 43.0), same_answer(43.001, 43.0), same_answer(None, 43.0)
    (True, False, False)
    """
    return found is not None and math.isclose(found, answer, rel_tol=1e-9, abs_tol=1e-4)


# --- made problems --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShortPrograms(Programs):
    r"""Write formulas as programs: ``(a+b)*c`` as ``t0=a+b\nanswer=t0*c``, and a step longer.

    Every problem has a formula of its own, of three operations among ``+``, ``-`` and ``*``. Its
    reference is one way among several to write it: operands of sums and products are in any order,
    and other programs give the same value too. What they compute is worked out without running
    Python.

    Parameters
    ----------
    problems, test : int
        To train on, and held out.
    largest : int
        Constants are drawn from 2 to it.
    python : bool
        Whether programs outside the grammar ``name=operand op operand`` are run too, in the
        sandbox; else they count as such that cannot be run.
    seed : int

    Examples
    --------
    >>> task = ShortPrograms(seed=1)
    >>> task.reward(0, task.solution(0)), task.reward(0, "answer=a+")
    (1.0, 0.0)
    """

    label: ClassVar[str] = "short-programs"
    longest: ClassVar[int] = 40

    problems: int = 256
    test: int = 64
    largest: int = 20
    python: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.problems, self.test) < 1 or self.problems + self.test > 4000:
            raise UsageError(
                f"problems {self.problems}, test {self.test}", mend="give 1 or more, 4000 in all"
            )
        if self.largest < 4:
            raise UsageError(f"largest is {self.largest}", mend="give 4 or more")

    @property
    def count(self) -> int:
        """Problems to train on."""
        return self.problems

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return self.test

    @functools.cached_property
    def made(self) -> list[_Formula]:
        """The formula, program and constants of every problem."""
        random = np.random.default_rng(self.seed)
        found: dict[str, _Formula] = {}
        while len(found) < self.problems + self.test:
            one = _make(random, self.largest)
            found.setdefault(one.formula, one)
        return list(found.values())

    def prompt(self, number: int) -> str:
        """Give the constants and the formula."""
        one = self.made[number]
        return f"{self.given(number).replace(chr(10), ',')}:{one.formula}\n"

    def solution(self, number: int) -> str:
        """Give the reference."""
        return "\n".join(self.made[number].program)

    def given(self, number: int) -> str:
        """Give the constants."""
        return "\n".join(f"{name}={value}" for name, value in self.made[number].constants.items())

    @functools.cached_property
    def answers(self) -> list[float]:
        """The right answers."""
        found = (arithmetic_trace(one.program, one.constants) for one in self.made)
        return [float(trace[-1].state["answer"].text) for trace in found if trace]

    def answer(self, number: int) -> float:
        """Give the right answer."""
        return self.answers[number]

    def trace(self, numbers: Sequence[int], programs: Sequence[str]) -> list[Trace | None]:
        """Work programs out; what is outside the grammar goes to the sandbox, where it may."""
        codes = [statements_of(program) for program in programs]
        traces = [
            None if code is None else arithmetic_trace(code, self.made[number].constants)
            for number, code in zip(numbers, codes, strict=True)
        ]
        if self.python:
            left = [place for place, trace in enumerate(traces) if trace is None and codes[place]]
            ran = super().trace([numbers[i] for i in left], [programs[i] for i in left])
            for place, trace in zip(left, ran, strict=True):
                traces[place] = trace
        return traces


@dataclass(frozen=True)
class _Formula:
    formula: str
    program: Code
    constants: Mapping[str, int]


def _make(random: np.random.Generator, largest: int) -> _Formula:
    """Draw a chain of three operations, each with what came before, and one way to write it."""
    values = random.choice(np.arange(2, largest + 1), 3, replace=False).tolist()
    first = str(random.choice(list("abc")))
    formula, before, program = first, first, []
    for place, target in enumerate(("t0", "t1", "answer")):
        sign, other = str(random.choice(list("+-*"))), str(random.choice(list("abc")))
        turned, written = random.integers(2, size=2).tolist()
        inner = f"({formula})" if place else formula
        formula = sign.join([other, inner] if turned else [inner, other])
        if sign == "-":
            written = turned
        program.append(f"{target}=" + sign.join([other, before] if written else [before, other]))
        before = target
    return _Formula(formula, tuple(program), dict(zip("abc", values, strict=True)))


def statement_at(place: int, index: int) -> str:
    """Give one of the statements that can stand at a place of a program of three.

    Parameters
    ----------
    place : int
        0 to 2.
    index : int
        From 0 to 26, 47 and 74.

    Examples
    --------
    >>> statement_at(0, 0), statement_at(1, 47), statement_at(2, 74)
    ('t0=a+a', 't1=t0*t0', 'answer=t1*t1')
    """
    operands = ["a", "b", "c", "t0", "t1"][: 3 + place]
    left, sign, right = np.unravel_index(index, (len(operands), 3, len(operands)))
    return f"{('t0', 't1', 'answer')[place]}={operands[left]}{'+-*'[sign]}{operands[right]}"


def all_answers(constants: Sequence[int]) -> NDArray[np.int64]:
    """Give the value of every program of three statements.

    Parameters
    ----------
    constants : sequence of int, length 3
        a, b and c.

    Returns
    -------
    ndarray of int64, shape (27, 48, 75)
        By the index of each statement, as `statement_at` counts.

    Examples
    --------
    >>> answers = all_answers([7, 3, 5])
    >>> answers.size, int((answers == 43).sum())
    (97200, 63)
    """
    values = np.array([constants], np.int64)
    for _ in range(3):
        left, right = values[:, :, None], values[:, None, :]
        results = np.stack([left + right, left - right, left * right], axis=2)
        results = results.reshape(len(values), -1)
        kept = np.repeat(values, results.shape[1], axis=0)
        values = np.column_stack([kept, results.ravel()])
    return values[:, -1].reshape(27, 48, 75)


_STATEMENT = re.compile(r"([a-z]\w{0,15}) ?= ?(\w{1,16}) ?([-+*]) ?(\w{1,16})", re.ASCII)
_LARGEST = 10**12


def arithmetic_trace(code: Code, constants: Mapping[str, int]) -> Trace | None:
    """Work out a program of statements ``name=operand op operand``; no Python is run.

    Parameters
    ----------
    code : tuple of str
    constants : mapping of str to int

    Returns
    -------
    tuple of Statement or None
        What the sandbox would give; None where a statement is another, a name is unknown, or a
        value passes 10^12.

    Examples
    --------
    >>> trace = arithmetic_trace(("t0=a+b", "answer=t0*2"), {"a": 7, "b": 3})
    >>> trace[-1].state["answer"].text
    '20'
    >>> arithmetic_trace(("answer=abs(a)",), {"a": 7}) is None
    True
    """
    values, found = dict(constants), []
    for text in code:
        read = _STATEMENT.fullmatch(text)
        if read is None or iskeyword(read[1]):
            return None
        left, right = (_operand(read[place], values) for place in (2, 4))
        if left is None or right is None:
            return None
        value = _OPERATIONS[read[3]](left, right)
        if abs(value) > _LARGEST:
            return None
        values[read[1]] = value
        state = {name: Value(str(one), float(one)) for name, one in values.items()}
        found.append(Statement(text, state))
    return tuple(found)


_OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def _operand(text: str, values: Mapping[str, int]) -> int | None:
    if re.fullmatch(r"0|[1-9]\d{0,11}", text):
        return int(text)
    return values.get(text)


# --- problems of the user's -----------------------------------------------------------------------


@dataclass(frozen=True)
class ProgramFile(Programs):
    """Problems of a file, with a reference program each; programs run in the sandbox.

    Parameters
    ----------
    path : str
        Rows with ``text``, ``code`` and ``answer``, and optionally ``given``: statements that run
        before a program.
    test : str
        Rows for a test, of the same kind.
    seconds : float
        For one program.

    Notes
    -----
    Rows whose code does not give the answer are left out, as published.
    """

    label: ClassVar[str] = "program-file"

    path: str = ""
    test: str = ""
    seconds: float = 2.0

    def __post_init__(self) -> None:
        for field in ("path", "test"):
            if not getattr(self, field):
                raise UsageError(f"program-file: {field} is empty", mend="name a file of problems")

    @functools.cached_property
    def parts(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The rows of both files that can be used."""
        return _usable(self.path, self.seconds), _usable(self.test, self.seconds)

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of both files, one after the other."""
        return self.parts[0] + self.parts[1]

    @property
    def count(self) -> int:
        """Problems to train on."""
        return len(self.parts[0])

    @property
    def held_out(self) -> int:
        """Problems for a test."""
        return len(self.parts[1])

    def prompt(self, number: int) -> str:
        """Give the text."""
        return f"{self.rows[number]['text']}\n"

    def solution(self, number: int) -> str:
        """Give the reference."""
        return str(self.rows[number]["code"])

    def given(self, number: int) -> str:
        """Give what runs before."""
        return str(self.rows[number].get("given") or "")

    def answer(self, number: int) -> float:
        """Give the right answer."""
        return float(self.rows[number]["answer"])

    def trace(self, numbers: Sequence[int], programs: Sequence[str]) -> list[Trace | None]:
        """Run programs in the sandbox."""
        givens = [self.given(number) for number in numbers]
        return trace_programs(programs, givens, seconds=self.seconds)


def _usable(path: str, seconds: float) -> list[dict[str, Any]]:
    pool = Pool.read(path, text="text", strict=True)
    rows = [dict(row) for row in pool.rows(range(len(pool)))]
    for line, row in enumerate(rows, 1):
        if not isinstance(row.get("code"), str):
            raise InputError("is no text", file=path, line=line, field="code")
        try:
            row["answer"] = float(row.get("answer"))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise InputError("is no number", file=path, line=line, field="answer") from None
    traces = trace_programs(
        [row["code"] for row in rows],
        [str(row.get("given") or "") for row in rows],
        seconds=seconds,
    )
    kept = [
        row
        for row, trace in zip(rows, traces, strict=True)
        if trace is not None and _is_right(trace, row["answer"])
    ]
    if not kept:
        raise UsageError(
            f"no code of {path} gives the answer of its row", mend="give straight-line programs"
        )
    return kept
