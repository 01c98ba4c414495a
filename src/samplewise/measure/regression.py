"""Linear regression in any l_p norm, with a proof of how good it is.

minimise sum of w_i |a_i x - b_i|^p: least absolute deviations for p = 1, least squares for p = 2,
towards the smallest largest error as p grows. It is what rows chosen by sensitivity are for:
solve on them, with their weights, what would be solved on all.

Time O(n d^2) an iteration, 1 for p = 2 and 5 to 60 else; memory O(n d).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.importance import checked_matrix, checked_power, column_basis
from samplewise.measure.least_norm import least_norms

__all__ = ["Regression", "lp_objective", "lp_regression"]

Floats: TypeAlias = NDArray[np.float64]


class Regression(NamedTuple):
    """The outcome of a regression.

    Attributes
    ----------
    x : ndarray of float64, shape (d,)
    objective : float
        Sum of w_i |a_i x - b_i|^p.
    bound : float
        No x has less than this. The two differ by a relative 1e-8 or less, save where rounding
        stops the solver before that.
    """

    x: Floats
    objective: float
    bound: float


def lp_regression(
    A: ArrayLike, b: ArrayLike, p: float, weights: ArrayLike | None = None
) -> Regression:
    """Minimise the sum of w_i |a_i x - b_i|^p over x.

    Parameters
    ----------
    A : array_like, shape (n, d)
        Columns may be dependent.
    b : array_like, shape (n,)
    p : float
        Finite, at least 1.
    weights : array_like, shape (n,), optional
        At least 0; by default all 1. The weights of a selection go here as they are.

    Returns
    -------
    Regression

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a weight is below 0 or all are 0, or p is
        below 1 or infinite.

    Examples
    --------
    The median is the constant that is best in the 1-norm, the mean in the 2-norm.

    >>> ones, b = np.ones((3, 1)), [0.0, 1.0, 5.0]
    >>> [lp_regression(ones, b, p).x.round(6).tolist() for p in (1, 2)]
    [[1.0], [2.0]]
    """
    matrix, target, w = _checked(A, b, weights)
    p = checked_power(p)
    rows = w > 0
    matrix, target, w = matrix[rows], target[rows], w[rows]
    scale = (w / w.max()) ** (1 / p)
    matrix, target = matrix * scale[:, None], target * scale
    Q, M = column_basis(matrix)
    inside = Q.T @ target
    left = target - Q @ inside
    again = Q.T @ left  # twice is enough: what is left is orthogonal to rounding
    inside, left = inside + again, left - Q @ again
    length = float(np.linalg.norm(left))
    if length <= 1e-13 * np.linalg.norm(target):
        x = M @ inside
        return Regression(x, lp_objective(A, b, x, p, weights), 0.0)
    # Of all y = (z, 1), the one of least ||Q z + e||_p for e the direction of what is left.
    last = np.eye(1, Q.shape[1] + 1, Q.shape[1])
    found = least_norms(np.column_stack([Q, left / length]), last, p, tolerance=1e-9)
    x = M @ (inside - length * found.points[0, :-1])
    bound = found.bounds[0] * length**p * w.max()
    return Regression(x, lp_objective(A, b, x, p, weights), float(bound))


def lp_objective(
    A: ArrayLike, b: ArrayLike, x: ArrayLike, p: float, weights: ArrayLike | None = None
) -> float:
    """Give the sum of w_i |a_i x - b_i|^p.

    Parameters
    ----------
    A : array_like, shape (n, d)
    b : array_like, shape (n,)
    x : array_like, shape (d,)
    p : float
        Finite, at least 1.
    weights : array_like, shape (n,), optional
        By default all 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `lp_regression` does.

    Examples
    --------
    >>> lp_objective([[1.0], [1.0]], [0.0, 3.0], [1.0], p=2)
    5.0
    """
    matrix, target, w = _checked(A, b, weights)
    return float(w @ np.abs(matrix @ np.asarray(x, np.float64) - target) ** checked_power(p))


def _checked(
    A: ArrayLike, b: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    matrix, target = checked_matrix(A), np.asarray(b, np.float64)
    w = np.ones(len(matrix)) if weights is None else np.asarray(weights, np.float64)
    for name, values in (("b", target), ("weights", w)):
        if values.shape != (len(matrix),) or not np.isfinite(values).all():
            raise ValueError(f"{name} {values.shape}: give {len(matrix)} finite numbers")
    if w.min() < 0 or not w.any():
        raise ValueError("weights: give none below 0, and one above")
    return matrix, target, w
