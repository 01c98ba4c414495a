"""How long training takes until a test accuracy is reached, all that it needs counted.

A clock runs from the start of all work (training before, scoring, choosing rows, drawing them) and
stands still while the model is tested. Beside the seconds it counts what does not depend on the
machine: steps, rows, and how many rows were ever seen.

Cost: O(1) a row; one byte a row of memory.
Source: arXiv 2305.18424.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AccuracyCurve", "TrainingClock", "speed_up", "time_to"]


class AccuracyCurve(NamedTuple):
    """What had been spent at each test, and what was reached; every array has shape (tests,).

    Attributes
    ----------
    seconds : ndarray of float64
        Without those of the tests.
    steps : ndarray of int64
        Backward passes.
    examples : ndarray of int64
        Rows, each as often as it was trained on.
    distinct : ndarray of int64
        Rows that were trained on at least once.
    accuracy : ndarray of float64
    """

    seconds: NDArray[np.float64]
    steps: NDArray[np.int64]
    examples: NDArray[np.int64]
    distinct: NDArray[np.int64]
    accuracy: NDArray[np.float64]


class TrainingClock:
    """Record what a training spends and reaches; it runs from when it is made.

    Parameters
    ----------
    rows : int
        Rows of the whole set.
    clock : callable
        Gives seconds.

    Examples
    --------
    >>> ticks = iter([0.0, 3.0, 10.0, 12.0])
    >>> clock = TrainingClock(rows=100, clock=lambda: next(ticks))
    >>> clock.step([5, 7, 7])
    >>> with clock.paused():  # from 3 to 10 seconds
    ...     clock.record(0.9)
    >>> clock.seconds
    5.0
    >>> clock.curve.examples.tolist(), clock.curve.distinct.tolist()
    ([3], [2])
    """

    def __init__(self, rows: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._seen = np.zeros(rows, np.bool_)
        self._clock = clock
        self._tests: list[tuple[float, int, int, int, float]] = []
        self._steps = self._examples = 0
        self._spent, self._since = 0.0, clock()
        self._stands = False

    @property
    def seconds(self) -> float:
        """Seconds so far, without those of tests."""
        return self._spent if self._stands else self._spent + self._clock() - self._since

    @property
    def curve(self) -> AccuracyCurve:
        """What was recorded so far."""
        table = np.array(self._tests, np.float64).reshape(-1, 5).T
        steps, examples, distinct = table[1:4].astype(np.int64)
        return AccuracyCurve(table[0], steps, examples, distinct, table[4])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still meanwhile, as for a test."""
        self._spent, self._stands = self.seconds, True
        try:
            yield
        finally:
            self._stands, self._since = False, self._clock()

    def step(self, rows: ArrayLike) -> None:
        """Count a backward pass on some rows."""
        numbers = np.asarray(rows)
        self._seen[numbers] = True
        self._steps += 1
        self._examples += len(numbers)

    def record(self, accuracy: float) -> None:
        """Note the accuracy of a test."""
        distinct = int(np.count_nonzero(self._seen))
        self._tests.append((self.seconds, self._steps, self._examples, distinct, accuracy))


def time_to(spent: ArrayLike, accuracy: ArrayLike, target: float) -> float:
    """Give what was spent when an accuracy was first reached.

    Parameters
    ----------
    spent : array_like, shape (tests,)
        Seconds, steps or rows at each test, in order.
    accuracy : array_like, shape (tests,)
    target : float

    Returns
    -------
    float
        Infinity where it was never reached.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    arXiv 2305.18424

    Examples
    --------
    >>> time_to([1, 2, 3], [0.5, 0.8, 0.7], 0.7), time_to([1, 2, 3], [0.5, 0.8, 0.7], 0.9)
    (2.0, inf)
    """
    costs, reached = np.asarray(spent, np.float64), np.asarray(accuracy, np.float64)
    if costs.shape != reached.shape or costs.ndim != 1:
        raise ValueError(f"shapes {costs.shape} of what was spent and {reached.shape} of accuracy")
    there = np.flatnonzero(reached >= target)
    return float(costs[there[0]]) if len(there) else math.inf


def speed_up(full: AccuracyCurve, method: AccuracyCurve, target: float | None = None) -> float:
    """Say how many times sooner a method reaches an accuracy than full training does.

    Parameters
    ----------
    full, method : AccuracyCurve
    target : float, optional
        By default the accuracy that the method ends with.

    Returns
    -------
    float
        Ratio of seconds. Infinity where only the method reaches it, 0 where only full training
        does, and NaN where neither does.

    Raises
    ------
    ValueError
        If the method has no test.

    References
    ----------
    arXiv 2305.18424

    Examples
    --------
    >>> counts = np.array([1, 2])
    >>> slow = AccuracyCurve(np.array([5.0, 20.0]), counts, counts, counts, np.array([0.5, 0.9]))
    >>> speed_up(slow, slow._replace(seconds=np.array([1.0, 2.0])))
    10.0
    """
    if not len(method.accuracy):
        raise ValueError("the method was never tested")
    wanted = float(method.accuracy[-1]) if target is None else target
    times = [time_to(one.seconds, one.accuracy, wanted) for one in (full, method)]
    if math.isinf(times[1]):
        return math.nan if math.isinf(times[0]) else 0.0
    return times[0] / times[1] if times[1] else math.inf
