"""A pool in two dimensions: principal components of a sample, and the rows to draw."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_map", "principal_axes", "rows_to_draw"]

Vectors: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]

_FIT, _MOST_POOL, _MOST_CHOSEN = 4_000, 3_000, 1_500


def rows_to_draw(chosen: NDArray[np.bool_], rng: np.random.Generator) -> Indices:
    """Sample the rows of the map: others first, so that the chosen ones lie on top."""
    parts = ((np.flatnonzero(~chosen), _MOST_POOL), (np.flatnonzero(chosen), _MOST_CHOSEN))
    return np.concatenate(
        [np.sort(rng.choice(rows, min(most, len(rows)), replace=False)) for rows, most in parts]
    )


def draw_map(vectors: Vectors, rows: Indices, rng: np.random.Generator) -> dict[str, Any]:
    """Place rows on the two principal axes of a sample of the pool.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        All the pool's vectors, perhaps memory-mapped.
    rows : ndarray of int64
        The rows to place.
    rng : numpy.random.Generator

    Returns
    -------
    dict
        ``x`` and ``y`` of each row, and ``explained``, the share of the variance each axis has.
    """
    size = min(_FIT, len(vectors))
    fit = np.asarray(vectors[np.sort(rng.choice(len(vectors), size, replace=False))])
    centre, axes, explained = principal_axes(fit, rng)
    places = (np.asarray(vectors[rows]) - centre) @ axes.T
    return {
        "x": [round(float(value), 4) for value in places[:, 0]],
        "y": [round(float(value), 4) for value in places[:, 1]],
        "explained": [float(share) for share in explained],
    }


def principal_axes(
    vectors: Vectors, rng: np.random.Generator
) -> tuple[Vectors, Vectors, NDArray[np.float64]]:
    """Find the two directions of most variance, by subspace iteration: O(n d) for any d.

    Returns
    -------
    centre : ndarray, shape (d,)
    axes : ndarray, shape (2, d)
        Of length 1, the largest part of each positive; the second is 0 where d = 1.
    explained : ndarray of float64, shape (2,)
        Share of the variance along each.
    """
    centre = vectors.mean(axis=0)
    gaps = vectors - centre
    total = float(np.einsum("ij,ij->", gaps, gaps, dtype=np.float64))
    d = vectors.shape[1]
    basis = np.linalg.qr(rng.standard_normal((d, min(d, 10))).astype(np.float32))[0]
    for _ in range(10):
        basis = np.linalg.qr(gaps.T @ (gaps @ basis))[0]
    small = gaps @ basis
    squares, turn = np.linalg.eigh(small.T @ small)
    axes, explained = np.zeros((2, d), np.float32), np.zeros(2)
    found = (basis @ turn[:, ::-1][:, :2]).T
    axes[: len(found)] = found
    peaks = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes[peaks < 0] *= -1
    if total > 0:
        explained[: len(found)] = np.maximum(squares[::-1][: len(found)], 0) / total
    return centre, axes, explained
