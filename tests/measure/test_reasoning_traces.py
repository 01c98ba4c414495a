"""Diagnosis of reasoning traces against hand-computed cases, brute force and limits."""

import math

import numpy as np
import pytest
from scipy import stats

from samplewise.measure.paired import paired_t
from samplewise.measure.reasoning_traces import (
    end_ranks,
    mean_repetition,
    sentence_ends,
    summarise_lengths,
    tokens_at,
    tokens_saved,
)

RANDOM = np.random.default_rng(0)

# --- lengths --------------------------------------------------------------------------------------


def test_lengths_by_hand():
    found = summarise_lengths([4, 8, 6, 20, 30], [1, 1, 0, 0, 1], [1, 1, 1, 1, 0])
    assert found.accuracy == pytest.approx(2 / 5)  # the cut one counts as wrong
    assert found.tokens == pytest.approx(68 / 5)
    assert found.right_tokens == 6
    assert found.wrong_tokens == pytest.approx(56 / 3)
    assert found.unfinished == pytest.approx(1 / 5)
    assert found.tokens_per_right == 34
    assert found.excess.mean == pytest.approx(56 / 3 - 6)


def test_the_interval_is_that_of_welch():
    wrong, right = RANDOM.normal(30, 9, 12), RANDOM.normal(20, 3, 40)
    found = summarise_lengths([*wrong, *right], [0] * 12 + [1] * 40, confidence=0.9).excess
    parts = wrong.var(ddof=1) / 12, right.var(ddof=1) / 40
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 11 + parts[1] ** 2 / 39)
    half = stats.t.ppf(0.95, freedom) * math.sqrt(sum(parts))
    away = wrong.mean() - right.mean()
    np.testing.assert_allclose(found, [away, away - half, away + half])
    assert found.clear


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for _ in range(400):
        lengths = np.concatenate([RANDOM.normal(29, 3, 8), RANDOM.normal(25, 1, 20)])
        low, high = summarise_lengths(lengths, [0] * 8 + [1] * 20, confidence=0.9).excess[1:]
        held += low < 4 < high
    assert abs(held / 400 - 0.9) < 3 * math.sqrt(0.9 * 0.1 / 400)


def test_within_problems_their_hardness_is_no_difference():
    # Wrong traces are one token longer than right ones to the same problem, and most are to the
    # hard problem, whose traces are a hundred tokens longer.
    lengths, right = [10, 10, 10, 11, 110, 111, 111, 111], [1, 1, 1, 0, 1, 0, 0, 0]
    problems = ["easy"] * 4 + ["hard"] * 4
    within = summarise_lengths(lengths, right, problems=problems).excess
    assert within == paired_t([11, 111], [10, 110])
    assert within.mean == 1
    assert summarise_lengths(lengths, right).excess.mean > 40
    alone = ["other"]  # with wrong traces only, it says nothing
    assert summarise_lengths([*lengths, 500], [*right, 0], problems=problems + alone).excess == (
        within
    )


def test_kinds_that_are_missing_are_none():
    all_right = summarise_lengths([3, 4], [1, 1])
    assert (all_right.wrong_tokens, all_right.excess) == (None, None)
    assert all_right.tokens_per_right == all_right.tokens == 3.5
    none_right = summarise_lengths([3, 4], [0, 0])
    assert (none_right.right_tokens, none_right.excess) == (None, None)
    assert none_right.tokens_per_right == math.inf
    assert summarise_lengths([3, 4, 5], [0, 1, 1]).excess is None, "one wrong trace has no spread"
    assert summarise_lengths([9, 9, 5, 5], [0, 0, 1, 1]).excess == (4, 4, 4)
    assert summarise_lengths([9, 5, 9], [0, 1, 0], problems=[1, 1, 2]).excess is None


@pytest.mark.parametrize(
    ("arguments", "knobs", "word"),
    [
        (([], []), {}, "shapes"),
        (([1, 2], [1]), {}, "shapes"),
        (([1, 2], [1, 0], [1]), {}, "shapes"),
        (([-1, 2], [1, 0]), {}, "length"),
        (([math.nan, 2], [1, 0]), {}, "length"),
        (([1, 2], [1, 0]), {"problems": [1]}, "problems"),
        (([1, 2], [1, 0]), {"confidence": 1.0}, "confidence"),
    ],
)
def test_what_has_no_lengths_is_refused(arguments, knobs, word):
    with pytest.raises(ValueError, match=word):
        summarise_lengths(*arguments, **knobs)


# --- the end of thinking --------------------------------------------------------------------------


def test_ranks_and_probabilities_equal_sorting():
    scores = RANDOM.normal(0, 3, (50, 11))
    following = RANDOM.integers(0, 11, 50)
    found = end_ranks(scores, 4, following)
    for row, one in enumerate(scores):
        assert np.argsort(-one)[found.ranks[row] - 1] == 4
        assert found.probabilities[row] == pytest.approx(math.exp(one[4]) / np.exp(one).sum())
        rival = max(one[token] for token in range(11) if token != 4)
        assert found.rivals[row] == pytest.approx(math.exp(rival) / np.exp(one).sum())
    for k in (1, 5, 11):
        near = [4 in np.argsort(-one)[:k] for one in scores]
        assert found.among(k) == pytest.approx(np.mean(near))
        assert found.passed_over(k) == pytest.approx(np.mean(near & (following != 4)))
    assert found.among(11) == 1


def test_adding_a_constant_changes_nothing():
    scores = RANDOM.normal(0, 3, (9, 7))
    first, second = (end_ranks(one, 2, np.zeros(9)) for one in (scores, scores + 800))
    np.testing.assert_array_equal(first.ranks, second.ranks)
    np.testing.assert_allclose(first.probabilities, second.probabilities)


def test_of_tokens_that_tie_all_have_the_best_rank():
    scores = [[1.0, 3.0, 1.0, 1.0, 0.0]]
    assert [end_ranks(scores, token, [0]).ranks[0] for token in range(5)] == [2, 1, 2, 2, 5]
    assert end_ranks(np.zeros((1, 9)), 8, [0]).among(1) == 1


def test_what_cannot_come_is_last_and_what_must_is_first():
    found = end_ranks([[0.0, -math.inf, 0.0], [-math.inf, 5.0, -math.inf]], 1, [0, 1])
    assert found.ranks.tolist() == [3, 1]
    assert found.probabilities.tolist() == [0, 1]
    assert (found.among(2), found.passed_over(2)) == (0.5, 0.0)


@pytest.mark.parametrize("tau", [0.2, 0.8, 1.0, 1.25, 5.0])
def test_the_likeliest_turns_where_the_tempered_law_says(tau):
    law = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    tempered = law.copy()
    tempered[:, 2] = law[:, 2] ** (1 / tau)  # against 1 - p of all others together
    expected = (law.argmax(axis=1) == 2) != (tempered.argmax(axis=1) == 2)
    assert end_ranks(np.log(law), 2, np.zeros(500)).turned(tau).tolist() == expected.tolist()
    assert expected.any() == (tau != 1)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_temperature_is_refused(tau):
    with pytest.raises(ValueError, match="tau"):
        end_ranks([[0.0, 1.0]], 0, [0]).turned(tau)


def test_without_a_place_there_is_no_share():
    found = end_ranks(np.empty((0, 4)), 1, np.empty(0))
    assert (found.among(), found.passed_over()) == (None, None)


@pytest.mark.parametrize(
    ("scores", "end", "following", "word"),
    [
        ([1.0, 2.0], 0, [0], "shapes"),
        ([[1.0, 2.0]], 0, [0, 1], "shapes"),
        ([[1.0, 2.0]], 2, [0], "end"),
        ([[1.0, 2.0]], -1, [0], "end"),
        ([[1.0]], 0, [0], "end"),
        ([[1.0, math.nan]], 0, [0], "scores"),
        ([[1.0, math.inf]], 0, [0], "scores"),
        ([[-math.inf, -math.inf]], 0, [0], "scores"),
    ],
)
def test_what_has_no_rank_is_refused(scores, end, following, word):
    with pytest.raises(ValueError, match=word):
        end_ranks(scores, end, following)


@pytest.mark.parametrize(
    ("pieces", "ends"),
    [
        (["So", " it", " is", "."], [3]),
        (["Is", " it", "?", ' "', "Yes", '."', " Good", "!!", "\n"], [2, 5, 8]),
        (["a", ".", "\n", "\n", "b"], [3]),
        (["a", ".\n\n", "b", "\n", "c"], [1, 3]),
        (["pi", " is", " 3", ".", "14", "!"], [5]),
        (["no", " end"], []),
        ([], []),
        (["", "a.", "", " b"], [1]),
    ],
)
def test_sentences_end_where_a_reader_says(pieces, ends):
    assert sentence_ends(pieces).tolist() == ends


def test_any_mark_can_end_a_step():
    assert sentence_ends(list("12;3;4=1"), ";").tolist() == [2, 4]
    assert sentence_ends(list("abc"), "x*").tolist() == [], "what matches nothing ends nothing"


# --- repetition -----------------------------------------------------------------------------------


def test_repetition_equals_counting():
    traces = [RANDOM.integers(0, 3, length).tolist() for length in (2, 3, 9, 30)]
    for n in (1, 2, 3, 4):
        shares = []
        for trace in traces:
            grams = [tuple(trace[i : i + n]) for i in range(len(trace) - n + 1)]
            if grams:
                shares.append(1 - len(set(grams)) / len(grams))
        assert mean_repetition(traces, n) == pytest.approx(np.mean(shares))


def test_limits_of_repetition():
    assert mean_repetition([np.arange(20)]) == 0
    assert mean_repetition([[7] * 13]) == pytest.approx(9 / 10)
    assert mean_repetition([[1, 2, 3]], n=4) is None
    assert mean_repetition([]) is None
    with pytest.raises(ValueError, match="n is 0"):
        mean_repetition([[1]], n=0)


# --- tokens at equal accuracy ---------------------------------------------------------------------


def test_the_first_reach_by_hand():
    curve = ([40, 10, 30, 20], [0.8, 0.5, 0.6, 0.7])  # rises to 0.7, falls to 0.6, rises again
    assert tokens_at(curve, 0.5) == 10
    assert tokens_at(curve, 0.6) == pytest.approx(15)
    assert tokens_at(curve, 0.7) == 20
    assert tokens_at(curve, 0.75) == pytest.approx(37.5)
    assert tokens_at(curve, 0.8) == 40
    assert tokens_at(curve, 0.49) is None
    assert tokens_at(curve, 0.81) is None
    assert tokens_at(([5, 5], [0.9, 0.1]), 0.5) == 5, "an upright line"


def random_curve(points=6):
    return np.cumsum(RANDOM.uniform(1, 9, points)), RANDOM.uniform(0.2, 0.9, points)


def test_the_first_reach_equals_a_fine_search():
    for _ in range(20):
        tokens, values = random_curve()
        fine = np.linspace(tokens[0], tokens[-1], 200_001)
        line = np.interp(fine, tokens, values)
        for accuracy in RANDOM.uniform(values[0], values.max(), 3):
            expected = fine[np.argmax(line >= accuracy)]
            assert tokens_at((tokens, values), accuracy) == pytest.approx(expected, abs=1e-3)


def test_the_mean_saving_equals_a_sum_over_accuracies():
    met = 0
    for _ in range(20):
        plain, method = random_curve(), random_curve()
        found = tokens_saved(plain, method)
        low = max(plain[1][0], method[1][0])
        high = min(plain[1].max(), method[1].max())
        if low > high:
            assert found is None
            continue
        met += 1
        assert found[2:] == (low, high)
        grid = low + (high - low) * (np.arange(4000) + 0.5) / 4000
        means = [np.mean([tokens_at(one, value) for value in grid]) for one in (plain, method)]
        assert found.tokens == pytest.approx(means[0] - means[1], abs=0.01)
        assert found.share == pytest.approx(1 - means[1] / means[0], abs=0.001)
    assert met > 5


def test_limits_of_savings():
    tokens, values = random_curve()
    assert tokens_saved((tokens, values), (tokens, values))[:2] == (0, 0)
    half = tokens_saved((tokens, values), (tokens / 2, values))
    assert half.share == pytest.approx(0.5)
    back = tokens_saved((tokens / 2, values), (tokens, values))
    assert (back.tokens, back.share) == pytest.approx((-half.tokens, -1))
    one = tokens_saved(([10, 20], [0.5, 0.7]), ([5, 15], [0.5, 0.7]), accuracy=0.6)
    assert one == pytest.approx((5, 1 / 3, 0.6, 0.6))
    assert tokens_saved(([10], [0.5]), ([4], [0.5])) == (6, 0.6, 0.5, 0.5)


@pytest.mark.parametrize("accuracy", [0.49, 0.71, math.nan])
def test_where_curves_do_not_meet_there_is_no_saving(accuracy):
    curves = ([10, 20], [0.5, 0.7]), ([5, 15], [0.4, 0.9])
    assert tokens_saved(*curves, accuracy=accuracy) is None
    assert tokens_saved(curves[0], ([5, 15], [0.8, 0.9])) is None
    assert tokens_saved(([5, 15], [0.8, 0.9]), curves[0]) is None


@pytest.mark.parametrize(
    "curve", [([], []), ([1, 2], [0.5]), ([1, math.nan], [0.5, 0.6]), ([1], [math.inf])]
)
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(ValueError, match=r"shapes|point"):
        tokens_at(curve, 0.5)
