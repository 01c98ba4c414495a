"""What a pool of samples may gain and lose against the greedy answer: its hope and its risk.

Sampling at a higher temperature raises the best of a pool and lowers its worst. Putting the greedy
answer into the pool (hedging) bounds the loss, and costs little of the gain.

Cost: linear. Source: arXiv 2506.20544, section on sampling.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["PoolQuality", "pool_quality"]


class PoolQuality(NamedTuple):
    """Gain and loss against the greedy answer, averaged over prompts.

    Attributes
    ----------
    hope : float
        Of the best of each pool.
    risk : float
        Of the worst; below 0 where there is something to lose.
    mean : float
        Of the pool's mean.
    relative : bool
        Whether these are percent of the greedy answer's score, or plain differences of score.
    """

    hope: float
    risk: float
    mean: float
    relative: bool


def pool_quality(
    scores: ArrayLike, greedy: ArrayLike, *, relative: bool | None = None
) -> PoolQuality:
    """Measure hope and risk of pools.

    Reconstructed: that hope and risk are relative to the greedy answer is the paper's; that each is
    averaged prompt by prompt is an inference.

    Parameters
    ----------
    scores : array_like, shape (prompts, samples)
    greedy : array_like, shape (prompts,)
        Score of the greedy answer to each prompt.
    relative : bool, optional
        Whether to divide by the greedy score. By default where all of these are above 0: a ratio to
        a score that may be 0 or negative, such as a reward, says nothing.

    Returns
    -------
    PoolQuality

    Raises
    ------
    ValueError
        If shapes do not fit, a score is no number, or a ratio is asked for to a score of 0 or less.

    References
    ----------
    arXiv 2506.20544

    Examples
    --------
    >>> pool_quality([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5])
    PoolQuality(hope=25.0, risk=-25.0, mean=0.0, relative=True)
    >>> pool_quality([[1.0, -2.0]], [-1.0])
    PoolQuality(hope=2.0, risk=-1.0, mean=0.5, relative=False)
    """
    table, base = np.asarray(scores, np.float64), np.asarray(greedy, np.float64)
    if table.ndim != 2 or not table.size or base.shape != table.shape[:1]:
        raise ValueError(f"scores of shape {table.shape} and {base.shape} of greedy ones")
    if not (np.isfinite(table).all() and np.isfinite(base).all()):
        raise ValueError("a score is no number")
    divides = bool((base > 0).all()) if relative is None else relative
    if divides and not (base > 0).all():
        raise ValueError("a greedy score is 0 or less: take plain differences")
    away = np.stack([table.max(axis=1), table.min(axis=1), table.mean(axis=1)]) - base
    if divides:
        away = 100 * away / base
    hope, risk, mean = (float(one) for one in away.mean(axis=1))
    return PoolQuality(hope, risk, mean, divides)
