"""What a vote among solutions reaches, and a vote among those that can be told to be whole.

Each solution needs some conditions and drops each of them with some probability. A solution that
drops one is wrong; where its steps then refer to something that is not there, it can be thrown out.

Cost: O(1) a figure. Source: arXiv 2504.09566 for conditions and exactness; the laws are derived
here.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["filtered_accuracy", "solution_accuracy", "vote_accuracy"]

Floats: TypeAlias = NDArray[np.float64]


def solution_accuracy(drop: float, needed: ArrayLike) -> Floats:
    """Give the probability that a solution drops none of the conditions it needs.

    Parameters
    ----------
    drop : float
        Probability that it drops one.
    needed : array_like of int
        How many it needs, 0 or more.

    Returns
    -------
    ndarray of float64
        Of the shape of `needed`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> solution_accuracy(0.15, [3, 4, 6]).round(3).tolist()
    [0.614, 0.522, 0.377]
    """
    count = np.asarray(needed, np.int64)
    if not 0 <= drop <= 1 or (count < 0).any():
        raise ValueError(f"drop is {drop}, or a number of conditions is below 0")
    return np.asarray((1.0 - drop) ** count, np.float64)


def vote_accuracy(accuracy: ArrayLike, solutions: int) -> Floats:
    """Give what a vote reaches where every wrong solution gives one and the same answer.

    Parameters
    ----------
    accuracy : array_like of float
        Probability that one solution is right.
    solutions : int
        An odd number of them, so that no vote is tied.

    Returns
    -------
    ndarray of float64
        Of the shape of `accuracy`.

    Raises
    ------
    ValueError
        If a number is out of range, or the number of solutions is even.

    Examples
    --------
    >>> round(float(vote_accuracy(0.7, 5)), 3)
    0.837
    """
    from scipy.stats import binom

    share = _shares(accuracy, solutions)
    if solutions % 2 == 0:
        raise ValueError(f"solutions is {solutions}: an even number may be tied")
    return np.asarray(binom.sf(solutions // 2, solutions, share), np.float64)


def filtered_accuracy(accuracy: ArrayLike, solutions: int) -> Floats:
    """Give what is reached where every wrong solution is known to be wrong: one right is enough.

    Parameters
    ----------
    accuracy : array_like of float
        Probability that one solution is right.
    solutions : int
        1 or more.

    Returns
    -------
    ndarray of float64
        Of the shape of `accuracy`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> filtered_accuracy([0.614, 0.522, 0.377], 5).round(3).tolist()
    [0.991, 0.975, 0.906]
    """
    share = _shares(accuracy, solutions)
    return np.asarray(1.0 - (1.0 - share) ** solutions, np.float64)


def _shares(accuracy: ArrayLike, solutions: int) -> Floats:
    share = np.asarray(accuracy, np.float64)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("an accuracy is not between 0 and 1")
    if solutions < 1:
        raise ValueError(f"solutions is {solutions}: give 1 or more")
    return share
