"""What resampling can and cannot buy when the verifier lets wrong answers pass.

Samples are drawn until the verifier accepts one, at most K times. A wrong answer that is accepted
costs something; giving none costs nothing unless said otherwise. All curves are exact.

Cost: O(tasks x K). Source: arXiv 2411.17501; the exact curve replaces its simulation, which is kept
to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = [
    "Best",
    "Ceiling",
    "FalsePositives",
    "Line",
    "TwoTypes",
    "accept_counts",
    "best_attempts",
    "ceiling",
    "false_positives_by_attempt",
    "line_over_models",
    "reward_curve",
    "simulated_rewards",
    "tasks_without_false_negatives",
    "two_types_of",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


def accept_counts(accept: ArrayLike, correct: ArrayLike) -> Ints:
    """Count, for each task, the samples, those accepted, accepted and right, and right.

    Parameters
    ----------
    accept, correct : array_like of bool, shape (tasks, samples)
        What the verifier says, and what is true.

    Returns
    -------
    ndarray of int64, shape (tasks, 4)

    Raises
    ------
    ValueError
        If the shapes differ, or there is no sample.

    Examples
    --------
    >>> accept_counts([[True, True, False]], [[True, False, True]]).tolist()
    [[3, 2, 1, 2]]
    """
    passed, right = _marks(accept, correct)
    each = [np.full(len(passed), passed.shape[1]), *(m.sum(axis=1) for m in _both(passed, right))]
    return np.column_stack(each).astype(np.int64)


class Ceiling(NamedTuple):
    """The accuracy of accepted answers, which no number of samples can lift.

    Attributes
    ----------
    macro : float
        Mean over the tasks that have an accepted sample; NaN if there is none.
    worst, best : float
        The same with 0, or 1, for the tasks that have none.
    micro : float
        Share of right ones among all accepted samples: tasks count by their accepted samples.
    single : float
        Accuracy of one sample, whatever the verifier says.
    undefined : int
        Tasks with no accepted sample.
    """

    macro: float
    worst: float
    best: float
    micro: float
    single: float
    undefined: int


def ceiling(counts: ArrayLike) -> Ceiling:
    """Give the ceiling that the verifier sets on accuracy, with its bounds.

    Parameters
    ----------
    counts : array_like of int, shape (tasks, 4)
        As `accept_counts` gives them.

    Returns
    -------
    Ceiling

    Raises
    ------
    ValueError
        If the counts make no sense.

    References
    ----------
    arXiv 2411.17501

    Examples
    --------
    >>> ceiling([[10, 4, 3, 3], [10, 0, 0, 1]])
    Ceiling(macro=0.75, worst=0.375, best=0.875, micro=0.75, single=0.2, undefined=1)
    """
    n, a, g, right = _counts(counts)
    known = a > 0
    rate = g[known] / a[known]
    missing = int((~known).sum())
    return Ceiling(
        float(rate.mean()) if known.any() else float("nan"),
        float(rate.sum() / len(n)),
        float((rate.sum() + missing) / len(n)),
        float(g.sum() / a.sum()) if known.any() else float("nan"),
        float((right / n).mean()),
        missing,
    )


def reward_curve(
    counts: ArrayLike,
    attempts: int | None = None,
    *,
    value_right: float = 1.0,
    value_wrong: float = 0.0,
    value_abstain: float = 0.0,
    cost: float = 0.0,
    replace: bool = False,
) -> Floats:
    """Give the mean reward of resampling until one is accepted, for every number of attempts.

    Parameters
    ----------
    counts : array_like of int, shape (tasks, 4)
        As `accept_counts` gives them.
    attempts : int, optional
        The largest number; by default the fewest samples of a task.
    value_right, value_wrong, value_abstain : float
        Of an accepted right answer, an accepted wrong one (0 or less), and of none.
    cost : float
        Of an attempt, 0 or more.
    replace : bool
        Whether samples are drawn with replacement: the samples stand for the model's distribution,
        and not for a fixed list.

    Returns
    -------
    ndarray of float64, shape (attempts,)

    Raises
    ------
    ValueError
        If the counts or values make no sense, or there are more attempts than samples.

    References
    ----------
    arXiv 2411.17501 (the closed form is derived here)

    Examples
    --------
    >>> reward_curve([[2, 1, 1, 1]]).tolist(), reward_curve([[2, 1, 0, 0]], value_wrong=-1).tolist()
    ([0.5, 1.0], [-0.5, -1.0])
    """
    n, a, g, _ = _counts(counts)
    if value_wrong > 0 or cost < 0:
        raise ValueError("a wrong answer is worth 0 or less, and an attempt costs 0 or more")
    most = int(n.min()) if attempts is None else attempts
    if most < 1 or (not replace and most > n.min()):
        raise ValueError(f"{most} attempts, with {int(n.min())} samples")
    rejected = _rejected(n, a, most, replace)
    accepted = 1 - rejected[:, 1:]
    with np.errstate(invalid="ignore"):
        worth = np.where(a > 0, (value_right * g + value_wrong * (a - g)) / a, 0.0)
    # Attempt k is paid for where the k - 1 before it were rejected.
    paid = cost * rejected[:, :-1].cumsum(axis=1)
    each = accepted * worth[:, None] + (1 - accepted) * value_abstain - paid
    return np.asarray(each.mean(axis=0), np.float64)


def _rejected(n: Floats, a: Floats, most: int, replace: bool) -> Floats:
    """Give the probability that k attempts are all rejected, k = 0 to `most`; (tasks, most + 1)."""
    k = np.arange(most)
    if replace:
        step = np.repeat((1 - a / n)[:, None], most, axis=1)
    else:
        step = np.maximum(n[:, None] - a[:, None] - k, 0) / (n[:, None] - k)
    return np.column_stack([np.ones(len(n)), step.cumprod(axis=1)])


class Best(NamedTuple):
    """The number of attempts that brings most.

    Attributes
    ----------
    attempts : int
        0 where not to try at all is best.
    reward : float
    at_edge : bool
        Whether it is the largest number looked at: more may be better still.
    """

    attempts: int
    reward: float
    at_edge: bool


def best_attempts(rewards: ArrayLike, value_abstain: float = 0.0) -> Best:
    """Find the best number of attempts on a curve; the fewest of equals.

    Parameters
    ----------
    rewards : array_like of float, shape (K,)
        At 1, 2, ..., K attempts.
    value_abstain : float
        What it is worth not to try.

    Returns
    -------
    Best

    Raises
    ------
    ValueError
        If there is no reward.

    Examples
    --------
    >>> best_attempts([0.1, 0.3, 0.2]), best_attempts([-0.1, -0.2])
    (Best(attempts=2, reward=0.3, at_edge=False), Best(attempts=0, reward=0.0, at_edge=False))
    """
    curve = np.asarray(rewards, np.float64)
    if curve.ndim != 1 or not len(curve):
        raise ValueError("give the reward at 1, 2, ... attempts")
    most = curve.max()
    place = int(
        (curve >= most - 1e-12 * abs(most)).argmax()
    )  # sums of equals differ by their last bits
    if curve[place] <= value_abstain:
        return Best(0, float(value_abstain), False)
    return Best(place + 1, float(curve[place]), place + 1 == len(curve))


def simulated_rewards(
    accept: ArrayLike,
    correct: ArrayLike,
    attempts: int,
    *,
    value_right: float = 1.0,
    value_wrong: float = 0.0,
    permutations: int = 1000,
    rng: RandomState = 0,
) -> tuple[Floats, Floats]:
    """Simulate resampling on random orders of the samples, as the paper does.

    Parameters
    ----------
    accept, correct : array_like of bool, shape (tasks, samples)
    attempts : int
    value_right, value_wrong : float
    permutations : int
        Orders a task.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    mean, error : ndarray of float64, shape (tasks, attempts)
        Mean reward of each task, and its standard error.

    Raises
    ------
    ValueError
        If shapes differ, or there are more attempts than samples.

    References
    ----------
    arXiv 2411.17501
    """
    passed, right = _marks(accept, correct)
    if not 1 <= attempts <= passed.shape[1]:
        raise ValueError(f"{attempts} attempts, with {passed.shape[1]} samples")
    random = generator(rng)
    shape = (permutations, passed.shape[1])
    means, errors = [], []
    for yes, truth in zip(passed, right, strict=True):
        order = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1)
        first = yes[order].argmax(axis=1)
        chosen = truth[np.take_along_axis(order, first[:, None], axis=1)[:, 0]]
        worth = np.where(chosen, value_right, value_wrong) * yes.any()
        reward = worth[:, None] * (first[:, None] < np.arange(1, attempts + 1))
        means.append(reward.mean(axis=0))
        errors.append(reward.std(axis=0, ddof=1) / np.sqrt(permutations))
    return np.array(means), np.array(errors)


class FalsePositives(NamedTuple):
    """Share of wrong ones among the answers that were accepted at some attempt.

    Attributes
    ----------
    first, last : ndarray of int64
        The attempts of each bucket: 1, 2 to 3, 4 to 7, ...
    rate, error : ndarray of float64
        Mean over the attempts of the bucket, and its standard error over them; NaN where no answer
        is accepted there.
    """

    first: Ints
    last: Ints
    rate: Floats
    error: Floats


def false_positives_by_attempt(counts: ArrayLike, attempts: int | None = None) -> FalsePositives:
    """Give the share of false positives among answers accepted at each attempt, in buckets.

    Easy tasks are answered early; what is accepted late comes from hard ones, and is wrong more
    often. Within a task the share is the same at every attempt; tasks with an accepted sample that
    can come so late are averaged.

    Parameters
    ----------
    counts : array_like of int, shape (tasks, 4)
        As `accept_counts` gives them.
    attempts : int, optional
        The last; by default the fewest samples of a task.

    Returns
    -------
    FalsePositives

    Raises
    ------
    ValueError
        If the counts make no sense.

    References
    ----------
    arXiv 2411.17501

    Examples
    --------
    >>> found = false_positives_by_attempt([[4, 4, 4, 4], [4, 1, 0, 0]])
    >>> found.first.tolist(), found.rate.tolist()
    ([1, 2, 4], [0.5, 1.0, 1.0])
    """
    n, a, g, _ = _counts(counts)
    most = int(n.min()) if attempts is None else min(attempts, int(n.min()))
    k = np.arange(1, most + 1)
    # The first accepted sample is at attempt n - a + 1 at the latest.
    can = (a[:, None] > 0) & (k <= (n - a + 1)[:, None])
    wrong = np.where(a > 0, (a - g) / np.maximum(a, 1), 0.0)
    with np.errstate(invalid="ignore"):
        rate = (wrong @ can) / can.sum(axis=0)
    first = 2 ** np.arange(int(np.log2(most)) + 1)
    last = np.minimum(2 * first - 1, most)
    buckets = [rate[low - 1 : high] for low, high in zip(first, last, strict=True)]
    known = [bucket[~np.isnan(bucket)] for bucket in buckets]
    return FalsePositives(
        first,
        last,
        np.array([one.mean() if len(one) else np.nan for one in known]),
        np.array([one.std(ddof=1) / np.sqrt(len(one)) if len(one) > 1 else 0.0 for one in known]),
    )


@dataclass(frozen=True)
class TwoTypes:
    """Tasks of several types, which differ in how often a sample is right; usually two.

    Parameters
    ----------
    share : tuple of float
        Of each type; they sum to 1.
    rate : tuple of float
        Probability that a sample is right, of each type.
    completeness : float
        Probability that the verifier accepts a right sample.
    soundness : float
        Probability that it rejects a wrong one.

    Raises
    ------
    ValueError
        If a probability is none.

    References
    ----------
    arXiv 2411.17501

    Examples
    --------
    >>> model = TwoTypes((0.58, 0.42), (0.87, 0.13), soundness=0.75)
    >>> model.precision.round(3).tolist(), round(model.limit(), 5)
    ([0.964, 0.374], 0.71624)
    """

    share: tuple[float, ...]
    rate: tuple[float, ...]
    completeness: float = 1.0
    soundness: float = 1.0

    def __post_init__(self) -> None:
        known = [*self.share, *self.rate, self.completeness, self.soundness]
        if not all(0 <= one <= 1 for one in known) or abs(sum(self.share) - 1) > 1e-9:
            raise ValueError("shares, rates, completeness and soundness are from 0 to 1")
        if len(self.share) != len(self.rate):
            raise ValueError(f"{len(self.share)} shares and {len(self.rate)} rates")

    @property
    def accepted_right(self) -> Floats:
        """Probability that a sample is right and accepted, of each type."""
        return self.completeness * np.array(self.rate)

    @property
    def accepted_wrong(self) -> Floats:
        """Probability that a sample is wrong and accepted, of each type."""
        return (1 - self.soundness) * (1 - np.array(self.rate))

    @property
    def rejected(self) -> Floats:
        """Probability that a sample is rejected, of each type."""
        return 1 - self.accepted_right - self.accepted_wrong

    @property
    def precision(self) -> Floats:
        """Share of right ones among accepted samples, of each type; NaN where none is accepted."""
        with np.errstate(invalid="ignore"):
            return self.accepted_right / (self.accepted_right + self.accepted_wrong)

    def belief(self, rejections: int) -> Floats:
        """Give the probability of each type after so many rejections."""
        share = np.array(self.share)
        likeliest = self.rejected[share > 0].max()  # of it all, so that no power underflows
        weights = share * (self.rejected / likeliest if likeliest else 1.0) ** rejections
        return np.asarray(weights / weights.sum())

    def gains(self, attempts: int, value_wrong: float = 0.0, value_right: float = 1.0) -> Floats:
        """Give what each attempt adds to the expected reward; shape (attempts,)."""
        worth = value_right * self.accepted_right + value_wrong * self.accepted_wrong
        still = self.rejected[:, None] ** np.arange(attempts)
        return np.asarray((np.array(self.share) * worth) @ still)

    def rewards(self, attempts: int, value_wrong: float = 0.0, value_right: float = 1.0) -> Floats:
        """Give the expected reward of 1, 2, ... attempts; shape (attempts,)."""
        return self.gains(attempts, value_wrong, value_right).cumsum()

    def limit(self, value_wrong: float = 0.0, value_right: float = 1.0) -> float:
        """Give the reward of attempts without end."""
        worth = value_right * self.accepted_right + value_wrong * self.accepted_wrong
        ends = self.rejected < 1
        parts = np.divide(worth, 1 - self.rejected, out=np.zeros_like(worth), where=ends)
        return float(np.array(self.share) @ parts)

    def rewards_with_beliefs_twice(self, attempts: int, value_wrong: float = 0.0) -> Floats:
        """Give what the paper's published code computes, to compare with.

        It weights attempt k by the probability of k - 1 rejections under the beliefs that these
        leave, in place of the share of each type: rejections count twice, and the sum is too high.
        """
        worth = self.accepted_right + value_wrong * self.accepted_wrong
        beliefs = np.array([self.belief(k) for k in range(attempts)])
        still = self.rejected ** np.arange(attempts)[:, None]
        return np.asarray(((beliefs * still).sum(axis=1) * (beliefs @ worth)).cumsum())


def two_types_of(counts: ArrayLike, *, split: float = 0.5) -> TwoTypes:
    """Fit the closed model to data: tasks above and below an accuracy, and one soundness.

    As the paper does, a right sample is taken to be always accepted, and the soundness comes of the
    product of mean accept rate and mean accuracy of accepted ones (not of the mean of products).

    Parameters
    ----------
    counts : array_like of int, shape (tasks, 4)
        As `accept_counts` gives them.
    split : float
        Accuracy above which a task is easy.

    Returns
    -------
    TwoTypes
        The easy type first.

    Raises
    ------
    ValueError
        If all tasks fall on one side, or the soundness is not defined.

    References
    ----------
    arXiv 2411.17501

    Examples
    --------
    >>> two_types_of([[10, 10, 8, 8], [10, 4, 2, 2]]).soundness
    0.51
    """
    n, a, _, right = _counts(counts)
    accuracy = right / n
    easy = accuracy > split
    if easy.all() or not easy.any():
        raise ValueError(f"all tasks fall on one side of {split}")
    wrong = float((a / n).mean()) * (1 - ceiling(counts).macro)
    soundness = 1 - wrong / (1 - float(accuracy.mean()))
    share = float(easy.mean())
    rates = (float(accuracy[easy].mean()), float(accuracy[~easy].mean()))
    return TwoTypes((share, 1 - share), rates, soundness=float(np.clip(round(soundness, 12), 0, 1)))


class Line(NamedTuple):
    """A straight line over models."""

    slope: float
    intercept: float
    r_squared: float
    p_value: float


def line_over_models(single: ArrayLike, ceilings: ArrayLike) -> Line:
    """Fit the ceilings of several models to their accuracy with one sample.

    Parameters
    ----------
    single, ceilings : array_like of float, shape (models,)
        Three models or more.

    Returns
    -------
    Line

    Raises
    ------
    ValueError
        If there are fewer than three models.

    References
    ----------
    arXiv 2411.17501

    Examples
    --------
    >>> line_over_models([0.1, 0.2, 0.3], [0.7, 0.8, 0.9]).slope
    1.0
    """
    from scipy.stats import linregress

    x, y = np.asarray(single, np.float64), np.asarray(ceilings, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise ValueError("give three models or more")
    found = linregress(x, y)
    numbers = (found.slope, found.intercept, found.rvalue**2, found.pvalue)
    return Line(*(float(round(number, 12)) for number in numbers))


def tasks_without_false_negatives(accept_rates: ArrayLike, correct_rates: ArrayLike) -> Flags:
    """Say which tasks show no sign that their verifier rejects right answers.

    A task whose rate of right answers is above its rate of accepted ones, for any model, has such a
    sign. Another model may therefore change the set of tasks.

    Parameters
    ----------
    accept_rates, correct_rates : array_like of float, shape (models, tasks)

    Returns
    -------
    ndarray of bool, shape (tasks,)

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> tasks_without_false_negatives([[0.5, 0.2], [0.9, 0.4]], [[0.5, 0.3], [0.1, 0.1]]).tolist()
    [True, False]
    """
    passed, right = np.asarray(accept_rates, np.float64), np.asarray(correct_rates, np.float64)
    if passed.shape != right.shape or passed.ndim != 2:
        raise ValueError(f"shapes {passed.shape} and {right.shape}, not (models, tasks)")
    return np.asarray((right <= passed + 1e-12).all(axis=0))


def _marks(accept: ArrayLike, correct: ArrayLike) -> tuple[Flags, Flags]:
    passed, right = np.asarray(accept, bool), np.asarray(correct, bool)
    if passed.shape != right.shape or passed.ndim != 2 or not passed.size:
        raise ValueError(f"shapes {passed.shape} and {right.shape}, not (tasks, samples)")
    return passed, right


def _both(passed: Flags, right: Flags) -> tuple[Flags, Flags, Flags]:
    return passed, passed & right, right


def _counts(counts: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or table.shape[1] != 4 or not len(table):
        raise ValueError(f"counts has shape {table.shape}, not (tasks, 4)")
    n, a, g, right = table.T
    fine = (n >= 1) & (g >= 0) & (g <= a) & (a <= n) & (g <= right) & (right <= n)
    if not fine.all():
        raise ValueError("right accepted ones are among the accepted and the right, of all samples")
    return n, a, g, right
