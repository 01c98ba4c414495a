"""A sampling budget split over prompts so that the gradient it makes varies least.

Some pilot answers to every prompt tell how often one is right, p, and how long the gradient of a
right one is, G. A prompt then gets draws in proportion to G / sqrt(p + alpha / p^(beta - 1)): more
where gradients are long or right answers rare, but few where they are so rare that draws are
wasted. Use it in place of as many draws for every prompt, where a model is trained on its own right
answers, by rejection sampling or policy gradients.

Cost: O(prompts x pilots + prompts log prompts) a round, beside the pilots themselves.
Source: arXiv 2505.02391.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Allocation, Allocator, largest_remainder
from samplewise.rng import RandomState

__all__ = [
    "Estimate",
    "GradientVariance",
    "GradientVarianceAllocation",
    "Pilots",
    "allocate",
    "decrease_bound",
    "estimate",
    "estimator_variance",
    "variance_bound",
]

Floats = NDArray[np.float64]
Rounding = Literal["residual", "hard_first"]
Norm = Literal["mean", "rms"]
NoSignal = Literal["uniform", "refuse"]


class Pilots(NamedTuple):
    """What came of the pilot answers.

    Attributes
    ----------
    correct : array_like of bool, shape (prompts, pilots)
    norms : array_like of float, shape (prompts, pilots)
        Norm of the gradient of each answer's log-likelihood; looked at only where it is right.
        All must be of the same weights and the same sum over tokens.
    """

    correct: ArrayLike
    norms: ArrayLike


class Estimate(NamedTuple):
    """What pilots say of every prompt.

    Attributes
    ----------
    p : ndarray of float64, shape (prompts,)
        Share of right answers.
    G : ndarray of float64, shape (prompts,)
        Length of the gradient of a right answer; 0 where there was none.
    """

    p: Floats
    G: Floats


@dataclass(frozen=True)
class GradientVariance(Allocator):
    """Give draws to the prompts where they lower the variance of the gradient most.

    An `Allocation` of it asks for as many pilots of every prompt until it is told of some, and goes
    by those it was told of last.

    Parameters
    ----------
    alpha : float
        How much prompts that are hardly ever right are held back; 0 gives them most.
    beta : float
        How sharply; the paper's theory asks for 2 or more.
    filter_threshold : float
        Prompts that are right more often than this get nothing.
    filter_insufficient : float
        Prompts that would have fewer right answers than this get nothing. Both filters look at the
        split before either: what they free goes to the others in proportion.
    cap : int, optional
        Draws of a prompt, at most.
    rounding : {'residual', 'hard_first'}
        Which prompts get the draws left over by rounding down: those of the largest remainders, as
        in the published code, or those right least often, as in the paper; never one that is never
        right.
    norm : {'mean', 'rms'}
        How the norms of a prompt make one: their mean, as in the paper's algorithm, or the root of
        their mean square, as in its theory.
    smoothing : float
        Right and wrong answers added to those seen: a prompt with none right in c pilots has
        otherwise p = 0 and gets nothing. With s, p is (right + s) / (pilots + 2 s), and a prompt
        with none right is given the mean G of the others. Not of the paper, whose rule is 0.
    no_signal : {'uniform', 'refuse'}
        What happens where no prompt has a weight, as when no pilot is right.

    References
    ----------
    Yao et al. (2025), arXiv 2505.02391: Proposition 1, Algorithm 2, Appendix B. `filter_threshold`,
    `filter_insufficient` and `cap` are of the published code.

    Examples
    --------
    >>> allocation = GradientVariance().start(3)
    >>> allocation.ask(12)
    array([4, 4, 4])
    >>> correct = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    >>> allocation.tell([4, 4, 4], Pilots(correct, np.ones((3, 4))))
    >>> allocation.ask(30)
    array([10, 20,  0])
    """

    name: ClassVar[str] = "gradient-variance"
    aliases: ClassVar[tuple[str, ...]] = ("gvm",)
    paper: ClassVar[str] = "2505.02391"
    cost: ClassVar[str] = "O(prompts x pilots) a round"
    outcomes: ClassVar[type[Any] | None] = Pilots

    alpha: float = 1e-3
    beta: float = 2.0
    filter_threshold: float = 1.0
    filter_insufficient: float = 0.0
    cap: int | None = None
    rounding: Rounding = "residual"
    norm: Norm = "mean"
    smoothing: float = 0.0
    no_signal: NoSignal = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_penalty(self.alpha, self.beta)
        self.require("filter_threshold", "filter_insufficient", "smoothing")
        self.require("cap", least=1)

    def start(self, groups: int, *, rng: RandomState = None) -> GradientVarianceAllocation:
        """Begin to allocate to some prompts; nothing is drawn by chance."""
        return GradientVarianceAllocation(self, groups)


class GradientVarianceAllocation(Allocation):
    """A budget that is split by what pilots have shown.

    Attributes
    ----------
    known : Estimate or None
        Of every prompt, by the pilots told of last.
    """

    def __init__(self, method: GradientVariance, groups: int) -> None:
        super().__init__(groups)
        self.method = method
        self.known: Estimate | None = None

    def ask(self, n: int) -> NDArray[np.int64]:
        """Say how many of `n` draws each prompt gets.

        Raises
        ------
        UsageError
            As `allocate` does.
        """
        method = self.method
        known = self.known
        return allocate(
            np.ones(self.groups) if known is None else known.p,
            np.ones(self.groups) if known is None else known.G,
            n,
            alpha=method.alpha,
            beta=method.beta,
            filter_threshold=1.0 if known is None else method.filter_threshold,
            filter_insufficient=0.0 if known is None else method.filter_insufficient,
            cap=method.cap,
            rounding=method.rounding,
            no_signal=method.no_signal,
        )

    def tell(self, counts: ArrayLike, outcomes: Any) -> None:
        """Learn from pilots; what was known before is forgotten.

        Parameters
        ----------
        counts : array_like of int, shape (prompts,)
            Pilots of each prompt; columns of `outcomes` from there on are padding.
        outcomes : Pilots
            With one row a prompt.

        Raises
        ------
        UsageError
            As `estimate` does, or if there is another number of prompts.
        """
        pilots = Pilots(*outcomes)
        if len(np.asarray(pilots.correct)) != self.groups:
            raise UsageError(
                f"outcomes are of {len(np.asarray(pilots.correct))} prompts, not {self.groups}",
                mend="give one row of pilots a prompt",
            )
        self.known = estimate(
            pilots, counts, norm=self.method.norm, smoothing=self.method.smoothing
        )

    def state_dict(self) -> dict[str, Any]:
        """Give what is known of every prompt."""
        return {"known": self.known and [value.tolist() for value in self.known]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        known = state["known"]
        self.known = known and Estimate(*(np.asarray(value, dtype=np.float64) for value in known))


def estimate(
    pilots: Pilots,
    counts: ArrayLike | None = None,
    *,
    norm: Norm = "mean",
    smoothing: float = 0.0,
) -> Estimate:
    """Estimate from pilots how often each prompt is right, and how long its gradients are.

    Parameters
    ----------
    pilots : Pilots
        Matrices of shape (prompts, pilots).
    counts : array_like of int, shape (prompts,), optional
        Pilots of each prompt, where they differ: a row's columns from there on are padding.
    norm, smoothing
        As `GradientVariance` takes them.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        If shapes differ, there is no prompt or pilot, an answer is neither right nor wrong, or the
        norm of a right one is negative or not finite.

    Examples
    --------
    >>> estimate(Pilots([[1, 0, 1, 0], [0, 0, 0, 0]], [[2, 9, 4, 9], [9, 9, 9, 9]]))
    Estimate(p=array([0.5, 0. ]), G=array([3., 0.]))
    """
    _one_of("norm", norm, Norm)
    if not 0 <= smoothing < math.inf:
        raise UsageError(f"smoothing is {smoothing}", mend="give 0 or more")
    told = np.asarray(pilots.correct)
    right = told.astype(bool)
    norms = np.asarray(pilots.norms, dtype=np.float64)
    if (told != right).any():
        raise UsageError(
            "correct holds other than 0 and 1", mend="say of each answer if it is right"
        )
    if right.ndim != 2 or not right.size or norms.shape != right.shape:
        raise UsageError(
            f"correct has the shape {right.shape} and norms {norms.shape}",
            mend="give two matrices of prompts x pilots, both 1 or more",
        )
    drawn = np.full(len(right), right.shape[1]) if counts is None else np.asarray(counts)
    if drawn.shape != (len(right),) or drawn.min() < 0 or drawn.max() > right.shape[1]:
        raise UsageError(
            f"counts are {drawn} for pilots of the shape {right.shape}",
            mend="give the pilots of each prompt, as many as there are columns at most",
        )
    right = right & (np.arange(right.shape[1]) < drawn[:, None])
    used = np.where(right, norms, 0.0)
    if not (np.isfinite(used).all() and (used >= 0).all()):
        raise UsageError(
            "the norm of a right answer's gradient is negative or not finite",
            mend="look for overflow in the model, or lower its learning rate",
        )
    accepted = right.sum(axis=1)
    some = accepted > 0
    power = 2 if norm == "rms" else 1
    G = ((used**power).sum(axis=1) / np.maximum(accepted, 1)) ** (1 / power)
    p = (accepted + smoothing) / np.maximum(drawn + 2 * smoothing, 1e-300)
    if smoothing and some.any():
        G[~some] = G[some].mean()
    return Estimate(p, G)


def allocate(
    p: ArrayLike,
    G: ArrayLike,
    n: int,
    *,
    alpha: float = 1e-3,
    beta: float = 2.0,
    filter_threshold: float = 1.0,
    filter_insufficient: float = 0.0,
    cap: int | None = None,
    rounding: Rounding = "residual",
    no_signal: NoSignal = "uniform",
) -> NDArray[np.int64]:
    """Split draws over prompts so that the penalised bound of the gradient's variance is least.

    Parameters
    ----------
    p : array_like, shape (prompts,)
        Share of right answers, 0 to 1. A prompt with 0 gets nothing.
    G : array_like, shape (prompts,)
        Length of the gradient of a right answer, 0 or more, of any unit. So does one with 0.
    n : int
        Draws in all.
    alpha, beta, filter_threshold, filter_insufficient, cap, rounding, no_signal
        As `GradientVariance` takes them. Where a cap leaves draws over, they go to the prompts
        without a weight, evenly.

    Returns
    -------
    ndarray of int64, shape (prompts,)
        They sum to `n`. A prompt whose share is less than one draw may get none: its part of the
        gradient is then missing.

    Raises
    ------
    UsageError
        If a number is out of its range, the caps hold fewer than `n`, or no prompt has a weight and
        `no_signal` is ``"refuse"``.

    References
    ----------
    arXiv 2505.02391, Proposition 1.

    Examples
    --------
    >>> allocate([0.25, 1.0], [1.0, 1.0], 30, alpha=0)
    array([20, 10])
    """
    _one_of("rounding", rounding, Rounding)
    _one_of("no_signal", no_signal, NoSignal)
    rates, lengths = _read(p, G)
    check_penalty(alpha, beta)
    if n < 0 or (cap is not None and cap * len(rates) < n):
        raise UsageError(
            f"n is {n} for {len(rates)} prompts of {cap} draws at most",
            mend="give 0 or more, and no more than the caps hold",
        )
    weights = _weights(rates, lengths, alpha, beta)
    expected = rates * (n * weights / max(weights.sum(), 1e-300))  # right answers
    weights[(rates > filter_threshold) | (expected < filter_insufficient)] = 0.0
    if not weights.any():
        if no_signal == "refuse":
            raise UsageError(
                "no prompt has a right pilot that the filters keep",
                mend="draw more pilots, give smoothing, or no_signal=uniform",
            )
        weights = np.ones(len(rates))
    most = n if cap is None else cap
    counts = _split(weights, rates, n, most, rounding)
    if counts.sum() < n:
        counts += _split(
            np.asarray(weights == 0, dtype=np.float64), rates, n - int(counts.sum()), most, rounding
        )
    return counts


def variance_bound(
    p: ArrayLike, G: ArrayLike, n: ArrayLike, *, alpha: float = 0.0, beta: float = 2.0
) -> float:
    """Give the bound of the gradient's variance that `allocate` makes least.

    It is the sum over prompts of G^2 / (p n), each divided by 1 + alpha / p^beta: with alpha 0 it
    bounds the variance itself.

    Parameters
    ----------
    p, G : array_like, shape (prompts,)
        G is a root mean square.
    n : array_like, shape (prompts,)
        Draws of each; fractions will do. Infinity where a prompt that has a gradient gets none.
    alpha, beta : float

    Examples
    --------
    >>> variance_bound([0.5, 1.0], [1.0, 2.0], [2, 4])
    2.0
    """
    rates, lengths = _read(p, G)
    check_penalty(alpha, beta)
    some = lengths > 0
    squares = np.zeros(len(rates))
    squares[some] = lengths[some] ** 2 * np.exp(-_log_penalised(rates[some], alpha, beta))
    return _over_draws(squares, n)


def estimator_variance(p: ArrayLike, G: ArrayLike, n: ArrayLike, mean: ArrayLike) -> float:
    """Give the variance of the gradient estimated as in Lemma 1: its trace over all weights.

    The estimate divides the sum over a prompt's right answers by n p. Derived here: a draw adds a
    vector of second moment p G^2 and mean p mu.

    Parameters
    ----------
    p, G, n : array_like, shape (prompts,)
        As `variance_bound` takes them.
    mean : array_like, shape (prompts,)
        Length of the mean gradient of right answers, mu: G at most.

    Raises
    ------
    UsageError
        If a number is out of its range.

    Examples
    --------
    >>> estimator_variance([0.5], [1.0], [2], mean=[1.0])
    0.5
    """
    rates, lengths = _read(p, G)
    means = np.asarray(mean, dtype=np.float64)
    if means.shape != lengths.shape or not ((means >= 0) & (means <= lengths * (1 + 1e-9))).all():
        raise UsageError(f"mean is {means}, and G {lengths}", mend="give 0 or more, and G at most")
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(lengths > 0, lengths**2 / rates, 0.0)
    return _over_draws(np.maximum(squares - means**2, 0.0), n)


def decrease_bound(slopes: ArrayLike, variances: ArrayLike, *, rate: float, gamma: float) -> float:
    """Give how much a loss falls at least, in expectation, in steps along estimated gradients.

    It is rate / 2 times the sum of the slopes less rate^2 / (2 gamma) times that of the variances:
    the less the gradient varies, the more the loss is sure to fall.

    Parameters
    ----------
    slopes : array_like, shape (steps,)
        Squared length of the exact gradient before each step.
    variances : array_like, shape (steps,)
        Of the estimate, its trace, as `estimator_variance` gives it.
    rate : float
        The learning rate, `gamma` at most.
    gamma : float
        The loss is 1/gamma-smooth: nowhere is it bent more than that.

    Returns
    -------
    float
        Below 0 where the estimate varies so much that the loss may rise.

    Raises
    ------
    UsageError
        If a number is out of its range, or the rate is above gamma.

    References
    ----------
    arXiv 2505.02391. That its first sum is one of squared lengths is derived here: for one step,
    from the smoothness, E[L(x - rate g)] <= L(x) - rate (1 - rate / (2 gamma)) slope
    + rate^2 / (2 gamma) variance.

    Examples
    --------
    >>> decrease_bound([4.0], [1.0], rate=0.5, gamma=1.0)
    0.875
    """
    steep, noise = np.asarray(slopes, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if steep.shape != noise.shape or not ((steep >= 0) & (noise >= 0)).all():
        raise UsageError(
            f"slopes are {steep} and variances {noise}", mend="give one of each a step, 0 or more"
        )
    if not 0 < rate <= gamma < math.inf:
        raise UsageError(f"rate is {rate} and gamma {gamma}", mend="give a rate of gamma at most")
    return float(rate / 2 * steep.sum() - rate**2 / (2 * gamma) * noise.sum())


def check_penalty(alpha: float, beta: float) -> None:
    """Refuse a penalty on hard prompts that is none."""
    if not (0 <= alpha < math.inf and 1 <= beta < math.inf):
        raise UsageError(
            f"alpha is {alpha} and beta {beta}", mend="give alpha 0 or more, and beta 1 or more"
        )


def _one_of(what: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise UsageError(f"{what} is {value!r}", mend=f"give {' or '.join(get_args(kind))}")


def _read(p: ArrayLike, G: ArrayLike) -> tuple[Floats, Floats]:
    rates, lengths = np.asarray(p, dtype=np.float64), np.asarray(G, dtype=np.float64)
    if rates.ndim != 1 or not rates.size or lengths.shape != rates.shape:
        raise UsageError(
            f"p has the shape {rates.shape} and G {lengths.shape}", mend="give one of each a prompt"
        )
    if not ((rates >= 0) & (rates <= 1)).all():
        raise UsageError(f"p is {rates}", mend="give shares from 0 to 1")
    if not (np.isfinite(lengths).all() and (lengths >= 0).all()):
        raise UsageError(f"G is {lengths}", mend="give finite lengths, 0 or more")
    return rates, lengths


def _log_penalised(p: Floats, alpha: float, beta: float) -> Floats:
    """Give ln(p + alpha / p^(beta - 1)): in logarithms, since p^-beta may be too large."""
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    if alpha == 0:
        return logs
    penalty = math.log(alpha) - (beta - 1) * np.maximum(logs, -1e300)  # 0 x infinity is no number
    return np.logaddexp(logs, penalty)


def _weights(p: Floats, G: Floats, alpha: float, beta: float) -> Floats:
    """Give the weights of Proposition 1, the largest being 1."""
    some = (p > 0) & (G > 0)
    weights = np.zeros(len(p))
    if some.any():
        logs = np.log(G[some]) - 0.5 * _log_penalised(p[some], alpha, beta)
        weights[some] = np.exp(logs - logs.max())
    return weights


def _split(weights: Floats, p: Floats, n: int, most: int, rounding: Rounding) -> NDArray[np.int64]:
    """Split `n` draws, or as many of them as those with a weight may have."""
    exact, open_ = np.zeros(len(weights)), weights > 0
    while open_.any():
        left = n - most * int((exact == most).sum())
        exact[open_] = left * (weights[open_] / weights[open_].sum())
        full = open_ & (exact >= most)
        exact[full] = most
        if not full.any():
            break
        open_ &= ~full
    total = min(n, most * int((weights > 0).sum()))
    if not total:
        return np.zeros(len(weights), dtype=np.int64)
    if rounding == "residual":
        return largest_remainder(exact, total)
    counts: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    room = (weights > 0) & (counts < most)
    hardest = np.argsort(np.where(room, p, np.inf), kind="stable")
    counts[hardest[: total - int(counts.sum())]] += 1
    return counts


def _over_draws(squares: Floats, n: ArrayLike) -> float:
    draws = np.asarray(n, dtype=np.float64)
    if draws.shape != squares.shape or not (draws >= 0).all():
        raise UsageError(f"n is {draws}", mend="give the draws of every prompt, 0 or more")
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(squares == 0, 0.0, squares / draws)
    return float(terms.sum())
