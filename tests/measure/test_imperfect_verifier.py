"""Resampling with a verifier that errs: brute force, closed forms, and the card's figures."""

import itertools

import numpy as np
import pytest

from samplewise.measure.imperfect_verifier import (
    TwoTypes,
    accept_counts,
    best_attempts,
    ceiling,
    false_positives_by_attempt,
    line_over_models,
    reward_curve,
    simulated_rewards,
    tasks_without_false_negatives,
    two_types_of,
)
from samplewise.measure.pass_at_k import coverage_curve

PRINTED = {  # accuracy with one sample, and the ceiling; the points that the card gives
    "Vicuna 7B": (0.092, 0.752),
    "Code Llama 7B": (0.286, 0.765),
    "Code Llama 13B": (0.339, 0.779),
    "Command-R": (0.368, 0.842),
    "Llama 3.1 8B": (0.550, 0.825),
    "Phi-3 Medium": (0.608, 0.859),
    "Llama 3.1 70B": (0.712, 0.870),
    "Llama 3.1 405B": (0.781, 0.893),
    "GPT-4o": (0.855, 0.929),
}
CLOSED = TwoTypes((0.58, 0.42), (0.87, 0.13), completeness=1.0, soundness=0.75)


def table(seed, tasks=150, samples=200, noise=True):
    rng = np.random.default_rng(seed)
    right = rng.random((tasks, samples)) < rng.beta(1, 1.5, tasks)[:, None]
    false = rng.random((tasks, samples)) < rng.beta(0.5, 4, tasks)[:, None]
    return right | (false if noise else False), right


def by_all_orders(accept, correct, attempts, right_worth, wrong_worth):
    """Average over every ordering of the samples of a task."""
    rewards = []
    for order in itertools.permutations(range(len(accept))):
        first = next((i for i in order[:attempts] if accept[i]), None)
        rewards.append(0 if first is None else right_worth if correct[first] else wrong_worth)
    return np.mean(rewards)


@pytest.mark.parametrize("samples", range(1, 7))
def test_the_exact_curve_is_the_mean_over_all_orders(samples):
    rng = np.random.default_rng(samples)
    accept, correct = rng.random((2, 3, samples)) < 0.5
    curve = reward_curve(accept_counts(accept, correct), value_right=1.5, value_wrong=-0.7)
    for k in range(1, samples + 1):
        each = [by_all_orders(a, c, k, 1.5, -0.7) for a, c in zip(accept, correct, strict=True)]
        assert curve[k - 1] == pytest.approx(np.mean(each), abs=1e-12)


def test_costs_and_abstention_over_all_orders():
    accept, correct = np.array([[1, 0, 0, 1]], bool), np.array([[0, 1, 0, 1]], bool)
    curve = reward_curve(
        accept_counts(accept, correct), value_wrong=-1, value_abstain=0.3, cost=0.1
    )
    for k in range(1, 5):
        rewards = []
        for order in itertools.permutations(range(4)):
            first = next((place for place in range(k) if accept[0, order[place]]), None)
            worth = 0.3 if first is None else (1 if correct[0, order[first]] else -1)
            rewards.append(worth - 0.1 * (k if first is None else first + 1))
        assert curve[k - 1] == pytest.approx(np.mean(rewards))


def test_with_replacement_it_is_a_geometric_race():
    counts = [[10, 4, 3, 3]]
    curve = reward_curve(counts, 25, value_wrong=-2, replace=True)
    k = np.arange(1, 26)
    assert curve == pytest.approx((1 - 0.6**k) * (3 - 2) / 4)


def test_a_perfect_verifier_gives_the_coverage():
    accept, correct = table(0, noise=False)
    counts = accept_counts(accept, correct)
    curve = reward_curve(counts)
    assert curve == pytest.approx(coverage_curve(counts[:, [0, 3]], resamples=2).mean)
    assert curve[-1] == pytest.approx((counts[:, 2] > 0).mean())


def test_a_verifier_that_accepts_all_gives_one_sample():
    _, correct = table(1)
    counts = accept_counts(np.ones_like(correct), correct)
    accuracy = correct.mean()
    curve = reward_curve(counts, value_wrong=-0.5)
    assert curve == pytest.approx(np.full(200, accuracy - 0.5 * (1 - accuracy)))


def test_if_wrong_answers_cost_nothing_more_is_never_worse():
    curve = reward_curve(accept_counts(*table(2)))
    assert (np.diff(curve) >= -1e-12).all()
    assert best_attempts(curve).reward == pytest.approx(curve[-1], abs=1e-12)


@pytest.mark.parametrize("wrong", [0.0, -0.5, -3.0])
def test_for_one_task_it_is_all_or_nothing(wrong):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a = int(rng.integers(0, 11))
        g = int(rng.integers(0, a + 1))
        best = best_attempts(reward_curve([[10, a, g, g]], value_wrong=wrong))
        worth = g + wrong * (a - g)
        if worth <= 0:
            assert best.attempts == 0
        else:  # from n - a + 1 attempts on, one is accepted for sure
            assert best.attempts == 10 - a + 1


def test_the_closed_model_of_the_card():
    assert CLOSED.rejected == pytest.approx([0.0975, 0.6525])
    assert CLOSED.accepted_wrong == pytest.approx([0.0325, 0.2175])
    assert CLOSED.precision == pytest.approx([0.964, 0.374], abs=5e-4)
    assert CLOSED.limit() == pytest.approx(0.71624, abs=5e-6)
    assert CLOSED.rewards(1)[0] == pytest.approx(0.5592)
    assert CLOSED.rewards(2000)[-1] == pytest.approx(CLOSED.limit())
    for wrong, attempts, reward in ((-0.7, 3, 0.52457), (-1, 2, 0.47238), (-2, 1, 0.33880)):
        best = best_attempts(CLOSED.rewards(300, wrong))
        assert (best.attempts, best.reward) == (attempts, pytest.approx(reward, abs=5e-6))


def test_the_sign_of_the_hard_type_changes_where_the_card_says():
    hard = TwoTypes((0.0, 1.0), CLOSED.rate, soundness=0.75)
    edge = -0.13 / 0.2175
    assert edge == pytest.approx(-0.5977, abs=5e-5)
    assert hard.gains(1, edge + 1e-6)[0] > 0 > hard.gains(1, edge - 1e-6)[0]


def test_beliefs_are_bayes():
    for k in range(5):
        weights = np.array([0.58 * 0.0975**k, 0.42 * 0.6525**k])
        assert CLOSED.belief(k) == pytest.approx(weights / weights.sum())


def test_a_belief_after_many_rejections_does_not_vanish():
    assert CLOSED.belief(10_000) == pytest.approx([0, 1])
    certain = TwoTypes((0.5, 0.5), (1.0, 1.0))
    assert certain.belief(3) == pytest.approx([0.5, 0.5])  # it never happens: nothing is learnt


def test_the_published_code_counts_beliefs_twice():
    assert CLOSED.rewards_with_beliefs_twice(2000)[-1] == pytest.approx(0.8699, abs=5e-5)
    for wrong in (-0.7, -1.0, -2.0):
        twice = best_attempts(CLOSED.rewards_with_beliefs_twice(300, wrong))
        assert twice.attempts == best_attempts(CLOSED.rewards(300, wrong)).attempts


def test_the_closed_model_is_what_is_simulated():
    rng = np.random.default_rng(3)
    kind = rng.random(400_000) < 0.42
    rate = np.where(kind, 0.13, 0.87)
    reward, alive = np.zeros(len(kind)), np.ones(len(kind), bool)
    for _ in range(3):
        right = rng.random(len(kind)) < rate
        accept = right | (rng.random(len(kind)) < 0.25)
        reward += alive * accept * np.where(right, 1.0, -0.7)
        alive &= ~accept
    assert reward.mean() == pytest.approx(CLOSED.rewards(3, -0.7)[-1], abs=0.004)


def test_the_simulation_agrees_with_the_exact_curve():
    accept, correct = table(4, tasks=150)
    mean, error = simulated_rewards(accept, correct, 100, value_wrong=-1.0, rng=0)
    counts = accept_counts(accept, correct)
    misses = 0
    for k in (1, 2, 5, 20, 100):
        for task in range(150):
            exact = reward_curve(counts[task : task + 1], value_wrong=-1.0)[k - 1]
            away = abs(mean[task, k - 1] - exact)
            misses += away > 3 * error[task, k - 1] + 1e-9
            assert away <= 5 * error[task, k - 1] + 0.02  # an error of 0 is an estimate too
    # 0.27% would be, were the means normal; where few orders pay, an error is judged too small
    assert misses <= 0.03 * 5 * 150


def test_the_best_number_falls_with_cost_and_rises_with_skill():
    rng = np.random.default_rng(0)
    false = rng.beta(0.5, 4, 150)
    found = []
    for mean in (0.27, 0.53, 0.84):
        rate = rng.beta(2 * mean, 2 * (1 - mean), 150)
        right = rng.random((150, 200)) < rate[:, None]
        accept = right | (rng.random((150, 200)) < false[:, None])
        counts = accept_counts(accept, right)
        found.append(
            [
                best_attempts(reward_curve(counts, value_wrong=-ratio)).attempts
                for ratio in (0, 1, 2, 4, 8)
            ]
        )
    for row in found:
        assert row == sorted(row, reverse=True)
        assert row[0] > 100 > 10 > row[-1]
    weak, middle, strong = (row[2:] for row in found)  # where a wrong answer costs 2, 4, 8
    assert weak[1:] == [0, 0]
    assert all(less <= more for less, more in zip(weak, middle, strict=True))
    assert all(less < more for less, more in zip(middle[1:], strong[1:], strict=True))


def test_the_ceiling_and_its_bounds():
    found = ceiling([[10, 5, 5, 5], [10, 4, 1, 2], [10, 0, 0, 3]])
    assert found.macro == pytest.approx((1 + 0.25) / 2)
    assert (found.worst, found.best) == pytest.approx((1.25 / 3, 2.25 / 3))
    assert found.micro == pytest.approx(6 / 9)
    assert (found.single, found.undefined) == (pytest.approx(1 / 3), 1)
    none = ceiling([[10, 0, 0, 3]])
    assert np.isnan(none.macro)
    assert (none.worst, none.best) == (0, 1)


def test_a_stronger_truth_can_only_lower_the_ceiling():
    accept, correct = table(5)
    stronger = correct & (np.random.default_rng(6).random(correct.shape) < 0.8)
    weak, strong = (ceiling(accept_counts(accept, truth)) for truth in (correct, stronger))
    assert strong.macro < weak.macro


def test_late_acceptances_are_wrong_more_often():
    counts = accept_counts(*table(7))
    found = false_positives_by_attempt(counts)
    assert found.first.tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    assert found.last.tolist() == [1, 3, 7, 15, 31, 63, 127, 200]
    assert found.rate[-2] > found.rate[0]
    single = np.where(counts[:, 1] > 0, 1 - counts[:, 2] / np.maximum(counts[:, 1], 1), np.nan)
    assert found.rate[0] == pytest.approx(np.nanmean(single))


@pytest.mark.parametrize("soundness", [0.2, 0.75, 1.0])
def test_parameters_are_found_again(soundness):
    """With right samples always accepted, s = 1 - FP / (1 - accuracy)."""
    n = 10_000
    rows = []
    for rate in [0.9] * 3 + [0.2] * 2:
        right = round(rate * n)
        wrong = round((1 - soundness) * (n - right))
        rows.append([n, right + wrong, right, right])
    counts = np.array(rows)
    found = two_types_of(counts)
    assert found.share == pytest.approx((0.6, 0.4))
    assert found.rate == pytest.approx((0.9, 0.2))
    accepted, single = (counts[:, 1] / n).mean(), ceiling(counts).single
    false = accepted * (1 - ceiling(counts).macro)
    assert found.soundness == pytest.approx(1 - false / (1 - single))
    assert two_types_of(counts[[0, 3]]).rate == pytest.approx((0.9, 0.2))
    if soundness == 1.0:
        assert found.soundness == 1.0


def test_two_types_need_tasks_on_both_sides():
    with pytest.raises(ValueError, match="one side"):
        two_types_of([[1000, 700, 600, 600], [1000, 800, 700, 700]])


def test_the_line_over_the_printed_models():
    """The card's line is over 17 models; its nine printed points give one close to it."""
    line = line_over_models(*zip(*PRINTED.values(), strict=True))
    assert line.slope == pytest.approx(0.218, abs=0.02)
    assert line.intercept == pytest.approx(0.725, abs=0.015)
    assert line.r_squared > 0.88
    assert line.p_value < 0.001
    never = [name for name, (_, top) in PRINTED.items() if top < PRINTED["GPT-4o"][0]]
    assert len(never) == 5


def test_false_negatives_are_seen_over_all_models():
    kept = tasks_without_false_negatives([[0.5, 0.5]], [[0.4, 0.5]])
    assert kept.tolist() == [True, True]
    kept = tasks_without_false_negatives([[0.5, 0.5], [0.1, 0.9]], [[0.4, 0.5], [0.2, 0.1]])
    assert kept.tolist() == [False, True]


@pytest.mark.parametrize(
    "call",
    [
        lambda: accept_counts([[True]], [[True, False]]),
        lambda: accept_counts([], []),
        lambda: ceiling([[10, 3, 4, 4]]),
        lambda: ceiling([[10, 3, 3, 2]]),
        lambda: ceiling([[0, 0, 0, 0]]),
        lambda: ceiling([[1, 1, 1]]),
        lambda: reward_curve([[10, 3, 3, 3]], value_wrong=0.1),
        lambda: reward_curve([[10, 3, 3, 3]], cost=-1),
        lambda: reward_curve([[10, 3, 3, 3]], 11),
        lambda: reward_curve([[10, 3, 3, 3]], 0),
        lambda: best_attempts([]),
        lambda: simulated_rewards([[True]], [[True]], 2),
        lambda: TwoTypes((0.5, 0.6), (0.1, 0.2)),
        lambda: TwoTypes((0.5, 0.5), (0.1, 1.2)),
        lambda: TwoTypes((1.0,), (0.1, 0.2)),
        lambda: line_over_models([1, 2], [1, 2]),
        lambda: tasks_without_false_negatives([0.5], [0.5]),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()
