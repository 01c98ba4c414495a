"""How much to guess ahead: the size of a tree that makes the most tokens a second on this machine.

Every size of step is timed as it is used, and every unit of a guess (a node, or a level) is counted
as it turns out right. A size that was never timed is taken to cost no more than the next smaller
one, so that what looks good is tried, once. Where nothing pays, nothing is guessed.

Cost: O(units log units) a step. Source: own; the optimum of expected tokens over measured seconds.
"""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pace"]

_GRID = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_TIMES = 7  # of a size that count: the last ones, as a longer past takes longer to read
_FADE = 0.985  # weight of what turned out right a step earlier
_PATIENCE = 32  # plain steps before a guess is tried again; doubled each time that it fails
_LEAST = 1.02  # times the plain speed that a guess must promise: below is noise


class Pace:
    """Choose how many units of a guess are read.

    Parameters
    ----------
    units : int
        The most.
    hope : float
        How often a unit is taken to be right below one that is, before anything is known.
    blind : bool
        Whether nothing is learnt of what was not read: the units are then levels, read in their
        order, and the first is tried now and then where nothing pays.

    Examples
    --------
    >>> pace = Pace(4)
    >>> for _ in range(20):
    ...     pace.timed(0, 0.010)
    ...     pace.counted([0, 1, 2, 3], [0, 1])
    >>> pace.choose()
    [0, 1]
    >>> pace.timed(1, 0.050)
    >>> pace.choose()  # two tokens, or three, in five times the time: no
    []
    """

    def __init__(self, units: int, hope: float = 0.0, *, blind: bool = False) -> None:
        self.units = units
        self._blind = blind
        self._idle, self._patience = 0, _PATIENCE
        self._last: dict[int, deque[float]] = {}
        self._seconds: dict[int, float] = {}
        self._right = hope ** np.arange(1, units + 1) if hope else np.zeros(units)
        self._offered = np.full(units, 1.0 if hope else 1e-9)
        self._sizes = [size for size in _GRID if size <= units]
        if units not in self._sizes:
            self._sizes.append(units)

    @property
    def chances(self) -> NDArray[np.float64]:
        """How often each unit is right."""
        chances = self._right / np.maximum(self._offered, 1.0)
        return np.minimum.accumulate(chances) if self._blind else chances

    def timed(self, size: int, seconds: float) -> None:
        """Tell what a step with so many units took."""
        near = max(known for known in self._sizes if known <= size)
        last = self._last.setdefault(near, deque(maxlen=_TIMES))
        last.append(seconds)
        self._seconds[near] = median(last)

    def counted(self, offered: list[int], right: list[int]) -> None:
        """Tell which units were guessed, and which of them were right."""
        self._right[offered] *= _FADE
        self._offered[offered] *= _FADE
        self._offered[offered] += 1
        self._right[right] += 1

    def seconds(self) -> list[float]:
        """Estimate what a step of each size takes: as its last ones, or else as a smaller one."""
        if not self._seconds:
            return [1.0] * len(self._sizes)
        found, known = [], self._seconds[min(self._seconds)]
        for size in self._sizes:
            known = self._seconds.get(size, known)
            found.append(known)
        return found

    def choose(self) -> list[int]:
        """Give the units to read, in rising order; none where plain steps are as fast."""
        chances = self.chances
        order = np.argsort(-chances, kind="stable")  # a parent is at least as likely, and earlier
        gains = np.concatenate([[0.0], np.cumsum(chances[order])])
        rates = (1 + gains[self._sizes]) / self.seconds()
        best = int(np.argmax(rates))
        if rates[best] >= _LEAST * rates[0]:
            self._idle, self._patience = 0, _PATIENCE
            return sorted(order[: self._sizes[best]].tolist())
        self._idle += 1
        if self._blind and self._idle >= self._patience:
            self._idle, self._patience = 0, 2 * self._patience
            return [0]
        return []
