"""How many tokens of a masked diffusion are masks at a time, and at what time so many are.

A token is a mask at time t with the probability ``share(t) = 1 - alpha(t)``, 0 at t = 0 (data) and
1 at t = 1. The inverse takes the logarithm of the share, so that it keeps its digits at both ends:
near 1, where the share itself rounds to 1, and near 0.

Cost: O(1) a value. Source: arXiv 2409.02908; the linear schedule is ``alpha = 1 - t``, the cosine
one ``alpha = 1 - cos(pi (1 - t) / 2)``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Schedule", "share_of_masks", "time_of_share"]

Schedule: TypeAlias = Literal["linear", "cosine"]
Floats: TypeAlias = NDArray[np.float64]


def share_of_masks(time: ArrayLike, schedule: Schedule = "linear") -> Floats:
    """Give the probability that a token is a mask.

    Parameters
    ----------
    time : array_like of float
        0 to 1.
    schedule : {'linear', 'cosine'}

    Returns
    -------
    ndarray of float64
        As `time`, 0 to 1.

    Examples
    --------
    >>> share_of_masks([0.0, 0.5, 1.0], "cosine").round(3)
    array([0.   , 0.707, 1.   ])
    """
    times = np.asarray(time, np.float64)
    shares = times if schedule == "linear" else np.sin(np.pi / 2 * times)
    return np.clip(shares, 0.0, 1.0)


def time_of_share(log_share: ArrayLike, schedule: Schedule = "linear") -> Floats:
    """Give the time at which a token is a mask with a given probability.

    Parameters
    ----------
    log_share : array_like of float
        Logarithm of the probability, 0 or less.
    schedule : {'linear', 'cosine'}

    Returns
    -------
    ndarray of float64
        As `log_share`, 0 to 1.

    Examples
    --------
    >>> time_of_share(np.log([0.25, 1.0])), time_of_share(np.log([0.5, 1.0]), "cosine").round(3)
    (array([0.25, 1.  ]), array([0.333, 1.   ]))
    """
    logs = np.asarray(log_share, np.float64)
    shares = np.exp(logs)
    if schedule == "linear":
        return np.clip(shares, 0.0, 1.0)
    # The arcsine loses half its digits near 1: there, its half-angle form of alpha = 1 - share.
    alpha = np.clip(-np.expm1(logs), 0.0, 1.0)
    late = 1.0 - 4 / np.pi * np.arcsin(np.sqrt(alpha / 2))
    early = 2 / np.pi * np.arcsin(np.clip(shares, 0.0, 1.0))
    return np.clip(np.where(shares < 0.5, early, late), 0.0, 1.0)
