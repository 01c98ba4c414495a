"""Rooms that are doors too: `samplewise.select` is a package, and `samplewise.select(...)` works.

Python binds a subpackage's name on its parent at import, so a function of the same name there
would be hidden. A package whose module object is callable has no such clash.
"""

from __future__ import annotations

import sys
import types
from typing import Any

__all__ = ["open_door"]


class _Room(types.ModuleType):
    """A package that can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function that the package is named after."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def open_door(package: str) -> None:
    """Make a package callable: the call goes to the function in it that bears its name.

    Examples
    --------
    >>> import samplewise.select
    >>> callable(samplewise.select)
    True
    """
    sys.modules[package].__class__ = _Room
