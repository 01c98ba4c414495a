import math

import numpy as np
import pytest

from samplewise.measure.surprise import (
    cutoff_k,
    fit_exponents,
    log_cutoffs,
    repetition_cost,
    repetition_percent,
    truncated_cross_entropy,
    zipf_cross_entropy,
    zipf_exponent,
)

N = 50_000


def zipf(s, size=N):
    weights = np.arange(1, size + 1, dtype=np.float64) ** -s
    return weights / weights.sum()


@pytest.mark.parametrize("s", [0.3, 1.0, 1.1, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("candidates", [2, 3, 100, 3000, 10**6])
def test_the_exponent_of_zipfs_law_is_found_exactly(s, candidates):
    assert zipf_exponent(zipf(s, 5000), candidates) == pytest.approx(s, abs=1e-12)


def test_the_exponent_is_the_least_squares_slope_of_log_ratios():
    head = np.sort(np.random.default_rng(0).random(40))[::-1]
    i = np.arange(1, 20)
    steps, falls = np.log((i + 1) / i), np.log(head[:19] / head[1:20])
    slope, *_ = np.linalg.lstsq(steps[:, None], falls, rcond=None)
    assert zipf_exponent(head, 20) == pytest.approx(slope[0], rel=1e-12)


def test_the_exponent_stops_at_the_last_positive_probability():
    law = zipf(1.4, 50)
    law[7:] = 0
    assert zipf_exponent(law) == pytest.approx(1.4, abs=1e-12)
    assert zipf_exponent([1.0, 0, 0]) == math.inf
    assert zipf_exponent([1.0]) == math.inf
    assert zipf_exponent([0.25] * 4) == 0


@pytest.mark.parametrize(("s", "k"), [(1.1, 7.88), (1.5, 10.11), (2.0, 8.00)])
def test_cutoffs_worked_out_by_hand(s, k):
    eps = s - 1
    assert cutoff_k(s, 6.0, N) == pytest.approx(k, abs=0.005)
    assert cutoff_k(s, 6.0, N) == pytest.approx((eps * 2**6 / (1 - N**-eps)) ** (1 / s), rel=1e-12)


def test_cutoffs_near_one_and_at_the_ends():
    at_one = 2**6 / math.log(N)
    assert cutoff_k(1.0, 6.0, N) == pytest.approx(at_one, rel=1e-12)
    # The general form goes to the same limit from both sides.
    for eps in (1e-4, -1e-4, 2e-6, -2e-6, 1e-7):
        assert cutoff_k(1 + eps, 6.0, N) == pytest.approx(at_one, rel=30 * abs(eps))
    assert cutoff_k(1.1, 1e6, N) == pytest.approx(N)
    assert cutoff_k(1.1, -1e6, N) == 0
    assert cutoff_k(1e-9, 20.0, N) == pytest.approx(N)  # a flat head: all tokens have log2 N bits
    assert cutoff_k(1e-9, 10.0, N) == 0
    assert float(np.exp(log_cutoffs(np.float64(math.inf), 6.0, N, np))) == pytest.approx(
        1, abs=1e-3
    )


@pytest.mark.parametrize("s", [0.7, 1.1, 1.5])
def test_the_cutoff_is_the_rank_of_that_surprise_but_for_the_integral(s):
    k = cutoff_k(s, 9.0, N)
    integral = (N ** (1 - s) - 1) / (1 - s)
    assert s * math.log2(k) + math.log2(integral) == pytest.approx(9.0, rel=1e-9)


def test_cross_entropy_of_a_head_against_its_sum():
    law = np.random.default_rng(1).dirichlet(np.full(50, 0.3))
    for k in (1, 2, 17, 50, 99):
        head = np.sort(law)[::-1][:k]
        expected = sum(-p / head.sum() * math.log2(p) for p in head)
        assert truncated_cross_entropy(law, top_k=k) == pytest.approx(expected, rel=1e-12)
    assert truncated_cross_entropy(3 * law) == pytest.approx(truncated_cross_entropy(law, top_p=1))


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    law = [0.1, 0.6, 0.1, 0.2]
    for top_p, k in ((0.59, 1), (0.6, 1), (0.61, 2), (0.8, 2), (0.85, 3), (1.0, 4)):
        expected = truncated_cross_entropy(law, top_k=k)
        assert truncated_cross_entropy(law, top_p=top_p) == pytest.approx(expected)


def test_the_closed_form_is_within_the_error_it_claims():
    for s in (1.05, 1.1, 1.2, 1.3, 1.4, 1.5):
        for k in (10, 30, 100, 1000, 10_000):
            exact = truncated_cross_entropy(zipf(s), top_k=k)
            assert abs(zipf_cross_entropy(s, k, N) - exact) < 0.06


def test_top_k_flattens_and_top_p_is_nearly_straight():
    law = zipf(1.2)
    by_k = [truncated_cross_entropy(law, top_k=k) for k in (10, 1010, 2010, 3010)]
    assert np.all(np.diff(by_k, 2) < 0)
    shares = np.linspace(0.3, 0.9, 7)
    by_p = [truncated_cross_entropy(law, top_p=p) for p in shares]
    assert np.corrcoef(shares, by_p)[0, 1] > 0.98


def test_temperature_divides_the_exponent():
    tempered = zipf(1.2) ** (1 / 0.8)
    assert zipf_exponent(tempered) == pytest.approx(1.2 / 0.8, rel=1e-12)


def brute_force(tokens, n):
    grams = [list(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return sum(gram in grams[:i] for i, gram in enumerate(grams) if i), len(grams)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_repetition_against_a_look_at_all_earlier_ones(n):
    ids = np.random.default_rng(n).integers(0, 3, 60)
    again, count = brute_force(ids.tolist(), n)
    assert 0 < again < count
    assert repetition_percent(ids, n) == pytest.approx(100 * again / count)
    assert repetition_cost(ids) == brute_force(ids.tolist(), 1)[0] ** 2


def test_repetition_of_texts_that_are_too_short():
    assert repetition_percent([], 1) == repetition_percent([4], 2) == 0
    assert repetition_cost([]) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: zipf_exponent([0.2, 0.8]),
        lambda: zipf_exponent([0.8, float("nan")]),
        lambda: zipf_exponent([0.8, 0.2], 1),
        lambda: cutoff_k(0.0, 3.0, 10),
        lambda: cutoff_k(1.1, 3.0, 1),
        lambda: truncated_cross_entropy([0.0, 0.0]),
        lambda: truncated_cross_entropy([-0.1, 1.1]),
        lambda: truncated_cross_entropy([1.0], top_k=0),
        lambda: truncated_cross_entropy([1.0], top_p=1.1),
        lambda: truncated_cross_entropy([1.0], top_k=1, top_p=0.5),
        lambda: zipf_cross_entropy(1.0, 10, 100),
        lambda: zipf_cross_entropy(1.2, 101, 100),
        lambda: repetition_percent([1], 0),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_the_kernels_give_the_same_with_torch():
    import torch

    logs = np.log(np.random.default_rng(0).dirichlet(np.full(30, 0.2), 5))
    logs[1, 4:] = -np.inf
    logs[2, 1:] = -np.inf
    logs[3] = -math.log(30)
    logs = -np.sort(-logs, axis=1)
    mu = np.array([3.0, 4.0, 5.0, 6.0, -2.0])
    here = fit_exponents(logs, np)
    there = fit_exponents(torch.tensor(logs), torch)
    np.testing.assert_allclose(there.numpy(), here, rtol=1e-12)
    np.testing.assert_allclose(
        log_cutoffs(there, torch.tensor(mu), 30, torch).numpy(),
        log_cutoffs(here, mu, 30, np),
        rtol=1e-9,
        atol=1e-12,
    )
