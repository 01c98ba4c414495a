"""Programs that compute an answer: find them in a text, run them, read files of them.

Programs run in the sandbox of `samplewise.verify.sandbox`, which needs bubblewrap.

Source: program-aided language models, arXiv 2211.10435.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from samplewise.errors import InputError
from samplewise.pool import Pool
from samplewise.verify.many import run_many
from samplewise.verify.maths import number
from samplewise.verify.sandbox import Ran, Sandbox, libraries, python_command

__all__ = [
    "Example",
    "Result",
    "as_number",
    "program_of",
    "read_examples",
    "run_program",
    "run_programs",
]


class Example(NamedTuple):
    """A problem with a program.

    Attributes
    ----------
    id : str
    question, program : str
    solved : bool
        Whether the program gave the right answer; one that did not is never shown.
    """

    id: str
    question: str
    program: str
    solved: bool = True


_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)
_BEGINS = re.compile(r"def \w+\(|import \w+|from [\w.]+ import |class \w+.*:$|@\w+|print\(")
_CODE = re.compile(
    rf"\s|$|#|{_BEGINS.pattern}|[)\]}}\"']|\w[\w.\[\]]* *[-+*/]?= *\S|\w+\(|"
    r"(?:if|elif|else|for|while|try|except|finally|with|assert)\b.*:"
)


def program_of(text: str) -> str | None:
    r"""Find the program in a text; None where there is none.

    The first fenced block that defines ``solution``, or else the first; in a text without fences,
    the lines around the first definition, import or ``print`` that are Python by their looks.

    Parameters
    ----------
    text : str

    Returns
    -------
    str or None

    Examples
    --------
    >>> program_of("Here it is:\ndef solution():\n    return 6 * 7\n\nThat is all.")
    'def solution():\n    return 6 * 7'
    >>> program_of("I say 42.") is None
    True
    """
    blocks = [block[2].rstrip() for block in _FENCE.finditer(text)]
    if blocks:
        best = next((block for block in blocks if "def solution" in block), blocks[0])
        return best or None
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if _BEGINS.match(line)), None)
    if start is None:
        return None
    while start and lines[start - 1].strip() and _CODE.match(lines[start - 1]):
        start -= 1
    end = next((i for i in range(start, len(lines)) if not _CODE.match(lines[i])), len(lines))
    return "\n".join(lines[start:end]).rstrip()


class Result(NamedTuple):
    """What a program gave.

    Attributes
    ----------
    value : str or None
        What ``solution()`` returned, or what was printed last.
    error : str
        Why there is none.
    """

    value: str | None
    error: str = ""


# Run inside the sandbox, where every program has a process, and thus names, of its own.
_VALUE = """
import io, json, sys

def spelled(value):
    if isinstance(value, (bool, int, str)):
        return str(value)
    try:
        return repr(float(value))
    except (TypeError, ValueError, OverflowError):
        return str(value)

def values_of(source):
    sys.stdout = printed = io.StringIO()
    names = {"__name__": "__main__"}
    exec("import math", names)
    exec(compile(source, "program", "exec"), names)
    value = names["solution"]() if callable(names.get("solution")) else None
    lines = printed.getvalue().split("\\n") if value is None else [spelled(value)]
    return [line.strip() for line in lines if line.strip()][-1:]
"""
_ONE = """
sys.path += json.loads(sys.argv[1])
source, ours = sys.stdin.buffer.read().decode("utf-8", "replace"), sys.stdout
ours.write("\\n" + json.dumps(values_of(source)))
"""
_MANY = """
def work(source):
    try:
        return [values_of(source), ""]
    except BaseException as error:
        return [[], f"{type(error).__name__}: {error}"[:300]]
"""


def run_program(
    program: str, sandbox: Sandbox | None = None, stop: threading.Event | None = None
) -> Result:
    r"""Run a program in the sandbox, and give its value.

    That is what the function ``solution()`` returns, or, where there is none or it returns nothing,
    the last line that the program prints.

    Parameters
    ----------
    program : str
        Python; it may import what is installed here, and `math` is imported for it.
    sandbox : Sandbox, optional
    stop : Event, optional
        Ends the run when it is set.

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        Without bubblewrap.

    Examples
    --------
    >>> run_program("def solution():\n    return 6 * 7")
    Result(value='42', error='')
    """
    command = python_command(_VALUE + _ONE, json.dumps(libraries()))
    ran = (sandbox or Sandbox()).run(
        command, program.encode(errors="surrogatepass") or b"\n", stop=stop
    )
    return _result(ran)


def _result(ran: Ran) -> Result:
    if ran.status != "ok":
        last = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
        said = last if ran.status == "failed" else []
        return Result(None, (said[0] if said else f"it ended by {ran.status}")[:300])
    try:
        [value] = json.loads(ran.stdout.rpartition(b"\n")[2])
    except ValueError:
        return Result(None, "it gives no value")
    return Result(str(value))


def run_programs(
    programs: Sequence[str],
    sandbox: Sandbox | None = None,
    *,
    seconds: float = 10.0,
    most: int = 64,
) -> list[Result]:
    r"""Run many programs as `run_program` runs one, at a fraction of the cost.

    Parameters
    ----------
    programs : sequence of str
    sandbox : Sandbox, optional
    seconds : float
        For one program.
    most : int
        Programs a sandbox.

    Returns
    -------
    list of Result

    Raises
    ------
    UsageError
        Without bubblewrap.

    Examples
    --------
    >>> run_programs(["def solution():\n    return 6 * 7", "print(1 / 0)"])
    [Result(value='42', error=''), Result(value=None, error='ZeroDivisionError: division by zero')]
    """
    sources = [program.encode(errors="replace").decode() for program in programs]
    found = run_many(_VALUE + _MANY, sources, sandbox=sandbox, seconds=seconds, most=most)
    return [_told(one) for one in found]


def _told(said: Any) -> Result:
    """Read what the sandbox says; a program may have made it say something else."""
    match said:
        case [[str(value)], ""]:
            return Result(value)
        case [[], str(error)]:
            return Result(None, error or "it gives no value")
    return Result(None, "it takes too long, takes or says too much, or dies")


def as_number(value: str, decimals: int | None = None) -> str | None:
    """Write a number in its shortest form; None where it is no finite number.

    Parameters
    ----------
    value : str
        As a program gave it.
    decimals : int, optional
        How many are kept; by default 12 digits in all.

    Returns
    -------
    str or None

    Examples
    --------
    >>> [as_number(one) for one in ("18.0", "0.30000000000000004", "$1,250", "nan", "a lot")]
    ['18', '0.3', '1250', None, None]
    >>> as_number("3.14159", 2)
    '3.14'
    """
    if re.fullmatch(r"[-+]?\d{1,400}", value):
        return str(int(value))
    try:
        found = float(value)
    except ValueError:
        read = number(value.replace("$", "").strip())
        if read is None:
            return None
        found = float(read)
    if not math.isfinite(found):
        return None
    found = found if decimals is None else round(found, decimals)
    return format(Decimal(f"{found + 0.0:.12g}"), "f")


# --- files ----------------------------------------------------------------------------------------


def read_examples(path: str | Path) -> list[Example]:
    """Read problems with programs.

    Parameters
    ----------
    path : str or Path
        Rows with ``question`` and ``program``, and optionally ``score`` and ``id``; or the
        ``answers.jsonl`` of a run of ``program-prompting``.

    Returns
    -------
    list of Example
        In the order of the file; also those that were not solved.

    Raises
    ------
    InputError
        If a row has no question, or a score that is no number.
    """
    pool = Pool.read(path, text="question", strict=True)
    return [
        _example(row, line, str(path)) for line, row in enumerate(pool.rows(range(len(pool))), 1)
    ]


def _example(row: Mapping[str, Any], line: int, file: str) -> Example:
    try:
        program, solved = row.get("program"), float(row.get("score", 1)) > 0
    except (TypeError, ValueError):
        raise InputError("is no number", file=file, line=line, field="score") from None
    if "samples" in row:  # a line of answers.jsonl
        gave = [
            sample["text"]
            for sample in row["samples"]
            if sample.get("remarks", {}).get("value", "") == row["answer"]
        ]
        program, solved = next(iter(gave), None), row.get("correct") is True
    text = program_of(program) if isinstance(program, str) else None
    return Example(
        str(row.get("id", line)), str(row["question"]), text or "", solved and bool(text)
    )
