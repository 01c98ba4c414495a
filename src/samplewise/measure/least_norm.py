"""The smallest l_p norm of Qx where one linear functional of x is held at 1, for many at once.

minimise ||Qx||_p^p over x with g^T x = 1, for each g of a batch and any p >= 1. An l_p regression
is one such problem, and the l_p sensitivities of n rows are n of them. Every problem of a batch
shares Q, so that the normal equations of all come out of one matrix product.

Each answer carries its own proof: with u any vector such that Q^T u = g, Hoelder gives
||Qx||_p >= 1 / ||u||_q for 1/p + 1/q = 1 and every x that is allowed. The solvers hold such a u
beside x, and stop where the two sides meet.

For p > 2, Newton's method on x: its step is that of iteratively reweighted least squares divided
by p - 1. For 1 < p < 2 the same on u, whose norm is the smooth one. For p = 1, a primal-dual
interior point method (Mehrotra's predictor and corrector) on the linear program.

Time O(n r^2) a problem and iteration for r columns, 5 to 60 iterations; memory O(n r^2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LeastNorms", "least_norms"]

Floats: TypeAlias = NDArray[np.float64]
Gram: TypeAlias = Callable[[Floats], Floats]
Found: TypeAlias = tuple[Floats, Floats, Floats]

_CELLS = 2**18  # numbers of one array of a batch: a few of them fit a cache
_MOST_PRODUCTS = 2**25  # of pairs of columns that are held: half of it, 128 MB
_STAGE = 1.5  # the most an exponent is raised by at once
_ROUGH = 1e-2  # how well the stages on the way are solved
_FLOOR = 1e-13  # least weight of a row in the normal equations, the largest being 1


class LeastNorms(NamedTuple):
    """Minima and their proofs.

    Attributes
    ----------
    points : ndarray of float64, shape (k, r)
        The x found for each functional.
    values : ndarray of float64, shape (k,)
        ||Qx||_p^p there: at least the minimum.
    bounds : ndarray of float64, shape (k,)
        At most the minimum.
    """

    points: Floats
    values: Floats
    bounds: Floats


def least_norms(
    Q: Floats, functionals: Floats, p: float, tolerance: float = 1e-8, iterations: int = 300
) -> LeastNorms:
    """Minimise ||Qx||_p^p subject to g^T x = 1, for each g.

    Parameters
    ----------
    Q : ndarray of float64, shape (n, r)
        With orthonormal columns.
    functionals : ndarray of float64, shape (k, r)
        The g, none of them all zero.
    p : float
        Finite, at least 1.
    tolerance : float
        A problem is solved where its value is within 1 + tolerance of its bound.
    iterations : int
        The most that are made; a problem not solved by then has a wider gap, which tells.

    Returns
    -------
    LeastNorms

    Examples
    --------
    The 1-norm of x with x_1 + 2 x_2 = 1 is least at (0, 1/2).

    >>> found = least_norms(np.eye(2), np.array([[1.0, 2.0]]), p=1)
    >>> np.abs(found.points).round(6).tolist(), found.values.round(6).tolist()
    ([[0.0, 0.5]], [0.5])
    """
    k, r = functionals.shape
    lengths = np.linalg.norm(functionals, axis=1)
    units = functionals / lengths[:, None]
    points = units.copy()
    values = _powers(points @ Q.T, p) if r == 1 else np.ones(k)
    bounds = values.copy()
    if p != 2 and r > 1:
        step = max(1, _CELLS // len(Q))
        gram = _gram(Q, batched=min(k, step) >= r and len(Q) * r * r <= _MOST_PRODUCTS)
        solve = _interior_point if p == 1 else functools.partial(_newton, p=p)
        for start in range(0, k, step):
            here = slice(start, start + step)
            found = solve(Q, units[here], tolerance, iterations, gram)
            points[here], values[here], bounds[here] = found
    with np.errstate(over="ignore", divide="ignore"):  # a minimum past all floats is infinite
        scale = lengths**p
        return LeastNorms(points / lengths[:, None], values / scale, bounds / scale)


def _newton(
    Q: Floats, G: Floats, tolerance: float, iterations: int, gram: Gram, *, p: float
) -> Found:
    """Solve for the unit rows g of G where p > 1 and not 2.

    Large exponents are reached in stages, each from where the one before came: Newton's steps are
    then rarely cut.
    """
    found, growth = _staged(Q, G, tolerance, iterations, gram, p, _STAGE), _STAGE
    for _ in range(2):
        left = np.flatnonzero(found[1] > (1 + tolerance) * found[2])
        if not len(left):
            break
        growth **= 0.5
        again = _staged(Q, G[left], tolerance, iterations, gram, p, growth)
        better = again[1] < found[1][left]
        found[0][left[better]], found[1][left[better]] = again[0][better], again[1][better]
        found[2][left] = np.maximum(found[2][left], again[2])
    return found


def _staged(
    Q: Floats, G: Floats, tolerance: float, iterations: int, gram: Gram, p: float, growth: float
) -> Found:
    """Solve with exponents that grow at most so much from one stage to the next."""
    exponent = max(p, p / (p - 1))
    stages = max(1, math.ceil(math.log(exponent / 2) / math.log(growth)))
    points = G
    for stage in range(1, stages):
        e = 2 * (exponent / 2) ** (stage / stages)
        rough = max(tolerance, _ROUGH)
        on_the_way = e if p > 2 else e / (e - 1)
        points = _newton_stage(Q, G, points, on_the_way, rough, iterations, gram)[0]
    return _newton_stage(Q, G, points, p, tolerance, iterations, gram)


def _newton_stage(
    Q: Floats, G: Floats, start: Floats, p: float, tolerance: float, iterations: int, gram: Gram
) -> Found:
    """Solve from points that are allowed: on x where p > 2, else on u."""
    q = p / (p - 1)
    on_x = p > 2
    exponent = max(p, q)
    points, state = start.copy(), start @ Q.T
    values, bounds = _powers(state, p), np.zeros(len(G))
    if not on_x:  # u from x, by the weights that x gives
        W = _weights(np.abs(state) ** (p - 1), exponent, on_x)
        state = _mended(W * (_solve(gram(W), G) @ Q.T), Q, G)
    left = np.arange(len(G))
    for _ in range(iterations):
        W = _weights(np.abs(state), exponent, on_x)
        H = _solve(gram(W), G[left])
        image = H @ Q.T
        curve = np.einsum("ij,ij->i", G[left], H)[:, None]
        Z, y = H / curve, image / curve  # x that is allowed, and Qx
        u = _mended(W * image, Q, G[left])  # Q^T u = g, whatever the weights are
        move = (y if on_x else u) - state
        step = _line_search(state, move, exponent)
        state = state + step[:, None] * move
        if on_x:
            points[left] += step[:, None] * (Z - points[left])
            values[left] = _powers(state, p)
            bounds[left] = np.maximum(bounds[left], _powers(u, q, -p / q))
        else:
            reached = _powers(y, p)
            better = reached < values[left]
            points[left[better]], values[left[better]] = Z[better], reached[better]
            bounds[left] = np.maximum(bounds[left], _powers(state, q, -p / q))
        is_open = (values[left] > (1 + tolerance) * bounds[left]) & (step > 0)
        left, state = left[is_open], state[is_open]
        if not len(left):
            break
    return points, values, bounds


def _mended(u: Floats, Q: Floats, G: Floats) -> Floats:
    """Take off what rounding in ill-conditioned equations has added: make Q^T u = g again."""
    mended: Floats = u + (G - u @ Q) @ Q.T
    return mended


def _weights(size: Floats, exponent: float, on_x: bool) -> Floats:
    """Give the weights of the rows in the normal equations, the largest of each problem 1."""
    floor = _FLOOR ** (1 / (exponent - 2))
    W = _power(np.maximum(size / size.max(axis=1, keepdims=True), floor), exponent - 2)
    return W if on_x else W.min(axis=1, keepdims=True) / W


def _line_search(state: Floats, move: Floats, exponent: float) -> Floats:
    """Give the length of each step: as far as Newton says, or half as far until enough is won."""
    size = np.abs(state)
    top = size.max(axis=1, keepdims=True)
    state, move, size = state / top, move / top, size / top
    lower = _power(size, exponent - 1)
    before = np.einsum("ij,ij->i", lower, size)
    slope = exponent * np.einsum("ij,ij,ij->i", lower, np.sign(state), move)
    step = np.full(len(state), 1 / (exponent - 1))
    left = np.arange(len(state))
    for _ in range(40):
        with np.errstate(over="ignore"):  # a step much too long
            reached = _powers(state[left] + step[left, None] * move[left], exponent)
        won = reached <= before[left] + 1e-4 * step[left] * slope[left]
        left = left[~won]
        if not len(left):
            return step
        step[left] /= 2
    step[left] = 0  # nothing is to be won any more
    return step


def _interior_point(Q: Floats, G: Floats, tolerance: float, iterations: int, gram: Gram) -> Found:
    """Solve for the unit rows g of G where p = 1.

    The program is: maximise m over -1 <= v <= 1 with Q^T v = m g. Its multipliers s of v <= 1 and
    t of -1 <= v, both >= 0, are the two signs of Qx = s - t. All start inside their bounds.
    """
    prepare, correct, finish = _kernels()
    points, X = G.copy(), G.copy()
    Y = G @ Q.T
    values, bounds, m = np.abs(Y).sum(axis=1), np.zeros(len(G)), np.zeros(len(G))
    room = np.abs(Y).mean(axis=1, keepdims=True)
    S, T, V = np.maximum(Y, 0) + room, np.maximum(-Y, 0) + room, np.zeros_like(Y)
    left = np.arange(len(G))
    for _ in range(iterations):
        g = G[left]
        D, pull = prepare(S, T, V)
        K = gram(D)
        inverse_g = _solve(K, g)
        curve = np.einsum("ij,ij->i", g, inverse_g)

        def direction(  # the Newton step, of what is left over in the rows
            over: Floats,
            K: Floats = K,
            g: Floats = g,
            inverse_g: Floats = inverse_g,
            curve: Floats = curve,
        ) -> tuple[Floats, Floats]:
            inverse = _solve(K, over @ Q)
            dm = -np.einsum("ij,ij->i", g, inverse) / curve
            return inverse + dm[:, None] * inverse_g, dm

        dX, _ = direction(D * pull)
        over = correct(S, T, V, D, pull, dX @ Q.T)
        dX, dm = direction(D * over[0])
        primal, dual = finish(S, T, V, D, dX @ Q.T, *over)
        X = X + primal[:, None] * dX
        m = m + dual * dm
        reached = np.abs(X @ Q.T).sum(axis=1) / np.einsum("ij,ij->i", g, X)
        better = reached < values[left]
        points[left[better]], values[left[better]] = X[better], reached[better]
        proof = _mended(V, Q, m[:, None] * g)
        bound = m / np.maximum(np.abs(proof).max(axis=1), 1)
        bounds[left] = np.fmax(bounds[left], bound)
        # Where rounding has spoilt a step, what was found before it stands.
        is_open = (values[left] > (1 + tolerance) * bounds[left]) & np.isfinite(bound)
        if not is_open.any():
            break
        if not is_open.all():
            left, X, m, S, T, V = (array[is_open] for array in (left, X, m, S, T, V))
    return _corners(Q, G, (points, values, bounds))


def _corners(Q: Floats, G: Floats, found: Found) -> Found:
    """Go from points near a corner, where r - 1 rows of Qx are 0, to it, where that is better."""
    points, values, bounds = found
    size = np.abs(points @ Q.T)
    zero = np.argpartition(size, Q.shape[1] - 2, axis=1)[:, : Q.shape[1] - 1]
    system = np.concatenate([Q[zero], G[:, None, :]], axis=1)
    inverse = np.linalg.pinv(system)
    X = inverse[:, :, -1]  # 0 on those rows, and 1 on g
    X /= np.where(np.abs(allowed := np.einsum("ij,ij->i", G, X)) > 0.5, allowed, np.inf)[:, None]
    Y = X @ Q.T
    signs = np.sign(Y)
    np.put_along_axis(signs, zero, 0, axis=1)
    parts = np.einsum("ij,ijk->ik", -signs @ Q, inverse)  # v of those rows, and -m
    np.put_along_axis(signs, zero, parts[:, :-1], axis=1)
    m = -parts[:, -1]
    largest = np.abs(_mended(signs, Q, m[:, None] * G)).max(axis=1)
    reached = np.where(X.any(axis=1), np.abs(Y).sum(axis=1), np.inf)
    better = reached < values
    points[better], values[better] = X[better], reached[better]
    return points, values, np.maximum(bounds, m / np.maximum(largest, 1))


@functools.cache
def _kernels() -> tuple[Callable[..., Any], ...]:
    """Compile what an interior point step does row by row, once a process."""
    import numba

    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def prepare(S, T, V):  # type: ignore[no-untyped-def] # numba infers the types
        """Give the weight of each row in the normal equations, and minus its Qx."""
        D, pull = np.empty_like(S), np.empty_like(S)
        for i in range(S.shape[0]):
            for j in range(S.shape[1]):
                above, below = 1 - V[i, j], 1 + V[i, j]
                D[i, j] = above * below / (S[i, j] * below + T[i, j] * above)
                pull[i, j] = T[i, j] - S[i, j]
        return D, pull

    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def correct(S, T, V, D, pull, image):  # type: ignore[no-untyped-def]
        """Look how far the predictor gets; give what the corrector aims at, row by row."""
        count, n = S.shape
        first, up, down = np.empty_like(S), np.empty_like(S), np.empty_like(S)
        for i in range(count):
            primal, dual = 0.0, 0.0
            gap, by_primal, by_dual, by_both = 0.0, 0.0, 0.0, 0.0
            for j in range(n):
                s, t, above, below = S[i, j], T[i, j], 1 - V[i, j], 1 + V[i, j]
                dv = D[i, j] * (image[i, j] - pull[i, j])
                ds, dt = s * (dv / above - 1), -t * (dv / below + 1)
                primal = max(primal, max(-ds / s, -dt / t))
                dual = max(dual, max(dv / above, -dv / below))
                gap += s * above + t * below
                by_primal += ds * above + dt * below
                by_dual += (t - s) * dv
                by_both += (dt - ds) * dv
                up[i, j], down[i, j] = dv * ds, -dv * dt
            p, d = min(1.0, 1 / max(primal, 1e-300)), min(1.0, 1 / max(dual, 1e-300))
            ahead = max(0.0, gap + p * by_primal + d * by_dual + p * d * by_both)
            mu = (ahead / gap) ** 3 * gap / (2 * n)
            for j in range(n):
                above, below = 1 - V[i, j], 1 + V[i, j]
                up[i, j] = (up[i, j] + mu) / above - S[i, j]
                down[i, j] = (down[i, j] + mu) / below - T[i, j]
                first[i, j] = up[i, j] - down[i, j]
        return first, up, down

    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def finish(S, T, V, D, image, first, up, down):  # type: ignore[no-untyped-def]
        """Step, in place, and give how far."""
        count, n = S.shape
        ahead, behind = np.empty(count), np.empty(count)
        for i in range(count):
            primal, dual = 0.0, 0.0
            for j in range(n):
                s, t, above, below = S[i, j], T[i, j], 1 - V[i, j], 1 + V[i, j]
                dv = D[i, j] * (image[i, j] - first[i, j])
                ds, dt = up[i, j] + s * dv / above, down[i, j] - t * dv / below
                primal = max(primal, max(-ds / s, -dt / t))
                dual = max(dual, max(dv / above, -dv / below))
                first[i, j], up[i, j], down[i, j] = dv, ds, dt
            ahead[i] = min(1.0, 0.9995 / max(primal, 1e-300))
            behind[i] = min(1.0, 0.9995 / max(dual, 1e-300))
            for j in range(n):
                S[i, j] += ahead[i] * up[i, j]
                T[i, j] += ahead[i] * down[i, j]
                V[i, j] += behind[i] * first[i, j]
        return ahead, behind

    return prepare, correct, finish


def _powers(rows: Floats, p: float, power: float = 1.0) -> Floats:
    """Give the sum of |y|^p over each row, raised to a power; only the result may overflow."""
    size = np.abs(rows)
    top = size.max(axis=1)
    total: Floats = top ** (p * power) * _power(size / top[:, None], p).sum(axis=1) ** power
    return total


def _power(base: Floats, exponent: float) -> Floats:
    """Raise numbers >= 0 to a power; by products, several times as fast, where it is small."""
    whole, half = divmod(round(exponent, 12), 1)
    if half not in (0, 0.5) or not 0 <= whole <= 6:
        return np.asarray(base**exponent)
    result = np.sqrt(base) if half else np.ones_like(base) if not whole else base.copy()
    for _ in range(int(whole) - (not half)):
        result *= base
    return result


def _gram(Q: Floats, *, batched: bool) -> Gram:
    """Give the function that makes Q^T diag(w) Q of each row w, shape (k, r, r)."""
    r = Q.shape[1]
    if not batched:
        return lambda W: np.stack([(Q * w[:, None]).T @ Q for w in W])
    first, second = np.triu_indices(r)
    place = np.empty((r, r), np.int64)
    place[first, second] = place[second, first] = np.arange(len(first))
    products = Q[:, first] * Q[:, second]
    return lambda W: (W @ products)[:, place]


def _solve(H: Floats, right: Floats) -> Floats:
    """Solve H x = b for each of k matrices and each row of `right`, shape (k, r)."""
    # The least multiple of the identity: where H is singular to rounding, it still has an inverse.
    ridge = 1e-15 * np.einsum("kii->k", H) / H.shape[1]
    eye = np.eye(H.shape[1])
    solution: Floats = np.linalg.solve(H + ridge[:, None, None] * eye, right[:, :, None])[:, :, 0]
    return solution
