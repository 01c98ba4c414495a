"""The rows with the highest scores: what difficulty scores are often used for.

A strong rival where most rows are kept and labels are right. Where few are kept, or labels are
wrong, it trains on little but odd and mislabelled rows, and falls below chance:
`coverage-centric` is made for that. Time O(n log n), memory O(n).
Source: the baselines of arXiv 2210.15809; scores of arXiv 2107.07075.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.pool import Pool
from samplewise.select.allocation import allocate
from samplewise.select.base import Choice, Selector
from samplewise.select.clusters import draw_within

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Hardest", "hardness_of"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Hardest(Selector):
    """The rows with the highest scores.

    Deterministic: ties go to the lowest index.

    Parameters
    ----------
    hard : {'high', 'low'}
        Which scores are taken: 'high' is the hardest for those of `samplewise.score`, and the
        best where the score is a quality; 'low' takes the other end.
    per_class : bool
        Whether every label (or source) gives the same share of its own rows; those without one
        count as a class of their own.

    References
    ----------
    M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples
    Early in Training", arXiv 2107.07075.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.eye(4), y=["a", "a", "b", "b"], score=[3, 4, 1, 2])
    >>> sw.select(pool, 2, "hardest").indices.tolist()
    [1, 0]
    >>> sw.select(pool, 2, "hardest", per_class=True).indices.tolist()
    [1, 3]
    """

    name: ClassVar[str] = "hardest"
    needs: ClassVar[tuple[str, ...]] = ("score",)
    paper: ClassVar[str] = "2107.07075"
    cost: ClassVar[str] = "O(n log n)"

    hard: Literal["high", "low"] = "high"
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_class:
            # The base checks the pool's groups for every method that names them here.
            object.__setattr__(self, "needs", (*type(self).needs, "groups"))

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose the `n` hardest rows, in that order or class by class in turn."""
        assert pool.score is not None
        groups = np.zeros(len(pool), np.int64)
        if self.per_class:
            assert pool.classes is not None
            groups = pool.classes.codes.astype(np.int64) + 1  # without a class: 0
        counts = allocate(np.bincount(groups), n)
        return Choice(draw_within(groups, counts, hardness_of(pool.score, self.hard)))


def hardness_of(score: Floats, hard: str) -> Floats:
    """Turn scores so that higher is harder."""
    return score if hard == "high" else -score
