"""Options that commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from samplewise.errors import UsageError

__all__ = ["Json", "Out", "settings"]

Out = Annotated[Path, typer.Option("--out", help="Run folder; made new.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def settings(
    pairs: Sequence[str], form: str = "NAME=VALUE", option: str = "--set"
) -> dict[str, str]:
    """Read what `--set`, or an option like it, was given.

    Raises
    ------
    UsageError
        If a pair has no equals sign.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"{option} {pair}", mend=f"write {option} {form}")
    return {name.strip(): value for name, _, value in (pair.partition("=") for pair in pairs)}
