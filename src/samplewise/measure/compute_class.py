"""Language models compared at equal accelerator time, rather than equal steps or parameters.

Measure the throughput of a training step on one reference accelerator; turn hours into steps; train
so long on whatever there is; score by a perplexity that no tokenizer can change; fit how it falls
with the hours, and see where two designs would meet. Use it to compare designs of different speed,
and `at_equal_steps` to see what that comparison would have hidden.

Cost: O(sizes x rounds) steps to measure, O(resamples x points) to fit. Source: arXiv 2309.11197 and
its code. The form of its law could not be read: a power law of the normalised loss or perplexity
is taken here, which is an inference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

__all__ = [
    "Contender",
    "Crossing",
    "Run",
    "ScalingLaw",
    "Score",
    "Sweep",
    "Throughput",
    "at_equal_steps",
    "at_equal_time",
    "crossing",
    "fit_scaling",
    "measure_throughput",
    "normalised_metrics",
    "steps_for",
    "sweep",
    "text_length",
]

Floats: TypeAlias = NDArray[np.float64]


# --- throughput and budgets -----------------------------------------------------------------------


class Throughput(NamedTuple):
    """What a training step costs.

    Attributes
    ----------
    tokens_per_second : float
        Tokens of a step over the mean time of one.
    mean, sd : float
        Milliseconds a step.
    """

    tokens_per_second: float
    mean: float
    sd: float


def measure_throughput(
    step: Callable[[], object],
    batch_size: int,
    length: int,
    *,
    warm_up: int = 5,
    rounds: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Time a training step, after some that are not timed.

    The published script leaves one step more out, and times 14 of its 15 rounds.

    Parameters
    ----------
    step : callable
        Takes one whole step - forward, backward, optimizer - on random tokens, from a state of
        zeros, and returns when it is done: on an accelerator, it must wait for it.
    batch_size, length : int
        Sequences a step, and tokens of each.
    warm_up, rounds : int
        Steps that are not timed, and that are.
    clock : callable
        Gives seconds.

    Returns
    -------
    Throughput

    Raises
    ------
    UsageError
        If a number is too small.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> ticks = iter([0.0, 0.5, 1.0, 1.5])
    >>> measure_throughput(lambda: None, 8, 512, rounds=2, clock=lambda: next(ticks))
    Throughput(tokens_per_second=8192.0, mean=500.0, sd=0.0)
    """
    _at_least(1, batch_size=batch_size, length=length, rounds=rounds)
    _at_least(0, warm_up=warm_up)
    for _ in range(warm_up):
        step()
    seconds = np.empty(rounds)
    for number in range(rounds):
        start = clock()
        step()
        seconds[number] = clock() - start
    mean = float(seconds.mean())
    return Throughput(batch_size * length / mean, 1000 * mean, 1000 * float(seconds.std()))


class Sweep(NamedTuple):
    """What was found over batch sizes.

    Attributes
    ----------
    batch_size : int
        The one with the highest throughput.
    tokens_per_second : float
        Its throughput.
    found : dict of int to Throughput
        All that fit into memory.
    """

    batch_size: int
    tokens_per_second: float
    found: dict[int, Throughput]


def sweep(
    make_step: Callable[[int], Callable[[], object]],
    batch_sizes: Sequence[int],
    length: int,
    *,
    warm_up: int = 5,
    rounds: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> Sweep:
    """Measure batch sizes from the smallest on, until one does not fit into memory.

    Parameters
    ----------
    make_step : callable
        Gives the step of a batch size.
    batch_sizes : sequence of int
    length, warm_up, rounds, clock
        As `measure_throughput` takes them.

    Returns
    -------
    Sweep

    Raises
    ------
    UsageError
        If none fits.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> now = [0.0]
    >>> def make_step(size):
    ...     return lambda: now.append(now.pop() + 0.01 + 0.001 * size)
    >>> sweep(make_step, [1, 10], 100, clock=lambda: now[0]).batch_size
    10
    """
    found: dict[int, Throughput] = {}
    for size in sorted(batch_sizes):
        try:
            found[size] = measure_throughput(
                make_step(size), size, length, warm_up=warm_up, rounds=rounds, clock=clock
            )
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "out of memory" in str(error)):
                raise
            break
    if not found:
        raise UsageError(f"no batch size of {list(batch_sizes)} fits", mend="give smaller ones")
    best = max(found, key=lambda size: found[size].tokens_per_second)
    return Sweep(best, found[best].tokens_per_second, found)


def steps_for(
    hours: float,
    tokens_per_second: float,
    batch_size: int,
    length: int = 512,
    *,
    whole: Literal["round", "floor"] = "round",
) -> int:
    """Give the steps that a compute class allows.

    The batch size may be another than that whose throughput was measured.

    Parameters
    ----------
    hours : float
        Of the reference accelerator.
    tokens_per_second : float
        Throughput there.
    batch_size, length : int
        Sequences a step, and tokens of each.
    whole : {'round', 'floor'}
        The published tables agree with both.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If a number is not above 0, or not one step fits.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> steps_for(6, 55_416, batch_size=128), steps_for(96, 16_618, batch_size=256)
    (18265, 43817)
    """
    _at_least(1, batch_size=batch_size, length=length)
    if not (0 < hours < math.inf and 0 < tokens_per_second < math.inf):
        raise UsageError(
            f"hours is {hours} and tokens_per_second {tokens_per_second}", mend="give more than 0"
        )
    exact = hours * 3600 * tokens_per_second / (batch_size * length)
    steps = round(exact) if whole == "round" else math.floor(exact)
    if steps < 1:
        raise UsageError(f"{hours} hours are {exact:.3f} steps", mend="give more, or smaller steps")
    return steps


def _at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name} is {number}", mend=f"give {least} or more")


# --- scores ---------------------------------------------------------------------------------------


class Score(NamedTuple):
    """How well a text was predicted.

    Attributes
    ----------
    loss, perplexity : float
        Nats a token, and the exponential.
    normalised_loss, normalised_perplexity : float
        Nats a character (or byte), and the exponential: tokenizers can be compared by it.
    """

    loss: float
    perplexity: float
    normalised_loss: float
    normalised_perplexity: float


def normalised_metrics(total: float, tokens: int, length: int) -> Score:
    """Give losses and perplexities, by tokens and by the length of the text.

    Parameters
    ----------
    total : float
        Minus the log-probability of all targets, in nats.
    tokens : int
        Targets.
    length : int
        Of the decoded targets, as `text_length` gives it.

    Returns
    -------
    Score

    Raises
    ------
    UsageError
        If there is no target or no text, or `total` is not 0 or more.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> score = normalised_metrics(30 * np.log(16), tokens=30, length=120)
    >>> round(score.perplexity, 6), round(score.normalised_perplexity, 6)
    (16.0, 2.0)
    """
    _at_least(1, tokens=tokens, length=length)
    if not 0 <= total < math.inf:
        raise UsageError(f"total is {total}", mend="give nats, 0 or more")
    loss, normalised = total / tokens, total / length
    with np.errstate(over="ignore"):
        perplexity, normalised_perplexity = np.exp([loss, normalised]).tolist()
    return Score(loss, perplexity, normalised, normalised_perplexity)


def text_length(text: str, unit: Literal["characters", "bytes"] = "characters") -> int:
    """Give the length of a text, in Unicode characters or in bytes of UTF-8.

    The paper says bytes; its code counts characters.

    Examples
    --------
    >>> text_length("naïve"), text_length("naïve", "bytes")
    (5, 6)
    """
    return len(text) if unit == "characters" else len(text.encode())


# --- scaling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScalingLaw:
    """A law y - floor = exp(intercept) hours^slope, where y is the normalised loss or perplexity.

    Attributes
    ----------
    slope, intercept : float
    interval : tuple of float
        Of the slope, by the bootstrap; infinite where two points leave no residual.
    measure : {'loss', 'perplexity'}
        What y is.
    floor : float
        What y can never be below.
    resampled : ndarray of float64, shape (resamples, 2)
        Slopes and intercepts of the bootstrap.
    """

    slope: float
    intercept: float
    interval: tuple[float, float]
    measure: Literal["loss", "perplexity"]
    floor: float
    resampled: Floats

    def predict(self, hours: ArrayLike) -> Floats:
        """Give the normalised perplexity at some hours."""
        y = self.floor + np.exp(self.intercept + self.slope * np.log(np.asarray(hours, np.float64)))
        return np.asarray(np.exp(y) if self.measure == "loss" else y)


def fit_scaling(
    hours: ArrayLike,
    perplexity: ArrayLike,
    *,
    measure: Literal["loss", "perplexity"] = "loss",
    floor: float = 0.0,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: RandomState = 0,
) -> ScalingLaw:
    """Fit a line to the logarithms of hours and of the loss, or perplexity, above a floor.

    Parameters
    ----------
    hours : array_like, shape (points,)
        Two different ones at least; a class may come with several seeds.
    perplexity : array_like, shape (points,)
        Normalised.
    measure : {'loss', 'perplexity'}
        Whether the law is of the logarithm of the perplexity, or of itself.
    floor : float
        What is taken off it first.
    confidence : float
        Of the interval.
    resamples : int
        Of the bootstrap, which adds residuals, scaled for the two numbers that were fitted, to the
        line. It says how the points scatter, not whether the law holds beyond them.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ScalingLaw

    Raises
    ------
    UsageError
        If there are too few points, or a value is not above the floor.

    References
    ----------
    arXiv 2309.11197; Davison and Hinkley, Bootstrap Methods and Their Application, chapter 6.

    Examples
    --------
    >>> law = fit_scaling([6, 12, 24], np.exp(2.0 * np.array([6, 12, 24.0]) ** -0.1))
    >>> round(law.slope, 6), round(float(law.predict(48)), 6)
    (-0.1, 3.888483)
    """
    x, y = np.asarray(hours, np.float64), np.asarray(perplexity, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 2 or not (x > 0).all():
        raise UsageError(
            f"hours and perplexity have the shapes {x.shape} and {y.shape}",
            mend="give two different hours or more, all above 0",
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (np.log(y) if measure == "loss" else y) - floor
    if not (np.isfinite(above) & (above > 0)).all():
        raise UsageError(f"a value of perplexity is not above the floor {floor}", mend="lower it")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}", mend="give a share between 0 and 1")
    _at_least(1, resamples=resamples)
    design = np.column_stack([np.log(x), np.ones(len(x))])
    solve = np.linalg.pinv(design)
    fitted = solve @ np.log(above)
    residuals = np.log(above) - design @ fitted
    left = len(x) - 2
    if left:
        scaled = (residuals - residuals.mean()) * math.sqrt(len(x) / left)
        drawn = generator(rng).choice(scaled, size=(resamples, len(x)))
        resampled = fitted + drawn @ solve.T
        tail = (1 - confidence) / 2
        low, high = np.quantile(resampled[:, 0], [tail, 1 - tail])
    else:
        resampled, low, high = np.tile(fitted, (resamples, 1)), -math.inf, math.inf
    return ScalingLaw(
        float(fitted[0]), float(fitted[1]), (float(low), float(high)), measure, floor, resampled
    )


class Crossing(NamedTuple):
    """Where two laws meet.

    Attributes
    ----------
    hours : float
        NaN where they are parallel.
    low, high : float
        Interval; infinite where an end is beyond all hours, or where two points leave no residual.
    share : float
        Of the pairs of resampled laws, those in which the first law falls faster.
    """

    hours: float
    low: float
    high: float
    share: float


def crossing(first: ScalingLaw, second: ScalingLaw, *, confidence: float = 0.95) -> Crossing:
    """Find the hours beyond which the law that falls faster is the lower one.

    Parameters
    ----------
    first, second : ScalingLaw
        Of one measure and one floor, and as often resampled.
    confidence : float

    Returns
    -------
    Crossing
        Resampled pairs whose order of slopes is not that of the fits never meet ahead: they count
        as infinity.

    Raises
    ------
    UsageError
        If the laws are of different kinds.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> hours = np.array([1.0, 10.0, 100.0])
    >>> slow, fast = (fit_scaling(hours, np.exp(a * hours**b)) for a, b in ((1, -0.1), (2, -0.2)))
    >>> round(crossing(slow, fast).hours)
    1024
    """
    alike = (first.measure, first.floor, len(first.resampled)) == (
        second.measure,
        second.floor,
        len(second.resampled),
    )
    if not alike:
        raise UsageError(
            "the laws differ in measure, floor or resamples", mend="fit both in one way"
        )
    one = np.vstack([[first.slope, first.intercept], first.resampled])
    other = np.vstack([[second.slope, second.intercept], second.resampled])
    slopes, rises = one[:, 0] - other[:, 0], other[:, 1] - one[:, 1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        meet = np.exp(rises / slopes)
    order = np.sign(slopes)
    drawn = np.where(order[1:] == order[0], meet[1:], math.inf)
    tail = (1 - confidence) / 2
    # Quantiles that were drawn: there is nothing between a number and infinity.
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    known = all(math.isfinite(law.interval[0]) for law in (first, second))
    if not known:
        low, high = 0.0, math.inf
    hours = float(meet[0]) if order[0] else math.nan
    return Crossing(hours, float(low), float(high), float((slopes[1:] < 0).mean()))


# --- comparison -----------------------------------------------------------------------------------


class Contender(NamedTuple):
    """A design that is compared.

    Attributes
    ----------
    tokens_per_second : float
        Its throughput on the reference accelerator, by `measure_throughput` or `sweep`.
    batch_size, length : int
        Of its training steps.
    train : callable
        Trains a new model for a number of steps, and gives its normalised perplexity. Schedules
        must end with the steps: each class is a training of its own.
    """

    tokens_per_second: float
    batch_size: int
    length: int
    train: Callable[[int], float]


class Run(NamedTuple):
    """One training of one contender.

    Attributes
    ----------
    hours : float
        Of the reference accelerator.
    steps : int
    perplexity : float
        Normalised.
    """

    hours: float
    steps: int
    perplexity: float


def at_equal_time(
    contenders: Mapping[str, Contender], hours: Sequence[float]
) -> dict[str, list[Run]]:
    """Train every contender for as many accelerator hours as the others, in each class.

    Parameters
    ----------
    contenders : mapping of str to Contender
    hours : sequence of float
        The compute classes.

    Returns
    -------
    dict of str to list of Run
        One a class.

    Raises
    ------
    UsageError
        If a class allows no step; before anything is trained.

    References
    ----------
    arXiv 2309.11197

    Examples
    --------
    >>> made = {"fast": Contender(2e4, 8, 512, lambda steps: 9 / steps)}
    >>> [run.steps for run in at_equal_time(made, [1, 2])["fast"]]
    [17578, 35156]
    """
    plan = {
        name: [
            (time, steps_for(time, one.tokens_per_second, one.batch_size, one.length))
            for time in hours
        ]
        for name, one in contenders.items()
    }
    return {
        name: [Run(time, steps, contenders[name].train(steps)) for time, steps in runs]
        for name, runs in plan.items()
    }


def at_equal_steps(
    contenders: Mapping[str, Contender], steps: Sequence[int]
) -> dict[str, list[Run]]:
    """Train every contender for as many steps as the others: what the protocol argues against.

    Parameters
    ----------
    contenders : mapping of str to Contender
    steps : sequence of int

    Returns
    -------
    dict of str to list of Run
        With the hours that the steps of each take.

    Examples
    --------
    >>> made = {"slow": Contender(1024, 2, 512, lambda steps: 9 / steps)}
    >>> at_equal_steps(made, [3600])["slow"]
    [Run(hours=1.0, steps=3600, perplexity=0.0025)]
    """
    return {
        name: [
            Run(
                count * one.batch_size * one.length / one.tokens_per_second / 3600,
                count,
                one.train(count),
            )
            for count in steps
        ]
        for name, one in contenders.items()
    }
