"""What samples cost, in arithmetic and in money, and how many of them pay.

Cost: O(numbers of k).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cost_per_solved", "flops_per_token", "samples_worth_paying", "sampling_flops"]

Floats: TypeAlias = NDArray[np.float64]


def flops_per_token(parameters: float, layers: int, width: int, context: float) -> float:
    """Count the floating point operations of one token.

    Parameters
    ----------
    parameters : float
        Weights of the model, 0 or more.
    layers, width : int
        Layers, and the dimension of a hidden state.
    context : float
        Tokens that it attends to.

    Returns
    -------
    float
        2 (parameters + 2 layers width context).

    Raises
    ------
    ValueError
        If one is below 0.

    References
    ----------
    arXiv 2407.21787, appendix D

    Examples
    --------
    >>> flops_per_token(1e9, 16, 2048, 1000)
    2131072000.0
    """
    if min(parameters, layers, width, context) < 0:
        raise ValueError("parameters, layers, width and context must be 0 or more")
    return 2.0 * (parameters + 2.0 * layers * width * context)


def sampling_flops(
    per_token: float, prompt_tokens: float, drawn_tokens: float, samples: ArrayLike
) -> Floats:
    """Count the operations of many samples of one prompt, which is read once.

    Parameters
    ----------
    per_token : float
    prompt_tokens, drawn_tokens : float
        Tokens of the prompt, and of one sample.
    samples : array_like of float

    Returns
    -------
    ndarray of float64

    References
    ----------
    arXiv 2407.21787, appendix D

    Examples
    --------
    >>> sampling_flops(2.0, 100, 50, [1, 10]).tolist()
    [300.0, 1200.0]
    """
    many = np.asarray(samples, np.float64)
    return np.asarray(per_token * (prompt_tokens + drawn_tokens * many), np.float64)


def cost_per_solved(coverage: ArrayLike, cost: ArrayLike) -> Floats:
    """Give what a solved problem costs: infinite where none is.

    Parameters
    ----------
    coverage, cost : array_like of float, shape (m,)
        Share of problems solved, and what a problem costs, at each number of samples.

    Returns
    -------
    ndarray of float64, shape (m,)

    Examples
    --------
    >>> cost_per_solved([0.0, 0.5], [0.01, 0.02]).tolist()
    [inf, 0.04]
    """
    share, paid = np.asarray(coverage, np.float64), np.asarray(cost, np.float64)
    with np.errstate(divide="ignore"):
        return np.where(share > 0, paid / share, np.inf)


def samples_worth_paying(coverage: ArrayLike, cost_per_sample: float, value: float) -> int:
    """Find how many samples bring the most, at a price and a value of a solved problem.

    Parameters
    ----------
    coverage : array_like of float, shape (m,)
        At 1, 2, ..., m samples.
    cost_per_sample, value : float
        In the same money; 0 or more.

    Returns
    -------
    int
        The number with the highest ``value * coverage - cost``; the fewest of equals, and 0 where
        every number loses money. m means that more may pay still.

    Raises
    ------
    ValueError
        If there is no coverage, or money below 0.

    Examples
    --------
    >>> samples_worth_paying([0.2, 0.3, 0.35, 0.36], cost_per_sample=0.02, value=1.0)
    3
    """
    share = np.asarray(coverage, np.float64)
    if share.ndim != 1 or not len(share) or cost_per_sample < 0 or value < 0:
        raise ValueError("give coverage at 1, 2, ... samples, and a cost and value of 0 or more")
    gain = value * share - cost_per_sample * np.arange(1, len(share) + 1)
    best = int(gain.argmax())
    return best + 1 if gain[best] > 0 else 0
