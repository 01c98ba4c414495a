"""Draft what followed the same words the last time they stood in the text.

Use it where answers repeat their prompt: summaries, edits, retrieval, code. It costs next to
nothing, and needs neither a second model nor a table.

Cost: O(text) a step. Source: prompt lookup decoding, as Spec-Bench (arXiv 2401.07851) compares it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import Draft, Drafting, Verifier
from samplewise.decode.tree import Shape, Tree
from samplewise.errors import UsageError

__all__ = ["PromptLookup", "look_up"]


@dataclass(frozen=True)
class PromptLookup(Draft):
    """Draft the tokens that followed the last ones earlier in the text.

    Parameters
    ----------
    ngram : int
        Last tokens that must be found again; fewer do where so many are not.
    length : int
        Tokens drafted, at most.

    References
    ----------
    .. [1] Xia et al., "Unlocking Efficiency in Large Language Model Inference: A Comprehensive
       Survey of Speculative Decoding", arXiv 2401.07851.

    Examples
    --------
    >>> import numpy as np
    >>> drafting = PromptLookup(ngram=2, length=3).begin(vocabulary=10, verifier=None, heat=())
    >>> drafting.propose([1, 2, 3, 4, 1, 2], 3, np.random.default_rng(0)).tokens.tolist()
    [3, 4, 1]
    """

    ngram: int = 3
    length: int = 10

    name: ClassVar[str] = "prompt-lookup"
    aliases: ClassVar[tuple[str, ...]] = ("pld",)
    paper: ClassVar[str] = "2401.07851"
    cost: ClassVar[str] = "O(text) a step"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("ngram", "length"):
            if getattr(self, knob) < 1:
                raise UsageError(
                    f"{self.name}: knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more"
                )

    def begin(self, vocabulary: int, verifier: Verifier | None, heat: Any) -> Drafting:
        """Start work."""
        return _Lookup(self)


class _Lookup(Drafting):
    def __init__(self, method: PromptLookup) -> None:
        self._method = method
        self.units = method.length

    def propose(self, tokens: Sequence[int], units: int, rng: np.random.Generator) -> Tree:
        found = look_up(np.asarray(tokens), self._method.ngram, self._method.length)
        return Tree(Shape(range(-1, len(found) - 1)), found)


def look_up(tokens: NDArray[np.int64], ngram: int, length: int) -> NDArray[np.int64]:
    """Give what followed the last earlier occurrence of the longest ending that occurs.

    Parameters
    ----------
    tokens : ndarray of int64, shape (text,)
    ngram, length : int
        The longest ending looked for, and the most tokens given.

    Returns
    -------
    ndarray of int64

    Examples
    --------
    >>> look_up(np.array([7, 8, 9, 5, 7]), ngram=3, length=2).tolist()
    [8, 9]
    """
    for size in range(min(ngram, len(tokens) - 1), 0, -1):
        windows = np.lib.stride_tricks.sliding_window_view(tokens[:-1], size)
        (starts,) = np.nonzero((windows == tokens[-size:]).all(axis=1))
        if len(starts):
            after = int(starts[-1]) + size
            return tokens[after : after + length]
    return tokens[:0]
