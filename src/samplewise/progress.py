"""Progress of long work: who does it reports here, who shows it decides how."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Something that shows how far a stage has come."""

    def stage(
        self, name: str, total: float | None, unit: str
    ) -> contextlib.AbstractContextManager[Callable[[float], None]]:
        """Open a stage; the value it gives is called with each further amount of work done."""
        ...

    def say(self, text: str) -> None:
        """Show how things stand, in place of what was said before."""
        ...


class Silent:
    """Shows nothing: the default of every function in the library."""

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
        """Open a stage that nobody watches."""
        yield lambda amount: None

    def say(self, text: str) -> None:
        """Say something that nobody hears."""
