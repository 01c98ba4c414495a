"""Pools of answers that public tests have thinned out: what is right among those that are left.

Pools then differ in size. An estimate for more answers than a pool holds counts the missing ones as
failures, and a pool of which nothing is left as unsolved; `samplewise.measure.pass_at_k` refuses
both. Cost: O(answers). Source: arXiv 2409.03733, whose sentence on missing answers is read so here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.pass_at_k import pass_at_k

__all__ = ["filtered_counts", "padded_pass_at_k"]

Floats: TypeAlias = NDArray[np.float64]


def filtered_counts(right: Sequence[ArrayLike], accepted: Sequence[ArrayLike]) -> NDArray[np.int64]:
    """Count the answers that public tests accept, and those of them that are right.

    Parameters
    ----------
    right, accepted : sequence of array_like of bool
        For each problem, whether each answer is right, and whether it passes the public tests.

    Returns
    -------
    ndarray of int64, shape (problems, 2)
        Answers left, and right ones.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> filtered_counts([[True, False, False]], [[True, True, False]]).tolist()
    [[2, 1]]
    """
    tables = [
        (np.asarray(one, bool), np.asarray(other, bool))
        for one, other in zip(right, accepted, strict=True)
    ]
    if any(one.shape != other.shape or one.ndim != 1 for one, other in tables):
        raise ValueError("give as many verdicts of public tests as verdicts, a row a problem")
    counts = [(int(other.sum()), int((one & other).sum())) for one, other in tables]
    return np.array(counts, np.int64).reshape(-1, 2)


def padded_pass_at_k(drawn: ArrayLike, right: ArrayLike, k: ArrayLike) -> Floats:
    """Estimate the chance that one of k answers is right, from pools of any size.

    Parameters
    ----------
    drawn, right : array_like of int
        Answers of each pool, 0 or more, and how many of them are right; broadcast with `k`.
    k : array_like of int
        1 or more. Up to `drawn` it is `pass_at_k`; beyond, 1 where any answer is right, else 0.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If a count makes no sense.

    References
    ----------
    arXiv 2409.03733

    Examples
    --------
    >>> padded_pass_at_k([4, 2, 2, 0], [1, 1, 0, 0], 3).tolist()
    [0.75, 1.0, 0.0, 0.0]
    """
    n, c, k = (np.asarray(one, np.int64) for one in (drawn, right, k))
    if not (c <= n).all():
        raise ValueError("more answers are right than were drawn")
    some = np.maximum(n, 1)
    return pass_at_k(some, c, np.minimum(k, some))
