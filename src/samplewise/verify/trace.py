"""What a straight-line program computes: the values of its variables after every statement.

Use it to compare two programs step by step, by what they compute and not by how they are written.
No program runs in this process: they run in the sandbox, many in each.

Cost: one fork a program; what is reported of it grows with the square of its length. Source: the
partially correct solutions of arXiv 2205.14318.
"""

from __future__ import annotations

import ast
import io
import math
import threading
import tokenize
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from samplewise.verify.many import run_many
from samplewise.verify.sandbox import Sandbox

__all__ = ["Code", "Statement", "Trace", "Value", "state_key", "statements_of", "trace_programs"]

Code: TypeAlias = tuple[str, ...]
"""A program, statement by statement."""

_LONGEST = 10_000
"""Characters of a program."""


class Value(NamedTuple):
    """The value of a variable.

    Attributes
    ----------
    text : str
        As ``str`` writes it.
    number : float or None
        Where it is a finite real number.
    """

    text: str
    number: float | None = None


class Statement(NamedTuple):
    """A statement, and the variables after it.

    Attributes
    ----------
    code : str
    state : mapping of str to Value
        All variables, also those that were given.
    """

    code: str
    state: Mapping[str, Value]


Trace: TypeAlias = tuple[Statement, ...]
"""A program that ran to its end."""

# Runs inside the sandbox.
_WORK = """
def spelled(value):
    import math, numbers
    number = None
    if isinstance(value, numbers.Real):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    known = number is not None and math.isfinite(number)
    return [str(value), number if known else None]

def work(job):
    given, statements = job
    names, states = {"__name__": "__main__"}, []
    for code in given:
        exec(compile(code, "program", "exec"), names)
    for code in statements:
        exec(compile(code, "program", "exec"), names)
        states.append({n: spelled(v) for n, v in names.items() if not n.startswith("__")})
    return states
"""


def trace_programs(
    programs: Sequence[str],
    givens: Sequence[str] | None = None,
    *,
    sandbox: Sandbox | None = None,
    seconds: float = 2.0,
    most: int = 64,
    stop: threading.Event | None = None,
) -> list[Trace | None]:
    r"""Run straight-line programs in the sandbox, and give the state after every statement.

    Parameters
    ----------
    programs : sequence of str
        Python without blocks.
    givens : sequence of str, optional
        For each, statements that run before it and are no part of its trace.
    sandbox : Sandbox, optional
        By default one of bubblewrap.
    seconds : float
        For one program.
    most : int
        Programs a sandbox; 1 keeps them wholly apart.
    stop : Event, optional
        Ends all runs when it is set.

    Returns
    -------
    list of (tuple of Statement) or None
        None where the program is no Python, has a block, fails, hangs, or says too much.

    Raises
    ------
    UsageError
        Without bubblewrap.
    ValueError
        If there are not as many givens as programs.

    References
    ----------
    arXiv 2205.14318

    Examples
    --------
    >>> [trace, nothing] = trace_programs(["t0=a+1\nanswer=t0/2", "t0=1/0"], ["a=2", ""])
    >>> [(one.code, one.state["t0"].text) for one in trace], nothing
    ([('t0=a+1', '3'), ('answer=t0/2', '3')], None)
    >>> trace[-1].state["answer"].number
    1.5
    """
    before = [""] * len(programs) if givens is None else givens
    codes = [statements_of(program) for program in programs]
    heads = [statements_of(given) for given in before]
    jobs = [
        (place, [head, code])
        for place, (head, code) in enumerate(zip(heads, codes, strict=True))
        if head is not None and code is not None
    ]
    found = run_many(
        _WORK,
        [job for _, job in jobs],
        sandbox=sandbox,
        seconds=seconds,
        most=most,
        stop=stop,
    )
    traces: list[Trace | None] = [None] * len(programs)
    for (place, (_, code)), states in zip(jobs, found, strict=True):
        traces[place] = _trace(code, states)
    return traces


def _trace(code: Code, states: Any) -> Trace | None:
    """Read what the sandbox says; None where a program made it say something else."""
    try:
        return tuple(
            Statement(text, {str(name): _value(*spelled) for name, spelled in state.items()})
            for text, state in zip(code, states, strict=True)
        )
    except (TypeError, ValueError, AttributeError):
        return None


def _value(text: Any, number: Any) -> Value:
    known = type(number) in (int, float) and math.isfinite(number)
    return Value(str(text), float(number) if known else None)


def statements_of(program: str) -> Code | None:
    r"""Give the statements of a straight-line program, without comments and doc-strings.

    Parameters
    ----------
    program : str

    Returns
    -------
    tuple of str or None
        None where it is no Python, or has a block.

    Examples
    --------
    >>> statements_of("'''Add.'''\nt0=a+b  # first\n\nanswer=t0; x=1\n")
    ('t0=a+b', 'answer=t0', 'x=1')
    >>> statements_of("for i in range(3): pass") is None
    True
    """
    if len(program) > _LONGEST:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of what it might have meant
            body = ast.parse(program.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(hasattr(node, "body") or hasattr(node, "cases") for node in body):
        return None
    kept = [node for node in body if not _is_text(node)]
    return tuple(_source(program.strip(), node) for node in kept)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _source(program: str, node: ast.stmt) -> str:
    text = ast.get_source_segment(program, node) or ""
    if "#" not in text:
        return text
    signs = tokenize.generate_tokens(io.StringIO(text).readline)
    has_comment = any(sign.type == tokenize.COMMENT for sign in signs)
    return ast.unparse(node) if has_comment else text


def state_key(state: Mapping[str, Value], tolerance: float | None = None) -> tuple[str, ...]:
    """Give what two states have in common that hold the same values, whatever the names.

    Parameters
    ----------
    state : mapping of str to Value
    tolerance : float, optional
        Numbers count as multiples of it; by default they are compared as text, as published:
        ``72 * 0.2778`` is then another value than ``72 / 3.6``.

    Returns
    -------
    tuple of str
        Every value, in order.

    Examples
    --------
    >>> state_key({"x": Value("7", 7.0), "a": Value("12", 12.0)})
    ('12', '7')
    >>> near, exact = Value("20.0016", 20.0016), Value("20.0", 20.0)
    >>> state_key({"x": near}, 0.01) == state_key({"y": exact}, 0.01)
    True
    """
    return tuple(sorted(_spelled(value, tolerance) for value in state.values()))


def _spelled(value: Value, tolerance: float | None) -> str:
    if tolerance is None or value.number is None:
        return value.text
    ratio = value.number / tolerance
    return f"~{round(ratio)}" if math.isfinite(ratio) else value.text
