"""Whether a program passes its tests, with a verdict that the program cannot forge.

The program and the tests run in two sandboxes, joined by two pipes. The process of the tests holds
no word of the program: it calls stand-ins for the program's functions, and what comes back is plain
values, or handles that equal nothing but themselves. Only that process can say that all tests
passed; what the program prints, patches, or leaves with counts for nothing. Problems of standard
input and output (JSON of ``inputs`` and ``outputs``) need one sandbox, and their output is compared
here, by the rule of CodeContests.

A program that guesses which tests there are and answers just these is still accepted: tests say no
more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from samplewise.engine.local import cores
from samplewise.errors import InputError
from samplewise.problems import Problem
from samplewise.verify._tester import ENDED
from samplewise.verify.base import Verdict, Verifier
from samplewise.verify.sandbox import Ran, Running, Sandbox, drive, libraries, python_command

__all__ = ["PythonTests", "same_output"]

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)

_LONGEST = 1 << 20
"""Characters of a program."""

_WHY = {
    "timeout": "it takes too long",
    "memory": "it takes too much memory",
    "processes": "it starts too many processes",
    "output": "it prints too much",
    "killed": "it was killed",
    "cancelled": "it was cancelled",
}


class PythonTests(Verifier):
    """Run programs against tests.

    Parameters
    ----------
    sandbox : Sandbox, optional
        Where they run; by default one of bubblewrap, 10 seconds a program.
    workers : int, optional
        Programs at a time; by default one a core.

    Raises
    ------
    UsageError
        Without bubblewrap.

    Notes
    -----
    The program is the first fenced block of the text, else the text. Where that is no program that
    defines the problem's `entry_point`, it is taken as what follows the problem's `preamble`.

    Tests that define ``check`` are called with the entry point; else each ``test_`` function and
    each ``unittest.TestCase`` is run; asserts at their top level run by themselves.

    Examples
    --------
    >>> import asyncio
    >>> problem = Problem.ask("Add.", tests="assert add(1, 2) == 3", entry_point="add")
    >>> texts = ["def add(a, b): return a + b", "import sys; sys.exit(0)"]
    >>> verdicts = asyncio.run(PythonTests().verify(problem, texts))
    >>> [verdict.correct for verdict in verdicts]
    [True, False]
    """

    name: ClassVar[str] = "python"
    needs: ClassVar[tuple[str, ...]] = ("tests",)

    def __init__(self, sandbox: Sandbox | None = None, workers: int | None = None) -> None:
        self.sandbox = sandbox or Sandbox()
        self._threads = ThreadPoolExecutor(workers or cores(), "verify-python")

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts; cancelling kills the programs under way."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        try:
            return await asyncio.gather(
                *(
                    loop.run_in_executor(self._threads, self.judge, problem, text, stop)
                    for text in texts
                )
            )
        finally:
            stop.set()

    def judge(self, problem: Problem, text: str, stop: threading.Event | None = None) -> Verdict:
        """Judge one text, in this thread."""
        self.check(problem)
        program = self.extract(text)
        if stop is not None and stop.is_set():
            return Verdict(False, 0.0, program, _WHY["cancelled"])
        if program is None:
            return Verdict(False, 0.0, None, "there is no program in the text")
        if len(text) > _LONGEST:
            return Verdict(False, 0.0, None, "the program is too long")
        cases = _cases(problem)
        if cases is None:
            reason = self._against_tests(problem, text, stop)
        else:
            reason = self._against_output(program, cases, stop)
        return Verdict(not reason, float(not reason), program, reason)

    def extract(self, text: str) -> str | None:
        """Give the first fenced block, else the whole text."""
        block = _FENCE.search(text)
        program = block[2] if block else text
        return program.rstrip() if program.strip() else None

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _against_output(
        self, program: str, cases: list[tuple[str, str]], stop: threading.Event | None
    ) -> str:
        path = f"import sys; sys.path += {libraries()!r}\n"
        start = f"{path}exec(compile({program!r}, 'program', 'exec'), {{'__name__': '__main__'}})"
        for number, (given, wanted) in enumerate(cases, 1):
            # The program comes in a file, since a command line is limited, and stdin is taken.
            ran = self.sandbox.run(
                python_command(f"exec(open({_PROGRAM!r}).read())"),
                given.encode(errors="surrogatepass"),
                files={_PROGRAM: start.encode(errors="surrogatepass")},
                stop=stop,
            )
            if not ran.ok:
                return f"case {number}: {_why(ran)}"
            if not same_output(ran.stdout.decode(errors="replace"), wanted):
                return f"case {number}: the output is another"
        return ""

    def _against_tests(self, problem: Problem, text: str, stop: threading.Event | None) -> str:
        block = _FENCE.search(text)
        about = {"preamble": problem.preamble, "entry_point": problem.entry_point or ""}
        about["path"] = libraries()  # type: ignore[assignment]
        program = {**about, "texts": [block[2]] if block else [text]}
        with contextlib.ExitStack() as stack:
            asked, ask = stack.enter_context(_pipe())
            reply, answer = stack.enter_context(_pipe())
            verdict, judged = stack.enter_context(_pipe())
            candidate = stack.enter_context(self._start("_candidate", program, (asked, answer)))
            tests = {**about, "tests": problem.tests or ""}
            tester = stack.enter_context(self._start("_tester", tests, (ask, reply, judged)))
            for fd in (asked, ask, reply, answer, judged):
                os.close(fd)
            drive([tester, candidate], stop=stop)
            if candidate.ended and candidate.status is None:
                # All its last words are in the pipe, and the tests hear of its end by themselves.
                drive([tester], stop=stop)
            return _reason(tester, candidate, verdict)

    def _start(self, side: str, asked: dict[str, Any], fds: tuple[int, ...]) -> Running:
        command = python_command(_source(side), *map(str, fds))
        return self.sandbox.start(command, json.dumps(asked).encode(), pass_fds=fds)


_PROGRAM = "/box/program.py"


_PATIENCE = 1.0
"""Seconds for the sandbox of a program that is gone to end as well."""


def _reason(tester: Running, candidate: Running, verdict: int) -> str:
    """Say why the program is rejected, or nothing: the tests alone can accept it."""
    said = _said(verdict) if tester.ended else None
    if said == ENDED and not candidate.ended:
        # Its pipes close before bubblewrap passes on what ended it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            candidate.process.wait(_PATIENCE)
        candidate.look()
    if candidate.status is not None:
        return _WHY.get(candidate.status, candidate.status)
    if candidate.ended and candidate.finish().status == "timeout":  # of processor time
        return _WHY["timeout"]
    ran = tester.finish()
    if ran.status != "ok":
        return f"the tests: {_why(ran)}"
    return "the tests came to no end" if said is None else said


def _said(verdict: int) -> str | None:
    """Read what the tests found wrong: nothing if they passed, None if they came to no end."""
    os.set_blocking(verdict, False)
    try:
        said = json.loads(os.read(verdict, 1 << 16))
    except (OSError, ValueError):
        return None
    return "" if said["passed"] is True else str(said["reason"] or "the tests fail")


def _why(ran: Ran) -> str:
    if ran.status in _WHY:
        return _WHY[ran.status]
    last = ran.stderr.decode(errors="replace").strip().splitlines()
    return (last[-1] if last else f"it ends with {ran.exit_code}")[:300]


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe; who has closed an end before does no harm."""
    ends = os.pipe()
    stamps = [os.fstat(fd).st_ino for fd in ends]
    try:
        yield ends
    finally:
        for fd, stamp in zip(ends, stamps, strict=True):
            with contextlib.suppress(OSError):
                if os.fstat(fd).st_ino == stamp:
                    os.close(fd)


# What annotations alone need takes as long to import as a short program takes to run.
_NOT_INSIDE = ("from __future__", "from samplewise", "from typing", "from collections.abc")


@cache
def _source(side: str) -> str:
    """Join what one side runs into one text: the package is not there to be imported."""
    here = Path(__file__).parent
    texts = [(here / f"{name}.py").read_text("utf-8") for name in ("_plain", side)]
    joined = "\n".join(texts)
    kept = [line for line in joined.splitlines() if not line.startswith(_NOT_INSIDE)]
    return "\n".join(["from __future__ import annotations", *kept, "main()"])


def _cases(problem: Problem) -> list[tuple[str, str]] | None:
    """Read JSON of inputs and outputs; None where the tests are Python."""
    try:
        tests = json.loads(problem.tests or "")
    except ValueError:
        return None
    if not isinstance(tests, dict) or "inputs" not in tests:
        return None
    given, wanted = tests["inputs"], tests.get("outputs")
    if not isinstance(given, list) or not isinstance(wanted, list) or len(given) != len(wanted):
        raise InputError(
            f"problem {problem.id!r} has not as many outputs as inputs",
            line=problem.line,
            field="tests",
        )
    if not given:
        raise InputError(f"problem {problem.id!r} has no case", line=problem.line, field="tests")
    return [(_text(one), _text(other)) for one, other in zip(given, wanted, strict=True)]


def _text(lines: Any) -> str:
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)


def same_output(output: str, wanted: str) -> bool:
    r"""Compare by the rule of CodeContests: token by token, numbers as numbers.

    Examples
    --------
    >>> same_output("YES 0.333333", "yes\n0.3333333")
    True
    >>> same_output("1 2", "1 2 3")
    False
    """
    ours, theirs = (re.split(r"[ \n\t\r\v]+", text.lower().strip()) for text in (output, wanted))
    return len(ours) == len(theirs) and all(map(_same_token, ours, theirs))


def _same_token(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    for number, near in ((int, 0.0), (float, 1e-5)):
        with contextlib.suppress(ValueError):
            return abs(number(ours) - number(theirs)) <= near
    return False
