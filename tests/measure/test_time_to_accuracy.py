import math

import numpy as np
import pytest

from samplewise.measure.time_to_accuracy import AccuracyCurve, TrainingClock, speed_up, time_to


class Ticks:
    """A clock that is told the time."""

    now = 100.0

    def __call__(self):
        return self.now


def test_a_clock_counts_all_but_the_tests():
    ticks = Ticks()
    clock = TrainingClock(10, clock=ticks)
    ticks.now += 2.0
    clock.step([1, 2, 3])
    with clock.paused():
        ticks.now += 50.0
        clock.record(0.25)
        ticks.now += 50.0
        assert clock.seconds == 2.0
    ticks.now += 1.5
    clock.step(np.array([3, 4]))
    clock.record(0.5)
    assert clock.seconds == 3.5
    found = {name: column.tolist() for name, column in clock.curve._asdict().items()}
    assert found == {
        "seconds": [2.0, 3.5],
        "steps": [1, 2],
        "examples": [3, 5],
        "distinct": [3, 4],
        "accuracy": [0.25, 0.5],
    }


def test_a_clock_goes_on_after_an_error_in_a_test():
    ticks = Ticks()
    clock = TrainingClock(10, clock=ticks)

    def fail():
        with clock.paused():
            ticks.now += 9.0
            raise RuntimeError("no test")

    with pytest.raises(RuntimeError, match="no test"):
        fail()
    ticks.now += 1.0
    assert clock.seconds == 1.0
    assert len(clock.curve.accuracy) == 0


def curve(seconds, accuracy):
    counts = np.arange(len(seconds))
    return AccuracyCurve(np.array(seconds), counts, counts, counts, np.array(accuracy))


def test_time_to_is_of_the_first_time():
    assert time_to([1, 2, 3, 4], [0.1, 0.6, 0.4, 0.9], 0.4) == 2
    assert time_to([1, 2, 3, 4], [0.1, 0.6, 0.4, 0.9], 0.95) == math.inf
    assert time_to([], [], 0.0) == math.inf
    with pytest.raises(ValueError, match="shapes"):
        time_to([1, 2], [0.5], 0.1)


def test_a_speed_up_is_at_the_methods_last_accuracy():
    full = curve([10.0, 20.0, 40.0], [0.5, 0.8, 0.9])
    method = curve([1.0, 5.0], [0.3, 0.75])
    assert speed_up(full, method) == 4.0
    assert speed_up(full, method, 0.3) == 10.0
    assert speed_up(full, method, 0.85) == 0.0
    assert speed_up(method, full) == math.inf
    assert math.isnan(speed_up(full, method, 0.99))
    with pytest.raises(ValueError, match="never tested"):
        speed_up(full, curve([], []))
