"""Refinement on slots: closed forms, brute force over all paths, and the simulation beside both."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from samplewise.measure.refinement import Slots, expected_best, revised_share

CARD = Slots(20, 0.35, 0.15, 0.05)


@pytest.mark.parametrize("draws", [1, 2, 5, 40])
@pytest.mark.parametrize("chance", [0.0, 0.1, 0.5, 1.0])
def test_the_best_of_successes_and_failures(chance, draws):
    wanted = 1 - (1 - chance) ** draws
    assert expected_best([0, 1], [1 - chance, chance], draws) == pytest.approx(wanted)


def test_the_best_of_any_rewards_is_the_mean_over_all_combinations():
    values, chances = np.array([2.0, -1.0, 0.5, 2.0]), np.array([0.1, 0.4, 0.3, 0.2])
    for draws in (1, 2, 3):
        wanted = sum(
            chances[list(drawn)].prod() * values[list(drawn)].max()
            for drawn in itertools.product(range(4), repeat=draws)
        )
        assert expected_best(values, chances, draws) == pytest.approx(wanted)


def by_all_paths(model, rounds, candidates):
    """Follow every count of right slots that every candidate can have."""
    counts = range(model.slots + 1)

    def chance(before, after):
        """Choose slot by slot."""
        slots = [model.right] * model.slots
        if before is not None:
            slots = [1 - model.spoil] * before + [model.mend] * (model.slots - before)
        return sum(
            np.prod([p if one else 1 - p for p, one in zip(slots, bits, strict=True)])
            for bits in itertools.product((0, 1), repeat=model.slots)
            if sum(bits) == after
        )

    table = {(b, a): chance(b, a) for b in (None, *counts) for a in counts}
    state, curve = {None: 1.0}, []
    for _ in range(rounds):
        new = dict.fromkeys(counts, 0.0)
        for before, weight in state.items():
            for drawn in itertools.product(counts, repeat=candidates):
                path = weight * np.prod([table[before, one] for one in drawn])
                new[max(*drawn, before if before is not None else 0)] += path
        state = new
        curve.append(sum(count * weight for count, weight in state.items()) / model.slots)
    return curve


@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_the_chain_against_all_paths(candidates):
    model = Slots(3, 0.3, 0.4, 0.1)
    assert model.refined(3, candidates) == pytest.approx(by_all_paths(model, 3, candidates))


def test_the_figures_of_the_stub():
    published = [0.352, 0.435, 0.504, 0.563, 0.610, 0.649, 0.683, 0.714]
    assert CARD.refined(8) == pytest.approx(published, abs=0.006)  # of 4000 runs each
    assert CARD.best_of(8) == pytest.approx(0.504, abs=0.0005)
    assert revised_share(0.35, 0.15, 0.05, 8)[-1] == pytest.approx(0.666, abs=0.0005)


def test_one_round_is_best_of_n():
    for n in (1, 4, 9):
        assert CARD.refined(1, n) == pytest.approx([CARD.best_of(n)])


def test_a_model_that_only_samples_makes_refining_best_of_n():
    """A revision that forgets what it is shown: mended as often as a slot is right by chance."""
    model = Slots(12, 0.4, mend=0.4, spoil=0.6)
    assert model.refined(6) == pytest.approx([model.best_of(n) for n in range(1, 7)])


def test_with_nothing_spoiled_refining_is_revising():
    model = Slots(9, 0.2, mend=0.3, spoil=0.0)
    assert model.refined(7) == pytest.approx(revised_share(0.2, 0.3, 0.0, 7))


def test_a_copy_gains_nothing():
    model = Slots(9, 0.2, mend=0.0, spoil=0.0)
    assert model.refined(5) == pytest.approx([0.2] * 5)
    assert revised_share(0.2, 0.0, 0.0, 5).tolist() == [0.2] * 5


def test_revision_alone_is_the_recursion():
    share = [0.9]
    for _ in range(6):
        share.append(share[-1] * (1 - 0.25) + (1 - share[-1]) * 0.1)
    assert revised_share(0.9, 0.1, 0.25, 7) == pytest.approx(share)


RUNS = 20_000


def near(values, wanted):
    """Hold a mean to a figure, within 4.5 of its standard errors."""
    assert abs(values.mean() - wanted) < 4.5 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize(
    ("revise", "wanted"),
    [
        ("best", CARD.refined(8)[-1]),
        ("none", CARD.best_of(8)),
        ("last", revised_share(0.35, 0.15, 0.05, 8)[-1]),
    ],
)
def test_the_simulation_against_the_exact_curves(revise, wanted):
    near(CARD.simulated(8, revise=revise, runs=RUNS, rng=1), wanted)


def test_with_scores_for_perfect_answers_alone_the_tie_rule_decides():
    """None of these answers is perfect, but by a chance of 1e-4."""
    shuffled = [0.35]  # each answer is made from any before: the mean share of a random one
    for _ in range(7):
        mean = np.mean(shuffled)
        shuffled.append(0.75 + 0.8 * (mean - 0.75))
    wanted = {
        "first": 0.35,
        "last": revised_share(0.35, 0.15, 0.05, 8)[-1],
        "random": np.mean(shuffled),
    }
    for ties, share in wanted.items():
        got = CARD.simulated(8, sparse=True, ties=ties, runs=RUNS, rng=2)
        assert got.mean() == pytest.approx(share, abs=0.005)


def test_noise_beyond_all_measure_leaves_a_random_answer():
    got = CARD.simulated(5, revise="none", noise=1e6, runs=RUNS, rng=3)
    near(got, 0.35)


def test_noise_costs_best_of_two_what_is_lost_by_wrong_choices():
    """Two answers of one slot: the better is kept unless the error turns their order."""
    model, noise = Slots(1, 0.5), 0.7
    kept = norm.cdf(1 / (np.sqrt(2) * noise))
    near(model.simulated(2, revise="none", noise=noise, runs=RUNS, rng=4), 0.25 + 0.5 * kept)


def test_shuffled_answers_of_two_rounds():
    """Of two rounds the only answer that can be shown is the first: shuffling changes nothing."""
    near(CARD.simulated(2, revise="shuffled", runs=RUNS, rng=5), CARD.refined(2)[-1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_best([], [], 1),
        lambda: expected_best([1, 2], [1.0], 1),
        lambda: expected_best([1, 2], [0.6, 0.6], 1),
        lambda: expected_best([1, 2], [1.5, -0.5], 1),
        lambda: expected_best([1], [1.0], 0),
        lambda: revised_share(1.1, 0.1, 0.1, 2),
        lambda: revised_share(0.1, 0.1, 0.1, 0),
        lambda: Slots(slots=0),
        lambda: Slots(spoil=-0.1),
        lambda: CARD.refined(0),
        lambda: CARD.refined(1, 0),
        lambda: CARD.simulated(1, noise=-1.0),
        lambda: CARD.simulated(1, runs=0),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()
