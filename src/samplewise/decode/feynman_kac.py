"""Samples of a diffusion model whose scores were changed, with the law that was meant.

Guidance, a lower temperature, a product of models or a reward are usually had by changing the score
and running the same sampler. Its samples then follow no law that anybody wrote down. Here each
particle also carries a weight, which says by how much the changed sampler strays from the law that
was meant, and particles are copied or dropped by it.

Use it where the law itself matters, and several samples are wanted anyway. It needs nothing but
scores. It does not mend scores that are wrong, and where the target is far from what the sampler
makes, few particles carry all the weight: look at `effective_sizes` and `unique_ancestors`.

Cost: O(n K) scores for n steps and K particles, as K plain runs would take, and O(K d) beside them.
Source: Feynman-Kac Correctors in Diffusion, arXiv 2503.02819.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.decode.base import Decoder
from samplewise.decode.noising import Noising, Score
from samplewise.errors import UsageError
from samplewise.measure.resampling import (
    effective_size,
    normalised_weights,
    systematic_resampling,
)
from samplewise.rng import RandomState, generator, seed_of

__all__ = [
    "Annealed",
    "Correction",
    "FeynmanKac",
    "Geometric",
    "Move",
    "Particles",
    "Product",
    "RewardTilt",
    "Target",
    "WeightedProduct",
]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Correction: TypeAlias = Literal["every-step", "ess", "birth-death", "final-weights", "none"]


@dataclass(frozen=True, eq=False)
class Particles:
    """Weighted particles, one population or several.

    Several populations have nothing to do with each other; they add one axis in front of all
    shapes.

    Parameters
    ----------
    samples : ndarray of float64, shape (K, d)
    log_weights : ndarray of float64, shape (K,)
        What each sample gathered since the last resampling, up to a constant. Without them the
        samples are not of the target; `snis_mean` minds them.
    ancestors : ndarray of int64, shape (K,)
        Which particle of the first step each sample comes from.
    effective_sizes : ndarray of float64, shape (steps,)
        What the particles were worth at every step, before they were resampled: from 1 to K. Always
        K under ``"birth-death"`` and ``"none"``, which have no weights.
    unique_ancestors : ndarray of int64, shape (steps,)
        How many particles of the first step were left after every step.
    """

    samples: Floats
    log_weights: Floats
    ancestors: Indices
    effective_sizes: Floats
    unique_ancestors: Indices

    @property
    def weights(self) -> Floats:
        """Weights that sum to 1, shape (K,)."""
        return normalised_weights(self.log_weights)

    def snis_mean(self, phi: Callable[[Floats], ArrayLike]) -> Floats:
        """Estimate the mean of a function: self-normalised importance sampling.

        Parameters
        ----------
        phi : callable
            Maps points of shape (n, d) to values of shape (n, ...).

        Returns
        -------
        ndarray of float64, shape (...)
        """
        shape = self.log_weights.shape
        values = np.asarray(phi(self.samples.reshape(-1, self.samples.shape[-1])), np.float64)
        values = values.reshape(*shape, *values.shape[1:])
        weights = self.weights.reshape(*shape, *(1 for _ in range(values.ndim - len(shape))))
        return np.asarray((weights * values).sum(axis=len(shape) - 1))

    def mean(self) -> Floats:
        """Estimate the target's mean; shape (d,)."""
        return self.snis_mean(lambda x: x)

    def covariance(self) -> Floats:
        """Estimate the target's covariance; shape (d, d)."""
        apart = self.samples - self.mean()[..., None, :]
        return np.asarray(np.einsum("...k,...ki,...kj->...ij", self.weights, apart, apart))


class Move(NamedTuple):
    """What a target asks of its particles at one time.

    Attributes
    ----------
    drift : ndarray of float64, shape (n, d)
    noise : float
        Factor of the Brownian motion.
    increment : ndarray of float64, shape (n,)
        g: how fast the log-weight grows.
    """

    drift: Floats
    noise: float
    increment: Floats


@dataclass(frozen=True)
class Target(ABC):
    """A law made of the laws of models, at every time of the noising.

    A law of your own derives from it and writes these; g must be such that the weighted particles
    follow the law, as section 3 of the paper works it out.
    """

    @property
    @abstractmethod
    def models(self) -> int:
        """How many scores it takes."""

    @property
    @abstractmethod
    def power(self) -> float:
        """The power of the noise that the particles start from."""

    @abstractmethod
    def move(self, x: Floats, scores: Sequence[Floats], t: float, noising: Noising) -> Move:
        """Say how particles move and what they weigh.

        Parameters
        ----------
        x : ndarray of float64, shape (n, d)
        scores : sequence of ndarray of float64, shape (n, d)
            Each model's, at `x`.
        t : float
            From 0 (noise) to 1 (data).
        noising : Noising
        """

    def start_log_weights(self, x: Floats) -> Floats:
        """Give what each particle weighs at t = 0; shape (n,)."""
        return np.zeros(len(x))


@dataclass(frozen=True)
class _Powers(Target):
    """A product of powers of the models' laws: p ~ q_1^b_1 q_2^b_2 ..."""

    @property
    @abstractmethod
    def powers(self) -> tuple[float, ...]:
        """The power of each model."""

    @property
    def noise_square(self) -> float:
        """How much of the noise's variance is used: zeta^2; 1 uses it as it is."""
        return 1.0

    @property
    def models(self) -> int:
        """How many scores it takes."""
        return len(self.powers)

    @property
    def power(self) -> float:
        """The power of the noise that the particles start from."""
        return math.fsum(self.powers)

    def move(self, x: Floats, scores: Sequence[Floats], t: float, noising: Noising) -> Move:
        """Follow the target's score S = sum b_i s_i, as far as the noise allows.

        g = sigma^2 / 2 (|S|^2 - sum b_i |s_i|^2) + (sum b_i - 1) div f, whatever the noise: what
        more of it adds to the spread, a stronger drift takes away.
        """
        pairs = list(zip(self.powers, scores, strict=True))
        whole = np.sum([power * score for power, score in pairs], axis=0)
        squares = np.sum([power * (score**2).sum(axis=1) for power, score in pairs], axis=0)
        rate, sigma = noising.drift_rate(t), noising.sigma(t)
        gathered = sigma**2 / 2 * ((whole**2).sum(axis=1) - squares)
        return Move(
            (1 + self.noise_square) / 2 * sigma**2 * whole - rate * x,
            math.sqrt(self.noise_square) * sigma,
            gathered + (self.power - 1) * rate * x.shape[1],
        )


@dataclass(frozen=True)
class _Tempered(_Powers):
    """The same power for all models, and a choice of noise."""

    beta: float
    a: float = 0.0

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)
        if not math.isfinite(self.a) or self.noise_square < 0:
            raise UsageError(
                f"a is {self.a}: with beta = {self.beta} the noise's variance is below 0",
                mend="give 0 (the target's score) to 0.5 (tempered noise)",
            )

    @property
    def noise_square(self) -> float:
        """How much of the noise's variance is used."""
        return (self.beta + 2 * (1 - self.beta) * self.a) / self.beta


@dataclass(frozen=True)
class Annealed(_Tempered):
    """One model's law at another temperature: p ~ q^beta.

    Parameters
    ----------
    beta : float
        One over the temperature, above 0; above 1 the law is sharper.
    a : float
        0 runs the sampler with the target's score and full noise; 0.5 with the noise tempered, to
        sigma / sqrt(beta). The weights are right for every `a`. With a large beta 0.5 leaves the
        particles narrower than the target, which no weight can mend: prefer 0.

    Raises
    ------
    UsageError
        If beta is not above 0, or `a` would need a negative variance.

    References
    ----------
    arXiv 2503.02819, section 3
    """

    @property
    def powers(self) -> tuple[float, ...]:
        """The power of each model."""
        return (self.beta,)


@dataclass(frozen=True)
class Product(_Tempered):
    """What two models agree on: p ~ (q_1 q_2)^beta.

    Parameters
    ----------
    beta : float
        Above 0.
    a : float
        As in `Annealed`.

    Raises
    ------
    UsageError
        As `Annealed` does.

    References
    ----------
    arXiv 2503.02819, section 3
    """

    beta: float = 1.0

    @property
    def powers(self) -> tuple[float, ...]:
        """The power of each model."""
        return (self.beta, self.beta)


@dataclass(frozen=True)
class Geometric(_Powers):
    """Between two models, or beyond the second: p ~ q_1^(1 - beta) q_2^beta.

    Classifier-free guidance: q_1 is the model without the condition, q_2 with it, and beta the
    guidance scale.

    Parameters
    ----------
    beta : float
        From 0 (the first model) to 1 (the second) the target always is a law. Outside, as guidance
        has it, its density may have no finite mass (where q_1's tails are the lighter ones, for
        beta above 1); nothing here can tell.

    Raises
    ------
    UsageError
        If beta is not finite.

    References
    ----------
    arXiv 2503.02819, section 3
    """

    beta: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.beta):
            raise UsageError(f"beta is {self.beta}", mend="give a finite number, such as 1.5")

    @property
    def powers(self) -> tuple[float, ...]:
        """The power of each model."""
        return (1 - self.beta, self.beta)


@dataclass(frozen=True)
class WeightedProduct(_Powers):
    """A product of powers of any number of models: p ~ q_1^b_1 q_2^b_2 ...

    The formula is derived here; the paper's three are special cases of it.

    Parameters
    ----------
    betas : tuple of float
        One for each model, finite; their sum above 0. One below 0 steers away from a model, and the
        target may then have no finite mass.

    Raises
    ------
    UsageError
        If there is none, one is not finite, or the sum is not above 0.

    References
    ----------
    arXiv 2503.02819, section 3 (for two models)
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(map(float, self.betas)))
        _check_positive("the sum of betas", math.fsum(self.betas))

    @property
    def powers(self) -> tuple[float, ...]:
        """The power of each model."""
        return self.betas


@dataclass(frozen=True)
class RewardTilt(Target):
    """One model's law, tilted to where a reward is high: p ~ q exp(beta_t r).

    Parameters
    ----------
    reward : callable
        r: maps points (n, d) to values (n,).
    gradient : callable
        Its gradient: maps points (n, d) to (n, d).
    beta_t, dbeta_t : callable
        How much the reward counts at time t, and the derivative of that. Where it counts at t = 0
        already, the particles have weights from the start.

    References
    ----------
    arXiv 2503.02819, section 4
    """

    reward: Callable[[Floats], ArrayLike]
    gradient: Callable[[Floats], ArrayLike]
    beta_t: Callable[[float], float]
    dbeta_t: Callable[[float], float]

    @property
    def models(self) -> int:
        """How many scores it takes."""
        return 1

    @property
    def power(self) -> float:
        """The power of the noise that the particles start from."""
        return 1.0

    def move(self, x: Floats, scores: Sequence[Floats], t: float, noising: Noising) -> Move:
        """Follow the model's score, and half the reward's gradient."""
        (score,) = scores
        rate, sigma = noising.drift_rate(t), noising.sigma(t)
        pull = self.beta_t(t) * np.asarray(self.gradient(x), np.float64)
        along = (pull * (sigma**2 / 2 * score - rate * x)).sum(axis=1)
        return Move(
            sigma**2 * (score + pull / 2) - rate * x,
            sigma,
            self.dbeta_t(t) * np.asarray(self.reward(x), np.float64) + along,
        )

    def start_log_weights(self, x: Floats) -> Floats:
        """Give what each particle weighs at t = 0; shape (n,)."""
        return self.beta_t(0.0) * np.asarray(self.reward(x), np.float64)


@dataclass(frozen=True)
class FeynmanKac(Decoder):
    """Weigh the particles of a changed sampler, and resample them.

    The sampler is that of Euler and Maruyama, with equal steps of time.

    Parameters
    ----------
    particles : int
        K, of one population, 1 or more. One alone has no weight to speak of.
    steps : int
        Of time, 1 or more.
    correction : {'every-step', 'ess', 'birth-death', 'final-weights', 'none'}
        'every-step': resample by each step's own weights (the paper's choice); 'ess': resample
        when the effective size has fallen below a share of K; 'birth-death': particles whose
        weight falls die after a random wait, and are replaced by ones whose weight grows;
        'final-weights': never resample, and keep all weights; 'none': no weights at all, as the
        usual heuristic has it, to compare with. Neither of the first two is best everywhere:
        resampling often lets one mode of the target crowd out others by chance, and waiting makes
        weights uneven.
    ess_threshold : float
        That share, above 0 and at most 1.
    clamp : float or None
        The most that a log-weight may differ from the others' mean in one step; None: no limit. The
        published code has 1. It guards against scores that are wrong here and there, and biases.
    t_min, t_max : float
        Weights grow, and particles are resampled, only from the one to the other.
    final_selection : bool
        Whether the last particles are resampled too, so that they count the same. The paper's are
        not.

    References
    ----------
    M. Skreta et al., "Feynman-Kac Correctors in Diffusion: Annealing, Guidance, and Product of
    Experts", arXiv 2503.02819. Two things are not taken from its text: replacements of
    'birth-death' are drawn by the gain of the present step; and the weights of 'ess' and
    'final-weights' are kept after `t_max`.

    Examples
    --------
    >>> from samplewise.decode.noising import VarianceExploding, exact_score
    >>> from samplewise.measure.gaussian_mixture import GaussianMixture
    >>> noising = VarianceExploding(0.01, 10.0)
    >>> score = exact_score(GaussianMixture.of([1.0], [[1.0]], 1.0), noising)
    >>> for correction in ("none", "every-step"):  # the variance of N(1, 1)^2 is 0.5
    ...     method = FeynmanKac(correction=correction, particles=2000, steps=200)
    ...     found = method.sample(score, Annealed(2.0), noising, dimensions=1, rng=0)
    ...     print(found.covariance().round(1).tolist())
    [[0.3]]
    [[0.5]]
    """

    particles: int = 1000
    steps: int = 500
    correction: Correction = "every-step"
    ess_threshold: float = 0.5
    clamp: float | None = None
    t_min: float = 0.0
    t_max: float = 1.0
    final_selection: bool = False

    name: ClassVar[str] = "feynman-kac"
    aliases: ClassVar[tuple[str, ...]] = ("fkc",)
    kind: ClassVar[str] = "corrector"
    paper: ClassVar[str] = "2503.02819"
    cost: ClassVar[str] = "O(n K) scores for n steps and K particles"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("particles", "steps"):
            if getattr(self, knob) < 1:
                raise UsageError(f"knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more")
        if not 0 < self.ess_threshold <= 1:
            raise UsageError(
                f"knob 'ess_threshold' is {self.ess_threshold}", mend="give above 0, at most 1"
            )
        if self.clamp is not None:
            _check_positive("knob 'clamp'", self.clamp)
        if not 0 <= self.t_min <= self.t_max <= 1:
            raise UsageError(
                f"knobs 't_min' and 't_max' are {self.t_min} and {self.t_max}",
                mend="give 0 <= t_min <= t_max <= 1",
            )

    def sample(
        self,
        scores: Score | Sequence[Score],
        target: Target,
        noising: Noising,
        dimensions: int,
        *,
        populations: int | None = None,
        start: ArrayLike | None = None,
        rng: RandomState = None,
    ) -> Particles:
        """Run the particles from noise to data.

        Parameters
        ----------
        scores : callable, or sequence of callables
            Those of the models that the target is made of, in its order: ``score(x, t)`` maps
            points of shape (n, d), of all populations together, to their scores. All must share the
            noising. `samplewise.decode.score_network.torch_score` makes one of a PyTorch module.
        target : Target
        noising : Noising
        dimensions : int
            d, 1 or more.
        populations : int, optional
            Run so many at once, independent of each other; all shapes then have an axis in front.
        start : array_like, shape (K, d), optional
            Particles at t = 0, such as a sampler of the noised target's own law makes. By default
            normal, with the variance of the noise over the target's power: that of the data, which
            counts little then, is left out.
        rng : int, numpy.random.Generator or None

        Returns
        -------
        Particles

        Raises
        ------
        UsageError
            If the models are not as many as the target takes, a shape is wrong, or a score or
            weight is NaN or infinite.
        """
        models = [scores] if callable(scores) else list(scores)
        if len(models) != target.models:
            raise UsageError(
                f"{len(models)} scores for {type(target).__name__}, which takes {target.models}"
            )
        if dimensions < 1 or (populations is not None and populations < 1):
            raise UsageError(
                f"dimensions is {dimensions}, and populations {populations}", mend="give 1 or more"
            )
        shape = (populations or 1, self.particles, dimensions)
        random = generator(rng)
        resampler = self._resampler(shape[:2], generator(seed_of(random)))
        x = noising.start(shape, target.power, random)
        if start is not None:
            given = shape if populations else shape[1:]
            x = _finite(start, "start", 0.0, given).reshape(shape)
        found = self._run(x, models, target, noising, resampler, random)
        return found if populations else _only(found)

    def _run(
        self,
        x: Floats,
        models: Sequence[Score],
        target: Target,
        noising: Noising,
        resampler: _Resampler,
        random: np.random.Generator,
    ) -> Particles:
        shape, dt = x.shape, 1 / self.steps
        flat = (-1, shape[2])
        weights = target.start_log_weights(x.reshape(flat))
        x = resampler.begin(x, _finite(weights, "weight", 0.0, (x.size // shape[2],)))
        sizes, unique = [], []
        for step in range(self.steps):
            t = step / self.steps
            move = _move(x.reshape(flat), models, target, t, noising)
            z = random.standard_normal(shape)
            x = x + move.drift.reshape(shape) * dt + move.noise * math.sqrt(dt) * z
            active = self.t_min <= t <= self.t_max
            if active:
                resampler.gather(move.increment * dt, self.clamp)
            sizes.append(effective_size(resampler.log_weights))
            if active and step + 1 < self.steps:
                x = resampler.resample(x)
            unique.append(resampler.unique())
        if self.final_selection:
            x = resampler.select(x, np.full(shape[0], True))
        return Particles(
            x, resampler.log_weights, resampler.ancestors, np.stack(sizes, 1), np.stack(unique, 1)
        )

    def _resampler(self, shape: tuple[int, int], random: np.random.Generator) -> _Resampler:
        if self.correction == "birth-death":
            return _BirthDeath(shape, random)
        if self.correction == "none":
            return _NoWeights(shape, random)
        least = {"every-step": np.inf, "ess": self.ess_threshold, "final-weights": 0.0}
        return _Resampler(shape, random, least[self.correction])


class _Resampler:
    """The weights of populations, and who comes from whom.

    Parameters
    ----------
    shape : (populations, particles)
    random : numpy.random.Generator
        Of its own, so that the particles' noise is the same whatever is resampled.
    least : float
        The share of the effective size below which particles are resampled.
    """

    def __init__(
        self, shape: tuple[int, int], random: np.random.Generator, least: float = 0.0
    ) -> None:
        self.random, self.least = random, least
        self.log_weights: Floats = np.zeros(shape)
        self.ancestors: Indices = np.tile(np.arange(shape[1]), (shape[0], 1))

    def begin(self, x: Floats, log_weights: Floats) -> Floats:
        """Take the weights that particles start with."""
        self.gather(log_weights)
        return x

    def gather(self, increments: Floats, clamp: float | None = None) -> None:
        """Add to the log-weights; what is added to all alike is left out."""
        self.log_weights = self.log_weights + self.centred(increments, clamp)

    def centred(self, increments: Floats, clamp: float | None) -> Floats:
        """Subtract the mean of each population."""
        added = increments.reshape(self.log_weights.shape)
        most = np.inf if clamp is None else clamp
        centred: Floats = np.clip(added - added.mean(axis=1, keepdims=True), -most, most)
        return centred

    def resample(self, x: Floats) -> Floats:
        """Resample the populations that need it."""
        size = effective_size(self.log_weights)
        return self.select(x, size < self.least * self.log_weights.shape[1])

    def select(self, x: Floats, rows: NDArray[np.bool_]) -> Floats:
        """Resample some of the populations by their weights, which are then equal."""
        if not rows.any():
            return x
        u = self.random.random(len(rows))
        chosen = systematic_resampling(np.where(rows[:, None], self.log_weights, 0.0), u)
        self.log_weights = np.where(rows[:, None], 0.0, self.log_weights)
        return self.replace(x, chosen)

    def replace(self, x: Floats, chosen: Indices) -> Floats:
        """Put a copy of the chosen particle in every place."""
        self.ancestors = np.take_along_axis(self.ancestors, chosen, axis=1)
        kept: Floats = np.take_along_axis(x, chosen[..., None], axis=1)
        return kept

    def unique(self) -> Indices:
        """Count the first particles that have a descendant."""
        seen = np.zeros(self.ancestors.shape, bool)
        np.put_along_axis(seen, self.ancestors, True, axis=1)
        count: Indices = seen.sum(axis=1)
        return count


class _NoWeights(_Resampler):
    """The plain sampler: what its particles should weigh is forgotten."""

    def gather(self, increments: Floats, clamp: float | None = None) -> None:
        """Add nothing."""


class _BirthDeath(_Resampler):
    """Particles below the mean die at the rate at which they lose weight.

    Each has an exponential threshold; when what it lost reaches it, a particle that gains weight in
    this step, drawn by its gain, takes its place.
    """

    def __init__(self, shape: tuple[int, int], random: np.random.Generator) -> None:
        super().__init__(shape, random)
        self.threshold = random.standard_exponential(shape)
        self.gain: Floats = np.zeros(shape)

    def begin(self, x: Floats, log_weights: Floats) -> Floats:
        """Resample by the weights that particles start with, which no clock knows of."""
        super().gather(log_weights)
        return self.select(x, np.full(len(x), True))

    def gather(self, increments: Floats, clamp: float | None = None) -> None:
        """Lower every clock by what its particle loses."""
        self.gain = self.centred(increments, clamp)
        self.threshold = self.threshold - (-self.gain).clip(0)

    def resample(self, x: Floats) -> Floats:
        """Replace the particles whose clock has run down."""
        dying = self.threshold < 0
        chosen = np.tile(np.arange(dying.shape[1]), (len(dying), 1))
        for row in np.flatnonzero(dying.any(axis=1)):
            births = self.gain[row].clip(0)
            chosen[row, dying[row]] = self.random.choice(
                len(births), dying[row].sum(), p=births / births.sum()
            )
        self.threshold = np.where(
            dying, self.random.standard_exponential(dying.shape), self.threshold
        )
        return self.replace(x, chosen)


def _move(x: Floats, models: Sequence[Score], target: Target, t: float, noising: Noising) -> Move:
    """Ask the models and the target, and refuse what is no number."""
    scores = [
        _finite(model(x, t), f"score {place} of {len(models)}", t, x.shape)
        for place, model in enumerate(models, 1)
    ]
    move = target.move(x, scores, t, noising)
    _finite(move.drift, "drift", t, x.shape)
    return move._replace(increment=_finite(move.increment, "weight", t, x.shape[:1]))


def _finite(values: ArrayLike, what: str, t: float, shape: tuple[int, ...] | None = None) -> Floats:
    found = np.asarray(values, np.float64)
    if shape is not None and found.shape != shape:
        raise UsageError(f"{what} has the shape {found.shape} at t = {t:g}", mend=f"give {shape}")
    if not np.isfinite(found).all():
        raise UsageError(
            f"{what} is NaN or infinite at t = {t:g}",
            mend="look at the model there; more steps help where particles run away",
        )
    return found


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"{name} is {value}", mend="give a finite number above 0")


def _only(several: Particles) -> Particles:
    """Drop the axis of the one population."""
    return Particles(*(getattr(several, one.name)[0] for one in dataclasses.fields(several)))
