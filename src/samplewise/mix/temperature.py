"""Sources drawn by a power of their size: small ones more often than their share.

With temperature tau a source of n rows is drawn in proportion to n^(1/tau): 1 leaves the shares as
they are, infinity draws every source alike. ``temperature`` draws so; ``scalarization`` draws in
proportion to size and weights the loss instead: the same loss and gradient on average, with another
variance. Use them for languages or domains of very different size.

Cost: O(1) a draw.
Source: arXiv 2410.04579.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Sources, Stream
from samplewise.mix.mixture import MixtureStream, Stage

__all__ = ["Temperature", "temperature_law"]


@dataclass(frozen=True)
class Temperature(Mixer):
    """Draw sources by a power of their size.

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

    tau: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tau(self.tau, "tau")

    def stream(
        self, sources: Sources, seed: int, total: int | None, rank: int, world_size: int
    ) -> Stream:
        """Make the stream."""
        law = temperature_law(sources.sizes, self.tau)
        stages = [Stage(0, law, np.ones(len(law)))]
        return MixtureStream(sources, seed, total, rank, world_size, stages)


def check_tau(tau: float, name: str) -> None:
    """Refuse a temperature below 1."""
    if not tau >= 1:
        raise UsageError(f"{name} is {tau}", mend="give 1 or more, or inf")


def temperature_law(sizes: ArrayLike, tau: float) -> NDArray[np.float64]:
    """Give the probability of sources of some sizes at a temperature.

    Parameters
    ----------
    sizes : array_like, shape (sources,)
        Rows, or tokens, of each; above 0.
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
    if counts.ndim != 1 or not len(counts) or not (counts > 0).all():
        raise UsageError(f"sizes are {counts}", mend="give numbers above 0")
    # Divided by the largest first: a power of a large count may be too large for a number.
    powers = np.power(counts / counts.max(), 0.0 if math.isinf(tau) else 1.0 / tau)
    law: NDArray[np.float64] = powers / powers.sum()
    return law
