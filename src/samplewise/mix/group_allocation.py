"""What allocations over groups share: costs, bounds, a budget, and a count of what there is.

A group's sample has a cost, and what is asked for is a spend. With unit costs it is a number of
samples, and the counts sum to it. With others the cost of the counts does not exceed it: the
contract of the room, weighted by cost.

Cost: O(groups) a round.
Source: none; what the methods of arXiv 2202.01327 and their rivals have in common.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.allocation_plan import Floats, Ints, read_groups, split_spend
from samplewise.mix.base import Allocation

__all__ = ["GroupAllocation", "GroupOutcomes", "Measurement"]


class GroupOutcomes(NamedTuple):
    """How well a model does on each group.

    Attributes
    ----------
    performance : array_like, shape (groups,) or (measurements, groups)
        The better the higher: an accuracy, an R2, minus a loss. Measure it on held-out samples of
        each group, the same ones in all rounds, and keep others for the final claim.
    stderr : array_like of that shape, optional
        Standard errors, above 0; infinite where a group was not measured. To be given always or
        never.
    sizes : array_like of that shape, optional
        Samples of each group that the model had learned from, where these are not all there are
        now: models of parts of the samples give a curve without new ones.
    """

    performance: ArrayLike
    stderr: ArrayLike | None = None
    sizes: ArrayLike | None = None


class Measurement(NamedTuple):
    """Outcomes as they were read, each of shape (measurements, groups)."""

    sizes: Floats
    performance: Floats
    stderr: Floats | None


class GroupAllocation(Allocation):
    """Spend on groups, never less than the lower bounds nor more than the upper ones.

    Parameters
    ----------
    groups : int
    costs : array_like, shape (groups,), optional
        Of one sample, above 0; by default 1.
    lower, upper : array_like of int, shape (groups,), optional
        Fewest and most samples, with those there are already; by default 0 and no bound. Lower
        bounds are met before anything else is bought.
    collected : array_like of int, shape (groups,), optional
        Samples there are already; by default none.
    budget : float, optional
        What may be spent from now on.

    Raises
    ------
    UsageError
        If a number makes no sense, or the lower bounds cost more than the budget.
    """

    def __init__(
        self,
        groups: int,
        *,
        costs: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        collected: ArrayLike | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__(groups)
        self.costs, self.lower, self.upper = read_groups(groups, costs, lower, upper)
        self.budget = math.inf if budget is None else float(budget)
        self.collected = self._counts(
            "collected", np.zeros(groups) if collected is None else collected
        )
        self.spent = 0.0
        owed = float(self.costs @ np.maximum(self.lower - self.collected, 0))
        if not owed <= self.budget:
            raise UsageError(
                f"the lower bounds cost {owed:g}, and the budget is {self.budget:g}",
                mend="lower the bounds, or give a larger budget",
            )

    def ask(self, n: float) -> Ints:
        """Say how many samples of each group to collect for a spend of `n`.

        Parameters
        ----------
        n : float
            With unit costs a whole number of samples; otherwise what they may cost together. Less
            than the cost of a sample may then buy none.

        Returns
        -------
        ndarray of int64, shape (groups,)
            With unit costs they sum to `n`; otherwise they cost `n` at most.

        Raises
        ------
        UsageError
            If `n` is no such number, or more than the budget or the upper bounds leave room for.
        """
        spend = self._spend(n)
        most = np.clip(self.least(), self.collected, np.maximum(self.upper, self.collected))
        owed = float(self.costs @ (most - self.collected))
        counts = split_spend(
            np.ones(self.groups), min(spend, owed), self.costs, self.collected, most
        )
        if spend > owed:
            spare = spend - float(self.costs @ counts)
            counts = counts + self.split(spare, self.collected + counts)
        return counts

    @abstractmethod
    def split(self, spend: float, held: Ints) -> Ints:
        """Say what to buy where there are `held` samples, which are no fewer than the least."""

    def least(self) -> Floats:
        """Give the samples of each group that come before anything else."""
        return self.lower

    def tell(self, counts: ArrayLike, outcomes: GroupOutcomes | None = None) -> None:
        """Learn what was collected, and how well a model does with it.

        Parameters
        ----------
        counts : array_like of int, shape (groups,)
            Samples that were collected of each group.
        outcomes : GroupOutcomes, optional
            None where nothing was measured.

        Raises
        ------
        UsageError
            If a shape is wrong, a count is negative or passes an upper bound, or a number is none.
        """
        bought = self._counts("counts", counts)
        if (self.collected + bought > np.maximum(self.upper, self.collected)).any():
            raise UsageError(
                f"counts are {bought}, and {self.collected} of {self.upper} are there",
                mend="collect no more than the upper bounds",
            )
        measurement = None if outcomes is None else self.read(outcomes, self.collected + bought)
        self.collected = self.collected + bought
        self.spent += float(self.costs @ bought)
        if measurement is not None:
            self.learn(measurement)

    def read(self, outcomes: GroupOutcomes, collected: Ints) -> Measurement:
        """Read outcomes, whose sizes are by default what there is now."""
        performance = self._table("performance", outcomes.performance)
        stderr = None if outcomes.stderr is None else self._table("stderr", outcomes.stderr)
        sizes = np.broadcast_to(collected, performance.shape).astype(np.float64)
        if outcomes.sizes is not None:
            sizes = self._table("sizes", outcomes.sizes)
        if (
            len({performance.shape, sizes.shape, (performance if stderr is None else stderr).shape})
            > 1
        ):
            raise UsageError(
                "performance, stderr and sizes differ in shape", mend="give them in one shape"
            )
        measured = np.ones(performance.shape, bool) if stderr is None else np.isfinite(stderr)
        if not np.isfinite(performance[measured]).all():
            raise UsageError(
                f"performance is {performance}",
                mend="give finite numbers, and a stderr of inf where a group was not measured",
            )
        if stderr is not None and not (stderr > 0).all():
            raise UsageError(
                f"stderr is {stderr}",
                mend="give numbers above 0; a share of k in n is off by 1 / n even where k is n",
            )
        if not (np.isfinite(sizes) & (sizes >= 0)).all() or (sizes[measured] == 0).any():
            raise UsageError(f"sizes are {sizes}", mend="measure groups that have samples")
        return Measurement(sizes, np.where(measured, performance, 0.0), stderr)

    def learn(self, measurement: Measurement) -> None:
        """Take note of outcomes; where nothing depends on them, none is taken."""

    def remaining(self) -> float:
        """Give what is left of the budget; infinity where there is none."""
        return self.budget - self.spent

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows, as plain JSON values."""
        return {"collected": self.collected.tolist(), "spent": self.spent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; knobs, costs and bounds must be the same.

        Raises
        ------
        UsageError
            If the state is of another number of groups.
        """
        self.collected = self._counts("collected", state["collected"])
        self.spent = float(state["spent"])

    def _spend(self, n: float) -> float:
        whole = bool((self.costs == 1).all())
        number = isinstance(n, (int, float, np.number)) and not isinstance(n, bool)
        if not (number and 0 <= n < math.inf and (not whole or n == int(n))):
            raise UsageError(
                f"n is {n!r}", mend="give a whole number" if whole else "give a number"
            )
        room = float(self.costs @ np.maximum(self.upper - self.collected, 0))
        if n > min(room, self.remaining()) * (1 + 1e-12) + 1e-9:
            raise UsageError(
                f"n is {n:g}, and {min(room, self.remaining()):g} is left of the budget and of "
                "what can be collected",
                mend="ask for less",
            )
        return float(n)

    def _counts(self, name: str, values: ArrayLike) -> Ints:
        read = np.asarray(values)
        numbers = read.shape == (self.groups,) and read.dtype.kind in "iuf"
        if not numbers or not (np.isfinite(read) & (read >= 0) & (read == np.floor(read))).all():
            raise UsageError(
                f"{name} is {values!r}", mend=f"give {self.groups} whole numbers, 0 or more"
            )
        return read.astype(np.int64)

    def _table(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        read = np.atleast_2d(np.asarray(values, np.float64))
        if read.ndim != 2 or read.shape[1] != self.groups:
            raise UsageError(f"{name} has the shape {read.shape}", mend=f"give {self.groups} a row")
        return read
