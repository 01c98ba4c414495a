"""Trees of guessed tokens: what follows the last token, and what follows that.

A node is a token; its parent comes before it. Nodes that share a parent share a past, so that one
reading of the tree by the model says what follows each of them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROOT", "Shape", "Tree"]

ROOT = -1
"""The parent of the first tokens: the last token that is certain."""


@dataclass(frozen=True, eq=False)
class Shape:
    """Which node follows which.

    Parameters
    ----------
    parents : sequence of int
        Of every node, an earlier one or `ROOT`.

    Examples
    --------
    >>> Shape((ROOT, ROOT, 0)).depths.tolist()
    [1, 1, 2]
    """

    parents: Sequence[int]

    def __len__(self) -> int:
        return len(self.parents)

    @functools.cached_property
    def depths(self) -> NDArray[np.int64]:
        """How far each node is from the root; its children are at 1."""
        depths = np.zeros(len(self), dtype=np.int64)
        for node, parent in enumerate(self.parents):
            depths[node] = 1 if parent == ROOT else depths[parent] + 1
        return depths

    @functools.cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """Whether a node (row) comes after another or is it, shape (nodes, nodes)."""
        seen = np.zeros((len(self), len(self)), dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent != ROOT:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen

    @functools.cached_property
    def children(self) -> dict[int, list[int]]:
        """The nodes below each node that has some, and below the root."""
        below: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            below.setdefault(parent, []).append(node)
        return below

    @functools.cached_property
    def levels(self) -> list[NDArray[np.int64]]:
        """The nodes of each depth, from 1 on."""
        return [np.flatnonzero(self.depths == depth) for depth in range(1, self.depth + 1)]

    @property
    def depth(self) -> int:
        """Of the deepest node; 0 where there are no nodes."""
        return int(self.depths.max(initial=0))


@dataclass(frozen=True, eq=False)
class Tree:
    """Guessed tokens.

    Parameters
    ----------
    shape : Shape
    tokens : ndarray of int64, shape (nodes,)
    laws : mapping of int to ndarray of float64, shape (vocabulary,)
        Where tokens were drawn: the law that those below a node were drawn from.
    draws : mapping of int to ndarray of int64
        The tokens drawn below a node, in the order of drawing; one that was drawn twice is here
        twice, and is one node.
    """

    shape: Shape
    tokens: NDArray[np.int64]
    laws: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    draws: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def below(self, node: int, token: int) -> list[int]:
        """Give the nodes below a node that hold a token: none, one, or several that are alike."""
        return [child for child in self.shape.children.get(node, ()) if self.tokens[child] == token]

    def cut(self, nodes: Sequence[int]) -> Tree:
        """Keep some nodes, in rising order; the parent of each must be among them.

        Examples
        --------
        >>> tree = Tree(Shape((ROOT, ROOT, 1)), np.array([5, 6, 7]))
        >>> small = tree.cut([1, 2])
        >>> small.tokens.tolist(), list(small.shape.parents)
        ([6, 7], [-1, 0])
        """
        if len(nodes) == len(self):
            return self
        place = {ROOT: ROOT} | {node: new for new, node in enumerate(nodes)}
        shape = Shape([place[self.shape.parents[node]] for node in nodes])
        return Tree(
            shape,
            self.tokens[list(nodes)],
            {place[node]: law for node, law in self.laws.items() if node in place},
            {place[node]: drawn for node, drawn in self.draws.items() if node in place},
        )

    def follow(self, tokens: Sequence[int]) -> list[int]:
        """Give the nodes of the longest way down along the first of these tokens.

        Examples
        --------
        >>> tree = Tree(Shape((ROOT, ROOT, 0)), np.array([5, 6, 7]))
        >>> tree.follow([5, 7, 9]), tree.follow([8])
        ([0, 2], [])
        """
        ways: list[list[int]] = [[]]
        for token in tokens:
            longer = [
                [*way, child]
                for way in ways
                for child in self.below(way[-1] if way else ROOT, token)
            ]
            if not longer:
                break
            ways = longer
        return ways[0]
