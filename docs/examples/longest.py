"""The longest rows: a selector of one's own, in one module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.engine.base import Engine
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector


@dataclass(frozen=True)
class Longest(Selector):
    """Rows with the most words, up to a limit.

    Parameters
    ----------
    most : int, default 2000
        A row with more words than this counts as one with none.
    """

    name: ClassVar[str] = "longest"
    cost: ClassVar[str] = "O(n log n)"

    most: int = 2_000

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose the `n` longest rows; ties fall by chance."""
        words = np.array([len(text.split()) for text in pool.texts(range(len(pool)))])
        words[words > self.most] = 0
        order = np.lexsort((rng.random(len(pool)), -words))
        return Choice(order[:n], columns={"words": words})
