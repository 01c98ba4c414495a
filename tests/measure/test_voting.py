"""Votes: against brute force, and where one rule must be another."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure.voting import (
    best_of,
    majority,
    majority_limit,
    selection_curve,
    weighted,
)

ANSWERS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=8)


@given(ANSWERS)
def test_the_majority_is_the_most_frequent_seen_first(answers):
    counts = Counter(answer for answer in answers if answer is not None)
    found = majority(answers)
    if not counts:
        assert found is None
        return
    most = max(counts.values())
    winner = next(answer for answer in answers if answer and counts[answer] == most)
    assert found == answers.index(winner)


@given(ANSWERS, st.data())
def test_the_weighted_vote_sums_scores(answers, data):
    scores = data.draw(st.lists(st.integers(-3, 3), min_size=len(answers), max_size=len(answers)))
    found = weighted(answers, [float(score) for score in scores])
    sums = {a: sum(s for b, s in zip(answers, scores, strict=True) if a == b) for a in answers if a}
    if not sums:
        assert found is None
    else:
        assert sums[answers[found]] == max(sums.values())
        assert found == answers.index(answers[found])


def test_where_rules_agree():
    rng = np.random.default_rng(0)
    for _ in range(50):
        answers = [str(n) for n in rng.integers(4, size=7)]
        scores = rng.normal(size=7).tolist()
        assert weighted(answers, [2.0] * 7) == majority(answers)
        different = [str(n) for n in range(7)]
        assert weighted(different, scores) == best_of(scores)
        assert (
            majority(answers[:1]) == weighted(answers[:1], scores[:1]) == best_of(scores[:1]) == 0
        )


def test_classes_may_hold_different_spellings():
    same = lambda a, b: float(a) == float(b)  # noqa: E731
    assert majority(["1", "2", "2.0", "1"], same=same) == 0
    assert majority(["1", "2", "2.0", "02"], same=same) == 1
    assert weighted(["1", "2", "2.0"], [1.5, 1.0, 1.0], same=same) == 1


def test_negative_scores_punish_a_frequent_answer():
    assert weighted(["a", "a", "b"], [-1.0, -1.0, -1.5]) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: weighted(["a"], []),
        lambda: weighted(["a"], [float("nan")]),
        lambda: best_of([float("nan")]),
        lambda: majority_limit([[0.5, 0.6]]),
        lambda: majority_limit([0.5, 0.5]),
        lambda: majority_limit([[-0.5, 1.5]]),
        lambda: selection_curve([["a"]], [[True]], ks=[2]),
        lambda: selection_curve([["a"]], [[True]], ks=[0]),
        lambda: selection_curve([["a", "b"]], [[True]], ks=[1]),
        lambda: selection_curve([["a"]], [[True]], [[1.0, 2.0]], ks=[1]),
        lambda: selection_curve([["a"]], [[True]], [[float("nan")]], ks=[1]),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()


def test_no_answer():
    assert majority([]) is majority([None]) is best_of([]) is None


def enumerated(answers, correct, scores, k):
    """Give each rule's mean over all orderings of all subsets."""
    found = {rule: [] for rule in ("majority", "best-of-n", "weighted", "oracle")}
    for picks in itertools.permutations(range(len(answers)), k):
        some, right = [answers[i] for i in picks], [correct[i] for i in picks]
        values = [scores[i] for i in picks]
        places = {
            "majority": majority(some),
            "best-of-n": best_of(values),
            "weighted": weighted(some, values),
        }
        found["oracle"].append(any(right))
        for rule, place in places.items():
            found[rule].append(place is not None and right[place])
    return {rule: np.mean(values) for rule, values in found.items()}


def test_the_curve_is_the_mean_over_subsets():
    rng = np.random.default_rng(1)
    answers = [["a", "b", "a", None, "c"], [None, "b", "b", "c", "c"], [None] * 5]
    correct = [[True, False, True, False, False], [False, True, True, False, False], [False] * 5]
    scores = rng.normal(size=(3, 5))
    curve = selection_curve(answers, correct, scores, ks=[1, 2, 4, 5], subsets=4000, rng=0)
    for column, k in enumerate(curve.k):
        each = [enumerated(*row, int(k)) for row in zip(answers, correct, scores, strict=True)]
        for rule in each[0]:
            wanted = np.mean([one[rule] for one in each])
            assert curve.mean[rule][column] == pytest.approx(wanted, abs=0.02), (rule, k)


def test_one_sample_makes_all_rules_pass_at_1():
    rng = np.random.default_rng(2)
    answers = [[str(n) for n in row] for row in rng.integers(3, size=(20, 10))]
    correct = [[answer == "0" for answer in row] for row in answers]
    curve = selection_curve(answers, correct, rng.normal(size=(20, 10)), ks=[1])
    assert len({means[0] for means in curve.mean.values()}) == 1


def test_a_vote_saturates_where_the_likeliest_answer_is_wrong():
    """The card's experiment: coverage .12, .42, .71, .86 at 1 to 1000; the vote stays near .25."""
    rng = np.random.default_rng(0)
    chance = rng.beta(0.3, 3, size=128)
    wrong = rng.dirichlet([0.5] * 20, size=128)
    table = np.column_stack([chance, (1 - chance)[:, None] * wrong])
    drawn = np.array([rng.choice(21, size=1000, p=row) for row in table])
    answers = [[str(n) for n in row] for row in drawn]
    curve = selection_curve(answers, drawn == 0, ks=[1, 10, 100, 1000], subsets=20)
    limit = majority_limit(table)
    assert limit == pytest.approx((table.argmax(axis=1) == 0).mean())
    assert curve.mean["oracle"] == pytest.approx([0.12, 0.42, 0.71, 0.86], abs=0.04)
    assert curve.mean["majority"][-1] == pytest.approx(limit, abs=0.02)
    assert curve.mean["majority"][-1] < 0.5 * curve.mean["oracle"][-1]
