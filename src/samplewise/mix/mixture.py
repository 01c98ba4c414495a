"""Rows drawn from several sources by a law that may change on the way.

Every position of the stream has two random numbers of its own, which can be made without those
before it: one chooses the source, the other a row of it. So a stream goes on from anywhere at once,
keeps nothing for a row, and tells any number of processes their share of one order.

Cost: O(1) a draw by Walker's alias table, O(sources) each time that the law changes.
Source: Walker (1977), Vose (1991); counter-based random numbers, Salmon et al. (2011).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Draws, Setting, Sources, Stream

__all__ = ["MixtureStream", "Stage", "alias_table", "uniforms"]


class Stage(NamedTuple):
    """A law that holds from one position on.

    Attributes
    ----------
    start : int
        The first draw it decides.
    law : ndarray of float64, shape (sources,)
        Probability of each source.
    weights : ndarray of float64, shape (sources,)
        What the loss of a row of each is multiplied by.
    """

    start: int
    law: NDArray[np.float64]
    weights: NDArray[np.float64]


class MixtureStream(Stream):
    """Draw a source by the law of the stage, then a row of it, each as likely as the others.

    Parameters
    ----------
    sources, setting
        As `Stream` takes them.
    stages : sequence of Stage
        In order; the first starts at 0.
    """

    def __init__(
        self,
        sources: Sources,
        setting: Setting,
        stages: Sequence[Stage],
    ) -> None:
        super().__init__(sources, setting)
        if not stages or stages[0].start != 0:
            raise UsageError("stages do not start at 0", mend="give one that does")
        self.stages = list(stages)
        self._first = sources.first
        self._tables: dict[int, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}

    @property
    def weighted(self) -> bool:
        """Whether a draw may have a weight other than 1."""
        return any(bool((stage.weights != 1).any()) for stage in self.stages)

    def law(self) -> NDArray[np.float64]:
        """Give the probability of each source now."""
        return self.stages[self._stage(self.position)].law

    def epochs(self) -> NDArray[np.float64]:
        """Give how often each source has been passed over so far, on average; shape (sources,)."""
        passes = np.zeros(len(self.sources.sizes))
        ends = [*(stage.start for stage in self.stages[1:]), self.position]
        for stage, end in zip(self.stages, ends, strict=True):
            passes += max(0, min(end, self.position) - stage.start) * stage.law
        return passes / self.sources.sizes

    def change(self, law: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Draw by another law from here on; the stages that were behind stay as they were.

        Parameters
        ----------
        law : array_like, shape (sources,)
            0 or more, not all 0; it is scaled to sum to 1.
        weights : array_like, shape (sources,), optional
            By default 1.

        Raises
        ------
        UsageError
            If the law or the weights are not such numbers.
        """
        count = len(self.sources.sizes)
        shares = np.asarray(law, dtype=np.float64)
        fine = shares.shape == (count,) and np.isfinite(shares).all() and shares.min() >= 0
        if not fine or not shares.sum():
            raise UsageError(
                f"the law is {shares}", mend=f"give {count} numbers, 0 or more, not all 0"
            )
        factors = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
        if factors.shape != (count,) or not np.isfinite(factors).all():
            raise UsageError(f"weights are {factors}", mend=f"give {count} finite numbers")
        kept = [stage for stage in self.stages if stage.start < self.position]
        self.stages = [*kept, Stage(self.position, shares / shares.sum(), factors)]
        self._tables.clear()
        self._changes += 1

    def between(self, start: int, stop: int) -> Draws:
        """Give the draws of all processes from one position to another."""
        count = max(0, stop - start)
        chosen, weights = np.empty(count, np.int64), np.ones(count)
        random = uniforms(self.seed, start, count)
        at = start
        while at < stop:
            number = self._stage(at)
            later = self.stages[number + 1].start if number + 1 < len(self.stages) else stop
            part = slice(at - start, min(stop, later) - start)
            stage = self.stages[number]
            chosen[part] = _choose(random[part, 0], *self._table(number))
            if (stage.weights != 1).any():
                weights[part] = stage.weights[chosen[part]]
            at = part.stop + start
        inside = random[:, 1] * self.sources.sizes[chosen]
        rows = self._first[chosen] + inside.astype(np.int64)
        if self.sources.rows is not None:
            rows = self.sources.rows[rows]
        return Draws(rows, chosen, weights)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Give all that decides what follows; it grows with the stages, not with the rows."""
        stages = [[one.start, one.law.tolist(), one.weights.tolist()] for one in self.stages]
        return super().state_dict(position) | {"stages": stages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; sources must be the same."""
        count = len(self.sources.sizes)
        for _, law, _ in state["stages"]:
            if len(law) != count:
                raise UsageError(
                    f"the state is of {len(law)} sources, and there are {count}",
                    mend="resume with the same sources",
                )
        super().load_state_dict(state)
        self.stages = [
            Stage(int(start), np.asarray(law), np.asarray(weights))
            for start, law, weights in state["stages"]
        ]
        self._tables.clear()

    def _stage(self, position: int) -> int:
        return bisect_right(self.stages, position, key=lambda stage: stage.start) - 1

    def _table(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        if number not in self._tables:
            self._tables = {number: alias_table(self.stages[number].law)}
        return self._tables[number]


def _choose(
    random: NDArray[np.float64], keep: NDArray[np.float64], other: NDArray[np.int64]
) -> NDArray[np.int64]:
    scaled = random * len(keep)
    slots = scaled.astype(np.int64)
    return np.where(scaled - slots < keep[slots], slots, other[slots])


def uniforms(seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Give two random numbers in [0, 1) for each of some positions, whatever came before.

    Returns
    -------
    ndarray of float64, shape (count, 2)

    Examples
    --------
    >>> bool((uniforms(0, 3, 4)[1:] == uniforms(0, 4, 3)).all())
    True
    """
    counter = np.random.Philox(key=seed)
    counter.advance(start // 2)  # a step of the counter makes four numbers
    random = np.random.Generator(counter)
    random.random(2 * (start % 2))
    return random.random((count, 2))


def alias_table(law: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make the table by which a source is drawn in constant time.

    Returns
    -------
    keep : ndarray of float64, shape (sources,)
        Probability that a slot gives its own source.
    other : ndarray of int64, shape (sources,)
        The source that it gives otherwise.

    Examples
    --------
    >>> keep, other = alias_table([0.25, 0.75])
    >>> keep.tolist(), other.tolist()
    ([0.5, 1.0], [1, 1])
    """
    shares = np.asarray(law, dtype=np.float64)
    keep = (shares / shares.sum() * len(shares)).tolist()
    other = list(range(len(keep)))
    poor = [slot for slot, share in enumerate(keep) if share < 1.0]
    rich = [slot for slot, share in enumerate(keep) if share >= 1.0]
    while poor and rich:
        slot, giver = poor.pop(), rich[-1]
        other[slot] = giver
        keep[giver] -= 1.0 - keep[slot]
        if keep[giver] < 1.0:
            poor.append(rich.pop())
    for slot in (*rich, *poor):  # of the poor, what rounding has left
        keep[slot] = 1.0
    return np.asarray(keep), np.asarray(other)
