"""What it costs to move the mass of one set of vectors onto another: optimal transport.

For costs C of shape (n, m) and weights a, b that each sum to 1, the cheapest plan moves mass
P >= 0 with row sums a and column sums b at cost sum P C. Its dual potentials f, h are prices:
f_i + h_j <= C_ij, and a.f + b.h is the cost. f says by how much the cost rises for each unit of
mass that a row gains, up to a constant: `calibrated_gradient`.

`exact_transport` solves the linear program; `sinkhorn` the smoothed one, which scales: O(n m d)
for the costs, O(n m) an iteration. It never holds n m numbers unless they are few, and each block
of rows is done by one thread, so that the result does not depend on the number of threads.
Sources: Kantorovich (1942); Sinkhorn distances, arXiv 1306.0895; the calibration is that of LAVA,
arXiv 2305.00054.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.engine.blas import one_blas_thread
from samplewise.engine.local import cores
from samplewise.measure.coverage import nearest_distances, nearest_similarities

__all__ = [
    "Cost",
    "Transport",
    "calibrated_gradient",
    "exact_transport",
    "nearest_costs",
    "pairwise_costs",
    "sinkhorn",
]

Cost: TypeAlias = Literal["euclidean", "sqeuclidean", "cosine"]
Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[Any]

_CELLS = 2**20  # costs worked out at a time by one thread
_PRECISE_CELLS = 2**22  # up to so many costs, they are worked out in float64, else in float32
_KEPT_BYTES = 2**29  # costs that take no more are kept, and worked out once
_WHOLE_PROGRAM = 10_000  # costs up to which the linear program is solved in one piece
_REACH = 2e-3  # how far from the smoothed prices a large program looks at first, in mean costs
_EXACT_CELLS = 2**25  # the most costs the exact solver takes


class Transport(NamedTuple):
    """A plan that moves one set of mass onto another, and its prices.

    Attributes
    ----------
    value : float
        What the plan costs: sum P C.
    source : ndarray of float64, shape (n,)
        f, the potential of each row that mass comes from.
    target : ndarray of float64, shape (m,)
        h, the potential of each row that mass goes to.
    iterations : int
        Passes over the costs, or linear programs solved.
    error : float
        How much mass is in the wrong place: sum over j of |sum_i P_ij - b_j|.
    converged : bool
    plan : scipy.sparse.csr_array of float64, shape (n, m), or None
        P, from the exact solver.
    """

    value: float
    source: Floats
    target: Floats
    iterations: int
    error: float
    converged: bool
    plan: Any = None


def calibrated_gradient(potential: ArrayLike) -> Floats:
    """Say how the transport cost changes as mass moves to a row, evenly from all the others.

    g_i = f_i - mean of f over the other rows = n / (n - 1) (f_i - mean f).

    Parameters
    ----------
    potential : array_like, shape (n,)
        f, in the unit of the costs; a constant added to it changes nothing.

    Returns
    -------
    ndarray of float64, shape (n,)
        Sums to 0. With n = 1 there is no other row to take mass from: 0.

    Examples
    --------
    >>> calibrated_gradient([1.0, 2.0, 6.0]).tolist()
    [-3.0, -1.5, 4.5]
    """
    f = np.asarray(potential, np.float64)
    if f.ndim != 1 or not len(f):
        raise ValueError(f"potential has shape {f.shape}: give (n,) with n >= 1")
    return np.asarray((f - f.mean()) * (len(f) / max(1, len(f) - 1)), np.float64)


def pairwise_costs(source: ArrayLike, target: ArrayLike, cost: Cost = "euclidean") -> Floats:
    """Give the cost of moving mass from each source vector to each target vector.

    Parameters
    ----------
    source : array_like, shape (n, d)
    target : array_like, shape (m, d)
    cost : {'euclidean', 'sqeuclidean', 'cosine'}
        The distance, its square, or 1 less the cosine similarity (1 for a vector of zeros).

    Returns
    -------
    ndarray of float64, shape (n, m)

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or there is no such cost.

    Examples
    --------
    >>> pairwise_costs([[0, 0], [3, 4]], [[0, 0]]).tolist()
    [[0.0], [5.0]]
    """
    X, Y = _matrices(source, target, cost)
    return np.asarray(_Costs(X, Y, cost, np.float64).block(0, len(X)), np.float64)


def nearest_costs(source: ArrayLike, target: ArrayLike, cost: Cost = "euclidean") -> Floats:
    """Give the cost of moving each source vector to its nearest target vector.

    Parameters and raises as in `pairwise_costs`; no matrix of all pairs is held.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> nearest_costs([[0, 0], [3, 4]], [[0, 0], [3, 3]]).tolist()
    [0.0, 1.0]
    """
    X, Y = _matrices(source, target, cost)
    found = np.empty(len(X))
    for low in range(0, len(X), 65_536):  # a memory-mapped source is never copied whole
        rows = slice(low, low + 65_536)
        if cost == "cosine":
            found[rows] = 1.0 - nearest_similarities(X[rows], Y)
        else:
            found[rows] = nearest_distances(X[rows], Y)
    return found**2 if cost == "sqeuclidean" else found


def exact_transport(
    costs: ArrayLike,
    source_weights: ArrayLike | None = None,
    target_weights: ArrayLike | None = None,
) -> Transport:
    """Find the cheapest plan, and potentials that prove it is.

    A linear program, solved by HiGHS: over all cells where they are few, else over those that can
    matter near the prices of the smoothed problem, and further from them until that proves to be
    enough. Potentials are unique only up to a constant, and where masses tie not even so.

    Parameters
    ----------
    costs : array_like, shape (n, m)
    source_weights : array_like, shape (n,), optional
        a > 0; by default the same for all. Weights that do not sum to 1 are scaled, with a warning.
    target_weights : array_like, shape (m,), optional
        b > 0, likewise.

    Returns
    -------
    Transport

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a weight is not above 0, or there are more
        than 33 million costs.

    Examples
    --------
    >>> found = exact_transport([[0.0, 2.0], [2.0, 1.0]])
    >>> found.value, found.plan.toarray().tolist()
    (0.5, [[0.5, 0.0], [0.0, 0.5]])
    """
    C = np.asarray(costs, np.float64)
    if C.ndim != 2 or not C.size or not np.isfinite(C).all():
        raise ValueError(f"costs {C.shape}: give finite numbers of shape (n, m), n and m >= 1")
    if C.size > _EXACT_CELLS:
        raise ValueError(f"{C.size:,} costs are too many to solve exactly: use sinkhorn")
    a = _weights(source_weights, C.shape[0], "source_weights")
    b = _weights(target_weights, C.shape[1], "target_weights")
    if C.size <= _WHOLE_PROGRAM:
        plan, h, _ = _solve(C, np.nonzero(np.ones(C.shape, bool)), a, b)
        rounds = 1
    else:
        plan, h, rounds = _solve_near_smoothed(C, a, b)
    f: Floats = (C - h).min(axis=1)  # the highest that h allows: feasible to the last bit
    value = float(plan.multiply(C).sum())
    error = float(np.abs(plan.sum(axis=0) - b).sum() + np.abs(plan.sum(axis=1) - a).sum())
    return Transport(value, f, h, rounds, error, True, plan)


def sinkhorn(
    source: ArrayLike,
    target: ArrayLike,
    *,
    cost: Cost = "euclidean",
    epsilon: float = 0.05,
    iterations: int = 1_000,
    tolerance: float = 1e-6,
    source_weights: ArrayLike | None = None,
    target_weights: ArrayLike | None = None,
) -> Transport:
    """Find the plan of lowest cost less `epsilon` times its entropy, in the log domain.

    f_i = -eps log sum_j b_j exp((h_j - C_ij) / eps), and h likewise from f, in turn, while eps
    falls by halves from the largest cost. Once steps shrink at a steady rate they are lengthened
    (over-relaxation), and back to their own length where that does not help.

    Parameters
    ----------
    source : array_like, shape (n, d)
        May be memory-mapped.
    target : array_like, shape (m, d)
    cost : {'euclidean', 'sqeuclidean', 'cosine'}
        As in `pairwise_costs`.
    epsilon : float
        As a part of the mean cost, > 0. Towards 0 the result tends to the exact one, in more
        iterations; the larger it is, the more every row's mass spreads over all targets.
    iterations : int
        The most passes over the costs, >= 1.
    tolerance : float
        It has converged once no more mass than that is in the wrong place.
    source_weights, target_weights : array_like, optional
        As in `exact_transport`.

    Returns
    -------
    Transport
        Without plan; `value` is what the smoothed plan costs, without the entropy.

    Warns
    -----
    UserWarning
        If it has not converged.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or a weight or setting is out of range.

    Examples
    --------
    >>> found = sinkhorn([[0.0], [1], [2]], [[0.0], [2]], epsilon=0.1)
    >>> round(found.value, 3), found.converged
    (0.333, True)
    """
    X, Y = _matrices(source, target, cost)
    if not (epsilon > 0 and iterations >= 1 and tolerance > 0):
        raise ValueError(
            f"epsilon {epsilon}, iterations {iterations}, tolerance {tolerance}: give more than 0"
        )
    a = _weights(source_weights, len(X), "source_weights")
    b = _weights(target_weights, len(Y), "target_weights")
    precise = len(X) * len(Y) <= _PRECISE_CELLS
    costs = _Costs(X, Y, cost, np.float64 if precise else np.float32)
    found = _anneal(costs, a, b, epsilon, iterations, tolerance)
    if not found.converged:
        warnings.warn(
            f"sinkhorn has not converged in {iterations} iterations: {found.error:.1e} of the mass "
            f"is in the wrong place, and the tolerance is {tolerance:.1e}; raise epsilon, "
            "iterations or tolerance",
            stacklevel=2,
        )
    return found


# --- costs and weights ----------------------------------------------------------------------------


def _matrices(source: ArrayLike, target: ArrayLike, cost: str) -> tuple[Matrix, Matrix]:
    X, Y = np.asanyarray(source), np.asanyarray(target)
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1] or not X.size or not Y.size:
        raise ValueError(
            f"source {X.shape} and target {Y.shape}: give (n, d) and (m, d), n and m >= 1"
        )
    if cost not in get_args(Cost):
        raise ValueError(f"there is no cost {cost!r}: one of {', '.join(get_args(Cost))}")
    for name, matrix in (("source", X), ("target", Y)):
        for low in range(0, len(matrix), 65_536):
            if not np.isfinite(matrix[low : low + 65_536]).all():
                raise ValueError(f"{name} holds a number that is not finite")
    return X, Y


def _weights(values: ArrayLike | None, count: int, name: str) -> Floats:
    if values is None:
        return np.full(count, 1.0 / count)
    weights = np.asarray(values, np.float64)
    if weights.shape != (count,) or not np.isfinite(weights).all() or not (weights > 0).all():
        raise ValueError(f"{name} {weights.shape}: give {count} finite numbers above 0")
    total = float(weights.sum())
    if abs(total - 1.0) > 1e-9:
        warnings.warn(f"{name} sum to {total:.6g}, not 1: they are scaled", stacklevel=3)
    return weights / total


class _Costs:
    """The costs, made block by block of rows, and kept where they take little memory."""

    def __init__(self, X: Matrix, Y: Matrix, cost: Cost, kind: type[np.floating[Any]]) -> None:
        self.X, self.cost, self.kind = X, cost, kind
        # Distances do not change with the origin, and products near it lose the fewest digits.
        self.origin = Y.mean(axis=0, dtype=np.float64)
        self.Y = self._prepare(Y)
        self.squares = np.einsum("ij,ij->i", self.Y, self.Y)
        step = max(1, _CELLS // len(Y))
        self.bounds = [(low, min(low + step, len(X))) for low in range(0, len(X), step)]
        self.keeps = len(X) * len(Y) * np.dtype(kind).itemsize <= _KEPT_BYTES
        self.kept: dict[int, Matrix] = {}

    def block(self, low: int, high: int) -> Matrix:
        """Give the costs of rows low to high."""
        found = self.kept.get(low)
        if found is None:
            found = self._make(low, high)
            if self.keeps:
                self.kept[low] = found
        return found

    def _make(self, low: int, high: int) -> Matrix:
        rows = self._prepare(self.X[low:high])
        products: Matrix = rows @ self.Y.T
        if self.cost == "cosine":
            np.subtract(1, products, out=products)
            return np.maximum(products, 0, out=products)
        products *= -2
        products += np.einsum("ij,ij->i", rows, rows)[:, None]
        products += self.squares
        np.maximum(products, 0, out=products)
        return np.sqrt(products, out=products) if self.cost == "euclidean" else products

    def _prepare(self, rows: Matrix) -> Matrix:
        if self.cost != "cosine":
            return np.asarray(rows - self.origin, self.kind)
        precise = rows.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", precise, precise))
        lengths[lengths == 0] = 1
        return np.asarray(precise / lengths[:, None], self.kind)


class _Given(_Costs):
    """Costs that are already there."""

    def __init__(self, costs: Floats) -> None:
        step = max(1, _CELLS // costs.shape[1])
        self.bounds = [(low, min(low + step, len(costs))) for low in range(0, len(costs), step)]
        self.costs = costs

    def block(self, low: int, high: int) -> Matrix:
        return self.costs[low:high]


# --- the linear program ---------------------------------------------------------------------------


def _solve_near_smoothed(C: Floats, a: Floats, b: Floats) -> tuple[Any, Floats, int]:
    """Solve a large program among the prices near those of the smoothed problem.

    Where every price h_j stays within `reach` of a guess, no cell that the guess leaves more than
    twice that below its cost can bind, and most drop out. At the bounds mass may be made and
    destroyed, for a price; where none is, the bounds do not matter, and the plan is the best of
    all. Else the reach is doubled.
    """
    smoothed = _anneal(_Given(C), a, b, 5e-4, 1_000, 1e-4)
    h = smoothed.target
    reduced = C - (C - h).min(axis=1, keepdims=True) - h
    reach = _REACH * float(C.mean()) or 1.0
    for number in itertools.count(1):
        plan, prices, made = _solve(C, np.nonzero(reduced <= 2 * reach), a, b, (h, reach))
        if made <= 1e-12:
            return plan, prices, number
        reach *= 2
    raise AssertionError


def _solve(
    C: Floats,
    cells: tuple[NDArray[Any], ...],
    a: Floats,
    b: Floats,
    near: tuple[Floats, float] | None = None,
) -> tuple[Any, Floats, float]:
    """Solve the program over some cells: its plan, the price of every column, and mass made."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, csr_array

    n, m = C.shape
    rows, columns = cells
    used = len(rows)
    places, ones = np.arange(used), np.ones(used)
    entries = [(ones, rows, places), (ones, n + columns, places)]
    prices = [C[cells]]
    if near is not None:
        guess, reach = near
        targets = n + np.arange(m)
        entries += [
            (np.ones(m), targets, used + np.arange(m)),
            (-np.ones(m), targets, used + m + np.arange(m)),
        ]
        prices += [guess + reach, reach - guess]
    values, lines, variables = (np.concatenate(part) for part in zip(*entries, strict=True))
    objective = np.concatenate(prices)
    matrix = coo_array((values, (lines, variables)), shape=(n + m, len(objective))).tocsc()
    # The solver's tolerances are absolute, so masses and costs are brought near 1.
    mass, scale = float(max(n, m)), max(float(np.abs(C).mean()), np.finfo(float).tiny)
    done = linprog(
        objective / scale,
        A_eq=matrix,
        b_eq=mass * np.concatenate([a, b]),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if done.status != 0:
        raise RuntimeError(f"HiGHS could not solve the transport problem: {done.message}")
    flows = np.maximum(done.x, 0) / mass
    plan = csr_array((flows[:used], (rows, columns)), shape=C.shape)
    plan.eliminate_zeros()
    h = scale * np.asarray(done.eqlin.marginals[n:], np.float64)
    return plan, h, float(flows[used:].sum())


# --- the smoothed problem -------------------------------------------------------------------------


class _Pass(NamedTuple):
    """What one pass over the costs gave: f, the mass that arrives at each target, and the cost."""

    f: Floats
    arrived: Floats
    value: float


def _anneal(
    costs: _Costs, a: Floats, b: Floats, epsilon: float, iterations: int, tolerance: float
) -> Transport:
    """Run Sinkhorn's iterations for ever smaller epsilon, then until the mass is in place."""
    # Every block is one thread's, products and all.
    with one_blas_thread(), ThreadPoolExecutor(cores()) as threads:
        run = threads.map if len(costs.bounds) > 1 else map
        mean, largest = _mean_and_largest(costs, a, b, run)
        if largest == 0:  # every mass is where it should be
            return Transport(0.0, np.zeros(len(a)), np.zeros(len(b)), 0, 0.0, True)
        last = epsilon * mean
        h, left = np.zeros(len(b)), iterations
        for eps in _schedule(largest, last):
            if eps > last and left == 1:  # the last pass is for the last epsilon
                continue
            aim, most = (tolerance, left) if eps == last else (1e-2, min(20, left - 1))
            found, h, used = _relax(costs, a, b, h, eps, most, aim, run)
            left -= used
    error = float(np.abs(found.arrived - b).sum())
    return Transport(found.value, found.f, h, iterations - left, error, error <= tolerance)


def _schedule(largest: float, last: float) -> Iterator[float]:
    """Halve epsilon from the largest cost down to the last."""
    eps = largest
    while eps > last:
        yield eps
        eps /= 2
    yield last


def _relax(
    costs: _Costs,
    a: Floats,
    b: Floats,
    h: Floats,
    eps: float,
    most: int,
    aim: float,
    run: Callable[..., Any],
) -> tuple[_Pass, Floats, int]:
    """Iterate at one epsilon; give the last pass, the h it was made with, and how many there were.

    Near the solution each plain step leaves a share r of the error; steps 2 / (1 + sqrt(1 - r))
    times as long leave the least.
    """
    length, last, rate, best, patience = 1.0, np.inf, np.inf, np.inf, 0
    for number in range(1, most + 1):
        found = _pass(costs, a, b, h, eps, run)
        error = float(np.abs(found.arrived - b).sum())
        if error <= aim or number == most:
            break
        # A column that nothing reaches, not even in float64, is raised as far as is safe.
        step = eps * (np.log(b) - np.log(np.maximum(found.arrived, 1e-300)))
        before, rate, last = rate, error / last, error
        patience = 0 if error < best else patience + 1
        best = min(best, error)
        if patience > 20:
            length, rate, best, patience = 1.0, np.inf, np.inf, 0
        elif length == 1.0 and number > 5 and rate < 1 and abs(rate - before) < 0.02 * (1 - rate):
            length = 2 / (1 + np.sqrt(1 - rate))
        h = h + length * step
    return found, h, number


def _pass(
    costs: _Costs, a: Floats, b: Floats, h: Floats, eps: float, run: Callable[..., Any]
) -> _Pass:
    """Price the rows by h, and see where their mass goes."""
    kernel = _kernel()
    bias = h / eps + np.log(b)
    f = np.empty(len(a))

    def one(bounds: tuple[int, int]) -> tuple[Floats, float]:
        low, high = bounds
        arrived = np.zeros(len(b))
        value = kernel(costs.block(low, high), bias, 1 / eps, a[low:high], f[low:high], arrived)
        return arrived, value

    arrived, value = np.zeros(len(b)), 0.0
    for part, cost in run(one, costs.bounds):
        arrived += part
        value += cost
    f *= -eps
    return _Pass(f, arrived, value)


def _mean_and_largest(
    costs: _Costs, a: Floats, b: Floats, run: Callable[..., Any]
) -> tuple[float, float]:
    def one(bounds: tuple[int, int]) -> tuple[float, float]:
        block = costs.block(*bounds)
        return float(a[slice(*bounds)] @ (block @ b)), float(block.max())

    parts = list(run(one, costs.bounds))
    return sum(mean for mean, _ in parts), max(largest for _, largest in parts)


@functools.cache
def _kernel() -> Callable[..., Any]:
    """Compile the inner loop; numba keeps it on disk for the next process."""
    import numba

    # 2^x on [-1/2, 1/2] by its Taylor series, to the precision of float64. The compiler can do
    # several at once, unlike calls of exp.
    factors = tuple(np.log(2) ** k / float(np.prod(np.arange(1.0, k + 1))) for k in range(14))
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = factors
    log2e = 1 / np.log(2)

    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def kernel(  # type: ignore[no-untyped-def] # numba infers the types
        costs, bias, inverse, weights, logs, arrived
    ):
        """Fill the logarithm of every row's sum, add up what arrives, and give the cost."""
        n, m = costs.shape
        powers = np.empty(m, np.float64)
        bits = np.empty(m, np.int64)
        scales = bits.view(np.float64)
        total = 0.0
        for i in range(n):
            line = costs[i]
            top = -np.inf
            for j in range(m):
                powers[j] = (bias[j] - line[j] * inverse) * log2e
                top = max(top, powers[j])
            for j in range(m):
                x = max(powers[j] - top, -1000.0)
                whole = np.floor(x + 0.5)
                powers[j] = x - whole
                bits[j] = np.int64(np.int32(whole) + 1023) << 52
            mass, spent = 0.0, 0.0
            for j in range(m):
                r = powers[j]
                p = c12 + r * c13
                p = c10 + r * (c11 + r * p)
                p = c8 + r * (c9 + r * p)
                p = c6 + r * (c7 + r * p)
                p = c4 + r * (c5 + r * p)
                p = c2 + r * (c3 + r * p)
                p = (c0 + r * (c1 + r * p)) * scales[j]
                powers[j] = p
                mass += p
                spent += p * line[j]
            logs[i] = top / log2e + np.log(mass)
            share = weights[i] / mass
            for j in range(m):
                arrived[j] += share * powers[j]
            total += share * spent
        return total

    return kernel  # type: ignore[no-any-return]
