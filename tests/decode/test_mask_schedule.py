import numpy as np
import pytest

from samplewise.decode.mask_schedule import share_of_masks, time_of_share

SCHEDULES = ["linear", "cosine"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ends_and_order(schedule):
    shares = share_of_masks(np.linspace(0, 1, 101), schedule)
    assert (shares[0], shares[-1]) == (0, 1)
    assert (np.diff(shares) > 0).all()
    assert time_of_share(np.array([-np.inf, 0.0]), schedule).tolist() == [0, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("small", [1e-15, 1e-12, 1e-8, 1e-4, 0.1, 0.5])
def test_the_inverse_keeps_its_digits_near_0(schedule, small):
    log_share = np.log(small) if schedule == "linear" else np.log(np.sin(np.pi / 2 * small))
    assert time_of_share(log_share, schedule) == pytest.approx(small, rel=1e-12)
    assert share_of_masks(time_of_share(np.log(small), schedule), schedule) == pytest.approx(
        small, rel=1e-12
    )


@pytest.mark.parametrize("small", [1e-15, 1e-12, 1e-9, 1e-4])
def test_the_inverse_keeps_its_digits_near_1(small):
    # 1 - share is `small`: of the cosine, alpha = 1 - cos(z) = z^2 / 2, and z = pi (1 - t) / 2.
    gap = {
        "linear": small,
        "cosine": 2 / np.pi * np.sqrt(2 * small) * (1 + small / 12),
    }
    for schedule, expected in gap.items():
        found = 1 - time_of_share(np.log1p(-small), schedule)
        assert found == pytest.approx(expected, rel=1e-6, abs=2e-16)
