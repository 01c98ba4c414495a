"""Plain ways to split a budget over groups, to be compared with one that learns.

``equal`` collects as many samples of every group, or spends as much on each; ``proportional``
follows the shares of a population; ``worst-first`` always collects the group that does worst. Use
them as rivals of ``equitable``, and ``equal`` in its place where groups are much alike.

Cost: O(groups^2) a round.
Source: the rivals named in arXiv 2202.01327, and those usual beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from samplewise.errors import UsageError
from samplewise.mix.allocation_plan import Floats, Ints, per_group, split_spend
from samplewise.mix.base import Allocator
from samplewise.mix.group_allocation import GroupAllocation, Measurement
from samplewise.rng import RandomState

__all__ = ["Equal", "Proportional", "Quotas", "WorstFirst"]


class Quotas(GroupAllocation):
    """Hold what is collected, in all, as near to some shares as can be.

    Parameters
    ----------
    shares : array_like, shape (groups,), optional
        Of samples; 0 or more, not all 0. By default all alike.
    groups, **bounds
        As `GroupAllocation` takes them.
    """

    def __init__(self, groups: int, shares: ArrayLike | None, **bounds: Any) -> None:
        super().__init__(groups, **bounds)
        self.shares = per_group("shares", shares, groups, 1.0)
        finite = np.isfinite(self.shares) & (self.shares >= 0)
        if not finite.all() or not self.shares.any():
            raise UsageError(f"shares are {self.shares}", mend="give numbers, 0 or more, not all 0")

    def split(self, spend: float, held: Ints) -> Ints:
        """Buy towards the shares, and where they have no room, alike."""
        counts = split_spend(self.shares, spend, self.costs, held, self.upper)
        left = spend - float(self.costs @ counts)
        if (self.shares > 0).all() or left <= 0:
            return counts
        others = split_spend(self.shares == 0, left, self.costs, held + counts, self.upper)
        full = held + counts >= self.upper
        return counts + others if full[self.shares > 0].all() else counts


@dataclass(frozen=True)
class Equal(Allocator):
    """Collect as many samples of every group, or spend as much on each.

    Parameters
    ----------
    by : str
        ``samples`` or ``spend``.

    Examples
    --------
    >>> Equal().start(3, collected=[9, 0, 0]).ask(6)
    array([0, 3, 3])
    >>> Equal(by="spend").start(2, costs=[1, 4]).ask(80)
    array([40, 10])
    """

    name: ClassVar[str] = "equal"
    cost: ClassVar[str] = "O(groups^2) a round"

    by: Literal["samples", "spend"] = "samples"

    def start(
        self,
        groups: int,
        *,
        rng: RandomState = None,
        costs: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        collected: ArrayLike | None = None,
        budget: float | None = None,
    ) -> GroupAllocation:
        """Begin to allocate: as `GroupAllocation` takes it; nothing is random."""
        allocation = Quotas(
            groups,
            None,
            costs=costs,
            lower=lower,
            upper=upper,
            collected=collected,
            budget=budget,
        )
        if self.by == "spend":
            allocation.shares = 1 / allocation.costs
        return allocation


@dataclass(frozen=True)
class Proportional(Allocator):
    """Collect groups in proportion to their shares of a population.

    Examples
    --------
    >>> Proportional().start(3, shares=[0.8, 0.15, 0.05]).ask(40)
    array([32,  6,  2])
    """

    name: ClassVar[str] = "proportional"
    cost: ClassVar[str] = "O(groups^2) a round"

    def start(
        self,
        groups: int,
        *,
        rng: RandomState = None,
        shares: ArrayLike | None = None,
        costs: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        collected: ArrayLike | None = None,
        budget: float | None = None,
    ) -> GroupAllocation:
        """Begin to allocate: as `GroupAllocation` takes it; nothing is random.

        Parameters
        ----------
        shares : array_like, shape (groups,), optional
            Of the population, not of what was collected so far; by default all alike.
        """
        return Quotas(
            groups,
            shares,
            costs=costs,
            lower=lower,
            upper=upper,
            collected=collected,
            budget=budget,
        )


@dataclass(frozen=True)
class WorstFirst(Allocator):
    """Collect the group that does worst, round by round.

    Until something was measured, all alike. A group that cannot be learnt takes everything.

    Examples
    --------
    >>> from samplewise.mix.group_allocation import GroupOutcomes
    >>> rounds = WorstFirst().start(3)
    >>> rounds.tell(rounds.ask(9), GroupOutcomes([0.7, 0.5, 0.6]))
    >>> rounds.ask(4)
    array([0, 4, 0])
    """

    name: ClassVar[str] = "worst-first"
    cost: ClassVar[str] = "O(groups^2) a round"

    def start(
        self,
        groups: int,
        *,
        rng: RandomState = None,
        costs: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        collected: ArrayLike | None = None,
        budget: float | None = None,
    ) -> GroupAllocation:
        """Begin to allocate: as `GroupAllocation` takes it; nothing is random."""
        return _WorstFirst(
            groups, costs=costs, lower=lower, upper=upper, collected=collected, budget=budget
        )


class _WorstFirst(GroupAllocation):
    """The group that did worst when it was last measured comes first."""

    last: Floats | None = None

    def learn(self, measurement: Measurement) -> None:
        """Keep the last performance of each group."""
        known = np.full(self.groups, -np.inf) if self.last is None else self.last
        errors = measurement.stderr
        for row, performance in enumerate(measurement.performance):
            measured = True if errors is None else np.isfinite(errors[row])
            known = np.where(measured, performance, known)
        self.last = known

    def split(self, spend: float, held: Ints) -> Ints:
        """Buy the worst group, and where it has no room, the next worst."""
        if self.last is None:
            return split_spend(np.ones(self.groups), spend, self.costs, held, self.upper)
        counts = np.zeros(self.groups, np.int64)
        for group in np.argsort(self.last, kind="stable"):
            alone = np.arange(self.groups) == group
            left = spend - float(self.costs @ counts)
            counts += split_spend(alone, left, self.costs, held, self.upper)
            if held[group] + counts[group] < self.upper[group]:
                break
        return counts

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows; None for a group that was never measured."""
        last = self.last
        known = None if last is None else [v if np.isfinite(v) else None for v in last.tolist()]
        return super().state_dict() | {"last": known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        last = state["last"]
        self.last = None if last is None else np.array([-np.inf if v is None else v for v in last])
