"""Rows at random, all equally likely: the rival of every other method. O(n)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(Selector):
    """Rows at random, without replacement.

    Examples
    --------
    >>> import samplewise as sw
    >>> pool = sw.Pool.from_rows([{"text": f"row {i}"} for i in range(100)])
    >>> len(set(sw.select(pool, 10, "random", rng=0).indices.tolist()))
    10
    """

    name: ClassVar[str] = "random"
    cost: ClassVar[str] = "O(n)"

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows at random."""
        return Choice(rng.choice(len(pool), size=n, replace=False))
