"""Errors that name the place and the mend.

Every error that a user can cause derives from `SamplewiseError`; the command line prints its
message without a traceback and leaves with its `exit_code`.
"""

from __future__ import annotations

__all__ = ["BudgetError", "InputError", "SamplewiseError", "UsageError"]


class SamplewiseError(Exception):
    """Base of all errors a user can cause.

    Parameters
    ----------
    message : str
        What is wrong.
    mend : str, optional
        What to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, *, mend: str = "") -> None:
        self.message = message
        self.mend = mend
        super().__init__(f"{message}\n  mend: {mend}" if mend else message)


class UsageError(SamplewiseError):
    """The request itself is wrong: an unknown method, knob, option or budget."""


class InputError(SamplewiseError):
    """The data are wrong; the message names file, line and field.

    Parameters
    ----------
    message : str
        What is wrong.
    file : str, optional
        The file it was found in.
    line : int, optional
        Line of a text file (from 1), or row of a table (from 1).
    field : str, optional
        The field or column.
    mend : str, optional
        What to do about it.

    Examples
    --------
    >>> print(InputError("not a number", file="pool.jsonl", line=7, field="score"))
    pool.jsonl, line 7, field 'score': not a number
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int | None = None,
        field: str = "",
        mend: str = "",
    ) -> None:
        self.file, self.line, self.field = file, line, field
        place = ", ".join(
            part
            for part in (
                file,
                "" if line is None else f"line {line}",
                f"field '{field}'" if field else "",
            )
            if part
        )
        super().__init__(f"{place}: {message}" if place else message, mend=mend)


class BudgetError(SamplewiseError):
    """The budget is spent, or too small for anything useful."""

    exit_code = 3
