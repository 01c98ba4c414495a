"""How many rows each group gives: shares of a budget, rounded to whole rows.

Largest remainder: a group first gets the whole part of its share, and the rows left over go to
the groups with the largest parts cut off. A group never gives more than it has; what it cannot
give goes to those with room, in the same shares. O(k log k) for k groups where none is too small
for its share, and at most k rounds of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["allocate", "in_turns", "quotas"]


def allocate(
    sizes: NDArray[np.int64],
    n: int,
    rule: str = "proportional",
    shares: NDArray[Any] | None = None,
) -> NDArray[np.int64]:
    """Split a budget of `n` rows over groups.

    Parameters
    ----------
    sizes : ndarray of int64, shape (k,)
        Rows in each group: the most it can give.
    n : int
        Rows to give in all, at most ``sizes.sum()``.
    rule : {'proportional', 'equal'}
        Shares by size, or the same for every group.
    shares : ndarray of shape (k,), optional
        Other shares, of any scale and at least 0, instead of the rule's. A group of share 0 gives
        rows only when all the others have none left.

    Returns
    -------
    ndarray of int64, shape (k,)
        Rows of each group; they sum to `n`. Ties go to the lowest index.

    Raises
    ------
    ValueError
        If the groups hold fewer than `n` rows, the rule is unknown, or a share is negative or
        not finite.

    Examples
    --------
    >>> allocate(np.array([50, 30, 20]), 10).tolist()
    [5, 3, 2]
    >>> allocate(np.array([50, 30, 2]), 12, "equal").tolist()
    [5, 5, 2]
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    if not 0 <= n <= sizes.sum():
        raise ValueError(f"{n} rows asked of groups that hold {sizes.sum()}")
    counts = np.zeros_like(sizes)
    weights = _weights(sizes, rule, shares)
    left = n
    while left:
        room = sizes - counts
        if not weights[room > 0].any():  # only groups of share 0 have room: the same for each
            weights = np.ones_like(sizes)
        weights = np.where(room > 0, weights, 0)
        total = weights.sum()
        # A group whose share is more than it has gives all; the rest is then shared out anew.
        full = (weights > 0) & (left * weights >= room * total)
        if not full.any():
            return counts + _largest_remainder(left * weights, total, left)
        counts[full] = sizes[full]
        left = n - int(counts.sum())
    return counts


def quotas(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Split a budget over classes by size, with at least one row each where it allows that.

    Parameters
    ----------
    sizes : ndarray of int64, shape (k,)
    n : int
        At most ``sizes.sum()``.

    Examples
    --------
    >>> quotas(np.array([90, 9, 1]), 10).tolist()
    [8, 1, 1]
    >>> quotas(np.array([90, 9, 1]), 2).tolist()
    [2, 0, 0]
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    counts = allocate(sizes, n)
    single = np.zeros(len(sizes), dtype=bool)
    if n < np.count_nonzero(sizes):
        return counts
    while (empty := (counts == 0) & (sizes > 0)).any():
        single |= empty
        counts[single] = 1
        counts[~single] = allocate(sizes[~single], n - int(single.sum()))
    return counts


def in_turns(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Merge the rows of groups so that these take turns in their shares.

    Any beginning of the result is spread over the groups as the whole is: the i-th of a group's c
    rows stands at (i + 1/2) / c.

    Parameters
    ----------
    parts : sequence of ndarray of int64
        The rows of every group, in the order in which they are to come.

    Examples
    --------
    >>> in_turns([np.array([1, 2, 3, 4]), np.array([9])]).tolist()
    [1, 2, 9, 3, 4]
    """
    turns = [(np.arange(len(part)) + 0.5) / max(1, len(part)) for part in parts]
    rows: NDArray[np.int64] = np.concatenate(parts)
    return rows[np.argsort(np.concatenate(turns), kind="stable")]


def _weights(sizes: NDArray[np.int64], rule: str, shares: NDArray[Any] | None) -> NDArray[Any]:
    """Give the shares of a rule; whole numbers stay whole, so that ties are exact."""
    if rule not in ("proportional", "equal"):
        raise ValueError(f"no rule {rule!r}: give 'proportional' or 'equal'")
    if shares is None:
        return sizes if rule == "proportional" else np.ones_like(sizes)
    shares = np.asarray(shares)
    if shares.shape != sizes.shape or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError("give one finite share of 0 or more a group")
    if shares.dtype.kind in "iu":
        return shares.astype(np.int64)
    # Scaled to at most 1: a product with n cannot overflow.
    top = max(shares.max(initial=0.0), np.finfo(np.float64).tiny)
    scaled: NDArray[np.float64] = shares.astype(np.float64) / top
    return scaled


def _largest_remainder(products: NDArray[Any], total: Any, left: int) -> NDArray[np.int64]:
    """Round products / total to whole numbers that sum to `left`."""
    whole, cut = np.divmod(products, total)
    counts: NDArray[np.int64] = whole.astype(np.int64)
    most_cut = np.argsort(-cut, kind="stable")
    counts[most_cut[: left - int(counts.sum())]] += 1
    return counts
