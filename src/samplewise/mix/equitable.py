"""Samples collected from population groups, so that a model does well on all of them.

Every group has returns to data of its own, and they are not known beforehand. Round by round, the
curve of each group is fitted to what was measured so far, and the next samples go where a plan with
these curves puts them. Use it to collect training data from groups that differ much in how fast
they are learnt (five times or more) and whose pilot lies behind the sizes where performance still
jumps; where they are alike, ``equal`` does as well, or a little better, because nothing has to be
found out first.

The curves are of groups that are learnt apart, unless `family` is ``two-term``: what a group gains
from the samples of others then shows only when its curve is fitted anew.

Cost: a fit of every group's curve and a plan for the samples of a round; the models that are
trained and measured in between cost far more.
Source: arXiv 2202.01327, of which the abstract alone could be read. The problem (spend a budget on
groups with returns of their own so as to maximise a function of their performance, without knowing
the returns) is the paper's. All else is a reconstruction of a system that does this: the families
of curves and their fits, pilot, exploration, batches, the way a round is planned, and all defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.measure.learning_curve import (
    Curve,
    Fit,
    Polyline,
    PowerCurve,
    TwoTermCurve,
    fit_concave,
    fit_power,
    fit_two_terms,
    shrink,
)
from samplewise.mix.allocation_plan import (
    Floats,
    Ints,
    Objective,
    Plan,
    Utility,
    fewest,
    per_group,
    plan,
    read_weights,
    split_spend,
)
from samplewise.mix.base import Allocator
from samplewise.mix.group_allocation import GroupAllocation, GroupOutcomes, Measurement
from samplewise.rng import RandomState

__all__ = ["Equitable", "EquitableAllocation", "Estimates", "GroupOutcomes"]

AnyCurve: TypeAlias = PowerCurve | Polyline | TwoTermCurve
Family = Literal["power", "offset-power", "isotonic", "last-gain", "two-term"]

_FIXED_POINT = 20  # plans until the total of all groups, on which two-term curves depend, stays


@dataclass(frozen=True)
class Equitable(Allocator):
    """Spend on groups by their estimated returns, for an objective that says what is fair.

    All knobs are reconstructed: the paper's text could not be read.

    Parameters
    ----------
    objective : str
        ``identity``, ``log`` or ``power``: the utility of performance whose weighted sum is
        maximised; ``maximin``: the lowest performance is raised. The sum cares for groups that are
        low only if utility bends: ``log`` and ``power`` need performance above 0.
    aversion : float
        The r of ``power``, (x^(1-r) - 1) / (1 - r); 0 or more.
    family : str
        Of the curves: ``power`` (a - b n^-q), ``offset-power`` (a - b (n + n0)^-q), ``isotonic``
        (any that rises ever more slowly), ``last-gain`` (the line through the last two sizes), or
        ``two-term`` (own samples and those of all groups, for a model that they share).
    exponent : float, optional
        The q; None to fit one for each group, which needs more and better measurements.
    local : float
        Measurements at fewer samples than this share of the group's largest measured size do not
        count, so that a family that does not hold from the first sample on does as well; 0 to 1.
    highest : float, optional
        What performance cannot exceed, such as 1 for an accuracy.
    pilot : int
        Samples of each group before curves are trusted. It must pass the sizes where performance
        does not bend downwards yet; it comes in two parts if `ask` chooses how much.
    batch : float
        The spend of a round where `ask` chooses; it is halved towards the end of a budget.
    explore : float
        A group whose slope is not above its standard error gets this much of an equal share of
        every round at least; one measured at fewer than two sizes gets an equal share.
    least_share : float
        Any group gets this much of an equal share of every round at least: a guard against a group
        that is given up because its curve is flat at first.
    optimism : float
        Standard errors by which slopes are raised; divided by the root of the rounds.
    shrink_slopes : bool
        Whether slopes are drawn to their common mean, the more so the less certain they are.
    least_gain : float
        Unless the objective is ``identity``: performance below which it is not worth to come nearer
        to a group's ceiling, so that a group that cannot be learnt does not take all.

    References
    ----------
    Cai, Encarnacion, Chern, Corbett-Davies, Bogen, Bergman, Goel (2022), Adaptive Sampling
    Strategies to Construct Equitable Training Datasets, arXiv 2202.01327

    Examples
    --------
    >>> drops = np.array([1, 4, 25])
    >>> rounds = Equitable(exponent=1.0, pilot=60).start(3)
    >>> for spend in (90, 90, 420, 600, 600, 600, 600):
    ...     counts = rounds.ask(spend)
    ...     rounds.tell(counts, GroupOutcomes(0.9 - drops / (rounds.collected + counts)))
    >>> rounds.collected  # what a plan that knows the curves gives is 375, 750, 1875
    array([ 375,  750, 1875])
    """

    name: ClassVar[str] = "equitable"
    paper: ClassVar[str] = "2202.01327"
    cost: ClassVar[str] = "O(rounds) to fit and O(batch log batch) to plan, a group and round"

    objective: Objective = "identity"
    aversion: float = 2.0
    family: Family = "power"
    exponent: float | None = 0.5
    local: float = 0.25
    highest: float | None = None
    pilot: int = 60
    batch: float = 60.0
    explore: float = 0.25
    least_share: float = 0.0
    optimism: float = 0.0
    shrink_slopes: bool = False
    least_gain: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("aversion", "optimism", "least_gain")
        self.require("local", "explore", "least_share", most=1)
        self.require("exponent", most=2, above=True)
        self.require("pilot", least=2)
        self.require("batch", above=True)

    def start(
        self,
        groups: int,
        *,
        rng: RandomState = None,
        costs: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        floors: ArrayLike | None = None,
        collected: ArrayLike | None = None,
        budget: float | None = None,
    ) -> EquitableAllocation:
        """Begin to allocate.

        Parameters
        ----------
        groups : int
        rng : int, numpy.random.Generator or None
            Nothing is random.
        costs : array_like, shape (groups,), optional
            Of one sample, above 0; by default 1.
        weights : array_like, shape (groups,), optional
            Of the groups in the objective, such as their shares of the population; 0 or more. By
            default all alike.
        lower, upper : array_like of int, shape (groups,), optional
            Fewest and most samples, with those there are; by default 0 and no bound.
        floors : array_like, shape (groups,), optional
            Performance that each group should reach before others are raised further, as far as
            its curve says that it can; minus infinity for none.
        collected : array_like of int, shape (groups,), optional
            Samples there are already; by default none.
        budget : float, optional
            What may be spent from now on; `ask` can then choose how much a round takes.

        Raises
        ------
        UsageError
            If a number makes no sense, or the lower bounds cost more than the budget.
        """
        return EquitableAllocation(
            self,
            groups,
            weights,
            floors,
            costs=costs,
            lower=lower,
            upper=upper,
            collected=collected,
            budget=budget,
        )


class Estimates(NamedTuple):
    """What is known of each group; each of shape (groups,), NaN before it was measured.

    Attributes
    ----------
    performance, slope, slope_error, ceiling : ndarray of float64
        By the fitted curves with what is collected: performance, what one more sample brings (of
        own ones), its standard error at the largest measured size, and what no number exceeds.
    uncertain : ndarray of bool
        Whether the slope is not above its error: these groups are explored.
    spent : ndarray of float64
        What the samples there are have cost.
    """

    performance: Floats
    slope: Floats
    slope_error: Floats
    ceiling: Floats
    uncertain: NDArray[np.bool_]
    spent: Floats


class EquitableAllocation(GroupAllocation):
    """An adviser that learns the returns of each group while it collects.

    Parameters
    ----------
    method : Equitable
    groups : int
    weights, floors : array_like, shape (groups,), optional
    **bounds
        As `GroupAllocation` takes them.
    """

    def __init__(
        self,
        method: Equitable,
        groups: int,
        weights: ArrayLike | None = None,
        floors: ArrayLike | None = None,
        **bounds: Any,
    ) -> None:
        super().__init__(groups, **bounds)
        self.method = method
        self.weights = read_weights(weights, groups)
        self.floors = per_group("floors", floors, groups, -math.inf)
        self.rounds = 0
        self._sizes = self._performance = np.empty((0, groups))
        self._stderr: Floats | None = None

    def ask(self, n: float | None = None) -> Ints:
        """Say how many samples of each group to collect for a spend of `n`.

        Parameters
        ----------
        n : float, optional
            As `GroupAllocation.ask` takes it; None for `next_spend`.

        Returns
        -------
        ndarray of int64, shape (groups,)
        """
        return super().ask(self.next_spend() if n is None else n)

    def next_spend(self) -> float:
        """Give the spend of the next round: a part of the pilot, a batch, or half of what is left.

        It is 0 where what is left can buy nothing more that is wanted.

        Raises
        ------
        UsageError
            If there is no budget to see its end.
        """
        if not math.isfinite(self.remaining()):
            raise UsageError("there is no budget", mend="give one to start, or n to ask")
        room = float(self.costs @ np.maximum(self.upper - self.collected, 0))
        left = min(self.remaining(), room)
        spend = min(left, self._wanted(left))
        if (self.costs == 1).all():
            spend = float(min(math.ceil(spend), math.floor(left + 1e-9)))
        # So much buys one sample at least; with less it is seen by asking.
        return spend if spend >= self.costs.sum() or super().ask(spend).any() else 0.0

    def _wanted(self, left: float) -> float:
        """Give what the next round should take, were it there."""
        for level in (self.method.pilot // 2, self.method.pilot):
            wanted = np.minimum(np.maximum(self.lower, level), self.upper)
            owed = float(self.costs @ np.maximum(wanted - self.collected, 0))
            if owed:
                return owed
        dearest = float(self.costs.max())
        batch = max(self.method.batch, dearest)
        return left if left <= max(batch / 4, dearest) else min(batch, max(left / 2, batch / 4))

    def least(self) -> Floats:
        """Give the samples that come first: lower bounds and pilot."""
        return np.maximum(self.lower, self.method.pilot)

    def learn(self, measurement: Measurement) -> None:
        """Keep what was measured."""
        self.rounds += 1
        self._sizes = np.concatenate([self._sizes, measurement.sizes])
        self._performance = np.concatenate([self._performance, measurement.performance])
        if measurement.stderr is not None:
            before = np.empty((0, self.groups)) if self._stderr is None else self._stderr
            self._stderr = np.concatenate([before, measurement.stderr])

    def read(self, outcomes: GroupOutcomes, collected: Ints) -> Measurement:
        """Read outcomes; all with standard errors, or all without."""
        measurement = super().read(outcomes, collected)
        if self.rounds and (self._stderr is None) != (measurement.stderr is None):
            raise UsageError("stderr was given in some rounds only", mend="give it always or never")
        return measurement

    def split(self, spend: float, held: Ints) -> Ints:
        """Plan with the curves there are, after what is set aside for groups that are not known."""
        fits = self._fits()
        if not any(fits):
            return split_spend(np.ones(self.groups), spend, self.costs, held, self.upper)
        counts = self._reserved(fits, spend, held)
        curves = self._optimistic(fits)
        counts += self._toward_floors(curves, spend, held, counts)
        budget = spend + float(self.costs @ held)
        counts = self._plan(curves, budget, held + counts).counts.astype(np.int64) - held
        left = spend - float(self.costs @ counts)
        # What no curve says to be worth anything is spent alike.
        rest = split_spend(np.ones(self.groups), left, self.costs, held + counts, self.upper)
        return np.asarray(counts + rest)

    def plan(self, budget: float) -> Plan:
        """Plan what the samples of all groups should become if `budget` more is spent at once.

        Raises
        ------
        UsageError
            If no group was measured at two sizes.
        """
        fits = self._fits()
        if not any(fits):
            raise UsageError("no curve is known", mend="tell outcomes at two sizes first")
        total = budget + float(self.costs @ self.collected)
        return self._plan(self._optimistic(fits), total, self.collected)

    def estimates(self) -> Estimates:
        """Say what is known of each group."""
        total = float(self.collected.sum())
        fits = self._fits()
        table = np.full((4, self.groups), math.nan)
        for group, fit in enumerate(fits):
            if fit is not None:
                curve = _separate(fit.curve, total)
                now = self.collected[group]
                table[:, group] = (
                    curve.value(now),
                    curve.slope(now),
                    fit.slope_error,
                    curve.ceiling,
                )
        uncertain = np.array([fit is None or fit.slope <= fit.slope_error for fit in fits])
        performance, slope, error, ceiling = table
        spent = self.costs * self.collected
        return Estimates(performance, slope, error, ceiling, uncertain, spent)

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows, as plain JSON values; it grows with the rounds."""
        errors = self._stderr
        known = None
        if errors is not None:
            known = [[v if math.isfinite(v) else None for v in row] for row in errors.tolist()]
        return super().state_dict() | {
            "rounds": self.rounds,
            "sizes": self._sizes.tolist(),
            "performance": self._performance.tolist(),
            "stderr": known,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; knobs, costs, weights and bounds must be the same."""
        super().load_state_dict(state)
        self.rounds = int(state["rounds"])
        shape = (-1, self.groups)
        self._sizes = np.array(state["sizes"], np.float64).reshape(shape)
        self._performance = np.array(state["performance"], np.float64).reshape(shape)
        errors = state["stderr"]
        self._stderr = None
        if errors is not None:
            rows = [[math.inf if v is None else v for v in row] for row in errors]
            self._stderr = np.array(rows, np.float64).reshape(shape)

    # --- curves ---

    def _fits(self) -> list[Fit | None]:
        """Fit the curve of each group; None where it was measured at fewer than two sizes."""
        return [self._fit(group) for group in range(self.groups)]

    def _fit(self, group: int) -> Fit | None:
        method, highest = self.method, self.method.highest
        sizes, performance = self._sizes[:, group], self._performance[:, group]
        stderr = None if self._stderr is None else self._stderr[:, group]
        counted = np.isfinite(stderr) if stderr is not None else np.ones(len(sizes), bool)
        different = np.unique(sizes[counted])
        if len(different) < 2:
            return None
        least = different[-2] if method.family == "last-gain" else method.local * different[-1]
        counted &= sizes >= min(least, different[-2])
        n, y = sizes[counted], performance[counted]
        errors = None if stderr is None else stderr[counted]
        bound = math.inf if highest is None else highest
        if method.family in ("isotonic", "last-gain"):
            return fit_concave(n, y, errors, highest=bound)
        if method.family == "two-term":
            totals = self._sizes.sum(axis=1)[counted]
            return fit_two_terms(n, totals, y, errors, exponent=method.exponent, highest=bound)
        offset = None if method.family == "offset-power" else 0.0
        return fit_power(n, y, errors, exponent=method.exponent, offset=offset, highest=bound)

    def _optimistic(self, fits: list[Fit | None]) -> list[AnyCurve]:
        """Give the curves that plans are made with; flat where nothing is known."""
        slopes = np.array([0.0 if fit is None else fit.slope for fit in fits])
        errors = np.array([math.inf if fit is None else fit.slope_error for fit in fits])
        wanted = slopes
        if self.method.shrink_slopes:
            wanted = shrink(slopes, np.maximum(errors, 1e-12))
        if self.method.optimism:
            raised = self.method.optimism / math.sqrt(self.rounds)
            wanted = wanted + raised * np.where(np.isfinite(errors), errors, 0.0)
        return [
            PowerCurve(0.0, 0.0) if fit is None else _with_slope(fit, float(slope))
            for fit, slope in zip(fits, wanted, strict=True)
        ]

    # --- rounds ---

    def _reserved(self, fits: list[Fit | None], spend: float, held: Ints) -> Ints:
        """Set samples aside for groups that are not known well enough."""
        known = [fit is not None for fit in fits]
        sure = [fit is not None and fit.slope > fit.slope_error for fit in fits]
        parts = np.where(known, np.where(sure, 0.0, self.method.explore), 1.0)
        parts = np.maximum(parts, self.method.least_share) / self.groups
        counts = np.floor(parts * spend / self.costs + 1e-9).astype(np.int64)
        return np.minimum(counts, np.maximum(self.upper - held, 0)).astype(np.int64)

    def _toward_floors(
        self,
        curves: list[AnyCurve],
        spend: float,
        held: Ints,
        more: Ints,
    ) -> Ints:
        """Buy what groups below their floors need, where their curves say that they get there."""
        have = (held + more).astype(np.float64)
        left = spend - float(self.costs @ more)
        total = float(held.sum()) + spend / float(self.costs.mean())
        wanted = have.copy()
        for group in np.flatnonzero(np.isfinite(self.floors)):
            curve, floor = _separate(curves[group], total), float(self.floors[group])
            if curve.ceiling > floor:
                most = max(
                    have[group], min(self.upper[group], have[group] + left // self.costs[group])
                )
                wanted[group] = fewest(curve, floor, have[group], most)
        short = wanted - have
        if self.costs @ short <= left:
            return short.astype(np.int64)
        return split_spend(short, left, self.costs, np.zeros(self.groups), short)

    def _plan(self, curves: list[AnyCurve], budget: float, lower: ArrayLike) -> Plan:
        """Plan the totals that a budget buys; no fewer than `lower`."""
        least = np.asarray(lower, np.float64)
        total = float(least.sum() + (budget - self.costs @ least) / self.costs.mean())
        shared, alike = 0.0, not np.ptp(self.costs)
        for _ in range(_FIXED_POINT):
            found = plan(
                [_separate(curve, total) for curve in curves],
                budget,
                costs=self.costs,
                weights=self.weights,
                objective=self.method.objective,
                aversion=self.method.aversion,
                lower=least,
                upper=np.maximum(self.upper, least),
                least_gain=self.method.least_gain,
                shared_gain=shared,
            )
            # With costs alike the total is known beforehand, and favours no group.
            if alike or not any(isinstance(curve, TwoTermCurve) for curve in curves):
                break
            before, total = total, float(found.counts.sum())
            shared = self._shared_gain(curves, total, found.performance)
            if abs(before - total) < 1:
                break
        return found

    def _shared_gain(self, curves: list[AnyCurve], total: float, performance: Floats) -> float:
        """Give the utility that one more sample of any group brings through the total."""
        if self.method.objective == "maximin":
            return 0.0
        slopes = [c.common_slope(total) if isinstance(c, TwoTermCurve) else 0.0 for c in curves]
        utility = Utility(self.method.objective, self.method.aversion)
        return float(self.weights * utility.slope(performance) @ slopes)


def _separate(curve: AnyCurve, total: float) -> Curve:
    """Give a curve by the group's own samples."""
    return curve.at_total(total) if isinstance(curve, TwoTermCurve) else curve


def _with_slope(fit: Fit, slope: float) -> AnyCurve:
    """Give the fitted curve with another slope at the largest measured size."""
    curve = fit.curve
    if slope == fit.slope or isinstance(curve, Polyline):
        return curve
    if isinstance(curve, TwoTermCurve):
        own = slope / curve.own_exponent * fit.size ** (curve.own_exponent + 1)
        raised = (own - curve.own) * fit.size**-curve.own_exponent
        return replace(curve, ceiling=curve.ceiling + raised, own=own)
    return curve.steeper(fit.size, slope - fit.slope)
