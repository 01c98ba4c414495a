"""A small transformer: the attention baseline at equal compute.

Cost: O(layers x (width^2 + length x width)) a token. Source: arXiv 2309.11197 and its code.
"""

from __future__ import annotations

import torch
from torch import nn

from samplewise.errors import UsageError
from samplewise.models.residual import LanguageNetwork, linear
from samplewise.models.sizes import Size
from samplewise.rng import RandomState, generator, seed_of

__all__ = ["GPT"]


class GPT(LanguageNetwork):
    """Attend to all tokens before, in a window with learned positions.

    No state goes from one window to the next.

    Parameters
    ----------
    size : Size
    vocabulary : int
    length : int
        Tokens of a window, at most.
    rng : int, numpy.random.Generator or None
        Of the first weights.

    References
    ----------
    Stanic et al. (2023), arXiv 2309.11197.

    Examples
    --------
    >>> model = GPT(Size(layers=2, width=8, heads=2, head_width=4), vocabulary=10, length=6)
    >>> model(torch.zeros(3, 5, dtype=torch.int64))[0].shape
    torch.Size([3, 5, 10])
    """

    def __init__(
        self, size: Size, vocabulary: int = 16384, length: int = 512, rng: RandomState = 0
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(generator(rng)))
            super().__init__(size, vocabulary, [_Attention(size) for _ in range(size.layers)])
            self.positions = nn.Embedding(length, size.width)
            nn.init.normal_(self.positions.weight, std=0.02)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give what the first block reads.

        Raises
        ------
        UsageError
            If there are more tokens than positions.
        """
        length = tokens.shape[1]
        if length > self.positions.num_embeddings:
            raise UsageError(
                f"a window has {length} tokens, and the model {self.positions.num_embeddings} "
                "positions",
                mend="give shorter windows",
            )
        return super().embed(tokens) + self.positions.weight[:length]


class _Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.read = linear(size.width, 3 * size.inner)
        self.write = linear(size.inner, size.width)

    def forward(self, x: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.read(x).chunk(3, 2)
        )
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.write(mixed.transpose(1, 2).flatten(2)), None
