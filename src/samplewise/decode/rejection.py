"""Verify drafts one after another, each by chance, and draw from what is left if none is kept.

`rejection` is speculative sampling with one draft. The recursive ones take several: each draft that
is rejected takes its part of the law away, and the next is held against the rest. They are the
common baseline: `optimal-multi-draft` keeps more drafts of the same scheme.

Cost: O(n V) for n drafts and V tokens. Source: arXiv 2211.17192 and 2302.01318 (one draft); several
drafts as arXiv 2502.18779 compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import Choice, Rate, Scheme, Verifier
from samplewise.decode.drafting import drafts_of, draw_drafts, every_draft
from samplewise.errors import UsageError
from samplewise.rng import generator

__all__ = [
    "RecursiveRejection",
    "RecursiveRejectionWithoutReplacement",
    "Rejection",
    "accept_chance",
    "choose_recursively",
    "remainder",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_OUTCOMES = 2_000  # listing more drafts than that takes longer than estimating


@dataclass(frozen=True)
class Rejection(Verifier):
    """Keep one draft with the chance that leaves the law as it is: speculative sampling.

    References
    ----------
    arXiv 2211.17192, arXiv 2302.01318

    Examples
    --------
    >>> Rejection().acceptance([0.5, 0.5], [0.9, 0.1], 1)
    0.6
    """

    name: ClassVar[str] = "rejection"
    aliases: ClassVar[tuple[str, ...]] = ("speculative-sampling",)
    paper: ClassVar[str] = "2211.17192"
    cost: ClassVar[str] = "O(V) a token"
    scheme: ClassVar[Scheme] = "with-replacement"
    most: ClassVar[int | None] = 1

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Keep the draft, or draw from what the draft's law gives too little of."""
        return choose_recursively(target, draft, tokens, replace=True)

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Give what both laws have in common."""
        return Rate(float(np.minimum(target, draft).sum()))


@dataclass(frozen=True)
class RecursiveRejection(Verifier):
    """Keep one of several independent drafts, by one rejection after another.

    References
    ----------
    arXiv 2305.09781, arXiv 2502.18779

    Examples
    --------
    >>> RecursiveRejection().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    0.75
    """

    name: ClassVar[str] = "recursive-rejection"
    aliases: ClassVar[tuple[str, ...]] = ("rrs",)
    paper: ClassVar[str] = "2305.09781"
    cost: ClassVar[str] = "O(n V) a token, for n drafts"
    scheme: ClassVar[Scheme] = "with-replacement"

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Hold each draft against what the drafts before it left."""
        return choose_recursively(target, draft, tokens, replace=True)

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Multiply the chances to reject, each against what is left by then."""
        rejected, rest = 1.0, target
        for _ in range(count):
            left = (rest - draft).clip(0.0)
            rejected *= float(left.sum())
            rest = remainder(left, rest)
        return Rate(1.0 - rejected)


@dataclass(frozen=True)
class RecursiveRejectionWithoutReplacement(Verifier):
    """Keep one of several drafts that all differ, by one rejection after another.

    Parameters
    ----------
    samples : int
        Drafts by which the acceptance is estimated, 2 or more; it has no closed form. Where at most
        2,000 drafts can come, it is computed from all of them instead.

    References
    ----------
    arXiv 2402.12374, arXiv 2502.18779

    Examples
    --------
    >>> RecursiveRejectionWithoutReplacement().acceptance([1.0, 0.0], [0.5, 0.5], 2)
    1.0
    """

    samples: int = 1000

    name: ClassVar[str] = "recursive-rejection-without-replacement"
    aliases: ClassVar[tuple[str, ...]] = ("rrsw",)
    paper: ClassVar[str] = "2402.12374"
    cost: ClassVar[str] = "O(n V) a token, for n drafts"
    scheme: ClassVar[Scheme] = "without-replacement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2:
            raise UsageError(f"knob 'samples' is {self.samples}", mend="give 2 or more")

    def choose(self, target: Floats, draft: Floats, tokens: Ints) -> Choice:
        """Hold each draft against what the drafts before it left."""
        return choose_recursively(target, draft, tokens, replace=False)

    def rate(self, target: Floats, draft: Floats, count: int) -> Rate:
        """Average the chance to keep a draft over all drafts, or over some that are drawn."""
        count = drafts_of(draft, count, self.scheme)
        if math.perm(int(np.count_nonzero(draft)), count) <= _OUTCOMES:
            drafts, weights = every_draft(draft, count, self.scheme)
            return Rate(float(weights @ [self._kept(target, draft, one) for one in drafts]))
        rng = generator(0)
        kept = [
            self._kept(target, draft, draw_drafts(draft, count, self.scheme, rng))
            for _ in range(self.samples)
        ]
        return Rate(float(np.mean(kept)), float(np.std(kept, ddof=1) / math.sqrt(len(kept))))

    def _kept(self, target: Floats, draft: Floats, tokens: Ints) -> float:
        # A draft that may be rejected is not among what is left, so none is hit by chance.
        return float(self.choose(target, draft, tokens).chances.sum())


def choose_recursively(target: Floats, draft: Floats, tokens: Ints, *, replace: bool) -> Choice:
    """Reject drafts one after another; see `RecursiveRejection`.

    Parameters
    ----------
    target, draft : ndarray of float64, shape (vocabulary,)
    tokens : ndarray of int64, shape (drafts,)
    replace : bool
        Whether a later draft could be a token that was rejected before.

    Returns
    -------
    Choice

    Examples
    --------
    >>> p, q = np.array([0.5, 0.5]), np.array([0.8, 0.2])
    >>> choice = choose_recursively(p, q, np.array([0]), replace=True)
    >>> choice.chances.tolist(), choice.rest.tolist()
    ([0.625], [0.0, 1.0])
    """
    chances = np.zeros(len(tokens))
    left, rest, law = 1.0, target, draft
    for place, token in enumerate(tokens):
        keep = accept_chance(rest[token], law[token])
        chances[place] = left * keep
        left *= 1.0 - keep
        if left <= 0:
            break
        rest = remainder(rest - law, rest)
        if not replace:
            law = law.copy()
            law[token] = 0.0
            law = remainder(law, law)
    return Choice(chances, rest)


def accept_chance(wanted: float, given: float) -> float:
    """Give the chance to keep a token that comes with one probability and should with another.

    Examples
    --------
    >>> accept_chance(0.25, 0.5), accept_chance(0.5, 0.25)
    (0.5, 1.0)
    """
    return 1.0 if wanted >= given else float(wanted / given)


def remainder(mass: Floats, otherwise: Floats) -> Floats:
    """Make a law of what is above 0; where nothing is, so that it is never needed, take another.

    Examples
    --------
    >>> remainder(np.array([-0.5, 0.25, 0.25]), np.array([1.0, 0.0, 0.0])).tolist()
    [0.0, 0.5, 0.5]
    """
    mass = mass.clip(0.0)
    total = mass.sum()
    return mass / total if total > 0 else otherwise
