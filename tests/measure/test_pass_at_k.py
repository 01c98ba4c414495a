"""Coverage against brute force, closed forms and the figures of the paper's card."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure.pass_at_k import (
    beta_coverage,
    coverage_curve,
    pass_at_k,
    plug_in_pass_at_k,
)


def test_figures():
    assert pass_at_k(10, 3, 2) == pytest.approx(1 - 21 / 45)
    assert pass_at_k(10, 0, [1, 5, 10]).tolist() == [0, 0, 0]
    assert pass_at_k(10, 10, [1, 10]).tolist() == [1, 1]
    assert pass_at_k(10, 3, [8, 9, 10]).tolist() == [1, 1, 1]


@pytest.mark.parametrize("n", range(1, 13))
def test_it_is_the_share_of_subsets_with_a_right_one(n):
    for right in range(n + 1):
        marks = [True] * right + [False] * (n - right)
        for k in range(1, n + 1):
            hits = [any(some) for some in itertools.combinations(marks, k)]
            assert pass_at_k(n, right, k) == pytest.approx(np.mean(hits), abs=1e-12)


@given(st.integers(1, 20_000), st.floats(0, 1))
def test_one_sample_is_the_rate_and_more_are_better(n, share):
    right = round(share * n)
    k = np.unique(np.linspace(1, n, 9).astype(int))
    values = pass_at_k(n, right, k)
    assert values[0] == pytest.approx(right / n, abs=1e-9)
    assert (np.diff(values) >= -1e-9).all()
    product = [1 - np.prod(1 - x / np.arange(n - right + 1, n + 1)) for x in k[k <= n - right]]
    assert values[: len(product)] == pytest.approx(product, abs=1e-8)


@pytest.mark.parametrize(
    ("n", "right", "k"), [(10, 11, 1), (10, -1, 1), (0, 0, 1), (10, 3, 0), (10, 3, 11)]
)
def test_counts_that_cannot_be(n, right, k):
    with pytest.raises(ValueError):
        pass_at_k(n, right, k)
    with pytest.raises(ValueError):
        plug_in_pass_at_k(n, right, k)


def test_the_plug_in_form_is_too_low():
    rng = np.random.default_rng(0)
    rate, n, k = 0.1, 20, 15
    right = rng.binomial(n, rate, 20_000)
    truth = 1 - (1 - rate) ** k
    assert pass_at_k(n, right, k).mean() == pytest.approx(truth, abs=0.006)
    assert plug_in_pass_at_k(n, right, k).mean() < truth - 0.05


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 3), (1, 1), (5, 0.5)])
def test_the_beta_curve_is_its_integral(alpha, beta):
    from scipy import stats

    for k in (1, 3, 50):
        wanted = stats.beta(alpha, beta).expect(lambda p, k=k: 1 - (1 - p) ** k)
        assert beta_coverage(alpha, beta, k) == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(ValueError):
        beta_coverage(0, 1, 1)


def test_binomial_draws_give_the_true_coverage():
    rng = np.random.default_rng(1)
    rate = rng.beta(0.3, 3, 128)
    counts = np.column_stack([np.full(128, 1000), rng.binomial(1000, rate)])
    curve = coverage_curve(counts, [1, 10, 100, 1000])
    truth = [(1 - (1 - rate) ** k).mean() for k in (1, 10, 100, 1000)]
    assert curve.mean[:3] == pytest.approx(truth[:3], abs=0.01)
    assert curve.mean[3] == pytest.approx(truth[3], abs=0.03)


def test_the_interval_covers_the_family_of_problems():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rate = rng.beta(1, 3, 60)
        counts = np.column_stack([np.full(60, 30), rng.binomial(30, rate)])
        curve = coverage_curve(counts, [5], confidence=0.9, resamples=400, rng=seed)
        hits += curve.low[0] <= beta_coverage(1, 3, 5) <= curve.high[0]
    assert 0.83 <= hits / 200 <= 0.95


def test_problems_with_fewer_samples():
    counts = [[4, 1], [2, 2], [6, 0]]
    assert coverage_curve(counts).k.tolist() == [1, 2]
    with pytest.raises(ValueError, match="k is 4"):
        coverage_curve(counts, [4])
    curve = coverage_curve(counts, [2, 4, 6], allow="available")
    assert curve.problems.tolist() == [3, 2, 1]
    assert curve.mean == pytest.approx([(0.5 + 1 + 0) / 3, 0.5, 0.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: coverage_curve([]),
        lambda: coverage_curve([[1, 2, 3]]),
        lambda: coverage_curve([[4, 1]], confidence=1.0),
        lambda: coverage_curve([[4, 5]]),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()
