"""A linear classifier in closed form: what a choice of rows teaches about the others.

Linear discriminants: every class has a mean, all share one covariance, which is shrunk towards a
sphere as far as Ledoit and Wolf's formula says. One system of d equations is solved, so that even
hundreds of classes take a fraction of a second.

Cost: O(m d^2 + d^3 + m C d) for m rows of d dimensions and C classes. Source: Fisher (1936); Ledoit
and Wolf (2004).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LinearProbe", "fit_linear_probe", "macro_f1"]

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_CELLS = 4_000_000  # products held at a time
_CALIBRATED = 4_000  # rows that the sharpness of the probabilities is set on
_UNSEEN = 0.5  # of a row: the size of a class that was not seen, in its prior


@dataclass(frozen=True)
class LinearProbe:
    """Linear scores of C classes; `fit_linear_probe` makes it.

    Attributes
    ----------
    origin : ndarray of float32, shape (d,)
        The mean of all rows, which scores are taken from.
    directions : ndarray of float32, shape (d, C)
    offsets : ndarray of float64, shape (C,)
    log_prior : ndarray of float64, shape (C,)
        By how many rows each class had.
    seen : ndarray of bool, shape (C,)
        Whether it had one; if not, it is never predicted.
    sharpness : float
        What scores are multiplied by before they are taken for log-probabilities.
    """

    origin: NDArray[np.float32]
    directions: NDArray[np.float32]
    offsets: Floats
    log_prior: Floats
    seen: NDArray[np.bool_]
    sharpness: float = 1.0

    def scores(self, vectors: ArrayLike) -> Iterator[Floats]:
        """Yield the scores of a block of rows at a time, shape (rows, C)."""
        rows = np.asarray(vectors, np.float32)
        step = max(1, _CELLS // len(self.offsets))
        for start in range(0, len(rows), step):
            yield (rows[start : start + step] - self.origin) @ self.directions + self.offsets

    def judge(self, vectors: ArrayLike, classes: ArrayLike) -> tuple[Codes, float]:
        """Give the class predicted for every row, and the mean loss of the true ones.

        Parameters
        ----------
        vectors : array_like, shape (n, d), n >= 1
        classes : array_like of int, shape (n,)
            The true ones.

        Returns
        -------
        predicted : ndarray of int64, shape (n,)
            As if all classes that were seen were equally likely.
        log_loss : float
            Minus the log-probability of the true class, in nats, on average.
        """
        truth, found, losses = np.asarray(classes, np.int64), [], []
        start = 0
        for scores in self.scores(vectors):
            own = truth[start : start + len(scores)]
            losses.append(_losses(scores, own, self.sharpness, self.log_prior))
            found.append(np.where(self.seen, scores, -np.inf).argmax(axis=1))
            start += len(scores)
        return np.concatenate(found), float(np.concatenate(losses).mean())


def fit_linear_probe(
    vectors: ArrayLike, classes: ArrayLike, count: int, weights: ArrayLike | None = None
) -> LinearProbe:
    """Fit linear discriminants.

    Parameters
    ----------
    vectors : array_like, shape (m, d)
    classes : array_like of int, shape (m,)
        From 0 to `count` - 1.
    count : int
        How many classes there are, whether or not one of the rows has them.
    weights : array_like, shape (m,), optional
        Finite and above 0; only their ratios matter.

    Returns
    -------
    LinearProbe
        Classes without a row count as half a row at the mean of all.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row, or a class or weight makes no sense.

    Examples
    --------
    >>> X = [[0, 0], [0, 1], [5, 0], [5, 1]]
    >>> probe = fit_linear_probe(X, [0, 0, 1, 1], count=3)
    >>> probe.judge([[1, 0], [4, 9]], [0, 1])[0].tolist()
    [0, 1]
    """
    rows, codes, mass = _checked(vectors, classes, count, weights)
    origin = mass @ rows / len(rows)
    rows = rows - origin
    size = np.bincount(codes, mass, count).astype(np.float64)
    means = _class_sums(rows, codes, mass, count) / np.where(size > 0, size, 1)[:, None]
    left = rows - means[codes]
    covariance = _shrunk(left * np.sqrt(mass)[:, None])
    directions = np.linalg.solve(covariance, means.T)
    offsets = -0.5 * np.einsum("cd,dc->c", means, directions)
    share = np.where(size > 0, size, _UNSEEN)
    probe = LinearProbe(
        origin.astype(np.float32),
        directions.astype(np.float32),
        offsets,
        np.log(share / share.sum()),
        size > 0,
    )
    # The rows that are not alone in their class; of many, some.
    able = np.flatnonzero(size[codes] > mass * (1 + 1e-9))
    if not len(able):
        return probe
    able = able[:: -(-len(able) // _CALIBRATED)]
    own, light = codes[able], mass[able]
    distance = np.einsum("ij,ji->i", left[able], np.linalg.solve(covariance, left[able].T))
    scores = rows[able] @ directions + offsets
    scores[np.arange(len(able)), own] -= _own_part(distance, light, size[own])
    return dataclasses.replace(probe, sharpness=_sharpness(scores, own, probe.log_prior))


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Average the F1 score over the classes that are among `truth`, each counting the same.

    Examples
    --------
    >>> round(macro_f1([0, 0, 0, 1], [0, 0, 0, 0]), 3)
    0.429
    """
    real, guess = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    count = int(max(real.max(), guess.max())) + 1
    held, named = np.bincount(real, minlength=count), np.bincount(guess, minlength=count)
    right = np.bincount(real[real == guess], minlength=count)
    there = held > 0
    return float((2 * right[there] / (held + named)[there]).mean())


def _checked(
    vectors: ArrayLike, classes: ArrayLike, count: int, weights: ArrayLike | None
) -> tuple[Floats, Codes, Floats]:
    rows, codes = np.asarray(vectors, np.float64), np.asarray(classes, np.int64)
    mass = np.ones(len(codes)) if weights is None else np.asarray(weights, np.float64)
    if rows.ndim != 2 or not len(rows) or codes.shape != (len(rows),) or mass.shape != codes.shape:
        raise ValueError(
            f"vectors {rows.shape}, classes {codes.shape}, weights {mass.shape}: "
            "give (m, d), (m,) and (m,) with m >= 1"
        )
    if codes.min() < 0 or codes.max() >= count:
        raise ValueError(f"classes run from {codes.min()} to {codes.max()}: give 0 to {count - 1}")
    if not (np.isfinite(mass).all() and (mass > 0).all()):
        raise ValueError("a weight is not a finite number above 0")
    return rows, codes, mass / mass.mean()


def _class_sums(rows: Floats, codes: Codes, mass: Floats, count: int) -> Floats:
    from scipy.sparse import csr_matrix

    member = csr_matrix((mass, (codes, np.arange(len(codes)))), shape=(count, len(codes)))
    return np.asarray(member @ rows)


def _shrunk(left: Floats) -> Floats:
    """Shrink the covariance of centred rows towards a sphere."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    covariance: Floats = left.T @ left / len(left)
    sphere = float(np.trace(covariance)) / len(covariance)
    if sphere == 0:  # one row a class, or equal ones: then the nearest mean decides
        return np.eye(len(covariance))
    share = float(ledoit_wolf_shrinkage(left, assume_centered=True))
    share = min(max(share, 1e-6), 1.0)
    return (1 - share) * covariance + share * sphere * np.eye(len(covariance))


def _own_part(distance: Floats, mass: Floats, size: Floats) -> Floats:
    """Give what a row adds to the score of its own class by being in that class's mean.

    Without row x of weight w, the mean m of its class of size s moves away from x: x - m grows by
    the factor s / (s - w). The score of a class is, but for what all classes share, minus half the
    squared distance to its mean.
    """
    part: Floats = 0.5 * distance * ((size / (size - mass)) ** 2 - 1)
    return part


def _sharpness(scores: Floats, own: Codes, log_prior: Floats) -> float:
    """Choose how sharp the probabilities are, by the loss of rows left out of their means."""
    from scipy.optimize import minimize_scalar

    def loss(log_sharpness: float) -> float:
        return float(_losses(scores, own, float(np.exp(log_sharpness)), log_prior).mean())

    found = minimize_scalar(loss, bounds=(-9, 3), method="bounded", options={"xatol": 0.02})
    return float(np.exp(found.x))


def _losses(scores: Floats, own: Codes, sharpness: float, log_prior: Floats) -> Floats:
    logits = sharpness * scores + log_prior
    highest = logits.max(axis=1)
    total = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    losses: Floats = total - logits[np.arange(len(own)), own]
    return losses
