"""Keep one of several independent drafts as optimal transport would: K-SEQ, and the exact plan.

`k-seq` tries the drafts in turn with one factor that makes each chance small enough for all; it is
fast, and reaches at least 1 - 1/e of the best acceptance. `spectr` solves the transport problem
itself, which only tiny vocabularies (or drafts cut to few tokens) allow; `optimal-multi-draft`
reaches the same rate at any size.

Cost: O(V log(n / tolerance)) a token for `k-seq`; a linear program with a row for every set of
drafted tokens for `spectr`. Source: arXiv 2310.15141.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import Choice, Rate, Scheme, Verifier
from samplewise.decode.drafting import draw_with_replacement, every_draft
from samplewise.decode.optimum import optimal_acceptance
from samplewise.decode.rejection import accept_chance, remainder
from samplewise.errors import UsageError

__all__ = [
    "Block",
    "KSequential",
    "SpecTr",
    "TransportPlan",
    "check_size",
    "choose_by_plan",
    "kseq_rho",
    "speculative_block",
    "transport_plan",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Language: TypeAlias = Callable[[tuple[int, ...]], Floats]
"""The law of the next token, shape (vocabulary,), after the tokens so far."""

OUTCOMES = 10_000
"""The most drafts, as ordered tuples, for which a plan is made."""


@dataclass(frozen=True)
class KSequential(Verifier):
    """Keep one of several independent drafts, each tried with chance target / (factor x draft).

    Parameters
    ----------
    tolerance : float
        How far the factor may lie above the least that keeps the law; above 0.
    factor : float, optional
        1 or more: this factor, which saves the search for the best; the number of drafts is always
        large enough. Where it is too small to keep the law, the least is used.

    Notes
    -----
    The least factor keeps most drafts as they are tried. A larger one leaves more of the target to
    the draw that follows if none is kept, which may hit a draft too, and such hits count: now and
    then it is the better one.

    References
    ----------
    arXiv 2310.15141

    Examples
    --------
    >>> KSequential().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    0.75
    """

    tolerance: float = 1e-6
    factor: float | None = None

    name: ClassVar[str] = "k-seq"
    aliases: ClassVar[tuple[str, ...]] = ("kseq",)
    paper: ClassVar[str] = "2310.15141"
    cost: ClassVar[str] = "O(V log(n / tolerance)) a token, for n drafts"
    scheme: ClassVar[Scheme] = "with-replacement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance <= 0:
            raise UsageError(f"knob 'tolerance' is {self.tolerance}", mend="give more than 0")
        if self.factor is not None and self.factor < 1:
            raise UsageError(f"knob 'factor' is {self.factor}", mend="give 1 or more, or none")

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Try each draft; if none is kept, draw from what they leave of the target."""
        factor = self._factor(target, draft, len(tokens))
        keep = [accept_chance(target[token], factor * draft[token]) for token in tokens]
        left = np.append(1.0, np.cumprod(1.0 - np.array(keep)))
        return Choice(left[:-1] * keep, self._left(target, draft, len(tokens), factor))

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give the chance to keep a draft, or to hit one when none was kept."""
        factor = self._factor(target, draft, count)
        rejected = draft - np.minimum(draft, target / factor)
        all_rejected = rejected.sum() ** count
        hit = all_rejected - (rejected.sum() - rejected) ** count
        rest = self._left(target, draft, count, factor)
        return Rate(float(1.0 - all_rejected + rest @ hit))

    def _factor(self, target: Floats, draft: Floats, count: int) -> float:
        if self.factor is not None and _keeps_law(target, draft, count, self.factor):
            return self.factor
        return kseq_rho(target, draft, count, self.tolerance)

    def _left(self, target: Floats, draft: Floats, count: int, factor: float) -> Floats:
        kept = np.minimum(draft, target / factor)
        share = kept.sum()
        if not share:
            return target
        return remainder(target - kept * ((1.0 - (1.0 - share) ** count) / share), target)


def kseq_rho(target: Floats, draft: Floats, count: int, tolerance: float = 1e-6) -> float:
    """Find the least factor with which K-SEQ keeps the law, by bisection.

    Parameters
    ----------
    target, draft : ndarray of float64, shape (vocabulary,)
    count : int
        Drafts, 1 or more.
    tolerance : float

    Returns
    -------
    float
        From 1 to `count`; not below the least factor, and at most `tolerance` above it.

    References
    ----------
    arXiv 2310.15141

    Examples
    --------
    >>> p, q = np.array([0.25, 0.75]), np.array([0.75, 0.25])
    >>> kseq_rho(p, p, 4), round(kseq_rho(p, q, 2), 4)
    (1.0, 1.5931)
    """
    low, high = 1.0, float(count)
    if _keeps_law(target, draft, count, low):
        return low
    while high - low > tolerance:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _keeps_law(target, draft, count, middle):
            high = middle
        else:
            low = middle
    return high


def _keeps_law(target: Floats, draft: Floats, count: int, factor: float) -> bool:
    kept = np.minimum(draft, target / factor).sum()
    # Equal at the least factor, where rounding may fall to either side.
    return bool(1.0 - (1.0 - kept) ** count <= factor * kept + 1e-15)


@dataclass(frozen=True)
class SpecTr(Verifier):
    """Keep one of several independent drafts by the exact plan of optimal transport.

    References
    ----------
    arXiv 2310.15141

    Examples
    --------
    >>> SpecTr().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    0.75
    """

    name: ClassVar[str] = "spectr"
    aliases: ClassVar[tuple[str, ...]] = ("otm",)
    paper: ClassVar[str] = "2310.15141"
    cost: ClassVar[str] = "a linear program a token, of up to V^n rows for n drafts"
    scheme: ClassVar[Scheme] = "with-replacement"

    def check(self, draft: Floats, count: int) -> None:
        """Refuse what no plan can be made for."""
        super().check(draft, count)
        check_size(self.name, draft, count, "optimal-multi-draft, which reaches the same rate")

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Look up what the plan does with these drafts."""
        return choose_by_plan(target, draft, tokens, self.scheme)

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give the optimum, which the plan reaches."""
        return Rate(optimal_acceptance(target, draft, count, self.scheme).rate)


class TransportPlan(NamedTuple):
    """What to do with the drafts of one place.

    Attributes
    ----------
    rate : float
        The probability that the next token is one of them.
    shares : dict of tuple of int to ndarray of float64
        The chance to keep each token, for every set of drafted tokens in ascending order.
    rest : ndarray of float64, shape (vocabulary,)
        The law of the next token where none is kept.
    """

    rate: float
    shares: dict[tuple[int, ...], Floats]
    rest: Floats


def transport_plan(target: Floats, draft: Floats, count: int, scheme: Scheme) -> TransportPlan:
    """Solve the transport problem of one place exactly, by a linear program (HiGHS).

    Drafts with the same tokens are one row, as their order and their repeats change nothing. What
    the solver's tolerance leaves wrong is taken off the chances, so that the law holds to rounding.

    Parameters
    ----------
    target, draft : ndarray of float64, shape (vocabulary,)
    count : int
    scheme : {'with-replacement', 'without-replacement', 'greedy'}

    Returns
    -------
    TransportPlan

    References
    ----------
    arXiv 2310.15141

    Examples
    --------
    >>> p, q = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    >>> plan = transport_plan(p, q, 2, "with-replacement")
    >>> plan.rate, plan.shares[0, 1].tolist(), plan.rest.tolist()
    (0.75, [1.0, 0.0], [1.0, 0.0])
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    mass: dict[tuple[int, ...], float] = {}
    for tokens, chance in zip(*every_draft(draft, count, scheme), strict=True):
        members = tuple(sorted(set(tokens.tolist())))
        mass[members] = mass.get(members, 0.0) + float(chance)
    rows = np.repeat(np.arange(len(mass)), [len(members) for members in mass])
    kept = np.concatenate([np.array(members) for members in mass])
    limits = np.concatenate([list(mass.values()), target])
    entries = np.arange(len(rows))
    places = np.concatenate([rows, len(mass) + kept]), np.concatenate([entries, entries])
    found = linprog(
        -np.ones(len(rows)),
        A_ub=coo_array((np.ones(2 * len(rows)), places), (len(limits), len(rows))).tocsr(),
        b_ub=limits,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    flow = found.x.clip(0.0)
    flow *= _excess(limits[: len(mass)], np.bincount(rows, flow, len(mass)))[rows]
    flow *= _excess(target, np.bincount(kept, flow, len(target)))[kept]
    drafted = np.repeat(limits[: len(mass)], np.bincount(rows))
    shares = np.divide(flow, drafted, out=np.zeros(len(flow)), where=drafted > 0)
    ends = np.cumsum([len(members) for members in mass])
    return TransportPlan(
        float(flow.sum()),
        dict(zip(mass, np.split(shares, ends[:-1]), strict=True)),
        remainder(target - np.bincount(kept, flow, len(target)), target),
    )


def _excess(limits: Floats, sums: NDArray[Any]) -> Floats:
    """Give the factors that bring sums down to their limits."""
    factors: Floats = np.divide(limits, sums, out=np.ones(len(sums)), where=sums > limits)
    return factors


def choose_by_plan(target: Floats, draft: Floats, tokens: Ints, scheme: Scheme) -> Choice:
    """Give what the exact plan does with some drafts."""
    plan = _plan(target.tobytes(), draft.tobytes(), len(tokens), scheme)
    members, first = np.unique(tokens, return_index=True)
    chances = np.zeros(len(tokens))
    chances[first] = plan.shares[tuple(members.tolist())]
    return Choice(chances, plan.rest)


@functools.lru_cache(maxsize=16)
def _plan(target: bytes, draft: bytes, count: int, scheme: Scheme) -> TransportPlan:
    return transport_plan(np.frombuffer(target), np.frombuffer(draft), count, scheme)


def check_size(name: str, draft: Floats, count: int, instead: str) -> None:
    """Refuse a plan that would be too large.

    Raises
    ------
    UsageError
    """
    known = int(np.count_nonzero(draft))
    if known**count > OUTCOMES:
        raise UsageError(
            f"{name} plans for every outcome of the drafts, and {count} drafts of {known} tokens "
            f"have more than {OUTCOMES:,}",
            mend=f"use {instead}; or draw fewer drafts, or cut their law to fewer tokens (top-k)",
        )


class Block(NamedTuple):
    """What one call of the large model gave.

    Attributes
    ----------
    tokens : tuple of int
        From 1 to the drafts' length + 1.
    accepted : tuple of bool
        For each place that had drafts, whether the token is one of them.
    """

    tokens: tuple[int, ...]
    accepted: tuple[bool, ...]


def speculative_block(
    verifier: Verifier,
    target: Language,
    draft: Language,
    context: tuple[int, ...],
    drafts: int,
    length: int,
    rng: np.random.Generator,
) -> Block:
    """Draft several continuations, and keep what one call of the large model allows.

    Small and plain: to prove a verifier by, or to try one on models that are functions.

    Parameters
    ----------
    verifier : Verifier
        Of the scheme ``"with-replacement"``: continuations are independent.
    target, draft : callable
        The large and the small model.
    context : tuple of int
    drafts, length : int
        Continuations, and tokens in each; 1 or more.
    rng : numpy.random.Generator

    Returns
    -------
    Block

    Raises
    ------
    UsageError
        If the verifier is of another scheme or `length` is below 1, or as the verifier does.

    Notes
    -----
    Where no draft is kept and the token that is drawn instead equals one, its continuation stays:
    it is independent of what was decided before (derived here; the paper does not say).

    References
    ----------
    arXiv 2310.15141

    Examples
    --------
    >>> law = lambda tokens: np.array([0.5, 0.5])
    >>> rng = np.random.default_rng(0)
    >>> speculative_block(KSequential(), law, law, (), 2, 3, rng).accepted
    (True, True, True)
    """
    if verifier.scheme != "with-replacement":
        raise UsageError(
            f"{verifier.name} verifies drafts of the scheme {verifier.scheme}",
            mend="take one of independent drafts, such as k-seq",
        )
    if length < 1:
        raise UsageError(f"length is {length}", mend="give 1 token or more")
    verifier.check(draft(context), drafts)
    paths = [_continue(draft, context, length, rng) for _ in range(drafts)]
    accepted = []
    for place in range(len(context), len(context) + length):
        tokens = np.array([path[place] for path in paths])
        token, is_draft = verifier.verify(target(context), draft(context), tokens, rng)
        accepted.append(is_draft)
        paths = [path for path in paths if path[place] == token]
        start = place + 1 - len(accepted)
        context = (*context, token)
        if not paths:
            return Block(context[start:], tuple(accepted))
    last = int(draw_with_replacement(target(context), 1, rng)[0])
    return Block((*context[start:], last), tuple(accepted))


def _continue(
    model: Language, context: tuple[int, ...], length: int, rng: np.random.Generator
) -> tuple[int, ...]:
    for _ in range(length):
        context = (*context, int(draw_with_replacement(model(context), 1, rng)[0]))
    return context
