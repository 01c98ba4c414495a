"""Run on this machine, a thread a core: the batch functions mostly leave Python's lock."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = ["LocalEngine", "cores"]

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Count the cores that this process may use.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # where a process cannot be held to some of them


@dataclass(frozen=True)
class LocalEngine:
    """Run on this machine's cores.

    Parameters
    ----------
    workers : int
        Threads; by default one a core.

    Examples
    --------
    >>> list(LocalEngine(workers=2).map(str.upper, ["a", "b", "c"]))
    ['A', 'B', 'C']
    """

    workers: int = field(default_factory=cores)
    name: str = "local"

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order; few items are ever in flight."""
        waiting: collections.deque[Future[R]] = collections.deque()
        with ThreadPoolExecutor(self.workers) as threads:
            try:
                for item in items:
                    waiting.append(threads.submit(function, item))
                    if len(waiting) > self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
