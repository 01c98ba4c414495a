"""A sampling budget split evenly: as many draws for every prompt or group.

The baseline that every other split is to be compared with at equal cost.

Cost: O(groups) a round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Allocation, Allocator
from samplewise.rng import RandomState

__all__ = ["Uniform", "UniformAllocation"]


@dataclass(frozen=True)
class Uniform(Allocator):
    """Give every prompt or group as many draws.

    What is left where a budget does not divide goes to one after the other, from where the round
    before has stopped.

    Examples
    --------
    >>> allocation = Uniform().start(3)
    >>> allocation.ask(4), allocation.ask(4)
    (array([2, 1, 1]), array([1, 2, 1]))
    """

    name: ClassVar[str] = "uniform"
    cost: ClassVar[str] = "O(groups) a round"
    outcomes: ClassVar[type[Any] | None] = None

    def start(self, groups: int, *, rng: RandomState = None) -> UniformAllocation:
        """Begin to allocate; nothing is drawn by chance."""
        return UniformAllocation(groups)


class UniformAllocation(Allocation):
    """The even split; it learns nothing."""

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self._next = 0

    def ask(self, n: int) -> NDArray[np.int64]:
        """Say how many of `n` draws each group gets.

        Raises
        ------
        UsageError
            If `n` is negative.
        """
        if n < 0:
            raise UsageError(f"n is {n}", mend="give 0 or more")
        each, left = divmod(n, self.groups)
        counts = np.full(self.groups, each, dtype=np.int64)
        counts[(self._next + np.arange(left)) % self.groups] += 1
        self._next = (self._next + left) % self.groups
        return counts

    def tell(self, counts: ArrayLike, outcomes: Any) -> None:
        """Heed nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Give who is next."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._next = int(state["next"])
