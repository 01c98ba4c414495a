"""Draft a tree from a table of what followed each token: candidates that each step throws away.

Use it for one sequence at a time where no second model is at hand. The table is kept from one
sequence to the next, and the draft gets better as it fills. It holds what users have written: in a
server, give each user a table of their own.

Cost: O(nodes) a step, and vocabulary x candidates x 4 bytes. Source: Token Recycling,
arXiv 2408.08696. That sampling is exact too, and that of two nodes with the same token the last one
fills the table, is our own reading.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from samplewise.decode.base import Draft, Drafting, Verifier
from samplewise.decode.tree import ROOT, Shape, Tree
from samplewise.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_TREE", "TokenRecycling", "read_tree"]

DEFAULT_TREE = (
    ("", 8),
    *(("0", 8), ("1", 4), ("2", 3), ("3", 2), ("4", 1), ("5", 1), ("6", 1), ("7", 1)),
    *(("00", 8), ("01", 3), ("02", 2), ("03", 1), ("04", 1), ("05", 1), ("06", 1), ("07", 1)),
    *(("10", 2), ("11", 1), ("20", 1), ("30", 1), ("40", 1), ("50", 1)),
    *(("000", 5), ("001", 2), ("002", 1), ("003", 1), ("004", 1), ("010", 1), ("020", 1)),
    *(("100", 1), ("200", 1), ("300", 1)),
    *(("0000", 3), ("0001", 1), ("0002", 1), ("0010", 1), ("0100", 1), ("1000", 1)),
    *(("00000", 2), ("00010", 1)),
)
"""The published tree of 80 nodes: the ranks on the way to a node, and how many ranks follow it."""


@dataclass(frozen=True)
class TokenRecycling(Draft):
    """Draft a tree of the likeliest successors that each token had when it was last read.

    Parameters
    ----------
    candidates : int
        Successors kept of every token.
    tree : str, optional
        Another tree: the ranks on the way to each node, joined by dots, with blanks between nodes,
        such as ``"0 1 0.0 0.1 0.0.0"``; a parent comes before its children.
    update : {'all', 'accepted'}
        Whether the table learns from all nodes that were read, or from those that were right.

    References
    ----------
    .. [1] Luo et al., "Turning Trash into Treasure: Accelerating Inference of Large Language Models
       with Token Recycling", arXiv 2408.08696.

    Examples
    --------
    >>> drafting = TokenRecycling().begin(vocabulary=100, verifier=None, heat=())
    >>> drafting.units, drafting.table.shape
    (80, (100, 8))
    """

    candidates: int = 8
    tree: str | None = None
    update: Literal["all", "accepted"] = "all"

    name: ClassVar[str] = "token-recycling"
    aliases: ClassVar[tuple[str, ...]] = ("tr", "recycling")
    paper: ClassVar[str] = "2408.08696"
    cost: ClassVar[str] = "O(nodes) a step; vocabulary x candidates x 4 bytes"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 1:
            raise UsageError(
                f"{self.name}: knob 'candidates' is {self.candidates}", mend="give 1 or more"
            )
        self.shape  # noqa: B018 - a tree that makes no sense is told before any work

    @functools.cached_property
    def ranks(self) -> list[tuple[int, ...]]:
        """The ranks on the way to each node."""
        if self.tree is not None:
            return read_tree(self.tree)
        return [(*map(int, way), rank) for way, count in DEFAULT_TREE for rank in range(count)]

    @functools.cached_property
    def shape(self) -> Shape:
        """Which node follows which."""
        place = {way: node for node, way in enumerate(self.ranks)}
        highest = max(way[-1] for way in self.ranks)
        if highest >= self.candidates:
            raise UsageError(
                f"{self.name}: the tree has rank {highest}, and {self.candidates} candidates are "
                "kept",
                mend=f"raise the knob 'candidates' to {highest + 1}, or give a tree of lower ranks",
            )
        return Shape([place[way[:-1]] if len(way) > 1 else ROOT for way in self.ranks])

    def begin(self, vocabulary: int, verifier: Verifier | None, heat: Any) -> Recycler:
        """Start work, with an empty table.

        Raises
        ------
        UsageError
            If there are fewer tokens than candidates.
        """
        if self.candidates > vocabulary:
            raise UsageError(
                f"{self.name}: {self.candidates} candidates of {vocabulary} tokens",
                mend="lower the knob 'candidates'",
            )
        return Recycler(self, vocabulary)


class Recycler(Drafting):
    """A table at work.

    Attributes
    ----------
    table : ndarray of int32, shape (vocabulary, candidates)
        The likeliest successors of each token when it was last read, the likeliest first.
    """

    def __init__(self, method: TokenRecycling, vocabulary: int) -> None:
        self._method = method
        self.units = len(method.shape)
        self.table = np.zeros((vocabulary, method.candidates), dtype=np.int32)
        last = np.array([way[-1] for way in method.ranks])
        parents = np.array(method.shape.parents)
        self._levels = [(nodes, parents[nodes], last[nodes]) for nodes in method.shape.levels]

    def propose(self, tokens: Sequence[int], units: int, rng: np.random.Generator) -> Tree:
        """Look the tree up, a level at a time."""
        found = np.empty(self.units + 1, dtype=np.int64)
        found[ROOT] = tokens[-1]
        for nodes, parents, ranks in self._levels:
            found[nodes] = self.table[found[parents], ranks]
        return Tree(self._method.shape, found[:-1])

    def learn(self, root: int, tree: Tree, logits: torch.Tensor, way: Sequence[int]) -> None:
        """Keep the likeliest successors; of a token that was read twice, those read last."""
        read = np.concatenate([[root], tree.tokens])
        rows = [0, *(node + 1 for node in way)]
        if self._method.update == "accepted":
            read, logits = read[rows], logits[rows]
        self.table[read] = logits.topk(self._method.candidates, dim=-1).indices.cpu().numpy()


def read_tree(text: str) -> list[tuple[int, ...]]:
    """Read a tree of ranks.

    Raises
    ------
    UsageError
        If a node is no row of ranks, is there twice, or comes before its parent.

    Examples
    --------
    >>> read_tree("0 1 0.0")
    [(0,), (1,), (0, 0)]
    """
    found: dict[tuple[int, ...], None] = {}
    for word in text.split():
        parts = word.split(".")
        if not all(part.isdecimal() for part in parts):
            raise UsageError(f"knob 'tree': {word!r}", mend="write ranks joined by dots, as 0.0.1")
        way = tuple(map(int, parts))
        if way in found or (len(way) > 1 and way[:-1] not in found):
            what = "is there twice" if way in found else "comes before its parent"
            raise UsageError(f"knob 'tree': node {word!r} {what}")
        found[way] = None
    if not found:
        raise UsageError("knob 'tree' is empty", mend="give a node or more, such as '0 0.0'")
    return list(found)
