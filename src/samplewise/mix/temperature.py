"""Sources drawn by a power of their size: small ones more often than their share.

With temperature tau a source of n rows is drawn in proportion to n^(1/tau): 1 leaves the shares as
they are, infinity draws every source alike. ``temperature`` draws so; ``scalarization`` draws in
proportion to size and weights the loss instead: the same loss and gradient on average, with another
variance. Use them for languages or domains of very different size.

`variance_factor` says how much larger the second moment of a weighted gradient is where gradients
are of one size everywhere; `second_moments` says it for any sizes, and there weighting may also be
the quieter of the two. With an optimizer that rescales gradients, such as Adam, the two do not take
the same steps even on average (own inference, not of the paper).

Cost: O(1) a draw.
Source: arXiv 2410.04579.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Setting, Sources, Stream
from samplewise.mix.mixture import MixtureStream, Stage

__all__ = [
    "Sampling",
    "Scalarization",
    "SecondMoments",
    "Temperature",
    "check_tau",
    "scalarization_weights",
    "second_moments",
    "temperature_law",
    "temperature_stage",
    "variance_factor",
]

Sampling = Literal["temperature", "scalarization"]
"""Whether sources are drawn by the temperature, or by size with weights that make up for it."""


@dataclass(frozen=True)
class Temperature(Mixer):
    """Draw sources by a power of their size.

    Small sources may be drawn many times over: `MixtureStream.epochs` says how often.

    Parameters
    ----------
    tau : float
        1 draws in proportion to size, infinity every source alike; 1 or more.

    References
    ----------
    Li, Xu, Tan, Murray, Khashabi (2024), arXiv 2410.04579.

    Examples
    --------
    >>> from samplewise.mix import Sources
    >>> Temperature(tau=5).start(Sources.of([1000, 100, 10]), rng=0).law().round(5)
    array([0.49284, 0.31096, 0.1962 ])
    """

    name: ClassVar[str] = "temperature"
    paper: ClassVar[str] = "2410.04579"
    cost: ClassVar[str] = "O(1) a draw"
    sampling: ClassVar[Sampling] = "temperature"

    tau: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tau(self.tau, "tau")

    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""
        stages = [temperature_stage(sources.sizes, 0, self.tau, self.sampling)]
        return MixtureStream(sources, setting, stages)


@dataclass(frozen=True)
class Scalarization(Temperature):
    """Draw rows as they are, and weight the loss of each by a power of its source's size.

    Parameters
    ----------
    tau : float
        As `Temperature` takes it: the weighted loss is on average the one that it draws.

    References
    ----------
    arXiv 2410.04579, theorem 1

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> drawn = mix(sizes=[9, 1], method="scalarization:tau=inf", rng=0).draw(1000)
    >>> sorted(set(drawn.weights.round(3).tolist())), round(float(drawn.weights.mean()), 1)
    ([0.556, 5.0], 1.0)
    """

    name: ClassVar[str] = "scalarization"
    aliases: ClassVar[tuple[str, ...]] = ("upweighting",)
    paper: ClassVar[str] = "2410.04579"
    sampling: ClassVar[Sampling] = "scalarization"


def temperature_stage(sizes: ArrayLike, start: int, tau: float, sampling: Sampling) -> Stage:
    """Make the stage of a stream that draws, or weights, by a temperature from one draw on.

    Raises
    ------
    UsageError
        As `temperature_law` does.
    """
    law = temperature_law(sizes, 1.0 if sampling == "scalarization" else tau)
    drawn = sampling == "temperature"
    return Stage(start, law, np.ones(len(law)) if drawn else scalarization_weights(sizes, tau))


def check_tau(tau: float, name: str) -> None:
    """Refuse a temperature below 1."""
    if not tau >= 1:
        raise UsageError(f"{name} is {tau}", mend="give 1 or more, or inf")


def temperature_law(sizes: ArrayLike, tau: float) -> NDArray[np.float64]:
    """Give the probability of sources of some sizes at a temperature.

    Parameters
    ----------
    sizes : array_like, shape (sources,)
        Rows, or tokens, of each: of what is drawn, in one unit for all; above 0.
    tau : float
        1 or more, or infinity.

    Returns
    -------
    ndarray of float64, shape (sources,)

    Raises
    ------
    UsageError
        If a size is not above 0, or `tau` is below 1.

    Examples
    --------
    >>> temperature_law([9, 1], 2)
    array([0.75, 0.25])
    """
    check_tau(tau, "tau")
    counts = np.asarray(sizes, dtype=np.float64)
    if counts.ndim != 1 or not len(counts) or not ((counts > 0) & np.isfinite(counts)).all():
        raise UsageError(f"sizes are {counts}", mend="give finite numbers above 0")
    # Divided by the largest first: a power of a large count may be too large for a number.
    powers = np.power(counts / counts.max(), 0.0 if math.isinf(tau) else 1.0 / tau)
    law: NDArray[np.float64] = powers / powers.sum()
    return law


def scalarization_weights(sizes: ArrayLike, tau: float) -> NDArray[np.float64]:
    """Give the weights of the loss that do by size what a temperature does by drawing.

    Parameters
    ----------
    sizes, tau
        As `temperature_law` takes them.

    Returns
    -------
    ndarray of float64, shape (sources,)
        Their mean over rows is 1.

    Raises
    ------
    UsageError
        As `temperature_law` does.

    References
    ----------
    arXiv 2410.04579, theorem 1

    Examples
    --------
    >>> scalarization_weights([1000, 100, 10], 5).round(4)
    array([ 0.5471,  3.4517, 21.7785])
    """
    return temperature_law(sizes, tau) / temperature_law(sizes, 1.0)


def variance_factor(sizes: ArrayLike, tau: float) -> float:
    """Say how many times larger weighting makes the second moment of a gradient than drawing does.

    It takes squared gradients to be as large on average in all sources, as the paper's proof does;
    they seldom are: `second_moments` gives both for what they are.

    Parameters
    ----------
    sizes, tau
        As `temperature_law` takes them.

    Returns
    -------
    float
        1 or more; 1 where tau is 1 or all sizes are alike. It never falls as tau rises.

    Raises
    ------
    UsageError
        As `temperature_law` does.

    References
    ----------
    arXiv 2410.04579, theorems 2 and 3

    Examples
    --------
    >>> [round(variance_factor([9, 1], tau), 5) for tau in (1, 2, 5, 100)]
    [1.0, 1.25, 1.94656, 2.72929]
    """
    return float(temperature_law(sizes, tau) @ scalarization_weights(sizes, tau))


class SecondMoments(NamedTuple):
    """Mean of the squared norm of one row's gradient, times its weight.

    The gradient of the whole loss is the same for both, so that their variances differ as these do.

    Attributes
    ----------
    temperature : float
        Where sources are drawn by the temperature.
    scalarization : float
        Where rows are drawn as they are, and weighted.
    """

    temperature: float
    scalarization: float


def second_moments(sizes: ArrayLike, tau: float, squares: ArrayLike) -> SecondMoments:
    """Give the second moment of a row's gradient for both ways to balance sources.

    Parameters
    ----------
    sizes, tau
        As `temperature_law` takes them.
    squares : array_like, shape (sources,)
        Mean over the rows of each source of the squared norm of the gradient; 0 or more.

    Returns
    -------
    SecondMoments

    Raises
    ------
    UsageError
        As `temperature_law` does, or if squares are not one number a source, 0 or more.

    References
    ----------
    arXiv 2410.04579, the step before theorem 2

    Examples
    --------
    Gradients of the large source above nine times the others: weighting is the quieter way.

    >>> moments = second_moments([9, 1], float("inf"), [20.0, 1.0])
    >>> moments.temperature, round(moments.scalarization, 3)
    (10.5, 8.056)
    """
    law = temperature_law(sizes, tau)
    norms = np.asarray(squares, dtype=np.float64)
    if norms.shape != law.shape or not (norms >= 0).all():
        raise UsageError(f"squares are {norms}", mend=f"give {len(law)} numbers, 0 or more")
    weighted = law * scalarization_weights(sizes, tau)
    return SecondMoments(float(law @ norms), float(weighted @ norms))
