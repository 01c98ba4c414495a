"""Decode with guesses: read many guessed tokens at once, keep those that leave the law as it is.

Use it for a sequence at a time, where a model reads several tokens in about the time of one. What
comes out has the law of plain decoding, under any processors: they are called along the tokens that
are kept, as plain decoding calls them, so that even one with a memory works.

Cost: a reading of the model a step, of the tree's nodes; a step gives one token or more. Source:
arXiv 2211.17192; verification in a tree as in arXiv 2310.15141 and 2502.18779.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from samplewise.decode.base import Draft, Drafting, Verifier
from samplewise.decode.laws import draw_from, law_of, scores_of, surprise_and_entropy
from samplewise.decode.tree import ROOT, Shape, Tree
from samplewise.decode.tree_size import Pace
from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    import torch

__all__ = ["Decoded", "Speculation", "Step", "accepted_by_depth", "forgets"]

_TRIES = 3  # of a plain step, to know what it takes
_HOPE = 0.6  # how often a costly draft is taken to be right before anything is known


@dataclass(frozen=True)
class Step:
    """One reading of the model.

    Attributes
    ----------
    read : int
        Guessed tokens that were read.
    accepted : int
        Of these, those that were kept.
    given : int
        Tokens that came out: one more, unless the end was reached before.
    seconds : float
    """

    read: int
    accepted: int
    given: int
    seconds: float


@dataclass(frozen=True)
class Decoded:
    """What came out.

    Attributes
    ----------
    tokens : list of int
        Without the prompt; the one that ended it, if any, is the last.
    finish : str
        ``"stop"`` after a token that ends an answer, else ``"length"``.
    steps : list of Step
    plain_seconds : float
        What a step without guesses takes here.
    surprises, entropies : list of float
        Of every token under the model's own law, in bits; empty unless asked for.
    """

    tokens: list[int]
    finish: str
    steps: list[Step]
    plain_seconds: float
    surprises: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a reading of the model gave, in the mean; plain decoding gives 1."""
        return len(self.tokens) / max(1, len(self.steps))

    @property
    def accepted_by_depth(self) -> list[float]:
        """Of the steps that guessed, the share that kept so many tokens or more, from 1 on."""
        return accepted_by_depth([step.accepted for step in self.steps if step.read])

    @property
    def speed_up(self) -> float:
        """Tokens a second over those of plain steps."""
        seconds = sum(step.seconds for step in self.steps)
        return len(self.tokens) * self.plain_seconds / seconds if seconds else 1.0


class Speculation:
    """Decode sequences one after the other with guesses.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    draft : Draft
    verifier : Verifier, optional
        Needed where drafts are drawn and the target samples.
    processors : sequence of transformers.LogitsProcessor
        What makes the law of the next token from the logits, temperature and cuts included.
    greedy : bool
        Whether the likeliest token is taken.
    ends : iterable of int
        Tokens that end an answer.
    auto : bool
        Whether the size of the guesses is chosen by their speed on this machine; else all is read.
    trace : bool
        Whether the surprise and entropy of every token are kept.

    Raises
    ------
    UsageError
        If the model cannot take guesses, or a drawn draft has no verifier.

    Examples
    --------
    >>> from samplewise.decode.token_recycling import TokenRecycling
    >>> from samplewise.models import load
    >>> lm = load("builtin")
    >>> speculation = Speculation(lm.model, TokenRecycling(), greedy=True)
    >>> speculation.decode(lm.tokens(["Once upon a"])[0], 4).tokens
    [655, 28, 260, 2240]
    """

    def __init__(
        self,
        model: Any,
        draft: Draft,
        *,
        verifier: Verifier | None = None,
        processors: Sequence[Any] = (),
        greedy: bool = False,
        ends: Iterable[int] = (),
        auto: bool = True,
        trace: bool = False,
    ) -> None:
        from samplewise.models.reader import Reader

        self.model = model
        self._reader = Reader(model)
        self._greedy, self._trace = greedy, trace
        self._processors, self._ends = list(processors), frozenset(ends)
        self._verifier = None if greedy else verifier
        heat = [one for one in self._processors if forgets(one)]
        vocabulary = model.config.get_text_config().vocab_size
        self._drafting: Drafting = draft.begin(vocabulary, self._verifier, heat)
        if draft.draws and not greedy and verifier is None:
            raise UsageError(
                f"{draft.name} draws its drafts, and no verifier is given",
                mend="give one, such as k-seq",
            )
        hope = _HOPE if self._drafting.costly else 0.0
        self._pace = Pace(self._drafting.units, hope, blind=self._drafting.costly)
        self._auto = auto
        self._plain: float | None = None

    @property
    def drafting(self) -> Drafting:
        """What guesses; it may hold what it learnt from earlier sequences."""
        return self._drafting

    def inherit(self, other: Speculation) -> None:
        """Go on with what another has learnt, of guesses and of time; it learns along.

        It must be of the same model and draft. A draft that depends on the settings begins anew.
        """
        if not self._drafting.costly:
            self._drafting, self._pace, self._plain = other._drafting, other._pace, other._plain

    def decode(
        self,
        prompt: Sequence[int],
        most: int,
        *,
        rng: RandomState = None,
        stop: Callable[[list[int]], bool] | None = None,
    ) -> Decoded:
        """Decode one sequence.

        Parameters
        ----------
        prompt : sequence of int
            One token or more.
        most : int
            Tokens that may come out.
        rng : int, numpy.random.Generator or None
        stop : callable, optional
            Told of all tokens after each one; says whether that is the end.

        Raises
        ------
        UsageError
            If the prompt is empty, or `most` is below 1.
        """
        if not len(prompt) or most < 1:
            raise UsageError(
                f"a prompt of {len(prompt)} tokens, and {most} to come", mend="give 1 or more each"
            )
        sequence = _Sequence(list(prompt), len(prompt) + most, self._ends, stop or _never)
        random = generator(rng)
        self._reader.clear()
        if len(prompt) > 1:
            self._reader.read(prompt[:-1])
        self._drafting.start(prompt)
        if self._plain is None:
            self._plain = self._time_plain(prompt[-1])
            self._pace.timed(0, self._plain)
        steps = []
        while not sequence.over:
            steps.append(self._step(sequence, random))
        return Decoded(
            sequence.tokens[len(prompt) :],
            sequence.finish,
            steps,
            self._plain,
            sequence.surprises,
            sequence.entropies,
        )

    def _step(self, sequence: _Sequence, rng: np.random.Generator) -> Step:
        begun = time.perf_counter()
        root, length = sequence.tokens[-1], len(sequence.tokens)
        whole, units = self._guess(sequence, rng)
        tree = whole.cut(units)
        logits = self._reader.guess(
            [root, *tree.tokens.tolist()], [0, *tree.shape.depths.tolist()], _seen(tree.shape)
        )
        way = self._walk(sequence, tree, logits, rng)
        self._reader.keep([0, *(node + 1 for node in way)])
        self._drafting.learn(root, tree, logits, way)
        seconds = time.perf_counter() - begun
        given = sequence.tokens[length:]
        self._note(sequence, whole, tree, units, given, seconds)
        return Step(len(tree), len(way), len(given), seconds)

    def _guess(self, sequence: _Sequence, rng: np.random.Generator) -> tuple[Tree, list[int]]:
        """Guess, and say which nodes of the guess are to be read."""
        left = sequence.limit - len(sequence.tokens) - 1  # the last token needs no guess
        chosen = self._pace.choose() if self._auto else list(range(self._drafting.units))
        if self._drafting.costly:
            levels = min(len(chosen), left)
            if not levels:
                return Tree(Shape(()), np.empty(0, dtype=np.int64)), []
            tree = self._drafting.propose(sequence.tokens, levels, rng)
            return tree, list(range(len(tree)))
        tree = self._drafting.propose(sequence.tokens, self._drafting.units, rng)
        shallow = tree.shape.depths <= left
        return tree, [node for node in chosen if node < len(tree) and shallow[node]]

    def _walk(
        self, sequence: _Sequence, tree: Tree, logits: torch.Tensor, rng: np.random.Generator
    ) -> list[int]:
        """Draw token after token, as long as each was guessed; give the nodes on the way."""
        ways: list[list[int]] = [[]]
        while True:
            node = ways[0][-1] if ways[0] else ROOT
            token = self._next(sequence, tree, node, logits[node + 1], rng)
            sequence.add(token)
            longer = [
                [*way, child]
                for way in ways  # more than one where siblings are alike
                for child in tree.below(way[-1] if way else ROOT, token)
            ]
            ways = longer or ways
            if sequence.over or not longer:
                return ways[0]

    def _next(
        self,
        sequence: _Sequence,
        tree: Tree,
        node: int,
        logits: torch.Tensor,
        rng: np.random.Generator,
    ) -> int:
        scores = scores_of(logits, sequence.tokens, self._processors)
        if self._greedy:
            token = int(scores.argmax())
        else:
            law = law_of(scores)
            if node in tree.laws:
                assert self._verifier
                token = self._verifier.verify(law, tree.laws[node], tree.draws[node], rng).token
            else:  # a guess that nothing was drawn for is right or wrong, whatever the law
                token = draw_from(law, rng)
        if self._trace:
            sequence.trace(logits, token)
        return token

    def _note(
        self,
        sequence: _Sequence,
        whole: Tree,
        tree: Tree,
        units: list[int],
        given: list[int],
        seconds: float,
    ) -> None:
        """Count what turned out right, in what was not read too where guessing is free."""
        if self._drafting.costly:
            levels = tree.shape.depth
            self._pace.timed(levels, seconds)
            if levels:
                right = len(tree.follow(given))
                self._pace.counted(list(range(levels)), list(range(right)))
            return
        self._pace.timed(len(units), seconds)
        for old, came in sequence.settled(whole, given):
            self._pace.counted(list(range(self._drafting.units)), old.follow(came))

    def _time_plain(self, token: int) -> float:
        """Take the time of a step without guesses, the choice of a token included."""
        spent = []
        for _ in range(_TRIES):
            begun = time.perf_counter()
            logits = self._reader.guess([token], [0], np.ones((1, 1), dtype=np.bool_))
            chosen = int(scores_of(logits[0], [token], ()).argmax())
            if self._trace:
                surprise_and_entropy(logits[0], chosen)
            spent.append(time.perf_counter() - begun)
            self._reader.keep([])
        return float(np.median(spent))


class _Sequence:
    """Text that grows."""

    def __init__(
        self, tokens: list[int], limit: int, ends: frozenset[int], stop: Callable[[list[int]], bool]
    ) -> None:
        self.tokens, self.limit = tokens, limit
        self.finish = "length"
        self.over = False
        self.surprises: list[float] = []
        self.entropies: list[float] = []
        self._ends, self._stop = ends, stop
        self._guesses: list[tuple[Tree, list[int]]] = []

    def add(self, token: int) -> None:
        """Add a token, and see whether it is the last."""
        self.tokens.append(token)
        if token in self._ends or self._stop(self.tokens):
            self.finish, self.over = "stop", True
        elif len(self.tokens) >= self.limit:
            self.over = True

    def settled(self, guess: Tree, given: list[int]) -> list[tuple[Tree, list[int]]]:
        """Keep a guess, and give those that enough has come since to say how right they were."""
        self._guesses = [(old, [*came, *given]) for old, came in self._guesses] + [(guess, given)]
        ready = [one for one in self._guesses if len(one[1]) >= one[0].shape.depth]
        self._guesses = [one for one in self._guesses if len(one[1]) < one[0].shape.depth]
        return ready

    def trace(self, logits: torch.Tensor, token: int) -> None:
        """Keep how surprising a token is, and how open the choice was, in bits."""
        surprise, entropy = surprise_and_entropy(logits, token)
        self.surprises.append(surprise)
        self.entropies.append(entropy)


def accepted_by_depth(accepted: Sequence[int]) -> list[float]:
    """Give the share of steps that kept so many guessed tokens or more, from 1 on.

    Examples
    --------
    >>> accepted_by_depth([2, 0])
    [0.5, 0.5]
    """
    return [
        sum(kept >= depth for kept in accepted) / len(accepted)
        for depth in range(1, max(accepted, default=0) + 1)
    ]


def _seen(shape: Shape) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Let every node see the root, its ancestors and itself."""
    seen = np.ones((len(shape) + 1, len(shape) + 1), dtype=np.bool_)
    seen[0, 1:] = False
    seen[1:, 1:] = shape.ancestors
    return seen


def forgets(processor: Any) -> bool:
    """Say whether a processor depends on nothing but the logits: transformers' warpers do not."""
    kind = type(processor)
    return kind.__module__.startswith("transformers.") and kind.__name__.endswith("Warper")


def _never(tokens: list[int]) -> bool:
    return False
