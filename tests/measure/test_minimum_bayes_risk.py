"""Minimum Bayes risk: against loops, and where it must be a vote or a nearest neighbour."""

from collections import Counter

import numpy as np
import pytest

from samplewise.measure.minimum_bayes_risk import (
    expected_utilities,
    first_best,
    pool_scores,
    preference_utilities,
)
from samplewise.measure.text_similarity import SIMILARITIES
from samplewise.measure.voting import majority

SEEDS = range(5)


def loops(utility, answers, evidence=()):
    """Score answers by a utility of two, pair by pair."""
    scores = []
    for i, answer in enumerate(answers):
        others = [one for j, one in enumerate(answers) if j != i]
        seen = [*others, *evidence]
        scores.append(sum(utility(answer, one) for one in seen) / max(1, len(seen)))
    return scores


def table(utility, answers, evidence):
    return np.array([[utility(a, b) for b in evidence] for a in answers]).reshape(
        len(answers), len(evidence)
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [0, 1, 3])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_scores_are_what_loops_give(n, m, seed):
    rng = np.random.default_rng(seed)
    noise = {}

    def utility(a, b):  # neither symmetric nor of one sign
        return noise.setdefault((a, b), rng.normal())

    answers, evidence = [f"y{i}" for i in range(n)], [f"e{i}" for i in range(m)]
    wanted = loops(utility, answers, evidence)
    found = pool_scores(table(utility, answers, answers), table(utility, answers, evidence))
    assert found == pytest.approx(wanted, abs=1e-12)
    if not m:
        assert (found == pool_scores(table(utility, answers, answers))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_stand_for_answers_drawn_again(seed):
    rng = np.random.default_rng(seed)
    values, counts = rng.normal(size=4), rng.integers(1, 4, size=4)
    every = np.repeat(np.arange(4), counts)
    reference = rng.normal(size=(4, 2))
    within = -np.abs(values[:, None] - values[None, :]) + 1
    whole = pool_scores(within[np.ix_(every, every)], reference[every])
    assert pool_scores(within, reference, counts=counts) == pytest.approx(
        whole[np.searchsorted(every, np.arange(4))]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_match_is_the_plurality_vote(seed):
    answers = [str(one) for one in np.random.default_rng(seed).integers(4, size=7)]
    scores = pool_scores(table(SIMILARITIES["exact"], answers, answers))
    assert first_best(scores) == majority(answers)
    assert scores == pytest.approx([(Counter(answers)[one] - 1) / 6 for one in answers])


@pytest.mark.parametrize("seed", SEEDS)
def test_one_reference_finds_the_nearest_and_self_pairs_of_one_value_change_nothing(seed):
    rng = np.random.default_rng(seed)
    points, reference = rng.normal(size=(6, 3)), rng.normal(size=3)
    distances = ((points - reference) ** 2).sum(axis=1)
    assert first_best(expected_utilities(-distances[:, None])) == distances.argmin()
    between = -((points[:, None] - points[None]) ** 2).sum(axis=2)  # u(y, y) = 0
    assert first_best(expected_utilities(between)) == first_best(pool_scores(between))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_permuted_pool_gives_a_permuted_answer(seed):
    rng = np.random.default_rng(seed)
    within, across, order = rng.random((5, 5)), rng.random((5, 3)), rng.permutation(5)
    found = first_best(pool_scores(within[np.ix_(order, order)], across[order]))
    assert order[found] == first_best(pool_scores(within, across))


@pytest.mark.parametrize("seed", SEEDS)
def test_preferences_of_both_orders_are_fair(seed):
    rng = np.random.default_rng(seed)
    worth, taste = rng.normal(size=5), 0.2  # a judge that favours the first place
    true = 1 / (1 + np.exp(worth[None, :] - worth[:, None]))
    judged = true * (1 - taste) + taste
    found = preference_utilities(judged)
    assert (found + found.T).ravel() == pytest.approx(1)
    wanted = 0.5 + (true - 0.5) * (1 - taste)
    assert found.ravel() == pytest.approx(wanted.ravel())
    one_order = np.where(np.triu(np.ones((5, 5)), 1) > 0, judged, np.nan)
    upper = np.triu_indices(5, 1)
    found = preference_utilities(one_order)
    assert found[upper] == pytest.approx(judged[upper])
    assert found.T[upper] == pytest.approx(1 - judged[upper])


def test_ties_go_to_the_first_whatever_the_order_of_the_sum():
    assert first_best([0.3, 0.1 + 0.2, 0.3]) == 0
    assert first_best([0.1, 0.3, 0.1 + 0.2]) == 1
    assert first_best([-np.inf, -np.inf]) == 0
    assert first_best([-np.inf, -2.0]) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: pool_scores([]),
        lambda: pool_scores([[1.0, 2.0]]),
        lambda: pool_scores([[1.0]], [[1.0], [2.0]]),
        lambda: pool_scores([[1.0]], counts=[0]),
        lambda: pool_scores([[0.0, np.nan], [0.0, 0.0]]),
        lambda: expected_utilities(np.empty((0, 3))),
        lambda: expected_utilities([[1.0, 2.0]], [1.0, -1.0]),
        lambda: preference_utilities([[0.5, 2.0], [0.5, 0.5]]),
        lambda: preference_utilities([[0.5, 1.0]]),
        lambda: first_best([]),
        lambda: first_best([1.0, np.nan]),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_text_is_most_like_itself(name):
    alike = SIMILARITIES[name]
    text, near, far = "the cat sat on the mat", "the cat sat on a hat", "taxes were raised"
    assert alike(text, text) == pytest.approx(1)
    assert 0 <= alike(text, far) <= alike(text, near) < 1


def test_chrf_by_hand():
    # "ab" by "abc": unigrams P 1, R 2/3; bigrams P 1, R 1/2; trigrams in the reference alone, where
    # only orders that both texts have are averaged. F2 of P = 1 and R = 7/12.
    recall = (2 / 3 + 1 / 2) / 2
    assert SIMILARITIES["chrf"]("ab", "abc") == pytest.approx(5 * recall / (4 + recall))
