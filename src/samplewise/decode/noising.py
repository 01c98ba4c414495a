"""How a diffusion model turns data into noise, and with that how its samples are made.

The two usual processes: noise is added and the data stay (variance exploding), or the data shrink
while noise takes their place (variance preserving). Both have a linear drift, so what they make of
a mixture of Gaussians is known at every time, and so is the exact score.

Time runs as samples are made: t = 0 is noise, t = 1 data; 1 - t is the time of the noising.
Cost: O(1). Source: Y. Song et al., arXiv 2011.13456.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.measure.gaussian_mixture import GaussianMixture

__all__ = ["Noising", "Score", "VarianceExploding", "VariancePreserving", "exact_score"]

Floats: TypeAlias = NDArray[np.float64]
Score: TypeAlias = Callable[[Floats, float], Floats]
"""``score(x, t)``: the gradient of log q_t at points x of shape (n, d); shape (n, d)."""


@dataclass(frozen=True)
class Noising(ABC):
    """dx = c x ds + sigma dW, where s = 1 - t is the time of the noising.

    At time t the data are scaled by `signal`, and have normal noise of standard deviation `spread`
    on them.
    """

    @abstractmethod
    def drift_rate(self, t: float) -> float:
        """Give c, for which the drift is f(x) = c x."""

    @abstractmethod
    def sigma(self, t: float) -> float:
        """Give the factor of the Brownian motion."""

    @abstractmethod
    def signal(self, t: float) -> float:
        """Give what the data are scaled by."""

    @abstractmethod
    def spread(self, t: float) -> float:
        """Give the standard deviation of the noise; 0 at t = 1."""

    def start(self, shape: tuple[int, ...], power: float, rng: np.random.Generator) -> Floats:
        """Draw from the noise at t = 0, raised to a power: a normal law, narrower by its root."""
        z: Floats = rng.standard_normal(shape)
        return z * (self.spread(0.0) / math.sqrt(power))


@dataclass(frozen=True)
class VarianceExploding(Noising):
    """Noise of geometrically growing strength is added, and the data stay as they are.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The strength rises from the one to the other; the largest should be well above the distance
        of any two data points.

    References
    ----------
    arXiv 2011.13456

    Examples
    --------
    >>> noising = VarianceExploding(0.01, 10.0)
    >>> noising.signal(0.0), round(noising.spread(0.0), 3), noising.spread(1.0)
    (1.0, 10.0, 0.0)
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        _check_rising("sigma", self.sigma_min, self.sigma_max)

    def drift_rate(self, t: float) -> float:
        """Give 0: nothing pulls the data."""
        return 0.0

    def sigma(self, t: float) -> float:
        """Give sqrt(2 ln R) sigma_min R^s with R = sigma_max / sigma_min."""
        ratio = self.sigma_max / self.sigma_min
        return math.sqrt(2 * math.log(ratio)) * self.sigma_min * float(ratio ** (1 - t))

    def signal(self, t: float) -> float:
        """Give 1."""
        return 1.0

    def spread(self, t: float) -> float:
        """Give sigma_min sqrt(R^(2 s) - 1)."""
        exponent = 2 * (1 - t) * math.log(self.sigma_max / self.sigma_min)
        return self.sigma_min * math.sqrt(math.expm1(exponent))


@dataclass(frozen=True)
class VariancePreserving(Noising):
    """The data shrink while noise takes their place, at a rate that grows linearly.

    Parameters
    ----------
    beta_min, beta_max : float
        The rate at the data, and at the noise.

    References
    ----------
    arXiv 2011.13456

    Examples
    --------
    >>> noising = VariancePreserving()
    >>> round(noising.signal(0.5) ** 2 + noising.spread(0.5) ** 2, 12), noising.spread(1.0)
    (1.0, 0.0)
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_rising("beta", self.beta_min, self.beta_max)

    def drift_rate(self, t: float) -> float:
        """Give half the rate, negative."""
        return -self._rate(t) / 2

    def sigma(self, t: float) -> float:
        """Give the root of the rate."""
        return math.sqrt(self._rate(t))

    def signal(self, t: float) -> float:
        """Give exp(-half the rate summed over time)."""
        return math.exp(-self._summed(t) / 2)

    def spread(self, t: float) -> float:
        """Give the root of what the data have lost of their square."""
        return math.sqrt(-math.expm1(-self._summed(t)))

    def _rate(self, t: float) -> float:
        return self.beta_min + (1 - t) * (self.beta_max - self.beta_min)

    def _summed(self, t: float) -> float:
        s = 1 - t
        return s * self.beta_min + s * s * (self.beta_max - self.beta_min) / 2


def exact_score(mixture: GaussianMixture, noising: Noising) -> Score:
    """Give the score that a perfect model of a mixture of Gaussians would have learned.

    Examples
    --------
    >>> data = GaussianMixture.of([1.0], [[1.0]], 1.0)
    >>> exact_score(data, VarianceExploding())(np.array([[3.0]]), 1.0).tolist()
    [[-2.0]]
    """

    def score(x: Floats, t: float) -> Floats:
        return mixture.noised(noising.signal(t), noising.spread(t)).score(x)

    return score


def _check_rising(name: str, least: float, most: float) -> None:
    if not 0 < least < most < math.inf:
        raise UsageError(
            f"{name}_min is {least}, and {name}_max {most}",
            mend="give two numbers above 0, the second the larger",
        )
