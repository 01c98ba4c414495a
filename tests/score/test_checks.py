"""The contract checks themselves: what keeps the contract passes, what breaks it is named."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from samplewise.score import Scorer
from samplewise.testing import scorers

SEEN: list[int] = []


@dataclass(frozen=True)
class Length(Scorer):
    """Length of the text."""

    name: ClassVar[str] = "length"
    needs: ClassVar[tuple[str, ...]] = ("text",)

    def score(self, pool, rng, engine, progress):
        SEEN.append(len(pool))
        return np.array([len(text) for text in pool.texts(range(len(pool)))], dtype=np.float64)


@dataclass(frozen=True)
class Slow(Length):
    """Length of the text, as a heavy model would tell it."""

    name: ClassVar[str] = "slow-length"
    slow: ClassVar[bool] = True


class Short(Length):
    """One score too few."""

    def score(self, pool, rng, engine, progress):
        return super().score(pool, rng, engine, progress)[1:]


class Nan(Length):
    """No number for one row."""

    def score(self, pool, rng, engine, progress):
        return super().score(pool, rng, engine, progress) * np.where(pool.line == 1, np.nan, 1)


class Unseeded(Length):
    """Another answer every time."""

    def score(self, pool, rng, engine, progress):
        return np.random.default_rng().random(len(pool))


class Lender(Length):
    """The pool's own scores."""

    def score(self, pool, rng, engine, progress):
        return np.ones(len(pool)) if pool.score is None else pool.score


class Vandal(Length):
    """Overwrites the labels."""

    def score(self, pool, rng, engine, progress):
        pool.classes.codes[0] += 1
        return np.ones(len(pool))


class Glutton(Length):
    """All pairs of rows."""

    def score(self, pool, rng, engine, progress):
        return np.ones((len(pool), len(pool)))[0].copy()


class Careless(Length):
    """Takes a pool without texts."""

    def check(self, pool): ...

    def score(self, pool, rng, engine, progress):
        return np.ones(len(pool))


def test_a_sound_method_passes():
    scorers.check_scorer(Length)


def test_a_slow_method_is_given_a_dozen_rows_at_most():
    SEEN.clear()
    scorers.check_scorer(Slow())
    assert 0 < len(SEEN) < 16
    assert max(SEEN) == 12


@pytest.mark.parametrize(
    ("method", "check", "said"),
    [
        (Short, scorers.check_scores, r"gave \(0,\) for 1 rows"),
        (Nan, scorers.check_scores, "not finite"),
        (Nan, scorers.check_duplicates, "not finite"),
        (Unseeded, scorers.check_same_seed, "other scores for the same seed"),
        (Lender, scorers.check_input_is_left_alone, "pool's own memory"),
        (Vandal, scorers.check_input_is_left_alone, "changed its pool"),
        (Glutton, scorers.check_memory, "MB for 8,000 rows"),
        (Careless, scorers.check_needs, "must refuse this with an error that names 'text'"),
    ],
)
def test_a_broken_contract_is_named(method, check, said):
    with pytest.raises(AssertionError, match=said):
        check(method())
