"""Texts to vectors: one protocol, a cache on disk, and shards that an engine fills."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder", "Vectors"]

Vectors: TypeAlias = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors; survives pickling, and gives each text the same vector always."""

    @property
    def id(self) -> str:
        """Name of the model and of all that changes its vectors: part of the cache key."""
        ...

    def embed(self, texts: list[str]) -> Vectors:
        """Give one float32 vector a text, shape (len(texts), dimensions)."""
        ...
