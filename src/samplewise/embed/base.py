"""Texts to vectors: one protocol, a cache on disk, and shards that an engine fills."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder", "Vectors"]

Vectors: TypeAlias = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors; must survive pickling, and give each text the same vector always.

    `id` names the model and all that changes its vectors: it is part of the cache key.
    """

    id: str

    def embed(self, texts: list[str]) -> Vectors:
        """Give one float32 vector a text, shape (len(texts), dimensions)."""
        ...
