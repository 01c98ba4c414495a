import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.measure.resampling import (
    effective_size,
    normalised_weights,
    systematic_resampling,
)

LOGS = st.lists(st.floats(-8, 8) | st.just(-np.inf), min_size=1, max_size=40).filter(
    lambda logs: max(logs) > -np.inf
)
NUMBERS = st.floats(0, 1, exclude_max=True)


def by_definition(weights, u):
    """Invert the cumulative weights at every point."""
    count = len(weights)
    points = (u + np.arange(count)) / count
    return np.searchsorted(np.cumsum(weights), points, side="right").clip(max=count - 1)


@given(LOGS, NUMBERS)
@settings(max_examples=200)
def test_offspring_are_the_share_of_weight_rounded_up_or_down(logs, u):
    chosen = systematic_resampling(logs, u)
    share = len(logs) * normalised_weights(logs)
    offspring = np.bincount(chosen, minlength=len(logs))
    assert offspring.sum() == len(logs)
    assert (offspring >= np.floor(share - 1e-9)).all()
    assert (offspring <= np.ceil(share + 1e-9)).all()
    assert not offspring[np.isneginf(logs)].any()


@given(st.integers(1, 500), NUMBERS, st.floats(-1e6, 1e6))
@settings(max_examples=200)
def test_equal_weights_keep_each_particle_once(count, u, log):
    assert systematic_resampling(np.full(count, log), u).tolist() == list(range(count))


def test_points_fall_where_the_definition_puts_them():
    rng = np.random.default_rng(0)
    for _ in range(200):
        logs, u = rng.normal(size=30), rng.random()
        expected = by_definition(normalised_weights(logs), u)
        assert systematic_resampling(logs, u).tolist() == expected.tolist()


def test_populations_are_resampled_each_by_its_own_number():
    rng = np.random.default_rng(1)
    logs, u = rng.normal(size=(2, 3, 20)), rng.random((2, 3))
    together = systematic_resampling(logs, u)
    assert together.shape == (2, 3, 20)
    for place in np.ndindex(2, 3):
        assert together[place].tolist() == systematic_resampling(logs[place], u[place]).tolist()


def test_expected_offspring_are_the_weights():
    logs = np.random.default_rng(2).normal(size=(1, 7))
    u = (np.arange(7000) + 0.5) / 7000
    chosen = systematic_resampling(np.broadcast_to(logs, (7000, 7)), u)
    share = np.bincount(chosen.ravel(), minlength=7) / chosen.size
    np.testing.assert_allclose(share, normalised_weights(logs[0]), atol=1e-4)


def test_logs_of_any_size_are_weights():
    np.testing.assert_allclose(normalised_weights([1e6, 1e6 + np.log(3)]), [0.25, 0.75])
    np.testing.assert_allclose(normalised_weights([-1e6, -1e6 + np.log(3)]), [0.25, 0.75])


def test_effective_size_is_a_count():
    assert effective_size([0.0] * 5) == pytest.approx(5)
    assert effective_size([800.0, 0.0]) == pytest.approx(1)
    assert effective_size(np.log([0.5, 0.25, 0.25])) == pytest.approx(1 / 0.375)


@pytest.mark.parametrize("logs", [[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_what_is_no_weight_is_refused(logs):
    with pytest.raises(ValueError, match="NaN or infinite"):
        systematic_resampling(logs, 0.5)


@pytest.mark.parametrize("u", [1.0, -0.1, np.nan])
def test_a_number_outside_is_refused(u):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        systematic_resampling([0.0, 0.0], u)
