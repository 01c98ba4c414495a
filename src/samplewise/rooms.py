"""Rooms that are doors too: `samplewise.select` is a package, and `samplewise.select(...)` works.

Python binds a subpackage's name on its parent at import, so a function of the same name there
would be hidden. A package whose module object is callable has no such clash.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazily", "open_door"]


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


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``: a name is imported when it is first used.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        The module within it that each name is from; ``"module:name"`` where it is another there.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = homes[name].partition(":")
        value = getattr(importlib.import_module(f"{package}.{module}"), other or name)
        setattr(sys.modules[package], name, value)
        return value

    return find
