"""How performance grows with the number of samples: curves, and their fits to what was measured.

Performance is a number that is the better the higher it is: an accuracy, an R2, or minus a loss.
Every curve here rises ever more slowly (it is concave), so that the next sample is never worth more
than the last one was. Use a fit to say what more samples of a group would bring.

Cost: O(m) a trial for m measurements; 10 trials where nothing but the ceiling and the drop is free,
some hundreds for a free exponent, some thousands for a free exponent and offset.
Source: the families are those in use for learning curves; the law of two terms is that of arXiv
2103.03399. What arXiv 2202.01327 fits could not be read: the choice of families, of their bounds
and of the way they are fitted is a reconstruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Curve",
    "Fit",
    "Polyline",
    "PowerCurve",
    "TwoTermCurve",
    "fit_concave",
    "fit_power",
    "fit_two_terms",
    "shrink",
]

Floats: TypeAlias = NDArray[np.float64]

_EXPONENTS = (0.05, 2.0)
_USUAL = 0.5  # the exponent where measurements are too few to tell it
_FIRST, _THEN, _ZOOMS = 17, 7, 32  # points a dimension of the first grid, of the others; grids


class Curve(Protocol):
    """Performance by the number of samples."""

    @property
    def ceiling(self) -> float:
        """What no number of samples exceeds."""
        ...

    def value(self, n: ArrayLike) -> Floats:
        """Give the performance at each n."""
        ...

    def slope(self, n: ArrayLike) -> Floats:
        """Give the derivative at each n."""
        ...

    def gain(self, n: ArrayLike) -> Floats:
        """Give what one more sample brings at each n."""
        ...


@dataclass(frozen=True)
class PowerCurve:
    """The curve f(n) = ceiling - drop (n + offset)^-exponent.

    Parameters
    ----------
    ceiling : float
    drop : float
        0 or more; 0 is a flat curve.
    exponent : float
        Above 0.
    offset : float
        0 or more; with 0 no sample at all is worth minus infinity, unless `drop` is 0.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> curve = PowerCurve(ceiling=0.9, drop=4.0, exponent=1.0)
    >>> curve.value([10, 40]), curve.slope(20), curve.gain(20)
    (array([0.5, 0.8]), array(0.01), array(0.00952381))
    """

    ceiling: float
    drop: float
    exponent: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.ceiling, self.drop, self.exponent, self.offset)
        ranges = self.drop >= 0 and self.exponent > 0 and self.offset >= 0
        if not (ranges and all(map(math.isfinite, numbers))):
            raise ValueError(f"{self} is no curve: drop and offset are 0 or more, exponent above 0")

    def value(self, n: ArrayLike) -> Floats:
        """Give the performance at each n, 0 or more."""
        if not self.drop:
            return np.full(np.shape(n), self.ceiling)
        return np.asarray(self.ceiling - self._left(n))

    def slope(self, n: ArrayLike) -> Floats:
        """Give the derivative at each n."""
        if not self.drop:
            return np.zeros(np.shape(n))
        with np.errstate(divide="ignore"):
            return np.asarray(self.exponent * self._left(n) / self._moved(n))

    def gain(self, n: ArrayLike) -> Floats:
        """Give f(n + 1) - f(n) at each n, to full precision however large n is."""
        if not self.drop:
            return np.zeros(np.shape(n))
        with np.errstate(divide="ignore"):
            grown = np.log1p(1 / self._moved(n))
        return np.asarray(self._left(n) * -np.expm1(-self.exponent * grown))

    def steeper(self, n: float, by: float) -> PowerCurve:
        """Give the curve that is worth the same at `n`, and whose slope there is larger by `by`."""
        moved = n + self.offset
        drop = self.drop + by * moved ** (self.exponent + 1) / self.exponent
        added = (drop - self.drop) * moved**-self.exponent
        return replace(self, ceiling=self.ceiling + added, drop=drop)

    def _moved(self, n: ArrayLike) -> Floats:
        return np.asarray(n, np.float64) + self.offset

    def _left(self, n: ArrayLike) -> Floats:
        """Give what is missing to the ceiling."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.drop * self._moved(n) ** -self.exponent)


@dataclass(frozen=True)
class Polyline:
    """A line from knot to knot that bends downwards, with a curved tail.

    Before the first knot its first slope goes on. Behind the last one its last slope s falls off as
    1 / n does, or faster where `highest` would be passed: what lies far behind the knots is a guess
    that errs on the low side of a straight line.

    Parameters
    ----------
    sizes, values : tuple of float
        The knots; sizes rise, and values rise ever more slowly.
    slopes : tuple of float
        Of the line up to each knot but the first; at least one. Where there is one knot only, 0.
    highest : float
        Bound of the tail.

    Examples
    --------
    >>> curve = Polyline((10.0, 20.0), (0.5, 0.6), (0.01,))
    >>> curve.value([15, 20, 40]).round(3), round(curve.ceiling, 3)
    (array([0.55, 0.6 , 0.7 ]), 0.8)
    """

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[float, ...]
    highest: float = math.inf

    @property
    def ceiling(self) -> float:
        """What the tail tends to."""
        return self.values[-1] + self._tail()[0]

    def value(self, n: ArrayLike) -> Floats:
        """Give the performance at each n."""
        sizes = np.asarray(n, np.float64)
        within = np.interp(sizes, self.sizes, self.values)
        before = self.values[0] + self.slopes[0] * (sizes - self.sizes[0])
        height, power = self._tail()
        ratio = self.sizes[-1] / np.maximum(sizes, self.sizes[-1])
        behind = self.values[-1] - height * np.expm1(power * np.log(ratio))
        found = np.where(sizes < self.sizes[0], before, within)
        return np.where(sizes > self.sizes[-1], behind, found)

    def slope(self, n: ArrayLike) -> Floats:
        """Give the derivative to the right at each n."""
        sizes = np.asarray(n, np.float64)
        piece = np.searchsorted(self.sizes, sizes, side="right") - 1
        within = np.asarray(self.slopes)[np.clip(piece, 0, len(self.slopes) - 1)]
        height, power = self._tail()
        far = np.maximum(sizes, self.sizes[-1])
        behind = height * power / far * (self.sizes[-1] / far) ** power
        return np.where(sizes >= self.sizes[-1], behind, within)

    def gain(self, n: ArrayLike) -> Floats:
        """Give f(n + 1) - f(n) at each n."""
        sizes = np.asarray(n, np.float64)
        return np.asarray(self.value(sizes + 1) - self.value(sizes))

    def _tail(self) -> tuple[float, float]:
        """Give how much the tail rises, and the power by which it does."""
        slope = self.slopes[-1] * self.sizes[-1]
        height = max(0.0, min(slope, self.highest - self.values[-1]))
        return height, slope / height if height else 1.0


@dataclass(frozen=True)
class TwoTermCurve:
    """The curve f(n, t) = ceiling - own n^-own_exponent - common t^-common_exponent.

    It is that of a group of n samples in a model that learns from t samples of all groups.

    Parameters
    ----------
    ceiling, own, common : float
        `own` and `common` are 0 or more.
    own_exponent, common_exponent : float
        Above 0.

    References
    ----------
    arXiv 2103.03399

    Examples
    --------
    >>> curve = TwoTermCurve(0.9, own=1.0, common=2.0, own_exponent=0.5, common_exponent=0.5)
    >>> curve.at_total(400).value(100)
    array(0.7)
    """

    ceiling: float
    own: float
    common: float
    own_exponent: float = 0.5
    common_exponent: float = 0.5

    def at_total(self, total: float) -> PowerCurve:
        """Give the curve by the group's own samples while the total stays the same."""
        left = self.common * total**-self.common_exponent if self.common else 0.0
        return PowerCurve(self.ceiling - left, self.own, self.own_exponent)

    def common_slope(self, total: float) -> float:
        """Give what one more sample of any group brings through the total."""
        power = self.common_exponent
        return power * self.common * total ** (-power - 1) if self.common else 0.0


class Fit(NamedTuple):
    """A fitted curve.

    Attributes
    ----------
    curve : PowerCurve, Polyline or TwoTermCurve
    size : float
        The largest measured size.
    slope, slope_error : float
        Slope there, by the group's own samples, and its standard error; infinite where the
        measurements cannot tell it.
    """

    curve: PowerCurve | Polyline | TwoTermCurve
    size: float
    slope: float
    slope_error: float


def fit_power(
    sizes: ArrayLike,
    performance: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    exponent: float | None = None,
    offset: float | None = 0.0,
    highest: float = math.inf,
) -> Fit:
    """Fit a power law by weighted least squares, its drop 0 or more.

    Where the different sizes are fewer than what is free, a free offset is 0, and then a free
    exponent 0.5; with one size the curve is flat.

    Parameters
    ----------
    sizes, performance : array_like, shape (measurements,)
        Sizes above 0.
    stderr : array_like, shape (measurements,), optional
        Standard errors, above 0; infinite for what is not to count. Without them all measurements
        are as good, and their scatter says how good.
    exponent : float, optional
        None to fit it, from 0.05 to 2.
    offset : float, optional
        None to fit it, 0 or more.
    highest : float
        The ceiling's bound, such as 1 for an accuracy.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If shapes differ, a number makes no sense, or nothing counts.

    Examples
    --------
    >>> sizes = np.array([10, 20, 40, 80])
    >>> curve = fit_power(sizes, 0.9 - 2 * sizes**-0.7).curve
    >>> round(curve.ceiling, 4), round(curve.drop, 4), round(curve.exponent, 4)
    (0.9, 2.0, 0.7)
    """
    n, y, weights = _measured(sizes, performance, stderr)
    different = len(np.unique(n))
    free = 2 + (exponent is None) + (offset is None)
    if offset is None and different < free:
        offset, free = 0.0, free - 1
    if exponent is None and different < free:
        exponent, free = _USUAL, free - 1
    if different < 2:
        level = min(float(np.average(y, weights=weights)), highest)
        flat = PowerCurve(level, 0.0, exponent or _USUAL, offset or 0.0)
        return Fit(flat, float(n.max()), 0.0, math.inf)
    lowest = float(n.min())

    def logarithm(offset: float) -> float:  # an offset matters beside the smallest size
        return math.log1p(offset / lowest)

    powers = _EXPONENTS if exponent is None else (exponent, exponent)
    fixed = (0.0, 100 * float(n.max())) if offset is None else (offset, offset)
    bounds = np.array([powers, tuple(map(logarithm, fixed))])

    def solve(points: Floats) -> tuple[Floats, Floats, Floats]:
        moved = n + lowest * np.expm1(points[:, 1:])
        return _line(-(moved ** -points[:, :1]), y, weights, highest)

    best = _zoom(lambda points: solve(points)[2], bounds)
    ceiling, drop, loss = (float(one[0]) for one in solve(best[None]))
    found = PowerCurve(ceiling, drop, float(best[0]), lowest * math.expm1(float(best[1])))
    columns, slopes = _derivatives(found, n, float(n.max()))
    tells = [ceiling < highest, True, exponent is None, offset is None]
    error = _slope_error(columns[:, tells], slopes[tells], weights)
    if stderr is None:
        error *= _scatter(loss, len(n) - free)
    return Fit(found, float(n.max()), float(found.slope(n.max())), error)


def fit_concave(
    sizes: ArrayLike,
    performance: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    highest: float = math.inf,
) -> Fit:
    """Fit the line from size to size that rises ever more slowly and is nearest to what was found.

    It needs no family, and tells little of sizes that were not measured: use it for the next few
    samples.

    Parameters
    ----------
    sizes, performance, stderr
        As `fit_power` takes them.
    highest : float
        Bound of what is guessed behind the largest size.

    Returns
    -------
    Fit
        The error of the slope is that of a straight line between the two largest sizes.

    Raises
    ------
    ValueError
        As `fit_power`.

    Examples
    --------
    >>> fit_concave([10, 20, 30], [0.5, 0.75, 0.75]).curve.value([10, 20, 30]).round(3)
    array([0.5 , 0.75, 0.75])
    >>> fit_concave([10, 20, 30], [0.5, 0.5, 0.8]).curve.value([10, 20, 30]).round(3)
    array([0.45, 0.6 , 0.75])
    """
    n, y, weights = _measured(sizes, performance, stderr)
    knots, place = np.unique(n, return_inverse=True)
    weight = np.bincount(place, weights).astype(np.float64)
    mean = np.bincount(place, weights * y) / weight
    if len(knots) == 1:
        return Fit(Polyline((knots[0],), (mean[0],), (0.0,), highest), knots[0], 0.0, math.inf)
    # Each line of the kind is a constant and a sum of lines that rise up to a knot and then stay.
    rising = np.minimum(knots[:, None], knots[None, 1:])
    level, factors, _ = _nonnegative(rising, mean, weight)
    values = level + rising @ factors
    slopes = np.diff(values) / np.diff(knots)
    curve = Polyline(tuple(knots.tolist()), tuple(values.tolist()), tuple(slopes.tolist()), highest)
    error = math.sqrt(1 / weight[-1] + 1 / weight[-2]) / (knots[-1] - knots[-2])
    if stderr is None:
        loss = float(weights @ (y - values[place]) ** 2)
        error *= _scatter(loss, len(n) - len(knots))
    return Fit(curve, float(knots[-1]), float(slopes[-1]), float(error))


def fit_two_terms(
    sizes: ArrayLike,
    totals: ArrayLike,
    performance: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    exponent: float | None = None,
    highest: float = math.inf,
) -> Fit:
    """Fit the law of two terms by weighted least squares, both terms 0 or more.

    The terms are told apart only if the share of the group in the total varied.

    Parameters
    ----------
    sizes, performance, stderr
        As `fit_power` takes them.
    totals : array_like, shape (measurements,)
        Samples of all groups when each was measured.
    exponent : float, optional
        Of both terms; None to fit one for each.
    highest : float
        The ceiling's bound.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        As `fit_power`.

    Examples
    --------
    >>> sizes, totals = np.array([20, 40, 40, 90]), np.array([100, 100, 200, 300])
    >>> found = 0.9 - 1.0 * sizes**-0.5 - 2.0 * totals**-0.5
    >>> curve = fit_two_terms(sizes, totals, found, exponent=0.5).curve
    >>> round(curve.ceiling, 6), round(curve.own, 6), round(curve.common, 6)
    (0.9, 1.0, 2.0)
    """
    n, y, weights, t = _measured(sizes, performance, stderr, totals)
    size = float(n.max())
    if len(np.unique(n)) < 2:
        level = min(float(np.average(y, weights=weights)), highest)
        return Fit(TwoTermCurve(level, 0.0, 0.0), size, 0.0, math.inf)

    def terms(powers: Floats) -> Floats:
        return -np.stack([n ** -powers[0], t ** -powers[1]], axis=1)

    def losses(points: Floats) -> Floats:
        return np.array([_nonnegative(terms(one), y, weights, highest)[2] for one in points])

    few = len(n) < 5
    given = _USUAL if exponent is None and few else exponent
    bounds = np.array([_EXPONENTS if given is None else (given, given)] * 2)
    best = _zoom(losses, bounds)
    ceiling, (own, common), loss = _nonnegative(terms(best), y, weights, highest)
    curve = TwoTermCurve(ceiling, float(own), float(common), float(best[0]), float(best[1]))
    unit = curve.own_exponent * size ** (-curve.own_exponent - 1)
    tells = [ceiling < highest, True, True]
    columns = np.hstack([np.ones((len(n), 1)), terms(best)])[:, tells]
    error = _slope_error(columns, np.array([0.0, unit, 0.0])[tells], weights)
    if stderr is None:
        error *= _scatter(loss, len(n) - columns.shape[1])
    return Fit(curve, size, curve.own * unit, error)


def shrink(values: ArrayLike, errors: ArrayLike) -> Floats:
    """Draw estimates towards their common mean, the more so the less certain they are.

    How far the true values lie apart is estimated by the method of moments.

    Parameters
    ----------
    values, errors : array_like, shape (groups,)
        Estimates and their standard errors, above 0; one whose error is infinite becomes the mean.

    Returns
    -------
    ndarray of float64, shape (groups,)

    References
    ----------
    DerSimonian, Laird (1986)

    Examples
    --------
    >>> shrink([1.0, 3.0, 0.0], [1.0, 1.0, float("inf")]).round(3)
    array([1.5, 2.5, 2. ])
    """
    estimates, spread = np.asarray(values, np.float64), np.asarray(errors, np.float64) ** 2
    known = np.isfinite(spread)
    if known.sum() < 2:
        mean = estimates[known].mean() if known.any() else 0.0
        return np.where(known, estimates, mean)
    precision = 1 / spread[known]
    mean = np.average(estimates[known], weights=precision)
    excess = precision @ (estimates[known] - mean) ** 2 - (known.sum() - 1)
    between = max(0.0, excess / (precision.sum() - (precision**2).sum() / precision.sum()))
    share = np.where(known, between / (between + np.where(known, spread, 1.0)), 0.0)
    return np.asarray(mean + share * (estimates - mean))


# --- least squares --------------------------------------------------------------------------------


def _measured(
    sizes: ArrayLike, performance: ArrayLike, stderr: ArrayLike | None, *others: ArrayLike
) -> tuple[Floats, ...]:
    """Read measurements: sizes, performance, weights and others, of those that count."""
    n, y, *more = (np.asarray(one, np.float64) for one in (sizes, performance, *others))
    errors = np.ones_like(y) if stderr is None else np.asarray(stderr, np.float64)
    if n.ndim != 1 or any(one.shape != n.shape for one in (y, errors, *more)):
        raise ValueError("give one size, performance and standard error a measurement")
    counts = np.isfinite(errors)
    if not counts.any() or not (errors > 0).all():
        raise ValueError("standard errors are above 0, and one at least is finite")
    if not all((one > 0).all() and np.isfinite(one).all() for one in (n, *more)):
        raise ValueError("sizes are finite and above 0")
    if not np.isfinite(y).all():
        raise ValueError("a performance is no finite number")
    return (n[counts], y[counts], errors[counts] ** -2, *(one[counts] for one in more))


def _line(x: Floats, y: Floats, weights: Floats, highest: float) -> tuple[Floats, Floats, Floats]:
    """Fit y = a + b x for each row of x, with a <= highest and b >= 0: a, b and loss."""
    total = weights.sum()
    mean_x, mean_y = x @ weights / total, float(y @ weights / total)
    moved = x - mean_x[:, None]
    slope = np.maximum(0.0, moved @ (weights * y) / np.maximum(moved**2 @ weights, 1e-300))
    # The best within the bounds is the free one, or lies on one of both edges.
    a = [mean_y - slope * mean_x, np.full_like(slope, min(mean_y, highest))]
    b = [slope, np.zeros_like(slope)]
    if math.isfinite(highest):
        a.append(np.full_like(slope, highest))
        b.append(np.maximum(0.0, x @ (weights * (y - highest)) / (x**2 @ weights)))
    ceilings, slopes = np.stack(a), np.stack(b)
    loss = (y - ceilings[..., None] - slopes[..., None] * x) ** 2 @ weights
    loss[ceilings > highest] = np.inf
    best = loss.argmin(axis=0), np.arange(len(x))
    return ceilings[best], slopes[best], loss[best]


def _nonnegative(
    columns: Floats, y: Floats, weights: Floats, highest: float = math.inf
) -> tuple[float, Floats, float]:
    """Fit y = a + columns @ k with a <= highest and k >= 0: a, k and loss."""
    from scipy.optimize import nnls

    level = highest if math.isfinite(highest) else float(y.mean())
    size = np.abs(columns).max(axis=0)
    ones = np.ones((len(y), 1))
    constants = -ones if math.isfinite(highest) else np.hstack([-ones, ones])
    scale = np.sqrt(weights)
    factors, norm = nnls(
        np.hstack([constants, columns / size]) * scale[:, None], (y - level) * scale
    )
    count = constants.shape[1]
    return level + float(constants[0] @ factors[:count]), factors[count:] / size, norm**2


def _zoom(loss: Callable[[Floats], Floats], bounds: Floats) -> Floats:
    """Find the point of the least loss within bounds, by grids that get ever finer.

    `loss` takes points of shape (points, dimensions); a dimension without width costs nothing.
    """
    low, high = bounds.T
    best, half, count = (low + high) / 2, (high - low) / 2, _FIRST
    for _ in range(_ZOOMS if half.any() else 1):
        axes = [
            np.clip(np.linspace(b - h, b + h, count), *bound) if h else np.array([b])
            for b, h, bound in zip(best, half, bounds, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        best = points[loss(points).argmin()]
        # Half as wide again as the way to the next point: the best one may lie off the grid's.
        half = 3 * half / (count - 1)
        count = _THEN
    return np.asarray(best)


def _derivatives(curve: PowerCurve, n: Floats, size: float) -> tuple[Floats, Floats]:
    """Give what ceiling, drop, exponent and offset change in the values, and in the slope."""
    drop, q = curve.drop, curve.exponent
    moved, there = n + curve.offset, size + curve.offset
    left = moved**-q
    columns = [np.ones_like(n), -left, drop * np.log(moved) * left, drop * q * left / moved]
    unit = there ** (-q - 1)
    slopes = [
        0.0,
        q * unit,
        drop * unit * (1 - q * math.log(there)),
        -drop * q * (q + 1) * unit / there,
    ]
    return np.stack(columns, axis=1), np.array(slopes)


def _slope_error(columns: Floats, slopes: Floats, weights: Floats) -> float:
    """Give the standard error of a slope; infinite where the measurements cannot tell it."""
    used = np.abs(columns).max(axis=0) > 0
    design, direction = columns[:, used] * np.sqrt(weights)[:, None], slopes[used]
    size = np.sqrt((design**2).sum(axis=0))
    triangle: Floats = np.linalg.qr(design / size)[1]
    if len(triangle) < len(size) or np.abs(np.diag(triangle)).min() < 1e-7:
        return math.inf
    return float(np.linalg.norm(np.linalg.solve(triangle.T, direction / size)))


def _scatter(loss: float, freedom: int) -> float:
    """Give the standard deviation of measurements about a fit."""
    return math.sqrt(max(loss, 0.0) / freedom) if freedom > 0 else math.inf
