"""Drafts: every scheme against the list of all its outcomes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from samplewise.decode.drafting import (
    drafts_of,
    draw_drafts,
    draw_with_replacement,
    every_draft,
    likeliest,
)
from small_laws import random_law

SCHEMES = ("with-replacement", "without-replacement", "greedy")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_draws_follow_the_chances_of_all_outcomes(scheme, count):
    law = np.array([0.4, 0.05, 0.0, 0.3, 0.25])
    rng = np.random.default_rng(7)
    outcomes, chances = every_draft(law, count, scheme)
    places = {tuple(tokens): place for place, tokens in enumerate(outcomes.tolist())}
    seen = np.zeros(len(places))
    for _ in range(4000):
        seen[places[tuple(draw_drafts(law, count, scheme, rng).tolist())]] += 1
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    assert len(places) == len(outcomes)
    assert chisquare(seen, chances * 4000).pvalue > 0.001


def test_chances_without_replacement_are_those_of_one_draw_after_another():
    law = np.array([0.5, 0.3, 0.2])
    outcomes, chances = every_draft(law, 2, "without-replacement")
    assert outcomes.tolist() == [list(pair) for pair in itertools.permutations(range(3), 2)]
    expected = [law[i] * law[j] / (1 - law[i]) for i, j in outcomes]
    np.testing.assert_allclose(chances, expected, rtol=1e-14)


def test_chances_without_replacement_keep_a_law_that_is_nearly_one_token():
    law = np.array([1e-15, 3e-15, 1.0])
    outcomes, chances = every_draft(law, 2, "without-replacement")
    place = outcomes.tolist().index([2, 1])
    assert chances[place] == pytest.approx(0.75, rel=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_where_few_tokens_have_a_chance_all_of_them_are_the_drafts(scheme):
    law = np.array([0.0, 0.7, 0.0, 0.3])
    rng = np.random.default_rng(0)
    for count in (2, 3, 9):
        assert drafts_of(law, count, scheme) == 2
        assert sorted(draw_drafts(law, count, scheme, rng).tolist()) == [1, 3]
        outcomes, chances = every_draft(law, count, scheme)
        assert {tuple(sorted(tokens)) for tokens in outcomes.tolist()} == {(1, 3)}
        assert chances.sum() == pytest.approx(1)
    assert len(draw_drafts(law, 9, "with-replacement", rng)) == 9


def test_without_replacement_knows_the_smallest_chances():
    law = np.array([1.0, 5e-324, 0.0])
    rng = np.random.default_rng(0)
    assert draw_drafts(law, 2, "without-replacement", rng).tolist() == [0, 1]


class Extreme(np.random.Generator):
    """Draws the largest or the smallest number that a generator can give."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size=None):
        return np.full(size, self.value)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1 - 2.0**-53]))
def test_no_token_without_a_chance_is_drawn(seed, value):
    rng = np.random.default_rng(seed)
    law = rng.random(6) * (rng.random(6) < 0.5)
    law[rng.integers(6)] += 0.1
    law *= 1 + rng.integers(-2, 3) * 2.0**-52  # sums that miss 1 by rounding
    assert law[draw_with_replacement(law / law.sum(), 1, Extreme(value))[0]] > 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 9))
def test_the_likeliest_are_those_of_a_sort(weights, count):
    law = np.array(weights, float)
    count = min(count, len(law))
    expected = sorted(range(len(law)), key=lambda token: (-law[token], token))[:count]
    assert likeliest(law, count).tolist() == expected


def test_drafts_of_one_seed_are_the_same():
    law = random_law(np.random.default_rng(0), 50)
    for scheme in SCHEMES:
        first, again = (draw_drafts(law, 4, scheme, np.random.default_rng(3)) for _ in range(2))
        assert first.tolist() == again.tolist()
