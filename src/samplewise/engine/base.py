"""Where work runs: one function over many items, in order, on any engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from samplewise.errors import UsageError

__all__ = ["Engine", "make_engine"]

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Runs a function over items; the answer never depends on which engine did it.

    The function and the items must survive pickling. A function is called with one item at a
    time, and must give the same result whenever and wherever it is called.
    """

    @property
    def name(self) -> str:
        """Name: what `--engine` takes."""
        ...

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order, as they are done."""
        ...


def make_engine(name: str = "local", *, address: str | None = None) -> Engine:
    """Make an engine by name.

    Parameters
    ----------
    name : {'local', 'ray'}
        This machine, or a Ray cluster.
    address : str, optional
        The Ray cluster to join; without it a cluster is started on this machine.

    Raises
    ------
    UsageError
        If there is no such engine, or its package is not installed.
    """
    if name == "local":
        from samplewise.engine.local import LocalEngine

        return LocalEngine()
    if name == "ray":
        from samplewise.engine.ray import RayEngine

        return RayEngine(address=address)
    raise UsageError(f"there is no engine {name!r}", mend="one of local, ray")
