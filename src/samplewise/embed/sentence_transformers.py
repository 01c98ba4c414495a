"""Vectors from any sentence-transformers model.

Use it where the built-in static vectors are too coarse and a GPU (or time) is at hand.
Cost: one forward pass of the model a row.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.embed.base import Vectors
from samplewise.errors import InputError, UsageError
from samplewise.extras import need

__all__ = ["SentenceTransformersEmbedder"]


@dataclass(frozen=True)
class SentenceTransformersEmbedder:
    """Embed with a sentence-transformers model, one unit vector a text.

    Parameters
    ----------
    model : str
        A local folder, or the name of a model on the Hugging Face hub, which is downloaded if it
        is not on this machine yet.
    batch_size : int
        Texts a forward pass.
    device : str, optional
        Such as ``"cpu"`` or ``"cuda"``; by default the best there is.

    Raises
    ------
    UsageError
        If the package is missing, or there is no such model.

    Examples
    --------
    >>> SentenceTransformersEmbedder("all-MiniLM-L6-v2").id
    'sentence-transformers:all-MiniLM-L6-v2'
    """

    model: str
    batch_size: int = 64
    device: str | None = None

    @property
    def id(self) -> str:
        """Name the model; that of a local folder changes with its files."""
        name = f"sentence-transformers:{self.model}"
        folder = Path(self.model)
        return f"{name}:{_folder_hash(folder)}" if folder.is_dir() else name

    def embed(self, texts: list[str]) -> Vectors:
        """Give one unit vector a text, shape (len(texts), dimensions)."""
        with _LOADING:
            model = _load(self.model, self.device)
        if not texts:
            return np.empty((0, _dimensions(model)), np.float32)
        vectors = model.encode(
            texts,
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        found: Vectors = np.asarray(vectors, dtype=np.float32)
        if not np.isfinite(found).all():
            raise InputError(
                f"gave a vector that is not finite for text {texts[0][:40]!r} or after",
                file=self.model,
            )
        return found


_LOADING = threading.Lock()  # threads that begin together load once


@functools.cache
def _load(model: str, device: str | None) -> Any:
    """Load a model once a process."""
    library = need("sentence_transformers", "embed", "this embedder")
    try:
        return library.SentenceTransformer(model, device=device)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot load the sentence-transformers model {model!r}: {error}",
            mend="give a local folder, or the name of a model on the Hugging Face hub",
        ) from error


def _dimensions(model: Any) -> int:
    return int(model.encode([""], show_progress_bar=False).shape[1])


def _folder_hash(folder: Path) -> str:
    """Hash the configuration files, and the sizes of all the rest, of a model folder."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
