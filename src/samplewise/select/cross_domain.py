"""A fixed budget, most of it from one domain and a part spread over all the others.

Models that are fine-tuned on one domain alone follow its instructions less well than those that
gave a part of the same budget to others. Use it for a specialist: name its domain, and compare a
few shares with `mixture_grid` and `best_share`.

Time O(n log n); memory O(n).
Source: Only-IF, arXiv 2410.04717 (its protocol of mixing at a fixed total).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from samplewise.errors import InputError, UsageError
from samplewise.pool import Pool
from samplewise.select.allocation import allocate
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["BestShare", "CrossDomain", "best_share", "mixture_grid"]


@dataclass(frozen=True)
class CrossDomain(Selector):
    """Random rows of one domain, and of all others for a share of the budget.

    Domains are the sources of the rows; where they have none, their labels. Rows without one are a
    domain of their own.

    Parameters
    ----------
    domain : str, optional
        The domain to specialise in; by default the largest.
    share : float
        From 0 to 1: the part of the budget that goes to the others. Among those the paper tried
        for code models a tenth was best, or near to it; that it is the default is our choice.
    spread : {'equal', 'proportional'}
        How that part is spread over the others: the same for all, or by size. Where a domain has
        too few rows, the rest goes to those that have more.

    References
    ----------
    Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization,
    arXiv 2410.04717.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> labels = ["code"] * 70 + ["chat"] * 20 + ["logic"] * 10
    >>> pool = sw.Pool.from_arrays(np.ones((100, 2)), labels)
    >>> chosen = sw.select(pool, 20, "cross-domain", rng=0, domain="code", share=0.4)
    >>> np.bincount(pool.label.codes[chosen.indices]).tolist()
    [12, 4, 4]
    """

    name: ClassVar[str] = "cross-domain"
    aliases: ClassVar[tuple[str, ...]] = ("only-if",)
    needs: ClassVar[tuple[str, ...]] = ("groups",)
    paper: ClassVar[str] = "2410.04717"
    cost: ClassVar[str] = "O(n log n)"

    domain: str | None = None
    share: float = 0.1
    spread: Literal["equal", "proportional"] = "equal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise UsageError(f"{self.name}: knob 'share' is {self.share}", mend="give 0 to 1")

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `domain`: the code of each row's domain, -1 for none."""
        domains = pool.domains
        assert domains is not None
        codes = domains.codes.astype(np.int64)
        sizes = np.bincount(codes + 1, minlength=len(domains.names) + 1)
        own = self._own(domains.names, sizes, pool.name)
        counts = domain_counts(sizes, own, n, self.share, self.spread)
        shuffled = rng.permutation(len(pool))
        order = shuffled[np.argsort(codes[shuffled], kind="stable")]
        starts = np.cumsum(sizes) - sizes
        parts = [order[start : start + count] for start, count in zip(starts, counts, strict=True)]
        return Choice(rng.permutation(np.concatenate(parts)), columns={"domain": codes})

    def _own(self, names: Sequence[str], sizes: np.ndarray, pool: str) -> int:
        """Find the place of the domain among the counts, which begin with rows of none."""
        if self.domain is None:
            return int(sizes[1:].argmax()) + 1
        if self.domain not in names:
            raise InputError(
                f"{self.name}: there is no domain {self.domain!r}",
                file=pool,
                mend=f"one of {', '.join(sorted(names)[:20])}",
            )
        return list(names).index(self.domain) + 1


@dataclass(frozen=True)
class BestShare:
    """What the results of a grid of shares say.

    Parameters
    ----------
    share : float
        The share with the highest score.
    gain : float
        Its score less that of no share at all, at the same total.
    interior : bool
        Whether it lies between two shares that score less: neither extreme is best.
    """

    share: float
    gain: float
    interior: bool


def domain_counts(
    sizes: np.ndarray, own: int, n: int, share: float, spread: Literal["equal", "proportional"]
) -> np.ndarray:
    """Share `n` rows out: to the own domain and, for a share, to the others.

    Parameters
    ----------
    sizes : ndarray of int64, shape (k,)
    own : int
        Place of the domain to specialise in.
    n : int
        At most the sum of the sizes.
    share : float
    spread : {'equal', 'proportional'}

    Returns
    -------
    ndarray of int64, shape (k,)
        Sums to `n`. What one side has too few rows for, the other takes.

    Examples
    --------
    >>> domain_counts(np.array([50, 3, 40]), 0, 20, 0.5, "equal").tolist()
    [10, 3, 7]
    """
    rest = sizes.copy()
    rest[own] = 0
    others = min(round(share * n), int(rest.sum()))
    others = max(others, n - int(sizes[own]))
    counts = allocate(rest, others, spread) if others else np.zeros(len(sizes), np.int64)
    counts[own] = n - others
    return counts


def mixture_grid(
    total: int, shares: Sequence[float], others: Sequence[str], own: str = "own"
) -> list[dict[str, int]]:
    """Plan mixtures of one total: for every share, the rows of each domain.

    Parameters
    ----------
    total : int
    shares : sequence of float
        Of the total that goes to the others, evenly, from 0 to 1.
    others : sequence of str
        Their names.
    own : str

    Returns
    -------
    list of dict
        Rows by domain; each sums to `total`.

    Raises
    ------
    UsageError
        If a share is not between 0 and 1, or there are no others.

    Examples
    --------
    >>> mixture_grid(20_000, [0, 0.2], ["alpaca", "cot"], "code")
    [{'code': 20000, 'alpaca': 0, 'cot': 0}, {'code': 16000, 'alpaca': 2000, 'cot': 2000}]
    """
    if not others:
        raise UsageError("there are no other domains", mend="name at least one")
    grid = []
    for share in shares:
        if not 0 <= share <= 1:
            raise UsageError(f"a share is {share}", mend="give 0 to 1")
        away = round(share * total)
        each = [away // len(others) + (i < away % len(others)) for i in range(len(others))]
        grid.append({own: total - away, **dict(zip(others, each, strict=True))})
    return grid


def best_share(scores: Mapping[float, float]) -> BestShare:
    """Find the best share of a grid, what it gains at equal total, and whether it lies inside.

    Parameters
    ----------
    scores : mapping of share to score
        With the share 0 among them; higher is better.

    Raises
    ------
    UsageError
        If the share 0, the baseline, is missing.

    Examples
    --------
    >>> best_share({0.0: 64.2, 0.05: 66.2, 0.1: 67.1, 0.25: 64.5})
    BestShare(share=0.1, gain=2.8999999999999915, interior=True)
    """
    if 0 not in scores:
        raise UsageError("the share 0 is missing", mend="measure it: it is what gains are against")
    shares = sorted(scores)
    best = max(shares, key=lambda share: (scores[share], -share))
    inside = best not in (shares[0], shares[-1])
    return BestShare(best, scores[best] - scores[0], inside)
