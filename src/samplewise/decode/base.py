"""What the methods of the room share: each decides which token comes next.

There are four kinds, which meet in one loop or another: a `Sampler` changes the law of the next
token; a `Draft` guesses tokens ahead, and a `Verifier` keeps those guesses that leave the law as it
is; a `MaskedSampler` fills the masks of a masked diffusion model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise import registry
from samplewise.decode.drafting import draw_drafts, draw_with_replacement, every_draft
from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessor

    from samplewise.decode.tree import Tree

__all__ = [
    "Choice",
    "Decoder",
    "Draft",
    "Drafting",
    "MaskedModel",
    "MaskedSampler",
    "Rate",
    "Sampler",
    "Scheme",
    "Unmasked",
    "Verified",
    "Verifier",
    "as_law",
    "as_laws",
    "as_tokens",
]

Scheme: TypeAlias = Literal["with-replacement", "without-replacement", "greedy"]
"""How drafts are drawn for one place: independently; all different; or the likeliest and one more.

Under ``"greedy"`` all drafts but the last are the likeliest tokens (the lower id where two are
alike), and the last is drawn from the others.
"""

MaskedModel: TypeAlias = Callable[
    [NDArray[np.int64], "NDArray[np.float64] | None"], NDArray[np.floating[Any]]
]
"""``model(tokens, time)`` gives logits.

Tokens have the shape (rows, length), with the vocabulary's size as the mask; times the shape
(rows,), from 0 (data) to 1 (all masked), or None where a sampler has no times; logits the shape
(rows, length, vocabulary): none for the mask, so that it is never drawn. A token that must not be
drawn has the logit minus infinity. The number of rows may change from call to call.
"""


@dataclass(frozen=True)
class Decoder(registry.Method, ABC):
    """Base of all methods of the room."""

    room: ClassVar[str] = "decode"
    kind: ClassVar[str]
    """``"sampler"``, ``"draft"``, ``"verifier"``, ``"masked sampler"`` or ``"corrector"``."""

    @classmethod
    def named(cls, spec: str | Decoder) -> Self:
        """Make a method of this kind from ``NAME`` or ``NAME:KNOB=VALUE:...``; a made one passes.

        Raises
        ------
        UsageError
            If there is no such method of this kind, or no such knob.

        Examples
        --------
        >>> Draft.named("prompt-lookup:length=4").length
        4
        """
        return registry.named(cls, spec)


@dataclass(frozen=True)
class Sampler(Decoder):
    """Base of the methods that change the law of the next token."""

    kind: ClassVar[str] = "sampler"
    before_cuts: ClassVar[bool] = False
    """Whether it must see the law before top-k and others have cut tokens off."""

    @abstractmethod
    def processor(self) -> LogitsProcessor:
        """Make one for `generate`, with a state of its own for every row of one batch."""


class Drafting(ABC):
    """A draft at work: it guesses how one sequence after another goes on.

    Attributes
    ----------
    units : int
        What a guess consists of at most, and where it can be cut: nodes, or levels of a tree.
    """

    units: int
    costly: ClassVar[bool] = False
    """Whether guessing takes time that counts, so that as little is guessed as will be read."""

    def start(self, tokens: Sequence[int]) -> None:  # noqa: B027 - most have nothing to do
        """Begin another sequence."""

    @abstractmethod
    def propose(self, tokens: Sequence[int], units: int, rng: np.random.Generator) -> Tree:
        """Guess what follows; `units` bounds a costly guess, and a free one is made in full."""

    def learn(  # noqa: B027 - most have nothing to learn
        self, root: int, tree: Tree, logits: torch.Tensor, way: Sequence[int]
    ) -> None:
        """Look at what the target says.

        Parameters
        ----------
        root : int
            The token that the tree hangs from.
        tree : Tree
            What was read of the guess.
        logits : torch.Tensor, shape (1 + nodes, vocabulary)
            After the root and after each node.
        way : sequence of int
            The nodes that turned out right.
        """


@dataclass(frozen=True)
class Draft(Decoder):
    """Base of the methods that guess tokens ahead."""

    kind: ClassVar[str] = "draft"
    draws: ClassVar[bool] = False
    """Whether its guesses are drawn where the target samples, so that they need a verifier."""

    @abstractmethod
    def begin(self, vocabulary: int, verifier: Verifier | None, heat: Any) -> Drafting:
        """Start work.

        Parameters
        ----------
        vocabulary : int
            Width of the target's logits.
        verifier : Verifier, optional
            Says how drafts are to be drawn; None where the target takes its likeliest token.
        heat : sequence of transformers.LogitsProcessor
            What makes the target's law from its logits, as far as it has no memory.
        """


class Verified(NamedTuple):
    """The token that comes next."""

    token: int
    accepted: bool
    """Whether it is one of the drafts."""


class Choice(NamedTuple):
    """The law of the next token, given the drafts.

    Attributes
    ----------
    chances : ndarray of float64, shape (drafts,)
        That it is taken from each draft; they sum to 1 or less.
    rest : ndarray of float64, shape (vocabulary,)
        The law of the token where it is taken from none; it may still hit one of them.
    """

    chances: NDArray[np.float64]
    rest: NDArray[np.float64]

    def law(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the law over the vocabulary, for the drafts that this choice was made for."""
        law: NDArray[np.float64] = self.rest * max(0.0, 1.0 - self.chances.sum())
        np.add.at(law, tokens, self.chances)
        return law


class Rate(NamedTuple):
    """How often the next token is a draft."""

    value: float
    error: float = 0.0
    """Its standard error; 0 where it is computed and not estimated."""


@dataclass(frozen=True)
class Verifier(Decoder):
    """Base of the methods that keep drafts, or replace them, so that the target's law holds.

    A method derives from it, sets `name` and `scheme`, and writes `choose` and `rate`.
    """

    kind: ClassVar[str] = "verifier"
    scheme: ClassVar[Scheme]
    """How its drafts must be drawn; `draw` does so."""
    most: ClassVar[int | None] = None
    """The most drafts it takes; None where any number will do."""

    @abstractmethod
    def choose(
        self,
        target: NDArray[np.float64],
        draft: NDArray[np.float64],
        tokens: NDArray[np.int64],
    ) -> Choice:
        """Give the law of the next token, given the drafts; over all drafts it is `target`.

        Parameters
        ----------
        target, draft : ndarray of float64, shape (vocabulary,)
            Laws that sum to 1: of the next token, and of the drafts.
        tokens : ndarray of int64, shape (drafts,)
            Drawn from `draft` by `scheme`.
        """

    @abstractmethod
    def rate(self, target: NDArray[np.float64], draft: NDArray[np.float64], count: int) -> Rate:
        """Compute the probability that the next token is one of `count` drafts, as `acceptance`.

        Where there is no closed form it is estimated, always by the same random numbers.
        """

    def check(self, draft: NDArray[np.float64], count: int) -> None:
        """Refuse drafts that the method cannot verify, before any is drawn.

        Raises
        ------
        UsageError
            If `count` is below 1 or above `most`.
        """
        self._check_count(count)

    def _check_count(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"{self.name}: count is {count}", mend="give 1 draft or more")
        if self.most is not None and count > self.most:
            raise UsageError(
                f"{self.name} takes {self.most} draft a place, and count is {count}",
                mend="give fewer, or use a verifier of several drafts, such as "
                "optimal-multi-draft or recursive-rejection",
            )

    def draw(
        self, draft: NDArray[np.float64], count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw the drafts of one place, as `scheme` says.

        Parameters
        ----------
        draft : ndarray of float64, shape (vocabulary,)
            Their law; it sums to 1.
        count : int
            How many, 1 or more.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of int64, shape (drafts,)
            `count` of them, or all tokens that have a chance where they are fewer and drafts must
            differ.

        Raises
        ------
        UsageError
            As `check` does.
        """
        self.check(draft, count)
        return draw_drafts(draft, count, self.scheme, rng)

    def verify(
        self,
        target: NDArray[np.float64],
        draft: NDArray[np.float64],
        tokens: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Verified:
        """Draw the next token from what `choose` gives.

        Parameters
        ----------
        target, draft : ndarray of float64, shape (vocabulary,)
            Laws that sum to 1: of the next token, and of the drafts.
        tokens : ndarray of int64, shape (drafts,)
            Drawn from `draft` by `scheme`.
        rng : numpy.random.Generator

        Returns
        -------
        Verified
            Its token is distributed as `target`, over all drafts and all randomness.

        Raises
        ------
        UsageError
            As `check` does, or if `draft` gives a draft no chance: it is not the law that was drawn
            from, or was cut to fewer tokens since.
        """
        self.check(draft, len(tokens))
        if not draft[tokens].all():
            raise UsageError(
                f"{self.name}: a draft has no chance under the draft's law",
                mend="give the law that the drafts were drawn from, after temperature and top-p",
            )
        chances, rest = self.choose(target, draft, tokens)
        place = int(np.searchsorted(chances.cumsum(), rng.random(), side="right"))
        if place < len(tokens):
            return Verified(int(tokens[place]), True)
        token = int(draw_with_replacement(rest, 1, rng)[0])
        return Verified(token, bool((tokens == token).any()))

    def acceptance(self, target: ArrayLike, draft: ArrayLike, count: int) -> float:
        """Compute the probability that the next token is one of `count` drafts.

        Where there is no closed form it is estimated, always by the same random numbers.

        Parameters
        ----------
        target, draft : array_like, shape (vocabulary,)
            Laws: of the next token, and of the drafts.
        count : int
            Drafts a place, 1 or more.

        Raises
        ------
        UsageError
            If the laws are none or differ in length, or if `count` is below 1 or above `most`.
        """
        p, q = as_laws(target, draft)
        self._check_count(count)
        return self.rate(p, q, count).value

    def law(self, target: ArrayLike, draft: ArrayLike, count: int) -> NDArray[np.float64]:
        """Compute the law of the next token over all drafts: `target`, if the method is right.

        Every outcome of the drafts is listed: it is meant for small vocabularies, to prove a
        method by.

        Parameters
        ----------
        target, draft : array_like, shape (vocabulary,)
        count : int

        Returns
        -------
        ndarray of float64, shape (vocabulary,)
        """
        p, q = as_laws(target, draft)
        self.check(q, count)
        outcomes, chances = every_draft(q, count, self.scheme)
        law = np.zeros(len(p))
        for tokens, chance in zip(outcomes, chances, strict=True):
            law += chance * self.choose(p, q, tokens).law(tokens)
        return law


@dataclass(frozen=True)
class Unmasked:
    """What a sampler made of masks.

    Rows may have had different numbers of masks; `masks` is the largest of them.

    Attributes
    ----------
    tokens : ndarray of int64, shape (rows, length)
        Without masks.
    times : ndarray of float64, shape (rows, masks)
        When each mask fell, from the first to the last, from 1 down to 0. NaN after a row's last
        mask, and where the method has no times.
    order : ndarray of int64, shape (rows, masks)
        The place of the mask that fell first, second, ...; -1 after a row's last mask.
    calls : int
        Calls of the network, each of them for all rows that still had masks.
    draws : int
        Tokens drawn in all rows, those that were thrown away among them.
    """

    tokens: NDArray[np.int64]
    times: NDArray[np.float64]
    order: NDArray[np.int64]
    calls: int
    draws: int


@dataclass(frozen=True)
class MaskedSampler(Decoder):
    """Base of the methods that fill the masks of a masked diffusion model.

    A method derives from it, sets `name`, and writes `unmask`.
    """

    kind: ClassVar[str] = "masked sampler"

    def fill(
        self,
        model: MaskedModel,
        tokens: ArrayLike,
        vocabulary: int,
        rng: RandomState = None,
    ) -> Unmasked:
        """Fill every mask; tokens that are none stay as they are.

        Parameters
        ----------
        model : callable
            See `MaskedModel`.
        tokens : array_like of int, shape (rows, length)
            Below `vocabulary`; a mask is `vocabulary` itself. It is not changed.
        vocabulary : int
            Number of tokens, without the mask.
        rng : int, numpy.random.Generator or None

        Returns
        -------
        Unmasked

        Raises
        ------
        UsageError
            If the tokens are no table of such numbers, the rows have fewer masks than the method
            needs, or the model gives no logits of the right shape.
        """
        return self.unmask(model, as_tokens(tokens, vocabulary), vocabulary, generator(rng))

    @abstractmethod
    def unmask(
        self,
        model: MaskedModel,
        tokens: NDArray[np.int64],
        vocabulary: int,
        rng: np.random.Generator,
    ) -> Unmasked:
        """Fill every mask of a table of its own, which `fill` has checked."""


def as_tokens(values: ArrayLike, vocabulary: int) -> NDArray[np.int64]:
    """Copy a table of tokens, of which `vocabulary` stands for a mask.

    Raises
    ------
    UsageError
        If it is no table of whole numbers from 0 to `vocabulary`.

    Examples
    --------
    >>> as_tokens([[0, 2, 2]], vocabulary=2)
    array([[0, 2, 2]])
    """
    if vocabulary < 1:
        raise UsageError(f"vocabulary is {vocabulary}", mend="give the number of tokens")
    table = np.asarray(values)
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer):
        raise UsageError(
            f"tokens have the shape {table.shape} and the type {table.dtype}",
            mend="give whole numbers, a row for each text",
        )
    if table.size and not 0 <= table.min() <= table.max() <= vocabulary:
        raise UsageError(
            f"tokens go from {table.min()} to {table.max()}, with a vocabulary of {vocabulary}",
            mend=f"give 0 to {vocabulary - 1}, and {vocabulary} for a mask",
        )
    return table.astype(np.int64)


def as_law(values: ArrayLike, name: str = "law") -> NDArray[np.float64]:
    """Read probabilities: rounding below 0 is cut off, and they sum to 1 afterwards.

    Raises
    ------
    UsageError
        If they are not a row of finite numbers that sum to about 1.

    Examples
    --------
    >>> as_law([0.5, 0.5])
    array([0.5, 0.5])
    """
    law = np.asarray(values, dtype=np.float64)
    if law.ndim != 1 or not len(law) or not np.isfinite(law).all():
        raise UsageError(f"{name} is no row of finite probabilities")
    if law.min() < -1e-6 or abs(law.sum() - 1) > 1e-3:
        raise UsageError(f"{name} sums to {law.sum():g} and is at least {law.min():g}")
    law = law.clip(0.0, None)
    scaled: NDArray[np.float64] = law / law.sum()
    return scaled


def as_laws(target: ArrayLike, draft: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the laws of the next token and of the drafts, over one vocabulary.

    Raises
    ------
    UsageError
        As `as_law` does, or if their lengths differ.
    """
    p, q = as_law(target, "target"), as_law(draft, "draft")
    if len(p) != len(q):
        raise UsageError(
            f"target has {len(p)} tokens and draft {len(q)}",
            mend="give both models one vocabulary",
        )
    return p, q
