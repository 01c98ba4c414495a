"""Votes among solutions: the binomial sum, the card's figures, simulation."""

import math

import numpy as np
import pytest

from samplewise.measure.solution_votes import filtered_accuracy, solution_accuracy, vote_accuracy
from samplewise.measure.voting import majority


@pytest.mark.parametrize("solutions", [1, 3, 5, 9])
@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_the_vote_is_the_binomial_sum(q, solutions):
    terms = (
        math.comb(solutions, j) * q**j * (1 - q) ** (solutions - j)
        for j in range(solutions // 2 + 1, solutions + 1)
    )
    assert vote_accuracy(q, solutions) == pytest.approx(math.fsum(terms))


def test_the_vote_is_what_is_simulated():
    drawn = np.random.default_rng(0).random((20_000, 5)) < 0.7
    right = [row[majority(row)] for row in drawn.tolist()]
    assert np.mean(right) == pytest.approx(0.837, abs=0.008)
    assert vote_accuracy(0.7, 5) == pytest.approx(0.837, abs=5e-4)


def test_dropped_conditions_and_the_filter():
    """One right solution is enough, where the others are thrown out; a vote lies between."""
    q = solution_accuracy(0.15, [3, 4, 6])
    assert q == pytest.approx([0.614, 0.522, 0.377], abs=5e-4)
    assert filtered_accuracy(q, 5) == pytest.approx([0.991, 0.975, 0.906], abs=5e-4)
    right = np.random.default_rng(1).random((20_000, 5, 6)) > 0.15
    any_whole = right.all(axis=2).any(axis=1).mean()
    assert any_whole == pytest.approx(filtered_accuracy(q, 5)[2], abs=0.008)
    assert filtered_accuracy(q, 1) == pytest.approx(q)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: solution_accuracy(1.1, 1),
        lambda: solution_accuracy(0.1, -1),
        lambda: vote_accuracy(0.5, 4),
        lambda: vote_accuracy(-0.1, 3),
        lambda: filtered_accuracy(float("nan"), 3),
        lambda: filtered_accuracy(0.5, 0),
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
