"""Mixtures of Gaussians, for which what a diffusion model only learns is known exactly.

Density, score, the law after any noise, and products are in closed form; powers with a fraction,
and quotients, are summed on a fine grid. Use them to check a sampler, or to show what it does.

Cost: O(n m d^2) for n points, m Gaussians and d dimensions; a grid has points^d cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["GaussianMixture", "Grid", "gaussian_power_product", "grid_law"]

Floats: TypeAlias = NDArray[np.float64]

_CELLS = 2**15  # numbers that are worked out at a time: they stay in a core's cache


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of m Gaussians in d dimensions.

    Parameters
    ----------
    weights : ndarray of float64, shape (m,)
        They sum to 1.
    means : ndarray of float64, shape (m, d)
    covariances : ndarray of float64, shape (m, d, d)

    Examples
    --------
    >>> mixture = GaussianMixture.of([0.5, 0.5], [[-1.0], [1.0]], 1.0)
    >>> mixture.score(np.array([[0.0], [1.0]])).round(3).tolist()
    [[0.0], [-0.238]]
    """

    weights: Floats
    means: Floats
    covariances: Floats

    @classmethod
    def of(cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike) -> GaussianMixture:
        """Make a mixture of plain numbers.

        Parameters
        ----------
        weights : array_like, shape (m,)
            Scaled to sum to 1.
        means : array_like, shape (m, d)
        variances : array_like, shape (), (m,) or (m, d, d)
            Of every coordinate, one for all or one for each Gaussian; or covariance matrices.

        Raises
        ------
        ValueError
            If shapes do not match, a weight is below 0, or a covariance is not positive definite.
        """
        shares, centres = np.asarray(weights, np.float64), np.asarray(means, np.float64)
        if centres.ndim != 2 or shares.shape != centres.shape[:1] or not centres.size:
            raise ValueError(f"weights of shape {shares.shape}, means of shape {centres.shape}")
        if not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
            raise ValueError("weights must be 0 or more, and not all 0")
        m, d = centres.shape
        spread = np.asarray(variances, np.float64)
        if spread.ndim < 2:
            spread = np.broadcast_to(spread, (m,))[:, None, None] * np.eye(d)
        if spread.shape != (m, d, d) or not np.linalg.eigvalsh(spread).min() > 0:
            raise ValueError("each covariance must be positive definite, of shape (d, d)")
        return cls(shares / shares.sum(), centres, spread)

    @property
    def dimensions(self) -> int:
        """The number d."""
        return int(self.means.shape[1])

    def log_density(self, x: Floats) -> Floats:
        """Give the log of the density at points of shape (n, d); shape (n,)."""
        found = np.empty(len(x))
        for block, logs in self._log_terms(x):
            top = logs.max(axis=0)
            found[block] = top + np.log(np.exp(logs - top).sum(axis=0))
        return found

    def score(self, x: Floats) -> Floats:
        """Give the gradient of the log-density at points of shape (n, d); shape (n, d)."""
        precisions = np.linalg.inv(self.covariances)
        pulls = np.einsum("mij,mj->mi", precisions, self.means)
        m, d = self.means.shape
        found = np.empty((len(x), d))
        for block, logs in self._log_terms(x):
            shares = np.exp(logs - logs.max(axis=0))
            shares /= shares.sum(axis=0)
            mixed = (shares.T @ precisions.reshape(m, d * d)).reshape(-1, d, d)
            found[block] = shares.T @ pulls - np.einsum("nij,nj->ni", mixed, x[block])
        return found

    def noised(self, signal: float, spread: float) -> GaussianMixture:
        """Give the law of `signal` x + `spread` z, where z is standard normal."""
        covariances = signal**2 * self.covariances + spread**2 * np.eye(self.dimensions)
        return GaussianMixture(self.weights, signal * self.means, covariances)

    def product(self, other: GaussianMixture) -> GaussianMixture:
        """Give the law whose density is the product of both, scaled: one Gaussian for each pair.

        Examples
        --------
        >>> narrow = GaussianMixture.of([1], [[0.0]], 1.0)
        >>> both = narrow.product(GaussianMixture.of([1], [[3.0]], 2.0))
        >>> both.mean().round(3).tolist(), both.covariance().round(3).tolist()
        ([1.0], [[0.667]])
        """
        sums = self.covariances[:, None] + other.covariances
        apart = (other.means - self.means[:, None])[..., None]
        gain = self.covariances[:, None] @ np.linalg.inv(sums)
        means = self.means[:, None] + (gain @ apart)[..., 0]
        covariances = gain @ other.covariances
        square = (apart.swapaxes(2, 3) @ np.linalg.solve(sums, apart))[..., 0, 0]
        with np.errstate(divide="ignore"):  # a weight of 0
            logs = np.log(self.weights[:, None]) + np.log(other.weights)
        logs = logs - (np.linalg.slogdet(sums)[1] + square) / 2
        d = self.dimensions
        return GaussianMixture.of(
            np.exp(logs - logs.max()).ravel(), means.reshape(-1, d), covariances.reshape(-1, d, d)
        )

    def mean(self) -> Floats:
        """Give the mean; shape (d,)."""
        found: Floats = self.weights @ self.means
        return found

    def covariance(self) -> Floats:
        """Give the covariance; shape (d, d)."""
        apart = self.means - self.mean()
        found: Floats = np.einsum("m,mij->ij", self.weights, self.covariances)
        return found + (self.weights[:, None] * apart).T @ apart

    def sample(self, n: int, rng: RandomState = None) -> Floats:
        """Draw `n` points; shape (n, d)."""
        random = generator(rng)
        which = random.choice(len(self.weights), n, p=self.weights)
        z = random.standard_normal((n, self.dimensions, 1))
        return self.means[which] + (np.linalg.cholesky(self.covariances)[which] @ z)[..., 0]

    def _log_terms(self, x: Floats) -> Iterator[tuple[slice, Floats]]:
        """Give the logs of each Gaussian's share of the density, (m, n), some points at a time."""
        m, d = self.means.shape
        # Each row whitens: the product of x with all of them is that of one matrix.
        roots = np.linalg.inv(np.linalg.cholesky(self.covariances))
        centres = np.einsum("mij,mj->mi", roots, self.means)[..., None]
        with np.errstate(divide="ignore"):  # a weight of 0
            logs = np.log(self.weights) - np.linalg.slogdet(2 * np.pi * self.covariances)[1] / 2
        size = max(1, _CELLS // (m * d))
        for start in range(0, len(x), size):
            block = slice(start, start + size)
            apart = (roots.reshape(m * d, d) @ x[block].T).reshape(m, d, -1) - centres
            yield block, logs[:, None] - np.einsum("min,min->mn", apart, apart) / 2


def gaussian_power_product(
    gaussians: Sequence[GaussianMixture], powers: Sequence[float]
) -> GaussianMixture:
    """Give the law proportional to a product of powers of Gaussians: precisions add up.

    Parameters
    ----------
    gaussians : sequence of GaussianMixture
        Each of one Gaussian.
    powers : sequence of float
        One for each; below 0 too, as long as the whole can be normalised.

    Raises
    ------
    ValueError
        If one is a mixture of several, or the product has no finite mass.

    Examples
    --------
    >>> wide = GaussianMixture.of([1], [[0.0]], 2.0)
    >>> guided = gaussian_power_product([wide, GaussianMixture.of([1], [[1.0]], 1.0)], [-1, 2])
    >>> guided.mean().round(3).tolist(), guided.covariance().round(3).tolist()
    ([1.333], [[0.667]])
    """
    if any(len(one.weights) != 1 for one in gaussians):
        raise ValueError("a power of a mixture of several Gaussians is not Gaussian")
    pairs = list(zip(gaussians, powers, strict=True))
    scaled = [power * np.linalg.inv(one.covariances[0]) for one, power in pairs]
    precision = np.sum(scaled, axis=0)
    if not np.linalg.eigvalsh(precision).min() > 0:
        raise ValueError("the product has no finite mass")
    pull = np.sum([one @ g.means[0] for one, g in zip(scaled, gaussians, strict=True)], axis=0)
    covariance = np.linalg.inv(precision)
    return GaussianMixture.of([1.0], [covariance @ pull], [covariance])


@dataclass(frozen=True, eq=False)
class Grid:
    """A law on the cells of a fine grid.

    Parameters
    ----------
    points : ndarray of float64, shape (n, d)
        The cells' middles.
    chances : ndarray of float64, shape (n,)
        They sum to 1.
    widths : ndarray of float64, shape (d,)
        Of a cell.
    """

    points: Floats
    chances: Floats
    widths: Floats

    def mean(self) -> Floats:
        """Give the mean; shape (d,)."""
        found: Floats = self.chances @ self.points
        return found

    def covariance(self) -> Floats:
        """Give the covariance; shape (d, d)."""
        apart = self.points - self.mean()
        found: Floats = (self.chances[:, None] * apart).T @ apart
        return found

    def expectation(self, phi: Callable[[Floats], ArrayLike]) -> Floats:
        """Give the mean of `phi`, which maps points (n, d) to values (n, ...)."""
        return np.asarray(np.tensordot(self.chances, np.asarray(phi(self.points), np.float64), 1))

    def sample(self, n: int, rng: RandomState = None) -> Floats:
        """Draw `n` points, uniform within their cells; shape (n, d)."""
        random = generator(rng)
        cells = random.choice(len(self.points), n, p=self.chances)
        jitter = random.uniform(-0.5, 0.5, (n, self.points.shape[1]))
        return self.points[cells] + jitter * self.widths


def grid_law(
    log_density: Callable[[Floats], Floats], low: ArrayLike, high: ArrayLike, points: int
) -> Grid:
    """Sum any density over a box, cell by cell.

    Parameters
    ----------
    log_density : callable
        Maps points (n, d) to logs (n,), up to a constant.
    low, high : array_like, shape (d,)
        The box; what is outside is left out.
    points : int
        Cells along each axis.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the box is empty, or a log-density is NaN or plus infinity.

    Examples
    --------
    >>> law = grid_law(lambda x: -3 * (x[:, 0] - 1) ** 2 / 2, [-5], [7], 1000)  # N(1, 1)^3
    >>> law.mean().round(6).tolist(), law.covariance().round(6).tolist()
    ([1.0], [[0.333333]])
    """
    least, most = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if points < 1 or least.ndim != 1 or least.shape != most.shape or not (most > least).all():
        raise ValueError("the box is empty")
    widths = (most - least) / points
    axes = [
        start + width * (np.arange(points) + 0.5)
        for start, width in zip(least, widths, strict=True)
    ]
    middles = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(least))
    logs = log_density(middles)
    if not np.isfinite(logs.max()):
        raise ValueError("a log-density is NaN or infinite")
    masses = np.exp(logs - logs.max())
    return Grid(middles, masses / masses.sum(), widths)
