"""Documents that a model learns to continue, and to fill in."""

from __future__ import annotations

import functools
import string
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from samplewise.errors import InputError, UsageError
from samplewise.train.base import Task

__all__ = ["DocumentFile", "Documents", "PairedWords"]


class Documents(Task):
    """Documents, numbered from 0; those held out come after those for training."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Documents to train on."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """Documents for a test, numbered from `count`."""

    @abstractmethod
    def document(self, number: int) -> str:
        """Give one."""

    def gap(self, number: int) -> tuple[int, int]:
        """Say which characters of a document a test leaves out: the middle third."""
        length = len(self.document(number))
        return length // 3, 2 * length // 3


@dataclass(frozen=True)
class PairedWords(Documents):
    """Two random words, each of which comes twice: ``"abc=ijk;abc.ijk;"``.

    The second half can be continued from the first, and the first word filled in from what follows:
    a model that cannot look ahead of the gap can only guess it.

    Parameters
    ----------
    letters : int
        Of a word.
    documents, test : int
        To train on, and held out.
    seed : int

    Examples
    --------
    >>> task = PairedWords(seed=3)
    >>> task.document(0), task.gap(0)
    ('vce=geu;vce.geu;', (0, 3))
    """

    label: ClassVar[str] = "paired-words"

    letters: int = 3
    documents: int = 20_000
    test: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.letters, self.documents, self.test) < 1:
            raise UsageError(
                f"letters {self.letters}, documents {self.documents}, test {self.test}",
                mend="give 1 or more",
            )

    @property
    def count(self) -> int:
        """Documents to train on."""
        return self.documents

    @property
    def held_out(self) -> int:
        """Documents for a test."""
        return self.test

    @functools.cached_property
    def words(self) -> list[str]:
        """Both words of every document, one after the other."""
        random = np.random.default_rng(self.seed)
        shape = (self.documents + self.test, 2 * self.letters)
        drawn = random.integers(len(string.ascii_lowercase), size=shape)
        return ["".join(string.ascii_lowercase[place] for place in row) for row in drawn.tolist()]

    def document(self, number: int) -> str:
        """Give one."""
        both = self.words[number]
        first, second = both[: self.letters], both[self.letters :]
        return f"{first}={second};{first}.{second};"

    def gap(self, number: int) -> tuple[int, int]:
        """Say which characters a test leaves out: the first word."""
        return 0, self.letters


@dataclass(frozen=True)
class DocumentFile(Documents):
    """Documents of a text file, parted by empty lines; the last ones are held out.

    Parameters
    ----------
    file : str
    test : int
        How many are held out.

    Raises
    ------
    InputError
        If there is no such file, or too few documents.
    """

    label: ClassVar[str] = "documents"

    file: str
    test: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.test < len(self.texts):
            raise InputError(
                f"holds {len(self.texts)} documents, of which {self.test} are held out",
                file=self.file,
                mend="part documents by empty lines, or hold out fewer (test)",
            )

    @functools.cached_property
    def texts(self) -> list[str]:
        """All documents."""
        try:
            content = Path(self.file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", file=self.file) from error
        return [part.strip("\n") for part in content.split("\n\n") if part.strip()]

    @property
    def count(self) -> int:
        """Documents to train on."""
        return len(self.texts) - self.test

    @property
    def held_out(self) -> int:
        """Documents for a test."""
        return self.test

    def document(self, number: int) -> str:
        """Give one."""
        return self.texts[number]
