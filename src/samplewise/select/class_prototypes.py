"""The most typical rows of every class: those nearest to k-means centroids inside it.

Each class gets its share of the budget and as many clusters; of each cluster the row nearest to
its centroid is taken. Use it to shrink a labelled training set to a few percent; it is a plain
and strong rival of graph and network methods for that.

Time O(sum over classes of n_c b_c d) an iteration, for b_c of the n_c rows of a class; memory
O(n d). Source: prototype selection by clustering; k-means after Lloyd (1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from samplewise.errors import UsageError
from samplewise.measure.kmeans import kmeans
from samplewise.pool import Pool
from samplewise.select.allocation import allocate, in_turns, quotas
from samplewise.select.base import Choice, Selector
from samplewise.select.clusters import draw_within

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["ClassPrototypes"]


@dataclass(frozen=True)
class ClassPrototypes(Selector):
    """The rows nearest to the k-means centroids of every class.

    Classes are the labels, or else the sources; rows without one are a class of their own. Each
    gives rows by its size, at least one where the budget allows that. Where rows repeat and a
    cluster is empty, the next nearest rows of the other clusters take its place.

    Parameters
    ----------
    iterations : int
        Iterations of k-means.
    restarts : int
        Runs of k-means, of which the best is kept.

    References
    ----------
    S. Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory 28
    (1982).

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.array([[0.0, 0], [1, 0], [2, 0], [8, 0], [9, 0], [11, 0]])
    >>> pool = sw.Pool.from_arrays(X, y=["a", "a", "a", "b", "b", "b"])
    >>> sw.select(pool, 2, "class-prototypes", rng=0).indices.tolist()
    [1, 4]
    """

    name: ClassVar[str] = "class-prototypes"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    paper: ClassVar[str] = "Lloyd (1982)"
    cost: ClassVar[str] = "O(n b d) an iteration, b the picks of the largest class"

    iterations: int = 20
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("iterations", "restarts"):
            value = getattr(self, knob)
            if value < 1:
                raise UsageError(f"{self.name}: knob '{knob}' is {value}", mend="give 1 or more")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; any beginning of them is spread over the classes too.

        Column `distance`: squared, to the row's centroid; a class without a part of the budget
        has none.
        """
        assert pool.embeddings is not None
        assert pool.classes is not None
        codes = pool.classes.codes.astype(np.int64)
        classes = np.unique(codes, return_inverse=True)[1]
        distances = np.full(len(pool), np.nan)
        chosen = []
        for number, count in enumerate(quotas(np.bincount(classes), n).tolist()):
            if not count:
                continue
            rows = np.flatnonzero(classes == number)
            found = kmeans(
                np.ascontiguousarray(pool.embeddings[rows]),
                count,
                rng=rng,
                engine=engine,
                iterations=self.iterations,
                restarts=self.restarts,
            )
            distances[rows] = found.distances
            counts = allocate(found.sizes, count, "equal")
            near = -found.distances.astype(np.float64)
            chosen.append(rows[draw_within(found.labels, counts, near)])
        return Choice(in_turns(chosen), columns={"class": codes, "distance": distances})
