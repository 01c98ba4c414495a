"""What both baseline language models are made of: residual blocks between two embeddings.

A block adds what its mixer says of the tokens so far, and what a small network says of each alone.
Cost: O(layers x width^2) a token, and the mixer's. Source: arXiv 2309.11197 and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from samplewise.models.sizes import Size

__all__ = ["LanguageNetwork", "linear"]


class LanguageNetwork(nn.Module):
    """A network that predicts every next token, and may carry a state from text to text.

    Parameters
    ----------
    size : Size
    vocabulary : int
    mixers : sequence of torch.nn.Module
        One a layer: called with (rows, length, width) and its state or None, it gives as much and
        its next state.
    """

    def __init__(self, size: Size, vocabulary: int, mixers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.size, self.vocabulary = size, vocabulary
        self.embedding = nn.Embedding(vocabulary, size.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(_Block(size, mixer) for mixer in mixers)
        self.norm = nn.LayerNorm(size.width)
        self.output = linear(size.width, vocabulary, bias=False)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give what the first block reads."""
        found: torch.Tensor = self.embedding(tokens) * math.sqrt(self.size.width)
        return found

    def forward(
        self, tokens: torch.Tensor, state: list[Any] | None = None
    ) -> tuple[torch.Tensor, list[Any]]:
        """Predict.

        Parameters
        ----------
        tokens : torch.Tensor of int64, shape (rows, length)
        state : list, optional
            What the call before gave, for rows that go on; None begins anew.

        Returns
        -------
        logits : torch.Tensor, shape (rows, length, vocabulary)
        state : list
        """
        x = self.embed(tokens)
        states = []
        for block, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            x, after = block(x, before)
            states.append(after)
        return self.output(self.norm(x)), states


class _Block(nn.Module):
    def __init__(self, size: Size, mixer: nn.Module) -> None:
        super().__init__()
        h = size.width
        self.first, self.mixer, self.second = nn.LayerNorm(h), mixer, nn.LayerNorm(h)
        self.up = linear(h, 4 * h)
        self.down = linear(4 * h, h, std=0.02 / math.sqrt(2 * size.layers))

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        mixed, state = self.mixer(self.first(x), state)
        x = x + mixed
        inside = nn.functional.gelu(self.up(self.second(x)), approximate="tanh")
        return x + self.down(inside), state


def linear(before: int, after: int, *, bias: bool = True, std: float = 0.02) -> nn.Linear:
    """Make a linear layer with normal weights and biases of 0."""
    layer = nn.Linear(before, after, bias=bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
