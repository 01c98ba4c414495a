"""One schedule, as the two papers that use it have theirs."""

import math

import pytest

from samplewise.errors import UsageError
from samplewise.measure.learning_rate import cosine_rate


def test_short_rounds_go_from_a_tenth_to_a_thousandth_of_it():
    """The published schedule of arXiv 2305.18424, by the steps that are behind."""
    rate = {"high": 0.1, "low": 1e-4}
    assert cosine_rate(800, 800, **rate) == 1e-4
    assert cosine_rate(0, 800, **rate) == 0.1
    assert cosine_rate(400, 800, **rate) == pytest.approx((0.1 + 1e-4) / 2)
    assert cosine_rate(200, 800, high=1.0, low=0.0) == pytest.approx((1 + 0.5**0.5) / 2)
    rates = [cosine_rate(step, 50, **rate) for step in range(51)]
    assert rates == sorted(rates, reverse=True)
    for step, found in enumerate(rates):
        share = (1 + math.cos(math.pi * step / 50)) / 2
        assert found == 1e-4 + (0.1 - 1e-4) * share


def test_compute_classes_rise_along_a_ramp_first():
    """The published schedule of arXiv 2309.11197, by the number of the step."""
    rate = {"high": 6e-4, "low": 6e-6}
    rates = [cosine_rate(step, 1000, **rate, warm_up=200) for step in range(1, 1001)]
    plain = [cosine_rate(step, 1000, **rate) for step in range(1, 1001)]
    assert rates[199:] == plain[199:]
    assert rates[99] == pytest.approx(plain[99] / 2)
    assert rates[-1] == pytest.approx(6e-6)
    assert plain[499] == pytest.approx((6e-4 + 6e-6) / 2)
    assert rates[199] == max(rates)


@pytest.mark.parametrize(("step", "steps"), [(11, 10), (-1, 10), (0, 0)])
def test_a_step_outside_of_the_training_is_refused(step, steps):
    with pytest.raises(UsageError, match="step is"):
        cosine_rate(step, steps, high=1.0, low=0.0)
