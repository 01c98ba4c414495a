"""Whether a model's own attempts are worth labelling: how much their returns differ, and how.

Cloning good answers and searching with a verifier part ways where a model's attempts at a prompt
are of very different worth (heterogeneity), and where those that beat the best policy near to it
are not rare (anti-concentration). Both are measured here from the returns of some attempts at each
prompt, or from their exact law; so are that best policy, what best-of-N reaches, and the exponent
by which a gap grows with a budget. Rewards of 0 or 1 at the end hold heterogeneity below 1/2
whatever the budget is: keep returns on the scale of the budget.

Cost: O(n log n) for n attempts at a prompt; the pessimistic tilt some hundred times that and per
reward. Source: arXiv 2502.12118. Its body could not be read: definitions here are reconstructed
from its abstract and summaries, and the closed forms are derived here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = [
    "AntiConcentration",
    "Exponent",
    "Heterogeneity",
    "ScalingCurve",
    "Tilt",
    "anti_concentration",
    "best_in_ball",
    "best_of_n_value",
    "fit_exponent",
    "heterogeneity",
    "pessimistic_tilt",
    "scaling_curve",
    "two_outcome_regret",
]

Floats: TypeAlias = NDArray[np.float64]

_STILL = 1e-30  # a radius that moves no weight by a digit
_GAP = 1e-7  # how near to the best a pessimistic policy is, as a share of the highest return
_ROUNDS = 200  # it takes some tens


class Heterogeneity(NamedTuple):
    """How much the returns of a model's attempts at one prompt differ.

    Attributes
    ----------
    mean, sigma : ndarray of float64, shape (prompts,)
        Mean and standard deviation of the return of each prompt.
    median, root_mean_square : float
        Of `sigma` over prompts.
    silent : float
        Share of prompts whose attempts all return the same: they teach nothing.
    """

    mean: Floats
    sigma: Floats
    median: float
    root_mean_square: float
    silent: float


def heterogeneity(returns: ArrayLike, chances: ArrayLike | None = None) -> Heterogeneity:
    """Measure how much the returns of attempts at one prompt differ.

    Parameters
    ----------
    returns : array_like of float, shape (prompts, attempts)
    chances : array_like of float, shape (prompts, attempts), optional
        Their probabilities, where `returns` are all that there are; otherwise they are a sample,
        two or more of each prompt, and the variance is the unbiased one.

    Returns
    -------
    Heterogeneity

    Raises
    ------
    ValueError
        If shapes do not fit, a return is not finite, or chances do not sum to 1.

    Notes
    -----
    The paper's heterogeneity is reconstructed as sum_h E[Var(Q(s_h, a_h) | s_h)]; where text grows
    token by token, that is the variance of the return (derived here).

    References
    ----------
    arXiv 2502.12118

    Examples
    --------
    >>> found = heterogeneity([[0, 4, 0, 4], [3, 3, 3, 3]])
    >>> found.sigma.round(3).tolist(), found.silent
    ([2.309, 0.0], 0.5)
    """
    table, law = _checked(returns, chances)
    mean = (table * law).sum(axis=1)
    variance = ((table - mean[:, None]) ** 2 * law).sum(axis=1)
    if chances is None:
        if table.shape[1] < 2:
            raise ValueError("one attempt says nothing of how they differ: give two or more")
        variance *= table.shape[1] / (table.shape[1] - 1)
    silent = _spread(table, law) == 0
    sigma = np.where(silent, 0.0, np.sqrt(variance))
    return Heterogeneity(
        mean,
        sigma,
        float(np.median(sigma)),
        float(np.sqrt(np.mean(sigma**2))),
        float(silent.mean()),
    )


class AntiConcentration(NamedTuple):
    """How often an attempt beats the best policy within a radius.

    Attributes
    ----------
    shares : ndarray of float64, shape (prompts, radii)
        Share of attempts whose return is mean + sigma sqrt(radius) or more; 1 where all are equal.
    worst : ndarray of float64, shape (radii,)
        The least over prompts whose attempts differ; NaN where there is none.
    silent : float
        Share of prompts whose attempts do not differ, which have no part in `worst`.
    """

    shares: Floats
    worst: Floats
    silent: float


def anti_concentration(
    returns: ArrayLike, radii: ArrayLike, chances: ArrayLike | None = None
) -> AntiConcentration:
    """Measure how often an attempt returns mean + sigma sqrt(radius) or more.

    Best-of-N with a good verifier and N of about one over this share reaches that level.

    Parameters
    ----------
    returns, chances
        As `heterogeneity` takes them; sigma is that of the attempts as they are.
    radii : array_like of float, shape (radii,)
        0 or more.

    Returns
    -------
    AntiConcentration

    Raises
    ------
    ValueError
        As in `heterogeneity`, or if a radius is below 0.

    References
    ----------
    arXiv 2502.12118 (the definition is reconstructed)

    Examples
    --------
    >>> anti_concentration([[0, 0, 0, 4]], [0, 1, 4]).shares.tolist()
    [[0.25, 0.25, 0.0]]
    """
    table, law = _checked(returns, chances)
    grid = np.asarray(radii, np.float64)
    if grid.ndim != 1 or not (grid >= 0).all():
        raise ValueError("give a row of radii, each 0 or more")
    mean = (table * law).sum(axis=1)
    sigma = np.sqrt(((table - mean[:, None]) ** 2 * law).sum(axis=1))
    level = mean[:, None] + sigma[:, None] * np.sqrt(grid)
    # A mean or a root that is off in its last digit must not lose those that are just as high.
    close = 1e-9 * np.maximum(1.0, np.abs(table).max(axis=1))[:, None, None]
    high = table[:, None, :] >= level[:, :, None] - close
    shares = np.where(high, law[:, None, :], 0.0).sum(axis=2)
    silent = _spread(table, law) == 0
    shares[silent] = 1.0
    worst = shares[~silent].min(axis=0) if not silent.all() else np.full(len(grid), np.nan)
    return AntiConcentration(np.minimum(shares, 1.0), worst, float(silent.mean()))


class Tilt(NamedTuple):
    """A policy near to another, as weights of its attempts.

    Attributes
    ----------
    value : ndarray of float64, shape (prompts,)
        Its mean return at each prompt; of a pessimistic one, under the reward that is worst for it.
    weights : ndarray of float64, shape (prompts, attempts)
        How many times likelier than before each attempt is; their mean is 1.
    """

    value: Floats
    weights: Floats


def best_in_ball(returns: ArrayLike, kappa: float, chances: ArrayLike | None = None) -> Tilt:
    """Find the best policy within a chi-square distance of another.

    Parameters
    ----------
    returns : array_like of float, shape (prompts, attempts)
    kappa : float
        Radius: the mean of (weight - 1)^2 is this at most, for each prompt; 0 or more.
    chances : array_like of float, shape (prompts, attempts), optional
        Probabilities of the attempts; by default they are all as likely.

    Returns
    -------
    Tilt

    Raises
    ------
    ValueError
        As in `heterogeneity`, or if `kappa` is below 0.

    Notes
    -----
    While no weight is negative they are 1 + sqrt(kappa) (R - mean) / sigma, and the value is mean +
    sigma sqrt(kappa). Beyond that, attempts below a threshold have weight 0, and the rest grow in a
    line above it (derived here; exact).

    References
    ----------
    arXiv 2502.12118 (the class of experts is reconstructed)

    Examples
    --------
    >>> near = best_in_ball([[0, 0, 0, 4]], kappa=0.25)
    >>> near.value.round(3).tolist(), near.weights.round(3).tolist()
    ([1.866], [[0.711, 0.711, 0.711, 1.866]])
    >>> best_in_ball([[0, 0, 0, 4]], kappa=3).weights.tolist()
    [[0.0, 0.0, 0.0, 4.0]]
    """
    table, law = _checked(returns, chances)
    if not kappa >= 0:
        raise ValueError(f"kappa is {kappa}: give 0 or more")
    return _best(table, law, kappa)


def _best(table: Floats, law: Floats, kappa: float) -> Tilt:
    possible = law > 0
    top = np.where(possible, table, -np.inf).max(axis=1, keepdims=True)
    below = np.where(possible, table - top, -np.inf)
    order = np.argsort(-below, axis=1, kind="stable")
    values = np.take_along_axis(below, order, axis=1)
    mass = np.take_along_axis(law, order, axis=1)
    finite = np.where(np.isneginf(values), 0.0, values)
    # Of the highest j for every j: their share, mean and variance.
    share = mass.cumsum(axis=1)
    mean = (mass * finite).cumsum(axis=1) / share
    variance = np.maximum((mass * finite**2).cumsum(axis=1) / share - mean**2, 0.0)
    # share (1 + kappa) - 1, so that neither a small radius nor the last share loses its digits
    rest = np.concatenate(
        [mass[:, :0:-1].cumsum(axis=1)[:, ::-1], np.zeros((len(mass), 1))], axis=1
    )
    room = share * kappa - rest
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        threshold = mean - np.sqrt(variance / room)
    threshold = np.where(variance == 0, mean, threshold)
    after = np.concatenate([values[:, 1:], np.full((len(values), 1), -np.inf)], axis=1)
    # The highest j are all that has weight if the threshold they lead to lies above the next.
    fits = (room >= 0) & (threshold >= after) & (values > after)
    fits[:, -1] = True
    place = fits.argmax(axis=1)[:, None]
    at = np.take_along_axis(threshold, place, axis=1)
    flat = np.take_along_axis(variance, place, axis=1) == 0
    still = (kappa < _STILL) | (_spread(table, law)[:, None] == 0)
    above = np.maximum(below - np.where(flat | still, 0.0, at), 0.0)
    lifted = np.where(still, 1.0, np.where(flat, below == 0, above))
    weights = lifted / (lifted * law).sum(axis=1, keepdims=True)
    return Tilt((weights * law * table).sum(axis=1), weights)


def pessimistic_tilt(returns: ArrayLike, kappa: float) -> Tilt:
    """Find the policy within a chi-square distance whose worst value over some rewards is best.

    Parameters
    ----------
    returns : array_like of float, shape (prompts, attempts, rewards)
        What each attempt returns under each reward that may be the true one; attempts are all as
        likely.
    kappa : float
        As `best_in_ball` takes it, for each prompt. The worst reward is one for all prompts.

    Returns
    -------
    Tilt
        Its `value` at each prompt is that of the reward that is worst over all prompts.

    Raises
    ------
    ValueError
        If shapes do not fit, a return is not finite, or `kappa` is below 0.

    Notes
    -----
    A game: the best policy against a mixture of the rewards is the tilt of their mixed return, and
    a linear program finds the best mixture of the policies found so far, and the worst mixture of
    rewards against it, until both sides agree. With one reward this is `best_in_ball`.

    References
    ----------
    arXiv 2502.12118 (the algorithm is reconstructed)

    Examples
    --------
    >>> pays = [[[4, 0], [0, 4], [0, 0], [0, 0]]]  # the first attempt, or the second
    >>> pessimistic_tilt(pays, kappa=0.25).weights.round(3).tolist()
    [[1.5, 1.5, 0.5, 0.5]]
    """
    table = np.asarray(returns, np.float64)
    if table.ndim != 3 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"returns have shape {table.shape}: give (prompts, attempts, rewards)")
    if not kappa >= 0:
        raise ValueError(f"kappa is {kappa}: give 0 or more")
    prompts, attempts, rewards = table.shape
    law = np.full((prompts, attempts), 1 / attempts)
    if rewards == 1:
        return _best(table[:, :, 0], law, kappa)
    mixture = np.full(rewards, 1 / rewards)
    policies: list[Floats] = []
    worths: list[Floats] = []  # of each under each reward
    bound, close = np.inf, _GAP * max(1.0, float(np.abs(table).max()))
    for _ in range(_ROUNDS):
        policies.append(_best(table @ mixture, law, kappa).weights)
        worths.append(np.einsum("pa,par->r", policies[-1], table) / (prompts * attempts))
        bound = min(bound, float(worths[-1] @ mixture))
        shares, mixture, reached = _even_match(np.array(worths))
        if bound - reached <= close:
            break
    weights = np.einsum("c,cpa->pa", shares, np.array(policies))
    values = np.einsum("pa,par->pr", weights, table) / attempts
    return Tilt(values[:, values.mean(axis=0).argmin()], weights)


def _even_match(worths: Floats) -> tuple[Floats, Floats, float]:
    """Mix policies so that their worst worth is best: give shares, the worst mixture, the worth."""
    from scipy.optimize import linprog

    policies, rewards = worths.shape
    found = linprog(
        np.append(np.zeros(policies), -1.0),
        A_ub=np.column_stack([-worths.T, np.ones(rewards)]),
        b_ub=np.zeros(rewards),
        A_eq=[[*np.ones(policies), 0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * policies + [(None, None)],
    )
    shares, mixture = np.clip(found.x[:-1], 0, None), np.clip(-found.ineqlin.marginals, 0, None)
    return shares / shares.sum(), mixture / mixture.sum(), -float(found.fun)


def best_of_n_value(
    returns: ArrayLike, scores: ArrayLike, n: int, chances: ArrayLike | None = None
) -> Floats:
    """Give what the best of N attempts by some score returns on average; exact.

    Parameters
    ----------
    returns : array_like of float, shape (prompts, attempts)
    scores : array_like of float, shape (prompts, attempts)
        One of the highest is kept, each of them as likely; `returns` themselves are a perfect
        verifier.
    n : int
        Attempts drawn, with replacement; 1 or more.
    chances
        As `best_in_ball` takes it.

    Returns
    -------
    ndarray of float64, shape (prompts,)

    Raises
    ------
    ValueError
        As in `heterogeneity`, or if a score is NaN or `n` below 1.

    Examples
    --------
    >>> best_of_n_value([[0, 0, 0, 4]], [[0, 0, 0, 1]], 2).tolist()  # 4 (1 - (3/4)^2)
    [1.75]
    >>> best_of_n_value([[0, 0, 0, 4]], [[1, 1, 1, 1]], 2).tolist()
    [1.0]
    """
    table, law = _checked(returns, chances)
    marks = np.asarray(scores, np.float64)
    if marks.shape != table.shape or np.isnan(marks).any():
        raise ValueError(f"scores have shape {marks.shape} for {table.shape}, or are NaN")
    if n < 1:
        raise ValueError(f"n is {n}: give 1 or more")
    found = np.empty(len(table))
    for row, (values, mass, mark) in enumerate(zip(table, law, marks, strict=True)):
        levels, level = np.unique(mark, return_inverse=True)
        share = np.bincount(level, mass, len(levels))
        upto = np.minimum(share.cumsum(), 1.0)
        kept = upto**n - np.concatenate([[0.0], upto[:-1]]) ** n
        worth = np.bincount(level, mass * values, len(levels))
        held = share > 0
        found[row] = (kept[held] * worth[held] / share[held]).sum()
    return found


class ScalingCurve(NamedTuple):
    """What some learners reach as a budget grows.

    Attributes
    ----------
    budgets, traces : ndarray of int64, shape (budgets,)
    values : dict of str to ndarray of float64, shape (budgets, seeds)
    """

    budgets: NDArray[np.int64]
    traces: NDArray[np.int64]
    values: dict[str, Floats]

    def gap(self, one: str, other: str) -> Floats:
        """Give how much more one learner reaches than another, shape (budgets, seeds)."""
        return self.values[one] - self.values[other]


def scaling_curve(
    budgets: Sequence[int],
    traces_of: Callable[[int], int],
    learners: Mapping[str, Callable[[int, int, int], float]],
    seeds: int,
) -> ScalingCurve:
    """Train every learner at every budget, and give what each reaches.

    Parameters
    ----------
    budgets : sequence of int
        Tokens of an attempt.
    traces_of : callable
        Attempts to learn from at a budget, the same for every learner.
    learners : mapping from name to callable
        Called with budget, traces and seed; gives a value.
    seeds : int

    Returns
    -------
    ScalingCurve

    Examples
    --------
    >>> curve = scaling_curve([4, 9], lambda H: H, {"a": lambda H, n, seed: H * n + seed}, 2)
    >>> curve.values["a"].tolist()
    [[16.0, 17.0], [81.0, 82.0]]
    """
    counts = [traces_of(budget) for budget in budgets]
    values = {
        name: np.array(
            [
                [learn(budget, count, seed) for seed in range(seeds)]
                for budget, count in zip(budgets, counts, strict=True)
            ],
            np.float64,
        )
        for name, learn in learners.items()
    }
    return ScalingCurve(np.asarray(budgets, np.int64), np.asarray(counts, np.int64), values)


class Exponent(NamedTuple):
    """A power law, value = constant x^slope, and how sure its slope is.

    Attributes
    ----------
    slope, low, high : float
        And its bootstrap interval.
    constant : float
    used : float
        Share of the bootstrap's resamples whose means are all above 0, which the interval is of.
    """

    slope: float
    low: float
    high: float
    constant: float
    used: float


def fit_exponent(
    x: ArrayLike,
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: RandomState = 0,
) -> Exponent:
    """Fit the exponent by which a mean grows, with an interval by a bootstrap over seeds.

    Parameters
    ----------
    x : array_like of float, shape (points,)
        Above 0; two different ones or more.
    values : array_like of float, shape (points, seeds)
        Their mean at each point must be above 0. Seeds are resampled at each point by itself.
    confidence : float
        Between 0 and 1.
    resamples : int
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Exponent

    Raises
    ------
    ValueError
        If shapes do not fit, or a mean is not above 0: there is no power law then.

    Examples
    --------
    >>> fit = fit_exponent([1, 4, 16], [[3.0], [6.0], [12.0]])
    >>> round(fit.slope, 6), round(fit.constant, 6)
    (0.5, 3.0)
    """
    points, table = np.asarray(x, np.float64), np.asarray(values, np.float64)
    if table.ndim != 2 or points.shape != table.shape[:1] or len(np.unique(points)) < 2:
        raise ValueError(
            f"shapes {points.shape} and {table.shape}: give (points,), (points, seeds)"
        )
    if not (points > 0).all() or not 0 < confidence < 1:
        raise ValueError("x must be above 0, and confidence between 0 and 1")
    means = table.mean(axis=1)
    if not (means > 0).all():
        raise ValueError(f"means are {means.tolist()}: an exponent needs them above 0")
    logs = np.log(points) - np.log(points).mean()
    slopes = logs / (logs @ logs)
    seeds = table.shape[1]
    picks = generator(rng).integers(seeds, size=(resamples, *table.shape))
    again = np.take_along_axis(table[None], picks, axis=2).mean(axis=2)
    usable = again[(again > 0).all(axis=1)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.log(usable) @ slopes, [tail, 1 - tail])
    slope = float(np.log(means) @ slopes)
    constant = float(np.exp(np.log(means).mean() - slope * np.log(points).mean()))
    return Exponent(slope, float(low), float(high), constant, len(usable) / resamples)


def two_outcome_regret(traces: int, budget: float) -> tuple[float, float]:
    """Give what cloning, and labels, lose in the smallest problem that tells them apart; exact.

    A base policy has outcomes A, B and another with chances 1/4, 1/4, 1/2. Either A pays half the
    budget or B does. The expert is the best policy within a chi-square distance of 1 / traces.
    Cloning sees the expert's outcomes, and plays the expert of the one that is more frequent;
    the other sees the base policy's outcomes and what they pay.

    Parameters
    ----------
    traces : int
        1 or more.
    budget : float

    Returns
    -------
    cloning, labels : float
        What each loses to the expert on average.

    Raises
    ------
    ValueError
        If `traces` is below 1.

    References
    ----------
    arXiv 2502.12118 (its claim; this problem is made here)

    Examples
    --------
    >>> [round(two_outcome_regret(n, n)[0], 3) for n in (16, 64, 256)]
    [0.255, 0.496, 0.975]
    """
    from scipy.stats import binom

    if traces < 1:
        raise ValueError(f"traces is {traces}: give 1 or more")
    law = np.array([0.25, 0.25, 0.5])
    expert = best_in_ball([[budget / 2, 0, 0]], 1 / traces, [law]).weights[0] * law
    lost = float((expert[0] - expert[1]) * budget / 2)
    seen = expert[0] + expert[1]
    told = np.arange(traces + 1)
    # The wrong one is more frequent, or as frequent and taken half the time.
    right = expert[0] / seen
    wrong = binom.cdf(np.ceil(told / 2) - 1, told, right)
    wrong += np.where(told % 2 == 0, binom.pmf(told // 2, told, right) / 2, 0.0)
    return float(binom.pmf(told, traces, seen) @ wrong) * lost, 0.5 * 0.5**traces * lost


def _checked(returns: ArrayLike, chances: ArrayLike | None) -> tuple[Floats, Floats]:
    table = np.asarray(returns, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"returns have shape {table.shape}: give finite (prompts, attempts)")
    if chances is None:
        return table, np.full(table.shape, 1 / table.shape[1])
    law = np.broadcast_to(np.asarray(chances, np.float64), table.shape)
    if not (law >= 0).all() or not np.allclose(law.sum(axis=1), 1):
        raise ValueError("the chances of a prompt's attempts must be 0 or more and sum to 1")
    return table, law


def _spread(table: Floats, law: Floats) -> Floats:
    """Give the distance of the highest to the lowest possible return; exactly 0 if all are one."""
    high = np.where(law > 0, table, -np.inf).max(axis=1)
    low = np.where(law > 0, table, np.inf).min(axis=1)
    return np.asarray(high - low)
