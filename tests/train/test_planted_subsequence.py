"""The planted subsequence: its laws against every answer there is, and against draws."""

import itertools

import numpy as np
import pytest
from scipy.stats import nbinom

from samplewise.errors import UsageError
from samplewise.measure.heterogeneity import anti_concentration, best_in_ball, heterogeneity
from samplewise.train.planted_subsequence import PlantedSubsequence

TINY = PlantedSubsequence(
    vocabulary=3,
    length=2,
    budget=6,
    noise=0.6,
    noise_spread=0.3,
    known=0.3,
    decoys=2,
    misled=0.4,
    prompts=3,
    test=1,
    rollouts=4,
    seed=1,
)
EVERY = np.array(list(itertools.product(range(3), repeat=6)))
ALONE = {"known": 1.0, "misled": 0.0, "decoys": 0}


def enumerated(task, number):
    """Give every answer's probability and returns."""
    numbers = np.full(len(EVERY), number)
    return np.exp(task.log_probabilities(numbers, EVERY)), task.returns(numbers, EVERY)


def by_hand(tokens, targets):
    """Count the tokens from the one on that solves."""
    left = list(targets)
    for step, token in enumerate(tokens):
        left = left[1:] if token == left[0] else left
        if not left:
            return len(tokens) - step
    return 0


@pytest.mark.parametrize("number", range(4))
def test_laws_are_sums_over_every_answer(number):
    chances, returns = enumerated(TINY, number)
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    for one in range(3):
        law = np.bincount(returns[:, one], chances, 7)
        np.testing.assert_allclose(TINY.laws[number, one], law, atol=1e-12)
        targets = TINY.maps[one, TINY.symbols[number]]
        assert returns[:, one].tolist() == [by_hand(tokens, targets) for tokens in EVERY.tolist()]


@pytest.mark.parametrize("number", range(3))
def test_heterogeneity_is_the_variance_of_the_return(number):
    # Token by token: what the mean return varies with each choice, summed over all places.
    chances, returns = enumerated(TINY, number)
    true = returns[:, TINY.truth]
    mass = chances.reshape((3,) * 6)
    worth = (chances * true).reshape((3,) * 6)
    total = 0.0
    for _ in range(6):
        before = mass.sum(axis=-1)
        q = worth / mass
        law = mass / before[..., None]
        mean = (law * q).sum(axis=-1, keepdims=True)
        total += (before * (law * (q - mean) ** 2).sum(axis=-1)).sum()
        mass, worth = before, worth.sum(axis=-1)
    exact = heterogeneity([true], [chances])
    assert total == pytest.approx(exact.sigma[0] ** 2, abs=1e-12)
    from_law = heterogeneity([np.arange(7)], [TINY.laws[number, TINY.truth]])
    assert exact.sigma[0] == pytest.approx(from_law.sigma[0])


def test_without_noise_it_is_solved_at_once_and_there_is_no_signal():
    task = PlantedSubsequence(noise=0.0, **ALONE)
    law = task.laws[:, task.truth]
    assert law[:, 40 - 5 + 1].tolist() == [1.0] * 16
    assert task.pool.returns.min() == task.pool.returns.max() == 36
    found = heterogeneity(np.tile(np.arange(41), (16, 1)), law)
    assert found.sigma.tolist() == [0.0] * 16
    assert anti_concentration(task.pool.returns[:, :, 0], [0.0, 9.0]).shares.min() == 1.0


@pytest.mark.parametrize(("noise", "known"), [(1.0, 1.0), (0.3, 1.0), (0.5, 0.0)])
def test_the_solving_time_is_negative_binomial(noise, known):
    task = PlantedSubsequence(noise=noise, **{**ALONE, "known": known})
    advance = 1 - noise + noise / 15 if known else 1 / 15
    times = nbinom.pmf(np.arange(36), 5, advance)  # of what is not needed, before the fifth
    np.testing.assert_allclose(task.laws[0, 0, 36:0:-1], times, atol=1e-12)


@pytest.mark.parametrize(
    ("budget", "mean", "sigma", "solved"),
    [(20, 0.051, 0.123, 0.206), (40, 0.294, 0.230, 0.789), (80, 0.622, 0.159, 0.998)],
)
def test_the_cards_figures(budget, mean, sigma, solved):
    task = PlantedSubsequence(noise=0.9, budget=budget, **ALONE)
    law = task.laws[:1, 0]
    found = heterogeneity([np.arange(budget + 1)], law)
    assert found.mean[0] / budget == pytest.approx(mean, abs=5e-4)
    assert found.sigma[0] / budget == pytest.approx(sigma, abs=5e-4)
    assert 1 - law[0, 0] == pytest.approx(solved, abs=5e-4)


def test_draws_have_the_law():
    task = PlantedSubsequence(prompts=1, test=1)
    numbers = np.zeros(2000, np.int64)
    true = task.returns(numbers, task.sample(numbers, np.random.default_rng(1)))[:, task.truth]
    law = task.laws[:1, task.truth]
    every = np.arange(41)
    exact = heterogeneity([every], law)
    seen = heterogeneity([true])
    assert seen.sigma[0] == pytest.approx(exact.sigma[0], rel=0.05)
    assert abs(seen.mean[0] - exact.mean[0]) < 3 * exact.sigma[0] / np.sqrt(2000)
    # At the exact levels, where no return lies on one of them.
    radii = [0.5, 1.0, 1.5]
    levels = exact.mean[0] + exact.sigma[0] * np.sqrt(radii)
    shares = anti_concentration([every], radii, law).shares[0]
    drawn = (true[:, None] >= levels).mean(axis=0)
    assert (np.abs(drawn - shares) < 3 * np.sqrt(shares * (1 - shares) / 2000)).all()


def test_tilts_are_the_best_in_the_ball_over_answers():
    tilts = TINY.tilts(0.3)
    for number in range(3):
        chances, returns = enumerated(TINY, number)
        for one in range(3):
            ball = best_in_ball([returns[:, one]], 0.3, [chances])
            np.testing.assert_allclose(tilts[number, one, returns[:, one]], ball.weights[0])


def test_equal_tasks_have_equal_pools_and_other_seeds_others():
    task = PlantedSubsequence(rollouts=8)
    again, other = PlantedSubsequence(rollouts=8), PlantedSubsequence(rollouts=8, seed=1)
    assert np.array_equal(task.pool.tokens, again.pool.tokens)
    assert not np.array_equal(task.pool.tokens, other.pool.tokens)
    assert task.pool.returns.shape == (8, 8, 2)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"vocabulary": 1}, "vocabulary"),
        ({"length": 0}, "length"),
        ({"length": 41}, "budget"),
        ({"noise": 1.1}, "noise"),
        ({"noise": 0.9, "noise_spread": 0.2}, "noise_spread"),
        ({"noise_spread": -0.1}, "noise_spread"),
        ({"known": 0.8, "misled": 0.3}, "known"),
        ({"decoys": 0}, "decoys"),
        ({"prompts": 0}, "prompts"),
        ({"rollouts": 0}, "rollouts"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        PlantedSubsequence(**fields)
