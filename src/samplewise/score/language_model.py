"""How hard a language model finds each row: perplexity, and instruction-following difficulty.

Use `perplexity` to see how unlike ordinary text a row is, and `ifd` to see how little its prompt
helps to foresee its response: rows in which the prompt helps little are those a model has most to
learn from. Both go well with selectors that use a score.

Cost: one forward pass of the model a row (`ifd`: two). The built-in model reads hundreds of tokens
a second on two cores, so score a few thousand rows on a CPU, and more on a GPU.
Source: `ifd` is arXiv 2308.12032.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.layout import Rejection
from samplewise.models import (
    LanguageModel,
    load,
    response_log_probabilities,
    token_log_probabilities,
)
from samplewise.pool import Pool
from samplewise.progress import Progress
from samplewise.score.base import Floats, Scorer

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["InstructionFollowingDifficulty", "Perplexity", "difficulty"]

_BLOCK_ROWS = 1_024  # rows whose texts are held at once


@dataclass(frozen=True)
class _LanguageModelScorer(Scorer):
    """Shared base: goes through the pool in blocks of rows."""

    slow: ClassVar[bool] = True

    model: str = "builtin"
    max_tokens: int = 512
    batch_tokens: int = 4_096

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("max_tokens", "batch_tokens"):
            if getattr(self, knob) < 1:
                raise UsageError(
                    f"{self.name}: knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more"
                )

    def score(
        self, pool: Pool, rng: np.random.Generator, engine: Engine, progress: Progress
    ) -> Floats:
        """Score every row; the model runs in this process, on the GPU where there is one."""
        lm = load(self.model, progress=progress)
        scores = np.empty(len(pool))
        with progress.stage("score", len(pool), "rows") as advance:
            for rows in _blocks(pool):
                scores[rows] = self._block(lm, pool, rows, advance)
        return scores

    @abstractmethod
    def _block(
        self,
        lm: LanguageModel,
        pool: Pool,
        rows: NDArray[np.int64],
        advance: Callable[[float], None],
    ) -> list[float]:
        """Score some rows, and tell `advance` of each that is done."""


@dataclass(frozen=True)
class Perplexity(_LanguageModelScorer):
    """Perplexity of a row's text under a language model.

    That is exp of the mean negative log-likelihood of the text's tokens, from 1 up: the higher,
    the harder. The first token is scored too, after the token that begins a text. A text without
    a token has 1. Deterministic.

    Parameters
    ----------
    model : str
        ``"builtin"`` (SmolLM2-135M-Instruct), or the folder of any causal language model.
    max_tokens : int
        Tokens of a text that are read; the rest is left out.
    batch_tokens : int
        Tokens that are read at once: more is faster on a GPU, and needs more memory.

    Examples
    --------
    >>> Perplexity(max_tokens=128).settings()
    {'model': 'builtin', 'max_tokens': 128, 'batch_tokens': 4096}
    """

    name: ClassVar[str] = "perplexity"
    needs: ClassVar[tuple[str, ...]] = ("text",)
    cost: ClassVar[str] = "one forward pass of the model a row"

    def _block(
        self,
        lm: LanguageModel,
        pool: Pool,
        rows: NDArray[np.int64],
        advance: Callable[[float], None],
    ) -> list[float]:
        found = token_log_probabilities(
            lm,
            pool.texts(rows),
            max_tokens=self.max_tokens,
            batch_tokens=self.batch_tokens,
            advance=advance,
        )
        return [float(np.exp(_loss(values))) for values in found]


@dataclass(frozen=True)
class InstructionFollowingDifficulty(_LanguageModelScorer):
    """How little a row's prompt helps to foresee its response.

    That is the mean loss of the response's tokens given the prompt, over their mean loss alone:
    near 0 where the prompt says it all, near 1 where it says nothing, and above 1 where it
    misleads, which often marks a row whose response does not belong to its prompt. The response
    is the last field of the text, or the last turn of a conversation; the prompt is all before
    it, and is parted from the response by a newline. A row whose response is empty has 0, and one
    whose prompt is empty 1. Deterministic.

    Parameters
    ----------
    model : str
        ``"builtin"`` (SmolLM2-135M-Instruct), or the folder of any causal language model.
    max_tokens : int
        Tokens of a row that are read. In a longer row the response keeps its first tokens, as
        many as the prompt leaves and half at least; the prompt then keeps its last ones.
    batch_tokens : int
        Tokens that are read at once: more is faster on a GPU, and needs more memory.

    References
    ----------
    Li et al., "From Quantity to Quality: Boosting LLM Performance with Self-Guided Data Selection
    for Instruction Tuning", arXiv 2308.12032. There the model is first trained a little on a few
    rows, which this leaves to you: give the trained model's folder.

    Examples
    --------
    >>> difficulty(given=np.log([0.5, 0.5]), alone=np.log([0.25, 0.25]))
    0.5
    """

    name: ClassVar[str] = "ifd"
    aliases: ClassVar[tuple[str, ...]] = ("instruction-following-difficulty",)
    needs: ClassVar[tuple[str, ...]] = ("text", "response")
    paper: ClassVar[str] = "2308.12032"
    cost: ClassVar[str] = "two forward passes of the model a row"

    def check(self, pool: Pool) -> None:
        """Refuse a pool in which a row has no response, before the model has read any.

        Raises
        ------
        InputError
            If the texts are missing, or a row is one part, not a prompt and a response.
        """
        super().check(pool)
        for rows in _blocks(pool):
            self._exchanges(pool, rows)

    def _block(
        self,
        lm: LanguageModel,
        pool: Pool,
        rows: NDArray[np.int64],
        advance: Callable[[float], None],
    ) -> list[float]:
        def half(count: int) -> None:
            advance(count / 2)

        prompts, responses = self._exchanges(pool, rows)
        limits = {"max_tokens": self.max_tokens, "batch_tokens": self.batch_tokens}
        given = response_log_probabilities(lm, prompts, responses, **limits, advance=half)
        alone = token_log_probabilities(lm, responses, **limits, advance=half)
        return [difficulty(*pair) for pair in zip(given, alone, strict=True)]

    def _exchanges(self, pool: Pool, rows: NDArray[np.int64]) -> tuple[list[str], list[str]]:
        prompts, responses = [], []
        for index, row in zip(rows, pool.rows(rows), strict=True):
            try:
                prompt, response = pool.layout.exchange(row)
            except Rejection as error:
                file, line = pool.place(int(index))
                raise InputError(
                    f"{error.reason}, and {self.name} needs both",
                    file=file,
                    line=line,
                    field=error.field,
                    mend="name the fields, the response last: --text PROMPT,RESPONSE (text= in "
                    "Python), or leave such rows out",
                ) from error
            prompts.append(prompt)
            responses.append(response)
        return prompts, responses


def difficulty(given: NDArray[np.floating], alone: NDArray[np.floating]) -> float:
    """Divide the mean loss of a response given its prompt by its mean loss alone.

    Parameters
    ----------
    given : ndarray, shape (t,)
        Log-probabilities of the response's tokens after the prompt.
    alone : ndarray, shape (t or more,)
        The same without the prompt; those after the first t were not read after the prompt.

    Returns
    -------
    float
        0 where there is no token; 1 where the response alone is certain.
    """
    if not len(given):
        return 0.0
    before = _loss(alone[: len(given)])
    return _loss(given) / before if before > 0 else 1.0


def _blocks(pool: Pool) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pool), _BLOCK_ROWS):
        yield np.arange(start, min(start + _BLOCK_ROWS, len(pool)))


def _loss(values: NDArray[np.floating]) -> float:
    return float(-values.mean(dtype=np.float64)) if len(values) else 0.0
