"""The interval of a paired difference covers as often as it says."""

import itertools

import numpy as np
import pytest

from samplewise.measure.paired import paired_difference


def test_it_is_the_bootstrap_over_all_resamples():
    first, second = [1, 0, 1], [0, 0, 1]
    away = np.subtract(first, second)
    means = [np.mean(away[list(rows)]) for rows in itertools.product(range(3), repeat=3)]
    found = paired_difference(first, second, confidence=0.6, resamples=40_000)
    assert found.mean == pytest.approx(1 / 3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.2, 0.8])))


def test_it_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        first, second = rng.random((2, 80)) < [[0.6], [0.4]]
        found = paired_difference(first, second, confidence=0.9, resamples=400, rng=seed)
        hits += found.low <= 0.2 <= found.high
    assert 0.84 <= hits / 300 <= 0.95


@pytest.mark.parametrize(
    ("first", "second", "confidence"),
    [([1], [1, 2], 0.9), ([], [], 0.9), ([1], [1], 1.0), ([[1]], [[1]], 0.9)],
)
def test_bad_arguments(first, second, confidence):
    with pytest.raises(ValueError):
        paired_difference(first, second, confidence=confidence)
