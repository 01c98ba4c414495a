"""What is learned from accepted answers: which are kept, how much each counts, and the losses.

Pure functions, on arrays and plain tensors, for loops that draw answers and keep the right ones.

Cost: O(answers); the losses, O(rows x length).
Source: arXiv 2304.06767 (raft), 2504.11343 (raft++), 2505.02391 (the estimators of the gradient).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.objectives import clipped_surrogate, kl_estimate, mean_per_row

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Estimator",
    "accepted",
    "answer_weights",
    "parts_of",
    "raft_loss",
    "raft_plus_plus_loss",
    "shortest",
]

Estimator: TypeAlias = Literal["accepted", "drawn", "pooled"]


def accepted(rewards: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which answers are kept: those of the highest reward of their problem, if it is above 0.

    Parameters
    ----------
    rewards : ndarray of float, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem each answers, from 0.

    Examples
    --------
    >>> accepted(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])).tolist()
    [False, True, True, False]
    """
    best = np.zeros(int(groups.max(initial=-1)) + 1)
    np.maximum.at(best, groups, rewards)
    kept: NDArray[np.bool_] = (rewards > 0) & (rewards == best[groups])
    return kept


def shortest(
    kept: NDArray[np.bool_], groups: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Leave one of those kept of each problem: the shortest, of equal ones the first.

    Parameters
    ----------
    kept : ndarray of bool, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem each answers, from 0.
    lengths : ndarray of int, shape (answers,)

    References
    ----------
    arXiv 2505.07961, as a way to shorten reasoning that its own is compared with.

    Examples
    --------
    >>> kept, groups = np.array([True, False, True, True]), np.array([0, 0, 0, 1])
    >>> shortest(kept, groups, np.array([9, 2, 5, 7])).tolist()
    [False, False, True, True]
    """
    order = np.lexsort((lengths, groups, ~kept))[: int(kept.sum())]
    firsts = np.unique(groups[order], return_index=True)[1]
    left = np.zeros(len(kept), dtype=bool)
    left[order[firsts]] = True
    return left


def answer_weights(
    kept: NDArray[np.bool_],
    groups: NDArray[np.int64],
    problems: int,
    *,
    draws: NDArray[np.int64] | None = None,
    p: NDArray[np.float64] | None = None,
    estimator: Estimator = "accepted",
) -> NDArray[np.float64]:
    """Say how much each answer counts in an estimate of the gradient.

    Parameters
    ----------
    kept : ndarray of bool, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem each answers, from 0.
    problems : int
        How many the estimate is of, with those that no answer was drawn to.
    draws : ndarray of int64, shape (answers,), optional
        Answers drawn to its problem in all, where others of them are of another step; by default
        those that are here.
    p : ndarray of float, shape (answers,), optional
        Share of right answers to its problem; ``"drawn"`` needs it.
    estimator : {'accepted', 'drawn', 'pooled'}
        ``"accepted"`` averages over those kept of each problem, as the paper's Algorithm 1 does, by
        the share of its draws that are here;
        ``"drawn"`` divides by the draws times p, which is Lemma 1 and unbiased if p is exact;
        ``"pooled"`` averages over all that are kept, so that a problem counts by its right answers.

    Returns
    -------
    ndarray of float64, shape (answers,)
        0 for those not kept.

    References
    ----------
    arXiv 2505.02391

    Examples
    --------
    >>> kept, groups = np.array([True, True, False, True]), np.array([0, 0, 1, 1])
    >>> answer_weights(kept, groups, 2).tolist()
    [0.25, 0.25, 0.0, 0.5]
    >>> answer_weights(kept, groups, 2, p=np.array([1, 1, 0.5, 0.5]), estimator="drawn").tolist()
    [0.25, 0.25, 0.0, 0.5]
    """
    weights: NDArray[np.float64] = kept.astype(np.float64)
    here = np.bincount(groups)[groups]
    total = here if draws is None else draws
    if estimator == "pooled":
        weights /= max(1, int(kept.sum()))
    elif estimator == "accepted":
        weights /= problems * np.maximum(np.bincount(groups, weights), 1)[groups]
        weights *= here / total
    elif p is None or not (p[kept] > 0).all():
        raise UsageError("estimator is 'drawn' without p above 0", mend="draw pilots, or give p")
    else:
        weights[kept] /= problems * (total * p)[kept]
    return weights


def parts_of(groups: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Cut groups whose members stand together into parts of a size, the last maybe smaller.

    Examples
    --------
    >>> parts_of(np.array([0, 0, 0, 1, 1]), 2).tolist()
    [0, 0, 1, 2, 2]
    """
    if not len(groups):
        return groups
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    within = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    parts: NDArray[np.int64] = (within % size == 0).cumsum() - 1
    return parts


# --- losses ---------------------------------------------------------------------------------------


def raft_loss(
    new: torch.Tensor, response: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Give minus the mean log-probability of each answer's tokens, weighted.

    Parameters
    ----------
    new : torch.Tensor, shape (rows, length)
        Log-probabilities, natural logarithms.
    response : torch.Tensor of bool, shape (rows, length)
        Which tokens are the answer's.
    weights : torch.Tensor, shape (rows,), optional
        As `answer_weights` gives them; by default answers are averaged.

    Returns
    -------
    torch.Tensor, shape ()
    """
    return -_weighted(mean_per_row(new, response), weights)


def raft_plus_plus_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    response: torch.Tensor,
    weights: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    *,
    low: float = 0.2,
    high: float = 0.28,
    kl: float = 0.001,
) -> torch.Tensor:
    """Give minus the mean clipped ratio of each right answer's tokens, weighted.

    Parameters
    ----------
    new, old : torch.Tensor, shape (rows, length)
        Log-probabilities under the policy that learns, and under the one that drew, of the answers
        that are `accepted`; natural logarithms.
    response : torch.Tensor of bool, shape (rows, length)
        Which tokens are the answer's.
    weights : torch.Tensor, shape (rows,), optional
        As `answer_weights` gives them; by default answers are averaged.
    reference : torch.Tensor, shape (rows, length), optional
        Log-probabilities under the frozen model.
    low, high : float
        The ratio is clipped to [1 - low, 1 + high].
    kl : float
        Weight of the divergence from the frozen model.

    Returns
    -------
    torch.Tensor, shape ()

    References
    ----------
    arXiv 2504.11343, arXiv 2505.02391
    """
    tokens = -clipped_surrogate(new, old, torch.ones_like(new[:, 0]), low, high)
    if reference is not None:
        tokens = tokens + kl * kl_estimate(new, reference)
    return _weighted(mean_per_row(tokens, response), weights)


def _weighted(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return values.mean() if weights is None else (values * weights.to(values.dtype)).sum()
