"""Weighted particles: how many they are worth, and which to keep.

A particle stands for a share of a law, and its weight says for how large a share. Resampling
replaces weights by copies: heavy particles are kept several times, light ones not at all, and no
mean changes in expectation.

Every function takes log-weights whose last axis is the particles; other axes are populations that
have nothing to do with each other. Cost: O(K) for K particles.
Source: systematic resampling, G. Kitagawa (1996); effective size, L. Kish (1965).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["effective_size", "normalised_weights", "systematic_resampling"]

Floats: TypeAlias = NDArray[np.float64]


def normalised_weights(log_weights: ArrayLike) -> Floats:
    """Give weights that sum to 1 over the last axis, for logs of any size.

    Parameters
    ----------
    log_weights : array_like, shape (..., K)
        Each up to a constant of its population.

    Returns
    -------
    ndarray of float64, shape (..., K)

    Raises
    ------
    ValueError
        If a log-weight is NaN or infinite, save minus infinity, or all of a population are that.

    Examples
    --------
    >>> normalised_weights([-1e5, -1e5, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    weights = _relative(log_weights)
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def effective_size(log_weights: ArrayLike) -> Floats:
    """Give the number of equal particles whose mean is as precise: 1 over the sum of squares.

    Parameters
    ----------
    log_weights : array_like, shape (..., K)

    Returns
    -------
    ndarray of float64, shape (...)
        From 1 to K.

    Raises
    ------
    ValueError
        As `normalised_weights` does.

    Examples
    --------
    >>> effective_size([[0.0, 0.0], [0.0, -np.inf]])
    array([2., 1.])
    """
    return np.asarray(1 / (normalised_weights(log_weights) ** 2).sum(axis=-1))


def systematic_resampling(log_weights: ArrayLike, u: ArrayLike) -> NDArray[np.int64]:
    """Choose K particles of K by one random number: each weight's share, rounded up or down.

    The particles hold intervals of [0, 1) as long as their weights; the points (u + k) / K, for
    k = 0, ..., K - 1, fall into those of the chosen ones.

    Parameters
    ----------
    log_weights : array_like, shape (..., K)
    u : array_like, shape (...)
        Uniform in [0, 1), one for each population.

    Returns
    -------
    ndarray of int64, shape (..., K)
        Which particle takes each place, in rising order. Equal weights keep each one once.

    Raises
    ------
    ValueError
        As `normalised_weights` does, or if a number is not in [0, 1).

    References
    ----------
    G. Kitagawa, "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models",
    Journal of Computational and Graphical Statistics 5 (1996).

    Examples
    --------
    >>> systematic_resampling(np.log([0.5, 0.25, 0.125, 0.125]), 0.6)
    array([0, 0, 1, 3])
    """
    first = np.asarray(u, np.float64)
    if not ((first >= 0) & (first < 1)).all():
        raise ValueError("u must be in [0, 1)")
    sums = np.cumsum(_relative(log_weights), axis=-1)
    total = sums[..., -1:]
    count = sums.shape[-1]
    # Equal weights are ones here, so that K of them come out as whole numbers; and nothing is left
    # behind the last particle that has any weight.
    ends = np.where(sums < total, np.minimum(sums * (count / total), count), count)
    whole = np.floor(ends)
    # ceil(ends - u), with no difference that rounds.
    points = whole.astype(np.int64) + (ends - whole > first[..., None])
    offspring = np.diff(points, axis=-1, prepend=0)
    names = np.broadcast_to(np.arange(count), offspring.shape)
    return np.repeat(names.ravel(), offspring.ravel()).reshape(offspring.shape)


def _relative(log_weights: ArrayLike) -> Floats:
    """Give weights whose largest is 1."""
    logs = np.asarray(log_weights, np.float64)
    top = logs.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError("log-weights are NaN or infinite")
    relative: Floats = np.exp(logs - top)
    return relative
