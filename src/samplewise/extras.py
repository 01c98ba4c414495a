"""What only some of the work needs: packages, asked for by name, and functions of the user's."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from samplewise.errors import UsageError

__all__ = ["lazy", "load_function", "need"]


def need(module: str, extra: str, what: str, otherwise: str = "") -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Such as ``"torch"``.
    extra : str
        The extra of samplewise that brings it.
    what : str
        What needs it, for the error.
    otherwise : str
        What else can be done without it.

    Returns
    -------
    module

    Raises
    ------
    UsageError
        If it cannot be imported; the mend says what to install.

    Examples
    --------
    >>> need("math", "maths", "this example").pi > 3
    True
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        mend = f"pip install 'samplewise[{extra}]'"
        raise UsageError(
            f"{what} needs {module.partition('.')[0]}, which cannot be imported: {error}",
            mend=f"{mend}, or {otherwise}" if otherwise else mend,
        ) from error


class _Lazy(ModuleType):
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str, extra: str, what: str) -> None:
        super().__init__(name)
        self._wanted = (name, extra, what)

    def __getattr__(self, name: str) -> Any:
        module = need(*self._wanted)
        vars(self).update(vars(module))
        return getattr(module, name)


def lazy(module: str, extra: str, what: str) -> Any:
    """Give a module that is imported when something of it is first used.

    For modules that are all about a heavy library, yet are imported to list what there is. Bases of
    classes and decorators cannot be taken from it.

    Parameters
    ----------
    module, extra, what
        As `need` takes them.

    Examples
    --------
    >>> maths = lazy("math", "maths", "this example")
    >>> maths.pi > 3
    True
    """
    return _Lazy(module, extra, what)


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """Load ``FILE.py:FUNCTION``.

    Parameters
    ----------
    spec : str
        A Python file and the name of a function in it.
    what : str
        What it is for, for the error.

    Raises
    ------
    UsageError
        If there is no such file or function.
    """
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py") or not Path(path).exists():
        raise UsageError(f"{what} {spec!r} names no Python file", mend="write FILE.py:FUNCTION")
    found = importlib.util.spec_from_file_location(f"samplewise_{what}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{path} has no function {name!r}", mend="write FILE.py:FUNCTION")
    return function  # type: ignore[no-any-return]
