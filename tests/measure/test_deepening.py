"""Interruptions at growing budgets: the card's counts, the bound on reading, the two states."""

import math

import numpy as np
import pytest

from samplewise.measure.deepening import (
    prefill_bound,
    prefill_tokens,
    simulated_two_state_accuracy,
    thresholds,
    two_state_accuracy,
    two_state_limit,
)

CUMULATIVE = {
    1024: {1: 0, 1.5: 0, 2: 0, 3: 0},
    1025: {1: 1, 1.5: 1, 2: 1, 3: 1},
    5000: {1: 4, 1.5: 4, 2: 3, 3: 2},
    16_000: {1: 15, 1.5: 7, 2: 4, 3: 3},
    32_000: {1: 31, 1.5: 9, 2: 5, 3: 4},
}
SEGMENT = {5000: {1.5: 3, 2: 2, 3: 2}, 16_000: {1.5: 5, 2: 4, 3: 3}, 32_000: {1.5: 6, 2: 5, 3: 3}}
CURVE = [0.4000, 0.5300, 0.6210, 0.6847, 0.7293, 0.7605]


@pytest.mark.parametrize(("schedule", "table"), [("cumulative", CUMULATIVE), ("segment", SEGMENT)])
def test_the_counts_of_the_card(schedule, table):
    for length, row in table.items():
        for gamma, count in row.items():
            assert len(thresholds(1024, gamma, length, schedule=schedule)) == count


def test_the_closed_form_of_the_count():
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, gamma = int(rng.integers(50, 3000)), float(rng.uniform(1.1, 4))
        length = int(rng.integers(1, 60_000))
        wanted = max(0, math.ceil(math.log(length / first) / math.log(gamma)))
        found = thresholds(first, gamma, length)
        # Where a threshold is rounded up to the length itself, it is no longer below it.
        assert len(found) in (wanted, wanted - (math.ceil(first * gamma ** (wanted - 1)) == length))
        assert found == [math.ceil(round(first * gamma**i, 6)) for i in range(len(found))]


def test_segments_grow_by_gamma():
    places = thresholds(1000, 1.1, 10_000, schedule="segment")
    assert np.diff([0, *places]).tolist() == [1000, 1100, 1210, 1331, 1465, 1610, 1772]
    assert places == [math.ceil(round(1000 * (1.1 ** (i + 1) - 1) / 0.1, 6)) for i in range(7)]


def test_gamma_one_is_even_spacing_in_both():
    for schedule in ("cumulative", "segment"):
        assert thresholds(7, 1, 30, schedule=schedule) == [7, 14, 21, 28]


def test_a_gamma_just_above_one_does_not_flood():
    assert thresholds(4, 1.01, 100, spacing=32) == [4, 36, 68]
    assert thresholds(1, 1.01, 10) == list(range(1, 10))
    assert thresholds(1024, 2, 10_000, spacing=1024) == [1024, 2048, 4096, 8192]


def test_what_is_read_again_stays_below_the_bound():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        prompt, trigger = (int(n) for n in rng.integers(0, 500, 2))
        first, gamma = int(rng.integers(1, 3000)), float(rng.uniform(1.01, 4))
        length = int(rng.integers(1, 30_000))
        places = thresholds(first, gamma, length)
        read = prefill_tokens(prompt, trigger, places)
        assert read == sum(prompt + b + (i + 1) * trigger for i, b in enumerate(places))
        assert read <= prefill_bound(prompt, trigger, length, gamma, len(places))
    assert prefill_bound(1, 1, 1, 1.0, 1) == math.inf


def test_two_states():
    assert two_state_accuracy(0.4, 0.25, 0.05, range(6)) == pytest.approx(CURVE, abs=6e-5)
    assert two_state_limit(0.25, 0.05) == pytest.approx(0.8333, abs=6e-5)
    assert two_state_accuracy(0.4, 0, 0, [0, 9]).tolist() == [0.4, 0.4]
    for accuracy in (0.5, 0.9):  # interruptions help exactly below the limit
        gain = np.diff(two_state_accuracy(accuracy, 0.25, 0.05, [0, 1]))[0]
        assert (gain > 0) == (accuracy < two_state_limit(0.25, 0.05))


def test_the_closed_form_is_what_is_simulated():
    found = simulated_two_state_accuracy(0.4, 0.25, 0.05, 5)
    assert found == pytest.approx(CURVE, abs=0.01)
    assert (found == simulated_two_state_accuracy(0.4, 0.25, 0.05, 5)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: thresholds(0, 2, 10),
        lambda: thresholds(1, 0.9, 10),
        lambda: thresholds(1, float("nan"), 10),
        lambda: thresholds(1, 2, 10, spacing=0),
        lambda: prefill_bound(1, 1, 1, 0.5, 1),
        lambda: two_state_accuracy(1.1, 0, 0, [1]),
        lambda: two_state_accuracy(0.5, 0, 0, [-1]),
        lambda: two_state_limit(0, 0),
        lambda: simulated_two_state_accuracy(0.5, 0.5, 0.5, -1),
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
