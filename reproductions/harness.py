"""What every reproduction shares: its arguments, its tables and its result file.

A script says what it measured as a `Result` and hands the function that makes it to `reproduce`:

    python reproductions/NN_slug.py            the full run, written to reproductions/results/
    python reproductions/NN_slug.py --quick    the same code in seconds; written only with --out
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console
from rich.table import Table

import samplewise
from samplewise.files import atomic_write

__all__ = ["DATA", "KEYS", "WORDS", "Result", "Value", "interval", "reproduce", "weigh"]

KEYS = (
    "paper",
    "setting",
    "paper_figures",
    "our_figures",
    "agrees",
    "why",
    "hardware",
    "seconds",
    "version",
)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Larger pools, used where they are present."""

WORDS = {1: "holds", 0: "is not clear", -1: "does not hold"}
"""What became of a claim."""

Value = float | str | Sequence[float]
"""A number, a note, or (mean, low, high)."""
Tables = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""Title of a table -> row -> column -> value."""


@dataclass(frozen=True)
class Result:
    """What a reproduction found.

    Parameters
    ----------
    paper : str
        Title and arXiv id.
    setting : str
        What was run, and how it is smaller than what the paper ran.
    paper_figures, our_figures : mapping
        Title of a table -> row -> column -> value.
    agrees : bool or 'not comparable'
        Whether our figures show what the paper's show.
    why : str
        What that is judged by, and what disagrees.
    """

    paper: str
    setting: str
    paper_figures: Tables
    our_figures: Tables
    agrees: bool | Literal["not comparable"]
    why: str


def reproduce(
    slug: str, run: Callable[[bool], Result], arguments: Sequence[str] | None = None
) -> None:
    """Run a reproduction from the command line: print its tables, write its result.

    Parameters
    ----------
    slug : str
        Name of the result file, such as ``"01-diversify-and-conquer"``.
    run : callable
        Called with whether to be quick.
    arguments : sequence of str, optional
        By default those of the command line.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="the same code in seconds")
    parser.add_argument("--out", type=Path, help="folder of the result file")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    result = run(options.quick)
    seconds = round(time.perf_counter() - start, 1)
    _print(result)
    out = options.out or (None if options.quick else Path(__file__).parent / "results")
    if out is None:
        return
    values = {
        **asdict(result),
        "hardware": _hardware(),
        "seconds": seconds,
        "version": samplewise.__version__,
    }
    record = orjson.dumps({key: values[key] for key in KEYS}, option=orjson.OPT_INDENT_2)
    atomic_write(out / f"{slug}.json", record + b"\n")


def weigh(claims: Mapping[str, int]) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by claims that hold (1), are not clear (0) or do not hold (-1), and say which.

    Examples
    --------
    >>> weigh({"it rises": 1, "it falls": 0})
    ('not comparable', 'it rises: holds; it falls: is not clear')
    """
    said = "; ".join(f"{claim}: {WORDS[found]}" for claim, found in claims.items())
    if -1 in claims.values():
        return False, said
    return True if set(claims.values()) == {1} else "not comparable", said


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the mean and its 95% interval (Student's t over seeds).

    Examples
    --------
    >>> [round(value, 2) for value in interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    from scipy.stats import t

    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return mean, -math.inf, math.inf
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return mean, mean - half, mean + half


def _print(result: Result) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"[bold]{result.paper}[/bold]\n{result.setting}\n", highlight=False)
    for owner, tables in (("Paper", result.paper_figures), ("Ours", result.our_figures)):
        for title, rows in tables.items():
            console.print(_table(f"{owner}: {title}", rows))
    console.print(f"[bold]Agrees:[/bold] {result.agrees}. {result.why}", highlight=False)


def _table(title: str, rows: Mapping[str, Mapping[str, Value]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_text(row.get(column, "")) for column in columns))
    return table


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    mean, low, high = value
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]".replace("[", r"\[")


def _hardware() -> str:
    """Name the processor and the cores at hand; nothing that tells one machine from another."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = named[0] if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"
