"""Diversity of ideas against closed forms and brute force; pools thinned out by public tests."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure.filtered_pools import filtered_counts, padded_pass_at_k
from samplewise.measure.idea_diversity import (
    diversity_error,
    diversity_of_ideas,
    expected_diversity,
    idea_conditioning,
    idea_diversity,
    judged_same,
    mean_diversity,
    relative_gain,
)
from samplewise.measure.pass_at_k import pass_at_k

IDEAS = st.lists(st.integers(0, 3), min_size=2, max_size=9)


def same(ideas):
    return np.equal.outer(ideas, ideas)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("m", [1, 2, 7])
def test_k_ideas_of_m_answers_each(k, m):
    if k * m < 2:
        return
    ideas = np.repeat(np.arange(k), m)
    wanted = (k - 1) * m / (k * m - 1)
    assert idea_diversity(same(ideas)) == pytest.approx(wanted)
    assert diversity_of_ideas(ideas.tolist()) == pytest.approx(wanted)


@pytest.mark.parametrize("m", [1, 2, 6])
def test_two_ideas(m):
    uneven = [0] * (2 * m - 1) + [1]
    assert idea_diversity(same(uneven)) == pytest.approx(1 / m)
    assert idea_diversity(same([0] * m + [1] * m)) == pytest.approx(m / (2 * m - 1))


@given(IDEAS)
def test_it_is_the_share_of_pairs_that_differ(ideas):
    pairs = list(itertools.combinations(ideas, 2))
    wanted = sum(one != other for one, other in pairs) / len(pairs)
    assert idea_diversity(same(ideas)) == pytest.approx(wanted)
    assert diversity_of_ideas(ideas) == pytest.approx(wanted)


def test_judgements_need_not_be_transitive_and_only_the_upper_half_is_read():
    table = np.full((3, 3), 9.0)
    table[0, 1], table[0, 2], table[1, 2] = 1, 1, 0
    assert idea_diversity(table) == pytest.approx(1 / 3)
    table[0, 1] = np.nan
    assert idea_diversity(table) == pytest.approx(1 / 2)


def test_without_a_judged_pair_there_is_no_diversity():
    for table in (np.zeros((0, 0)), [[1]], [[1, np.nan], [np.nan, 1]]):
        assert math.isnan(idea_diversity(table))
        assert math.isnan(diversity_error(table))
    assert math.isnan(diversity_error([[1, 0], [0, 1]]))
    assert math.isnan(diversity_of_ideas(["a"]))


@given(IDEAS.filter(lambda ideas: len(ideas) > 2))
def test_the_error_is_that_of_leaving_each_out(ideas):
    n = len(ideas)
    without = np.array([diversity_of_ideas(ideas[:i] + ideas[i + 1 :]) for i in range(n)])
    wanted = math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    assert diversity_error(same(ideas)) == pytest.approx(wanted)


def test_the_error_leaves_out_what_was_not_judged():
    table = same([0, 0, 1, 2]).astype(float)
    table[0, 2] = np.nan
    without = [
        idea_diversity(np.delete(np.delete(table, one, axis=0), one, axis=1)) for one in range(4)
    ]
    wanted = math.sqrt(3 / 4 * ((without - np.mean(without)) ** 2).sum())
    assert diversity_error(table) == pytest.approx(wanted)


def test_forty_of_many_estimate_the_whole_without_bias():
    """The card's check: the mean of 500 subsamples of 40 is within .01 of the whole."""
    rng = np.random.default_rng(0)
    ideas = rng.choice(12, size=200, p=rng.dirichlet(np.ones(12)))
    whole = diversity_of_ideas(ideas.tolist())
    some = [idea_diversity(same(rng.permutation(ideas)[:40])) for _ in range(500)]
    assert np.mean(some) == pytest.approx(whole, abs=0.01)


def test_expected_diversity_and_its_error_are_those_of_draws():
    rng = np.random.default_rng(1)
    chances = np.array([0.5, 0.3, 0.15, 0.05])
    tables = [same(rng.choice(4, size=25, p=chances)) for _ in range(2000)]
    found = np.array([idea_diversity(table) for table in tables])
    assert found.mean() == pytest.approx(float(expected_diversity(chances)), abs=0.005)
    errors = np.array([diversity_error(table) for table in tables])
    assert np.sqrt((errors**2).mean()) == pytest.approx(found.std(), rel=0.1)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5))
def test_expected_diversity_by_enumeration(weights):
    chances = np.array(weights) / sum(weights)
    pairs = itertools.product(range(len(chances)), repeat=2)
    wanted = sum(chances[one] * chances[other] for one, other in pairs if one != other)
    assert float(expected_diversity(chances)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", True),
        ("**No.**", False),
        ("  yes, both sort\n", True),
        ("No, yes would be too kind", False),
        ("The ideas are the same: Yes.", True),
        ("They differ, so no", False),
        ("yesterday", None),
        ("I know not", None),
        ("Either yes or no", None),
        ("", None),
        ("1", None),
    ],
)
def test_replies_of_the_judge(reply, said):
    assert judged_same(reply) is said


def test_the_mean_over_problems_and_its_interval():
    rng = np.random.default_rng(2)
    values = rng.random(60)
    found = mean_diversity([*values, np.nan])
    assert (found.mean, found.problems) == (pytest.approx(values.mean()), 60)
    half = 1.96 * values.std() / math.sqrt(60)
    assert (found.low, found.high) == pytest.approx(
        (found.mean - half, found.mean + half), abs=0.01
    )
    assert mean_diversity(values, confidence=0.5).low > found.low


def test_relative_gain():
    assert relative_gain([0.2, 0.5], 0.5).tolist() == pytest.approx([1.5, 0.0])
    assert math.isnan(relative_gain(0.0, 0.5))


@pytest.mark.parametrize("ideas", [1, 2, 3])
@pytest.mark.parametrize("right", range(7))
def test_how_often_ideas_are_settled_by_chance(ideas, right):
    """Against every way to deal the same verdicts."""
    verdicts = [True] * right + [False] * (6 - right)
    dealt = set(itertools.permutations(verdicts))
    settled = [idea_conditioning(np.reshape(one, (ideas, -1))).settled for one in dealt]
    found = idea_conditioning(np.reshape(verdicts, (ideas, -1)))
    assert found.settled_by_chance == pytest.approx(np.mean(settled))


def test_ideas_that_settle_all_and_ideas_that_settle_nothing():
    rng = np.random.default_rng(3)
    settling = idea_conditioning(np.repeat([[True], [False], [True], [False], [False]], 25, axis=1))
    assert (settling.settled, settling.rates.tolist()) == (1.0, [1, 0, 1, 0, 0])
    assert settling.settled_by_chance < 1e-5
    assert idea_conditioning(rng.random((5, 25)) < 0.4).settled == 0
    assert idea_conditioning(np.zeros((50, 200), bool)).settled_by_chance == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: idea_diversity([1, 0]),
        lambda: idea_diversity([[1, 0, 1], [0, 1, 1]]),
        lambda: idea_diversity([[1, 0.5], [0.5, 1]]),
        lambda: expected_diversity([0.5, 0.6]),
        lambda: expected_diversity([-0.5, 1.5]),
        lambda: expected_diversity(1.0),
        lambda: mean_diversity([float("nan")]),
        lambda: mean_diversity([0.5], confidence=1.0),
        lambda: idea_conditioning([True]),
        lambda: idea_conditioning(np.zeros((2, 0))),
        lambda: filtered_counts([[True]], []),
        lambda: filtered_counts([[True]], [[True, False]]),
        lambda: padded_pass_at_k(1, 2, 1),
        lambda: padded_pass_at_k(1, -1, 1),
        lambda: padded_pass_at_k(2, 1, 0),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()


# --- pools that public tests have thinned out -----------------------------------------------------


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("k", range(1, 9))
def test_missing_answers_are_failures(n, k):
    for c in range(n + 1):
        pool = [True] * c + [False] * (n - c)
        subsets = list(itertools.combinations(pool, min(k, n)))
        wanted = np.mean([any(some) for some in subsets])
        assert float(padded_pass_at_k(n, c, k)) == pytest.approx(wanted)


def test_a_filter_that_passes_all_changes_nothing_and_a_perfect_one_solves_at_once():
    rng = np.random.default_rng(4)
    right = rng.random((30, 20)) < rng.random((30, 1)) * 0.3
    plain = np.column_stack([np.full(30, 20), right.sum(axis=1)])
    assert (filtered_counts(right, np.ones_like(right)) == plain).all()
    drawn, solved = filtered_counts(right, right).T
    assert (padded_pass_at_k(drawn, solved, 1) == right.any(axis=1)).all()
    for k in (1, 5, 20):
        assert (padded_pass_at_k(*plain.T, k) == pass_at_k(*plain.T, k)).all()
