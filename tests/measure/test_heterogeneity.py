"""Heterogeneity, the chi-square ball and what follows from them, against search and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from samplewise.measure.heterogeneity import (
    anti_concentration,
    best_in_ball,
    best_of_n_value,
    fit_exponent,
    heterogeneity,
    pessimistic_tilt,
    scaling_curve,
    two_outcome_regret,
)

RETURNS = st.lists(st.integers(0, 6), min_size=2, max_size=8)


def law_of(rng, size):
    return rng.dirichlet(np.ones(size))


def solved_numerically(returns, kappa, law):
    """Find the best weights by a general solver."""
    size = len(returns)
    found = minimize(
        lambda w: -(law * returns) @ w,
        np.ones(size),
        jac=lambda w: -(law * returns),
        bounds=[(0, None)] * size,
        constraints=[
            {"type": "eq", "fun": lambda w: law @ w - 1, "jac": lambda w: law},
            {
                "type": "ineq",
                "fun": lambda w: kappa - law @ (w - 1) ** 2,
                "jac": lambda w: -2 * law * (w - 1),
            },
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return -found.fun


@pytest.mark.parametrize("kappa", [0.01, 0.3, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_in_the_ball_is_what_a_solver_finds(kappa, seed):
    rng = np.random.default_rng(seed)
    returns, law = rng.integers(0, 9, 6).astype(float), law_of(rng, 6)
    found = best_in_ball([returns], kappa, [law])
    assert found.value[0] == pytest.approx(solved_numerically(returns, kappa, law), abs=1e-5)
    weights = found.weights[0]
    assert (weights >= 0).all()
    assert law @ weights == pytest.approx(1)
    assert law @ (weights - 1) ** 2 <= kappa + 1e-9


@given(RETURNS, st.floats(0.0, 1.0))
def test_while_the_tilt_has_no_negative_weight_it_is_a_line(returns, share):
    found = heterogeneity([returns], [[1 / len(returns)] * len(returns)])
    mu, sigma = found.mean[0], found.sigma[0]
    if sigma == 0:
        ball = best_in_ball([returns], share)
        np.testing.assert_allclose(ball.weights, 1.0)
        return
    kappa = share * (sigma / (mu - min(returns))) ** 2  # (sigma / mu)^2 suffices where none is < 0
    ball = best_in_ball([returns], kappa)
    assert ball.value[0] == pytest.approx(mu + sigma * np.sqrt(kappa))
    line = 1 + np.sqrt(kappa) * (np.array(returns) - mu) / sigma
    np.testing.assert_allclose(ball.weights[0], line, atol=1e-7)


def test_a_wide_ball_holds_the_best_attempts_alone():
    found = best_in_ball([[1, 5, 5, 0]], 1.0)  # both share a half: its distance is 1
    assert found.weights.tolist() == [[0.0, 2.0, 2.0, 0.0]]
    assert best_in_ball([[1, 5, 5, 0]], 50.0).value.tolist() == [5.0]
    with_impossible = best_in_ball([[1, 5, 9]], 50.0, [[0.5, 0.5, 0.0]])
    assert with_impossible.value.tolist() == [5.0]
    assert best_in_ball([[1, 5, 9]], 0.0, [[0.5, 0.5, 0.0]]).value.tolist() == [3.0]


@given(RETURNS, st.lists(st.floats(0, 9), min_size=1, max_size=4))
def test_beating_the_best_in_a_wider_ball_is_rarer(returns, radii):
    grid = sorted([0.0, *radii])
    found = anti_concentration([returns], grid)
    shares = found.shares[0]
    assert (np.diff(shares) <= 0).all()
    assert shares[0] == pytest.approx(np.mean(np.array(returns) >= np.mean(returns) - 1e-9))
    if len(set(returns)) > 1:
        assert (shares <= 1 / (1 + np.array(grid)) + 1e-9).all()  # Cantelli
        assert found.worst.tolist() == shares.tolist()
    else:
        assert shares.tolist() == [1.0] * len(grid)
        assert found.silent == 1
        assert np.isnan(found.worst).all()


def test_prompts_without_signal_are_told_and_left_out_of_the_worst():
    table = [[0.1] * 3, [0, 0, 3], [0, 3, 3]]
    found = heterogeneity(table)
    assert found.sigma[0] == 0
    assert found.sigma[1] == pytest.approx(np.std([0, 0, 3], ddof=1))
    assert found.silent == pytest.approx(1 / 3)
    assert found.median == pytest.approx(found.sigma[1])
    assert found.root_mean_square == pytest.approx(np.sqrt((found.sigma**2).mean()))
    assert anti_concentration(table, [0.0]).worst.tolist() == pytest.approx([1 / 3])


def test_the_pessimistic_tilt_of_one_reward_is_the_best_in_the_ball():
    returns = np.random.default_rng(0).integers(0, 5, (3, 7)).astype(float)
    ours, plain = pessimistic_tilt(returns[..., None], 0.4), best_in_ball(returns, 0.4)
    np.testing.assert_allclose(ours.weights, plain.weights)
    np.testing.assert_allclose(ours.value, plain.value)


@pytest.mark.parametrize("seed", range(4))
def test_no_policy_in_the_ball_has_a_better_worst_value(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(2, 6, 3)) + 3
    kappa = 0.5
    found = pessimistic_tilt(table, kappa)
    assert ((found.weights - 1) ** 2).mean(axis=1).max() <= kappa + 1e-9
    worst = np.einsum("pa,par->r", found.weights, table).min() / 12
    assert found.value.mean() == pytest.approx(worst)
    # Any mixture of the rewards bounds it from above; the smallest such bound must meet it.
    grid = np.array([m for m in itertools.product(np.linspace(0, 1, 41), repeat=2) if sum(m) <= 1])
    mixtures = np.column_stack([grid, 1 - grid.sum(axis=1)])
    bounds = [best_in_ball(table @ mixture, kappa).value.mean() for mixture in mixtures]
    assert worst <= min(bounds) + 1e-9
    assert worst >= min(bounds) - 2e-3


def test_rewards_that_are_opposed_leave_the_policy_where_it_is():
    table = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
    found = pessimistic_tilt(table, 2.0)
    np.testing.assert_allclose(found.weights, 1.0, atol=1e-6)


@given(RETURNS, st.integers(1, 4))
def test_the_best_of_n_is_the_mean_over_all_draws(returns, n):
    rng = np.random.default_rng(len(returns))
    scores = rng.integers(0, 3, len(returns))
    value = perfect = 0.0
    draws = list(itertools.islice(itertools.product(range(len(returns)), repeat=n), 5000))
    if len(draws) < len(returns) ** n:
        return
    for draw in draws:
        top = [i for i in draw if scores[i] == max(scores[j] for j in draw)]
        value += np.mean([returns[i] for i in top]) / len(draws)
        perfect += max(returns[i] for i in draw) / len(draws)
    assert best_of_n_value([returns], [scores], n)[0] == pytest.approx(value)
    assert best_of_n_value([returns], [returns], n)[0] == pytest.approx(perfect)
    assert best_of_n_value([returns], [[1.0] * len(returns)], n)[0] == pytest.approx(
        np.mean(returns)
    )


def test_best_of_about_one_over_the_tail_reaches_the_best_in_the_ball():
    returns = np.random.default_rng(1).gamma(2.0, size=(1, 500))
    for kappa in (0.1, 1.0, 2.0):
        share = anti_concentration(returns, [kappa]).shares[0, 0]
        n = int(np.ceil(3 / share))
        level = best_in_ball(returns, kappa).value[0]
        assert best_of_n_value(returns, returns, n)[0] > level


def test_an_exponent_is_found_with_its_interval():
    rng = np.random.default_rng(0)
    x = np.array([8, 16, 32, 64, 128])
    values = 0.3 * np.sqrt(x)[:, None] * rng.lognormal(0, 0.2, (5, 60))
    fit = fit_exponent(x, values)
    assert fit.low < 0.5 < fit.high
    assert fit.high - fit.low < 0.15
    assert fit.used == 1
    noisy = fit_exponent(x, values + rng.normal(0, 6, values.shape))
    assert noisy.used < 1


def test_a_scaling_curve_asks_every_learner_for_the_same():
    asked = []

    def learn(budget, traces, seed):
        asked.append((budget, traces, seed))
        return budget + seed

    curve = scaling_curve([2, 3], lambda budget: 10 * budget, {"a": learn, "b": learn}, 2)
    assert asked[:4] == asked[4:] == [(2, 20, 0), (2, 20, 1), (3, 30, 0), (3, 30, 1)]
    assert curve.gap("a", "b").tolist() == [[0, 0], [0, 0]]
    assert curve.traces.tolist() == [20, 30]


@pytest.mark.parametrize("n", [1, 4, 16, 64])
def test_two_outcomes_by_simulation(n):
    budget, law = 2.0 * n, np.array([0.25, 0.25, 0.5])
    expert = best_in_ball([[budget / 2, 0, 0]], 1 / n, [law]).weights[0] * law
    lost = (expert[0] - expert[1]) * budget / 2
    rng = np.random.default_rng(n)
    counts = rng.multinomial(n, expert, 40_000)
    wrong = (counts[:, 0] < counts[:, 1]) + (counts[:, 0] == counts[:, 1]) / 2
    cloning, labels = two_outcome_regret(n, budget)
    error = wrong.std() / np.sqrt(40_000)
    assert abs(cloning - lost * wrong.mean()) < 3 * lost * error
    told = rng.multinomial(n, law, 40_000)[:, :2].sum(axis=1)
    blind = (told == 0).mean() / 2
    assert abs(labels / lost - blind) < 3 * np.sqrt(blind / 40_000) + 1e-9


def test_cloning_loses_by_the_root_of_the_budget():
    budgets = [16, 32, 64, 128, 256]
    cloning = [two_outcome_regret(n, n)[0] for n in budgets]
    # The card's figures are a simulation's.
    assert cloning == pytest.approx([0.256, 0.356, 0.498, 0.700, 0.978], rel=0.01)
    assert all(two_outcome_regret(n, n)[1] < 1e-4 for n in budgets)
    fit = fit_exponent(budgets, np.array(cloning)[:, None])
    assert fit.slope == pytest.approx(0.48, abs=0.03)
    by_traces = [two_outcome_regret(n, 64)[0] for n in (4, 16, 64, 256)]
    assert by_traces == pytest.approx([2.13, 1.02, 0.498, 0.245], rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_ball_that_holds_every_policy_leaves_a_linear_program(seed):
    table = np.random.default_rng(seed).normal(size=(5, 3))
    bound = linprog(
        [0] * 5 + [-1],
        A_ub=np.column_stack([-table.T, np.ones(3)]),
        b_ub=np.zeros(3),
        A_eq=[[1] * 5 + [0]],
        b_eq=[1],
        bounds=[(0, None)] * 5 + [(None, None)],
    )
    found = pessimistic_tilt(table[None], 4.0)  # 1 / chance - 1
    assert found.value[0] == pytest.approx(-bound.fun, abs=1e-6)
    assert pessimistic_tilt(table[None], 1.0).value[0] <= found.value[0] + 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: heterogeneity([[1.0]]),
        lambda: heterogeneity([1.0, 2.0]),
        lambda: heterogeneity([[np.nan, 1.0]]),
        lambda: heterogeneity([[0, 1]], [[0.5, 0.6]]),
        lambda: anti_concentration([[0, 1]], [-1.0]),
        lambda: anti_concentration([[0, 1]], 0.5),
        lambda: best_in_ball([[0, 1]], -0.1),
        lambda: best_in_ball([[0, 1]], np.nan),
        lambda: pessimistic_tilt([[0, 1]], 0.1),
        lambda: pessimistic_tilt([[[0], [1]]], -0.1),
        lambda: best_of_n_value([[0, 1]], [[0, np.nan]], 2),
        lambda: best_of_n_value([[0, 1]], [[0, 1, 2]], 2),
        lambda: best_of_n_value([[0, 1]], [[0, 1]], 0),
        lambda: fit_exponent([1, 2], [[1.0], [-1.0]]),
        lambda: fit_exponent([1, 1], [[1.0], [1.0]]),
        lambda: fit_exponent([0, 1], [[1.0], [1.0]]),
        lambda: two_outcome_regret(0, 1.0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
