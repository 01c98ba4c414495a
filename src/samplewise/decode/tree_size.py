"""How much to guess ahead: the size of a tree that makes the most tokens a second on this machine.

Every size of step is timed as it is used, and every unit of a guess (a node, or a level) is counted
as it turns out right. A size that was never timed is taken to cost no more than the next smaller
one, so that what looks good is tried, once. Where nothing pays, nothing is guessed.

Cost: O(units log units) a step. Source: own; the optimum of expected tokens over measured seconds.
"""

from __future__ import annotations

from collections import deque

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
        self._seconds: dict[int, deque[float]] = {}
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
        self._seconds.setdefault(near, deque(maxlen=_TIMES)).append(seconds)

    def counted(self, offered: list[int], right: list[int]) -> None:
        """Tell which units were guessed, and which of them were right."""
        self._right[offered] *= _FADE
        self._offered[offered] *= _FADE
        self._offered[offered] += 1
        self._right[right] += 1

    def seconds(self, size: int) -> float:
        """Estimate what a step takes: as much as the last ones, or at least as a smaller one."""
        known = [np.median(self._seconds[one]) for one in self._sizes if one in self._seconds]
        sizes = [one for one in self._sizes if one in self._seconds]
        if not sizes:
            return 1.0
        below = [seconds for one, seconds in zip(sizes, known, strict=True) if one <= size]
        return float(below[-1] if below else known[0])

    def choose(self) -> list[int]:
        """Give the units to read, in rising order; none where plain steps are as fast."""
        chances = self.chances
        order = np.argsort(-chances, kind="stable")  # a parent is at least as likely, and earlier
        gains = np.concatenate([[0.0], np.cumsum(chances[order])])
        rates = [(1 + gains[size]) / self.seconds(size) for size in self._sizes]
        best = int(np.argmax(rates))
        if rates[best] >= _LEAST * rates[0]:
            self._idle, self._patience = 0, _PATIENCE
            return sorted(order[: self._sizes[best]].tolist())
        self._idle += 1
        if self._blind and self._idle >= self._patience:
            self._idle, self._patience = 0, 2 * self._patience
            return [0]
        return []
