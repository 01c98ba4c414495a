"""Several drafts a place: the verifiers that reach the best acceptance, and how near others come.

`optimal-multi-draft` keeps independent drafts as often as any verifier could, at any vocabulary.
`greedy-draft` drafts the likeliest tokens and one more, which the simplest verifier keeps as often
as can be; at low temperatures that is often more. Without replacement the optimum is higher than
with it, but only a plan for every outcome is known to reach it here, so
`optimal-multi-draft-without-replacement` is for small vocabularies, and a yardstick.

`acceptance` says what is left to gain: the optimum of every scheme, and each verifier's gap.

Cost: O(V log V) a token; O(V) for greedy drafts. Source: arXiv 2502.18779; the verifier for
independent drafts at any vocabulary is derived here (see `samplewise.decode.zones`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise import registry
from samplewise.decode.base import Choice, Rate, Scheme, Verifier, as_laws
from samplewise.decode.optimal_transport import check_size, choose_by_plan
from samplewise.decode.optimum import acceptance_bound, greedy_law, optimal_acceptance
from samplewise.decode.rejection import accept_chance, remainder
from samplewise.decode.zones import choose_lowest, optimal_zones
from samplewise.errors import UsageError

__all__ = [
    "Acceptance",
    "GreedyDraft",
    "OptimalMultiDraft",
    "OptimalMultiDraftWithoutReplacement",
    "VerifierRate",
    "acceptance",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class GreedyDraft(Verifier):
    """Draft the likeliest tokens and one more, and keep as many as any verifier could.

    References
    ----------
    arXiv 2502.18779

    Examples
    --------
    >>> GreedyDraft().acceptance([0.5, 0.25, 0.25], [0.6, 0.4, 0.0], 2)
    0.75
    """

    name: ClassVar[str] = "greedy-draft"
    aliases: ClassVar[tuple[str, ...]] = ("greedy",)
    paper: ClassVar[str] = "2502.18779"
    cost: ClassVar[str] = "O(V) a token"
    scheme: ClassVar[Scheme] = "greedy"

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Keep the last draft by chance; else draw from the rest, which the others are part of."""
        last = greedy_law(draft, tokens[:-1])
        chances = np.zeros(len(tokens))
        chances[-1] = accept_chance(target[tokens[-1]], last[tokens[-1]])
        return Choice(chances, remainder(target - last, target))

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give the optimum of greedy drafts, which this reaches."""
        return Rate(optimal_acceptance(target, draft, count, self.scheme).rate)


@dataclass(frozen=True)
class OptimalMultiDraft(Verifier):
    """Keep independent drafts as often as any verifier could, at any vocabulary.

    The draft that is chosen has the law that has most in common with the target among all that a
    choice can give; then it is kept, or replaced, as a single draft is. Among 50,000 tokens that
    takes more than ten times as long as `k-seq` (`benchmarks/acceptance.py`).

    References
    ----------
    arXiv 2502.18779 (its optimum; the construction is derived here)

    Examples
    --------
    >>> OptimalMultiDraft().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    0.75
    """

    name: ClassVar[str] = "optimal-multi-draft"
    aliases: ClassVar[tuple[str, ...]] = ("omd",)
    paper: ClassVar[str] = "2502.18779"
    cost: ClassVar[str] = "O(V log V) a token"
    scheme: ClassVar[Scheme] = "with-replacement"

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Choose a draft by the zones of the tokens, and keep it by chance."""
        chosen, chances = draft, np.ones(len(tokens))
        if len(tokens) > 1:
            zones = optimal_zones(target, draft, len(tokens))
            chosen, chances = zones.chosen, choose_lowest(zones, tokens)
        keep = [accept_chance(target[token], chosen[token]) for token in tokens]
        return Choice(chances * keep, remainder(target - chosen, target))

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give the optimum of independent drafts, which this reaches."""
        return Rate(optimal_acceptance(target, draft, count, self.scheme).rate)


@dataclass(frozen=True)
class OptimalMultiDraftWithoutReplacement(Verifier):
    """Keep drafts that all differ as often as any verifier could; for small vocabularies.

    It looks them up in the exact plan, as `spectr` does; more than 10,000 outcomes of the drafts
    are refused. Its acceptance is known at any size.

    References
    ----------
    arXiv 2502.18779

    Examples
    --------
    >>> OptimalMultiDraftWithoutReplacement().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    1.0
    """

    name: ClassVar[str] = "optimal-multi-draft-without-replacement"
    aliases: ClassVar[tuple[str, ...]] = ("omdw",)
    paper: ClassVar[str] = "2502.18779"
    cost: ClassVar[str] = "a linear program a token, of up to V^n rows for n drafts"
    scheme: ClassVar[Scheme] = "without-replacement"

    def check(self, draft: Floats, count: int) -> None:
        """Refuse what no plan can be made for."""
        super().check(draft, count)
        check_size(
            self.name, draft, count, "recursive-rejection-without-replacement or greedy-draft"
        )

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Look up what the plan does with these drafts."""
        return choose_by_plan(target, draft, tokens, self.scheme)

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give the optimum of drafts that all differ, which the plan reaches."""
        return Rate(optimal_acceptance(target, draft, count, self.scheme).rate)


class VerifierRate(NamedTuple):
    """How often a verifier keeps a draft, and how much more it could.

    Attributes
    ----------
    scheme : str
        How its drafts are drawn.
    drafts : int
        How many a place: as many as asked, or as it takes.
    rate : float
        The probability that the next token is one of them; the mean over places.
    error : float
        Its standard error; 0 where nothing was estimated.
    gap : float
        What the scheme's optimum is above it; below 0 by noise alone.
    """

    scheme: Scheme
    drafts: int
    rate: float
    error: float
    gap: float


class Acceptance(NamedTuple):
    """What can be gained with some drafts a place.

    Attributes
    ----------
    drafts : int
        A place.
    places : int
        Over which rates are averaged.
    optimum : dict of str to float
        For each scheme, what the best verifier reaches.
    bound : float
        What independent drafts cannot exceed, by the simpler bound of `acceptance_bound`.
    verifiers : dict of str to VerifierRate
        By name; `rejection`, with its single draft, is the rival of all.
    """

    drafts: int
    places: int
    optimum: dict[Scheme, float]
    bound: float
    verifiers: dict[str, VerifierRate]


def acceptance(target: ArrayLike, draft: ArrayLike, count: int) -> Acceptance:
    """Compare every registered verifier with the best one that could be.

    Parameters
    ----------
    target, draft : array_like, shape (vocabulary,) or (places, vocabulary)
        Laws of the next token, and of the drafts, at one place or at several. They ought to be
        places of texts that the target wrote.
    count : int
        Drafts a place, 1 or more.

    Returns
    -------
    Acceptance

    Raises
    ------
    UsageError
        If the laws are none or of different shapes, or there is no draft.

    Notes
    -----
    It bounds one place at a time, not the tokens that a block of drafts gives.

    References
    ----------
    arXiv 2502.18779

    Examples
    --------
    >>> found = acceptance([0.6, 0.3, 0.1], [0.2, 0.3, 0.5], 2)
    >>> {scheme: round(rate, 3) for scheme, rate in found.optimum.items()}
    {'with-replacement': 0.76, 'without-replacement': 0.886, 'greedy': 0.8}
    >>> round(found.verifiers["k-seq"].rate, 3), round(found.verifiers["rejection"].rate, 3)
    (0.708, 0.6)
    """
    pairs = _pairs(target, draft)
    if count < 1:
        raise UsageError(f"count is {count}", mend="give 1 draft or more")
    schemes = cast(tuple[Scheme, ...], get_args(Scheme))
    optimum = {
        scheme: float(np.mean([optimal_acceptance(p, q, count, scheme).rate for p, q in pairs]))
        for scheme in schemes
    }
    found: dict[str, VerifierRate] = {}
    for cls in registry.methods("decode"):
        if issubclass(cls, Verifier):
            drafts = count if cls.most is None else min(count, cls.most)
            rates = [cls().rate(p, q, drafts) for p, q in pairs]
            rate = float(np.mean([one.value for one in rates]))
            error = math.hypot(*(one.error for one in rates)) / len(rates)
            gap = optimum[cls.scheme] - rate
            found[cls.name] = VerifierRate(cls.scheme, drafts, rate, error, gap)
    bound = float(np.mean([acceptance_bound(p, q, count) for p, q in pairs]))
    return Acceptance(count, len(pairs), optimum, bound, found)


def _pairs(target: ArrayLike, draft: ArrayLike) -> Sequence[tuple[Floats, Floats]]:
    p, q = np.asarray(target, np.float64), np.asarray(draft, np.float64)
    if p.shape != q.shape or p.ndim not in (1, 2):
        raise UsageError(
            f"target has the shape {p.shape} and draft {q.shape}",
            mend="give both as (vocabulary,) or as (places, vocabulary)",
        )
    if not p.size:
        raise UsageError("target has no place", mend="give one law or more")
    return [as_laws(*pair) for pair in zip(np.atleast_2d(p), np.atleast_2d(q), strict=True)]
