"""What the methods of the room share: each decides which token comes next.

There are four kinds, which meet in one loop or another: a `Sampler` changes the law of the next
token; a `Draft` guesses tokens ahead, and a `Verifier` keeps those guesses that leave the law as it
is; a `MaskedSampler` fills the masks of a masked diffusion model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    from transformers import LogitsProcessor

__all__ = [
    "Decoder",
    "MaskedModel",
    "MaskedSampler",
    "Sampler",
    "Scheme",
    "Unmasked",
    "Verified",
    "Verifier",
    "as_law",
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


@dataclass(frozen=True)
class Sampler(Decoder):
    """Base of the methods that change the law of the next token."""

    kind: ClassVar[str] = "sampler"

    @abstractmethod
    def processor(self) -> LogitsProcessor:
        """Make one for `generate`, with a state of its own for every row of one batch."""


class Verified(NamedTuple):
    """The token that comes next."""

    token: int
    accepted: bool
    """Whether it is one of the drafts."""


@dataclass(frozen=True)
class Verifier(Decoder):
    """Base of the methods that keep drafts, or replace them, so that the target's law holds.

    A method derives from it, sets `name` and `scheme`, and writes `verify` and `acceptance`.
    """

    kind: ClassVar[str] = "verifier"
    scheme: ClassVar[Scheme]
    """How its drafts must be drawn; `draw` does so."""

    @abstractmethod
    def verify(
        self,
        target: NDArray[np.float64],
        draft: NDArray[np.float64],
        tokens: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Verified:
        """Give the next token, distributed as `target` over all drafts and all randomness.

        Parameters
        ----------
        target, draft : ndarray of float64, shape (vocabulary,)
            Laws that sum to 1: of the next token, and of the drafts.
        tokens : ndarray of int64, shape (drafts,)
            Drawn from `draft` by `scheme`.
        rng : numpy.random.Generator
        """

    @abstractmethod
    def acceptance(self, target: ArrayLike, draft: ArrayLike, count: int) -> float:
        """Compute the probability that the next token is one of `count` drafts.

        Where there is no closed form it is estimated, always by the same random numbers.
        """


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
