"""The wording that strategies use: text files in this folder, one folder a strategy.

The first line of a file is its version; raise it when the wording changes. `{name}` stands for what
the strategy puts there. A user's folder with files of the same names takes their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from samplewise.errors import InputError, UsageError

__all__ = ["Prompts", "Wording", "load_prompts"]

_BLANK = re.compile(r"\{([a-z_]+)\}")
_VERSION = re.compile(r"version (\d+)\n")


@dataclass(frozen=True)
class Wording:
    """One text with blanks.

    Attributes
    ----------
    text : str
    version : str
        That of ours, or ``"own"``.
    """

    text: str
    version: str

    @property
    def blanks(self) -> set[str]:
        """Names of the blanks."""
        return set(_BLANK.findall(self.text))


@dataclass(frozen=True)
class Prompts:
    """The wording of one strategy.

    Examples
    --------
    >>> Prompts({"greet": Wording("Hello, {name}!", "1")}).fill("greet", name="{you}")
    'Hello, {you}!'
    """

    wordings: Mapping[str, Wording]

    def fill(self, name: str, /, **blanks: object) -> str:
        """Fill in the blanks of one text; what is put in is not looked at again."""
        return _BLANK.sub(lambda found: str(blanks[found[1]]), self.wordings[name].text)

    @property
    def versions(self) -> dict[str, str]:
        """The version of each text."""
        return {name: wording.version for name, wording in self.wordings.items()}


def load_prompts(strategy: str, own: str | Path | None = None) -> Prompts:
    """Load the wording of a strategy, and a user's own in place of it.

    Parameters
    ----------
    strategy : str
        Name of the folder.
    own : str or Path, optional
        A folder with ``NAME.txt`` for every text that is to be another.

    Raises
    ------
    UsageError
        If a file of the user's has another name than ours have.
    InputError
        If one has a blank that the strategy does not fill.
    """
    found = {}
    for path in files(__name__).joinpath(strategy).iterdir():
        name = path.name.removesuffix(".txt")
        version = _VERSION.match(text := path.read_text("utf-8"))
        assert version, f"{path} does not begin with its version"
        found[name] = Wording(text[version.end() :].strip(), version[1])
    if own is None:
        return Prompts(found)
    for file in sorted(Path(own).glob("*.txt")):
        if file.stem not in found:
            raise UsageError(
                f"{strategy} has no text {file.stem!r}", mend=f"one of {', '.join(sorted(found))}"
            )
        wording = Wording(file.read_text("utf-8").strip(), "own")
        for blank in sorted(wording.blanks - found[file.stem].blanks):
            raise InputError(
                f"the blank {{{blank}}} is not filled",
                file=str(file),
                mend=f"use {', '.join(f'{{{one}}}' for one in sorted(found[file.stem].blanks))}",
            )
        found[file.stem] = wording
    if not Path(own).is_dir():
        raise UsageError(f"no folder {own}", mend="give a folder with texts, NAME.txt each")
    return Prompts(found)
