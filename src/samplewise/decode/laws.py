"""The law of the next token: logits, then the processors of transformers, then the softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["draw_from", "law_of", "scores_of", "surprise_and_entropy"]


def scores_of(logits: torch.Tensor, text: Sequence[int], processors: Sequence[Any]) -> torch.Tensor:
    """Process logits, as `generate` does.

    Parameters
    ----------
    logits : torch.Tensor, shape (vocabulary,)
    text : sequence of int
        All tokens before.
    processors : sequence of transformers.LogitsProcessor

    Returns
    -------
    torch.Tensor of float32, shape (vocabulary,)
    """
    import torch

    scores = logits.detach().to(copy=True, dtype=torch.float32)[None]
    if processors:
        ids = torch.tensor([list(text)], device=logits.device)
        for processor in processors:
            scores = processor(ids, scores)
    return scores[0]


def law_of(scores: torch.Tensor) -> NDArray[np.float64]:
    """Give the probabilities, in double precision and summing to 1.

    Returns
    -------
    ndarray of float64, shape (vocabulary,)
    """
    law: NDArray[np.float64] = scores.double().softmax(dim=-1).cpu().numpy()
    return law


def draw_from(law: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Draw a token.

    Examples
    --------
    >>> draw_from(np.array([0.0, 1.0, 0.0]), np.random.default_rng(0))
    1
    """
    line = law.cumsum()
    return int(line.searchsorted(rng.random() * line[-1], side="right"))


def surprise_and_entropy(logits: torch.Tensor, token: int) -> tuple[float, float]:
    """Give how surprising a token is, and the mean surprise, in bits.

    Parameters
    ----------
    logits : torch.Tensor, shape (vocabulary,)
    token : int
    """
    import torch

    logs = logits.float().log_softmax(dim=-1)
    entropy = torch.special.entr(logs.exp()).sum()
    return -float(logs[token]) / math.log(2), float(entropy) / math.log(2)
