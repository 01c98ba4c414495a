"""One decoder that continues text and fills gaps, without a token that says which.

Half of the packed sequences are learned as they are, from left to right; in the other half spans of
every document are taken out, numbered masks stand for them, and they follow at the end. So a model
sees what comes after a gap before it fills it. Use it for a model of code that is to complete in
the middle of a file. The knobs hold the paper's ablations: a prefix that is read in both
directions, the middle moved to the end (fill-in-the-middle), all causal, all corrupted.

Cost: O(batch x length) tokens forward and back a step; formatting is linear.
Source: arXiv 2305.02309. The ranges of ratios and lengths of spans, and which tokens carry loss,
are not published: those here are reconstructed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Learner, Loop, Outcomes, Task, Weights, descend
from samplewise.train.documents import DocumentFile, Documents, PairedWords
from samplewise.train.policy import Policy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Formatted",
    "InfillMixture",
    "Marks",
    "attention_mask",
    "infill_decode",
    "infill_prompt",
    "prefix_suffix_middle",
    "restore",
    "span_corrupt",
    "undo_prefix_suffix_middle",
]

Tokens = list[int]
MASKS = 12
"""Numbered masks of a small model."""
IGNORED = -100


class Marks(NamedTuple):
    """The special tokens of the format.

    Attributes
    ----------
    end : int
        Ends a document.
    separator : int
        Stands before the spans that were taken out.
    end_of_mask : int
        Ends a span, and so an infill.
    prefix, suffix, middle : int
        Stand before the parts where the middle is moved to the end.
    masks : tuple of int
        Stand for the spans, from left to right.
    """

    end: int
    separator: int
    end_of_mask: int
    prefix: int
    suffix: int
    middle: int
    masks: tuple[int, ...]

    @classmethod
    def after(cls, vocabulary: int, end: int = 1, masks: int = MASKS) -> Marks:
        """Take the tokens from `vocabulary` on; ``5 + masks`` of them.

        Examples
        --------
        >>> Marks.after(100, masks=2).masks
        (105, 106)
        """
        rest = tuple(range(vocabulary + 5, vocabulary + 5 + masks))
        separator, end_of_mask, prefix, suffix, middle = range(vocabulary, vocabulary + 5)
        return cls(end, separator, end_of_mask, prefix, suffix, middle, rest)


class Formatted(NamedTuple):
    """A sequence as it is learned.

    Attributes
    ----------
    ids : list of int
    scored : list of bool
        Tokens whose prediction carries loss.
    prefix : int
        Tokens that are read in both directions; 0 for causal reading.
    corrupted : bool
        Whether spans were taken out.
    """

    ids: Tokens
    scored: list[bool]
    prefix: int
    corrupted: bool


@dataclass(frozen=True)
class InfillMixture(Loop[Documents]):
    """Learn to continue text and to fill gaps, in one mixture of objectives.

    Parameters
    ----------
    p_clm : float
        Share of the sequences that are learned as they are; 1 is plain causal training.
    objective : {'spans', 'middle'}
        What the others are: with spans taken out; or with the middle of each document moved to its
        end (fill-in-the-middle, an ablation of the paper).
    ratio_low, ratio_high : float
        The share of a document that is taken out is uniform between them (reconstructed).
    touching : bool
        Whether two spans may follow each other with nothing between (own knob).
    loss_on : {'all', 'targets'}
        Whether all tokens carry loss, or of the corrupted ones only the spans (reconstructed: all).
    prefix : bool
        Read what stands before the spans in both directions, and score nothing of it: the
        prefix-LM ablation.
    length : int
        Tokens of a packed sequence before spans are taken out.
    batch : int
        Sequences a step.
    learning_rate : float

    References
    ----------
    Nijkamp, Hayashi, Xiong, Savarese, Zhou (2023), arXiv 2305.02309.

    Examples
    --------
    >>> learner = InfillMixture(batch=2).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['corrupted', 'flops', 'loss', 'tokens']
    """

    name: ClassVar[str] = "infill-mixture"
    aliases: ClassVar[tuple[str, ...]] = ("codegen2",)
    paper: ClassVar[str] = "2305.02309"
    cost: ClassVar[str] = "O(batch x length) tokens a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (PairedWords, DocumentFile)
    better: ClassVar[Literal["higher", "lower"]] = "lower"

    p_clm: float = 0.5
    objective: Literal["spans", "middle"] = "spans"
    ratio_low: float = 0.05
    ratio_high: float = 0.5
    touching: bool = True
    loss_on: Literal["all", "targets"] = "all"
    prefix: bool = False
    length: int = 34
    batch: int = 16
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("p_clm", most=1)
        if not 0 < self.ratio_low <= self.ratio_high < 1:
            raise UsageError(
                f"{self.name}: ratio_low is {self.ratio_low} and ratio_high {self.ratio_high}",
                mend="give 0 < ratio_low <= ratio_high < 1",
            )
        self.require("length", least=2)
        self.require("batch", "learning_rate", above=True)

    def start(
        self, task: Documents, model: Any, steps: int, rng: np.random.Generator
    ) -> InfillLearner:
        """Make the learner."""
        return InfillLearner(self, task, model, steps, rng)

    def rival(self, task: Documents) -> InfillMixture:
        """Give plain causal training."""
        return replace(self, p_clm=1.0)

    def format(self, packed: Sequence[int], marks: Marks, rng: np.random.Generator) -> Formatted:
        """Format a packed sequence as one of the objectives, drawn at random.

        Every call draws other spans, so that documents that come again come otherwise.

        Parameters
        ----------
        packed : sequence of int
            Documents, each with the token that ends it but for the last, which may be cut.
        marks : Marks
        rng : numpy.random.Generator
        """
        if rng.random() < self.p_clm:
            return Formatted(list(packed), [True] * len(packed), 0, False)
        ids: Tokens = []
        scored: list[bool] = []
        prefix = 0
        for piece, ended in _pieces(packed, marks.end):
            if self.objective == "middle":
                made, after = prefix_suffix_middle(piece, marks, rng), marks.middle
            else:
                low, high = self.ratio_low, self.ratio_high
                made, _ = span_corrupt(piece, marks, rng, low, high, touching=self.touching)
                after = marks.separator
            head = made.index(after) + 1 if after in made else 0
            if self.prefix and not ids:  # what stands behind the first head is read causally
                prefix = head
            carries = self.loss_on == "all" and len(ids) >= prefix
            scored += [carries] * head + [True] * (len(made) - head)
            ids += made
            if ended:
                ids.append(marks.end)
                scored.append(True)
        return Formatted(ids, scored, prefix, True)


class InfillLearner(Learner):
    """Pack documents, format them, and learn the next token.

    Attributes
    ----------
    policy : Policy
        Its vocabulary ends with the special tokens.
    marks : Marks
    """

    def __init__(
        self,
        loop: InfillMixture,
        task: Documents,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(steps, rng)
        self.loop, self.task = loop, task
        special = 5 + MASKS
        # With two layers, the small transformer does not learn to look ahead of a gap.
        self.policy = (
            Policy.small(layers=4, special=special, rng=self.rng) if model is None else model
        )
        vocabulary = int(self.policy.model.config.vocab_size)
        self.marks = Marks.after(vocabulary - special, end=self.policy.end)
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.parts |= {
            "model": Weights(self.policy.model),
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def step(self) -> Figures:
        """Take one step."""
        made = [
            self.loop.format(self.packed(), self.marks, self.rng) for _ in range(self.loop.batch)
        ]
        before = self.policy.meter.flops
        losses, scored = self.losses(made)
        loss = losses.sum() / scored.sum()
        descend(self.optimizer, loss, self.policy.learned)
        self.schedule.step()
        return {
            "loss": loss.item(),
            "corrupted": float(np.mean([one.corrupted for one in made])),
            "tokens": float(sum(len(one.ids) for one in made)),
            "flops": self.policy.meter.flops - before,
        }

    def packed(self) -> Tokens:
        """Join documents drawn at random, and cut them to the length."""
        ids: Tokens = []
        while len(ids) < self.loop.length:
            number = int(self.rng.integers(self.task.count))
            ids += [*self.policy.encode(self.task.document(number)), self.marks.end]
        return ids[: self.loop.length]

    def losses(self, made: Sequence[Formatted]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give minus the log-probability of every scored token, 0 elsewhere, and which they are.

        Both have the shape (rows, length - 1).
        """
        length = max(len(one.ids) for one in made)
        device = self.policy.device
        ids = torch.full((len(made), length), self.policy.padding, device=device)
        scored = torch.zeros(len(made), length, dtype=torch.bool, device=device)
        for row, one in enumerate(made):
            ids[row, : len(one.ids)] = torch.tensor(one.ids, device=device)
            scored[row, : len(one.ids)] = torch.tensor(one.scored, device=device)
        logits = self._read(ids, [one.prefix for one in made])
        labels = ids.masked_fill(~scored, IGNORED)[:, 1:]
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2),
            labels,
            ignore_index=IGNORED,
            reduction="none",
        )
        return each, scored[:, 1:]

    def _read(self, ids: torch.Tensor, prefixes: Sequence[int]) -> torch.Tensor:
        """Give the logits of texts, each with a prefix that is read in both directions."""
        allowed = torch.stack([attention_mask(ids.shape[1], prefix) for prefix in prefixes])
        # As transformers takes a mask of its own: what is added to the scores.
        added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        self.policy.meter.count(self.policy.model, ids.numel())
        out: torch.Tensor = self.policy.model(
            input_ids=ids, attention_mask=added[:, None].to(ids.device), use_cache=False
        ).logits
        return out

    def outcomes(self) -> Outcomes:
        """Give nats a token on held-out documents: their second halves, and gaps in them.

        A gap is filled in once with what follows it, and once with what follows the gap of another
        document (``wrong_suffix``): where the suffix is used, that is much worse. ``exact`` is the
        share of gaps that the likeliest tokens fill as they were.
        """
        numbers = range(self.task.count, self.task.count + self.task.held_out)
        texts = [self.policy.encode(self.task.document(number)) for number in numbers]
        gaps = [self.task.gap(number) for number in numbers]
        causal = [
            Formatted(ids, [place >= len(ids) // 2 for place in range(len(ids))], 0, False)
            for ids in texts
        ]
        suffixes = [ids[stop:] for ids, (_, stop) in zip(texts, gaps, strict=True)]
        with torch.no_grad():
            return {
                "infill": self._nats(self._filled(texts, gaps, suffixes)),
                "wrong_suffix": self._nats(self._filled(texts, gaps, [*suffixes[1:], suffixes[0]])),
                "left_to_right": self._nats(causal),
                "exact": np.array(
                    [
                        self.fill(ids[:start], ids[stop:], stop - start + 2) == ids[start:stop]
                        for ids, (start, stop) in zip(texts[:_SHOWN], gaps, strict=False)
                    ],
                    np.float64,
                ),
            }

    def fill(self, prefix: Sequence[int], suffix: Sequence[int], most: int) -> Tokens:
        """Fill one gap with the likeliest tokens, `most` of them at most."""
        ids = infill_prompt(prefix, suffix, self.marks)
        head = len(ids) - 1 if self.loop.prefix else 0
        start = len(ids)
        with torch.no_grad():
            for _ in range(most):
                logits = self._read(torch.tensor([ids], device=self.policy.device), [head])
                ids.append(int(logits[0, -1].argmax()))
                if ids[-1] == self.marks.end_of_mask:
                    break
        return infill_decode(ids[start:], self.marks)

    def _filled(
        self,
        texts: Sequence[Tokens],
        gaps: Sequence[tuple[int, int]],
        suffixes: Sequence[Tokens],
    ) -> list[Formatted]:
        made = []
        for ids, (start, stop), suffix in zip(texts, gaps, suffixes, strict=True):
            prompt = infill_prompt(ids[:start], suffix, self.marks)
            target = [*ids[start:stop], self.marks.end_of_mask]
            scored = [False] * len(prompt) + [True] * (stop - start) + [False]
            head = len(prompt) - 1 if self.loop.prefix else 0
            made.append(Formatted(prompt + target, scored, head, True))
        return made

    def _nats(self, made: Sequence[Formatted]) -> NDArray[np.float64]:
        losses, scored = self.losses(made)
        counts = scored.sum(dim=1)
        some = counts > 0
        return (losses.double().sum(dim=1)[some] / counts[some]).cpu().numpy()


_SHOWN = 32  # gaps that are filled token by token


# --- the format -----------------------------------------------------------------------------------


def span_corrupt(
    ids: Sequence[int],
    marks: Marks,
    rng: np.random.Generator,
    low: float = 0.05,
    high: float = 0.5,
    *,
    touching: bool = True,
) -> tuple[Tokens, list[Tokens]]:
    """Take spans out of a document, put numbered masks for them, and let them follow.

    The share r taken out is uniform in [low, high], and round(r n) tokens are, 1 at least. The
    length of spans is uniform from 1 to that; the last one is shortened to hit it. Where they are
    is drawn from all placements of as many spans, each as likely.

    Parameters
    ----------
    ids : sequence of int
        A document; one of fewer than 2 tokens is left as it is.
    marks : Marks
        Where there are fewer masks than spans, spans are made longer.
    rng : numpy.random.Generator
    low, high : float
    touching : bool
        Whether spans may follow each other with nothing between.

    Returns
    -------
    corrupted : list of int
        n + 3 m + 2 tokens for m spans.
    spans : list of list of int

    Examples
    --------
    >>> marks = Marks.after(10, masks=3)
    >>> made, spans = span_corrupt([2, 3, 4, 5], marks, np.random.default_rng(0))
    >>> restore(made, marks)
    [2, 3, 4, 5]
    """
    n = len(ids)
    if n < 2:
        return list(ids), []
    lengths = _span_lengths(n, rng.uniform(low, high), len(marks.masks), touching, rng)
    kept = n - sum(lengths)
    # Kept tokens and spans in a row, or spans into the gaps between kept tokens.
    slots = kept + len(lengths) if touching else kept + 1
    places = np.sort(rng.choice(slots, size=len(lengths), replace=False)).tolist()
    starts, moved = [], 0
    for number, (place, length) in enumerate(zip(places, lengths, strict=True)):
        starts.append(place - (number if touching else 0) + moved)
        moved += length
    spans = [
        list(ids[start : start + length]) for start, length in zip(starts, lengths, strict=True)
    ]
    head: Tokens = []
    at = 0
    for mask, start, length in zip(marks.masks, starts, lengths, strict=False):
        head += [*ids[at:start], mask]
        at = start + length
    head += [*ids[at:], marks.end, marks.separator]
    tail = [
        token
        for mask, span in zip(marks.masks, spans, strict=False)
        for token in (mask, *span, marks.end_of_mask)
    ]
    return head + tail, spans


def _span_lengths(
    n: int, ratio: float, masks: int, touching: bool, rng: np.random.Generator
) -> list[int]:
    """Draw how long spans are; they sum to the rounded share, in an order drawn at random."""
    masked = max(1, min(n - 1, round(ratio * n)))
    length = int(rng.integers(1, masked + 1))
    # No more spans than masks, nor than gaps that they may lie in.
    most = masks if touching else min(masks, n - masked + 1)
    length = max(length, -(-masked // most))
    lengths = [length] * (masked // length)
    if masked % length:
        lengths.append(masked % length)
    return [lengths[place] for place in rng.permutation(len(lengths)).tolist()]


def restore(corrupted: Sequence[int], marks: Marks) -> Tokens:
    """Put spans back where their masks stand: what `span_corrupt` was given.

    Raises
    ------
    UsageError
        If a span is missing or stands twice.
    """
    ids = list(corrupted)
    if marks.separator not in ids:
        return ids
    cut = ids.index(marks.separator)
    spans: dict[int, Tokens] = {}
    for token in ids[cut + 1 :]:
        if token in marks.masks:
            if token in spans:
                raise UsageError(f"span {marks.masks.index(token) + 1} stands twice")
            spans[token] = []
            last = token
        elif token != marks.end_of_mask:
            spans[last].append(token)
    missing = [token for token in ids[:cut] if token in marks.masks and token not in spans]
    if missing:
        raise UsageError(f"span {marks.masks.index(missing[0]) + 1} is missing")
    whole: Tokens = []
    for token in ids[: cut - 1]:
        whole += spans.get(token, [token])
    return whole


def prefix_suffix_middle(ids: Sequence[int], marks: Marks, rng: np.random.Generator) -> Tokens:
    """Cut a document at two places, and move the middle to its end.

    Examples
    --------
    >>> marks = Marks.after(10)
    >>> made = prefix_suffix_middle([2, 3, 4], marks, np.random.default_rng(0))
    >>> undo_prefix_suffix_middle(made, marks)
    [2, 3, 4]
    """
    if len(ids) < 2:
        return list(ids)
    first, second = sorted(rng.integers(0, len(ids) + 1, size=2).tolist())
    return [
        marks.prefix,
        *ids[:first],
        marks.suffix,
        *ids[second:],
        marks.middle,
        *ids[first:second],
        marks.end_of_mask,
    ]


def undo_prefix_suffix_middle(made: Sequence[int], marks: Marks) -> Tokens:
    """Give the document that `prefix_suffix_middle` was given."""
    ids = list(made)
    if marks.prefix not in ids:
        return ids
    suffix, middle = ids.index(marks.suffix), ids.index(marks.middle)
    return ids[1:suffix] + ids[middle + 1 : -1] + ids[suffix + 1 : middle]


def attention_mask(length: int, prefix: int = 0) -> torch.Tensor:
    """Say which tokens each may look at: those before it, itself, and all of the prefix.

    Returns
    -------
    torch.Tensor of bool, shape (length, length)
        Row i is what token i looks at.

    Examples
    --------
    >>> attention_mask(3, prefix=2).int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    places = torch.arange(length)
    return (places[None] <= places[:, None]) | (places < prefix)[None]


def infill_prompt(prefix: Sequence[int], suffix: Sequence[int], marks: Marks) -> Tokens:
    """Give the tokens after which a model writes what belongs between two texts.

    Split a text at the gap before it is made tokens, so that no token spans its edge.

    Examples
    --------
    >>> infill_prompt([2, 3], [4], Marks.after(10, masks=1))
    [2, 3, 15, 4, 1, 10, 15]
    """
    return [*prefix, marks.masks[0], *suffix, marks.end, marks.separator, marks.masks[0]]


def infill_decode(tokens: Sequence[int], marks: Marks) -> Tokens:
    """Give what a model wrote, up to the token that ends an infill; an end of text ends none.

    Examples
    --------
    >>> infill_decode([7, 8, 11, 9], Marks.after(10))
    [7, 8]
    """
    ids = list(tokens)
    return ids[: ids.index(marks.end_of_mask)] if marks.end_of_mask in ids else ids


def _pieces(packed: Sequence[int], end: int) -> list[tuple[Tokens, bool]]:
    """Split a sequence behind its documents; say of each whether its end is there."""
    pieces: list[tuple[Tokens, bool]] = []
    piece: Tokens = []
    for token in packed:
        if token == end:
            pieces.append((piece, True))
            piece = []
        else:
            piece.append(token)
    return [*pieces, (piece, False)] if piece else pieces
