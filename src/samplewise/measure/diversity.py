"""How unlike each other chosen rows are: as vectors and as texts.

`measure/coverage.py` asks how well a choice covers the rows that it was made from; here only the
choice itself counts. Nothing holds a number for every pair of rows unless there are fewer rows than
dimensions.

Cost: Vendi score O(n d min(n, d)); distances to neighbours O(n^2 d) in blocks; the others linear.
Source: Vendi score, arXiv 2210.02410, and its orders, arXiv 2310.12952; instruction diversity,
arXiv 2410.04717; entropy of a sequence, arXiv 2409.02908.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "distinct_ngrams",
    "distinct_texts",
    "mean_pairwise_distance",
    "mean_pairwise_similarity",
    "neighbour_distances",
    "ngram_entropy",
    "sequence_entropy",
    "vendi_score",
]

Floats: TypeAlias = NDArray[np.float64]


def vendi_score(vectors: ArrayLike, order: float = 1.0) -> float:
    """Count the rows as if each were either the same as another or wholly unlike it.

    The exponential of the Renyi entropy of the eigenvalues of K / n, where K holds the cosine
    similarities. The covariance of the unit vectors has the same, so that the smaller one serves.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        Only directions count; no vector may be zero.
    order : float
        Of the entropy, 0 or more: 1 is Shannon's; a lower one counts rare directions for more;
        infinity gives one over the largest eigenvalue.

    Returns
    -------
    float
        From 1 (all alike) to min(n, d).

    Raises
    ------
    ValueError
        If there is no row, a vector is zero, or the order is negative.

    Examples
    --------
    >>> round(vendi_score([[1, 0], [0, 1], [0, 2]]), 4), round(vendi_score([[1, 1], [2, 2]]), 4)
    (1.8899, 1.0)
    """
    rows = _rows(vectors)
    if not order >= 0:
        raise ValueError(f"order is {order}: give 0 or more")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"row {int(np.argmin(lengths))} is zero: it has no direction")
    units = rows / lengths
    gram = units @ units.T if len(units) < units.shape[1] else units.T @ units
    values = np.linalg.eigvalsh(gram / len(units))
    share = values[values > 1e-12]  # what is left of the others is rounding
    share /= share.sum()
    if math.isinf(order):
        return float(1 / share.max())
    if abs(order - 1) < 1e-9:
        return float(np.exp(-(share @ np.log(share))))
    return float((share**order).sum() ** (1 / (1 - order)))


def neighbour_distances(vectors: ArrayLike, k: int = 1) -> Floats:
    """Measure the Euclidean distance of each row to its k-th nearest other row.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
    k : int
        From 1 to n - 1.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ValueError
        If k does not fit the rows.

    Examples
    --------
    >>> neighbour_distances([[0.0], [1.0], [5.0]]).tolist()
    [1.0, 1.0, 4.0]
    """
    import faiss

    rows = np.ascontiguousarray(_rows(vectors), np.float32)
    if not 1 <= k < len(rows):
        raise ValueError(f"k is {k} for {len(rows)} rows: give 1 to {len(rows) - 1}")
    # Around the origin, where float32 loses the fewest digits.
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    near = index.search(rows, min(k + 1, len(rows)))[1]
    # A row that repeats may be found in place of itself; the farthest found is right all the same.
    own = near == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    others = near[~own].reshape(len(rows), -1)
    gaps = rows - rows[others[:, k - 1]]
    squares: Floats = np.einsum("ij,ij->i", gaps, gaps, dtype=np.float64)
    return np.sqrt(squares)


def mean_pairwise_distance(vectors: ArrayLike) -> float:
    """Average the squared Euclidean distance over all pairs of different rows. O(n d).

    Examples
    --------
    >>> mean_pairwise_distance([[0.0], [1.0], [3.0]])  # (1 + 9 + 4) / 3
    4.666666666666667
    """
    rows = _rows(vectors)
    if len(rows) < 2:
        return 0.0
    return float(2 * rows.var(axis=0).sum() * len(rows) / (len(rows) - 1))


def mean_pairwise_similarity(vectors: ArrayLike) -> float:
    """Average the cosine similarity over all pairs of different rows. O(n d).

    Examples
    --------
    >>> mean_pairwise_similarity([[1, 0], [0, 1], [0, 3]]).__round__(4)
    0.3333
    """
    rows = _rows(vectors)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(lengths > 0, lengths, 1)
    n = len(units)
    if n < 2:
        return 1.0
    total = float(np.square(units.sum(axis=0)).sum())
    return (total - float(np.square(units).sum())) / (n * (n - 1))


def distinct_texts(texts: Sequence[str]) -> float:
    """Give the share of the texts that are different, without regard to case and spaces.

    Examples
    --------
    >>> distinct_texts(["Add 1 and 2.", "add  1 and 2.", "Sort them."]).__round__(3)
    0.667
    """
    if not texts:
        raise ValueError("there are no texts")
    return len({" ".join(text.lower().split()) for text in texts}) / len(texts)


def distinct_ngrams(texts: Sequence[str], n: int = 2) -> float:
    """Give the share of the n-grams of words of all texts that are different (distinct-n).

    Examples
    --------
    >>> distinct_ngrams(["a b a b"], 2).__round__(3)  # ab, ba, ab
    0.667
    """
    counts = _ngrams(texts, n)
    return len(counts) / counts.total() if counts else 0.0


def ngram_entropy(texts: Sequence[str], n: int = 1) -> float:
    """Give the entropy of the n-grams of words of all texts, in bits.

    Examples
    --------
    >>> ngram_entropy(["a b", "c d"])
    2.0
    """
    counts = _ngrams(texts, n)
    if not counts:
        return 0.0
    share = np.fromiter(counts.values(), np.float64) / counts.total()
    return abs(float(share @ np.log2(share)))


def sequence_entropy(tokens: Sequence[Hashable] | NDArray[np.int64]) -> float:
    """Give the entropy of the tokens of one sequence, in nats.

    Low where a text repeats itself. Report it beside any perplexity of drawn texts, which
    repetition makes better.

    Raises
    ------
    ValueError
        If there is no token.

    References
    ----------
    arXiv 2409.02908, section 5

    Examples
    --------
    >>> round(sequence_entropy("abab"), 4), sequence_entropy([7, 7, 7])
    (0.6931, 0.0)
    """
    counts = Counter(list(tokens))
    if not counts:
        raise ValueError("there is no token")
    share = np.fromiter(counts.values(), np.float64) / counts.total()
    return abs(float(share @ np.log(share)))


def _rows(vectors: ArrayLike) -> Floats:
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"vectors have shape {rows.shape}: give (n, d) with n >= 1")
    return rows


def _ngrams(texts: Iterable[str], n: int) -> Counter[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n is {n}: give 1 or more")
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = text.lower().split()
        counts.update(zip(*(itertools.islice(words, i, None) for i in range(n)), strict=False))
    return counts
