"""The law by which coverage grows with samples: c(k) = exp(a k^-b), and how well it holds.

Cost: a least-squares fit of two numbers, O(numbers of k) a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Law", "Overlay", "family_overlay", "fit_law", "paper_grid"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """A fitted law c(k) = exp(a k^-b).

    Attributes
    ----------
    a, b : float
        a <= 0, so that c(1) = exp(a); b >= 0 says how fast the rest is made up.
    k, residuals : ndarray of float64
        Where it was fitted, and the coverage there less the law's.
    """

    a: float
    b: float
    k: Floats
    residuals: Floats

    def predict(self, k: ArrayLike) -> Floats:
        """Give the law's coverage at each k."""
        return np.exp(self.a * np.asarray(k, np.float64) ** -self.b)

    def extrapolates(self, k: ArrayLike) -> NDArray[np.bool_]:
        """Say where a k lies outside of those the law was fitted on."""
        k = np.asarray(k, np.float64)
        return np.asarray((k < self.k.min()) | (k > self.k.max()))

    @property
    def mean_error(self) -> float:
        """Mean absolute residual."""
        return float(np.abs(self.residuals).mean())

    @property
    def max_error(self) -> float:
        """Largest absolute residual."""
        return float(np.abs(self.residuals).max())


def paper_grid(most: int = 10_000, points: int = 40) -> NDArray[np.int64]:
    """Give numbers of samples, evenly spaced by their logarithm, from 1 to `most`.

    Returns
    -------
    ndarray of int64
        Rounded, and each once: 37 of 40 for 10,000.

    Raises
    ------
    ValueError
        If `most` or `points` is below 1.

    References
    ----------
    arXiv 2407.21787

    Examples
    --------
    >>> len(paper_grid()), paper_grid(100, 5).tolist()
    (37, [1, 3, 10, 32, 100])
    """
    if most < 1 or points < 1:
        raise ValueError(f"most is {most} and points is {points}: give 1 or more")
    return np.unique(np.round(np.logspace(0, np.log10(most), points)).astype(np.int64))


def fit_law(k: ArrayLike, coverage: ArrayLike) -> Law:
    """Fit the law to coverage by least squares on the coverage itself.

    A fit on log coverage would break where nothing is solved yet. Few points, or coverage that has
    reached 1, leave b poorly known: look at the residuals, and do not trust it far beyond its k.

    Parameters
    ----------
    k : array_like of float, shape (m,)
        1 or more each, m >= 2 different ones.
    coverage : array_like of float, shape (m,)
        From 0 to 1, and not 0 everywhere.

    Returns
    -------
    Law

    Raises
    ------
    ValueError
        If there are too few points, or values out of range.

    References
    ----------
    arXiv 2407.21787, section 3.1

    Examples
    --------
    >>> law = fit_law([1, 10, 100], np.exp(-2.0 * np.array([1, 10, 100.0]) ** -0.4))
    >>> round(law.a, 6), round(law.b, 6)
    (-2.0, 0.4)
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    x, y = np.asarray(k, np.float64), np.asarray(coverage, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 2:
        raise ValueError(f"shapes {x.shape} and {y.shape}: give two points or more")
    if not ((x >= 1).all() and ((y >= 0) & (y <= 1)).all() and y.any()):
        raise ValueError("give k of 1 or more, and coverage from 0 to 1 that is not all 0")
    # Where nothing was solved in one sample, the first number of samples that solved some starts.
    first = np.flatnonzero(y > 0)[0]
    start = np.log(min(y[first], 1 - 1e-9)) * x[first] ** 0.3
    with warnings.catch_warnings():  # two points fix two numbers, and leave no covariance
        warnings.simplefilter("ignore", OptimizeWarning)
        (a, b), _ = curve_fit(
            lambda at, a, b: np.exp(a * at**-b),
            x,
            y,
            p0=(start, 0.3),
            bounds=([-np.inf, 0.0], [0.0, np.inf]),
            x_scale=(abs(start) + 1e-3, 0.3),
            ftol=1e-14,
            xtol=1e-14,
            gtol=1e-14,
            max_nfev=20_000,
        )
    return Law(float(a), float(b), x, y - np.exp(a * x**-b))


class Overlay(NamedTuple):
    """How far each curve of a family is shifted so that they fall together.

    Attributes
    ----------
    anchor : float
        The largest coverage at one sample in the family.
    shift : dict of str to int
        The number of samples at which each model is nearest to it: plot against k / shift.
    """

    anchor: float
    shift: dict[str, int]


def family_overlay(curves: Mapping[str, ArrayLike]) -> Overlay:
    """Shift the curves of one family of models over each other.

    Parameters
    ----------
    curves : mapping of str to array_like, shape (m,)
        Coverage at 1, 2, ..., m samples of each model; lengths may differ.

    Returns
    -------
    Overlay

    Raises
    ------
    ValueError
        If there is no curve, or an empty one.

    References
    ----------
    arXiv 2407.21787, section 3.2

    Examples
    --------
    >>> family_overlay({"small": [0.1, 0.19, 0.27], "large": [0.2, 0.36, 0.49]})
    Overlay(anchor=0.2, shift={'small': 2, 'large': 1})
    """
    known = {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
    if not known or any(one.ndim != 1 or not len(one) for one in known.values()):
        raise ValueError("give one curve or more, each with the coverage at 1, 2, ... samples")
    anchor = max(float(curve[0]) for curve in known.values())
    shift = {name: int(np.abs(curve - anchor).argmin()) + 1 for name, curve in known.items()}
    return Overlay(anchor, shift)
