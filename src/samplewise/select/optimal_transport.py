"""Rows that the pool would have to gain to look like the target.

How much it costs to move the mass of the pool onto the target (optimal transport) changes as a row
of the pool gains mass; the rows whose gain lowers it most are chosen. Unlike a match of the
target's distribution, that favours what the target has and the pool lacks. Use it to choose texts
for a short warm-up of a model that was trained on something like the pool, before it is
fine-tuned on the target. Where the pool already looks like the target there is nothing to gain, and
the order is noise; with far fewer rows of use than the budget, drop near duplicates first.

Time O(n m d) for the costs of n rows to m target rows and O(n m) an iteration; memory O((n + m) d),
and at most 512 MB of costs.
Source: Get more for less (GOT-D), arXiv 2405.02774.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.measure.transport import (
    Cost,
    Transport,
    calibrated_gradient,
    exact_transport,
    nearest_costs,
    pairwise_costs,
    sinkhorn,
)
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["OptimalTransport", "rank_by_gradient"]

_FEW = 10_000  # pairs of rows up to which 'auto' is exact
_MOST = 500_000  # pairs of rows up to which 'exact' can be asked


@dataclass(frozen=True)
class OptimalTransport(Selector):
    """The rows that bring the pool's distribution nearest to the target's.

    Row i has the gradient g_i = n / (n - 1) (f_i - mean f), where f is the pool's dual potential
    in the optimal transport from pool to target, all rows of each weighted alike. The rows of
    lowest gradient are chosen. Ties go to the lowest index. Deterministic: the seed is not used.

    Parameters
    ----------
    metric : {'euclidean', 'sqeuclidean', 'cosine'}
        What it costs to move a row to a target row: their distance, its square, or 1 less their
        cosine similarity.
    solver : {'auto', 'exact', 'sinkhorn'}
        'exact' is a linear program, for at most 500,000 pairs of rows (half a minute);
        'sinkhorn' smooths the problem by `epsilon`; 'auto' is exact up to 10,000 pairs.
    epsilon : float
        Smoothing, as a part of the mean cost. The paper names no value; 0.05 is our own choice.
    iterations : int
        The most Sinkhorn iterations; there is a warning where they are too few.
    tolerance : float
        Sinkhorn has converged once no more than this part of the mass is in the wrong place.
    mode : {'attract', 'repel'}
        'repel' takes the rows of highest gradient, for a target that the chosen rows should not
        be like (the paper's "contrast"; that this is its sign is our own reading). Outliers of
        the pool come first then: see `max_distance`.
    max_distance : float, optional
        Rows that cost more than this to move to their nearest target row come last. In the unit
        of `metric`.

    References
    ----------
    Get more for less: Principled Data Selection for Warming Up Fine-Tuning in LLMs,
    arXiv 2405.02774.

    Examples
    --------
    Half of the target is at 5, where the pool has a tenth of its rows:

    >>> import numpy as np, samplewise as sw
    >>> pool = sw.Pool.from_arrays(np.array([[0.0]] * 18 + [[5.0]] * 2))
    >>> target = sw.Pool.from_arrays(np.array([[0.0], [5.0]]))
    >>> sw.select(pool, 2, "optimal-transport", target=target).indices.tolist()
    [18, 19]
    """

    name: ClassVar[str] = "optimal-transport"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "target")
    aliases: ClassVar[tuple[str, ...]] = ("got-d",)
    paper: ClassVar[str] = "2405.02774"
    cost: ClassVar[str] = "O(n m d + i n m) for m target rows and i iterations"

    metric: Cost = "euclidean"
    solver: Literal["auto", "exact", "sinkhorn"] = "auto"
    epsilon: float = 0.05
    iterations: int = 1_000
    tolerance: float = 1e-6
    mode: Literal["attract", "repel"] = "attract"
    max_distance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("epsilon", "tolerance", "iterations", "max_distance"):
            value = getattr(self, knob)
            if value is not None and not 0 < value < np.inf:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {value}", mend="give a finite number above 0"
                )

    def check(self, pool: Pool) -> None:
        """Refuse, besides, more pairs of rows than the exact solver takes."""
        super().check(pool)
        pairs = len(pool) * len(pool.target or ())
        if self.solver == "exact" and pairs > _MOST:
            raise UsageError(
                f"{self.name}: knob 'solver' is 'exact', and there are {pairs:,} pairs of rows",
                mend=f"take 'sinkhorn', or at most {_MOST:,} pairs",
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `gradient`, `potential`, and `distance` to the target."""
        assert pool.embeddings is not None
        assert pool.target is not None
        assert pool.target.embeddings is not None
        source, target = pool.embeddings, pool.target.embeddings
        potential = self.solve(source, target).source
        gradient = calibrated_gradient(potential)
        distance = nearest_costs(source, target, self.metric)
        far = None if self.max_distance is None else distance > self.max_distance
        return Choice(
            rank_by_gradient(gradient, self.mode, far)[:n],
            columns={"gradient": gradient, "potential": potential, "distance": distance},
        )

    def solve(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> Transport:
        """Solve the transport from one set of vectors to another, by the solver of the knobs."""
        few = len(source) * len(target) <= _FEW
        if self.solver == "exact" or (self.solver == "auto" and few):
            return exact_transport(pairwise_costs(source, target, self.metric))
        return sinkhorn(
            source,
            target,
            cost=self.metric,
            epsilon=self.epsilon,
            iterations=self.iterations,
            tolerance=self.tolerance,
        )


def rank_by_gradient(
    gradient: NDArray[np.float64],
    mode: Literal["attract", "repel"] = "attract",
    last: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Order rows by gradient, ties by index.

    Parameters
    ----------
    gradient : ndarray of float64, shape (n,)
    mode : {'attract', 'repel'}
        Lowest first, or highest first.
    last : ndarray of bool, shape (n,), optional
        Rows that come after all others.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> rank_by_gradient(np.array([0.5, -1.0, 0.5, 0.0])).tolist()
    [1, 3, 0, 2]
    >>> rank_by_gradient(np.array([0.5, -1.0, 0.5, 0.0]), "repel").tolist()
    [0, 2, 3, 1]
    """
    keys = gradient if mode == "attract" else -gradient
    # Rows with the same vector differ by rounding alone, which must not order them.
    spread = float(np.abs(keys).max()) or 1.0
    keys = np.round(keys / spread, 9)
    return np.lexsort((keys,) if last is None else (keys, last)).astype(np.int64)
