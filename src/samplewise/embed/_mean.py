"""The compiled inner loop of the built-in embedder."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["mean_vectors"]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def mean_vectors(tokens: Any, starts: Any, table: Any) -> Any:
    """Average the vectors of each text's tokens and normalise; shape (len(starts) - 1, d)."""
    out = np.zeros((len(starts) - 1, table.shape[1]), dtype=np.float32)
    last = table.shape[0] - 1
    for text in range(len(starts) - 1):
        for place in range(starts[text], starts[text + 1]):
            token = min(tokens[place], last)
            for dimension in range(table.shape[1]):
                out[text, dimension] += table[token, dimension]
        square = np.float32(0)
        for dimension in range(table.shape[1]):
            square += out[text, dimension] * out[text, dimension]
        if square > 0:
            out[text] /= np.sqrt(square)
    return out
