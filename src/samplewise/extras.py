"""Packages that only some of the work needs: imported when it begins, or asked for by name."""

from __future__ import annotations

import importlib
from typing import Any

from samplewise.errors import UsageError

__all__ = ["need"]


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
