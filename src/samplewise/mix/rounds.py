"""Rows in rounds: a stream that trains on some rows, then on others, and knows where a round ends.

A plan says which rows come in which order, block by block, and each block is made from the seed and
its own number alone (a pass that carries rows over also needs the passes just before it). So a
stream goes on from the middle of a round, forwards or backwards, and one block is kept in memory.

Cost: O(1) a row, O(block) each time that a block is entered. Memory: 8 bytes a row of one block,
twice that while the next is made.
Source: arXiv 2305.18424; counter-based random numbers, Salmon et al. (2011).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Draws, Setting, Sources, Stream

__all__ = ["FixedRows", "FreshRows", "Passes", "Plan", "RoundStream", "Strata", "round_size"]

Rows = NDArray[np.int64]
Ragged = Literal["carry", "drop", "official"]


@dataclass(frozen=True)
class Plan(ABC):
    """Which rows come in which order.

    Parameters
    ----------
    count : int
        Rows there are.
    size : int
        Rows of a round.
    """

    count: int
    size: int

    @property
    def block(self) -> int:
        """Rows that are made at once."""
        return self.size

    @property
    def cycle(self) -> int:
        """Rows after which the lengths of rounds repeat; only the last round may be shorter."""
        return self.size

    @abstractmethod
    def rows(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a block; `before` is the one before it, where that is at hand."""

    def round_of(self, position: int) -> int:
        """Give the number of the round that a draw belongs to."""
        cycles, place = divmod(position, self.cycle)
        return cycles * self._rounds_of_cycle + place // self.size

    def bounds(self, number: int) -> tuple[int, int]:
        """Give the first draw of a round and the one after its last."""
        cycles, place = divmod(number, self._rounds_of_cycle)
        start = cycles * self.cycle + place * self.size
        return start, min(start + self.size, (cycles + 1) * self.cycle)

    @property
    def _rounds_of_cycle(self) -> int:
        return -(-self.cycle // self.size)


class RoundStream(Stream):
    """Rows in rounds, as a plan orders them.

    Parameters
    ----------
    sources, setting
        As `Stream` takes them.
    plan : Plan
    """

    def __init__(
        self,
        sources: Sources,
        setting: Setting,
        plan: Plan,
    ) -> None:
        super().__init__(sources, setting)
        self.plan = plan
        self._first = sources.first
        self._made: dict[int, Rows] = {}

    @property
    def round(self) -> int:
        """The number of the round, from 0, that the next draw belongs to."""
        return self.plan.round_of(self.position)

    def rounds(self) -> Iterator[Rows]:
        """Give the rows of one round after the other, those of all processes.

        The first is what is left of the round that the position is in. The position moves past a
        round as it is given.
        """
        while True:
            start = self.position
            _, self.position = self.plan.bounds(self.round)
            yield self.between(start, self.position).indices

    def steps(self, rounds: int, batch_size: int, drop_last: bool = False) -> int:
        """Give the steps of some rounds whose batches end with each round: a schedule's length.

        Parameters
        ----------
        rounds : int
        batch_size : int
            Over all processes.
        drop_last : bool
            Leave out a last batch that is not full.

        Raises
        ------
        UsageError
            If a number is below 1, or a round would have no step.
        """
        if rounds < 1 or batch_size < 1:
            raise UsageError(
                f"rounds is {rounds} and batch_size {batch_size}", mend="give 1 or more"
            )
        sizes = [stop - start for start, stop in map(self.plan.bounds, range(rounds))]
        if drop_last and min(sizes) < batch_size:
            raise UsageError(
                f"a round of {min(sizes)} rows has no full batch of {batch_size}",
                mend="turn drop_last off, or give a smaller batch_size",
            )
        return sum(size // batch_size if drop_last else -(-size // batch_size) for size in sizes)

    def between(self, start: int, stop: int) -> Draws:
        """Give the draws of all processes from one position to another."""
        rows = np.empty(max(0, stop - start), np.int64)
        at = start
        while at < stop:
            number, place = divmod(at, self.plan.block)
            part = self._block(number)[place : place + stop - at]
            rows[at - start : at - start + len(part)] = part
            at += len(part)
        sources = np.searchsorted(self._first, rows, side="right") - 1
        if self.sources.rows is not None:
            rows = self.sources.rows[rows]
        return Draws(rows, sources, np.ones(len(rows)))

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Give all that decides what follows; a few numbers."""
        return super().state_dict(position) | {"rows": self.plan.count, "round": self.plan.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; sources and knobs must be the same."""
        if (state["rows"], state["round"]) != (self.plan.count, self.plan.size):
            raise UsageError(
                f"the state is of rounds of {state['round']} of {state['rows']} rows, and these "
                f"are of {self.plan.size} of {self.plan.count}",
                mend="resume with the same rows and ratio",
            )
        super().load_state_dict(state)
        self._made.clear()

    def _block(self, number: int) -> Rows:
        if number not in self._made:
            before = self._made.get(number - 1)
            self._made = {number: self.plan.rows(self.seed, number, before)}
        return self._made[number]


# --- plans ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passes(Plan):
    """Whole passes over all rows, each in a new order, cut into rounds.

    Parameters
    ----------
    count, size
        As `Plan` takes them.
    ragged : str
        What happens where fewer rows are left in a pass than a round has. ``carry``: the round
        takes them and then rows of the next pass that it does not have yet, so that every pass has
        every row once. ``drop``: they are left out. ``official``: as the published code does, the
        round takes them and rows from the head of the same order, one row short, and the pass ends.
    """

    ragged: Ragged = "carry"

    @property
    def block(self) -> int:
        """A pass."""
        whole = self.count // self.size * self.size
        if self.ragged == "drop" or whole == self.count:
            return whole
        return self.count if self.ragged == "carry" else whole + self.size - 1

    @property
    def cycle(self) -> int:
        """A round, or a pass of them with the short one at its end."""
        return self.block if self.ragged == "official" else self.size

    def rows(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a pass."""
        if self.ragged == "carry":
            return self._carried(seed, number, before)
        return np.resize(_order(seed, number, self.count), self.block)

    def _carried(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a pass whose first rows are none of those that end the pass before it.

        Only the first `size` rows of a pass change their places. So it takes the pass before it as
        it was shuffled, except where the rows carried over reach into those first ones: then it
        goes further back, at most ceil(size / (count - size)) passes.
        """
        first = number
        if before is None:
            while self._carry(first) > self.count - self.size:
                first -= 1
            before = _order(seed, first - 1, self.count) if self._carry(first) else None
        for one in range(first, number + 1):
            order, carry = _order(seed, one, self.count), self._carry(one)
            if carry:
                assert before is not None
                _avoid(order[: self.size], before[-carry:], self.size - carry)
            before = order
        return order

    def _carry(self, number: int) -> int:
        """Give the rows of a round that passes before this one have given."""
        return number * self.count % self.size


@dataclass(frozen=True)
class FreshRows(Plan):
    """Rows drawn anew for each round, none twice in one.

    Parameters
    ----------
    count, size
        As `Plan` takes them.
    importance : ndarray of float64, shape (count,), optional
        Each next row of a round is drawn in proportion to it; by default all are alike.
    """

    importance: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    def rows(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a round."""
        return _subset(_random(seed, number), self)


@dataclass(frozen=True)
class FixedRows(FreshRows):
    """Rows drawn once, in a new order in each round."""

    def rows(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a round."""
        known = _subset(_random(seed, -1), self) if before is None else before
        return _random(seed, number).permutation(np.sort(known))


@dataclass(frozen=True)
class Strata(Plan):
    """Rows drawn anew for each round, from each source in proportion to its rows.

    A share that is no whole number is rounded up or down at random in each round, so that it is
    met on average. Where a source's share is below 1 row, and a round has a row for each source,
    every source gets one, and the others are shared out so.

    Parameters
    ----------
    count, size
        As `Plan` takes them.
    sizes : ndarray of int64, shape (sources,)
    """

    sizes: Rows = field(kw_only=True, repr=False, compare=False)

    def rows(self, seed: int, number: int, before: Rows | None) -> Rows:
        """Make a round."""
        random = _random(seed, number)
        firsts = self.sizes.cumsum() - self.sizes
        drawn = [
            first + random.choice(rows, taken, replace=False, shuffle=False)
            for first, rows, taken in zip(firsts, self.sizes, self._taken(random), strict=True)
        ]
        return random.permutation(np.concatenate(drawn))

    def _taken(self, random: np.random.Generator) -> Rows:
        """Say how many rows of each source a round has."""
        sources = len(self.sizes)
        if self.size >= sources and int(self.sizes.min()) * self.size < self.count:
            return 1 + _split(self.size - sources, self.sizes - 1, random)
        return _split(self.size, self.sizes, random)


def round_size(count: int, ratio: float) -> int:
    """Give the rows of a round.

    Raises
    ------
    UsageError
        If there would be none.

    Examples
    --------
    >>> round_size(1257, 0.1)
    126
    """
    size = round(ratio * count)
    if size < 1:
        raise UsageError(
            f"ratio {ratio} of {count} rows is no row", mend=f"give {1 / count:.3g} or more"
        )
    return size


def _random(seed: int, number: int) -> np.random.Generator:
    """Give random numbers of a block's own, whatever came before; -1 for those of no block."""
    key = np.array([seed, number + 1], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _order(seed: int, number: int, count: int) -> Rows:
    return _random(seed, number).permutation(count)


def _avoid(head: Rows, taken: Rows, need: int) -> None:
    """Move the first `need` rows of a head that are not among those taken to its start."""
    free = np.flatnonzero(~np.isin(head, taken, assume_unique=True))[:need]
    first = np.zeros(len(head), np.bool_)
    first[free] = True
    head[:] = np.concatenate([head[first], head[~first]])


def _subset(random: np.random.Generator, plan: FreshRows) -> Rows:
    """Draw the rows of a round one after the other, in that order."""
    if plan.importance is None:
        return random.choice(plan.count, plan.size, replace=False)
    # Waiting times with these rates end in the order in which rows would be drawn one by one.
    with np.errstate(divide="ignore"):
        ends = random.exponential(size=plan.count) / plan.importance
    soonest = np.argpartition(ends, plan.size - 1)[: plan.size]
    return soonest[np.argsort(ends[soonest])]


def _split(count: int, sizes: Rows, random: np.random.Generator) -> Rows:
    """Split a count in proportion to sizes: each share rounded down or up, and right on average."""
    whole, rest = np.divmod(count * sizes, sizes.sum())
    ends = np.concatenate([[0.0], (rest / sizes.sum()).cumsum()])
    ends[-1] = count - int(whole.sum())
    extra: Rows = np.diff(np.floor(ends + random.random())).astype(np.int64)
    return whole + extra
