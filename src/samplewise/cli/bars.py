"""Progress bars on a terminal; nothing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from samplewise import progress

__all__ = ["Bars", "bars"]


class _Rate(ProgressColumn):
    """How fast a stage goes, in its own unit."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        if not seconds or task.total is None or not task.completed:
            return Text("")
        rate = task.completed / seconds
        # A slow rate needs its decimals.
        return Text(f"{rate:{',.0f' if rate >= 10 else '.2g'}} {task.fields['unit']}/s")


class Bars:
    """Shows each stage as a bar: name, share done, rate, time left."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._latest: TaskID | None = None

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
        """Open a bar."""
        task = self._shown.add_task(name, total=total, unit=unit, said="")
        self._latest = task
        yield lambda amount: self._shown.advance(task, amount)
        self._shown.update(task, total=total or 1, completed=total or 1)

    def say(self, text: str) -> None:
        """Show a text beside the latest bar."""
        if self._latest is not None:
            self._shown.update(self._latest, said=text)


@contextlib.contextmanager
def bars() -> Iterator[progress.Progress]:
    """Give what shows progress on standard error, where that is a terminal."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield progress.Silent()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console) as shown:
        yield Bars(shown)
