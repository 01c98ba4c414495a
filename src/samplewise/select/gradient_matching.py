"""Rows whose weighted gradients add up to the gradient of the whole pool.

Each class gives its share of rows. In a class, rows are chosen so that every row has a chosen one
with nearly the same gradient (facility location), and a chosen row weighs as much as the number of
rows it stands for. The gradient is that of the last layer of a quick linear probe that predicts the
class: the predicted probabilities less the true ones. Use it to train with weights on a fraction of
a labelled pool. Without classes the embeddings themselves stand for the gradients.

Time O(n r c) for r reference rows of a class and c classes, beside the probe; memory O(n + m c) for
the m rows of the largest class.
Source: CRAIG, arXiv 1906.01827.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.allocation import allocate, in_turns
from samplewise.select.base import Choice, Selector
from samplewise.select.facility_location import lazy_greedy

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Craig", "assign", "probe_gradients"]

_FITTED = 10_000  # rows the probe is fitted on
_MOST = 256  # classes the probe tells apart; the smaller ones are one to it
_BLOCK = 4_096  # rows whose gradients, or nearest chosen rows, are worked out at once

Gradients = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class Craig(Selector):
    """Weighted rows whose gradients add up to that of the whole pool.

    In every class, maximises over sets A the sum over rows v of the largest of -|g_v - g_a| for a
    in A, greedily; row a's weight is the number of rows v that are nearest to it. Weights sum to
    the number of rows. Rows of a class too small to give any go to the nearest row of all.
    Deterministic where a class has at most `reference` rows and the pool at most 10,000.

    Parameters
    ----------
    reference : int
        Rows v that are summed over in a class. Where it has more, that many, drawn at random,
        stand for it; the weights count all rows all the same.
    per_class : bool
        Whether each label (or source) is matched for itself. Without it, or without classes, the
        pool is one class.
    penalty : float
        Inverse strength of the probe's L2 penalty, as scikit-learn's C.
    iterations : int
        Most iterations of the probe.

    References
    ----------
    B. Mirzasoleiman, J. Bilmes, J. Leskovec, "Coresets for Data-efficient Training of Machine
    Learning Models", arXiv 1906.01827.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.repeat([[0.0, 0], [0, 1], [9, 9]], [5, 3, 2], axis=0))
    >>> selection = sw.select(pool, 3, "craig")
    >>> selection.indices.tolist(), selection.weights.tolist()
    ([0, 8, 5], [5.0, 2.0, 3.0])
    """

    name: ClassVar[str] = "craig"
    aliases: ClassVar[tuple[str, ...]] = ("gradient-matching",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "1906.01827"
    cost: ClassVar[str] = "O(n r c) for r reference rows of a class and c classes"

    reference: int = 10_000
    per_class: bool = True
    penalty: float = 1.0
    iterations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("reference", "iterations"):
            if getattr(self, knob) < 1:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {getattr(self, knob)}", mend="give 1 or more"
                )
        if not 0 < self.penalty < np.inf:
            raise UsageError(
                f"{self.name}: knob 'penalty' is {self.penalty}", mend="give more than 0"
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `gain`, and `stands_for`: the row that each is counted with."""
        vectors = pool.embeddings
        assert vectors is not None
        codes = np.zeros(len(pool), np.int64)
        gradients: Gradients = vectors.__getitem__
        if pool.classes is not None:
            known = pool.classes.codes.astype(np.int64) + 1
            gradients = probe_gradients(vectors, known, self.penalty, self.iterations, rng)
            codes = known if self.per_class else codes
        counts = allocate(np.bincount(codes), n)
        owner = np.full(len(pool), -1)
        gain = np.full(len(pool), np.nan)
        rows = []
        for code in np.flatnonzero(counts):
            members = np.flatnonzero(codes == code)
            # -|g - g'| differs by a constant from the likeness that facility location maximises.
            given = gradients(members)
            summed = np.arange(len(members))
            if len(summed) > self.reference:
                summed = np.sort(rng.choice(summed, self.reference, replace=False))
            chosen, gains = lazy_greedy(given, summed, int(counts[code]), likeness="nearness")
            owner[members] = members[chosen[assign(given, given[chosen])]]
            gain[members[chosen]] = gains
            rows.append(members[chosen])
        indices = in_turns(rows)
        lost = np.flatnonzero(owner < 0)
        if len(lost):
            owner[lost] = indices[assign(gradients(lost), gradients(indices))]
        owner[indices] = indices  # of equal rows, each stands for itself
        weights = np.bincount(owner, minlength=len(pool))[indices].astype(np.float64)
        return Choice(indices, weights, columns={"gain": gain, "stands_for": owner})


def probe_gradients(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    penalty: float,
    iterations: int,
    rng: np.random.Generator,
) -> Gradients:
    """Fit a linear probe of the classes; give a function of rows to their gradients.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    codes : ndarray of int64, shape (n,)
        Class of each row. Of more than 256, the smallest are taken together.
    penalty, iterations
        As in `Craig`.
    rng : numpy.random.Generator
        Draws the 10,000 rows it is fitted on, where there are more.

    Returns
    -------
    callable
        Rows to their gradients, shape (len(rows), classes): the probabilities that the probe gives
        less those that are true, which is the loss's gradient in what goes into the softmax. Of a
        single class, the vectors themselves.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    sizes = np.bincount(codes)
    common = np.argsort(-sizes, kind="stable")[:_MOST]
    names = np.full(len(sizes), _MOST)
    names[common] = np.arange(len(common))
    classes, targets = np.unique(names[codes], return_inverse=True)
    some = np.arange(len(vectors))
    if len(some) > _FITTED:
        some = np.sort(rng.choice(some, _FITTED, replace=False))
    if len(classes) < 2 or len(np.unique(targets[some])) < 2:
        return vectors.__getitem__
    model = LogisticRegression(C=penalty, max_iter=iterations)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rough probe is all that is asked
        model.fit(vectors[some], targets[some])

    def gradients(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.zeros((len(rows), len(classes)), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part, model.classes_] = model.predict_proba(vectors[rows[part]])
        found[np.arange(len(rows)), targets[rows]] -= 1
        return found

    return gradients


def assign(given: NDArray[np.float32], chosen: NDArray[np.float32]) -> NDArray[np.int64]:
    """Give for each row the nearest of some others by Euclidean distance; ties to the first.

    Examples
    --------
    >>> some = np.array([[0.0], [4.0]], dtype=np.float32)
    >>> assign(np.array([[1.0], [3.0], [2.0]], dtype=np.float32), some).tolist()
    [0, 1, 0]
    """
    middle = chosen.mean(axis=0)
    moved = chosen - middle
    squares = np.einsum("ij,ij->i", moved, moved)
    found = np.empty(len(given), dtype=np.int64)
    step = max(1, min(_BLOCK, 2**22 // len(chosen)))
    for start in range(0, len(given), step):
        part = slice(start, start + step)
        found[part] = (squares - 2 * ((given[part] - middle) @ moved.T)).argmin(axis=1)
    return found
