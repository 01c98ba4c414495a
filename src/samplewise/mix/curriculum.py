"""Easy rows or skills first, then harder ones beside them; or the other way round.

``curriculum`` orders rows by their loss under the model as it is before training, and draws from a
share of them that grows step by step. ``skill-curriculum`` orders skills by their mean loss and
trains on one after the other, with some of the earlier ones mixed in so that they are not
forgotten. Both are rivals to measure others against: on skills that build on each other, published
figures have them far behind stratified draws.

Cost: O(1) a draw; O(n log n) once for n rows.
Source: as arXiv 2307.14430, appendix C.3, sets them up; skills by arXiv 2205.09898.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Draws, Mixer, Setting, Sources, Stream
from samplewise.mix.mixture import MixtureStream, Stage, uniforms
from samplewise.rng import RandomState

__all__ = ["Curriculum", "SkillCurriculum"]


@dataclass(frozen=True)
class LossOrder(Mixer):
    """Base of the methods that order what they draw by a loss."""

    hardest_first: bool = False

    def start(
        self,
        sources: Sources,
        *,
        rng: RandomState = None,
        total: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        losses: ArrayLike | None = None,
    ) -> Stream:
        """Begin to draw.

        Parameters
        ----------
        sources : Sources
        rng, rank, world_size
            As every mixer takes them.
        total : int
            Draws of the whole training, over all processes.
        losses : array_like, optional
            Losses of the untrained model: of each row for ``curriculum``, of each source for
            ``skill-curriculum``. By default the order is that of the rows, or sources, themselves.

        Raises
        ------
        UsageError
            If there is no total, or losses do not fit.
        """
        setting = Setting.of(rng, total, rank, world_size)
        return self.stream(sources, setting, losses)

    def stream(
        self,
        sources: Sources,
        setting: Setting,
        losses: ArrayLike | None = None,
    ) -> Stream:
        """Make the stream."""
        setting.total_for(self.name)  # refused before all else
        count = self.ordered_of(sources)
        values = np.arange(count) if losses is None else np.asarray(losses, np.float64)
        if values.shape != (count,) or not np.isfinite(values).all():
            raise UsageError(
                f"losses have the shape {values.shape}, or are not finite",
                mend=f"give {count} finite numbers",
            )
        order = np.argsort(-values if self.hardest_first else values, kind="stable")
        return self.in_order(order, sources, setting)

    @abstractmethod
    def ordered_of(self, sources: Sources) -> int:
        """Say how many things are ordered."""

    @abstractmethod
    def in_order(
        self,
        order: NDArray[np.int64],
        sources: Sources,
        setting: Setting,
    ) -> Stream:
        """Make the stream of an order."""


@dataclass(frozen=True)
class Curriculum(LossOrder):
    """Draw from the rows of lowest loss, ever more of them.

    In stage i of M, rows are drawn alike from the i/M of all that have the lowest loss.

    Parameters
    ----------
    hardest_first : bool
        Begin with the highest loss: the anti-curriculum.
    stages : int
        M; the paper has 5, and 3 for addition.

    References
    ----------
    Chen et al. (2023), arXiv 2307.14430, appendix C.3.

    Examples
    --------
    >>> from samplewise.mix import Sources
    >>> method, losses = Curriculum(stages=2), [3.0, 1.0, 2.0, 4.0]
    >>> stream = method.start(Sources.of(4), rng=0, total=20, losses=losses)
    >>> [sorted(set(stream.draw(10).indices.tolist())) for _ in range(2)]
    [[1, 2], [0, 1, 2, 3]]
    """

    name: ClassVar[str] = "curriculum"
    paper: ClassVar[str] = "2307.14430"
    cost: ClassVar[str] = "O(1) a draw"

    stages: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("stages", least=1)

    def ordered_of(self, sources: Sources) -> int:
        """Say how many rows there are."""
        return sources.total

    def in_order(
        self,
        order: NDArray[np.int64],
        sources: Sources,
        setting: Setting,
    ) -> Stream:
        """Make the stream."""
        return GrowingPool(order, self.stages, sources, setting)


class GrowingPool(Stream):
    """Rows drawn alike from the first of an order, of which there are more in every stage."""

    def __init__(
        self,
        order: NDArray[np.int64],
        stages: int,
        sources: Sources,
        setting: Setting,
    ) -> None:
        super().__init__(sources, setting)
        self.order = order
        self.pools = np.ceil(np.arange(1, stages + 1) * len(order) / stages)
        self.length = math.ceil(setting.total_for("curriculum") / stages)
        self.source_of = np.repeat(np.arange(len(sources.sizes)), sources.sizes)
        if sources.rows is not None:
            self.source_of[sources.rows] = self.source_of.copy()

    def between(self, start: int, stop: int) -> Draws:
        """Give the draws of all processes from one position to another."""
        count = max(0, stop - start)
        stage = np.arange(start, start + count) // self.length
        pools = self.pools[np.minimum(stage, len(self.pools) - 1)]
        rows = self.order[(uniforms(self.seed, start, count)[:, 0] * pools).astype(np.int64)]
        return Draws(rows, self.source_of[rows], np.ones(count))


@dataclass(frozen=True)
class SkillCurriculum(LossOrder):
    """Draw one skill after the other, and some of those that came before.

    Each skill has a stage of its own, as long as it has rows, in which a share of every earlier
    skill's rows is mixed in; the last stage draws from all. Lengths are scaled to the total.

    Parameters
    ----------
    hardest_first : bool
        Begin with the highest loss: the anti-curriculum.
    earlier : float
        Share of the rows of earlier skills; with 0 they are forgotten.

    References
    ----------
    Chen et al. (2023), arXiv 2307.14430, appendix C.3; arXiv 2205.09898.

    Examples
    --------
    >>> from samplewise.mix import Sources
    >>> stream = SkillCurriculum().start(Sources.of([5, 5]), rng=0, total=44)
    >>> [(stage.start, stage.law.round(2).tolist()) for stage in stream.stages]
    [(0, [1.0, 0.0]), (10, [0.29, 0.71]), (24, [0.5, 0.5])]
    """

    name: ClassVar[str] = "skill-curriculum"
    paper: ClassVar[str] = "2307.14430"
    cost: ClassVar[str] = "O(1) a draw"

    earlier: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("earlier", most=1)

    def ordered_of(self, sources: Sources) -> int:
        """Say how many skills there are."""
        return len(sources.sizes)

    def in_order(
        self,
        order: NDArray[np.int64],
        sources: Sources,
        setting: Setting,
    ) -> Stream:
        """Make the stream."""
        ones = np.ones(len(order))
        shares = np.zeros((len(order) + 1, len(order)))
        for place, skill in enumerate(order):
            shares[place, order[:place]] = self.earlier
            shares[place, skill] = 1
        shares[-1] = 1
        rows = shares * sources.sizes
        ends = rows.sum(axis=1).cumsum()
        starts = np.concatenate([[0], ends[:-1]]) / ends[-1]
        starts = np.round(starts * setting.total_for(self.name)).astype(int)
        stages = [
            Stage(int(start), row / row.sum(), ones)
            for start, row in zip(starts, rows, strict=True)
        ]
        return MixtureStream(sources, setting, stages)
