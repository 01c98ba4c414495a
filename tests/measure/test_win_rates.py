"""Win rates: intervals against their defining equation and against every resample there is."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from samplewise.measure.win_rates import both_orders, wilson_interval, win_rate, win_rates

Z = norm.ppf(0.975)


@pytest.mark.parametrize("n", [1, 7, 100])
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_wilsons_ends_are_the_shares_that_the_rate_is_z_away_from(rate, n):
    for end in wilson_interval(rate, n):
        assert (rate - end) ** 2 == pytest.approx(Z**2 * end * (1 - end) / n, abs=1e-12)


def test_wilsons_interval_by_hand():
    low, high = wilson_interval(0.0, 10)
    assert (low, high) == pytest.approx((0, Z**2 / (10 + Z**2)))
    assert wilson_interval(1.0, 10) == pytest.approx((1 - high, 1))
    low, high = wilson_interval(0.5, 96)
    assert high - low == pytest.approx(Z / np.sqrt(96 + Z**2))
    assert wilson_interval(0.8, 10, 0.5)[0] > wilson_interval(0.8, 10, 0.99)[0]


def quantiles(values, weights, confidence):
    """Give the quantiles of a distribution over few values."""
    order = np.argsort(values)
    line = np.cumsum(np.asarray(weights)[order])
    tail = (1 - confidence) / 2
    return [np.asarray(values)[order][np.searchsorted(line, q)] for q in (tail, 1 - tail)]


def every_mean(values):
    """Give the mean of each of the n**n resamples."""
    return np.array(list(itertools.product(values, repeat=len(values)))).mean(axis=1).round(9)


@pytest.mark.parametrize("confidence", [0.6, 0.9])
@pytest.mark.parametrize("values", [[1, 0], [1, 0.5, 0, 1], [1, 0.5, 0.5, 0.25, 0]])
def test_the_bootstrap_is_over_every_resample(values, confidence):
    means = every_mean(values)
    found = win_rate(values, interval="bootstrap", confidence=confidence, resamples=50_000)
    wanted = quantiles(means, np.full(len(means), 1 / len(means)), confidence)
    assert found[1:3] == pytest.approx(wanted)


def test_the_macro_bootstrap_resamples_each_language():
    english, german = [1, 1, 0], [0.5, 0]
    pairs = np.array(list(itertools.product(every_mean(english), every_mean(german))))
    wanted = quantiles(pairs.mean(axis=1).round(9), np.full(len(pairs), 1 / len(pairs)), 0.8)
    found = win_rates(
        [1, 0.5, 1, 0, 0], ["en", "de", "en", "de", "en"], confidence=0.8, resamples=50_000
    ).macro
    assert found[1:3] == pytest.approx(wanted)
    assert found.rate == pytest.approx((2 / 3 + 1 / 4) / 2)


def test_ties_count_one_half():
    found = win_rate([1, 1, 0.5, 0.5, 0])
    assert found.rate == 0.6
    assert (found.wins, found.ties, found.losses, found.prompts) == (2, 2, 1, 5)
    assert found[1:3] == wilson_interval(0.6, 5)
    only_ties = win_rate([0.5] * 8, interval="bootstrap")
    assert only_ties[:3] == (0.5, 0.5, 0.5)
    assert not only_ties.clear
    assert win_rate([1] * 8).clear


def test_languages_weigh_the_same_in_the_macro_and_by_their_prompts_when_pooled():
    preferences = [1, 1, 1, 0, 0.5, 0]
    languages = ["en", "en", "en", "en", "hi", "ja"]
    found = win_rates(preferences, languages)
    assert list(found.languages) == ["en", "hi", "ja"]
    assert [one.rate for one in found.languages.values()] == [0.75, 0.5, 0.0]
    assert found.languages["en"] == win_rate([1, 1, 1, 0])
    assert found.pooled == win_rate(preferences)
    assert found.macro.rate == pytest.approx((0.75 + 0.5 + 0) / 3)
    others = win_rates(preferences, languages, leave_out=["en"])
    assert list(others.languages) == ["hi", "ja"]
    assert (others.pooled.rate, others.pooled.prompts, others.macro.rate) == (0.25, 2, 0.25)


def test_one_language_is_its_own_macro():
    found = win_rates([1, 0, 0.5], ["sw"] * 3, interval="bootstrap", rng=3)
    assert found.macro[3:] == found.pooled[3:]
    assert found.macro.rate == found.pooled.rate == 0.5


def test_the_same_rng_gives_the_same_intervals():
    preferences, languages = np.random.default_rng(0).random(30), ["a", "b", "c"] * 10
    first = win_rates(preferences, languages, interval="bootstrap", rng=1)
    assert first == win_rates(preferences, languages, interval="bootstrap", rng=1)
    assert first != win_rates(preferences, languages, interval="bootstrap", rng=2)


@pytest.mark.parametrize("taste", [0.0, 0.3, 1.0])
def test_both_orders_cancel_a_taste_for_the_first_place(taste):
    true = np.array([0.1, 0.5, 0.9])
    shown_first = true * (1 - taste) + taste
    shown_second = (1 - true) * (1 - taste) + taste
    found = both_orders(shown_first, shown_second)
    assert found == pytest.approx(0.5 + (true - 0.5) * (1 - taste))


@pytest.mark.parametrize(
    "call",
    [
        lambda: win_rate([]),
        lambda: win_rate([1.5]),
        lambda: win_rate([np.nan]),
        lambda: win_rate([0.5], confidence=1.0),
        lambda: win_rate([0.5], interval="bootstrap", confidence=0.0),
        lambda: wilson_interval(0.5, 0),
        lambda: win_rates([1.0], ["en", "de"]),
        lambda: win_rates([1.0], ["en"], leave_out=["en"]),
        lambda: both_orders([1.0], [1.0, 0.0]),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
