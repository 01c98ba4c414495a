"""Rows whose tags between them tell the most, the better rows first.

Every row has tags and a score. Tags that mean nearly the same share what they are told; what a
tag is worth to be told again falls the more it was told; rows are chosen one by one, each the one
that adds most. Use it for a pool with tags (or clusters, which stand in for them) when both
quality and breadth count: it needs no distance between rows, only between tags.

A gain can only fall as rows are chosen, so an earlier one is an upper bound and few rows are
looked at again for each pick. Rows with the same tags keep their order among themselves for ever,
so only the best of each set of tags competes.

Time O(K^2 d) for K tags, then O(m log m) for m tags of all rows, and for each pick O(log n) and
the rows looked at again; memory O(m + K d).
Source: MIG, arXiv 2504.13835.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.measure.kmeans import kmeans, nearest
from samplewise.pool import Pool, Tags
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = [
    "Curve",
    "Greedy",
    "InformationGain",
    "cluster_tags",
    "greedy",
    "key_terms",
    "label_graph",
    "propagation",
]

_BLOCK = 1_024  # tags whose likeness to all others is worked out at once
_EQUAL = 1 - 1e-12  # gains this near are equal: more than rounding adds, less than data tell
_MOST_CLUSTERS = 1_024
_REACH = 1.1  # a further cluster is a tag too up to so many times the nearest one's distance
_NAMING_ROWS, _NAMING_CHARACTERS, _TERMS = 16, 600, 3  # what a cluster's name is taken from

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class InformationGain(Selector):
    """Rows whose tags add the most information, weighted by quality.

    Row i adds e_i = A (s_i v_i) to the information x of K tags, where s_i is its score (1 where
    the pool has none), v_i has a 1 for each of its tags, and A spreads a part to tags that are
    alike. Maximises the sum of phi(x_k) over tags k greedily, phi rising ever more slowly.

    Tags are the pool's where its rows have some. Else they are clusters of the vectors, named by
    their key terms, and a row's tags are the one to three clusters nearest to it (our own stand-in
    for the paper's language-model tagger; where there are no vectors either, the built-in embedder
    makes them). Rows without a tag come last. Gains that differ by less than one part in 10^12
    count as equal, and of equal ones the lowest index is first.

    Deterministic for rows with tags; clusters depend on the seed.

    Parameters
    ----------
    threshold : float
        T in (0, 1]: tags with a cosine of T or more are linked. The vectors of tags are those of
        the built-in embedder for their names; those of clusters are the centroids.
    alpha : float
        Weight of links against a tag's own 1; at 0 every tag stands alone.
    flow : {'receiver', 'source'}
        What adds up to one: what a tag receives (the paper), or what it gives away (our own).
    phi : {'power', 'exponential'}
        phi(x) = (x + offset)^power - offset^power, or 1 - exp(-rate x).
    power : float
        b in (0, 1]; at 1 the choice is a plain ranking.
    offset : float
        a > 0, so that the first gain of a tag is finite. The smaller, the more a tag not seen yet
        counts, nearly regardless of score.
    rate : float
        Of the exponential, above 0.
    gain : {'gradient', 'exact'}
        What a row is chosen by: the slope of phi at x times what the row adds (the paper), or the
        exact rise of the sum (our own), which comes within 1 - 1/e of the best possible sum.
    norm : bool
        Whether a row's score is divided by the number of its tags.
    clusters : int or None
        Clusters, where they stand in for tags. None: four times the root of the number of rows,
        at most a quarter of the rows and 1,024.

    References
    ----------
    MIG: Automatic Data Selection for Instruction Tuning by Maximizing Information Gain in
    Semantic Space, arXiv 2504.13835.

    Examples
    --------
    >>> import samplewise as sw
    >>> tags = [["algebra"], ["algebra"], ["poems"], ["poems", "cooking"]]
    >>> pool = sw.Pool.from_arrays(tags=tags, score=[3, 2, 1, 1])
    >>> chosen = sw.select(pool, 3, "information-gain")
    >>> chosen.indices.tolist(), chosen.columns["gain"].round(1).tolist()
    ([0, 3, 1], [38.0, 1.3, nan, 25.4])
    """

    name: ClassVar[str] = "information-gain"
    aliases: ClassVar[tuple[str, ...]] = ("mig",)
    paper: ClassVar[str] = "2504.13835"
    cost: ClassVar[str] = "O(K^2 d + m log m) for K tags, m over all rows; then O(log n) a pick"

    threshold: float = 0.9
    alpha: float = 1.0
    flow: Literal["receiver", "source"] = "receiver"
    phi: Literal["power", "exponential"] = "power"
    power: float = 0.8
    offset: float = 1e-6
    rate: float = 1.0
    gain: Literal["gradient", "exact"] = "gradient"
    norm: bool = False
    clusters: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = {
            "threshold": (0 < self.threshold <= 1, "more than 0, at most 1"),
            "alpha": (0 <= self.alpha < np.inf, "0 or more"),
            "power": (0 < self.power <= 1, "more than 0, at most 1"),
            "offset": (0 < self.offset < np.inf, "more than 0"),
            "rate": (0 < self.rate < np.inf, "more than 0"),
            "clusters": (self.clusters is None or self.clusters >= 1, "1 or more, or none"),
        }
        for knob, (fits, mend) in wanted.items():
            if not fits:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {getattr(self, knob)!r}", mend=f"give {mend}"
                )

    needs_note: ClassVar[str] = "tags or vectors"

    def needs_of(self, pool: Pool) -> tuple[str, ...]:
        """Say that rows without tags must have vectors: their clusters are the tags then."""
        return ("embeddings",) if pool.tags is None else ()

    def check(self, pool: Pool) -> None:
        """Refuse scores below zero, where more told would count as less, or not finite."""
        super().check(pool)
        if pool.score is None:
            return
        wrong = np.flatnonzero(~((pool.score >= 0) & np.isfinite(pool.score)))
        if len(wrong):
            file, line = pool.place(int(wrong[0]))
            raise InputError(
                f"is {pool.score[wrong[0]]}: {self.name} needs a finite score of 0 or more",
                file=file,
                line=line,
                field=pool.layout.score or "score",
                mend="name a field with such scores, shift them, or leave the score out",
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `gain`: what each added when chosen, `tags`, and `cluster`."""
        columns: dict[str, NDArray[Any]] = {}
        tags, vectors = pool.tags, None
        if tags is None:
            tags, vectors, columns["cluster"] = self._clusters(pool, rng, engine)
        else:
            from samplewise.embed.static import StaticEmbedder

            vectors = StaticEmbedder().embed(tags.names)
        score = np.ones(len(pool)) if pool.score is None else pool.score
        if self.norm:
            score = score / np.maximum(np.diff(tags.starts), 1)
        spread = propagation(label_graph(vectors, self.threshold), self.alpha, self.flow)
        curve = Curve(self.phi, self.power, self.offset, self.rate)
        found = greedy(tags, score, spread, n, curve, exact=self.gain == "exact")
        columns["gain"] = np.full(len(pool), np.nan)
        columns["gain"][found.indices] = found.gains
        columns["tags"] = _joined(tags)
        return Choice(found.indices, columns=columns)

    def _clusters(
        self, pool: Pool, rng: np.random.Generator, engine: Engine
    ) -> tuple[Tags, NDArray[np.float32], NDArray[np.int32]]:
        assert pool.embeddings is not None
        automatic = min(_MOST_CLUSTERS, len(pool) // 4, round(4 * len(pool) ** 0.5))
        k = max(1, self.clusters or automatic)
        tags, centroids, own = cluster_tags(pool.embeddings, k, rng, engine)
        if pool.shards and pool.layout.text:
            names = _named(pool, own, pool.embeddings, centroids)
            tags = Tags(tags.codes, tags.starts, names)
        return tags, centroids, own


class Curve(NamedTuple):
    """phi: what being told x is worth.

    Parameters
    ----------
    phi : {'power', 'exponential'}
    power, offset, rate : float
        As in `InformationGain`.

    Examples
    --------
    >>> round(float(Curve().slope(np.zeros(1))[0]), 4)
    12.6791
    """

    phi: Literal["power", "exponential"] = "power"
    power: float = 0.8
    offset: float = 1e-6
    rate: float = 1.0

    def value(self, x: Floats) -> Floats:
        """Give phi(x), 0 at 0."""
        if self.phi == "exponential":
            return np.asarray(-np.expm1(-self.rate * x))
        return np.asarray((x + self.offset) ** self.power - self.offset**self.power)

    def slope(self, x: Floats) -> Floats:
        """Give the derivative of phi at x."""
        if self.phi == "exponential":
            return np.asarray(self.rate * np.exp(-self.rate * x))
        return np.asarray(self.power * (x + self.offset) ** (self.power - 1))


class Greedy(NamedTuple):
    """What a greedy choice found.

    Attributes
    ----------
    indices : ndarray of int64, shape (n,)
        Rows in order of choice.
    gains : ndarray of float64, shape (n,)
        The gain of each when it was chosen.
    objective : ndarray of float64, shape (n,)
        The sum of phi(x) after each.
    information : ndarray of float64, shape (K,)
        x after the last.
    """

    indices: Indices
    gains: Floats
    objective: Floats
    information: Floats


def label_graph(vectors: NDArray[Any], threshold: float = 0.9, block: int = _BLOCK) -> Any:
    """Link the tags whose vectors have a cosine of `threshold` or more; a tag and itself have 1.

    Parameters
    ----------
    vectors : ndarray of shape (K, d)
        Of any length; a zero vector is like none but itself.
    threshold : float
        In (0, 1].
    block : int
        Rows of the graph that are worked out at once: memory O(block K).

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (K, K)
        Symmetric.

    Examples
    --------
    >>> label_graph(np.array([[1, 0], [3, 0.1], [0, 1]])).toarray().round(3).tolist()
    [[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    from scipy import sparse

    unit = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    unit = unit / np.where(lengths > 0, lengths, 1)[:, None]
    least = threshold - 1e-9  # equal vectors may be kept below a threshold of 1 by rounding
    rows, columns, values = [], [], []
    for start in range(0, len(unit), block):
        cosines = unit[start : start + block] @ unit.T
        row, column = np.nonzero(cosines >= least)
        above = column > row + start  # one half: a product of floats need not be symmetric
        rows.append(row[above] + start)
        columns.append(column[above])
        values.append(np.minimum(cosines[row[above], column[above]], 1))
    weights = np.concatenate([*values, *values])
    where = np.concatenate([*rows, *columns]), np.concatenate([*columns, *rows])
    links = sparse.csr_array((weights, where), shape=(len(unit), len(unit)))
    return sparse.csr_array(links + sparse.eye_array(len(unit), format="csr"))


def propagation(
    graph: Any, alpha: float = 1.0, flow: Literal["receiver", "source"] = "receiver"
) -> Any:
    """Turn a graph of tags into the matrix A that spreads what they are told.

    A_pq = c_pq / sum_k c_pk, with c_pp = 1 and c_pq = alpha w_pq: what p receives of each q. So
    that rows sum to 1, but what a tag gives away does not; with `flow` 'source' columns do.

    Parameters
    ----------
    graph : array or sparse array of shape (K, K)
        W, symmetric, with a unit diagonal.
    alpha : float
    flow : {'receiver', 'source'}

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (K, K)

    Examples
    --------
    >>> propagation([[1, 0.95], [0.95, 1]]).toarray().round(5).tolist()
    [[0.51282, 0.48718], [0.48718, 0.51282]]
    """
    from scipy import sparse

    weights = sparse.csr_array(graph, dtype=np.float64)
    weights = weights - sparse.diags_array(weights.diagonal(), format="csr")
    weights = sparse.csr_array(alpha * weights + sparse.eye_array(weights.shape[0], format="csr"))
    weights.eliminate_zeros()
    receives = sparse.csr_array(sparse.diags_array(1 / weights.sum(axis=1)) @ weights)
    return receives if flow == "receiver" else sparse.csr_array(receives.T)


def greedy(
    tags: Tags,
    score: Floats,
    spread: Any,
    n: int,
    curve: Curve | None = None,
    *,
    exact: bool = False,
) -> Greedy:
    """Choose `n` rows one by one, each the one of the largest gain.

    Parameters
    ----------
    tags : Tags
        Of m rows; one named twice for a row counts once.
    score : ndarray of float64, shape (m,)
        Finite, 0 or more.
    spread : array or sparse array of float64, shape (K, K)
        A, with the zeros of a symmetric matrix.
    n : int
        1 <= n <= m.
    curve : Curve, optional
    exact : bool
        Whether the gain is the rise of the sum of phi, or its first-order part.

    Returns
    -------
    Greedy

    Examples
    --------
    >>> tags = Tags.of([["a"], ["a"], ["b"], ["b"]])
    >>> scores = np.array([3.0, 2, 1, 1])
    >>> greedy(tags, scores, np.eye(2), 4).indices.tolist()
    [0, 2, 1, 3]
    >>> greedy(tags, scores, np.eye(2), 4, exact=True).indices.tolist()
    [0, 1, 2, 3]
    """
    from scipy import sparse

    curve = curve or Curve()
    size = (len(tags), len(tags.names))
    sets = sparse.csr_array((np.ones(len(tags.codes)), tags.codes, tags.starts), shape=size)
    sets.sum_duplicates()  # sorts the tags of each row, too
    sets.data[:] = 1
    spread = sparse.csr_array(spread, dtype=np.float64)
    given = sparse.csr_array(spread.T)
    given.sort_indices()
    queues = _queues(sets, score)
    heads = queues.rows[queues.starts[:-1]]
    kinds = sets[heads]
    # Before anything is told, the first-order gain is an upper bound of either.
    with np.errstate(over="ignore"):  # of huge scores infinity is a bound as well
        bounds = score[heads] * (kinds @ (given @ curve.slope(np.zeros(size[1]))))
    shares = sparse.csr_array(kinds @ given if exact else (0, size[1]))
    shares.sort_indices()
    indices, gains, objective = _kernel()(
        *queues,
        *_parts(kinds),
        *_parts(given),
        *_parts(shares),
        score,
        bounds,
        n,
        curve.phi == "exponential",
        curve.power,
        curve.offset,
        curve.rate,
        exact,
        _EQUAL,
    )
    indices, gains, objective = _filled(sets, n, indices, gains, objective)
    told = np.asarray(sets[indices].T @ score[indices])
    return Greedy(indices, gains, objective, np.asarray(spread @ told))


class _Queues(NamedTuple):
    """Rows with tags, in one queue for each set of tags, the best first; ties by lowest index.

    Queue j is `rows[starts[j] : starts[j + 1]]`.
    """

    rows: Indices
    starts: Indices


def _queues(sets: Any, score: Floats) -> _Queues:
    rows = np.flatnonzero(np.diff(sets.indptr))
    kind = _kinds(sets.indices, sets.indptr, rows)
    order = np.lexsort((rows, -score[rows], kind))
    rows, kind = rows[order], kind[order]
    falls = score[rows[1:]] < score[rows[:-1]] * _EQUAL
    step = np.concatenate([[0], np.cumsum(falls | (np.diff(kind) > 0))])
    starts = np.flatnonzero(np.diff(kind, prepend=-1, append=-1))
    return _Queues(rows[np.lexsort((rows, step))], starts.astype(np.int64))


def _kinds(codes: NDArray[Any], starts: NDArray[Any], rows: Indices) -> Indices:
    """Give the sets of tags of some rows a number each; equal sets have the same."""
    lengths = np.diff(starts)[rows].astype(np.int64)
    kind = np.zeros(len(rows), dtype=np.int64)
    for place in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        seen = kind[longer] * (int(codes.max()) + 1) + codes[starts[rows[longer]] + place]
        kind[longer] = np.unique(seen, return_inverse=True)[1]
    whole = kind * (int(lengths.max(initial=0)) + 1) + lengths
    return np.asarray(np.unique(whole, return_inverse=True)[1], dtype=np.int64)


def _parts(matrix: Any) -> tuple[Indices, NDArray[np.int32], Floats]:
    """Give starts, columns and values of a sparse array, of the types the kernel is made for."""
    return (
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float64),
    )


def _filled(
    sets: Any, n: int, indices: Indices, gains: Floats, objective: Floats
) -> tuple[Indices, Floats, Floats]:
    """Make up `n` rows by those that add nothing: first the ones with tags, by lowest index."""
    lacking = n - len(indices)
    if not lacking:
        return indices, gains, objective
    free = np.ones(sets.shape[0], dtype=bool)
    free[indices] = False
    tagged = np.diff(sets.indptr) > 0
    rest = np.concatenate([np.flatnonzero(free & tagged), np.flatnonzero(free & ~tagged)])
    last = objective[-1] if len(objective) else 0.0
    return (
        np.concatenate([indices, rest[:lacking]]),
        np.concatenate([gains, np.zeros(lacking)]),
        np.concatenate([objective, np.full(lacking, last)]),
    )


@functools.cache
def _kernel() -> Callable[..., Any]:
    """Compile the inner loop; numba keeps it on disk for the next process."""
    import heapq

    import numba

    @numba.njit(nogil=True, cache=True)
    def run(  # type: ignore[no-untyped-def] # numba infers the types
        rows,
        starts,
        kind_starts,
        kind_tags,
        _kind_ones,
        given_starts,
        given_tags,
        given_parts,
        share_starts,
        share_tags,
        share_parts,
        score,
        bounds,
        n,
        exponential,
        power,
        offset,
        rate,
        exact,
        equal,
    ):
        """Choose rows until `n` are chosen or no row adds anything.

        `waiting` holds every queue by an upper bound of the gain of its first row. Those whose
        bound is equal to the largest gain are moved to `level`, by row: the first of them whose
        gain proves to be as large is the lowest row of all that tie.
        """
        size = len(given_starts) - 1
        told = np.zeros(size)
        slope, height = np.empty(size), np.empty(size)
        worth = np.zeros(size)  # what telling a tag alone would add, of a score of 1
        share, touched = np.zeros(size), np.empty(size, np.int64)
        stale, near = np.zeros(size, np.bool_), np.empty(size, np.int64)
        for p in range(size):
            if exponential:
                slope[p], height[p] = rate, -1.0
            else:
                slope[p], height[p] = power * offset ** (power - 1), offset**power
        for q in range(size):
            for j in range(given_starts[q], given_starts[q + 1]):
                worth[q] += given_parts[j] * slope[given_tags[j]]
        first = starts.copy()
        waiting = [(-bounds[kind], kind) for kind in range(len(bounds))]
        heapq.heapify(waiting)
        level = [(rows[0], 0) for _ in range(0)]
        floor = 0.0
        indices, gains, objective = np.empty(n, np.int64), np.empty(n), np.empty(n)
        count, total = 0, 0.0
        while count < n:
            tied = len(level) > 0
            if tied:
                row, kind = heapq.heappop(level)
            elif len(waiting) > 0:
                kind = waiting[0][1]
                row = rows[first[kind]]
            else:
                break
            gain = 0.0
            if exact:
                for j in range(share_starts[kind], share_starts[kind + 1]):
                    p, step = share_tags[j], score[row] * share_parts[j]
                    if exponential:
                        gain += height[p] * np.expm1(-rate * step)
                    else:
                        rise = np.expm1(power * np.log1p(step / (told[p] + offset)))
                        gain += height[p] * rise
            else:
                for j in range(kind_starts[kind], kind_starts[kind + 1]):
                    gain += worth[kind_tags[j]]
                gain *= score[row]
            if not gain > 0:  # also where sums have left the range of floats
                gain = 0.0
            if not tied:
                if gain < -waiting[0][0]:
                    heapq.heapreplace(waiting, (-gain, kind))
                elif gain > 0:
                    floor = gain * equal
                    while len(waiting) > 0 and -waiting[0][0] >= floor:
                        kind = heapq.heappop(waiting)[1]
                        heapq.heappush(level, (rows[first[kind]], kind))
                else:
                    break
                continue
            if gain < floor:
                heapq.heappush(waiting, (-gain, kind))
                continue

            touches = 0
            for i in range(kind_starts[kind], kind_starts[kind + 1]):
                q = kind_tags[i]
                for j in range(given_starts[q], given_starts[q + 1]):
                    p = given_tags[j]
                    if share[p] == 0:
                        touched[touches] = p
                        touches += 1
                    share[p] += given_parts[j]
            nears = 0
            for i in range(touches):
                p = touched[i]
                told[p] += score[row] * share[p]
                share[p] = 0.0
                before = height[p]
                if exponential:
                    height[p] = -np.exp(-rate * told[p])
                    slope[p] = -rate * height[p]
                else:
                    height[p] = (told[p] + offset) ** power
                    slope[p] = power * (told[p] + offset) ** (power - 1)
                total += height[p] - before
                for j in range(given_starts[p], given_starts[p + 1]):
                    if not stale[given_tags[j]]:
                        stale[given_tags[j]] = True
                        near[nears] = given_tags[j]
                        nears += 1
            for i in range(nears):
                q = near[i]
                stale[q] = False
                worth[q] = 0.0
                for j in range(given_starts[q], given_starts[q + 1]):
                    worth[q] += given_parts[j] * slope[given_tags[j]]
            indices[count], gains[count], objective[count] = row, gain, total
            count += 1
            first[kind] += 1
            if first[kind] < starts[kind + 1]:
                heapq.heappush(level, (rows[first[kind]], kind))
        return indices[:count], gains[:count], objective[:count]

    compiled: Callable[..., Any] = run
    return compiled


def cluster_tags(
    vectors: NDArray[np.float32], k: int, rng: np.random.Generator, engine: Engine
) -> tuple[Tags, NDArray[np.float32], NDArray[np.int32]]:
    """Make tags of clusters: for each row the nearest, and up to two more that are nearly as near.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    k : int
        Clusters; those that are no row's tag are dropped.
    rng : numpy.random.Generator
    engine : Engine

    Returns
    -------
    tags : Tags
        Numbered.
    centroids : ndarray of float32, shape (K, d)
    own : ndarray of int32, shape (n,)
        The nearest cluster of each row.
    """
    centroids = kmeans(vectors, k, rng=rng, engine=engine).centroids
    labels, squares = nearest(vectors, centroids, min(3, len(centroids)), engine=engine)
    near = np.sqrt(squares) <= _REACH * np.sqrt(squares[:, :1])
    used = np.unique(labels[near])
    codes = np.searchsorted(used, labels).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(near.sum(axis=1))]).astype(np.int64)
    names = [f"cluster {number}" for number in range(len(used))]
    return Tags(codes[near], starts, names), centroids[used], codes[:, 0].copy()


def key_terms(texts: list[str], most: int = _TERMS) -> list[list[str]]:
    """Find the terms that tell each text from the others (c-TF-IDF).

    A term t counts tf(t) log(1 + a / f(t)), where tf is how often the text has it, f how often all
    have it, and a how many terms a text has in the mean.

    Examples
    --------
    >>> key_terms(["the cat, the cats, a cat", "the law of the land law"], 1)
    [['cat'], ['law']]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(token_pattern=r"\b[^\W\d]\w+\b")  # no numbers
    try:
        counts = counter.fit_transform(texts).tocsr()
    except ValueError:  # no text has a term
        return [[] for _ in texts]
    terms = counter.get_feature_names_out()
    often = np.asarray(counts.sum(axis=0)).ravel()
    weight = np.log1p(often.sum() / len(texts) / often)
    found = []
    for text in range(len(texts)):
        own = slice(counts.indptr[text], counts.indptr[text + 1])
        columns = counts.indices[own]
        order = np.lexsort((columns, -counts.data[own] * weight[columns]))[:most]
        found.append([str(terms[column]) for column in columns[order]])
    return found


def _named(
    pool: Pool,
    own: NDArray[np.int32],
    vectors: NDArray[np.float32],
    centroids: NDArray[np.float32],
) -> list[str]:
    """Name each cluster by the key terms of the rows nearest to it."""
    away = np.empty(len(own))
    for start in range(0, len(own), _BLOCK):
        block = slice(start, start + _BLOCK)
        away[block] = np.square(vectors[block] - centroids[own[block]]).sum(axis=1)
    order = np.lexsort((away, own))
    first = np.searchsorted(own[order], own[order])
    chosen = np.sort(order[np.arange(len(order)) - first < _NAMING_ROWS])
    texts = [""] * len(centroids)
    for row, text in zip(chosen.tolist(), pool.texts(chosen), strict=True):
        texts[own[row]] += text[:_NAMING_CHARACTERS] + "\n"
    names: dict[str, None] = {}
    for number, terms in enumerate(key_terms(texts)):
        name = ", ".join(terms) or f"cluster {number}"
        names[name if name not in names else f"{name} ({number})"] = None
    return list(names)


def _joined(tags: Tags) -> NDArray[Any]:
    """Write each row's tags as one text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(tags.names, type=pa.string())
    blocks = []
    for start in range(0, len(tags), 64 * _BLOCK):
        starts = tags.starts[start : start + 64 * _BLOCK + 1]
        taken = names.take(pa.array(tags.codes[starts[0] : starts[-1]]))
        lists = pa.ListArray.from_arrays(pa.array(starts - starts[0], type=pa.int32()), taken)
        blocks.append(pc.binary_join(lists, "; ").to_numpy(zero_copy_only=False))
    return np.concatenate(blocks)
