"""Which of several methods is best, with as few seeds as it takes: successive elimination.

Every seed gives one value to each method that still runs. A method that is clearly behind another
gets no further seeds; the race ends when one is left, when those left differ by less than matters,
or when the seeds are used up.

What the intervals rest on: value = method + seed + noise, where all methods of one seed share what
makes that seed easy or hard (the same held-out rows), and the noise is normal with one spread for
all methods. The spread is pooled over the methods from what is left when method and seed are taken
out, so that a handful of seeds is enough. Every seed is a look at the data, and every look and
every comparison is a chance to err: the levels are such that the whole race errs with probability
`alpha` at most. They are exact while all methods run, and stay so within simulation error when
methods leave.

Where the model fails, by simulation of eight equal methods at alpha 0.1, a given one is put behind
with probability 0.13 if the noise is exponential, 0.11 if it is Student's t with 3 degrees of
freedom, and 0.20 if its own noise (alone) is twice that of the others. `unlike` tells such methods;
`pooled=False` compares each pair by its own differences, at 0.06, but needs many more seeds.

Cost: a few milliseconds a seed. Sources: Even-Dar, Mannor, Mansour (2006) for successive
elimination; Dunnett (1955) and Hsu (1984) for comparisons with one method and with the best; Pocock
(1977) for one nominal level at every look.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Exit", "Noise", "Race", "Standing", "additive_fit", "critical", "noise_of", "per_look"]

Floats: TypeAlias = NDArray[np.float64]
Family: TypeAlias = Literal["best", "baseline", "mean"]

_PATHS, _CHUNK = 40_000, 5_000  # simulated races that a level is read from
_FLOOR = 1e-4  # of the mean size of the values: what a table prints is no finer


@dataclass(frozen=True)
class Exit:
    """Why a method is clearly behind.

    Parameters
    ----------
    after : int
        Seeds it had then.
    rival : str
        The method it is behind.
    gap : float
        By how much, in favour of the rival.
    margin : float
        What `gap` had to exceed.
    """

    after: int
    rival: str
    gap: float
    margin: float


@dataclass(frozen=True)
class Standing:
    """Where a method stands.

    Attributes
    ----------
    name : str
    seeds : int
        How many it was given.
    mean : float
        Its mean over all the seeds of the race; where it left early, what the seeds that it missed
        gave the others is taken into account.
    low, high : float
        Interval of `mean` for these very seeds; all methods' hold together.
    difference : float or None
        From the baseline; above 0 where the value is larger.
    difference_low, difference_high : float or None
        Interval of it; all methods' hold together.
    exit : Exit or None
        What put it clearly behind.
    may_be_best : bool
    """

    name: str
    seeds: int
    mean: float
    low: float
    high: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    exit: Exit | None
    may_be_best: bool


class Noise(NamedTuple):
    """Sum of squares of what method and seed leave over, and its degrees of freedom."""

    squares: float
    freedom: int

    @property
    def deviation(self) -> float:
        """Standard deviation of a value's noise."""
        return math.sqrt(self.squares / self.freedom)


class Race:
    """Successive elimination of methods whose values come seed by seed.

    Parameters
    ----------
    names : sequence of str
        Two methods or more.
    most : int
        The most seeds a method can get, 2 or more.
    baseline : str, optional
        The method that differences are taken from; it always gets all the seeds of the race.
    alpha : float
        The probability, at most, that the best method is put behind (or the race stops at one that
        is worse by more than `indifference`); also that an interval of a family misses.
    indifference : float
        A difference that does not matter: the race ends when no method left can be better than
        the leader by more than this.
    higher_is_better : bool
    pooled : bool
        Whether all methods have one spread of noise. If not, each pair is judged by the spread of
        its own differences, which needs many more seeds.
    floor : float, optional
        The smallest standard deviation of noise that is believed. Values that happen to agree, or
        methods without noise, would give intervals of no width. By default a ten-thousandth of the
        mean size of the values.
    eliminate : bool
        If not, every method gets every seed, and one look is taken at the end.

    Raises
    ------
    ValueError
        If a parameter makes no sense.

    Examples
    --------
    >>> race = Race(["good", "poor", "random"], most=8, baseline="random")
    >>> worth = {"good": 0.9, "poor": 0.5, "random": 0.6}
    >>> rng = np.random.default_rng(0)
    >>> while names := race.ask():
    ...     race.tell({name: worth[name] + 0.01 * rng.normal() for name in names})
    >>> race.leader, race.seeds, race.spent, race.fixed, race.decided
    ('good', 2, 6, 24, True)
    >>> [(row.name, row.may_be_best) for row in race.standings()]
    [('good', True), ('random', False), ('poor', False)]
    """

    def __init__(
        self,
        names: Sequence[str],
        most: int,
        *,
        baseline: str | None = None,
        alpha: float = 0.05,
        indifference: float = 0.0,
        higher_is_better: bool = True,
        pooled: bool = True,
        floor: float | None = None,
        eliminate: bool = True,
    ) -> None:
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"names {list(names)}: give two or more, each once")
        if most < 2:
            raise ValueError(f"most is {most}: no interval without two seeds")
        if baseline is not None and baseline not in names:
            raise ValueError(f"baseline {baseline!r} is not among the names")
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha is {alpha}: give more than 0 and less than 0.5")
        if not indifference >= 0 or (floor is not None and not floor >= 0):
            raise ValueError(f"indifference {indifference}, floor {floor}: give 0 or more")
        self.names = tuple(names)
        self.most = most
        self.baseline = baseline
        self.alpha = alpha
        self.indifference = indifference
        self.higher_is_better = higher_is_better
        self.pooled = pooled
        self.floor = floor
        self.eliminate = eliminate
        self.exits: dict[str, Exit] = {}
        self._values = np.empty((0, len(self.names)))
        self._noise = Noise(0.0, 0)
        self._fit: tuple[Floats, Floats, Floats] | None = None
        self._decided = False

    # --- ask and tell -------------------------------------------------------------------------

    def ask(self) -> tuple[str, ...]:
        """Name the methods that get the next seed; none when the race is over."""
        if self.seeds == self.most or (self.eliminate and self._decided):
            return ()
        if not self.eliminate:
            return self.names
        return tuple(n for n in self.names if n not in self.exits or n == self.baseline)

    def tell(self, values: Mapping[str, float]) -> None:
        """Take the values of a seed, one finite number for each method that was asked for.

        Raises
        ------
        ValueError
            If it is not that.
        """
        asked = self.ask()
        if set(values) != set(asked) or not all(map(math.isfinite, values.values())):
            raise ValueError(f"{dict(values)}: give one finite number for each of {asked}")
        row = [[values.get(name, math.nan) for name in self.names]]
        self._values = np.concatenate([self._values, row])
        self._noise = _added(self._noise, self._values)
        self._fit = None
        if self.seeds == self.most or (self.eliminate and self.seeds >= 2):
            self._look()

    # --- what is known ------------------------------------------------------------------------

    @property
    def seeds(self) -> int:
        """Seeds told so far."""
        return len(self._values)

    @property
    def spent(self) -> int:
        """Values told so far: a seed costs one for each method that gets it."""
        return int(np.isfinite(self._values).sum())

    @property
    def fixed(self) -> int:
        """Values that the race would have cost with every seed for every method."""
        return self.most * len(self.names)

    @property
    def decided(self) -> bool:
        """Whether the leader is best, or less than `indifference` from it, with 1 - `alpha`."""
        return self._decided

    @property
    def leader(self) -> str:
        """The best mean of the methods that may be best."""
        means = self._sign * self._values.mean(axis=0)  # NaN for those that missed a seed
        return self.names[max(self._left, key=lambda i: means[i])]

    def standings(self) -> list[Standing]:
        """Rank the methods, best first; those clearly behind come after those that may be best.

        Raises
        ------
        ValueError
            If fewer than two seeds were told.
        """
        if self.seeds < 2:
            raise ValueError("no interval without two seeds")
        self._fit = additive_fit(self._values)
        rows = [self._standing(place) for place in range(len(self.names))]
        return sorted(rows, key=lambda row: (not row.may_be_best, -self._sign * row.mean))

    def spreads(self) -> dict[str, float]:
        """Estimate each method's own standard deviation of noise; NaN where one seed is all."""
        method, seed, _ = self._fit or additive_fit(self._values)
        left = self._values - method - seed[:, None]
        counts = np.isfinite(left)
        # Each residual keeps 1 - 1/a of its variance where a methods share a seed.
        share = 1 - 1 / counts.sum(axis=1, keepdims=True)
        freedom = (counts.sum(axis=0) - 1) * (counts * share).sum(axis=0) / counts.sum(axis=0)
        squares = np.nansum(left**2, axis=0)
        return {
            name: math.sqrt(squares[i] / freedom[i]) if freedom[i] > 0 else math.nan
            for i, name in enumerate(self.names)
        }

    def unlike(self, level: float = 0.01) -> list[str]:
        """Name the methods whose own noise is larger than that of the others, beyond chance.

        By an F test of each, at `level` over all methods.
        """
        from scipy.stats import f

        noise, found = self._noise, []
        for name, own in self.spreads().items():
            count = int(np.isfinite(self._values[:, self.names.index(name)]).sum())
            mine = (count - 1) * (1 - 1 / len(self.names))  # its degrees of freedom
            left = noise.freedom - mine
            if count < 3 or left < 2:
                continue
            others = max(noise.squares - mine * own**2, 0.0) / left
            bound = f.isf(level / len(self.names), mine, left)
            if own**2 > bound * max(others, self._smallest**2):
                found.append(name)
        return found

    # --- inside -------------------------------------------------------------------------------

    @property
    def _sign(self) -> int:
        return 1 if self.higher_is_better else -1

    @property
    def _left(self) -> list[int]:
        return [i for i, name in enumerate(self.names) if name not in self.exits]

    @property
    def _looks(self) -> int:
        return self.most - 1 if self.eliminate else 1

    def _look(self) -> None:
        """Put behind who is, and see whether that settles it."""
        running = self._left
        gaps, margins = self._compare(running)
        worst = np.argmax(gaps - margins, axis=0)
        for j, rival in enumerate(worst.tolist()):
            gap, margin = float(gaps[rival, j]), float(margins[rival, j])
            if gap > margin:
                self.exits[self.names[running[j]]] = Exit(
                    self.seeds, self.names[running[rival]], gap, margin
                )
        leader = running.index(self.names.index(self.leader))
        left = [place for place, i in enumerate(running) if self.names[i] not in self.exits]
        most = [gaps[i, leader] + margins[i, leader] for i in left if i != leader]
        self._decided = all(value <= self.indifference for value in most)

    def _compare(self, running: list[int]) -> tuple[Floats, Floats]:
        """Give by how much i is better than j, and what is more than chance, for all i and j.

        All of them have every seed; a method's gap to itself is 0.
        """
        values = self._sign * self._values[:, running]
        gaps = values.mean(axis=0)[:, None] - values.mean(axis=0)
        if self.pooled:
            margin = self._quantile("best") * self._deviation * math.sqrt(2 / self.seeds)
            return gaps, np.full_like(gaps, margin)
        apart = (values[:, :, None] - values[:, None, :]).std(axis=0, ddof=1)
        deviation = np.maximum(apart, math.sqrt(2) * self._smallest)
        return gaps, self._student("best", self.seeds) * deviation / math.sqrt(self.seeds)

    @property
    def _smallest(self) -> float:
        if self.floor is not None:
            return self.floor
        return _FLOOR * float(np.nanmean(np.abs(self._values)))

    @property
    def _deviation(self) -> float:
        return max(self._noise.deviation, self._smallest)

    def _quantile(self, family: Family) -> float:
        """Give how many standard errors are more than chance, spread pooled."""
        level = per_look(family, len(self.names), self.most, self.alpha, self._looks)
        return critical(family, len(self.names), self._noise.freedom, level)

    def _student(self, family: Family, count: int) -> float:
        """Give the same for `count` values of one method or pair, by Bonferroni."""
        if count < 2:
            return math.inf
        sides = 1 if family == "best" else 2
        events = len(self.names) - (family != "mean")
        return _student(self.alpha / (sides * events * self._looks), count - 1)

    def _standing(self, place: int) -> Standing:
        name = self.names[place]
        method, seed, covariance = self._fit or additive_fit(self._values)
        mean = float(method[place] + seed.mean())
        count = int(np.isfinite(self._values[:, place]).sum())
        if self.pooled:
            contrast = np.zeros(len(covariance))
            contrast[place], contrast[len(method) :] = 1, 1 / len(seed)
            half = self._quantile("mean") * self._deviation * _length(contrast, covariance)
        else:
            own = np.fmax(self.spreads()[name], self._smallest)
            half = self._student("mean", count) * float(own) / math.sqrt(count)
        gap = low = high = None
        if self.baseline is not None and name != self.baseline:
            gap, margin = self._difference(place, self.names.index(self.baseline))
            low, high = gap - margin, gap + margin
        left = self.exits.get(name)
        interval = (mean - half, mean + half)
        return Standing(name, count, mean, *interval, gap, low, high, left, left is None)

    def _difference(self, i: int, j: int) -> tuple[float, float]:
        """Give the difference of a method from the baseline, and its half-width."""
        if self.pooled:
            method, _, covariance = self._fit or additive_fit(self._values)
            contrast = np.zeros(len(covariance))
            contrast[i], contrast[j] = 1, -1
            error = self._deviation * _length(contrast, covariance)
            return float(method[i] - method[j]), self._quantile("baseline") * error
        apart = self._values[:, i] - self._values[:, j]
        apart = apart[np.isfinite(apart)]
        deviation = math.sqrt(2) * self._smallest
        if len(apart) > 1:
            deviation = max(float(apart.std(ddof=1)), deviation)
        margin = self._student("baseline", len(apart)) * deviation / math.sqrt(len(apart))
        return float(apart.mean()), margin


def _length(contrast: Floats, covariance: Floats) -> float:
    return math.sqrt(max(float(contrast @ covariance @ contrast), 0.0))


def noise_of(values: Floats) -> Noise:
    """Sum up the squares of what method and seed leave over.

    Parameters
    ----------
    values : ndarray of float64, shape (seeds, methods)
        NaN where a method got no value; one that missed a seed misses all later ones.

    Returns
    -------
    Noise
        The residual sum of squares of the two-way layout without interaction.

    Notes
    -----
    It is added up seed by seed. What a seed's values add depends only on how far they are from the
    means so far; given these means, it is that of fresh noise, whoever has left by then.

    Examples
    --------
    >>> noise_of(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]]))
    Noise(squares=1.3333333333333333, freedom=2)
    """
    noise = Noise(0.0, 0)
    for seeds in range(1, len(values) + 1):
        noise = _added(noise, values[:seeds])
    return noise


def _added(noise: Noise, values: Floats) -> Noise:
    """Add what the last seed tells to the noise of those before it."""
    count = len(values) - 1
    if not count:
        return noise
    here = np.isfinite(values[-1])
    gaps = values[-1, here] - values[:-1, here].mean(axis=0)
    squares = count / (count + 1) * float(((gaps - gaps.mean()) ** 2).sum())
    return Noise(noise.squares + squares, noise.freedom + len(gaps) - 1)


def additive_fit(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit value = method + seed by least squares.

    Parameters
    ----------
    values : ndarray of float64, shape (seeds, methods)
        NaN where there is none.

    Returns
    -------
    method : ndarray, shape (methods,)
    seed : ndarray, shape (seeds,)
        Their mean is 0.
    covariance : ndarray, shape (methods + seeds,) * 2
        Of methods and seeds together, for noise of variance 1; right for every contrast that the
        values determine.

    Examples
    --------
    >>> method, seed, _ = additive_fit(np.array([[1.0, 2.0], [3.0, np.nan]]))
    >>> method.round(6).tolist(), seed.round(6).tolist()
    ([2.0, 3.0], [-1.0, 1.0])
    """
    seeds, methods = values.shape
    row, column = np.nonzero(np.isfinite(values))
    design = np.zeros((len(row), methods + seeds))
    design[np.arange(len(row)), column] = 1
    design[np.arange(len(row)), methods + row] = 1
    covariance = np.linalg.pinv(design.T @ design, hermitian=True)
    effects = covariance @ (design.T @ values[row, column])
    method, seed = effects[:methods], effects[methods:]
    return method + seed.mean(), seed - seed.mean(), covariance


@functools.cache
def critical(family: Family, methods: int, freedom: int, level: float) -> float:
    """Give what the largest of a family of studentised contrasts exceeds with probability `level`.

    Parameters
    ----------
    family : {'best', 'baseline', 'mean'}
        The others minus one method, one-sided; the same, two-sided; or the methods' own means,
        two-sided. Each contrast is divided by its standard error.
    methods : int
        All of them.
    freedom : int
        Degrees of freedom of the pooled spread.
    level : float

    Returns
    -------
    float

    Examples
    --------
    >>> round(critical("best", 2, 10, 0.05), 3)  # one comparison: Student's t
    1.812
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi2

    # Over u = v^2, so that small spreads, where large ratios come from, get the most nodes.
    nodes, weights = np.polynomial.legendre.leggauss(96)
    v = (nodes + 1) / 2
    spread = np.sqrt(chi2.ppf(v**2, freedom) / freedom)
    share = weights * v
    z, mass = np.polynomial.hermite_e.hermegauss(64)
    mass = mass / math.sqrt(2 * math.pi)

    def exceeds(bound: float) -> float:
        reach = bound * spread
        if family == "mean":
            inside = (1 - 2 * ndtr(-reach)) ** methods
        else:
            # A difference shares one method's noise z with every other.
            upper = ndtr(math.sqrt(2) * reach[:, None] + z)
            lower = 0.0 if family == "best" else ndtr(z - math.sqrt(2) * reach[:, None])
            inside = ((upper - lower) ** (methods - 1)) @ mass
        return float(share @ (1 - inside))

    high = 4.0
    while exceeds(high) > level:
        high *= 2
    return float(brentq(lambda bound: exceeds(bound) - level, 0.0, high, xtol=1e-9))


@functools.cache
def per_look(family: Family, methods: int, most: int, alpha: float, looks: int) -> float:
    """Give the level for each of the last `looks` looks at a race: together they err `alpha`.

    It is one for all looks, read from simulated races; the same call always gives the same.

    Examples
    --------
    >>> per_look("best", 8, 5, 0.05, 1)
    0.05
    >>> 0.05 / 4 < per_look("best", 8, 5, 0.05, 4) < 0.05
    True
    """
    if looks == 1:
        return alpha
    rng = np.random.default_rng(20_240_911)
    found = [_statistics(family, methods, most, rng) for _ in range(_PATHS // _CHUNK)]
    ratios = np.concatenate(found)[:, most - 1 - looks :]
    # How rare each look's value is, by its rank among the races.
    ranks = np.argsort(np.argsort(-ratios, axis=0), axis=0)
    rarest = ((ranks + 1) / len(ratios)).min(axis=1)
    # A little less than alpha, for what the simulation itself may be off by.
    slack = 2 * math.sqrt(alpha * (1 - alpha) / len(ratios))
    return float(np.quantile(rarest, max(alpha - slack, alpha / 2)))


def _statistics(family: Family, methods: int, most: int, rng: Any) -> Floats:
    """Simulate races without differences; give the family's largest ratio at each look."""
    noise = rng.standard_normal((_CHUNK, most, methods))
    count = np.arange(1, most + 1)[:, None]
    means = np.cumsum(noise, axis=1) / count
    gaps = noise[:, 1:] - means[:, :-1]
    gaps -= gaps.mean(axis=2, keepdims=True)
    steps = count[:-1, 0] / count[1:, 0] * (gaps**2).sum(axis=2)
    freedom = (methods - 1) * np.arange(1, most)
    deviation = np.sqrt(np.cumsum(steps, axis=1) / freedom)
    later = means[:, 1:]
    if family == "mean":
        largest = np.abs(later).max(axis=2)
        error = 1 / np.sqrt(count[1:, 0])
    else:
        apart = later[:, :, 1:] - later[:, :, :1]
        largest = (apart if family == "best" else np.abs(apart)).max(axis=2)
        error = np.sqrt(2 / count[1:, 0])
    ratios: Floats = largest / (deviation * error)
    return ratios


@functools.cache
def _student(level: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(level, freedom))
