"""Guess nothing: plain decoding, which every draft must beat.

Cost: a reading of the model a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from samplewise.decode.base import Draft, Drafting, Verifier
from samplewise.decode.tree import Shape, Tree

__all__ = ["Plain"]


@dataclass(frozen=True)
class Plain(Draft):
    """Guess nothing, and decode a token a step.

    Examples
    --------
    >>> Plain().begin(vocabulary=10, verifier=None, heat=()).units
    0
    """

    name: ClassVar[str] = "plain"
    aliases: ClassVar[tuple[str, ...]] = ("none",)
    cost: ClassVar[str] = "a reading of the model a token"

    def begin(self, vocabulary: int, verifier: Verifier | None, heat: Any) -> Drafting:
        """Start work."""
        return _Nothing()


class _Nothing(Drafting):
    units = 0

    def propose(self, tokens: Sequence[int], units: int, rng: np.random.Generator) -> Tree:
        return Tree(Shape(()), np.empty(0, dtype=np.int64))
