"""Train and score a language model on streams of documents, carrying its state along.

The model is called with tokens and a state, and gives logits and the next state, as
`samplewise.models.residual.LanguageNetwork` does. Cost: a pass forward, and back in training, over
every window. Source: arXiv 2309.11197 and its code; its half precision is left to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.learning_rate import cosine_rate
from samplewise.train.document_streams import DocumentStreams, Window

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["StreamScore", "adam", "score_on_streams", "stream_step", "train_on_streams"]


def adam(model: torch.nn.Module) -> torch.optim.Adam:
    """Make the optimizer of the baselines."""
    return torch.optim.Adam(model.parameters(), lr=6e-4, betas=(0.9, 0.95), eps=1e-8)


def stream_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    window: Window,
    states: list[Any] | None = None,
) -> tuple[float, list[Any]]:
    """Take one step on a window; micro-batches sum to the gradient of all rows at once.

    Parameters
    ----------
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer
    window : Window
    states : list, optional
        What the step before gave.

    Returns
    -------
    loss : float
        Nats a scored target.
    states : list
        One a micro-batch, with no gradient.
    """
    count = max(1, int(window.scored.sum()))
    before = states or [None] * len(window.inputs)
    optimizer.zero_grad()
    total, after = 0.0, []
    for part, state in enumerate(before):
        logits, targets, state = _predicted(model, window, part, state)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / count
        loss.backward()
        total += loss.item()
        after.append(_detached(state))
    optimizer.step()
    return total, after


def train_on_streams(
    model: torch.nn.Module,
    streams: DocumentStreams,
    steps: int,
    *,
    high: float = 6e-4,
    low: float = 6e-6,
    warm_up: int = 200,
) -> list[float]:
    """Train a model by the protocol: Adam, no weight decay, no clipping, half a cosine.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    streams : DocumentStreams
        They must last for `steps`, or repeat.
    steps : int
    high, low, warm_up
        As `samplewise.measure.learning_rate.cosine_rate` takes them.

    Returns
    -------
    list of float
        Nats a target, of every step.

    Raises
    ------
    UsageError
        If the streams end before.

    Examples
    --------
    >>> from samplewise.models.quasi_lstm import QuasiLSTM
    >>> from samplewise.models.sizes import Size
    >>> streams = DocumentStreams([np.arange(3, 9)], 1, 4, repeat=True)
    >>> losses = train_on_streams(QuasiLSTM(Size(1, 8, 1, 8), 9), streams, steps=5, warm_up=0)
    >>> len(losses)
    5
    """
    optimizer = adam(model)
    model.train()
    losses: list[float] = []
    states: list[Any] | None = None
    windows = iter(streams)
    while len(losses) < steps:
        window = next(windows, None)
        if window is None:
            raise UsageError(
                f"the documents end after {len(losses)} of {steps} steps",
                mend="give more of them, or let them repeat",
            )
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(len(losses) + 1, steps, high=high, low=low, warm_up=warm_up)
        loss, states = stream_step(model, optimizer, window, states)
        losses.append(loss)
    return losses


class StreamScore(NamedTuple):
    """How well streams were predicted.

    Attributes
    ----------
    total : float
        Nats, of all scored targets.
    tokens : int
        Scored targets.
    top_1, top_10 : float
        Share of them that were the likeliest token, or among the ten likeliest.
    """

    total: float
    tokens: int
    top_1: float
    top_10: float


def score_on_streams(model: torch.nn.Module, streams: DocumentStreams) -> StreamScore:
    """Score every target of a pass once.

    Parameters
    ----------
    model : torch.nn.Module
    streams : DocumentStreams
        Which do not repeat. A state is carried over where windows do not overlap; else each begins
        anew, since a state at the end of one would have read what the next begins with (the
        published evaluation carries it over even so).

    Returns
    -------
    StreamScore

    Raises
    ------
    UsageError
        If the streams repeat for ever, or there is no target.

    Examples
    --------
    >>> from samplewise.models.gpt import GPT
    >>> from samplewise.models.sizes import Size
    >>> streams = DocumentStreams([np.arange(3, 9)], 1, 4, shift=2)
    >>> score_on_streams(GPT(Size(1, 8, 1, 8), 9, length=4), streams).tokens
    6
    """
    if streams.repeat:
        raise UsageError("the streams repeat for ever", mend="give repeat=False")
    carried = streams.shift == streams.length
    training = model.training
    model.eval()
    total, tokens, first, ten = 0.0, 0, 0, 0
    states: list[Any] = [None] * streams.micro_batches
    with torch.no_grad():
        for window in streams:
            for part, state in enumerate(states):
                logits, targets, state = _predicted(model, window, part, state)
                logits = logits.double()
                own = logits.gather(1, targets[:, None])
                ranks = (logits > own).sum(dim=1)
                total += float((logits.logsumexp(dim=1) - own[:, 0]).sum())
                tokens += len(targets)
                first += int((ranks < 1).sum())
                ten += int((ranks < 10).sum())
                states[part] = state if carried else None
    model.train(training)
    if not tokens:
        raise UsageError("the streams have no target", mend="give longer documents")
    return StreamScore(total, tokens, first / tokens, ten / tokens)


def _predicted(
    model: torch.nn.Module, window: Window, part: int, state: Any
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Give logits and targets of what a micro-batch scores, and the next state."""
    device = next(model.parameters()).device
    inputs, targets, scored = (
        torch.from_numpy(np.ascontiguousarray(one[part])).to(device)
        for one in (window.inputs, window.targets, window.scored)
    )
    logits, state = model(inputs, state)
    return logits[scored], targets[scored], state


def _detached(state: Any) -> Any:
    if isinstance(state, (list, tuple)):
        return type(state)(_detached(one) for one in state)
    return state if state is None else state.detach()
