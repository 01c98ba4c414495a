"""Rows in rounds: each round moves the budget towards clusters the model still learns from.

The rows are clustered once. Every round draws some rows from each cluster, the caller says what
each was worth (trains on them and scores the result), and the next round draws more from clusters
that were worth more. Use it when the pool holds clusters of junk, or of what the model already
knows, and a score of that can be had between rounds; else `kmeans-quality` asks less of you. Where
every cluster is worth the same it stays uniform over clusters.

Cost: O(n k d) time for the clustering and O(n log n) for the draws, O(n + k d) memory.
Source: Algorithm 1 of arXiv 2409.11378. The paper leaves open how to round, what a cluster gets
that was never scored, and what happens when one is exhausted; each rule here is named where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import InputError, UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Floats, Indices, Selector
from samplewise.select.clusters import Clustered, draw_within

if TYPE_CHECKING:
    from samplewise.engine.base import Engine
    from samplewise.measure.kmeans import Clustering

__all__ = [
    "IterativeRefinement",
    "RefinementSession",
    "draw_counts",
    "perplexity_outcome",
    "refined_weights",
]

WeightRule = Literal["softmax", "paper"]

_RULES = ("softmax", "paper")
_INSIDE = ("random", "quality", "closest")


@dataclass(frozen=True)
class IterativeRefinement(Clustered):
    """Rows in rounds, each drawing more from the clusters that paid in the rounds before.

    Parameters
    ----------
    clusters : int, 'silhouette' or None
        As in `KMeansRandom`.
    allocation : {'equal', 'proportional'}
        Weights of the clusters in the first round: all the same (Algorithm 1 of the paper), or
        by size.
    iterations, restarts : int
        As in `KMeansRandom`.
    rounds : int, default 3
        Rounds the budget is spread over, as evenly as whole rows allow.
    weight_rule : {'softmax', 'paper'}
        How mean outcomes become weights of clusters. ``softmax``, the rule of the paper's code,
        takes any numbers; ``paper``, the ratio rule of its text, breaks where a mean is negative,
        which a difference of two rewards often is.
    weight_temperature : float, default 1.0
        Divides the mean outcomes before the softmax. One suits outcomes that differ by a few
        units between clusters, as those of reward models do; give less where they differ by less.
    inside : {'random', 'quality', 'closest'}
        Which rows of a cluster come first: any (the paper's code), those a softmax of their score
        draws (its text), or those nearest to the centroid.
    temperature : float, default 1.0
        Of that softmax: towards 0 the best come first, towards infinity any.

    References
    ----------
    arXiv 2409.11378, "Diversify and Conquer: Diversity-Centric Data Selection with Iterative
    Refinement".

    Examples
    --------
    Junk that lies together is left after the first round:

    >>> import numpy as np
    >>> import samplewise as sw
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(np.eye(4), 50, axis=0) + rng.normal(scale=0.01, size=(200, 4))
    >>> pool = sw.Pool.from_arrays(X)
    >>> def outcome(pool, draws):  # rows 150 and on are junk
    ...     return np.where(draws < 150, 0.0, -5.0)
    >>> selection = sw.select(
    ...     pool, 60, "iterative-refinement", clusters=4, outcome=outcome, rng=0)
    >>> junk = selection.indices >= 150
    >>> bool(junk[:20].sum() > junk[20:].sum())
    True
    """

    name: ClassVar[str] = "iterative-refinement"
    aliases: ClassVar[tuple[str, ...]] = ("iterative-kmq",)
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "outcomes")

    allocation: Literal["proportional", "equal"] = "equal"
    rounds: int = 3
    weight_rule: Literal["softmax", "paper"] = "softmax"
    weight_temperature: float = 1.0
    inside: Literal["random", "quality", "closest"] = "random"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, choices in (("weight_rule", _RULES), ("inside", _INSIDE)):
            if getattr(self, knob) not in choices:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {getattr(self, knob)!r}",
                    mend=f"one of {', '.join(choices)}",
                )
        if self.rounds < 1:
            raise UsageError(f"{self.name}: knob 'rounds' is {self.rounds}", mend="give 1 or more")
        for knob in ("weight_temperature", "temperature"):
            if not getattr(self, knob) > 0:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {getattr(self, knob)}", mend="give more than 0"
                )
        if self.inside == "quality":
            # The base checks the pool's score for every method that names it here.
            object.__setattr__(self, "needs", (*type(self).needs, "score"))

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Refuse: outcomes are needed between rounds, so use `start`, or `select(outcome=...)`.

        Raises
        ------
        UsageError
            Always.
        """
        return Selector.choose(self, pool, n, rng, engine)

    def start(
        self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine
    ) -> RefinementSession:
        """Cluster the pool and open a session that draws `n` of its rows in rounds.

        Parameters
        ----------
        pool : Pool
            Rows with embeddings, and a score where `inside` is ``quality``.
        n : int
            1 <= n <= len(pool).
        rng : numpy.random.Generator
            The session keeps it and draws from it in every `ask`.
        engine : Engine
            Where the rows are assigned to clusters.
        """
        clustering = self.cluster(pool, n, rng, engine)
        return RefinementSession(
            clustering.labels,
            self.keys(pool, clustering, rng),
            n,
            self.rounds,
            self.weight_rule,
            self.weight_temperature,
            first=clustering.sizes if self.allocation == "proportional" else None,
            rng=rng,
        )

    def keys(self, pool: Pool, clustering: Clustering, rng: np.random.Generator) -> Floats:
        """Give each row its key; inside a cluster the highest are drawn first."""
        if self.inside == "closest":
            return -clustering.distances.astype(np.float64)
        noise = rng.gumbel(size=len(pool))
        if self.inside == "random":
            return noise
        assert pool.score is not None
        # Sorting by logit plus Gumbel noise is drawing one by one without replacement, and so
        # are the rounds that each take the next rows of that order.
        keys: Floats = (pool.score - pool.score.max()) / self.temperature + noise
        return keys


class RefinementSession:
    """A selection in rounds over rows that are clustered already.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Cluster of each row, from 0.
    keys : ndarray of float, shape (n,)
        Which rows of a cluster are drawn first: those of the highest key.
    n : int
        Rows to draw in all, at most ``len(labels)``.
    rounds : int
        Rounds they are spread over.
    rule : {'softmax', 'paper'}
    temperature : float
        Of the softmax rule.
    first : ndarray of float, shape (k,), optional
        Weights of the first round, in any scale; by default all equal.
    rng : numpy.random.Generator
        Draws how many rows each cluster gives.

    Attributes
    ----------
    weights : list of ndarray of float64, shape (k,)
        Weights of the clusters, w^0 (all equal) to the latest.

    Examples
    --------
    >>> labels = np.repeat([0, 1], 10)
    >>> session = RefinementSession(labels, -np.arange(20.0), 8, 2, rng=np.random.default_rng(0))
    >>> session.ask()
    array([ 0, 10,  1, 11])
    >>> session.tell(np.array([0, 10, 1, 11]), np.array([3.0, 0.0, 3.0, 0.0]))
    >>> session.weights[-1].round(3)
    array([0.953, 0.047])
    >>> session.ask()
    array([2, 3, 4, 5])
    >>> session.choice().columns["round"][:6]
    array([0, 0, 1, 1, 1, 1], dtype=int32)
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        keys: Floats,
        n: int,
        rounds: int,
        rule: WeightRule = "softmax",
        temperature: float = 1.0,
        *,
        first: NDArray[Any] | None = None,
        rng: np.random.Generator,
    ) -> None:
        self._labels = labels
        self._keys = keys
        k = int(labels.max()) + 1 if first is None else len(first)
        self._plan = _even(n, rounds)
        self._rule: WeightRule = rule
        self._temperature = temperature
        self._rng = rng
        self._drawn: list[Indices] = []
        self._round = np.full(len(labels), -1, np.int32)
        self._outcome = np.full(len(labels), np.nan)
        start = np.ones(k) if first is None else np.asarray(first, np.float64)
        self.weights: list[Floats] = [start / start.sum()]

    def ask(self) -> Indices:
        """Draw the rows of the next round; empty when the budget is drawn.

        Returns
        -------
        ndarray of int64
            Rows that no round drew before.

        Raises
        ------
        UsageError
            If the round before was not told.
        """
        number = len(self._drawn)
        if number == len(self._plan):
            return np.empty(0, np.int64)
        if len(self.weights) <= number:
            raise UsageError(
                f"round {number - 1} was asked for and not told",
                mend="call tell(draws, outcomes) before the next ask()",
            )
        left = np.where(self._round < 0, self._labels, -1)
        room = np.bincount(left[left >= 0], minlength=len(self.weights[0]))
        counts = draw_counts(self._plan[number], self.weights[-1], room, self._rng)
        draws = draw_within(left, counts, self._keys)
        self._round[draws] = number
        self._drawn.append(draws)
        return draws.copy()

    def tell(self, draws: Indices, outcomes: ArrayLike) -> None:
        """Take what came back, and weigh the clusters anew.

        Rows of earlier rounds may be told again, with what the latest model makes of them; a
        cluster counts with the mean of the latest outcome of each of its rows.

        Parameters
        ----------
        draws : ndarray of int64, shape (m,)
            All the rows of the last round, and any of earlier ones.
        outcomes : array_like of float, shape (m,)
            Higher where the model still learns more from such a row.

        Raises
        ------
        UsageError
            If no round is open, or `draws` are not the rows it drew.
        InputError
            If there is not one finite number a row, or the rule ``paper`` cannot take them.
        """
        if len(self.weights) != len(self._drawn):
            raise UsageError("there is no open round to tell", mend="call ask() first")
        self._check(draws)
        values = _finite(outcomes, len(draws))
        known = self._outcome.copy()
        known[draws] = values
        means = _means(known, self._labels, len(self.weights[0]))
        latest = refined_weights(self.weights[-1], means, self._rule, self._temperature)
        self._outcome = known
        self.weights.append(latest)

    def choice(self) -> Choice:
        """Give the rows drawn, with the columns ``cluster``, ``round`` and ``outcome``.

        ``round`` is -1 and ``outcome`` NaN where there is none.
        """
        return Choice(
            np.concatenate([np.empty(0, np.int64), *self._drawn]),
            columns={
                "cluster": self._labels.astype(np.int32),
                "round": self._round.copy(),
                "outcome": self._outcome.copy(),
            },
        )

    def _check(self, draws: Indices) -> None:
        told = np.asarray(draws)
        inside = told.ndim == 1 and told.dtype.kind in "iu" and (told >= 0).all()
        known = inside and (told < len(self._round)).all() and (self._round[told] >= 0).all()
        if not known or not np.isin(self._drawn[-1], told).all():
            raise UsageError(
                f"the rows told are not those of round {len(self._drawn) - 1}",
                mend="tell the outcome of every row that ask() gave",
            )


def refined_weights(
    weights: ArrayLike, means: ArrayLike, rule: WeightRule = "softmax", temperature: float = 1.0
) -> Floats:
    """Weigh clusters by the mean outcome of their rows.

    Parameters
    ----------
    weights : array_like of float, shape (k,)
        The weights before; only the rule ``paper`` uses them.
    means : array_like of float, shape (k,)
        Mean outcome of each cluster; NaN where no row of it was drawn. Such a cluster counts with
        the mean over the others (the paper says nothing of it).
    rule : {'softmax', 'paper'}
        ``softmax``: w_j = exp(s_j / temperature) / sum. ``paper``: w_j = s_j w_j / sum.
    temperature : float
        Of the rule ``softmax``.

    Returns
    -------
    ndarray of float64, shape (k,)
        They sum to 1.

    Raises
    ------
    InputError
        If the rule is ``paper`` and a mean is negative, or none is positive.

    Examples
    --------
    >>> refined_weights([1 / 3] * 3, [0.2, -0.1, 0.5]).round(4)
    array([0.3236, 0.2397, 0.4368])
    >>> refined_weights([1 / 3] * 3, [0.2, 0.1, 0.5], "paper")
    array([0.25 , 0.125, 0.625])
    """
    before = np.asarray(weights, dtype=np.float64)
    found = np.asarray(means, dtype=np.float64)
    unknown = np.isnan(found)
    if unknown.all():
        return before.copy()
    found = np.where(unknown, found[~unknown].mean(), found)
    if rule == "softmax":
        with np.errstate(over="ignore"):  # far below the best is weight 0
            after = np.exp((found - found.max()) / temperature)
    else:
        after = found * before
        if (found < 0).any() or not after.sum() > 0:
            raise InputError(
                f"the rule 'paper' needs mean outcomes above 0, and a cluster has {found.min():g}",
                mend="use weight_rule='softmax', which takes any numbers",
            )
    total: Floats = after / after.sum()
    return total


def draw_counts(
    n: int, weights: Floats, room: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how many rows each cluster gives: multinomial, and never more than it has.

    What a cluster cannot give is drawn again among those with room, by their weights, or by their
    room where none of them has any weight.

    Parameters
    ----------
    n : int
        Rows in all, at most ``room.sum()``.
    weights : ndarray of float64, shape (k,)
        0 or more.
    room : ndarray of int, shape (k,)
        Rows left in each cluster.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (k,)
        They sum to `n`.

    Examples
    --------
    >>> draw_counts(10, np.array([0.9, 0.1, 0.0]), np.array([3, 5, 9]), np.random.default_rng(0))
    array([3, 5, 2])
    """
    counts = np.zeros(len(room), np.int64)
    while left := n - int(counts.sum()):
        odds = np.where(room > counts, weights, 0.0)
        if not odds.sum() > 0:
            odds = (room - counts).astype(np.float64)
        more = rng.multinomial(left, odds / odds.sum())
        counts = np.minimum(counts + more, room)
    return counts


def perplexity_outcome(gold: ArrayLike, generated: ArrayLike) -> Floats:
    """Give the outcome of rows from two perplexities: S = -log(PPL(generated) / PPL(gold)).

    Higher where the model still finds the gold answer less likely than its own.

    Parameters
    ----------
    gold, generated : array_like of float, shape (m,)
        Perplexity of the prompt with the row's answer, and with the answer the model gave.

    Returns
    -------
    ndarray of float64, shape (m,)

    Raises
    ------
    InputError
        If the shapes differ, or a perplexity is not a number above 0.

    References
    ----------
    arXiv 2409.11378, section on scorers.

    Examples
    --------
    >>> perplexity_outcome([8.0, 2.0], [4.0, 4.0]).round(3)
    array([ 0.693, -0.693])
    """
    given, made = np.asarray(gold, np.float64), np.asarray(generated, np.float64)
    if given.shape != made.shape:
        raise InputError(f"has shape {made.shape}, and gold {given.shape}", field="generated")
    for name, values in (("gold", given), ("generated", made)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise InputError("holds a perplexity that is not a number above 0", field=name)
    outcome: Floats = np.log(given) - np.log(made)
    return outcome


def _even(n: int, rounds: int) -> list[int]:
    """Split `n` over rounds; the first ones take the remainder, and none is empty."""
    least, more = divmod(n, rounds)
    sizes = [least + (number < more) for number in range(rounds)]
    return [size for size in sizes if size]


def _means(outcome: Floats, labels: NDArray[np.integer], k: int) -> Floats:
    """Mean outcome of each cluster over the rows that have one; NaN where none has."""
    rows = np.flatnonzero(~np.isnan(outcome))
    counts = np.bincount(labels[rows], minlength=k)
    sums = np.bincount(labels[rows], weights=outcome[rows], minlength=k)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _finite(outcomes: ArrayLike, m: int) -> Floats:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.shape != (m,):
        raise InputError(f"outcomes of shape {values.shape} for {m} rows drawn")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"the outcome of draw {place} is {values[place]}, not a finite number")
    return values
