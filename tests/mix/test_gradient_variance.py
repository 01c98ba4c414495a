"""Draws split so that the gradient varies least, against closed forms and brute force."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.mix.base import Allocator
from samplewise.mix.gradient_variance import (
    GradientVariance,
    Pilots,
    allocate,
    decrease_bound,
    estimate,
    estimator_variance,
    variance_bound,
)
from samplewise.mix.uniform import Uniform


def made_up(seed, prompts=40):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.01, 1, prompts), rng.gamma(2.0, size=prompts), rng


def shares(p, G, alpha=1e-3, beta=2.0):
    """The closed form, at a budget so large that rounding does not show."""
    return allocate(p, G, 10**12, alpha=alpha, beta=beta) / 10**12


# --- exact ----------------------------------------------------------------------------------------


def test_without_a_penalty_draws_go_with_length_and_with_one_over_the_root_of_p():
    p, G, _ = made_up(0)
    np.testing.assert_allclose(shares(np.full(40, 0.3), G, alpha=0), G / G.sum(), atol=1e-11)
    rare = 1 / np.sqrt(p)
    np.testing.assert_allclose(shares(p, np.ones(40), alpha=0), rare / rare.sum(), atol=1e-11)
    assert allocate(np.full(7, 0.2), np.full(7, 3.0), 21).tolist() == [3] * 7


def test_the_bound_beats_the_even_splits_by_cauchy_schwarz():
    p, G, _ = made_up(1)
    best = variance_bound(p, G, shares(p, G, alpha=0))
    even = variance_bound(p, G, np.full(40, 1 / 40))
    ratio = (G / np.sqrt(p)).sum() ** 2 / (40 * (G**2 / p).sum())
    assert best / even == pytest.approx(ratio, rel=1e-9)
    assert ratio < 1


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 2.0), (1e-3, 2.0), (0.1, 3.5)])
def test_no_other_split_has_a_lower_penalised_bound(alpha, beta):
    p, G, rng = made_up(2)
    ours = variance_bound(p, G, shares(p, G, alpha, beta), alpha=alpha, beta=beta)
    for other in rng.dirichlet(np.full(40, 5.0), size=1000):
        assert ours <= variance_bound(p, G, other, alpha=alpha, beta=beta) * (1 + 1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 2.0), (1e-3, 2.0), (0.1, 3.5)])
def test_the_split_is_the_closed_form_and_makes_all_marginal_gains_alike(alpha, beta):
    p, G, _ = made_up(4)
    weights = G / np.sqrt(p + alpha / p ** (beta - 1))
    found = shares(p, G, alpha, beta)
    np.testing.assert_allclose(found, weights / weights.sum(), atol=1e-11)
    # The objective as the paper writes it; where it is least, its derivatives by n are equal.
    slopes = G**2 / (1 + alpha / p**beta) / (p * found**2)
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-6)
    value = (G**2 / (1 + alpha / p**beta) / (p * found)).sum()
    assert variance_bound(p, G, found, alpha=alpha, beta=beta) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1e-3])
@pytest.mark.parametrize(("rounding", "loss"), [("residual", 0.02), ("hard_first", 0.12)])
def test_whole_numbers_are_as_good_as_brute_force_up_to_rounding(alpha, rounding, loss):
    compared = 0
    for seed in range(100):
        p, G, _ = made_up(seed, prompts=3)
        splits = [
            (a, b, 12 - a - b) for a, b in itertools.product(range(1, 11), repeat=2) if a + b <= 11
        ]
        best = min(splits, key=lambda n: variance_bound(p, G, n, alpha=alpha))
        least = variance_bound(p, G, best, alpha=alpha)
        exact, ours = 12 * shares(p, G, alpha), allocate(p, G, 12, alpha=alpha, rounding=rounding)
        assert abs(ours - exact).max() < 1
        assert variance_bound(p, G, exact, alpha=alpha) <= least * (1 + 1e-9)
        if exact.min() < 1:
            continue  # this prompt may get nothing, and then there is no bound
        assert abs(ours - best).max() <= 1
        assert variance_bound(p, G, ours, alpha=alpha) <= least * (1 + loss)
        compared += 1
    assert compared > 70


def test_the_share_of_a_hard_prompt_peaks_where_the_derivative_is_zero():
    p = np.linspace(1e-3, 0.2, 2000)
    peak = p[shares(p, np.ones(2000)).argmax()]
    assert peak == pytest.approx(1e-3**0.5, abs=2e-4)
    peak = p[shares(p, np.ones(2000), alpha=1e-4, beta=3.0).argmax()]
    assert peak == pytest.approx((1e-4 * 2) ** (1 / 3), abs=2e-4)


def test_tiny_shares_neither_overflow_nor_divide_by_zero():
    p = np.array([1e-300, 1e-200, 5e-324, 0.5])
    assert allocate(p, np.ones(4), 100).tolist() == [0, 0, 0, 100]
    assert allocate(p, np.ones(4), 100, beta=50.0).tolist() == [0, 0, 0, 100]
    assert allocate(p, np.ones(4), 100, alpha=0)[2] == 100
    assert variance_bound([0.0, 0.5], [0.0, 1.0], [1, 1]) == 2.0
    assert variance_bound([0.0, 0.5], [1.0, 1.0], [1, 1], alpha=1e-3) == pytest.approx(1 / 0.502)


@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(0, 200),
    st.sampled_from(["residual", "hard_first"]),
    st.booleans(),
    st.sampled_from([None, 20, 31]),
)
@settings(max_examples=150)
def test_the_sum_is_exact_whatever_comes(seed, prompts, n, rounding, extreme, cap):
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 9, prompts) / 8
    G = rng.gamma(0.3, size=prompts) if extreme else rng.integers(0, 3, prompts).astype(float)
    n = n if cap is None else min(n, cap * prompts)
    counts = allocate(
        p,
        G,
        n,
        rounding=rounding,
        cap=cap,
        filter_threshold=rng.choice([0.5, 1.0]),
        filter_insufficient=rng.choice([0.0, 0.5]),
    )
    assert counts.dtype == np.int64
    assert counts.sum() == n
    assert counts.min() >= 0
    assert cap is None or counts.max() <= cap
    if cap is None and rounding == "residual":
        plain = allocate(p, G, n)
        live = (p > 0) & (G > 0)
        assert not live.any() or not plain[~live].any()
        for factor in (1024, 3.7, 1e-150, 1e150):
            assert allocate(p, factor * G, n).tolist() == plain.tolist()


def test_remainders_are_shared_out_as_the_published_code_does():
    """Round to the nearest, then mend the sum where rounding was furthest off."""
    surpluses = set()
    for seed in range(500):
        p, G, rng = made_up(seed, prompts=int(np.random.default_rng(seed).integers(1, 30)))
        n = int(rng.integers(0, 9 * len(p)))
        weights = G / np.sqrt(p + 1e-3 / p)
        exact = n * weights / weights.sum()
        counts = np.round(exact).astype(int)
        missing = n - counts.sum()
        order = np.argsort((counts - exact) * np.sign(missing))
        counts[order[: abs(missing)]] += np.sign(missing)
        assert allocate(p, G, n).tolist() == counts.tolist()
        surpluses.add(int(np.sign(missing)))
    assert surpluses == {-1, 0, 1}


def test_what_rounding_leaves_goes_to_remainders_or_to_the_hardest():
    p, G = np.array([1.0, 0.5, 0.9]), np.array([2.6, 1.2 * 0.5**0.5, 1.2 * 0.9**0.5])
    assert allocate(p, G, 5, alpha=0).tolist() == [3, 1, 1]  # 2.6, 1.2, 1.2
    assert allocate(p, G, 5, alpha=0, rounding="hard_first").tolist() == [2, 2, 1]


def test_filters_drop_before_the_budget_is_shared():
    p, G = np.array([1.0, 0.5, 0.125, 0.25]), np.ones(4)
    easy = allocate(p, G, 80, filter_threshold=0.9)
    assert easy[0] == 0
    assert easy.tolist()[1:] == allocate(p[1:], G[1:], 80).tolist()
    few = allocate(p, G, 8, alpha=0, filter_insufficient=0.5)
    assert few.tolist()[2] == 0  # 0.37 right answers of 2.94 draws
    kept = [0, 1, 3]
    assert few[kept].tolist() == allocate(p[kept], G[kept], 8, alpha=0).tolist()


def test_what_one_filter_frees_does_not_save_a_prompt_from_the_other():
    """In the published code shares are made to sum to 1 again after both."""
    p, G = np.array([1.0, 0.5, 0.125]), np.array([20.0, 1.0, 1.0])
    weights = G / np.sqrt(p)
    before, after = 8 * weights / weights.sum(), 8 * weights / weights[1:].sum()
    assert (p * before)[2] < 0.2 < (p * before)[1]
    assert (p * after)[2] > 0.2
    knobs = {"alpha": 0, "filter_threshold": 0.9, "filter_insufficient": 0.2}
    assert allocate(p, G, 8, **knobs).tolist() == [0, 8, 0]


def test_a_cap_shares_out_the_rest_in_proportion():
    G = np.array([100.0, 2.0, 1.0, 0.0])
    assert allocate(np.ones(4), G, 16, cap=10).tolist() == [10, 4, 2, 0]
    assert allocate(np.ones(4), G, 35, cap=10).tolist() == [10, 10, 10, 5]
    with pytest.raises(UsageError, match="caps hold"):
        allocate(np.ones(4), G, 41, cap=10)


def test_the_estimate_is_the_share_and_the_mean_norm_of_the_right_ones():
    correct = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    norms = np.array([[3.0, 4.0, np.nan, 9.0], [9.0, np.inf, 9.0, 9.0], [9.0, 9.0, 9.0, 2.0]])
    p, G = estimate(Pilots(correct, norms))
    assert p.tolist() == [0.5, 0.0, 0.25]
    assert G.tolist() == [3.5, 0.0, 2.0]
    assert estimate(Pilots(correct, norms), norm="rms").G.tolist() == [12.5**0.5, 0.0, 2.0]
    p, G = estimate(Pilots(correct, norms), smoothing=0.5)
    assert p.tolist() == [2.5 / 5, 0.5 / 5, 1.5 / 5]
    assert G.tolist() == [3.5, 2.75, 2.0]
    p, G = estimate(Pilots(correct, norms), counts=[2, 4, 3])
    assert p.tolist() == [1.0, 0.0, 0.0]
    assert G.tolist() == [3.5, 0.0, 0.0]


def test_the_variance_is_that_of_all_outcomes():
    law, vectors = (
        np.array([0.1, 0.2, 0.3, 0.4]),
        np.array([[1.0, 2.0], [0.0, -1.0], [0, 0], [0, 0]]),
    )
    right = np.array([True, True, False, False])
    p = law[right].sum()
    posterior = law[right] / p
    mean = posterior @ vectors[right]
    G = np.sqrt(posterior @ (vectors[right] ** 2).sum(axis=1))
    found = []
    for draws in itertools.product(range(4), repeat=3):
        hat = sum(right[d] * vectors[d] for d in draws) / (3 * p)
        found.append((np.prod(law[list(draws)]), hat))
    expected = sum(chance * hat for chance, hat in found)
    np.testing.assert_allclose(expected, mean, atol=1e-12)
    variance = sum(chance * ((hat - mean) ** 2).sum() for chance, hat in found)
    ours = estimator_variance([p], [G], [3], mean=[np.linalg.norm(mean)])
    assert ours == pytest.approx(variance, rel=1e-12)
    assert ours < variance_bound([p], [G], [3])


def test_a_gradient_that_never_varies_has_no_variance():
    assert estimator_variance([1.0, 1.0], [0.1, 3.0], [1, 0], mean=[0.1, 3.0]) == 0.0


def test_a_loss_falls_as_much_as_is_promised_and_no_more_where_it_is_a_sphere():
    """Worked out for all draws: L = |x|^2 / (2 gamma), whose curvature is 1 / gamma everywhere."""
    gamma, x = 0.7, np.array([1.0, -2.0])
    noises = np.array([[0.5, 0.1], [-1.0, 0.3], [0.5, -0.4]])  # with equal chances
    variance = (noises**2).sum(axis=1).mean()
    slope = (x**2).sum() / gamma**2
    for rate in (0.1, 0.4, 0.7):
        after = x - rate * (x / gamma + noises)
        fall = ((x**2).sum() - (after**2).sum(axis=1).mean()) / (2 * gamma)
        bound = decrease_bound([slope], [variance], rate=rate, gamma=gamma)
        gap = rate / 2 * slope * (1 - rate / gamma)  # 0 at the largest rate
        assert fall - bound == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("rate", [0.2, 1.0, 2.0])
def test_the_loss_of_a_softmax_falls_as_much_as_is_promised(rate):
    """Two steps of every outcome of 2 draws from 4 rationales; -ln p is bent by 1/2 at most."""
    right = np.array([True, False, True, False])

    def known(logits):
        law = np.exp(logits) / np.exp(logits).sum()
        p = law[right].sum()
        gradients = np.eye(4) - law
        mean = (law * right) @ gradients / p
        G = np.sqrt((law * right) @ (gradients**2).sum(axis=1) / p)
        variance = estimator_variance([p], [G], [2], [np.linalg.norm(mean)])
        return law, p, gradients, (mean**2).sum(), variance

    reached = [(1.0, np.array([0.5, 1.0, -1.0, 0.0]))]
    start = -np.log(known(reached[0][1])[1])
    slopes, variances = [], []
    for _ in range(2):
        slopes.append(sum(chance * known(logits)[3] for chance, logits in reached))
        variances.append(sum(chance * known(logits)[4] for chance, logits in reached))
        after = []
        for chance, logits in reached:
            law, p, gradients, *_ = known(logits)
            for draws in itertools.product(range(4), repeat=2):
                hat = sum(right[d] * gradients[d] for d in draws) / (2 * p)
                after.append((chance * law[list(draws)].prod(), logits + rate * hat))
        reached = after
    fall = start - sum(chance * -np.log(known(logits)[1]) for chance, logits in reached)
    assert fall >= decrease_bound(slopes, variances, rate=rate, gamma=2.0)


def test_a_prompt_with_a_gradient_and_no_draws_has_no_bound():
    assert variance_bound([0.5, 0.5], [1.0, 0.0], [0, 0]) == np.inf
    assert variance_bound([0.5, 0.5], [1.0, 0.0], [2, 0]) == 1.0


# --- by chance ------------------------------------------------------------------------------------


def test_the_variance_is_met_by_simulation():
    rng = np.random.default_rng(3)
    prompts, answers, repeats = 3, 6, 5000
    law = rng.dirichlet(np.ones(answers), size=prompts)
    right = np.arange(answers) < np.array([[1], [2], [4]])
    vectors = rng.normal(size=(prompts, answers, 2)) + 1
    p = (law * right).sum(axis=1)
    posterior = law * right / p[:, None]
    mu = np.einsum("ia,iad->id", posterior, vectors)
    G = np.sqrt((posterior * (vectors**2).sum(axis=2)).sum(axis=1))
    counts = allocate(p, G, 24, alpha=0)
    hats = np.zeros((repeats, 2))
    for i, n in enumerate(counts):
        seen = rng.multinomial(n, law[i], size=repeats) * right[i]
        hats += seen @ vectors[i] / (n * p[i])
    exact = estimator_variance(p, G, counts, np.linalg.norm(mu, axis=1))
    assert hats.var(axis=0).sum() == pytest.approx(exact, rel=0.05)


def test_made_prompts_have_the_ratios_of_the_card():
    """40 prompts of 64 rationales, 1 to 29 of them right, 8 draws a prompt; 20 times."""
    plain, held_back, penalised = [], [], []
    even = np.full(40, 8)
    for draw in range(20):
        rng = np.random.default_rng(draw)
        law = np.exp(1.5 * rng.normal(size=(40, 64)))
        law /= law.sum(axis=1, keepdims=True)
        right = np.arange(64) < rng.integers(1, 30, size=(40, 1))
        p = (law * right).sum(axis=1)
        posterior = law * right / p[:, None]
        squares = 1 - 2 * law + (law**2).sum(axis=1, keepdims=True)  # of one-hot less the law
        G, mu = np.sqrt((posterior * squares).sum(axis=1)), np.linalg.norm(posterior - law, axis=1)
        best, careful = 320 * shares(p, G, alpha=0), 320 * shares(p, G)
        of_even = estimator_variance(p, G, even, mu)
        plain.append(estimator_variance(p, G, best, mu) / of_even)
        held_back.append(estimator_variance(p, G, careful, mu) / of_even)
        penalised.append(
            variance_bound(p, G, careful, alpha=1e-3) / variance_bound(p, G, even, alpha=1e-3)
        )
    assert 0.17 < min(plain) < max(plain) < 0.76
    assert np.mean(plain) == pytest.approx(0.45, abs=0.1)
    assert 0.7 < min(held_back) < 1 < np.mean(held_back) < max(held_back) < 2.5
    assert max(penalised) < 1


def test_the_hard_are_dropped_as_often_as_pilots_all_fail_unless_a_floor_is_given():
    rng = np.random.default_rng(5)
    correct = rng.random((4000, 8)) < 0.05
    told = Pilots(correct, np.ones((4000, 8)))
    assert (estimate(told).p == 0).mean() == pytest.approx(0.95**8, abs=0.03)
    floored = estimate(told, smoothing=0.5).p
    np.testing.assert_allclose(floored, (correct.sum(axis=1) + 0.5) / 9, rtol=1e-12)


# --- ask and tell ---------------------------------------------------------------------------------


def test_it_asks_for_pilots_and_then_goes_by_those_told_of_last():
    method = Allocator.named("gvm:alpha=0:norm=rms")
    allocation = method.start(2, rng=0)
    assert allocation.ask(7).tolist() == [4, 3]
    allocation.tell([2, 2], Pilots([[1, 1], [1, 1]], [[3.0, 3.0], [1.0, 1.0]]))
    assert allocation.ask(8).tolist() == [6, 2]
    allocation.tell([2, 2], ([[1, 1], [1, 1]], [[1.0, 1.0], [3.0, 3.0]]))
    assert allocation.ask(8).tolist() == [2, 6]


@pytest.mark.parametrize("told", [False, True])
def test_it_goes_on_from_json(told):
    first = GradientVariance().start(3)
    if told:
        first.tell([2, 2, 2], Pilots([[1, 0], [1, 1], [0, 0]], np.full((3, 2), 1 / 3)))
    second = GradientVariance().start(3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.ask(101).tolist() == first.ask(101).tolist()


def test_prompts_that_are_all_wrong_are_drawn_evenly_or_refused():
    wrong = Pilots(np.zeros((3, 4)), np.ones((3, 4)))
    allocation = GradientVariance().start(3)
    allocation.tell([4, 4, 4], wrong)
    assert allocation.ask(6).tolist() == [2, 2, 2]
    strict = GradientVariance(no_signal="refuse").start(3)
    strict.tell([4, 4, 4], wrong)
    with pytest.raises(UsageError, match="no prompt"):
        strict.ask(6)


def test_smoothing_keeps_a_prompt_whose_pilots_failed():
    pilots = Pilots([[1] * 8, [0] * 8], np.ones((2, 8)))
    plain, smooth = GradientVariance().start(2), GradientVariance(smoothing=0.5).start(2)
    for allocation in (plain, smooth):
        allocation.tell([8, 8], pilots)
    assert plain.ask(16).tolist() == [16, 0]
    assert smooth.ask(16)[1] > 8


def test_the_even_split_takes_turns_with_what_is_left():
    allocation = Uniform().start(3)
    counts = [allocation.ask(n) for n in (4, 4, 1, 0, 3)]
    assert [one.tolist() for one in counts] == [[2, 1, 1], [1, 2, 1], [0, 0, 1], [0] * 3, [1] * 3]
    again = Uniform().start(3)
    again.load_state_dict(json.loads(json.dumps(allocation.state_dict())))
    assert again.ask(5).tolist() == allocation.ask(5).tolist()
    allocation.tell([1, 1, 1], None)


def test_both_are_found_by_name():
    assert registry.find("gvm", "mix") is registry.find("gradient-variance", "mix")
    assert isinstance(Allocator.named("uniform"), Uniform)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"alpha": -1}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"beta": 0.5}, "beta"),
        ({"filter_threshold": -0.1}, "filter_threshold"),
        ({"filter_insufficient": -1}, "filter_insufficient"),
        ({"smoothing": -1}, "smoothing"),
        ({"cap": 0}, "cap"),
        ({"rounding": "up"}, "rounding"),
        ({"norm": "max"}, "norm"),
        ({"no_signal": "stop"}, "no_signal"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, named):
    with pytest.raises(UsageError, match=named):
        GradientVariance(**knobs)


@pytest.mark.parametrize(
    "call",
    [
        lambda: allocate([0.5], [np.nan], 3),
        lambda: allocate([0.5], [-1.0], 3),
        lambda: allocate([1.5], [1.0], 3),
        lambda: allocate([np.nan], [1.0], 3),
        lambda: allocate([], [], 3),
        lambda: allocate([0.5], [1.0, 2.0], 3),
        lambda: allocate([0.5], [1.0], -1),
        lambda: estimate(Pilots([[1]], [[np.nan]])),
        lambda: estimate(Pilots([[1]], [[-1.0]])),
        lambda: estimate(Pilots([[1]], [[1.0, 2.0]])),
        lambda: estimate(Pilots([[np.nan]], [[1.0]])),
        lambda: estimate(Pilots([[2]], [[1.0]])),
        lambda: estimate(Pilots([[1]], [[1.0]]), norm="max"),
        lambda: estimate(Pilots([[1]], [[1.0]]), smoothing=-1),
        lambda: allocate([0.5], [1.0], 3, rounding="up"),
        lambda: allocate([0.5], [1.0], 3, no_signal="stop"),
        lambda: estimator_variance([0.5], [1.0], [1], mean=[1.1]),
        lambda: estimator_variance([0.5], [1.0], [1], mean=[-1.0]),
        lambda: estimator_variance([0.5], [1.0], [1], mean=1.0),
        lambda: decrease_bound([1.0], [-1.0], rate=0.1, gamma=1),
        lambda: decrease_bound([1.0], [1.0, 1.0], rate=0.1, gamma=1),
        lambda: decrease_bound([1.0], [1.0], rate=1.1, gamma=1),
        lambda: estimate(Pilots([[1]], [[1.0]]), counts=[2]),
        lambda: estimate(Pilots([[]], [[]])),
        lambda: variance_bound([0.5], [1.0], [-1]),
        lambda: variance_bound([0.5], [1.0], [1], alpha=-1),
        lambda: GradientVariance().start(2).tell([1], Pilots([[1]], [[1.0]])),
        lambda: GradientVariance().start(2).ask(-1),
        lambda: GradientVariance().start(0),
        lambda: Uniform().start(2).ask(-1),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(UsageError):
        call()
