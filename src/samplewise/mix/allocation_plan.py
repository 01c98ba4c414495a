"""How many samples of each group a budget should buy when their learning curves are known.

A plan maximises the sum of w_g phi(f_g(n_g)), or the lowest f_g(n_g), subject to sum of c_g n_g at
most the budget. With equal costs, buying again and again the sample that brings most is exact for
concave curves. With unequal costs it leaves change, and a knapsack over the last samples decides
what becomes of it.

Cost: O(s log s) for s = min(budget / costs, 65,536) samples that come into question, groups taken
together; the knapsack looks at 64 samples a group to either side, and keeps at most 20,000 states.
Source: the problem is that of arXiv 2202.01327, whose body could not be read: the algorithms are a
reconstruction from standard parts (marginal analysis, Gross 1956; Lagrangian pruning and dominance
for the knapsack).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.measure.learning_curve import Curve, PowerCurve
from samplewise.rng import RandomState, generator

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Plan",
    "Utility",
    "plan",
    "read_groups",
    "read_weights",
    "split_spend",
    "uniform_random",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Objective = Literal["identity", "log", "power", "maximin"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)

_LEAST = 1e-3  # below this performance, logarithm and powers go on as straight lines
_MANY = 1 << 16  # samples that are put in order at once
_WINDOW = 64  # samples a group, to either side, in the knapsack
_STATES = 20_000


class Plan(NamedTuple):
    """What a budget should buy.

    Attributes
    ----------
    counts : ndarray of int64, or of float64 if not whole, shape (groups,)
        Samples of each group, with those of the lower bounds.
    performance : ndarray of float64, shape (groups,)
        What the curves give for them.
    value : float
        The objective.
    price : float
        The shadow price: how much of the objective one more unit of budget would bring.
    spend : float
    unreachable : ndarray of bool, shape (groups,)
        Groups that cannot come to the level of the others, or where too little is left to gain;
        they get no more than the lower bound and what brought them there.
    """

    counts: Ints | Floats
    performance: Floats
    value: float
    price: float
    spend: float
    unreachable: NDArray[np.bool_]


def plan(
    curves: Sequence[Curve],
    budget: float,
    *,
    costs: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    objective: Objective = "identity",
    aversion: float = 2.0,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    floors: ArrayLike | None = None,
    least_gain: float = 0.0,
    shared_gain: float = 0.0,
    whole: bool = True,
) -> Plan:
    """Plan how many samples of each group to buy.

    Samples that bring nothing are not bought, so that a budget may not be spent.

    Parameters
    ----------
    curves : sequence of Curve, shape (groups,)
        Concave.
    budget : float
        What the samples of all groups may cost, those of the lower bounds included.
    costs : array_like, shape (groups,), optional
        Of one sample, above 0; by default 1.
    weights : array_like, shape (groups,), optional
        0 or more; by default 1 / groups. They play no part in ``maximin``.
    objective : str
        ``identity``, ``log`` or ``power``: the utility phi whose weighted sum is maximised; or
        ``maximin``: the lowest performance. Below a performance of 0.001 the logarithm and powers
        go on as straight lines.
    aversion : float
        The r of ``power``, phi(x) = (x^(1-r) - 1) / (1 - r); 0 or more, 1 is the logarithm.
    lower, upper : array_like, shape (groups,), optional
        Fewest and most samples; by default 0 and no bound.
    floors : array_like, shape (groups,), optional
        Performance that each group must reach; minus infinity for none.
    least_gain : float
        Unless the objective is ``identity``: a group whose ceiling is nearer than this gets no more
        while another one has more to gain.
    shared_gain : float
        Utility that any sample brings besides, through a model that all groups share.
    whole : bool
        Whether counts are whole numbers.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        If a number makes no sense, or bounds or floors cannot be met within the budget.

    References
    ----------
    Cai, Encarnacion, Chern, Corbett-Davies, Bogen, Bergman, Goel (2022), arXiv 2202.01327: the
    problem. The method is reconstructed.

    Examples
    --------
    >>> curves = [PowerCurve(0.9, drop) for drop in (1.0, 4.0, 25.0)]
    >>> plan(curves, 3000).counts
    array([ 375,  750, 1875])
    >>> plan(curves, 3000, objective="maximin").counts
    array([ 100,  400, 2500])
    """
    groups = len(curves)
    prices, least, most = read_groups(groups, costs, lower, upper)
    shares = read_weights(weights, groups)
    if objective not in OBJECTIVES:
        raise UsageError(f"objective is {objective!r}", mend=f"one of {', '.join(OBJECTIVES)}")
    if not 0 <= aversion < math.inf:
        raise UsageError(f"aversion is {aversion}", mend="give a number, 0 or more")
    if not (math.isfinite(budget) and min(least_gain, shared_gain) >= 0):
        raise UsageError(
            f"budget is {budget}, least_gain {least_gain} and shared_gain {shared_gain}",
            mend="give finite numbers, gains of 0 or more",
        )
    if floors is not None:
        least = _floored(curves, floors, least, most, budget / prices, whole)
    if prices @ least > budget * (1 + 1e-12):
        raise UsageError(
            f"the lower bounds cost {prices @ least:g}, and the budget is {budget:g}",
            mend="lower the bounds or floors, or give a larger budget",
        )
    problem = _Problem(curves, shares, prices, objective, aversion, shared_gain, budget, whole)
    return problem.solve(least, most, least_gain)


def split_spend(
    shares: ArrayLike, spend: float, costs: ArrayLike, held: ArrayLike, upper: ArrayLike
) -> Ints:
    """Buy samples so that what is held comes as near to some shares as whole samples allow.

    Parameters
    ----------
    shares : array_like, shape (groups,)
        0 or more, of samples.
    spend : float
        With unit costs the samples bought sum to it, as far as the bounds leave room; otherwise
        what they cost does not exceed it, and less is left than one sample of each group costs.
    costs, held, upper : array_like, shape (groups,)
        Cost of a sample, samples there are, and the most there can be (infinity for no bound).

    Returns
    -------
    ndarray of int64, shape (groups,)

    Examples
    --------
    >>> split_spend([1, 1, 1], 10, [1, 1, 1], held=[0, 9, 1], upper=[4, 20, 20])
    array([4, 0, 6])
    """
    parts, prices, have, most = (
        np.asarray(one, np.float64) for one in (shares, costs, held, upper)
    )
    parts = np.where(most > have, parts, 0.0)
    if not parts.any():
        return np.zeros(len(parts), np.int64)
    some = parts > 0
    starts = np.where(some, have, np.inf) / np.where(some, parts, 1.0)
    ends = np.where(some, most, np.inf) / np.where(some, parts, 1.0)
    turns = np.unique(np.concatenate([starts, ends]))
    turns = turns[np.isfinite(turns)]

    def bought(level: Floats) -> Floats:
        return np.asarray(np.clip(level[:, None] * parts, have, np.maximum(most, have)) - have)

    # What is spent is a line between two turns, so that the level follows from the last one.
    before = int(np.searchsorted(bought(turns) @ prices, spend, side="right")) - 1
    level = turns[max(before, 0)]
    growing = (starts <= level) & (ends > level)
    if growing.any():
        level += (spend - float(bought(level[None])[0] @ prices)) / (prices @ (parts * growing))
    exact = bought(level[None])[0]
    counts: Ints = np.floor(np.round(exact, 9)).astype(np.int64)
    remainder = np.round(exact - counts, 9)
    left = spend - float(counts @ prices)
    for group in np.argsort(-remainder, kind="stable"):
        if remainder[group] > 0 and prices[group] <= _with_slack(left, prices):
            counts[group] += 1
            left -= prices[group]
    return counts


def uniform_random(
    budget: float, groups: int, *, costs: ArrayLike | None = None, rng: RandomState = None
) -> Ints:
    """Spend a budget on samples of groups drawn at random, each as likely as the others.

    A plain rival for a plan. The first sample that cannot be paid for ends it.

    Parameters
    ----------
    budget : float
    groups : int
    costs : array_like, shape (groups,), optional
        By default 1.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ndarray of int64, shape (groups,)

    Examples
    --------
    >>> int(uniform_random(100, 3, rng=0).sum())
    100
    """
    prices = read_groups(groups, costs)[0]
    random = generator(rng)
    drawn = random.integers(groups, size=max(0, int(budget / prices.min() + 1e-9)))
    paid = prices[drawn].cumsum() <= budget * (1 + 1e-12)
    return np.asarray(np.bincount(drawn[paid], minlength=groups), dtype=np.int64)


# --- what is given --------------------------------------------------------------------------------


def read_groups(
    groups: int,
    costs: ArrayLike | None = None,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Read costs and bounds, with their defaults.

    Returns
    -------
    costs, lower, upper : ndarray of float64, shape (groups,)

    Raises
    ------
    UsageError
        If a shape is not one a group, a cost is not above 0, or bounds are no whole numbers, or
        contradict each other.
    """
    if groups < 1:
        raise UsageError(f"groups is {groups}", mend="give 1 or more")
    prices = per_group("costs", costs, groups, 1.0)
    least = per_group("lower", lower, groups, 0.0)
    most = per_group("upper", upper, groups, math.inf)
    if not ((prices > 0) & np.isfinite(prices)).all():
        raise UsageError(f"costs are {prices}", mend="give finite numbers above 0")
    if not (np.isfinite(least) & (least >= 0) & (least == np.floor(least))).all():
        raise UsageError(f"lower is {least}", mend="give whole numbers, 0 or more")
    if not ((most >= least) & (most == np.floor(most))).all():
        raise UsageError(
            f"upper is {most}, and lower {least}",
            mend="give whole numbers that are not below the lower bounds, or inf",
        )
    return prices, least, most


def per_group(name: str, values: ArrayLike | None, groups: int, default: float) -> Floats:
    """Read one number a group."""
    if values is None:
        return np.full(groups, default)
    read = np.array(values, np.float64)
    if read.shape != (groups,) or np.isnan(read).any():
        raise UsageError(f"{name} is {values!r}", mend=f"give {groups} numbers, one a group")
    return read


def read_weights(weights: ArrayLike | None, groups: int) -> Floats:
    """Read the weights of groups, 0 or more; by default all alike, and their sum 1."""
    read = per_group("weights", weights, groups, 1 / groups)
    if not (np.isfinite(read) & (read >= 0)).all():
        raise UsageError(f"weights are {read}", mend="give finite numbers, 0 or more")
    return read


def _floored(
    curves: Sequence[Curve],
    floors: ArrayLike,
    lower: Floats,
    upper: Floats,
    paid: Floats,
    whole: bool,
) -> Floats:
    """Raise lower bounds to where the floors are met."""
    wanted = per_group("floors", floors, len(curves), -math.inf)
    found = lower.copy()
    for group, (curve, floor) in enumerate(zip(curves, wanted, strict=True)):
        most = max(lower[group], min(upper[group], math.floor(paid[group])))
        found[group] = fewest(curve, floor, lower[group], most, whole)
        if not curve.value(found[group]) >= floor - 1e-12:
            raise UsageError(
                f"group {group} reaches {float(curve.value(most)):g} with all that can be bought "
                f"of it, and its floor is {floor:g}",
                mend="lower its floor, or raise its upper bound or the budget",
            )
    return found


def fewest(curve: Curve, level: float, lower: float, upper: float, whole: bool = True) -> float:
    """Give the fewest samples within finite bounds that reach a level; the upper one if none do."""
    if curve.value(lower) >= level:
        return lower
    if not curve.value(upper) >= level:
        return upper
    low, high = lower, upper
    while (high - low > 1) if whole else (high - low > 1e-13 * high):
        middle = (low + high) // 2 if whole else (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if curve.value(middle) >= level else (middle, high)
    return high


# --- utilities ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Utility:
    """The utility phi of performance: concave and rising."""

    kind: str
    aversion: float

    def value(self, x: Floats) -> Floats:
        """Give phi."""
        if self.kind == "identity":
            return x
        r = 1.0 if self.kind == "log" else self.aversion
        above = np.maximum(x, _LEAST)
        found = np.log(above) if r == 1 else np.expm1((1 - r) * np.log(above)) / (1 - r)
        return np.asarray(found + np.minimum(x - _LEAST, 0.0) * _LEAST**-r)

    def slope(self, x: Floats) -> Floats:
        """Give the derivative of phi."""
        if self.kind == "identity":
            return np.ones_like(x)
        r = 1.0 if self.kind == "log" else self.aversion
        return np.asarray(np.maximum(x, _LEAST) ** -r)

    def gain(self, x: Floats, rise: Floats) -> Floats:
        """Give phi(x + rise) - phi(x), to full precision for a small rise."""
        if self.kind == "identity":
            return rise
        r = 1.0 if self.kind == "log" else self.aversion
        above = np.maximum(x, _LEAST)
        over = np.maximum(rise - (above - x), 0.0)
        grown = np.log1p(over / above)
        found = grown if r == 1 else above ** (1 - r) * np.expm1((1 - r) * grown) / (1 - r)
        return np.asarray(found + np.minimum(rise, above - x) * _LEAST**-r)


@dataclass(frozen=True)
class _Worth:
    """What the samples of one group bring to the objective."""

    curve: Curve
    weight: float
    utility: Utility
    shared: float

    def value(self, n: ArrayLike) -> Floats:
        """Give the weighted utility."""
        if not self.weight:
            return np.zeros(np.shape(n))
        return self.weight * self.utility.value(np.asarray(self.curve.value(n)))

    def gain(self, n: ArrayLike) -> Floats:
        """Give what one more sample brings."""
        if not self.weight:
            return np.full(np.shape(n), self.shared)
        value, rise = np.asarray(self.curve.value(n)), np.asarray(self.curve.gain(n))
        with np.errstate(invalid="ignore"):
            found = np.where(rise < np.inf, self.utility.gain(value, rise), np.inf)
        return self.weight * found + self.shared

    def slope(self, n: ArrayLike) -> Floats:
        """Give the derivative."""
        if not self.weight:
            return np.full(np.shape(n), self.shared)
        value = np.asarray(self.curve.value(n))
        return self.weight * self.utility.slope(value) * self.curve.slope(n) + self.shared

    def demand(self, price: float, low: float, high: float) -> float:
        """Give the samples from `low` to `high` whose slope is at least a price."""
        curve, over = self.curve, price - self.shared
        if over <= 0:
            return high
        if not self.weight:
            return low
        if isinstance(curve, PowerCurve) and self.utility.kind == "identity":
            worth = self.weight * curve.exponent * curve.drop / over
            return float(np.clip(worth ** (1 / (curve.exponent + 1)) - curve.offset, low, high))

        def over_price(logarithm: float) -> float:  # nearly a line, for a power law
            slope = float(self.slope(math.exp(logarithm)))
            return math.log(max(slope, 1e-300)) - math.log(price)

        ends = math.log(max(low, 1e-12)), math.log(max(high, 1e-12))
        if over_price(ends[0]) <= 0:
            return low
        if over_price(ends[1]) >= 0:
            return high
        return float(np.clip(math.exp(_root(over_price, *ends)), low, high))


def _root(falls: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function that is above 0 at `low` and below 0 at `high` changes its sign."""
    from scipy.optimize import brentq

    return float(brentq(falls, low, high, xtol=1e-13, rtol=1e-14))


# --- solving --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    """A budget, and what it can buy."""

    curves: Sequence[Curve]
    weights: Floats
    costs: Floats
    objective: str
    aversion: float
    shared: float
    budget: float
    whole: bool

    def solve(self, lower: Floats, upper: Floats, least_gain: float) -> Plan:
        """Plan within bounds: first as if no group could be raised close to its ceiling."""
        caps = np.array([curve.ceiling for curve in self.curves]) - least_gain
        beyond = np.zeros(len(caps), bool)
        counts, price = lower, 0.0
        if self.objective == "maximin":
            counts, price, beyond = self._maximin(lower, upper, caps)
        elif least_gain > 0 and self.objective != "identity":
            most = self._payable(lower, upper)
            bounds = zip(self.curves, caps, lower, most, strict=True)
            capped = np.array([fewest(*one, self.whole) for one in bounds])
            counts, price = self._sum(lower, capped)
            beyond = (counts >= capped) & (capped < most)
        counts, next_price = self._sum(counts, upper)
        performance = np.array(
            [float(curve.value(n)) for curve, n in zip(self.curves, counts, strict=True)]
        )
        value = float(performance.min())
        if self.objective != "maximin":
            pairs = zip(self._worths(), counts, strict=True)
            value = math.fsum(float(worth.value(n)) for worth, n in pairs)
        return Plan(
            counts.astype(np.int64) if self.whole else counts,
            performance,
            value,
            price or next_price,
            float(self.costs @ counts),
            beyond,
        )

    def _worths(self) -> list[_Worth]:
        """Give what samples bring; under maximin, what they bring once no level can be raised."""
        kind = "identity" if self.objective == "maximin" else self.objective
        utility = Utility(kind, self.aversion)
        weights = np.ones_like(self.weights) if self.objective == "maximin" else self.weights
        return [
            _Worth(curve, float(weight), utility, self.shared)
            for curve, weight in zip(self.curves, weights, strict=True)
        ]

    def _payable(self, lower: Floats, upper: Floats) -> Floats:
        """Give the most samples of each group where the others get their lower bound."""
        room = np.maximum(self.budget - self.costs @ lower, 0) / self.costs * (1 + 1e-12)
        return np.minimum(upper, lower + (np.floor(room) if self.whole else room))

    def _sum(self, lower: Floats, upper: Floats) -> tuple[Floats, float]:
        """Maximise the sum of utilities: counts, and the price of a unit of budget."""
        worths = self._worths()
        if not self.whole:
            return _continuous(worths, self.costs, lower, self._payable(lower, upper), self.budget)
        if (self._payable(lower, upper) - lower).sum() > _MANY:
            most = self._payable(lower, upper)
            near, _ = _continuous(worths, self.costs, lower, most, self.budget)
            # Whole samples shift the price by no more than one sample of every group can.
            margin = np.ceil(self.costs.sum() / self.costs) + 2
            lower = np.clip(np.floor(near) - margin, lower, upper)
        spare = self.budget - float(self.costs @ lower)
        counts, price, spare = _greedy(worths, self.costs, lower, upper, spare)
        if np.ptp(self.costs) and price:
            counts = _knapsack(worths, self.costs, counts, lower, upper, spare, price)
        return counts, price

    def _maximin(
        self, lower: Floats, upper: Floats, caps: Floats
    ) -> tuple[Floats, float, NDArray[np.bool_]]:
        """Raise the lowest performance.

        Gives counts, the price (0 where none can be raised) and which groups cannot be raised.
        """
        curves, costs = self.curves, self.costs
        payable = self._payable(lower, upper)
        # A level that needs more than can be paid for must look dear, and not as if it was reached.
        bounds = np.minimum(upper, payable + 1)

        def need(level: float) -> Floats:
            rows = zip(curves, np.minimum(level, caps), lower, bounds, strict=True)
            return np.array([fewest(*row, self.whole) for row in rows])

        firsts = np.maximum(lower, np.minimum(1, payable))
        values = [float(c.value(n)) for c, n in zip(curves, firsts, strict=True)]
        low, high = min(values), float(caps.max())
        high = max(high, low) + 1.0  # a level that only stocks and ceilings can hold off
        if not (math.isfinite(low) and costs @ need(low) <= self.budget * (1 + 1e-12)):
            low = high = -math.inf  # not even the first sample of every group can be paid for
        counts, above = need(low), need(high)
        while low < (middle := (low + high) / 2) < high:
            if self.whole and (above - counts).max() <= 1:
                break  # what is left is a sample of some groups
            between = need(middle)
            if costs @ between <= self.budget * (1 + 1e-12):
                low, counts = middle, between
            else:
                high, above = middle, between
        stuck = (caps < low) | (counts >= upper)
        counts = self._lowest_first(counts, upper, stuck) if self.whole else counts
        moving = ~stuck & (counts > lower)
        if stuck.all() or not moving.any():
            return counts, 0.0, stuck
        rises = zip(curves, counts, strict=True)
        slopes = np.array([float(c.gain(n) if self.whole else c.slope(n)) for c, n in rises])
        with np.errstate(divide="ignore"):
            return counts, float(1 / (costs / slopes)[moving].sum()), stuck

    def _lowest_first(self, counts: Floats, upper: Floats, stuck: NDArray[np.bool_]) -> Floats:
        """Spend what is left on the lowest group that can be raised, again and again."""
        counts, left = counts.copy(), self.budget * (1 + 1e-12) - self.costs @ counts
        levels = np.array([float(c.value(n)) for c, n in zip(self.curves, counts, strict=True)])
        while True:
            open_ = ~stuck & (counts < upper) & (self.costs <= left)
            if not open_.any():
                return counts
            group = int(np.where(open_, levels, np.inf).argmin())
            group = group if open_[group] else int(open_.argmax())
            counts[group] += 1
            left -= self.costs[group]
            levels[group] = float(self.curves[group].value(counts[group]))


def _continuous(
    worths: Sequence[_Worth], costs: Floats, lower: Floats, upper: Floats, budget: float
) -> tuple[Floats, float]:
    """Find the price at which what is worth it costs the budget: fractions of samples, and it."""

    def demand(price: float) -> Floats:
        rows = zip(worths, costs, lower, upper, strict=True)
        return np.array([w.demand(price * cost, least, most) for w, cost, least, most in rows])

    if costs @ demand(0.0) <= budget * (1 + 1e-12):
        return demand(0.0), 0.0
    low = high = 1.0
    while costs @ demand(high) > budget and high < 1e300:
        low, high = high, high * 16
    while costs @ demand(low) <= budget:
        low, high = low / 16, low
        if low < 1e-300:  # nothing beyond is worth anything
            return demand(high), 0.0
    logarithm = _root(
        lambda price: float(costs @ demand(math.exp(price)) - budget),
        math.log(low) - 1e-9,
        math.log(high) + 1e-9,
    )
    high = math.exp(logarithm + 1e-12)
    less, more = demand(high), demand(math.exp(logarithm - 1e-12))
    # Along a straight piece of a curve, all amounts between both are as good.
    gap, left = float(costs @ (more - less)), float(budget - costs @ less)
    share = min(1.0, left / gap) if gap > 0 else 0.0
    return less + share * (more - less), high


def _greedy(
    worths: Sequence[_Worth], costs: Floats, lower: Floats, upper: Floats, spare: float
) -> tuple[Floats, float, float]:
    """Buy by gain per cost up to the first sample that cannot be paid for.

    Gives counts, the gain per cost of that sample (0 if none is worth anything) and what is left.
    """
    rooms = np.minimum(upper - lower, np.floor(spare / costs * (1 + 1e-12)) + 1).astype(int)
    gains = [
        w.gain(n + np.arange(k)) / c for w, n, k, c in zip(worths, lower, rooms, costs, strict=True)
    ]
    # Rounding must not put a later sample of a group before an earlier one.
    density = np.concatenate([np.minimum.accumulate(one) for one in gains])
    owner = np.repeat(np.arange(len(worths)), rooms)
    order = np.argsort(-density, kind="stable")
    order = order[density[order] > 0]
    paid = costs[owner[order]].cumsum() <= _with_slack(spare, costs)
    taken = int(paid.sum())
    bought = np.bincount(owner[order[:taken]], minlength=len(worths))
    price = float(density[order[taken]]) if taken < len(order) else 0.0
    return lower + bought, price, spare - float(costs @ bought)


def _with_slack(spend: float, costs: Floats) -> float:
    """Give a spend with what rounding may have taken off it."""
    return spend + 1e-9 * (abs(spend) * 1e-3 + float(costs.min()))


def _knapsack(
    worths: Sequence[_Worth],
    costs: Floats,
    counts: Floats,
    lower: Floats,
    upper: Floats,
    spare: float,
    price: float,
) -> Floats:
    """Spend the change that buying by gain per cost has left, exchanging samples where that pays.

    At the price, `counts` are the best: what any others lose against them, and what they leave
    unspent at the price, adds up to less than a known solution loses only for a few. Of these,
    partial ones that cost more and bring less than another are dropped.
    """
    filled, gained = _fill(worths, costs, counts, upper, spare)
    bound = price * spare - gained
    if not (math.isfinite(bound) and bound > 0):
        return filled
    ahead = [
        _exchanges(*one, price, bound)
        for one in zip(worths, costs, counts, lower, upper, strict=True)
    ]
    cheapest = costs * np.array([float(moves.min()) for moves, _ in ahead])
    later = cheapest[::-1].cumsum()[::-1] - cheapest
    cost, loss, path = np.zeros(1), np.zeros(1), np.zeros((1, 0))
    for group, (moves, losses) in enumerate(ahead):
        state, move = np.divmod(np.arange(len(cost) * len(moves)), len(moves))
        new_cost = cost[state] + costs[group] * moves[move]
        new_loss = loss[state] + losses[move]
        kept = np.flatnonzero(
            (new_loss <= bound) & (new_cost + later[group] <= _with_slack(spare, costs))
        )
        kept = kept[np.lexsort((new_loss[kept], new_cost[kept]))]
        worth = price * new_cost[kept] - new_loss[kept]
        best = np.maximum.accumulate(np.concatenate([[-np.inf], worth[:-1]]))
        kept = kept[worth > best]
        if len(kept) > _STATES:
            kept = kept[np.argsort(new_loss[kept], kind="stable")[:_STATES]]
        cost, loss = new_cost[kept], new_loss[kept]
        path = np.column_stack([path[state[kept]], moves[move[kept]]])
    if not len(cost):
        return filled
    worth = price * cost - loss
    return counts + path[int(worth.argmax())] if worth.max() > gained else filled


def _fill(
    worths: Sequence[_Worth], costs: Floats, counts: Floats, upper: Floats, spare: float
) -> tuple[Floats, float]:
    """Buy by gain per cost whatever can still be paid for: counts, and the utility gained."""
    counts, gained = counts.copy(), 0.0
    while True:
        open_ = (counts < upper) & (costs <= _with_slack(spare, costs))
        gains = np.array([float(w.gain(n)) for w, n in zip(worths, counts, strict=True)])
        density = np.where(open_, gains / costs, 0.0)
        group = int(density.argmax())
        if not density[group] > 0:
            return counts, gained
        counts[group] += 1
        spare -= float(costs[group])
        gained += float(gains[group])


def _exchanges(
    worth: _Worth,
    cost: float,
    count: float,
    lower: float,
    upper: float,
    price: float,
    bound: float,
) -> tuple[Floats, Floats]:
    """List by how many samples a count may change, and what that loses at the price."""
    down = np.arange(1, min(_WINDOW, count - lower) + 1)
    up = np.arange(1, min(_WINDOW, upper - count) + 1)
    losses = np.concatenate(
        [
            (worth.gain(count - down) - price * cost).cumsum(),
            [0.0],
            (price * cost - worth.gain(count + up - 1)).cumsum(),
        ]
    )
    moves = np.concatenate([-down, [0], up])
    return moves[losses <= bound], np.maximum(losses[losses <= bound], 0.0)
