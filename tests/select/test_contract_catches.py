"""The contract checks find what is wrong with methods that break them on purpose."""

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from samplewise.registry import Method
from samplewise.select import Selector
from samplewise.select.base import Choice
from samplewise.testing import selectors


@dataclass(frozen=True)
class Broken(Selector):
    """Rows chosen at random, with something wrong."""

    name: ClassVar[str] = "broken"
    number: int = 1

    def choose(self, pool, n, rng, engine):
        return Choice(rng.permutation(len(pool))[:n])


class GlobalState(Broken):
    def choose(self, pool, n, rng, engine):
        return Choice(np.random.permutation(len(pool))[:n])  # noqa: NPY002


class MovesState(Broken):
    def choose(self, pool, n, rng, engine):
        random.random()
        return super().choose(pool, n, rng, engine)


class AnyKnob(Broken):
    def __post_init__(self):
        """Take whatever is given."""


class Repeats(Broken):
    def choose(self, pool, n, rng, engine):
        return Choice(np.zeros(n, np.int64))


class Ignores(Broken):
    def choose(self, pool, n, rng, engine):
        return Choice(np.arange(n))


class Square(Broken):
    def choose(self, pool, n, rng, engine):
        square = np.ones((len(pool), len(pool)), np.float32)
        return Choice(rng.permutation(int(square.sum(axis=0)[0]))[:n])


class Writes(Broken):
    needs: ClassVar[tuple[str, ...]] = ("score",)

    def choose(self, pool, n, rng, engine):
        pool.score[:] = 0
        return super().choose(pool, n, rng, engine)


class OtherColumns(Broken):
    calls: ClassVar[list[int]] = []

    def choose(self, pool, n, rng, engine):
        self.calls.append(n)
        rows = super().choose(pool, n, rng, engine).indices
        return Choice(rows, columns={"calls": np.full(len(pool), len(self.calls))})


@pytest.mark.parametrize(
    ("method", "check"),
    [
        (GlobalState(), selectors.check_global_state),
        (MovesState(), selectors.check_global_state),
        (AnyKnob(), selectors.check_bad_knobs),
        (Repeats(), selectors.check_budget),
        (Ignores(), selectors.check_other_seed),
        (Square(), selectors.check_memory),
        (Writes(), selectors.check_input_is_left_alone),
        (OtherColumns(), selectors.check_same_seed),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Method) else one.__name__,
)
def test_a_broken_method_is_caught(method, check):
    with pytest.raises(AssertionError):
        check(method)


def test_the_method_they_derive_from_passes():
    for check in selectors.selector_checks():
        if check is not selectors.check_other_process:  # a test file cannot be imported there
            check(Broken())
