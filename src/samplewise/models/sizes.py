"""Sizes of the two baseline language models, and how many parameters they have.

Source: arXiv 2309.11197 and its code.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SIZES", "Size", "gpt_parameters", "quasi_lstm_parameters"]


class Size(NamedTuple):
    """How large a network is.

    Attributes
    ----------
    layers, width : int
    heads, head_width : int
        Their product is the width inside of attention or cells, which may be another.
    block : int
        Tokens that the recurrence takes at once.
    """

    layers: int
    width: int
    heads: int
    head_width: int
    block: int = 16

    @property
    def inner(self) -> int:
        """Width inside of attention or cells."""
        return self.heads * self.head_width


SIZES = {
    "mini": Size(4, 512, 8, 32),
    "tiny": Size(4, 768, 12, 64, block=8),
    "small": Size(12, 768, 12, 64),
    "medium": Size(24, 1024, 16, 64),
    "large": Size(24, 1536, 16, 96),
    "XL": Size(24, 2048, 24, 128),
}


def gpt_parameters(size: Size, vocabulary: int = 16384, length: int = 512) -> int:
    """Count the parameters of `samplewise.models.gpt.GPT`.

    Examples
    --------
    >>> gpt_parameters(SIZES["mini"])
    27549696
    """
    return _parameters(size, vocabulary, projections=3) + length * size.width


def quasi_lstm_parameters(size: Size, vocabulary: int = 16384) -> int:
    """Count the parameters of `samplewise.models.quasi_lstm.QuasiLSTM`.

    Examples
    --------
    >>> quasi_lstm_parameters(SIZES["mini"])
    27812864
    """
    return _parameters(size, vocabulary, projections=4)


def _parameters(size: Size, vocabulary: int, projections: int) -> int:
    h, a, m = size.width, size.inner, 4 * size.width
    mixer = projections * (h * a + a) + a * h + h
    norms, mlp = 4 * h, h * m + m + m * h + h
    return 2 * vocabulary * h + size.layers * (norms + mixer + mlp) + 2 * h
