"""How likely a causal language model finds each token of a text.

Texts are read in batches of like length. The logits, one number for every token of the vocabulary,
are made only where a probability is asked for, and for a few hundred places at a time, so memory is
bounded by `batch_tokens` and not by the texts.

Cost: one forward pass, O(tokens x weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.models.base import LanguageModel

if TYPE_CHECKING:
    import torch

__all__ = [
    "Reading",
    "batches",
    "log_probabilities",
    "read_pairs",
    "read_texts",
    "response_log_probabilities",
    "score_readings",
    "token_log_probabilities",
]

Floats: TypeAlias = NDArray[np.float32]

_SLICE = 512  # places whose logits are held at once


class Reading(NamedTuple):
    """What the model reads: token ids, of which those from place `first` on are to be predicted."""

    ids: list[int]
    first: int

    @property
    def targets(self) -> int:
        """How many tokens are to be predicted."""
        return len(self.ids) - self.first


def token_log_probabilities(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    max_tokens: int = 512,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] | None = None,
) -> list[Floats]:
    """Give the log-probability of every token of each text, given those before it.

    Parameters
    ----------
    lm : LanguageModel
    texts : sequence of str
    max_tokens : int
        Tokens of a text that are read; what comes after is left out. Never more than the model
        can read.
    batch_tokens : int
        Tokens, with the padding, that are read at once; one text is always read whole.
    advance : callable, optional
        Called with the number of texts that each batch has finished.

    Returns
    -------
    list of ndarray of float32, one a text, shape (tokens,)
        Natural logarithms, in the order of `texts`; empty for an empty text.
    """
    return score_readings(lm, read_texts(lm, texts, max_tokens), batch_tokens, advance)


def response_log_probabilities(
    lm: LanguageModel,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    max_tokens: int = 512,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] | None = None,
) -> list[Floats]:
    """Give the log-probability of every token of each response, given its prompt.

    The prompt and a newline come before the response, whose tokens are those it has alone.

    Parameters
    ----------
    lm : LanguageModel
    prompts, responses : sequence of str, equally long
        An empty prompt counts as none.
    max_tokens : int
        Tokens of a pair that are read. In a longer one the response keeps what the prompt leaves
        it, and half at least; the prompt then keeps its end.
    batch_tokens, advance
        As in `token_log_probabilities`.

    Returns
    -------
    list of ndarray of float32, one a pair, shape (tokens of the response that were read,)
    """
    return score_readings(lm, read_pairs(lm, prompts, responses, max_tokens), batch_tokens, advance)


def read_texts(lm: LanguageModel, texts: Sequence[str], max_tokens: int) -> list[Reading]:
    """Turn texts into tokens to be predicted, all of them."""
    most = _most(lm, max_tokens)
    return [Reading([lm.start, *ids[:most]], 1) for ids in lm.tokens(list(texts))]


def read_pairs(
    lm: LanguageModel, prompts: Sequence[str], responses: Sequence[str], max_tokens: int
) -> list[Reading]:
    """Turn prompts and responses into tokens, of which the responses' are to be predicted."""
    most = _most(lm, max_tokens)
    before = lm.tokens([f"{prompt}\n" if prompt else "" for prompt in prompts])
    found = []
    for prompt, response in zip(before, lm.tokens(list(responses)), strict=True):
        kept = response[: max(most - len(prompt), (most + 1) // 2)]
        room = most - len(kept)
        context = prompt[-room:] if room else []
        found.append(Reading([lm.start, *context, *kept], 1 + len(context)))
    return found


def batches(readings: Sequence[Reading], batch_tokens: int) -> Iterator[list[int]]:
    """Yield batches of places in `readings`, longest first, so that the first needs most memory."""
    order = sorted(range(len(readings)), key=lambda place: -len(readings[place].ids))
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // len(readings[order[start]].ids))
        yield order[start : start + rows]
        start += rows


def log_probabilities(lm: LanguageModel, batch: Sequence[Reading]) -> torch.Tensor:
    """Give the log-probabilities of all tokens to be predicted, one reading behind the other.

    Shape (targets of the batch,), float32, on the model's device; gradients flow where they are on.
    """
    import torch

    length = max(len(reading.ids) for reading in batch)
    # The padding comes last, where no token that counts can see it, so it needs no mask.
    ids = torch.full((len(batch), length), lm.start)
    wanted = torch.zeros((len(batch), length), dtype=torch.bool)
    for row, reading in enumerate(batch):
        ids[row, : len(reading.ids)] = torch.tensor(reading.ids)
        wanted[row, reading.first : len(reading.ids)] = True
    targets = ids[wanted].to(lm.device)
    places = wanted[:, 1:].to(lm.device)  # a token is predicted at the place before it
    inputs = ids[:, :-1].to(lm.device)
    if not lm.has_plain_head:
        return _chosen(lm.model(input_ids=inputs, use_cache=False).logits[places], targets)
    hidden = lm.model.base_model(input_ids=inputs, use_cache=False)[0][places]
    head = lm.model.get_output_embeddings()
    slices = zip(hidden.split(_SLICE), targets.split(_SLICE), strict=True)
    return torch.cat([_chosen(head(some), ids) for some, ids in slices])


def score_readings(
    lm: LanguageModel,
    readings: list[Reading],
    batch_tokens: int,
    advance: Callable[[int], None] | None = None,
) -> list[Floats]:
    """Give the log-probabilities of the tokens to be predicted, reading by reading."""
    import torch

    found = [np.empty(0, np.float32)] * len(readings)
    for batch in batches(readings, batch_tokens):
        some = [place for place in batch if readings[place].targets]
        if some:
            with torch.inference_mode():
                values = log_probabilities(lm, [readings[place] for place in some])
            ends = np.cumsum([readings[place].targets for place in some])
            for place, part in zip(some, np.split(values.cpu().numpy(), ends[:-1]), strict=True):
                found[place] = part
        if advance:
            advance(len(batch))
    return found


def _chosen(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    return -cross_entropy(logits.float(), targets, reduction="none")


def _most(lm: LanguageModel, max_tokens: int) -> int:
    # The last token of all is predicted, but never read, so the start token takes no place.
    return min(max_tokens, lm.positions or max_tokens)
