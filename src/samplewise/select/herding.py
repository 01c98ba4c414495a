"""Rows whose mean follows the mean of the pool, pick after pick.

Herding keeps a vector that points to where the chosen rows still fall short of the pool's mean,
and takes the row that lies farthest that way. The mean of b rows comes as near as about 1/b, where
that of random rows comes as near as 1/sqrt(b). With random Fourier features it is the mean in the
space of an RBF kernel that is matched, and with it the pool's whole distribution. Use it for a
small set that averages to what the pool (or each class) averages to. Vectors of length 1, as most
embedders give, make it choose typical rows; of vectors of unequal lengths it takes long ones that
balance each other, and the kernel is the better choice.

Time O(n b d), or O(n b f) with f features; memory O(b + n), or O(n f). All cores work, and the
answer does not depend on how many there are.
Source: M. Welling (2009); features: A. Rahimi, B. Recht (2007).
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.engine.blas import one_blas_thread
from samplewise.engine.local import cores
from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.allocation import allocate, in_turns
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Herding", "fourier_features", "herd"]

_BLOCK = 8_192  # rows that one thread looks at
_SAMPLE = 1_000  # rows the kernel's width is taken from


@dataclass(frozen=True)
class Herding(Selector):
    """The rows whose mean stays closest to the mean of the pool.

    With w = the pool's mean at first, each pick is the row x, not yet chosen, of the largest
    product with w, and w grows by the mean less x. Ties go to the lowest index. Deterministic with
    the linear kernel.

    Parameters
    ----------
    kernel : {'linear', 'rbf'}
        Match the mean of the embeddings, or of their random Fourier features.
    features : int
        Random Fourier features, for 'rbf'.
    width : float or None
        Width s of the kernel exp(-|x - y|^2 / (2 s^2)). None: the median distance between rows.
    per_class : bool
        Whether each label (or source) is matched for itself, with its share of the budget.

    References
    ----------
    M. Welling, "Herding dynamical weights to learn", ICML 2009.
    Y. Chen, M. Welling, A. Smola, "Super-Samples from Kernel Herding", arXiv 1203.3472.
    A. Rahimi, B. Recht, "Random features for large-scale kernel machines", NIPS 2007.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[1.0, 0], [0, 1], [1, 1], [0.4, 0.4], [9, 9]]))
    >>> sw.select(pool, 2, "herding").indices.tolist()
    [4, 3]
    """

    name: ClassVar[str] = "herding"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "1203.3472"
    cost: ClassVar[str] = "O(n b d)"

    kernel: Literal["linear", "rbf"] = "linear"
    features: int = 512
    width: float | None = None
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features < 1:
            raise UsageError(
                f"{self.name}: knob 'features' is {self.features}", mend="give 1 or more"
            )
        if self.width is not None and not 0 < self.width < np.inf:
            raise UsageError(
                f"{self.name}: knob 'width' is {self.width}", mend="give more than 0, or None"
            )
        if self.per_class:
            # The base checks the pool's classes for every method that names them here.
            object.__setattr__(self, "needs", (*type(self).needs, "groups"))

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `mean_error`: of the mean, after the pick (of its class)."""
        assert pool.embeddings is not None
        vectors: NDArray[np.float32] = pool.embeddings
        if self.kernel == "rbf":
            vectors = fourier_features(vectors, self.features, self.width, rng)
        classes = pool.classes if self.per_class else None
        codes = np.zeros(len(pool), np.int64) if classes is None else classes.codes + 1
        counts = allocate(np.bincount(codes), n)
        rows = []
        column = np.full(len(pool), np.nan)
        for code in np.flatnonzero(counts):
            members = np.flatnonzero(codes == code)
            some = vectors if len(members) == len(pool) else vectors[members]
            chosen, error = herd(some, int(counts[code]))
            rows.append(members[chosen])
            column[rows[-1]] = error
        return Choice(in_turns(rows), columns={"mean_error": column})


def herd(vectors: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose `n` different rows whose running mean follows the mean of all.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
    n : int
        1 <= n <= m.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    errors : ndarray of float64, shape (n,)
        Euclidean distance from the mean of the first 1, 2, ... rows to the mean of all.

    Examples
    --------
    >>> herd(np.array([[-1.0], [2], [3], [0]], dtype=np.float32), 4)
    (array([2, 0, 1, 3]), array([2.        , 0.        , 0.33333333, 0.        ]))
    """
    m = len(vectors)
    mean = vectors.mean(axis=0, dtype=np.float64)
    want, total = mean.copy(), np.zeros_like(mean)
    free = np.ones(m, dtype=bool)
    indices, errors = np.empty(n, np.int64), np.empty(n)
    starts = range(0, m, _BLOCK)
    workers = min(cores(), len(starts))
    # The blocks run side by side, each on one thread: no product depends on how many there are.
    with one_blas_thread(), ThreadPoolExecutor(workers) as threads:
        run = map if workers == 1 else threads.map
        for step in range(n):
            task = functools.partial(_best, vectors, free, want.astype(np.float32))
            pick = max(run(task, starts), key=lambda one: (one[0], -one[1]))[1]
            indices[step], free[pick] = pick, False
            want += mean - vectors[pick]
            total += vectors[pick]
            errors[step] = np.linalg.norm(total / (step + 1) - mean)
    return indices, errors


def _best(
    vectors: NDArray[np.float32], free: NDArray[np.bool_], want: NDArray[np.float32], start: int
) -> tuple[float, int]:
    """Give the largest product of a block's free rows, and the first row that has it."""
    part = slice(start, start + _BLOCK)
    products = np.where(free[part], vectors[part] @ want, -np.inf)
    best = int(products.argmax())
    return float(products[best]), start + best


def fourier_features(
    vectors: NDArray[np.float32],
    features: int,
    width: float | None,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Map rows to random features whose products are near an RBF kernel.

    Parameters
    ----------
    vectors : ndarray of float32, shape (m, d)
    features : int
    width : float or None
        As in `Herding`.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (m, features)
        sqrt(2 / features) cos(x . u / s + p), with u normal and p uniform in [0, 2 pi).

    Examples
    --------
    >>> X = np.array([[0.0], [1.0]], dtype=np.float32)
    >>> some = fourier_features(X, 20_000, 1.0, np.random.default_rng(0))
    >>> print(f"{some[0] @ some[1]:.2f}, exactly {np.exp(-0.5):.2f}")
    0.61, exactly 0.61
    """
    m, d = vectors.shape
    scale = width or _median_distance(vectors, rng)
    directions = (rng.normal(size=(d, features)) / scale).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, features).astype(np.float32)
    found = np.empty((m, features), dtype=np.float32)
    for start in range(0, m, _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = vectors[part] @ directions
        found[part] += phases
        np.cos(found[part], out=found[part])
    found *= np.float32(np.sqrt(2 / features))
    return found


def _median_distance(vectors: NDArray[np.float32], rng: np.random.Generator) -> float:
    """Take the median distance of pairs of rows; 1 where most rows are the same."""
    left, right = rng.integers(len(vectors), size=(2, _SAMPLE))
    gaps = vectors[left].astype(np.float64) - vectors[right]
    return float(np.median(np.linalg.norm(gaps, axis=1))) or 1.0
