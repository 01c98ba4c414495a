"""The labelled rows that other rows look at most in a graph attention network.

Like rows are joined by edges; a small graph attention network learns the labels over them; a row
counts by the attention that its neighbours pay to it, and every class gives its share of the
budget. Use it to shrink a labelled training set to a few percent, and compare it with
`stratified` and `class-prototypes`, which cost less.

Time O(R n B d) for the edges (R rounds or levels of parts of at most B rows), then at most 60
steps on a sample of the rows and one pass over all edges; memory O(n d) and the edges.
Source: GAIS, arXiv 2502.20293. Reconstructed: of the paper only the abstracts could be read,
beside the code of a related work by the same author; what these leave open is our own choice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.measure import attention_graph as edges
from samplewise.measure.attention_graph import Graph, Rule
from samplewise.pool import Pool
from samplewise.rng import seed_of
from samplewise.select.allocation import quotas
from samplewise.select.base import Choice, Selector
from samplewise.select.clusters import draw_within

if TYPE_CHECKING:
    import torch

    from samplewise.engine.base import Engine

__all__ = [
    "Fitted",
    "GraphAttention",
    "Layer",
    "Seen",
    "Wiring",
    "attend",
    "attention_of",
    "best_of_classes",
    "cover",
    "fit",
    "forward",
    "held_out",
    "importance",
    "make_layers",
]

_MOST_CLASSES = 1_000
_FULL_ROWS = 2_048  # the most that the graph of all pairs is built of
_EDGE_BLOCK = 131_072  # edges (or rows) worked on at once
_PLATEAU = 10  # steps without a better validation loss until the learning rate is halved

Rows: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = "Rows | slice"
Aggregation: TypeAlias = Literal["coverage", "sum", "mean", "max", "entropy", "confidence"]


@dataclass(frozen=True)
class GraphAttention(Selector):
    """The rows of every class that a graph attention network looks at most.

    A row i pays each neighbour j an attention A_ij, which is the mean over layers and heads of a
    softmax over i's neighbours and itself; the more a row is paid, the more it is worth.
    Reconstructed from the abstracts and a related work: not the authors' own formula.

    Classes are the labels, or else the sources; rows without one are a class of their own. Where
    there is one class only, nothing is trained: a row pays all its neighbours the same, and hubs
    are chosen. More than one class needs PyTorch, ``pip install 'samplewise[torch]'``. Ties go to
    the lowest index.

    Parameters
    ----------
    graph : {'dmb', 'sl-hash', 'ml-hash', 'mv-hash', 'chunk', 'knn', 'full'}
        Who is compared with whom. 'dmb': rows of the same mini-batch, dealt `rounds` times so
        that each holds every class in its share. 'sl-hash': rows with the same random-projection
        code of `bits` bits. 'ml-hash': the same at `levels` levels. 'mv-hash': 'ml-hash' in
        `views` random halves of the columns. 'chunk': rows of the same chunk of `batch` rows, a
        random half of the pairs left out (the predecessor). 'knn': every row with its nearest of
        all. 'full': all pairs, for at most 2,048 rows.
    aggregation : {'coverage', 'sum', 'mean', 'max', 'entropy', 'confidence'}
        How attention becomes a choice. 'coverage': rows one by one, each for the attention of
        rows that pay less to those chosen before (our own; on held-out rows of four data sets it
        made better training sets than the sum, which tends to choose rows like each other).
        The others rank the rows, by the sum of what is paid to a row; its mean or its largest
        part over those that pay; the entropy of who pays; or, without attention, the probability
        that the network gives to the row's class.
    same_class : bool
        Whether only the attention of rows of the same class counts (our own, found as above).
    quota : bool
        Whether each class gets its share of the budget, at least one row where that is possible.
    percentile : float
        From 0 to below 1: of the pairs compared, those above this quantile of similarity become
        edges.
    neighbours : int or None
        Where given, each row is joined to so many nearest rows of its batch, chunk or bucket
        instead ('knn': of all rows, 5 by default).
    similarity : {'euclidean', 'manhattan', 'cosine'}
        On columns scaled to [0, 1].
    batch : int
        Most rows of a mini-batch, chunk or bucket.
    rounds : int
        How often 'dmb' deals.
    bits : int
        Bits of the code of 'sl-hash'.
    coarse_bits : int
        Level l = 1, 2, ... of 'ml-hash' and 'mv-hash' has l times as many bits.
    levels : int
        Levels of 'ml-hash' and 'mv-hash'.
    views : int
        Views of 'mv-hash'.
    combine : {'ranks', 'union'}
        Whether each view of 'mv-hash' trains a network and ranks of worth are averaged, or one
        network sees the edges of all.
    hidden : int
        Width of a hidden layer's head.
    layers : int
        Hidden layers.
    heads : int
        Heads of a hidden layer.
    output_heads : int
        Heads of the last layer.
    dropout : float
        Share of hidden values set to zero in training, from 0 to below 1.
    epochs : int
        Most steps of training.
    rate : float
        Learning rate of Adam; halved where the validation loss has not improved for 10 steps.
    patience : int
        Training ends where it has not improved for so many steps.
    train_rows : int
        Where the pool has more rows, the network learns from a sample of so many, of every class
        its share, and is then shown all rows.

    References
    ----------
    Rustamov et al., "Scalable Graph Attention-based Instance Selection via Mini-Batch Sampling
    and Hierarchical Hashing", arXiv 2502.20293. Predecessor: arXiv 2412.19201.
    Velickovic et al., "Graph Attention Networks", arXiv 1710.10903.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> labels = np.repeat(["maths", "code"], [40, 20])
    >>> pool = sw.Pool.from_arrays(X + 3 * (labels == "code")[:, None], y=labels)
    >>> chosen = sw.select(pool, "10%", "graph-attention", rng=0, epochs=10).indices
    >>> np.unique(labels[chosen], return_counts=True)[1].tolist()  # code, maths
    [2, 4]
    """

    name: ClassVar[str] = "graph-attention"
    aliases: ClassVar[tuple[str, ...]] = ("gais",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    paper: ClassVar[str] = "2502.20293"
    cost: ClassVar[str] = "O(R n B d) for R rounds of batches of B rows, then O(edges)"

    graph: Literal["dmb", "sl-hash", "ml-hash", "mv-hash", "chunk", "knn", "full"] = "dmb"
    aggregation: Aggregation = "coverage"
    same_class: bool = True
    quota: bool = True
    percentile: float = 0.97
    neighbours: int | None = None
    similarity: Literal["euclidean", "manhattan", "cosine"] = "euclidean"
    batch: int = 256
    rounds: int = 3
    bits: int = 8
    coarse_bits: int = 4
    levels: int = 3
    views: int = 3
    combine: Literal["ranks", "union"] = "ranks"
    hidden: int = 16
    layers: int = 1
    heads: int = 4
    output_heads: int = 3
    dropout: float = 0.3
    epochs: int = 60
    rate: float = 0.01
    patience: int = 30
    train_rows: int = 1_024

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, (low, high) in _WHOLE.items():
            value = getattr(self, knob)
            self._refuse(knob, not low <= value <= high, f"give {low:,} to {high:,}")
        for knob in ("percentile", "dropout"):
            outside = not 0 <= getattr(self, knob) < 1
            self._refuse(knob, outside, "give 0 or more, and less than 1")
        self._refuse("rate", not 0 < self.rate < np.inf, "give more than 0")
        few = self.neighbours is not None and self.neighbours < 1
        self._refuse("neighbours", few, "give 1 or more, or None")
        many = self.levels * self.coarse_bits > 62
        self._refuse("levels", many, "levels times coarse_bits is to be at most 62")

    def _refuse(self, knob: str, wrong: bool, mend: str) -> None:
        if wrong:
            value = getattr(self, knob)
            raise UsageError(f"{self.name}: knob '{knob}' is {value!r}", mend=mend)

    def check(self, pool: Pool) -> None:
        """Refuse a pool without classes, or with too many, and a Python without PyTorch."""
        super().check(pool)
        classes = _classes_of(pool)
        count = int(classes.max(initial=0)) + 1
        if count > _MOST_CLASSES:
            raise InputError(
                f"{self.name} learns at most {_MOST_CLASSES:,} classes, and the rows have "
                f"{count:,}",
                file=pool.name,
                mend="name a field with fewer values with --label FIELD",
            )
        if self.graph == "full" and len(pool) > _FULL_ROWS:
            raise UsageError(
                f"{self.name}: knob 'graph' is 'full', and the pool has {len(pool):,} rows",
                mend=f"give 'dmb', or at most {_FULL_ROWS:,} rows",
            )
        if count > 1:
            need("torch", "torch", f"training the network of {self.name}")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows, the most important first.

        Columns: `importance`; `class`, -1 where a row has none; `neighbours` in the graph.
        """
        assert pool.embeddings is not None
        assert pool.classes is not None
        classes = _classes_of(pool)
        seen = self.look(edges.scale(pool.embeddings), classes, rng)
        chosen, worth = self.pick(seen, classes, n)
        columns = {
            "importance": worth,
            "class": pool.classes.codes.astype(np.int64),
            "neighbours": np.sum([one.graph.degrees for one in seen], axis=0),
        }
        return Choice(chosen, columns=columns)

    def look(
        self, vectors: NDArray[np.float32], classes: Rows, rng: np.random.Generator
    ) -> list[Seen]:
        """Build the graphs, train, and find who looks at whom; one of each a network.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d)
            With columns scaled to [0, 1].
        classes : ndarray of int64, shape (n,)
            0 to C - 1, each there at least once.
        rng : numpy.random.Generator
        """
        shown = _sample(classes, self.train_rows, rng)
        seen = []
        for views in self._views(vectors.shape[1], rng):
            graph = self.build(vectors, classes, rng, views)
            if classes.max() == 0:  # nothing to learn: the same attention to all
                attention = 1 / (graph.degrees[graph.receivers] + 1)
                seen.append(Seen(graph, attention, np.ones(len(vectors)), 1.0))
                continue
            X, y, small = vectors[shown], classes[shown], graph
            if len(X) < len(vectors):
                small = self.build(X, y, rng, views)
            fitted = fit(X, y, small, self, rng)
            attention, odds = attention_of(vectors, graph, fitted.layers)
            own = odds[np.arange(len(vectors)), classes]
            seen.append(Seen(graph, attention, own, fitted.accuracy))
        return seen

    def pick(self, seen: Sequence[Seen], classes: Rows, n: int) -> tuple[Rows, Floats]:
        """Choose `n` rows by what the networks have seen, and give every row its importance."""
        if self.same_class:
            seen = [one.within(classes) for one in seen]
        rule = self.aggregation
        if rule == "confidence" and classes.any():
            worths = [one.odds for one in seen]
        else:
            rule = "sum" if rule in ("confidence", "coverage") else rule
            worths = [importance(one.attention, one.graph, rule) for one in seen]
        worth = _settle(worths[0]) if len(worths) == 1 else _mean_rank(worths)
        groups = classes if self.quota else np.zeros_like(classes)
        counts = quotas(np.bincount(groups), n)
        if self.aggregation == "coverage":
            return cover([(one.graph, one.attention) for one in seen], groups, counts), worth
        return best_of_classes(worth, groups, counts), worth

    def _views(self, dimensions: int, rng: np.random.Generator) -> list[list[Columns]]:
        """Give, for every network, the columns of each view that its graph is built on."""
        if self.graph != "mv-hash":
            return [[slice(None)]]
        count = min(dimensions, max(2, dimensions // 2))
        halves: list[Columns] = [
            np.sort(rng.choice(dimensions, count, replace=False)) for _ in range(self.views)
        ]
        return [[half] for half in halves] if self.combine == "ranks" else [halves]

    def build(
        self,
        vectors: NDArray[np.float32],
        classes: Rows,
        rng: np.random.Generator,
        views: Sequence[Columns] = (slice(None),),
    ) -> Graph:
        """Build the graph that the knobs ask for.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d)
            With columns scaled to [0, 1].
        classes : ndarray of int64, shape (n,)
        rng : numpy.random.Generator
        views : sequence
            The columns that rows are compared on; the edges of several views are joined.
        """
        rule = Rule(self.similarity, self.percentile, self.neighbours)
        if self.graph == "knn":
            return edges.nearest_graph(vectors, rule)
        mask = 0.5 if self.graph == "chunk" else 0.0
        found = [
            pair
            for seen in (np.ascontiguousarray(vectors[:, columns]) for columns in views)
            for parts in self._parts(seen, classes, rng)
            for pair in edges.pairs_of_parts(seen, parts, rule, mask=mask, rng=rng)
        ]
        return edges.join(found, len(vectors))

    def _parts(
        self, vectors: NDArray[np.float32], classes: Rows, rng: np.random.Generator
    ) -> Iterator[list[Rows]]:
        """Yield the parts of every round or level, inside which rows are compared."""
        rows, dimensions = vectors.shape
        if self.graph == "dmb":
            for _ in range(self.rounds):
                yield edges.batches(classes, self.batch, rng)
        elif self.graph == "chunk":
            yield edges.chunks(rows, self.batch, rng)
        elif self.graph == "full":
            yield [np.arange(rows)]
        else:
            coarse = [self.coarse_bits * (level + 1) for level in range(self.levels)]
            for bits in [self.bits] if self.graph == "sl-hash" else coarse:
                codes = edges.bit_codes(vectors, edges.directions(bits, dimensions, rng))
                yield edges.buckets(codes, self.batch, rng)


_WHOLE = {
    "batch": (2, 4_096),
    "rounds": (1, 1_000),
    "bits": (0, 62),
    "coarse_bits": (1, 62),
    "levels": (1, 62),
    "views": (1, 1_000),
    "hidden": (1, 4_096),
    "layers": (1, 64),
    "heads": (1, 64),
    "output_heads": (1, 64),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "train_rows": (2, 10_000_000),
}


# --- which rows -----------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What one network looks at.

    Attributes
    ----------
    graph : Graph
    attention : ndarray of float64, shape (e,)
        A_ij of every edge, from receiver i to sender j.
    odds : ndarray of float64, shape (n,)
        The probability that it gives to each row's class.
    accuracy : float
        Of the network on its validation rows; 1 where there is one class and no network.
    """

    graph: Graph
    attention: Floats
    odds: Floats
    accuracy: float

    def within(self, classes: Rows) -> Seen:
        """Leave out what rows of other classes pay."""
        same = classes[self.graph.receivers] == classes[self.graph.senders]
        return self._replace(graph=self.graph.keep(same), attention=self.attention[same])


def importance(attention: Floats, graph: Graph, rule: Aggregation = "sum") -> Floats:
    """Give each row what the attention paid to it comes to.

    Parameters
    ----------
    attention : ndarray of float64, shape (e,)
        A_ij of every edge, from receiver i to sender j; what rows pay to themselves is no part.
    graph : Graph
    rule : {'sum', 'mean', 'max', 'entropy'}
        'sum': I_j = sum_i A_ij. 'mean': I_j over the number of receivers. 'max': max_i A_ij.
        'entropy': - sum_i p_ij log p_ij with p_ij = A_ij / I_j.

    Returns
    -------
    ndarray of float64, shape (n,)
        0 for a row without neighbours.

    Examples
    --------
    A star of three leaves, every row paying the same to itself and its neighbours:

    >>> star = edges.join([(np.zeros(3, np.int64), np.arange(1, 4))], 4)
    >>> importance(np.array([1 / 4] * 3 + [1 / 2] * 3), star).tolist()
    [1.5, 0.25, 0.25, 0.25]
    """
    rows = graph.rows
    total = np.bincount(graph.senders, attention, minlength=rows).astype(np.float64)
    if rule == "mean":
        return np.asarray(total / np.maximum(np.bincount(graph.senders, minlength=rows), 1))
    if rule == "max":
        largest = np.zeros(rows)
        np.maximum.at(largest, graph.senders, attention)
        return largest
    if rule == "entropy":
        share = attention / np.maximum(total[graph.senders], np.finfo(np.float64).tiny)
        logs = np.log(np.maximum(share, np.finfo(np.float64).tiny))
        return np.maximum(np.bincount(graph.senders, -share * logs, minlength=rows), 0)
    return total


def cover(looks: Sequence[tuple[Graph, Floats]], classes: Rows, counts: Rows) -> Rows:
    """Choose rows one by one, each for the attention that no earlier one gets.

    A row j gains the sum over networks and rows i not chosen of max(0, A_ij - the most that i
    pays to a chosen row). The row with the highest gain whose class has not given its share is
    next; ties go to the lowest index. A gain can only fall, so an earlier one is a bound, and few
    are worked out again for each pick.

    Parameters
    ----------
    looks : sequence of (Graph, ndarray of float64)
        The graph and the attention of every edge, one of each a network.
    classes : ndarray of int64, shape (n,)
    counts : ndarray of int64, shape (k,)
        Rows that each class gives, at most all that it has.

    Examples
    --------
    Two like hubs and a lone pair: the second hub adds nothing.

    >>> pairs = np.array([0, 0, 1, 1, 4]), np.array([2, 3, 2, 3, 5])
    >>> graph = edges.join([pairs], 6)
    >>> attention = 1 / (graph.degrees[graph.receivers] + 1)
    >>> cover([(graph, attention)], np.zeros(6, np.int64), np.array([2])).tolist()
    [0, 4]
    """
    rows = len(classes)
    receivers = np.concatenate([graph.receivers + at * rows for at, (graph, _) in enumerate(looks)])
    senders = np.concatenate([graph.senders for graph, _ in looks])
    paid = np.concatenate([attention for _, attention in looks])
    gains = np.round(np.bincount(senders, paid, rows), 10)
    order = np.argsort(senders, kind="stable")
    receivers, paid = receivers[order], paid[order]
    starts = np.searchsorted(senders[order], np.arange(rows + 1)).tolist()
    heap = list(zip((-gains).tolist(), range(rows), strict=True))
    heapq.heapify(heap)
    served = np.zeros(len(looks) * rows)
    fresh, left, owner = [0] * rows, counts.tolist(), classes.tolist()
    chosen: list[int] = []
    while len(chosen) < counts.sum():
        _, row = heapq.heappop(heap)
        if not left[owner[row]]:
            continue
        edges_in = slice(starts[row], starts[row + 1])
        lookers, amounts = receivers[edges_in], paid[edges_in]
        if fresh[row] < len(chosen):
            fresh[row] = len(chosen)
            gain = np.maximum(amounts - served[lookers], 0).sum()
            heapq.heappush(heap, (-round(float(gain), 10), row))
            continue
        chosen.append(row)
        left[owner[row]] -= 1
        served[lookers] = np.maximum(served[lookers], amounts)
        served[row::rows] = 1  # a chosen row needs no other
    return np.array(chosen, dtype=np.int64)


def best_of_classes(worth: Floats, classes: Rows, counts: Rows) -> Rows:
    """Take the `counts[c]` rows of class c that are worth most, and order them all by worth.

    Examples
    --------
    >>> worth, classes = np.array([0.1, 0.2, 0.9, 0.9, 0.7]), np.array([0, 0, 1, 1, 1])
    >>> best_of_classes(worth, classes, np.array([1, 1])).tolist()
    [2, 1]
    """
    chosen = np.sort(draw_within(classes, counts, worth))
    best: Rows = chosen[np.argsort(-worth[chosen], kind="stable")]
    return best


def _classes_of(pool: Pool) -> Rows:
    """Give each row the number, from 0, of its class; rows without one are a class too."""
    assert pool.classes is not None  # the base has seen to it
    numbers: Rows = np.unique(pool.classes.codes, return_inverse=True)[1].astype(np.int64)
    return numbers


def _sample(classes: Rows, size: int, rng: np.random.Generator) -> Rows | slice:
    """Draw rows to learn from, of every class its share and at least one."""
    sizes = np.bincount(classes)
    size = max(size, len(sizes))
    if len(classes) <= size:
        return slice(None)
    return np.sort(best_of_classes(rng.random(len(classes)), classes, quotas(sizes, size)))


def _settle(worth: Floats) -> Floats:
    """Round to ten digits of the largest: sums in another order leave no other ranking."""
    top = float(np.abs(worth).max(initial=0))
    return np.round(worth / top, 10) * top if top > 0 else worth


def _mean_rank(worths: list[Floats]) -> Floats:
    """Average the ranks, scaled to (0, 1], that each view gives."""
    from scipy.stats import rankdata

    ranks = [rankdata(_settle(worth)) / len(worth) for worth in worths]
    return _settle(np.mean(ranks, axis=0))


# --- the network ----------------------------------------------------------------------------------


class Layer(NamedTuple):
    """Parameters of one layer of attention, float64.

    Attributes
    ----------
    weight : Tensor, shape (inputs, heads, outputs)
        W: in every head z_i = W x_i.
    receive, send : Tensor, shape (heads, outputs)
        u and v: e_ij = LeakyReLU(u . z_i + v . z_j), with slope 0.2 below zero.
    """

    weight: torch.Tensor
    receive: torch.Tensor
    send: torch.Tensor


class Wiring(NamedTuple):
    """The edges of a graph and one from each row to itself, ready for the network.

    Attributes
    ----------
    receivers, senders : Tensor of int64, shape (e + n,)
        Ordered by receiver.
    blocks : list of (int, int, int, int)
        First and last (excluded) receiver, first and last edge: what is worked on at once.
    """

    receivers: torch.Tensor
    senders: torch.Tensor
    blocks: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, graph: Graph, most: int = _EDGE_BLOCK) -> Wiring:
        """Wire a graph, in blocks of about `most` edges."""
        import torch

        own = np.arange(graph.rows)
        receivers = np.concatenate([graph.receivers, own])
        senders = np.concatenate([graph.senders, own])
        order = np.argsort(receivers, kind="stable")
        starts = np.searchsorted(receivers[order], np.arange(graph.rows + 1))
        cuts = np.searchsorted(starts[:-1], np.arange(0, len(order), most))
        rows = np.unique(np.append(cuts, graph.rows)).tolist()
        blocks = [(a, b, int(starts[a]), int(starts[b])) for a, b in pairwise(rows)]
        return cls(torch.from_numpy(receivers[order]), torch.from_numpy(senders[order]), blocks)


class Fitted(NamedTuple):
    """A trained network.

    Attributes
    ----------
    layers : list of Layer
    accuracy : float
        On the validation rows, a tenth of every class; where there are none, on all rows.
    epochs : int
        Steps taken.
    """

    layers: list[Layer]
    accuracy: float
    epochs: int


def make_layers(
    dimensions: int, classes: int, knobs: GraphAttention, generator: torch.Generator
) -> list[Layer]:
    """Draw the parameters, uniform, as Glorot and Bengio (2010) scale them."""
    import torch

    def draw(shape: tuple[int, ...], inputs: int, outputs: int) -> torch.Tensor:
        bound = (6 / (inputs + outputs)) ** 0.5
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        return torch.mul(drawn - 0.5, 2 * bound)

    shapes = [(knobs.heads, knobs.hidden)] * knobs.layers + [(knobs.output_heads, classes)]
    layers, width = [], dimensions
    for heads, size in shapes:
        weight = draw((width, heads, size), width, heads * size)
        layers.append(Layer(weight, draw((heads, size), size, 1), draw((heads, size), size, 1)))
        width = heads * size
    return layers


def forward(
    x: torch.Tensor,
    layers: Sequence[Layer],
    wiring: Wiring,
    drop: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    layers : sequence of Layer
        Heads are joined and pass an ELU, but for the last layer, where their mean is taken.
    wiring : Wiring
    drop : callable, optional
        Dropout, on hidden values.

    Returns
    -------
    logits : Tensor, shape (n, classes)
    attention : Tensor, shape (e + n,)
        Of every edge of the wiring: the mean over layers of the mean over heads.
    """
    import torch

    paid = []
    for layer in layers:
        # Float64 all through: sums in another order (of other threads) then change no ranking.
        flat = layer.weight.flatten(1)
        blocks = range(0, len(x), _EDGE_BLOCK)
        z = torch.cat([x[at : at + _EDGE_BLOCK].to(flat.dtype) @ flat for at in blocks])
        z = z.reshape(len(x), *layer.send.shape)
        parts = [attend(z, layer, wiring, block) for block in wiring.blocks]
        out = torch.cat([part for part, _ in parts])
        paid.append(torch.cat([alpha.mean(1) for _, alpha in parts]))
        if layer is not layers[-1]:
            x = torch.nn.functional.elu(out.flatten(1))
            x = x if drop is None else drop(x)
    return out.mean(1), torch.stack(paid).mean(0)


def attend(
    z: torch.Tensor, layer: Layer, wiring: Wiring, block: tuple[int, int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Let the receivers of a block look at their senders.

    Parameters
    ----------
    z : Tensor, shape (n, heads, outputs)
    layer : Layer
    wiring : Wiring
    block : (int, int, int, int)
        One of the wiring's, of r receivers and e edges.

    Returns
    -------
    out : Tensor, shape (r, heads, outputs)
        sum_j alpha_ij z_j.
    alpha : Tensor, shape (e, heads)
        Softmax of e_ij over the senders j of receiver i.
    """
    import torch

    first, last, start, end = block
    receivers, senders = wiring.receivers[start:end] - first, wiring.senders[start:end]
    pull = (z[first:last] * layer.receive).sum(-1).index_select(0, receivers)
    push = (z * layer.send).sum(-1).index_select(0, senders)
    scores = torch.nn.functional.leaky_relu(pull + push, 0.2)
    # Each receiver's largest score is taken off first, so that no exponential overflows.
    top = scores.new_full((last - first, scores.shape[1]), -torch.inf)
    top = top.scatter_reduce(0, receivers[:, None].expand_as(scores), scores.detach(), "amax")
    odds = torch.exp(scores - top.index_select(0, receivers))
    total = torch.zeros_like(top).index_add(0, receivers, odds)
    alpha = odds / total.index_select(0, receivers)
    messages = alpha[:, :, None] * z.index_select(0, senders)
    return torch.zeros_like(z[first:last]).index_add(0, receivers, messages), alpha


def fit(
    vectors: NDArray[np.float32],
    classes: Rows,
    graph: Graph,
    knobs: GraphAttention,
    rng: np.random.Generator,
) -> Fitted:
    """Train a network to tell the classes, and keep it as it was at its best.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    classes : ndarray of int64, shape (n,)
    graph : Graph
    knobs : GraphAttention
    rng : numpy.random.Generator
        Draws the validation rows, and seeds the network's parameters and dropout.

    Examples
    --------
    >>> X = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    >>> classes = np.repeat([0, 1], 20)
    >>> knobs, rng = GraphAttention(dropout=0.0), np.random.default_rng(0)
    >>> fit(X, classes, knobs.build(X, classes, rng), knobs, rng).accuracy
    1.0
    """
    import torch

    held = held_out(classes, rng)
    generator = torch.Generator().manual_seed(seed_of(rng))
    x, y = torch.from_numpy(vectors.astype(np.float64)), torch.from_numpy(classes)
    taught = torch.from_numpy(np.flatnonzero(~held))
    judged = torch.from_numpy(np.flatnonzero(held)) if held.any() else taught
    sizes = torch.bincount(y[taught], minlength=int(classes.max()) + 1).to(x.dtype)
    # Each class counts the same, however many rows it has.
    balance = len(taught) / (len(sizes) * sizes.clamp(min=1))
    wiring = Wiring.of(graph)
    layers = make_layers(x.shape[1], len(sizes), knobs, generator)
    parameters = [part.requires_grad_() for layer in layers for part in layer]
    optimizer = torch.optim.Adam(parameters, lr=knobs.rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=_PLATEAU - 1, threshold=0.0, min_lr=min(1e-5, knobs.rate)
    )

    def drop(values: torch.Tensor) -> torch.Tensor:
        kept = torch.rand(values.shape, generator=generator, dtype=values.dtype) >= knobs.dropout
        return values * kept / (1 - knobs.dropout)

    def loss_of(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits[rows], y[rows], balance)

    best, accuracy, lowest, since, epoch = layers, 0.0, np.inf, 0, 0
    while epoch < knobs.epochs and since < knobs.patience:
        epoch += 1
        optimizer.zero_grad()
        loss_of(forward(x, layers, wiring, drop)[0], taught).backward()
        optimizer.step()
        with torch.no_grad():
            logits, _ = forward(x, layers, wiring)
            loss = float(loss_of(logits, judged))
        since += 1
        if loss < lowest:
            best = [Layer(*(part.detach().clone() for part in layer)) for layer in layers]
            accuracy = float((logits.argmax(1) == y)[judged].to(x.dtype).mean())
            lowest, since = loss, 0
        plateau.step(loss)
    return Fitted(best, accuracy, epoch)


def attention_of(
    vectors: NDArray[np.float32], graph: Graph, layers: Sequence[Layer]
) -> tuple[Floats, Floats]:
    """Show a network all rows, some at a time.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    graph : Graph
    layers : sequence of Layer

    Returns
    -------
    attention : ndarray of float64, shape (e,)
        A_ij of every edge of the graph.
    probabilities : ndarray of float64, shape (n, classes)
    """
    import torch

    wiring = Wiring.of(graph)
    with torch.no_grad():
        logits, paid = forward(torch.from_numpy(vectors), layers, wiring)
        probabilities: Floats = torch.softmax(logits, 1).numpy()
    attention: Floats = paid[wiring.receivers != wiring.senders].numpy()
    return attention, probabilities


def held_out(classes: Rows, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark a tenth of the rows of every class, rounded, to judge the network by.

    Examples
    --------
    >>> np.flatnonzero(held_out(np.repeat([0, 1], [10, 4]), np.random.default_rng(0))) < 10
    array([ True])
    """
    tenth = np.rint(np.bincount(classes) / 10).astype(np.int64)
    held = np.zeros(len(classes), dtype=bool)
    held[best_of_classes(rng.random(len(classes)), classes, tenth)] = True
    return held
