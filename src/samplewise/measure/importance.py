"""How much a row of a matrix can matter: leverage scores, Lewis weights and l_p sensitivities.

The l_p sensitivity of row i is the largest share that it can have of ||Ax||_p^p, over all x:
sigma_i = sup |a_i x|^p / ||Ax||_p^p. Rows that are drawn by chance as it says, and weighted by
one over that chance, keep the norm of Ax for every x at once; Lewis weights and (root) leverage
scores are cheaper to find and serve the same end with other numbers of rows.

All are the same for A and AM, whatever invertible M is, and are worked out in an orthonormal
basis of the column space: columns may be dependent. Rows of zeros have 0.

Time O(n d^2) for leverage scores, the same an iteration for Lewis weights (about 20), and
O(n^2 d^2) an iteration for exact sensitivities; memory O(n d).
Source: Sharper Bounds for l_p Sensitivity Sampling, arXiv 2306.00732.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.least_norm import least_norms

__all__ = [
    "checked_matrix",
    "checked_power",
    "column_basis",
    "leverage_scores",
    "lewis_weights",
    "lp_sensitivities",
    "root_leverage_scores",
    "row_budget",
    "sensitivity_bounds",
    "total_sensitivity",
]

Floats: TypeAlias = NDArray[np.float64]
Method: TypeAlias = Literal["auto", "exact", "upper"]

_CELLS = 2**20  # numbers of A that are worked on at once: 8 MB
_WELL = 1e-8  # least over largest eigenvalue of a Gram matrix that is well enough conditioned
_MOST_WORK = 4e8  # n^2 (r^2 + 100), up to which "auto" is exact: a few seconds


def leverage_scores(A: ArrayLike) -> Floats:
    """Give the leverage score of every row: its l_2 sensitivity.

    Parameters
    ----------
    A : array_like, shape (n, d)

    Returns
    -------
    ndarray of float64, shape (n,)
        tau_i = a_i (A^T A)^+ a_i^T, in [0, 1]; they sum to the rank of A.

    Raises
    ------
    ValueError
        If A is no matrix, or holds a number that is not finite.

    Examples
    --------
    >>> leverage_scores([[1, 0], [1, 0], [0, 3], [0, 0]]).round(12).tolist()
    [0.5, 0.5, 1.0, 0.0]
    """
    return _row_squares(column_basis(checked_matrix(A))[0])


def root_leverage_scores(A: ArrayLike, p: float) -> Floats:
    """Give the root leverage score of every row: a bound on its l_p sensitivity from above.

    Parameters
    ----------
    A : array_like, shape (n, d)
    p : float
        Finite, at least 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        tau_i^(p/2) for p <= 2 and min(1, n^(p/2 - 1) tau_i^(p/2)) for p > 2, where tau are the
        leverage scores.

    Raises
    ------
    ValueError
        If A is no finite matrix, or p is below 1 or infinite.

    Examples
    --------
    >>> root_leverage_scores([[1.0], [1.0], [1.0], [1.0]], p=1).round(12).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    return _root(leverage_scores(A), checked_power(p))


def lewis_weights(
    A: ArrayLike, p: float, *, tolerance: float = 1e-9, iterations: int = 1_000
) -> Floats:
    """Give the l_p Lewis weights: the leverage scores of A after they have reweighted its rows.

    Parameters
    ----------
    A : array_like, shape (n, d)
    p : float
        Finite, at least 1.
    tolerance : float
        Largest relative change of a weight by one more application of its definition.
    iterations : int
        The most that are made.

    Returns
    -------
    ndarray of float64, shape (n,)
        The w with w_i = tau_i(W^(1/2 - 1/p) A); they sum to the rank of A.

    Raises
    ------
    ValueError
        If A is no finite matrix, or p is below 1 or infinite.
    ArithmeticError
        If the weights have not settled after so many iterations.

    Notes
    -----
    The logarithm of the weights takes a part of each step of the fixed point iteration. For
    p <= 2 the part is 1; above, it is 4 / (p + 2), which makes the error fall fastest near the
    solution: by (p - 2) / (p + 2) an iteration, where whole steps stop converging at p = 4 and
    half steps (geometric means) at p = 8.

    Examples
    --------
    >>> lewis_weights([[1, 0], [1, 0], [0, 3]], p=4).round(9).tolist()
    [0.5, 0.5, 1.0]
    """
    matrix, p = checked_matrix(A), checked_power(p)
    return _lewis(column_basis(matrix)[0], p, tolerance, iterations)


def lp_sensitivities(A: ArrayLike, p: float, method: Method = "exact") -> Floats:
    """Give the l_p sensitivity of every row, or a bound on it from above.

    Parameters
    ----------
    A : array_like, shape (n, d)
    p : float
        Finite, at least 1.
    method : {'exact', 'upper', 'auto'}
        'exact' solves one convex problem a row; 2,000 rows of 16 columns take a few seconds, and
        twice the rows four times as long. 'upper': the smaller of the root leverage score and of
        what Lewis weights w allow, r^max(0, p/2 - 1) w_i for rank r. 'auto': exact for p = 2, and
        up to about 1,000 rows of 16 columns for other p, else the bound.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1]. Those called exact are proven to be at least sigma_i, and above it by a
        relative 1e-8 or less (see `sensitivity_bounds`).

    Raises
    ------
    ValueError
        If A is no finite matrix, p is below 1 or infinite, or there is no such method.

    Examples
    --------
    >>> lp_sensitivities([[1.0], [2.0], [1.0]], p=1).round(9).tolist()
    [0.25, 0.5, 0.25]
    """
    matrix, p = checked_matrix(A), checked_power(p)
    if method not in ("auto", "exact", "upper"):
        raise ValueError(f"method is {method!r}: give 'exact', 'upper' or 'auto'")
    Q = column_basis(matrix)[0]
    n, rank = Q.shape
    if p == 2:
        return _row_squares(Q)
    if method == "auto":
        method = "exact" if rank <= 1 or n * n * (rank * rank + 100) <= _MOST_WORK else "upper"
    if method == "exact":
        return _bounds(Q, p)[1]
    from_lewis = _raised(1.000_002 * _lewis(Q, p, 1e-6, 10_000), 1.0, rank, p)
    return np.minimum(_root(_row_squares(Q), p), from_lewis)


def sensitivity_bounds(A: ArrayLike, p: float) -> tuple[Floats, Floats]:
    """Give two numbers a row between which its l_p sensitivity is proven to be.

    Parameters
    ----------
    A : array_like, shape (n, d)
    p : float
        Finite, at least 1.

    Returns
    -------
    lower, upper : ndarray of float64, shape (n,)
        Closer together than a relative 1e-8, save where rounding stops the solver before that.

    Raises
    ------
    ValueError
        If A is no finite matrix, or p is below 1 or infinite.

    Examples
    --------
    >>> lower, upper = sensitivity_bounds([[1, 0], [0, 1], [1, 1]], p=1)
    >>> lower.round(6).tolist(), bool((upper - lower < 1e-8).all())
    ([0.5, 0.5, 0.5], True)
    """
    matrix, p = checked_matrix(A), checked_power(p)
    return _bounds(column_basis(matrix)[0], p)


def total_sensitivity(A: ArrayLike, p: float, method: Method = "exact") -> float:
    """Sum the l_p sensitivities: how many rows the data need, up to constants.

    Parameters
    ----------
    A : array_like, shape (n, d)
    p : float
        Finite, at least 1.
    method : {'exact', 'upper', 'auto'}
        As in `lp_sensitivities`.

    Returns
    -------
    float
        At most d^max(1, p/2) where exact.

    Raises
    ------
    ValueError
        As `lp_sensitivities` does.

    Examples
    --------
    >>> round(total_sensitivity([[1, 0], [1, 0], [0, 3], [0, 0]], p=1), 9)
    2.0
    """
    return float(lp_sensitivities(A, p, method).sum())


Rule: TypeAlias = Literal["sensitivity", "augmented", "generic", "lewis", "root-leverage"]


def row_budget(
    sensitivity: float,
    d: int,
    p: float,
    eps: float,
    delta: float = 0.1,
    rule: Rule = "sensitivity",
) -> int:
    """Say about how many rows keep ||Ax||_p^p within 1 +- eps for every x: advice, no guarantee.

    The theory gives rates. Constants and most logarithms are left out of them; the factor
    log(2 d / delta) here is the one of p = 2, taken for all p.

    Parameters
    ----------
    sensitivity : float
        Total sensitivity S of A, above 0.
    d : int
        Columns of A (its rank), at least 1.
    p : float
        Finite, at least 1.
    eps, delta : float
        Error and chance of failure, between 0 and 1.
    rule : {'sensitivity', 'augmented', 'generic', 'lewis', 'root-leverage'}
        Which bound, for rows drawn by: sensitivities, S^(2/p) / eps^2 for p <= 2 and
        S^(2 - 2/p) / eps^2 above; sensitivities plus leverage scores, (S + d) / eps^2 and
        d^(2/p) S^(2 - 4/p) / eps^2 (that this bound goes with that sum is inferred, not read, for
        p > 2); sensitivities by the older bound S d / eps^2; Lewis weights, d / eps^2 and
        d^(p/2) / eps^2; repeated root leverage scores, d / eps^(4/p) and d^(p/2) / eps^p.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a number is out of its range, or there is no such rule.

    Examples
    --------
    >>> row_budget(5.0, 10, p=4, eps=0.2, rule="sensitivity")
    1481
    >>> row_budget(5.0, 10, p=4, eps=0.2, rule="lewis")
    13246
    """
    p = checked_power(p)
    if not (sensitivity > 0 and math.isfinite(sensitivity) and d >= 1):
        raise ValueError(f"sensitivity is {sensitivity} and d is {d}: give above 0, and 1 or more")
    if not (0 < eps < 1 and 0 < delta < 1):
        raise ValueError(f"eps is {eps} and delta is {delta}: give numbers between 0 and 1")
    S, above = sensitivity, p > 2
    rates: dict[str, float] = {
        "sensitivity": S ** (2 - 2 / p if above else 2 / p) / eps**2,
        "augmented": (d ** (2 / p) * S ** (2 - 4 / p) if above else S + d) / eps**2,
        "generic": S * d / eps**2,
        "lewis": d ** (p / 2 if above else 1) / eps**2,
        "root-leverage": d ** (p / 2 if above else 1) / eps ** (p if above else 4 / p),
    }
    if rule not in rates:
        raise ValueError(f"rule is {rule!r}: one of {', '.join(rates)}")
    return math.ceil(rates[rule] * math.log(2 * d / delta))


def column_basis(A: Floats) -> tuple[Floats, Floats]:
    """Give an orthonormal basis of the column space, and how it is made from the columns.

    Parameters
    ----------
    A : ndarray of float64, shape (n, d)

    Returns
    -------
    Q : ndarray of float64, shape (n, r)
        For rank r of A. Its rows are 0 where those of A are.
    M : ndarray of float64, shape (d, r)
        With A M = Q.

    Notes
    -----
    The triangle of a QR factorisation is found block by block of rows, what it says is dependent is
    left out, and a second pass takes off the rounding of the first.

    Examples
    --------
    >>> Q, M = column_basis(np.array([[3.0, 6.0], [4.0, 8.0]]))
    >>> Q.shape, np.abs(Q).round(12).tolist()
    ((2, 1), [[0.6], [0.8]])
    """
    n, d = A.shape
    peaks = np.maximum(A.max(axis=0), -A.min(axis=0))
    peaks[peaks == 0] = 1
    R = _triangle(A, np.diag(1 / peaks))
    lengths = np.linalg.norm(R, axis=0)  # at least 1: no column is short because of its units
    lengths[lengths == 0] = 1
    _, values, V = np.linalg.svd(R / lengths, full_matrices=False)
    kept = values > max(n, d) * np.finfo(np.float64).eps * values[0]
    M = V[kept].T / values[kept] / (peaks * lengths)[:, None]
    if not kept.any():
        return np.zeros((n, 0)), M
    M = M @ np.linalg.inv(_triangle(A, M))
    return np.concatenate([block @ M for block in _blocks(A)]), M


def checked_matrix(A: ArrayLike) -> Floats:
    """Give a finite matrix of at least one row and column in float64.

    Raises
    ------
    ValueError
        If it is none.
    """
    matrix = np.asarray(A, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"A has shape {matrix.shape}: give (n, d), with n >= 1 and d >= 1")
    for start, block in zip(_starts(matrix), _blocks(matrix), strict=True):
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(
                f"A[{start + row}, {column}] is {block[row, column]}: give finite numbers"
            )
    return matrix


def checked_power(p: float) -> float:
    """Give p as a float.

    Raises
    ------
    ValueError
        If it is below 1, infinite or not a number.
    """
    if not 1 <= p < math.inf:
        raise ValueError(f"p is {p}: give a finite number, 1 or more")
    return float(p)


def _bounds(Q: Floats, p: float) -> tuple[Floats, Floats]:
    """Bound 1 / sigma_i = min ||Qx||_p^p over q_i x = 1, for each row that is not zero."""
    lower, upper = np.zeros(len(Q)), np.zeros(len(Q))
    rows = np.flatnonzero(_row_squares(Q))
    if len(rows):
        found = least_norms(Q[rows], Q[rows], p)
        lower[rows], upper[rows] = 1 / found.values, 1 / found.bounds
    return np.minimum(lower, 1.0), np.minimum(upper, 1.0)


def _lewis(Q: Floats, p: float, tolerance: float, iterations: int) -> Floats:
    rows = np.flatnonzero(_row_squares(Q))
    if len(rows) < len(Q):
        weights = np.zeros(len(Q))
        if len(rows):
            weights[rows] = _lewis(Q[rows], p, tolerance, iterations)
        return weights
    leverage = _row_squares(Q)
    if p == 2:
        return leverage
    part = 1.0 if p < 2 else 4 / (p + 2)
    # Logarithms: a power p/2 of a small number would be 0.
    logs = np.log(leverage)
    for _ in range(iterations):
        change = _reweighted(Q, logs, p) - logs
        logs += part * change
        if np.abs(change).max() <= tolerance:
            weights = np.exp(logs)
            return np.asarray(weights * (Q.shape[1] / weights.sum()))
    raise ArithmeticError(
        f"Lewis weights for p = {p} still change by {np.abs(change).max():.1e} after "
        f"{iterations} iterations: allow more, or a larger tolerance"
    )


def _reweighted(Q: Floats, logs: Floats, p: float) -> Floats:
    """Apply the definition once, to logarithms of weights."""
    outer = np.exp((0.5 - 1 / p) * logs)
    gram = np.zeros((Q.shape[1], Q.shape[1]))
    for start, block in zip(_starts(Q), _blocks(Q), strict=True):
        scaled = block * outer[start : start + len(block), None]
        gram += scaled.T @ scaled
    inverse = np.linalg.inv(np.linalg.cholesky(gram)).T
    squares = [_row_squares(block @ inverse, most=np.inf) for block in _blocks(Q)]
    return np.asarray(p / 2 * np.log(np.concatenate(squares)))


def _root(leverage: Floats, p: float) -> Floats:
    return _raised(leverage, p / 2, len(leverage), p)


def _raised(scores: Floats, power: float, count: int, p: float) -> Floats:
    """Give min(1, count^max(0, p/2 - 1) scores^power), by logarithms: the factor may be huge."""
    with np.errstate(divide="ignore"):  # log 0
        logs = max(0.0, p / 2 - 1) * np.log(max(1, count)) + power * np.log(scores)
    return np.asarray(np.exp(np.minimum(logs, 0.0)), np.float64)


def _row_squares(Q: Floats, most: float = 1.0) -> Floats:
    return np.asarray(np.minimum(np.einsum("ij,ij->i", Q, Q), most), np.float64)


def _triangle(A: Floats, M: Floats) -> Floats:
    """Give R of the QR factorisation of A M, block by block of rows."""
    gram = np.zeros((M.shape[1], M.shape[1]))
    for block in _blocks(A):
        made = block @ M
        gram += made.T @ made
    lengths = np.sqrt(np.diag(gram))
    values = np.linalg.eigvalsh(gram / np.maximum(np.outer(lengths, lengths), 1e-300))
    if values[0] > _WELL * values[-1]:
        return np.asarray(np.linalg.cholesky(gram).T, np.float64)
    # Squares have lost half the digits, and here they are needed: slower, and without squares.
    R = np.zeros((0, M.shape[1]))
    for block in _blocks(A):
        R = np.asarray(np.linalg.qr(np.concatenate([R, block @ M]), mode="r"))
    return R


def _starts(A: Floats) -> range:
    return range(0, len(A), max(A.shape[1], _CELLS // A.shape[1]))


def _blocks(A: Floats) -> Iterator[Floats]:
    starts = _starts(A)
    return (A[start : start + starts.step] for start in starts)
