import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.errors import UsageError
from samplewise.measure.compute_class import (
    Contender,
    at_equal_steps,
    at_equal_time,
    crossing,
    fit_scaling,
    measure_throughput,
    normalised_metrics,
    steps_for,
    sweep,
    text_length,
)

STEPS = [  # hours, tokens a second, batch size, steps of the published tables
    (6, 55_416, 128, 18_265),
    (12, 55_416, 128, 36_529),
    (24, 55_416, 256, 36_529),
    (48, 16_618, 256, 21_908),
    (96, 16_618, 256, 43_817),
    (6, 94_781, 80, 49_982),
    (12, 36_930, 80, 38_950),
    (24, 11_143, 84, 22_385),
    (48, 11_143, 80, 47_010),
    (96, 11_143, 160, 47_010),
]


class Clock:
    """Time that passes only where something takes time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def step(self, *seconds):
        turns = itertools.cycle(seconds)

        def take():
            self.now += next(turns)

        return take


@pytest.mark.parametrize(("hours", "speed", "batch", "steps"), STEPS)
def test_steps_of_the_published_tables(hours, speed, batch, steps):
    assert steps_for(hours, speed, batch) == steps


def test_steps_are_rounded_or_cut():
    assert steps_for(1, 1.75, 3600, 1) == 2
    assert steps_for(1, 1.75, 3600, 1, whole="floor") == 1


def test_throughput_is_of_the_timed_rounds_alone():
    clock = Clock()
    step = clock.step(9.0, 9.0, 0.1, 0.3)  # the first two are a warm-up
    found = measure_throughput(step, 4, 10, warm_up=2, rounds=2, clock=clock)
    assert found == pytest.approx((40 / 0.2, 200.0, 100.0))
    assert clock.now == pytest.approx(18.4)


def test_a_noisy_step_is_measured_within_a_twentieth():
    clock = Clock()
    seconds = np.random.default_rng(0).normal(0.01, 0.0005, 100)
    found = measure_throughput(clock.step(*seconds), 8, 512, clock=clock)
    assert found.tokens_per_second == pytest.approx(8 * 512 / 0.01, rel=0.05)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried ...")])
def test_a_sweep_takes_the_fastest_size_before_memory_ends(error):
    clock = Clock()
    made = []

    def make_step(size):
        made.append(size)
        if size > 8:
            raise error
        return clock.step({2: 1.0, 4: 1.0, 8: 2.5}[size])

    found = sweep(make_step, [8, 2, 32, 4, 16], 10, clock=clock)
    assert (found.batch_size, found.tokens_per_second) == (4, 40.0)
    assert list(found.found) == [2, 4, 8]
    assert made == [2, 4, 8, 16]
    with pytest.raises(UsageError, match="no batch size of .16. fits"):
        sweep(make_step, [16], 10, clock=clock)


def test_a_sweep_hides_no_other_error():
    def make_step(size):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        sweep(make_step, [1], 10)


def test_a_perplexity_too_large_to_write_is_infinite():
    assert normalised_metrics(1e4, 1000, 1).normalised_perplexity == math.inf


@given(st.integers(2, 50_000), st.integers(1, 1000), st.integers(1, 5000))
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(vocabulary, tokens, length):
    score = normalised_metrics(tokens * math.log(vocabulary), tokens, length)
    assert score.perplexity == pytest.approx(vocabulary)
    assert score.normalised_loss == pytest.approx(math.log(vocabulary) * tokens / length)
    if tokens == length:
        assert score.normalised_perplexity == score.perplexity


def test_the_normalised_perplexity_does_not_see_how_a_text_was_cut_into_tokens():
    law = np.log([0.5, 0.25, 0.25])  # of characters a, b, c
    text = "abacab"
    total = -sum(law["abc".index(one)] for one in text)
    by_character = normalised_metrics(total, len(text), text_length(text))
    by_pair = normalised_metrics(total, len(text) // 2, text_length(text))
    assert by_pair.normalised_perplexity == by_character.normalised_perplexity
    assert by_pair.perplexity == pytest.approx(by_character.perplexity**2)


def test_lengths_are_of_characters_or_bytes():
    assert [text_length("a€😀", unit) for unit in ("characters", "bytes")] == [3, 8]


@pytest.mark.parametrize("measure", ["loss", "perplexity"])
def test_a_law_with_noise_and_the_crossing_of_two_are_found(measure):
    random = np.random.default_rng(0)
    hours = np.repeat([6.0, 12, 24, 48, 96], 4)
    known = {"fast": (3.0, 0.30), "slow": (2.0, 0.20)}  # they meet at 1.5^10 = 57.7 hours
    laws = {}
    for name, (a, b) in known.items():
        y = 0.5 + a * hours**-b * np.exp(0.01 * random.normal(size=len(hours)))
        value = np.exp(y) if measure == "loss" else y
        laws[name] = fit_scaling(hours, value, measure=measure, floor=0.5)
        assert -laws[name].slope == pytest.approx(b, rel=0.05)
        low, high = laws[name].interval
        assert low < -b < high
        exact = 0.5 + a * 500.0**-b
        expected = np.exp(exact) if measure == "loss" else exact
        assert laws[name].predict(500.0) == pytest.approx(expected, rel=0.02)
    met = crossing(laws["fast"], laws["slow"])
    assert 57.7 / 2 < met.hours < 57.7 * 2
    assert met.low < 57.7 < met.high
    assert met.low < met.hours < met.high
    assert met.share == 1.0
    assert crossing(laws["slow"], laws["fast"])[:3] == pytest.approx(met[:3])


def test_intervals_of_slopes_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(1)
    hours = np.array([6.0, 12, 24, 48, 96])
    held = 0
    for seed in range(200):
        y = 2 * hours**-0.1 * np.exp(0.02 * random.normal(size=5))
        low, high = fit_scaling(hours, y, measure="perplexity", resamples=200, rng=seed).interval
        held += low < -0.1 < high
    assert 150 < held < 200  # a bootstrap over five points is a little too sure


def test_two_points_say_nothing_of_their_scatter():
    laws = [fit_scaling([1, 10], values) for values in ([9.0, 4.0], [6.0, 4.5])]
    assert laws[0].interval == (-math.inf, math.inf)
    met = crossing(*laws)
    assert (met.low, met.high) == (0.0, math.inf)
    np.testing.assert_allclose(laws[0].predict(met.hours), laws[1].predict(met.hours))


def test_laws_that_may_not_cross_have_no_upper_end():
    random = np.random.default_rng(0)
    hours = np.repeat([1.0, 2.0, 4.0], 3)
    laws = [
        fit_scaling(hours, np.exp(a * hours**-b * np.exp(0.05 * random.normal(size=9))))
        for a, b in ((1.1, 0.100), (1.0, 0.095))
    ]
    met = crossing(*laws)
    assert met.high == math.inf
    assert 0 < met.share < 1
    assert math.isnan(crossing(laws[0], laws[0]).hours)


def test_equal_time_and_equal_steps_can_rank_the_other_way():
    trained = []

    def train(name, gain):
        def run(steps):
            trained.append((name, steps))
            return 10 * steps**-gain

        return run

    contenders = {
        "quick": Contender(4000.0, 4, 100, train("quick", 0.20)),  # 10 steps a second
        "slow": Contender(400.0, 4, 100, train("slow", 0.25)),  # 1 step a second
    }
    by_time = at_equal_time(contenders, [1 / 36, 1 / 18])
    by_steps = at_equal_steps(contenders, [1000])
    assert trained == [
        ("quick", 1000),
        ("quick", 2000),
        ("slow", 100),
        ("slow", 200),
        ("quick", 1000),
        ("slow", 1000),
    ]
    assert by_time["quick"][0].perplexity < by_time["slow"][0].perplexity
    assert by_steps["quick"][0].perplexity > by_steps["slow"][0].perplexity
    assert by_steps["slow"][0].hours == pytest.approx(1000 / 3600)
    with pytest.raises(UsageError, match="give more, or smaller steps"):
        at_equal_time(contenders, [1.0, 1e-6])
    assert len(trained) == 6  # nothing was trained for a plan that cannot be


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_throughput(int, 0, 1), "batch_size is 0"),
        (lambda: measure_throughput(int, 1, 1, warm_up=-1), "warm_up is -1"),
        (lambda: steps_for(0, 10.0, 1), "hours is 0"),
        (lambda: steps_for(1, math.inf, 1), "tokens_per_second inf"),
        (lambda: normalised_metrics(1.0, 0, 1), "tokens is 0"),
        (lambda: normalised_metrics(math.nan, 1, 1), "total is nan"),
        (lambda: fit_scaling([1, 1], [2, 3]), "two different hours"),
        (lambda: fit_scaling([1, 2], [1.0, 3.0]), "not above the floor"),
        (lambda: fit_scaling([1, 2], [2, 3], confidence=1), "confidence is 1"),
        (lambda: fit_scaling([1, 2], [2, 3], resamples=0), "resamples is 0"),
        (
            lambda: crossing(
                fit_scaling([1, 2], [4, 3]), fit_scaling([1, 2], [4, 3], measure="perplexity")
            ),
            "the laws differ",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
