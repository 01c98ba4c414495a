"""Why a model thinks too long: lengths, missed ends of thinking and repetition of its own traces.

Use it on traces that a model wrote, before choosing a temperature for its end of thinking or a
training for shorter reasoning, and again afterwards. At each place where a sentence ends and the
model still thinks, it reads how likely the end of thinking was, and whether it came next.

Cost: one forward pass a trace, and O(V) a place for V tokens in the vocabulary.
Source: arXiv 2505.07961, whose text was not at hand: the definitions are reconstructed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.reasoning_traces import (
    SENTENCE_END,
    EndRanks,
    Lengths,
    end_ranks,
    mean_repetition,
    sentence_ends,
    summarise_lengths,
)

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "a diagnosis")

__all__ = ["Diagnosis", "diagnose_thinking", "read_ends", "sentences_of_text", "thinking_places"]

Ids: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Sentences: TypeAlias = "Collection[int] | Callable[[Ids], ArrayLike]"


@dataclass(frozen=True)
class Diagnosis:
    """What traces show.

    Attributes
    ----------
    lengths : Lengths
        In tokens of thinking, without its marks.
    ends : EndRanks
        Of the end of thinking, at ends of sentences.
    repetition : float or None
        Mean share of n-grams of the thinking that occurred earlier in it; None where all thinking
        is shorter than an n-gram.
    """

    lengths: Lengths
    ends: EndRanks
    repetition: float | None


def diagnose_thinking(
    model: torch.nn.Module,
    traces: Sequence[ArrayLike],
    prompts: Sequence[int],
    right: ArrayLike,
    *,
    end: int,
    sentences: Sentences,
    begin: int | None = None,
    marks_in_prompt: bool = True,
    finished: ArrayLike | None = None,
    problems: ArrayLike | None = None,
    n: int = 4,
) -> Diagnosis:
    """Report on the thinking of traces.

    Parameters
    ----------
    model : torch.nn.Module
        Called as causal models of transformers are.
    traces : sequence of array_like of int, shape (tokens,) each
        Prompt and reply, without padding.
    prompts : sequence of int
        Tokens of each prompt, 1 or more.
    right : array_like of bool, shape (traces,)
    end : int
        The token that ends thinking.
    sentences : collection of int, or callable
        The tokens that end a sentence, or what says of every token of a trace whether it does, as
        `sentences_of_text` makes it.
    begin : int, optional
        The token that begins thinking. By default a text is thinking until `end` has come.
    marks_in_prompt : bool
        Whether marks in the prompt count, as they do for `StopTemperature`: after a prompt that
        ends thinking there is none. Without, thinking begins where the reply does.
    finished : array_like of bool, shape (traces,), optional
        Which traces ended by themselves; by default those that do not end in thinking.
    problems : array_like, shape (traces,), optional
        Which problem each is of: see `samplewise.measure.reasoning_traces.summarise_lengths`.
    n : int
        Tokens of an n-gram.

    Returns
    -------
    Diagnosis

    Raises
    ------
    UsageError
        If there is no trace, a prompt is not shorter than its trace, or tokens are no such.

    References
    ----------
    arXiv 2505.07961

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=4, n_layer=1, n_head=1))
    >>> _ = torch.nn.init.zeros_(model.lm_head.weight)  # it finds all tokens equally likely
    >>> traces = [[1, 5, 6, 5, 6, 2, 7], [1, 5, 5, 5, 5, 5, 5]]
    >>> found = diagnose_thinking(model, traces, [1, 1], [1, 0], end=2, sentences=[6], n=2)
    >>> found.lengths.right_tokens, found.lengths.wrong_tokens, found.lengths.unfinished
    (4.0, 6.0, 0.5)
    >>> found.ends.chosen, found.ends.probabilities.round(3)
    (array([False,  True]), array([0.1, 0.1]))
    """
    texts = _texts(traces, prompts, right, end)
    active = [
        thinking_places(ids, prompt, end=end, begin=begin, marks_in_prompt=marks_in_prompt)
        for ids, prompt in zip(texts, prompts, strict=True)
    ]
    ended = [not thinks[-1] for thinks in active] if finished is None else finished
    thoughts = [thinks & (ids != begin) for ids, thinks in zip(texts, active, strict=True)]
    both = list(zip(texts, thoughts, strict=True))
    places = [np.flatnonzero(thought & _end_sentences(ids, sentences)) for ids, thought in both]
    lengths = [int(thought.sum()) for thought in thoughts]
    return Diagnosis(
        lengths=summarise_lengths(lengths, right, ended, problems=problems),
        ends=read_ends(model, texts, places, end=end),
        repetition=mean_repetition([ids[thought] for ids, thought in both], n),
    )


def read_ends(
    model: torch.nn.Module, traces: Sequence[ArrayLike], places: Sequence[ArrayLike], *, end: int
) -> EndRanks:
    """Read how likely the end of thinking was after some places of traces.

    Parameters
    ----------
    model : torch.nn.Module
    traces : sequence of array_like of int, shape (tokens,) each
    places : sequence of array_like of int
        Of each trace, from 0. After the last token nothing was chosen: such a place is left out.
    end : int

    Returns
    -------
    EndRanks
        Trace by trace, and in each in the order of `places`.
    """
    parts = [EndRanks(np.empty(0, np.int64), np.empty(0), np.empty(0, bool), np.empty(0))]
    training = model.training
    model.eval()
    try:
        for trace, chosen in zip(traces, places, strict=True):
            ids, some = np.asarray(trace, np.int64), np.asarray(chosen, np.int64)
            some = some[some < len(ids) - 1]
            if len(some):
                parts.append(end_ranks(_scores(model, ids, some), end, ids[some + 1]))
    finally:
        model.train(training)
    return EndRanks(*map(np.concatenate, zip(*parts, strict=True)))


def thinking_places(
    ids: ArrayLike,
    prompt: int,
    *,
    end: int,
    begin: int | None = None,
    marks_in_prompt: bool = True,
) -> Flags:
    """Say of which tokens of a reply the model is thinking after it has read them.

    Parameters
    ----------
    ids : array_like of int, shape (tokens,)
    prompt : int
        How many of them are the prompt.
    end, begin, marks_in_prompt
        As in `diagnose_thinking`.

    Returns
    -------
    ndarray of bool, shape (tokens,)
        False in the prompt, and for an end of thinking; True for a begin.

    Examples
    --------
    >>> thinking_places([1, 8, 5, 5, 2, 7], 2, begin=8, end=2)
    array([False, False,  True,  True, False, False])
    """
    tokens = np.asarray(ids, np.int64)
    places = np.arange(1, len(tokens) + 1)
    counts = marks_in_prompt | (places > prompt)
    ended = np.maximum.accumulate(np.where((tokens == end) & counts, places, 0))
    if begin is None:
        active = ended == 0
    else:
        begun = np.where((tokens == begin) & counts, places, 0)
        # Without marks of the prompt, thinking begins where the reply does.
        first = 0 if marks_in_prompt else prompt
        active = np.maximum(np.maximum.accumulate(begun), first) > ended
    return np.asarray(active & (places > prompt))


def sentences_of_text(
    piece: Callable[[int], str], marks: Collection[int] = (), pattern: str = SENTENCE_END
) -> Callable[[Ids], Flags]:
    r"""Make what finds ends of sentences in the text of a trace, for `diagnose_thinking`.

    Parameters
    ----------
    piece : callable
        Gives the text of a token, with the space before it.
    marks : collection of int
        The tokens that begin and end thinking; they count as a space.
    pattern : str
        See `samplewise.measure.reasoning_traces.sentence_ends`.

    Returns
    -------
    callable
        Gives a bool for every token of an array of ids.

    Examples
    --------
    >>> words = ["<end>", "2.5", " it", " is", ".", "\n"]
    >>> find = sentences_of_text(words.__getitem__, marks=[0])
    >>> find(np.array([2, 3, 1, 4, 5, 2, 3, 4, 0, 2]))
    array([False, False, False, False,  True, False, False,  True, False,
           False])
    """

    def find(ids: Ids) -> Flags:
        pieces = [" " if token in marks else piece(token) for token in ids.tolist()]
        flags = np.zeros(len(ids), bool)
        flags[sentence_ends(pieces, pattern)] = True
        return flags

    return find


def _scores(model: torch.nn.Module, ids: Ids, places: Ids) -> NDArray[np.float64]:
    """Give the logits after some places; shape (places, V)."""
    device = next(model.parameters()).device
    inputs, kept = (torch.from_numpy(one).to(device) for one in (ids, places))
    few = "logits_to_keep" in inspect.signature(model.forward).parameters
    # The logits of a whole long trace may not fit into memory.
    only: dict[str, Any] = {"logits_to_keep": kept} if few else {}
    with torch.inference_mode():
        logits = model(input_ids=inputs[None], use_cache=False, **only).logits[0]
        scores = logits if few else logits[kept]
    return np.asarray(scores.double().cpu().numpy())


def _end_sentences(ids: Ids, sentences: Sentences) -> Flags:
    if not callable(sentences):
        return np.isin(ids, list(sentences))
    flags = np.asarray(sentences(ids))
    if flags.shape != ids.shape or flags.dtype != bool:
        raise UsageError(
            f"sentences gives {flags.dtype} of shape {flags.shape} for {len(ids)} tokens",
            mend="give True or False for every token",
        )
    return flags


def _texts(
    traces: Sequence[ArrayLike], prompts: Sequence[int], right: ArrayLike, end: int
) -> list[Ids]:
    texts = [np.asarray(trace) for trace in traces]
    if not texts or not len(texts) == len(prompts) == np.size(right):
        raise UsageError(
            f"{len(texts)} traces, {len(prompts)} prompts and {np.size(right)} verdicts",
            mend="give one of each for every trace, and a trace or more",
        )
    for number, (ids, prompt) in enumerate(zip(texts, prompts, strict=True)):
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not 1 <= prompt < len(ids):
            raise UsageError(
                f"trace {number} is {ids.dtype} of shape {ids.shape}, its prompt {prompt} tokens",
                mend="give ids of a prompt of 1 token or more, and of a reply behind it",
            )
    if end < 0:
        raise UsageError(f"end is {end}", mend="give a token, 0 or more")
    return texts
