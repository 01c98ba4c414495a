"""Whether a mathematical answer equals the right one, however either is written.

Plain numbers are compared exactly and at once; all else goes to math-verify, in processes of their
own that are killed when a comparison takes too long. What is too long or too deep to be an answer
is never handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from samplewise.engine.local import cores
from samplewise.extras import need
from samplewise.problems import Problem
from samplewise.verify.base import Verdict, Verifier

__all__ = ["AlgebraPool", "Maths", "clean", "find_answer", "number", "right_answer"]

_TAIL = 20_000
"""Characters at the end of a text in which the answer is looked for."""

_LONGEST, _DEEPEST, _POWERS, _DIGITS = 300, 12, 6, 60
"""What math-verify is asked at most: characters, brackets in brackets, powers, digits in a row."""

_NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+(?:\.\d+)?)?"
_FIRST_NUMBER = re.compile(rf"(?<![\w.])(?:-\s?)?\$?\s?{_NUMBER}\s?(?:\\?%)?")
_NAMED = re.compile(
    r"(?:^[ \t]*A[ \t]*:|\banswer\s+is\b\s*:?|\banswer[ \t]*\**[ \t]*:)",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"__|\b(?:import|lambda|exec|eval|open|print|compile|getattr|os|sys)\b|[;\"'`@]")
_WORDS = re.compile(
    r"\s*(?:\\text\{[^{}]*\}|\\(?:mathrm|textrm|mbox)\{[^{}]*\}|[A-Za-z][A-Za-z .]*)$"
)
_NO_UNIT = re.compile(r"\b(?:pi|sqrt|sin|cos|tan|log|ln|exp|i|e|[a-z])\b", re.IGNORECASE)
_FRACTION = re.compile(r"^([-+]?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$")


def find_answer(text: str) -> str | None:
    r"""Find the last answer that a text gives.

    In this order: what is boxed, what follows ``####``, what follows ``A:``, ``answer:`` or
    ``answer is``, the last number.

    Examples
    --------
    >>> find_answer(r"First \boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> find_answer("She makes 9 * 2 = $<<9*2=18>>18 a day.\nA: $1,018.")
    '1018'
    """
    text = text[-_TAIL:]
    boxed = _boxed(text)
    if boxed is not None:
        return clean(boxed)
    if "####" in text:
        return _first(text.rsplit("####", 1)[1])
    named = None
    for named in _NAMED.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if named is not None:
        found = _first(text[named.end() :])
        if found is not None:
            return found
    numbers = _FIRST_NUMBER.findall(text)
    return clean(numbers[-1]) if numbers else None


def _boxed(text: str) -> str | None:
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place]
    return None


def _first(text: str) -> str | None:
    """Take the answer from the line that begins with it: its number in a sentence, else all."""
    line = next((line for line in text.splitlines() if line.strip(" *:$")), "").strip(" *:\t")
    if re.search(r"[A-Za-z]{2,}", line.replace("\\", " \\")) and "\\" not in line:
        sentence = _FIRST_NUMBER.search(line)
        if sentence is not None:
            return clean(sentence[0])
    return clean(line)


def clean(answer: str) -> str | None:
    r"""Take away what does not matter: dollar signs, separators of thousands, a final dot.

    Examples
    --------
    >>> clean("$ 1,234.50.")
    '1234.50'
    >>> clean(r"\$72\!,\!000")
    '72000'
    """
    answer = re.sub(r"\\[!,;: ]|\\(?:left|right|displaystyle)(?![A-Za-z])", "", answer.strip())
    answer = answer.replace("\\$", "").replace("$", "").replace("{,}", ",").replace("−", "-")
    answer = answer.strip().strip("*").strip()
    answer = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer)
    answer = re.sub(r"^([-+])\s+(?=[\d.])", r"\1", answer)
    answer = answer.rstrip(" .,")
    return answer if answer and len(answer) <= 1000 else None


def number(answer: str) -> Fraction | None:
    r"""Read a plain number, with or without a unit; None if it is none.

    Examples
    --------
    >>> number("18.50 dollars"), number("3/4"), number("2 pi"), number("50%")
    (Fraction(37, 2), Fraction(3, 4), None, Fraction(50, 1))
    """
    unit = _WORDS.search(answer)
    if unit is not None and not _NO_UNIT.search(unit[0].replace("\\text", "")):
        answer = answer[: unit.start()]
    answer = answer.removesuffix("%").removesuffix("\\").strip()
    answer = _FRACTION.sub(r"\1\2/\3", answer)
    if len(answer) > 400 or not re.fullmatch(_NUMBER, answer) or re.search(r",(?!\d{3}\b)", answer):
        return None
    above, _, below = answer.replace(",", "").replace(" ", "").partition("/")
    try:
        return Fraction(above) / Fraction(below or "1")
    except (ValueError, ZeroDivisionError):
        return None


def _same_numbers(first: str, second: str) -> bool | None:
    """Compare two plain numbers; None if they are not both that."""
    ours, theirs = number(first), number(second)
    if ours is None or theirs is None:
        return None
    if ours == theirs:
        return True
    if ("%" in first) != ("%" in second):
        ours, theirs = (
            value / 100 if "%" in text else value
            for text, value in ((first, ours), (second, theirs))
        )
        return ours == theirs
    if ("/" in first or "frac" in first) != ("/" in second or "frac" in second):
        return abs(ours - theirs) <= Fraction(1, 10**6)  # a decimal rounds a ratio
    return False


def _sane(answer: str) -> bool:
    """Say whether an answer is short and flat enough to be given to symbolic algebra."""
    depth = deepest = 0
    for sign in answer:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return (
        len(answer) <= _LONGEST
        and deepest <= _DEEPEST
        and answer.count("^") + answer.count("**") + answer.count("!") <= _POWERS
        and not re.search(rf"\d{{{_DIGITS + 1}}}", answer)
        and not _CODE.search(answer)
    )


class AlgebraPool:
    """Processes that compare expressions; each is killed when one comparison takes too long.

    Parameters
    ----------
    workers : int, optional
        Processes, started when first needed; by default one a core.
    seconds : float
        For one comparison.
    """

    def __init__(self, workers: int | None = None, seconds: float = 4.0) -> None:
        self.seconds = seconds
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(workers or cores()):
            self._idle.put(None)

    def same(self, first: str, second: str) -> bool:
        """Compare; what takes too long is not the same."""
        worker = self._idle.get()
        said = b""
        try:
            if worker is None or worker.poll() is not None:
                worker = self._start()
            with contextlib.suppress(OSError):  # it is gone
                assert worker.stdin is not None
                worker.stdin.write(json.dumps([first, second]).encode() + b"\n")
                worker.stdin.flush()
                said = _line(worker, self.seconds)
        finally:
            if worker is not None and not said:
                _end(worker)
                worker = None
            self._idle.put(worker)
        return said.strip() == b"true"

    def _start(self) -> subprocess.Popen[bytes]:
        need("math_verify", "verify", "verifier math")
        script = str(Path(__file__).with_name("_equivalence.py"))
        worker = subprocess.Popen(
            [sys.executable, "-P", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if not _line(worker, 60.0):
            _end(worker)
        return worker

    def close(self) -> None:
        """End the processes that are idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self._idle.get_nowait()
                if worker is not None:
                    _end(worker)


def _line(worker: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Read one line; nothing where it takes too long."""
    assert worker.stdout is not None
    fd, said, until = worker.stdout.fileno(), b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while not said.endswith(b"\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                return b""
            part = os.read(fd, 1024)
            if not part:
                return b""
            said += part
    return said


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class Maths(Verifier):
    r"""Compare the answer found in a text with the right one.

    Parameters
    ----------
    workers : int, optional
        Processes for what is no plain number, started when first needed; by default one a core.
    seconds : float
        For one such comparison; then the answers count as different.

    Raises
    ------
    UsageError
        When the first such comparison finds no math-verify.

    Examples
    --------
    >>> import asyncio
    >>> problem = Problem.ask("How much?", answer="It takes 2 * 9.\n#### 18")
    >>> texts = ["So it is $18.00.", "The answer is 81."]
    >>> [verdict.correct for verdict in asyncio.run(Maths().verify(problem, texts))]
    [True, False]
    """

    name: ClassVar[str] = "math"
    needs: ClassVar[tuple[str, ...]] = ("answer",)

    def __init__(self, workers: int | None = None, seconds: float = 4.0) -> None:
        self._pool = AlgebraPool(workers, seconds)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], bool] = {}

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts; what needs algebra runs beside the event loop."""
        self.check(problem)
        return await asyncio.to_thread(self._judge, problem, texts)

    def _judge(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        gold = right_answer(problem.answer or "")
        verdicts = []
        for text in texts:
            answer = self.extract(text)
            correct = answer is not None and self.same(gold, answer)
            reason = "" if correct else "no answer" if answer is None else "another answer"
            verdicts.append(Verdict(correct, float(correct), answer, reason))
        return verdicts

    def extract(self, text: str) -> str | None:
        """Find the last answer that a text gives."""
        return find_answer(text)

    def same(self, first: str, second: str) -> bool:
        """Say whether two answers are equal, plain numbers at once."""
        if first == second:
            return True
        plain = _same_numbers(first, second)
        if plain is not None:
            return plain
        if not _sane(first) or not _sane(second):
            return False
        pair = (first, second) if first < second else (second, first)
        with self._lock:
            known = self._known.get(pair)
        if known is None:
            known = self._pool.same(first, second)
            with self._lock:
                if len(self._known) >= 10_000:
                    self._known.clear()
                self._known[pair] = known
        return known

    async def close(self) -> None:
        """End the processes."""
        self._pool.close()


@lru_cache(maxsize=1024)
def right_answer(answer: str) -> str:
    """Read a problem's answer: all of it, or what follows ``####`` or ``A:``, or is boxed."""
    marked = "####" in answer or "\\boxed{" in answer or _NAMED.search(answer[-_TAIL:])
    found = find_answer(answer) if marked else clean(answer[:_TAIL])
    return found if found is not None else answer.strip()[:1000]
