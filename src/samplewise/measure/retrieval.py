"""How well a ranking finds what is relevant, BM25 to compare with, and what chance would find.

Metrics are taken query by query and averaged over the queries (macro): every query counts alike,
however many documents are relevant to it. Ties in a ranking go to the earlier document.

Cost: metrics O(n log n) a query; BM25 O(postings of the query's terms).
Source: the retrieval protocol of ECtHR-PCR, arXiv 2404.00596; BM25, Robertson and Zaragoza (2009).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BM25",
    "average_precision",
    "contrastive_loss",
    "evaluate_run",
    "expected_average_precision",
    "expected_recall",
    "r_precision",
    "rank",
    "recall_at",
    "reciprocal_rank",
]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


def rank(scores: ArrayLike, candidates: ArrayLike | None = None) -> Indices:
    """Order documents by falling score; ties by lowest index.

    Parameters
    ----------
    scores : array_like, shape (n,)
    candidates : array_like of bool, shape (n,), optional
        Which documents may be ranked at all.

    Returns
    -------
    ndarray of int64
        Indices of the candidates, best first.

    Examples
    --------
    >>> rank([0.5, 2.0, 0.5]).tolist(), rank([0.5, 2.0, 0.5], [True, False, True]).tolist()
    ([1, 0, 2], [0, 2])
    """
    values = np.asarray(scores, np.float64)
    allowed = np.arange(len(values)) if candidates is None else np.flatnonzero(candidates)
    order: Indices = allowed[np.argsort(-values[allowed], kind="stable")]
    return order


def recall_at(k: int, ranking: Sequence[Hashable], relevant: Sequence[Hashable]) -> float:
    """Measure the share of the relevant documents among the first k.

    Raises
    ------
    ValueError
        If nothing is relevant, or k is below 1.

    Examples
    --------
    >>> recall_at(1, ["A", "B", "C"], ["A", "C"])
    0.5
    """
    hits = _hits(ranking, relevant)
    if k < 1:
        raise ValueError(f"k is {k}: give 1 or more")
    return float(hits[:k].sum() / len(set(relevant)))


def average_precision(ranking: Sequence[Hashable], relevant: Sequence[Hashable]) -> float:
    """Average the precision at the rank of every relevant document; 0 for those not ranked.

    Raises
    ------
    ValueError
        If nothing is relevant.

    Examples
    --------
    >>> round(average_precision(["A", "B", "C"], ["A", "C"]), 4)
    0.8333
    """
    places = np.flatnonzero(_hits(ranking, relevant)) + 1
    return float((np.arange(1, len(places) + 1) / places).sum() / len(set(relevant)))


def r_precision(ranking: Sequence[Hashable], relevant: Sequence[Hashable]) -> float:
    """Measure precision at as many documents as are relevant.

    Raises
    ------
    ValueError
        If nothing is relevant.

    Examples
    --------
    >>> r_precision(["A", "B", "C"], ["A", "C"])
    0.5
    """
    return recall_at(len(set(relevant)), ranking, relevant)


def reciprocal_rank(ranking: Sequence[Hashable], relevant: Sequence[Hashable]) -> float:
    """Give 1 over the rank of the first relevant document; 0 if none is ranked.

    Raises
    ------
    ValueError
        If nothing is relevant.

    Examples
    --------
    >>> reciprocal_rank(["B", "A"], ["A"])
    0.5
    """
    places = np.flatnonzero(_hits(ranking, relevant))
    return 1.0 / (int(places[0]) + 1) if len(places) else 0.0


def evaluate_run(
    run: Mapping[Hashable, Sequence[Hashable]],
    relevant: Mapping[Hashable, Sequence[Hashable]],
    ks: Sequence[int] = (50, 100, 500),
) -> dict[str, float]:
    """Average all metrics over the queries that have something relevant.

    Parameters
    ----------
    run : mapping of query to ranking
        Best first; a query that is missing ranks nothing.
    relevant : mapping of query to documents
        Queries without any are left out, and counted.
    ks : sequence of int
        Depths of the recall.

    Returns
    -------
    dict
        ``recall@k`` for each k, ``map``, ``r_precision``, ``mrr`` (shares, not percent),
        ``queries`` and ``queries_without_relevant``.

    Raises
    ------
    ValueError
        If no query has anything relevant.

    Examples
    --------
    >>> found = evaluate_run({"q": ["A", "B", "C"]}, {"q": ["A", "C"], "r": []}, ks=(1,))
    >>> found["recall@1"], round(found["map"], 4), found["queries"]
    (0.5, 0.8333, 1)
    """
    queries = [query for query, known in relevant.items() if len(known)]
    if not queries:
        raise ValueError("no query has a relevant document")
    pairs = [(run.get(query, ()), relevant[query]) for query in queries]
    figures = {f"recall@{k}": [recall_at(k, *pair) for pair in pairs] for k in ks}
    figures |= {
        "map": [average_precision(*pair) for pair in pairs],
        "r_precision": [r_precision(*pair) for pair in pairs],
        "mrr": [reciprocal_rank(*pair) for pair in pairs],
    }
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    return means | {"queries": len(pairs), "queries_without_relevant": len(relevant) - len(pairs)}


def expected_recall(k: int, n: int) -> float:
    """Give the recall at k that a random ranking of n documents has on average.

    Examples
    --------
    >>> expected_recall(50, 200)
    0.25
    """
    return min(k, n) / n


def expected_average_precision(n: int, relevant: int) -> float:
    """Give the average precision that a random ranking of n documents has on average.

    Equals (H + (R - 1)(n - H) / (n - 1)) / n, with H the n-th harmonic number.

    Examples
    --------
    >>> expected_average_precision(2, 1)  # rank 1 or 2, each with odds 1/2
    0.75
    """
    harmonic = float(np.sum(1 / np.arange(1, n + 1)))
    more = (relevant - 1) * (n - harmonic) / (n - 1) if n > 1 else 0.0
    return (harmonic + more) / n


def contrastive_loss(positive: float, negatives: ArrayLike, temperature: float = 1.0) -> float:
    """Give the negative log-odds of the positive among itself and the negatives.

    Parameters
    ----------
    positive : float
        Score of the relevant document.
    negatives : array_like, shape (m,)
        Scores of the others.
    temperature : float

    Examples
    --------
    >>> round(contrastive_loss(2.0, [2.0, 2.0, 2.0]), 6) == round(float(np.log(4)), 6)
    True
    """
    logits = np.append(np.asarray(negatives, np.float64), positive) / temperature
    top = logits.max()
    return float(np.log(np.exp(logits - top).sum()) + top - positive / temperature)


class BM25:
    """Lexical ranking: how much of a query's rare words a document holds, for its length.

    The weight of a term is idf (k1 + 1) tf / (tf + k1 (1 - b + b length / mean length)), with idf
    = log(1 + (N - df + 0.5) / (df + 0.5)). A term that a query repeats counts as often.

    Parameters
    ----------
    documents : sequence of sequence of str
        The terms of every document.
    k1, b : float

    Examples
    --------
    >>> bm25 = BM25([["a", "b"], ["a", "a", "c"], ["b", "c", "c"]])
    >>> bm25.scores(["a", "c"]).round(6).tolist()
    [0.523548, 1.071445, 0.624307]
    """

    def __init__(
        self, documents: Sequence[Sequence[str]], *, k1: float = 1.2, b: float = 0.75
    ) -> None:
        from scipy.sparse import csc_array

        self.k1, self.b = k1, b
        self.vocabulary: dict[str, int] = {}
        rows: list[int] = []
        columns: list[int] = []
        counts: list[int] = []
        for row, terms in enumerate(documents):
            for term, count in Counter(terms).items():
                rows.append(row)
                columns.append(self.vocabulary.setdefault(term, len(self.vocabulary)))
                counts.append(count)
        shape = (len(documents), len(self.vocabulary))
        self.counts: Any = csc_array((np.array(counts, np.float64), (rows, columns)), shape=shape)
        self.lengths = np.array([len(terms) for terms in documents], np.float64)

    def scores(self, query: Sequence[str], candidates: ArrayLike | None = None) -> Floats:
        """Score every document against a query.

        Parameters
        ----------
        query : sequence of str
            Its terms; those that no document has count for nothing.
        candidates : array_like of bool, shape (n,), optional
            The documents that there are for this query: document frequencies, their number and
            the mean length are of these alone, so that documents yet to come change nothing.

        Returns
        -------
        ndarray of float64, shape (n,)
            0 outside the candidates.
        """
        allowed = np.ones(len(self.lengths), bool) if candidates is None else np.asarray(candidates)
        found = np.zeros(len(self.lengths))
        number = int(allowed.sum())
        if not number:
            return found
        mean = self.lengths[allowed].mean() or 1.0
        norms = self.k1 * (1 - self.b + self.b * self.lengths / mean)
        for term, times in Counter(query).items():
            column = self.vocabulary.get(term)
            if column is None:
                continue
            span = slice(self.counts.indptr[column], self.counts.indptr[column + 1])
            rows, tf = self.counts.indices[span], self.counts.data[span]
            inside = allowed[rows]
            rows, tf = rows[inside], tf[inside]
            idf = np.log1p((number - len(rows) + 0.5) / (len(rows) + 0.5))
            found[rows] += times * idf * tf * (self.k1 + 1) / (tf + norms[rows])
        return found


def _hits(ranking: Sequence[Hashable], relevant: Sequence[Hashable]) -> NDArray[np.bool_]:
    """Mark the relevant documents of a ranking; one that is ranked twice counts once."""
    wanted = set(relevant)
    if not wanted:
        raise ValueError("nothing is relevant, so that the metric is undefined")
    seen: set[Hashable] = set()
    hits = np.zeros(len(ranking), bool)
    for place, document in enumerate(ranking):
        hits[place] = document in wanted and document not in seen
        seen.add(document)
    return hits
