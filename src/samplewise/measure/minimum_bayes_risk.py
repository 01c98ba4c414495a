"""Minimum Bayes risk: of several answers, the one that the others speak for most.

The risk of an answer is what is lost by it where the truth is like the evidence; with a utility
u(answer, evidence) the answer of least risk has the highest mean utility. The evidence is the pool
itself, and may be more: samples in another language (X-MBR), or one reference.

Cost: O(n (n + m)) utilities for n answers and m further pieces of evidence.
Source: arXiv 2506.20544; Kumar and Byrne, 2004, for the rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["expected_utilities", "first_best", "pool_scores", "preference_utilities"]

Floats = NDArray[np.float64]

_ROUNDING = 1e-12  # utilities summed in another order differ by less, and are a tie


def expected_utilities(utilities: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Average each answer's utility over the evidence.

    Parameters
    ----------
    utilities : array_like, shape (answers, evidence)
    weights : array_like, shape (evidence,) or (answers, evidence), optional
        How often each piece of evidence was seen, 0 or more.

    Returns
    -------
    ndarray of float64, shape (answers,)
        0 where an answer has no evidence.

    Raises
    ------
    ValueError
        If there is no answer, a utility is no number, or a weight is negative.

    Examples
    --------
    >>> expected_utilities([[1.0, 0.0], [0.5, 0.75]], weights=[1, 3]).tolist()
    [0.25, 0.6875]
    """
    table = np.asarray(utilities, np.float64)
    if table.ndim != 2 or not len(table) or not np.isfinite(table).all():
        raise ValueError(f"utilities of shape {table.shape}: give numbers, a row an answer")
    heavy = np.ones(table.shape) if weights is None else np.asarray(weights, np.float64)
    if not (heavy >= 0).all():
        raise ValueError("a weight is negative, or no number")
    heavy = np.broadcast_to(heavy, table.shape)
    total = heavy.sum(axis=1)
    return np.asarray((table * heavy).sum(axis=1) / np.where(total > 0, total, 1.0))


def pool_scores(
    within: ArrayLike, across: ArrayLike | None = None, *, counts: ArrayLike | None = None
) -> Floats:
    """Score the answers of a pool by each other, and by further evidence where there is some.

    An answer is no evidence for itself: self-pairs are left out, so that the mean is over
    n - 1 + m pieces. Of an answer that was drawn several times, the other draws do count.

    Parameters
    ----------
    within : array_like, shape (answers, answers)
        Utility of each answer, a row, by each answer.
    across : array_like, shape (answers, m), optional
        Utility of each answer by each piece of further evidence.
    counts : array_like of int, shape (answers,), optional
        How often each answer was drawn; by default once.

    Returns
    -------
    ndarray of float64, shape (answers,)

    Raises
    ------
    ValueError
        If a shape does not fit, a utility is no number, or a count is less than 1.

    References
    ----------
    arXiv 2506.20544

    Examples
    --------
    >>> pool_scores([[9, 0.4, 0.2], [0.4, 9, 0.6], [0.2, 0.6, 9]]).round(3).tolist()
    [0.3, 0.5, 0.4]
    >>> pool_scores([[1, 0], [0, 1]], [[0.9], [0.2]]).tolist()
    [0.45, 0.1]
    """
    square = np.asarray(within, np.float64)
    n = len(square) if square.ndim else 0
    often = np.ones(n) if counts is None else np.asarray(counts, np.float64)
    if not n or square.shape != (n, n) or often.shape != (n,) or not (often >= 1).all():
        raise ValueError(f"shape {square.shape} and counts {often.tolist()}: give n by n, n counts")
    more = np.empty((n, 0)) if across is None else np.asarray(across, np.float64)
    if more.ndim != 2 or len(more) != n:
        raise ValueError(f"further evidence of shape {more.shape} for {n} answers")
    others = np.tile(often, (n, 1)) - np.eye(n)
    weights = np.hstack([others, np.ones(more.shape)])
    return expected_utilities(np.hstack([square, more]), weights)


def preference_utilities(judged: ArrayLike) -> Floats:
    """Turn a judge's pairwise preferences into utilities that are fair to both sides.

    Judges favour a place. The mean over both orders cancels that, and makes u(a, b) + u(b, a) = 1.

    Parameters
    ----------
    judged : array_like, shape (answers, answers)
        ``judged[a, b]`` is the preference for a, from 0 to 1, when a was shown before b; NaN where
        the pair was not judged in this order.

    Returns
    -------
    ndarray of float64, shape (answers, answers)
        The mean over the orders that were judged; one half where none was, and for an answer by
        itself.

    Raises
    ------
    ValueError
        If it is not square, or a preference is not from 0 to 1.

    Examples
    --------
    >>> nan = float("nan")
    >>> preference_utilities([[nan, 1.0, 1.0], [0.6, nan, nan], [nan, nan, nan]]).tolist()
    [[0.5, 0.7, 1.0], [0.3, 0.5, 0.5], [0.0, 0.5, 0.5]]
    """
    table = np.array(judged, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"preferences of shape {table.shape}, not square")
    if ((table < 0) | (table > 1)).any():
        raise ValueError("a preference is not from 0 to 1")
    np.fill_diagonal(table, np.nan)
    orders = np.stack([table, 1 - table.T])
    known = ~np.isnan(orders)
    total = np.where(known, orders, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), 0.5)


def first_best(scores: ArrayLike) -> int:
    """Find the highest score; a tie, but for rounding, goes to the first.

    Raises
    ------
    ValueError
        If there is no score, or one is no number.

    Examples
    --------
    >>> first_best([0.1 + 0.2, 0.1, 0.3])
    0
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise ValueError("give one row of scores that are numbers")
    best = values.max()
    return int(np.argmax(values >= best - _ROUNDING * max(1.0, abs(best))))
