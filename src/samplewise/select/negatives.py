"""Rows that look like what is asked for and are not: negatives for training a retriever.

`hard-negatives` chooses from a pool of documents those most like the target's rows (the queries)
that are not relevant to them; `draw_negatives` and `in_batch_negatives` do the same for one query
or one batch of a training loop, by the usual strategies. Use it to train an embedder on your own
data. On ECtHR-PCR harder negatives brought nothing over random ones: compare before you trust them.

Time O(n q d) for q queries; memory O(n + q d).
Source: strategies of ECtHR-PCR, arXiv 2404.00596 (their exact list was not found; reconstructed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.pool import Category, Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine
from samplewise.measure.vectors import directions

__all__ = ["HardNegatives", "Strategy", "draw_negatives", "hardness", "in_batch_negatives"]

Strategy: TypeAlias = Literal["hard", "random", "curriculum", "mixture"]
Indices: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 8_192  # rows whose likeness to the queries is worked out at once


@dataclass(frozen=True)
class HardNegatives(Selector):
    """Rows most like the target's that are not relevant to them.

    A row is relevant to a query of the same label (or source); where either side has none, only
    `most_similar` tells them apart. Its hardness is its highest cosine similarity to a query that
    it is not relevant to. Rows that are no negative of any query come last, in any order.
    Deterministic with the strategy 'hard', as long as there are enough negatives.

    Parameters
    ----------
    strategy : {'hard', 'random', 'curriculum', 'mixture'}
        The hardest rows; any; any of the hardest few, ever fewer as `progress` goes from 0 to 1; or
        the hardest for a `share` and any for the rest.
    progress : float
        From 0 (any negative) to 1 (the hardest), for 'curriculum'.
    share : float
        From 0 to 1, for 'mixture'.
    most_similar : float
        A row with a cosine similarity above this to a query is taken for relevant to it: a negative
        that is nearly the same as the query is most often a false one. 1.0 keeps them all.

    References
    ----------
    Santosh et al., ECtHR-PCR, arXiv 2404.00596. Their strategies are known by name only; how each
    draws is reconstructed.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.array([[1, 0], [1, 0.2], [1, 0.9], [0, 1]])
    >>> pool = sw.Pool.from_arrays(X).with_target(sw.Pool.from_arrays(X[:1]))
    >>> sw.select(pool, 2, "hard-negatives", most_similar=0.99).indices.tolist()
    [1, 2]
    """

    name: ClassVar[str] = "hard-negatives"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "target")
    paper: ClassVar[str] = "2404.00596"
    cost: ClassVar[str] = "O(n q d) for q rows of the target"

    strategy: Strategy = "hard"
    progress: float = 0.5
    share: float = 0.5
    most_similar: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("progress", "share"):
            _between(getattr(self, knob), 0, f"{self.name}: knob {knob!r}")
        _between(self.most_similar, -1, f"{self.name}: knob 'most_similar'")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `hardness` (NaN: no negative of any query) and `query`."""
        assert pool.embeddings is not None
        assert pool.target is not None
        assert pool.target.embeddings is not None
        found, query = hardness(
            pool.embeddings,
            pool.target.embeddings,
            _shared_classes(pool.classes, pool.target.classes),
            most_similar=self.most_similar,
        )
        negative = query >= 0
        indices = draw_negatives(
            found,
            negative,
            n,
            rng,
            strategy=self.strategy,
            progress=self.progress,
            share=self.share,
        )
        others = rng.permutation(np.flatnonzero(~negative))[: n - len(indices)]
        known = np.where(negative, found, np.nan)
        return Choice(
            np.concatenate([indices, others]), columns={"hardness": known, "query": query}
        )


def draw_negatives(
    scores: Floats,
    negative: NDArray[np.bool_],
    count: int,
    rng: np.random.Generator,
    *,
    strategy: Strategy = "hard",
    progress: float = 0.5,
    share: float = 0.5,
) -> Indices:
    """Draw negatives of one query from documents with scores.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        How relevant a ranker takes each document for: BM25's, or the present model's.
    negative : ndarray of bool, shape (n,)
        Which documents may be drawn (not relevant, and dated before the query).
    count : int
        How many; fewer are given where there are fewer.
    rng : numpy.random.Generator
    strategy : {'hard', 'random', 'curriculum', 'mixture'}
        The highest scores (ties by lowest index); any; any of the c + (1 - progress)(m - c)
        highest, for m negatives and c = `count`; or the highest for a `share`, any for the rest.
    progress, share : float
        From 0 to 1.

    Returns
    -------
    ndarray of int64
        Without repeats; hardest first where the strategy is 'hard'.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores, negative = np.array([3.0, 2.0, 1.0, 9.0]), np.array([True, True, True, False])
    >>> draw_negatives(scores, negative, 2, rng).tolist()
    [0, 1]
    """
    allowed = np.flatnonzero(negative)
    order = allowed[np.argsort(-scores[allowed], kind="stable")]
    count = min(count, len(order))
    if strategy == "hard":
        return order[:count]
    if strategy == "mixture":
        hard = round(share * count)
        return np.concatenate([order[:hard], rng.permutation(order[hard:])[: count - hard]])
    window = len(order)
    if strategy == "curriculum":
        window = count + round((1 - progress) * (len(order) - count))
    return rng.permutation(order[:window])[:count]


def in_batch_negatives(
    positives: Indices, relevant: NDArray[np.bool_], earlier: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Mark which of a batch's positives are negatives of each of its queries.

    Parameters
    ----------
    positives : ndarray of int64, shape (b,)
        The document paired with each query of the batch.
    relevant, earlier : ndarray of bool, shape (b, documents)
        Which documents each query finds relevant, and which are dated before it.

    Returns
    -------
    ndarray of bool, shape (b, b)
        Entry (i, j): whether the positive of query j is a negative of query i. Of a document that
        is the positive of several queries, the first counts.

    Examples
    --------
    >>> relevant = np.eye(3, dtype=bool)
    >>> in_batch_negatives(np.array([0, 1, 1]), relevant).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0], [1, 1, 0]]
    """
    mask: NDArray[np.bool_] = ~relevant[:, positives]
    if earlier is not None:
        mask &= earlier[:, positives]
    first = np.unique(positives, return_index=True)[1]
    mask[:, np.setdiff1d(np.arange(len(positives)), first)] = False
    return mask


def hardness(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    classes: tuple[Indices, Indices] | None = None,
    *,
    most_similar: float = 1.0,
) -> tuple[Floats, Indices]:
    """Give each row its highest cosine similarity to a query that it is not relevant to.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    queries : ndarray of float32, shape (q, d)
    classes : pair of ndarray of int64, shapes (n,) and (q,), optional
        A row is relevant to the queries of its class; -1 is a class of nothing.
    most_similar : float
        Rows more similar than this to a query are relevant to it.

    Returns
    -------
    similarity : ndarray of float64, shape (n,)
        -inf where a row is relevant to all queries.
    query : ndarray of int64, shape (n,)
        That query; -1 where there is none.
    """
    units = directions(queries)
    best, query = np.full(len(vectors), -np.inf), np.full(len(vectors), -1, np.int64)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosines = (directions(vectors[rows]) @ units.T).astype(np.float64)
        relevant = cosines > most_similar + 1e-6
        if classes is not None:
            own, theirs = classes[0][rows, None], classes[1][None, :]
            relevant |= (own == theirs) & (own >= 0)
        cosines[relevant] = -np.inf
        nearest = cosines.argmax(axis=1)
        best[rows] = cosines[np.arange(len(cosines)), nearest]
        query[rows] = np.where(np.isfinite(best[rows]), nearest, -1)
    return best, query


def _shared_classes(
    ours: Category | None, theirs: Category | None
) -> tuple[Indices, Indices] | None:
    """Code the classes of rows and queries by the same names."""
    if ours is None or theirs is None:
        return None
    code = {name: number for number, name in enumerate(ours.names)}
    table = np.array([code.get(name, -1) for name in theirs.names] + [-1], np.int64)
    return ours.codes.astype(np.int64), table[theirs.codes]


def _between(value: float, low: float, what: str) -> None:
    if not low <= value <= 1:
        raise UsageError(f"{what} is {value}", mend=f"give {low} to 1")
