"""Rows spread over clusters of the pool, and the best, any or most typical of each.

k-means on the embeddings; each cluster gets its part of the budget; inside a cluster rows are
drawn by quality (`kmeans-quality`), at random (`kmeans-random`), or the nearest to its centroid
are taken (`kmeans-closest`) or to its median distance (`kmeans-median`). In rounds, the clusters
whose rows are good get more (`kmeans-dynamic`). Use it when the pool repeats itself: no kind of row
can take the whole budget.

Time O(n k d) an iteration on at most 256 k rows, then O(n k d) once; memory O(n + k d).
Source: Diversify and Conquer, arXiv 2409.11378.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.measure.kmeans import Clustering, kmeans, silhouette
from samplewise.pool import Pool
from samplewise.select.allocation import allocate
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = [
    "KMeansClosest",
    "KMeansDynamic",
    "KMeansMedian",
    "KMeansQuality",
    "KMeansRandom",
    "automatic_clusters",
    "best_clusters",
    "draw_repeating",
    "draw_within",
    "medians",
]

_MOST_CLUSTERS = 1_024  # the paper's code uses 1,024 for kmeans-quality
_GRID = (64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192)  # the paper's sweep

Keys = NDArray[np.float64]


@dataclass(frozen=True)
class Clustered(Selector):
    """Shared base: cluster, allocate, and take the rows of each cluster with the highest keys."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    paper: ClassVar[str] = "2409.11378"
    cost: ClassVar[str] = "O(n k d)"

    clusters: int | Literal["silhouette"] | None = None
    allocation: Literal["proportional", "equal"] = "proportional"
    iterations: int = 20
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("clusters", "iterations", "restarts"):
            value = getattr(self, knob)
            if isinstance(value, int) and value < 1:
                raise UsageError(f"{self.name}: knob '{knob}' is {value}", mend="give 1 or more")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows, spread over the clusters; the first k are of k clusters."""
        clustering = self.cluster(pool, n, rng, engine)
        return Choice(
            self.draw(pool, clustering, n, rng),
            columns={"cluster": clustering.labels, "distance": clustering.distances},
        )

    def cluster(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Clustering:
        """Cluster the pool's embeddings, in as many clusters as the knob says."""
        assert pool.embeddings is not None
        if self.clusters == "silhouette":
            k = best_clusters(pool.embeddings, n, rng, engine, self.iterations)
        else:
            k = self.clusters or self.automatic(n)
        return kmeans(
            pool.embeddings,
            k,
            rng=rng,
            engine=engine,
            iterations=self.iterations,
            restarts=self.restarts,
        )

    def automatic(self, n: int) -> int:
        """Choose k for a budget of n rows."""
        return automatic_clusters(n)

    def draw(
        self, pool: Pool, clustering: Clustering, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw `n` rows inside the clusters."""
        counts = allocate(clustering.sizes, n, self.allocation)
        return draw_within(clustering.labels, counts, self.keys(pool, clustering, rng))

    def keys(self, pool: Pool, clustering: Clustering, rng: np.random.Generator) -> Keys:
        """Give each row its key; inside a cluster the highest are taken."""
        raise AssertionError(f"{self.name} must define keys or draw")


@dataclass(frozen=True)
class Drawn(Clustered):
    """Shared base of the methods that draw rows by chance inside a cluster."""

    replacement: bool = False

    def draw(
        self, pool: Pool, clustering: Clustering, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw `n` rows inside the clusters, each with odds exp(its logit)."""
        logits = self.logits(pool)
        if self.replacement:
            rooms = np.where(clustering.sizes > 0, n, 0)
            shares = clustering.sizes if self.allocation == "proportional" else None
            counts = allocate(rooms, n, "equal", shares)
            return draw_repeating(clustering.labels, counts, logits, rng)
        # Sorting by logit plus Gumbel noise is drawing one by one without replacement.
        counts = allocate(clustering.sizes, n, self.allocation)
        return draw_within(clustering.labels, counts, logits + rng.gumbel(size=len(pool)))

    def logits(self, pool: Pool) -> Keys:
        """Give each row the logarithm of its odds."""
        return np.zeros(len(pool))


@dataclass(frozen=True)
class KMeansRandom(Drawn):
    """Random rows of every k-means cluster.

    Parameters
    ----------
    clusters : int, 'silhouette' or None
        Clusters k. None: a quarter of the budget, at most 1,024. 'silhouette': the one of the
        paper's sweep with the highest silhouette score.
    allocation : {'proportional', 'equal'}
        Each cluster's part of the budget: by its size (the paper's text) or the same for all
        (the paper's code). Rounded by largest remainder, so that the parts sum to the budget.
    iterations : int
        Iterations of k-means (the paper's code: 300; faiss has settled by 20).
    restarts : int
        Runs of k-means, of which the best is kept (the paper's code: 5).
    replacement : bool
        Whether a row may be drawn twice (the paper's equation 3; its code draws without).

    References
    ----------
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.repeat(np.eye(4), 25, axis=0))
    >>> chosen = sw.select(pool, 8, "kmeans-random", rng=0, clusters=4, restarts=5).indices
    >>> np.bincount(chosen // 25).tolist()
    [2, 2, 2, 2]
    """

    name: ClassVar[str] = "kmeans-random"
    aliases: ClassVar[tuple[str, ...]] = ("kmr",)


@dataclass(frozen=True)
class KMeansQuality(Drawn):
    """Rows of every k-means cluster, drawn by quality.

    A row i of a cluster is drawn with probability exp(q_i / tau) / sum of exp(q_l / tau) over
    the cluster, where q is the pool's score.

    Parameters
    ----------
    clusters, allocation, iterations, restarts, replacement
        As in `KMeansRandom`.
    temperature : float
        tau > 0: towards 0 the best rows of each cluster are taken, towards infinity any.

    References
    ----------
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.repeat(np.eye(4), 25, axis=0), score=np.arange(100))
    >>> knobs = {"clusters": 4, "restarts": 5, "temperature": 0.001}
    >>> sorted(sw.select(pool, 4, "kmeans-quality", rng=0, **knobs).indices.tolist())
    [24, 49, 74, 99]
    """

    name: ClassVar[str] = "kmeans-quality"
    aliases: ClassVar[tuple[str, ...]] = ("kmq",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "score")

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise UsageError(
                f"{self.name}: knob 'temperature' is {self.temperature}", mend="give more than 0"
            )

    def logits(self, pool: Pool) -> Keys:
        """Give q / tau."""
        assert pool.score is not None
        # The largest score is taken off first: scores near 1e308 over a small tau stay finite.
        return np.asarray((pool.score - pool.score.max()) / self.temperature, dtype=np.float64)


@dataclass(frozen=True)
class KMeansClosest(Clustered):
    """The rows nearest to the centroid of every k-means cluster.

    Parameters
    ----------
    clusters, allocation, iterations, restarts
        As in `KMeansRandom`.

    References
    ----------
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[0.0, 0], [1, 0], [3, 0]]))
    >>> sw.select(pool, 1, "kmeans-closest", rng=0, clusters=1).indices.tolist()
    [1]
    """

    name: ClassVar[str] = "kmeans-closest"
    aliases: ClassVar[tuple[str, ...]] = ("kmc",)

    def keys(self, pool: Pool, clustering: Clustering, rng: np.random.Generator) -> Keys:
        """Give minus the distance to the centroid."""
        return -clustering.distances.astype(np.float64)


@dataclass(frozen=True)
class KMeansMedian(Clustered):
    """The rows of every k-means cluster at about its median distance from the centroid.

    Neither the most typical rows nor the outliers. In the paper's code only (KCenterMedian).

    Parameters
    ----------
    clusters, allocation, iterations, restarts
        As in `KMeansRandom`.

    References
    ----------
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[0.0, 0], [10, 0], [11, 0], [12, 0], [17, 0]]))
    >>> sw.select(pool, 1, "kmeans-median", rng=0, clusters=1).indices.tolist()
    [3]
    """

    name: ClassVar[str] = "kmeans-median"

    def keys(self, pool: Pool, clustering: Clustering, rng: np.random.Generator) -> Keys:
        """Give minus how far the distance is from the cluster's median."""
        distances = np.sqrt(clustering.distances.astype(np.float64))
        middle = medians(distances, clustering.labels, len(clustering.centroids))
        return -np.abs(distances - middle[clustering.labels])


@dataclass(frozen=True)
class KMeansDynamic(Clustered):
    """Random rows of every k-means cluster, in rounds that favour the clusters of good rows.

    Each round draws `per_round` rows a cluster, on average, and splits them by the clusters'
    weights: equal at first, then each cluster's part in the summed quality of the rows just drawn.
    In the paper's code only, and reconstructed from a description of it; two rules are our own:
    quality is counted from the pool's lowest score, so that no weight is negative, and a cluster
    that gave no row keeps its weight.

    Parameters
    ----------
    clusters : int, 'silhouette' or None
        Clusters k. None: as many as make three rounds of the budget, at most 1,024.
    allocation, iterations, restarts
        As in `KMeansRandom`; `allocation` is that of the first round.
    per_round : int
        Rows a cluster and round, on average (the paper's code: 10).

    References
    ----------
    Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement,
    arXiv 2409.11378.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X, score = np.repeat(np.eye(2), 100, axis=0), np.repeat([1.0, 4.0], 100)
    >>> pool = sw.Pool.from_arrays(X, score=score + np.arange(200) % 2)
    >>> selection = sw.select(pool, 60, "kmeans-dynamic", rng=0, clusters=2, restarts=5)
    >>> np.bincount(selection.indices // 100).tolist()
    [12, 48]
    """

    name: ClassVar[str] = "kmeans-dynamic"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "score")

    allocation: Literal["proportional", "equal"] = "equal"
    per_round: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_round < 1:
            raise UsageError(
                f"{self.name}: knob 'per_round' is {self.per_round}", mend="give 1 or more"
            )

    def automatic(self, n: int) -> int:
        """Choose k such that the budget makes three rounds."""
        return min(_MOST_CLUSTERS, max(1, n // (3 * self.per_round)))

    def draw(
        self, pool: Pool, clustering: Clustering, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw `n` rows inside the clusters, round by round."""
        assert pool.score is not None
        # Scaled to [0, 1]: sums of scores near 1e308 stay finite.
        low, high = pool.score.min() / 2, pool.score.max() / 2
        quality = (pool.score / 2 - low) / max(high - low, np.finfo(float).tiny)
        labels, sizes = clustering.labels.copy(), clustering.sizes
        shares = np.where(sizes > 0, 1.0, 0.0)
        if self.allocation == "proportional":
            shares = sizes.astype(np.float64)
        rounds: list[NDArray[np.int64]] = []
        left = n
        while left:
            counts = allocate(sizes, min(left, self.per_round * len(sizes)), shares=shares)
            drawn = draw_within(labels, counts, rng.random(len(pool)))
            sums = np.bincount(labels[drawn], quality[drawn], minlength=len(sizes))
            shares = dynamic_weights(shares, counts, np.asarray(sums, dtype=np.float64))
            labels[drawn] = -1
            sizes = sizes - counts
            left -= len(drawn)
            rounds.append(drawn)
        return np.concatenate(rounds)


def dynamic_weights(
    shares: NDArray[np.float64], counts: NDArray[np.int64], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weigh clusters by the quality just drawn; those that gave none keep their weight.

    Parameters
    ----------
    shares : ndarray of float64, shape (k,)
        Weights so far, of any scale.
    counts : ndarray of int64, shape (k,)
        Rows just drawn of each cluster.
    sums : ndarray of float64, shape (k,)
        Their summed quality, at least 0.

    Returns
    -------
    ndarray of float64, shape (k,)
        They sum to 1.

    Examples
    --------
    >>> dynamic_weights(np.ones(4), np.array([2, 2, 2, 0]), np.array([1.0, 2, 3, 0])).tolist()
    [0.125, 0.25, 0.375, 0.25]
    """
    weights: NDArray[np.float64] = shares / shares.sum()
    gave = counts > 0
    total = sums[gave].sum()
    if total > 0:
        weights[gave] = weights[gave].sum() * (sums[gave] / total)
    return weights


def automatic_clusters(n: int) -> int:
    """Choose k for a budget of n rows: a quarter of it, at least 1 and at most 1,024.

    The paper asks for k much smaller than the budget, and sweeps 64 to 8,192; our own rule.
    """
    return min(_MOST_CLUSTERS, max(1, n // 4))


def best_clusters(
    vectors: NDArray[np.float32],
    n: int,
    rng: np.random.Generator,
    engine: Engine,
    iterations: int = 20,
) -> int:
    """Choose the k of the paper's sweep, at most half the budget, with the best silhouette."""
    grid = [k for k in _GRID if k <= n // 2] or [automatic_clusters(n)]

    def score(k: int) -> float:
        labels = kmeans(vectors, k, rng=rng, engine=engine, iterations=iterations).labels
        return silhouette(vectors, labels, rng=rng)

    return max(grid, key=score)


def medians(values: Keys, groups: NDArray[Any], count: int = 0) -> Keys:
    """Give the median of each group's values; of an empty group, 0.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    groups : ndarray of int, shape (n,)
        From 0.
    count : int
        Groups, where the last may be empty.

    Examples
    --------
    >>> medians(np.array([5.0, 1, 2, 8]), np.array([2, 0, 0, 2])).tolist()
    [1.5, 0.0, 6.5]
    """
    ordered = values[np.lexsort((values, groups))]
    sizes = np.bincount(groups, minlength=count)
    starts = np.cumsum(sizes) - sizes
    found = np.zeros(len(sizes))
    held = sizes > 0
    low, high = starts + (sizes - 1) // 2, starts + sizes // 2
    found[held] = (ordered[low[held]] + ordered[high[held]]) / 2
    return found


def draw_within(labels: NDArray[Any], counts: NDArray[np.int64], keys: Keys) -> NDArray[np.int64]:
    """Take the `counts[j]` rows of cluster j with the highest keys; ties by lowest index.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Cluster of each row; rows labelled -1 are never taken.
    counts : ndarray of int64, shape (k,)
        At most the cluster's size.
    keys : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of int64
        The best row of every cluster, then the second best, and so on: any beginning of it is
        spread over the clusters too.

    Examples
    --------
    >>> labels, keys = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.5, 0.4, 0.6])
    >>> draw_within(labels, np.array([1, 2]), keys).tolist()
    [1, 4, 2]
    """
    order = np.lexsort((-keys, labels))
    order = order[np.searchsorted(labels[order], 0) :]
    sorted_labels = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_labels, sorted_labels)
    taken = rank < counts[sorted_labels]
    chosen: NDArray[np.int64] = order[taken]
    return chosen[np.lexsort((sorted_labels[taken], rank[taken]))]


def draw_repeating(
    labels: NDArray[Any],
    counts: NDArray[np.int64],
    logits: Keys,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw `counts[j]` rows of cluster j with replacement, each with odds exp(its logit)."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=len(counts))
    starts = np.cumsum(sizes) - sizes
    filled = np.flatnonzero(sizes)
    tops = np.zeros(len(counts))
    tops[filled] = np.maximum.reduceat(logits[order], starts[filled])
    # A running sum over the whole pool would lose the small odds of late clusters: each cluster
    # is scaled to one, so that draw u of cluster j lands in [j, j + 1).
    odds = np.exp(logits - tops[labels])
    odds /= np.bincount(labels, odds, minlength=len(counts))[labels]
    ends = np.cumsum(odds[order])
    owner = np.repeat(np.arange(len(counts)), counts)
    bases = np.zeros(len(counts))
    bases[filled] = ends[starts[filled]] - odds[order[starts[filled]]]
    tails = np.zeros(len(counts))
    tails[filled] = ends[starts[filled] + sizes[filled] - 1]
    draws = bases[owner] + rng.random(len(owner)) * (tails - bases)[owner]
    places = np.searchsorted(ends, draws, side="right")
    places = np.clip(places, starts[owner], starts[owner] + sizes[owner] - 1)
    return rng.permutation(order[places]).astype(np.int64)
