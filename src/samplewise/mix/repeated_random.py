"""A new random subset in every round of training, in place of one that is chosen once.

Each round trains on a share of the rows. Over the rounds all rows are seen, at the cost of a small
set, and nothing has to be scored. Any method that picks a subset once must beat this at equal time.
The rate of learning must fall over these short rounds: a schedule for full rounds that is cut short
is worse. `RoundStream.steps` gives its length; the paper's code lets it fall from 0.1 to 0.0001, as
`samplewise.measure.learning_rate.cosine_rate` does.

Without replacement, and with a ratio of 1/k, a stream is plain shuffled training for 1/k of the
epochs: what the method adds is the short schedule. So compare with that (``shuffled``), too. The
whole set must stay at hand: a smaller or private set of rows comes of no method here.

Cost: O(1) a row; memory of 8 bytes a row of the set (a round's rows only, with replacement), twice
that while a pass is shuffled.
Source: arXiv 2305.18424.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Setting, Sources
from samplewise.mix.rounds import (
    FixedRows,
    FreshRows,
    Passes,
    Plan,
    Ragged,
    RoundStream,
    Strata,
    round_size,
)

__all__ = ["RepeatedRandom", "ShuffledEpochs", "StaticSubset"]


@dataclass(frozen=True)
class RepeatedRandom(Mixer):
    """Another random subset of the rows in each round.

    Parameters
    ----------
    ratio : float
        Share of the rows that a round has, above 0 and up to 1.
    variant : str
        ``no_replacement``: rounds are cut from whole passes, so that every row comes once in each.
        ``replacement``: each round draws from all rows, whatever the rounds before it had; in a
        round no row comes twice. ``stratified``: so too, from each source (class) its share.
    ragged : str
        Without replacement, where fewer rows are left in a pass than a round has. ``carry``: it
        takes them, and rows of the next pass that it does not have yet (own choice, not of the
        paper). ``drop``: they are left out. ``official``: one row short, as the published code
        does, which gives some rows more visits than others: only to compare with it.
    importance : str, optional
        File (``.npy``) with one number a row, 0 or more: with replacement, each next row of a round
        is drawn in proportion to it. The paper's comparison with sampling by importance.

    References
    ----------
    Okanovic, Waleffe, Mageirakos, Nikolakakis, Karbasi, Kalogerias, Gürel, Rekatsinas (2024),
    "Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning", arXiv 2305.18424.

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> stream = mix(sizes=10, method="repeated-random:ratio=0.5", rng=0)
    >>> rounds = stream.rounds()
    >>> sorted([*next(rounds).tolist(), *next(rounds).tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> stream.steps(rounds=200, batch_size=2)
    600
    """

    name: ClassVar[str] = "repeated-random"
    aliases: ClassVar[tuple[str, ...]] = ("rs2",)
    paper: ClassVar[str] = "2305.18424"
    cost: ClassVar[str] = "O(1) a draw, O(n) a pass"

    ratio: float = 0.1
    variant: Literal["no_replacement", "replacement", "stratified"] = "no_replacement"
    ragged: Ragged = "carry"
    importance: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("ratio", most=1, above=True)
        if self.importance is not None and self.variant != "replacement":
            raise UsageError(
                f"importance is given, and variant is {self.variant}", mend="use replacement"
            )

    def stream(self, sources: Sources, setting: Setting) -> RoundStream:
        """Make the stream."""
        return RoundStream(sources, setting, self._plan(sources))

    def _plan(self, sources: Sources) -> Plan:
        count, size = sources.total, round_size(sources.total, self.ratio)
        if self.variant == "no_replacement":
            return Passes(count, size, self.ragged)
        if self.variant == "stratified":
            return Strata(count, size, sizes=sources.sizes)
        return FreshRows(count, size, _read(self.importance, sources, size))


@dataclass(frozen=True)
class StaticSubset(Mixer):
    """One random subset, in another order in each round: the baseline of pruning.

    Parameters
    ----------
    ratio : float
        Share of the rows, above 0 and up to 1.
    importance : str, optional
        File (``.npy``) with one number a row, 0 or more: each next row is drawn in proportion.

    References
    ----------
    arXiv 2305.18424

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> rounds = mix(sizes=10, method="static-subset:ratio=0.3", rng=0).rounds()
    >>> sorted(next(rounds)) == sorted(next(rounds))
    True
    """

    name: ClassVar[str] = "static-subset"
    paper: ClassVar[str] = "2305.18424"
    cost: ClassVar[str] = "O(1) a draw, O(n) once"

    ratio: float = 0.1
    importance: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("ratio", most=1, above=True)

    def stream(self, sources: Sources, setting: Setting) -> RoundStream:
        """Make the stream."""
        size = round_size(sources.total, self.ratio)
        plan = FixedRows(sources.total, size, _read(self.importance, sources, size))
        return RoundStream(sources, setting, plan)


@dataclass(frozen=True)
class ShuffledEpochs(Mixer):
    """All rows once in each epoch, in a new order: plain training.

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> sorted(mix(sizes=4, method="shuffled", rng=0).draw(4).indices.tolist())
    [0, 1, 2, 3]
    """

    name: ClassVar[str] = "shuffled"
    aliases: ClassVar[tuple[str, ...]] = ("epochs",)
    cost: ClassVar[str] = "O(1) a draw, O(n) an epoch"

    def stream(self, sources: Sources, setting: Setting) -> RoundStream:
        """Make the stream."""
        plan = Passes(sources.total, sources.total)
        return RoundStream(sources, setting, plan)


def _read(path: str | None, sources: Sources, size: int) -> NDArray[np.float64] | None:
    """Read the importance of each row, in the order in which a stream numbers rows."""
    if path is None:
        return None
    try:
        found = np.asarray(np.load(Path(path), allow_pickle=False), np.float64)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"importance {path!r} cannot be read: {error}", mend="give a .npy file"
        ) from error
    if found.shape != (sources.total,) or not np.isfinite(found).all() or found.min() < 0:
        raise UsageError(
            f"importance {path!r} has the shape {found.shape}",
            mend=f"give {sources.total} finite numbers, 0 or more",
        )
    if np.count_nonzero(found) < size:
        raise UsageError(
            f"importance {path!r} has {np.count_nonzero(found)} rows above 0",
            mend=f"give {size} or more, as many as a round has",
        )
    return found if sources.rows is None else found[sources.rows]
