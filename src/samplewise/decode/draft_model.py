"""Draft with a smaller model that has the same tokens.

Use it where such a model is at hand and several times faster: nothing else guesses as well.

Cost: a reading of the smaller model a level. Source: speculative decoding, arXiv 2211.17192; many
sequences at a time are SpecTr's, arXiv 2310.15141; trees of drafts as in arXiv 2502.18779.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import Draft, Drafting, Verifier
from samplewise.decode.tree import ROOT, Shape, Tree
from samplewise.errors import UsageError
from samplewise.models import load

if TYPE_CHECKING:
    import torch

__all__ = ["DraftModel", "ModelDrafting"]


@dataclass(frozen=True)
class DraftModel(Draft):
    """Draft with a smaller causal language model.

    Where the target samples, drafts are drawn from the smaller model's law by the verifier's
    scheme, after the same temperature and cuts. Where it takes its likeliest token, the smaller
    model's likeliest are drafted.

    Parameters
    ----------
    model : str
        As `samplewise.models.load` takes it. Its tokens must be the target's.
    length : int
        Tokens ahead.
    sequences : int
        Sequences drafted at a time. With a verifier of independent drafts each goes on to the end,
        and those that begin alike share their nodes.
    branches : str, optional
        In place of `sequences`: drafts below every node, a level each, such as ``"4 2 1"``; the
        last number goes on for the other levels.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding",
       arXiv 2211.17192.
    .. [2] Sun et al., "SpecTr: Fast Speculative Decoding via Optimal Transport", arXiv 2310.15141.

    Examples
    --------
    >>> DraftModel(model="small-model", length=4, branches="3 1").widths
    [3, 1, 1, 1]
    """

    model: str = ""
    length: int = 4
    sequences: int = 1
    branches: str | None = None

    name: ClassVar[str] = "draft-model"
    aliases: ClassVar[tuple[str, ...]] = ("speculative",)
    paper: ClassVar[str] = "2211.17192"
    draws: ClassVar[bool] = True
    cost: ClassVar[str] = "a reading of the smaller model a level"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("length", "sequences"):
            if getattr(self, knob) < 1:
                raise UsageError(
                    f"{self.name}: knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more"
                )
        self.widths  # noqa: B018 - what cannot be read is told before any work

    @functools.cached_property
    def widths(self) -> list[int]:
        """Drafts below every node of each level, where it branches."""
        words = (self.branches or "1").split()
        if not words or not all(word.isdecimal() and int(word) for word in words):
            raise UsageError(
                f"{self.name}: knob 'branches' is {self.branches!r}",
                mend="give numbers of 1 or more with blanks between, such as '4 2 1'",
            )
        given = [int(word) for word in words][: self.length]
        return given + given[-1:] * (self.length - len(given))

    def begin(self, vocabulary: int, verifier: Verifier | None, heat: Any) -> ModelDrafting:
        """Load the smaller model.

        Raises
        ------
        UsageError
            If there is none, or it has other tokens.
        """
        if not self.model:
            raise UsageError(
                f"{self.name}: no model is named", mend="set the knob 'model' to a folder of one"
            )
        return ModelDrafting(self, load(self.model).model, vocabulary, verifier, heat)


class ModelDrafting(Drafting):
    """A smaller model at work.

    Parameters
    ----------
    method : DraftModel
    model : transformers.PreTrainedModel
    vocabulary : int
        Width of the target's logits.
    verifier : Verifier, optional
    heat : sequence of transformers.LogitsProcessor

    Raises
    ------
    UsageError
        If the model has other tokens than the target.
    """

    costly: ClassVar[bool] = True

    def __init__(
        self,
        method: DraftModel,
        model: Any,
        vocabulary: int,
        verifier: Verifier | None,
        heat: Any,
    ) -> None:
        from samplewise.models.reader import Reader

        words = model.config.get_text_config().vocab_size
        if words != vocabulary:
            raise UsageError(
                f"{method.name}: the model has {words} tokens, and the target {vocabulary}",
                mend="give a smaller model of the same family, with the same tokenizer",
            )
        self._method, self._verifier, self._heat = method, verifier, list(heat)
        self._reader = Reader(model)
        self.units = method.length
        self._read: list[int] = []
        self._places: dict[int, int] = {}

    def start(self, tokens: Sequence[int]) -> None:
        """Forget the last sequence."""
        self._reader.clear()
        self._read = []

    def propose(self, tokens: Sequence[int], units: int, rng: np.random.Generator) -> Tree:
        """Draft a level at a time."""
        self._catch_up(tokens)
        growing = _Growing()
        level = [ROOT]
        for depth in range(min(units, self._method.length)):
            rows = dict(zip(level, self._look(tokens, growing, level), strict=True))
            below = [self._grow(tokens, growing, node, rows[node], depth, rng) for node in level]
            level = [child for children in below for child in children]
        return growing.tree()

    def learn(self, root: int, tree: Tree, logits: torch.Tensor, way: Sequence[int]) -> None:
        """Keep what was read of the branch that was right."""
        if not self._reader.guessed:  # nothing was drafted
            return
        kept = [ROOT, *way]
        read = [self._places[node] for node in kept if node in self._places]
        self._reader.keep(read)
        self._read += [root, *(int(tree.tokens[node]) for node in way)][: len(read)]

    def _catch_up(self, tokens: Sequence[int]) -> None:
        """Read all that is certain but the last token, which begins the tree."""
        self._places = {}
        behind = list(tokens[len(self._read) : -1])
        if self._reader.guessed:
            self._reader.keep([])
        if behind:
            self._reader.read(behind)
            self._read += behind

    def _look(self, tokens: Sequence[int], growing: _Growing, level: list[int]) -> torch.Tensor:
        """Read a level, and give the logits after each of its nodes."""
        before = len(self._places)
        self._places |= {node: before + place for place, node in enumerate(level)}
        seen = np.zeros((len(level), before + len(level)), dtype=np.bool_)
        for row, node in enumerate(level):
            for one in growing.way(node):
                seen[row, self._places[one]] = True
        words = [tokens[-1] if node == ROOT else growing.tokens[node] for node in level]
        depths = [len(growing.way(node)) - 1 for node in level]
        return self._reader.guess(words, depths, seen)

    def _grow(
        self,
        tokens: Sequence[int],
        growing: _Growing,
        node: int,
        logits: torch.Tensor,
        depth: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """Put drafts below a node, and give the new nodes."""
        from samplewise.decode.laws import law_of, scores_of

        many = self._method.widths[depth]
        if self._method.branches is None:
            many = self._method.sequences if node == ROOT else growing.times[node]
        text = [*tokens, *(growing.tokens[one] for one in growing.way(node)[1:])]
        scores = scores_of(logits, text, self._heat)
        if self._verifier is None:
            likeliest = scores.topk(min(many, len(scores))).indices
            return growing.grow(node, likeliest.cpu().numpy(), None)
        law = law_of(scores)
        return growing.grow(node, self._verifier.draw(law, many, rng), law)


class _Growing:
    """A tree that is being drafted."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.times: list[int] = []
        self._laws: dict[int, NDArray[np.float64]] = {}
        self._draws: dict[int, NDArray[np.int64]] = {}

    def grow(
        self, node: int, drawn: NDArray[np.int64], law: NDArray[np.float64] | None
    ) -> list[int]:
        """Put drafts below a node, each different token once."""
        if law is not None:
            self._laws[node], self._draws[node] = law, drawn
        words, times = np.unique(drawn, return_counts=True)
        first = len(self.tokens)
        self.tokens += words.tolist()
        self.times += times.tolist()
        self.parents += [node] * len(words)
        return list(range(first, len(self.tokens)))

    def way(self, node: int) -> list[int]:
        """Give the nodes from the root to a node."""
        found = [node]
        while found[-1] != ROOT:
            found.append(self.parents[found[-1]])
        return found[::-1]

    def tree(self) -> Tree:
        """Give what has grown."""
        tokens = np.array(self.tokens, dtype=np.int64)
        return Tree(Shape(self.parents), tokens, self._laws, self._draws)
