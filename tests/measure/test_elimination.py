"""Early elimination against known answers: exact quantiles, least squares, and error rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_t, studentized_range, t

from samplewise.measure.elimination import (
    Race,
    additive_fit,
    critical,
    noise_of,
    per_look,
)


def run(race, means, draw):
    """Finish a race; `draw(k)` gives the noise of k methods, and seeds differ widely."""
    seed = 0
    while names := race.ask():
        noise = draw(len(names))
        seed += 1
        race.tell(
            {
                n: means[race.names.index(n)] + 7 * seed + e
                for n, e in zip(names, noise, strict=True)
            }
        )
    return race


def letters(count):
    return [chr(97 + i) for i in range(count)]


def most(share, count):
    """Give what a share of at most `share` stays below, but for once in a thousand tests."""
    return share + 3.1 * math.sqrt(share * (1 - share) / count)


# --- quantiles --------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 5, 30])
@pytest.mark.parametrize("level", [0.1, 0.01, 0.001])
def test_one_comparison_is_students(freedom, level):
    assert critical("best", 2, freedom, level) == pytest.approx(t.isf(level, freedom), rel=1e-5)
    two_sided = t.isf(level / 2, freedom)
    assert critical("baseline", 2, freedom, level) == pytest.approx(two_sided, rel=1e-5)
    assert critical("mean", 1, freedom, level) == pytest.approx(two_sided, rel=1e-5)


@pytest.mark.parametrize(
    ("family", "methods", "freedom", "table"),
    [
        # Dunnett's tables, 5%: comparisons = methods - 1
        ("best", 3, 10, 2.15),
        ("best", 6, 20, 2.39),
        ("best", 8, 10**6, 2.34),
        ("baseline", 3, 10, 2.57),
        ("baseline", 6, 20, 2.73),
        # the studentised maximum modulus
        ("mean", 3, 10, 2.83),
        ("mean", 5, 20, 2.80),
    ],
)
def test_quantiles_of_printed_tables(family, methods, freedom, table):
    # The tables of more than one contrast print two decimals; some round up.
    assert critical(family, methods, freedom, 0.05) == pytest.approx(table, abs=0.035)


@pytest.mark.parametrize("family", ["best", "baseline"])
def test_quantiles_match_the_multivariate_t(family):
    bound = critical(family, 5, 8, 0.03)
    joint = multivariate_t(shape=0.5 * np.eye(4) + 0.5, df=8)
    lower = np.full(4, -bound) if family == "baseline" else None
    inside = joint.cdf(np.full(4, bound), lower_limit=lower, random_state=np.random.default_rng(0))
    assert inside == pytest.approx(0.97, abs=5e-4)


def test_a_family_costs_less_than_all_pairs():
    tukey = studentized_range.isf(0.05, 8, 28) / math.sqrt(2)
    assert critical("best", 8, 28, 0.05) < critical("baseline", 8, 28, 0.05) < tukey


def test_levels_lie_between_bonferroni_and_one_look():
    for looks in (2, 4, 9):
        level = per_look("best", 6, looks + 1, 0.05, looks)
        assert 0.05 / looks < level < 0.05
    assert per_look("mean", 6, 9, 0.05, 1) == 0.05


# --- noise and fit ----------------------------------------------------------------------------


def nested(seed, methods, seeds):
    """Make a table in which methods leave one by one."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(seeds, methods)) + 5 * rng.normal(size=(seeds, 1))
    for j, stop in enumerate(rng.integers(1, seeds + 1, methods - 2)):
        values[stop:, j] = np.nan
    return values


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 9))
def test_noise_is_the_residual_of_least_squares(seed, methods, seeds):
    values = nested(seed, methods, seeds)
    method, effect, _ = additive_fit(values)
    left = values - method - effect[:, None]
    found = noise_of(values)
    assert found.squares == pytest.approx(np.nansum(left**2), abs=1e-9)
    assert found.freedom == np.isfinite(values).sum() - methods - seeds + 1


def test_the_fit_is_exact_without_noise():
    method, seed = np.array([1.0, 4.0, 2.0]), np.array([0.0, 10.0, -10.0])
    values = method + seed[:, None]
    values[1:, 1] = np.nan
    found, effect, _ = additive_fit(values)
    assert found == pytest.approx(method)
    assert effect == pytest.approx(seed)


def test_the_covariance_of_a_difference_is_that_of_paired_means():
    _, _, covariance = additive_fit(nested(0, 4, 6))
    contrast = np.zeros(10)
    contrast[-2 - 6], contrast[-1 - 6] = 1, -1  # the two that have every seed
    assert contrast @ covariance @ contrast == pytest.approx(2 / 6)


# --- error rates ------------------------------------------------------------------------------

RACES = 600


def normal(rng):
    return rng.standard_normal


def skewed(rng):
    return lambda count: rng.exponential(size=count) - 1


@pytest.mark.parametrize("noise", [normal, skewed], ids=["normal", "skewed"])
@pytest.mark.parametrize(
    "means",
    [[0, 0, 0, 0, 0], [0, -0.3, -1, -2, -4], [0, -3, -3, -3, -3]],
    ids=["alike", "spread", "one ahead"],
)
def test_the_best_is_rarely_put_behind(noise, means):
    rng = np.random.default_rng(1)
    lost = sum(
        "a" in run(Race(letters(5), 6, alpha=0.1), means, noise(rng)).exits for _ in range(RACES)
    )
    # Skewed noise is not what the model has: 0.13 for 0.1 was measured, where all are alike.
    assert lost / RACES <= most(0.1 if noise is normal else 0.13, RACES)


@pytest.mark.parametrize("noise", [normal, skewed], ids=["normal", "skewed"])
def test_intervals_hold_together(noise):
    """Of both families, at the end of races in which methods leave early."""
    rng = np.random.default_rng(2)
    means, missed, early = np.array([0.5, 0.0, -1.0, -2.5]), np.zeros(2), 0
    for _ in range(RACES):
        race = run(Race(letters(4), 6, alpha=0.1, baseline="b"), means, noise(rng))
        # What the methods' means over these seeds are, seed effects included.
        truth = means + 7 * (race.seeds + 1) / 2
        rows = race.standings()
        early += any(row.seeds < race.seeds for row in rows)
        place = {row.name: race.names.index(row.name) for row in rows}
        missed[0] += any(not row.low <= truth[place[row.name]] <= row.high for row in rows)
        missed[1] += any(
            not row.difference_low <= means[place[row.name]] - means[1] <= row.difference_high
            for row in rows
            if row.name != "b"
        )
    assert early > RACES / 2
    assert (missed / RACES <= most(0.1, RACES)).all()


def test_a_race_that_is_decided_is_right_within_the_indifference():
    rng = np.random.default_rng(3)
    means, wrong, decided = [0, -0.2, -0.6, -2], 0, 0
    for _ in range(RACES):
        race = run(Race(letters(4), 12, alpha=0.1, indifference=0.4), means, normal(rng))
        decided += race.decided
        wrong += race.decided and race.leader not in ("a", "b")
    assert decided > RACES / 4
    assert wrong / RACES <= most(0.1, RACES)


def test_unequal_noise_is_safe_by_pairs():
    rng = np.random.default_rng(4)
    scales = np.array([4.0, 0.3, 0.3, 0.3, 0.3])
    lost = dict.fromkeys((True, False), 0)
    for pooled in lost:
        for _ in range(RACES // 2):
            race = Race(letters(5), 5, alpha=0.1, pooled=pooled)
            while names := race.ask():
                race.tell({n: scales[ord(n) - 97] * rng.normal() for n in names})
            lost[pooled] += "a" in race.exits
    assert lost[False] / (RACES // 2) <= most(0.1, RACES // 2)
    assert lost[False] < lost[True]  # pooling is not safe where spreads differ this much


def test_early_elimination_spends_half_of_fixed_seeds():
    rng = np.random.default_rng(5)
    means = np.arange(8) * -1.0
    races = [run(Race(letters(8), 20), means, normal(rng)) for _ in range(150)]
    assert np.mean([race.spent for race in races]) < races[0].fixed / 2
    assert np.mean([race.leader == "a" for race in races]) > 0.95


# --- the race ---------------------------------------------------------------------------------


def told(race, *seeds):
    for seed in seeds:
        race.tell(dict(zip(race.ask(), seed, strict=True)))
    return race


def test_who_left_when_and_why():
    race = told(Race("abc", 9), [10.0, 9.9, 1.0], [10.1, 10.1, 1.2])
    race.tell({"a": 20.0, "b": 19.9})
    left = race.exits["c"]
    assert (left.after, left.rival) == (2, "a")
    assert left.gap == pytest.approx(8.95, abs=0.1)
    assert left.gap > left.margin > 0
    rows = {row.name: row for row in race.standings()}
    assert rows["c"].seeds == 2
    assert not rows["c"].may_be_best
    # What the third seed gave the others is counted for the one that missed it: about 10.
    assert rows["c"].mean == pytest.approx(rows["a"].mean - 8.95, abs=0.1)


def test_lower_can_be_better():
    race = told(Race("abc", 9, higher_is_better=False), [1.0, 5.0, 5.1], [1.1, 5.0, 5.2])
    assert race.leader == "a"
    assert set(race.exits) == {"b", "c"}
    assert [row.name for row in race.standings()] == ["a", "b", "c"]


def test_signs_do_not_matter():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 3))
    up = told(Race("abc", 6, eliminate=False, baseline="a"), *table)
    down = told(Race("abc", 6, eliminate=False, baseline="a", higher_is_better=False), *-table)
    for one, other in zip(up.standings(), down.standings(), strict=True):
        assert one.name == other.name
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
        if one.difference is not None:
            assert one.difference_low == pytest.approx(-other.difference_high)


def test_the_baseline_keeps_its_seeds():
    race = told(Race("abcd", 9, baseline="d"), [10, 9.9, 5, 1], [10.1, 10, 5.2, 1.1])
    assert {"c", "d"} <= set(race.exits)
    assert race.ask() == ("a", "b", "d")


def test_without_elimination_every_method_gets_every_seed():
    race = Race("abc", 4, eliminate=False)
    while names := race.ask():
        assert names == ("a", "b", "c")
        race.tell({"a": 10 + race.seeds % 2, "b": 5 - race.seeds % 3, "c": 0.0})
    assert race.seeds == 4
    assert race.spent == race.fixed == 12
    assert set(race.exits) == {"b", "c"}  # known, but only from the one look at the end


def test_one_look_is_sharper_than_many():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(8, 5)) * 1e-9 + np.zeros(5)
    ends = [
        told(Race("abcde", 8, eliminate=eliminate, floor=1.0), *table).standings()[0]
        for eliminate in (True, False)
    ]
    assert ends[1].high - ends[1].low < ends[0].high - ends[0].low


@pytest.mark.parametrize("pooled", [True, False])
def test_methods_without_noise_have_intervals_of_some_width(pooled):
    race = Race("abc", 3, baseline="a", pooled=pooled)
    race = told(race, [0.5, 0.5, 0.49999], [0.5, 0.5, 0.49999], [0.5, 0.5, 0.49999])
    assert not race.exits  # a difference in the fifth digit is none
    for row in race.standings():
        assert row.low < row.mean < row.high
    assert race.standings()[2].difference_high > 0


def test_all_zero_values_put_nobody_behind():
    race = told(Race("ab", 3, baseline="b"), [0, 0], [0, 0])
    assert race.exits == {}
    assert race.ask() == ()  # no method can be better than the other
    assert race.standings()[0].low == 0


def test_spreads_tell_the_noisy_method():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(400, 4)) * [3, 1, 1, 1] + rng.normal(size=(400, 1))
    race = told(Race("abcd", 400, eliminate=False), *table)
    spreads = race.spreads()
    # The others carry a share of the noisy one's noise.
    assert spreads["a"] == pytest.approx(math.sqrt(9 * 0.75 + 3 / 16 / 0.75), rel=0.1)
    assert all(1 <= spreads[name] < 1.6 for name in "bcd")


def test_a_method_that_is_noisier_than_the_others_is_told():
    rng = np.random.default_rng(0)
    found = []
    for scale in (1, 5):
        scales = np.array([scale, 1, 1, 1, 1, 1])
        races = [
            told(Race("abcdef", 6, eliminate=False), *(rng.normal(size=(6, 6)) * scales))
            for _ in range(200)
        ]
        found.append([race.unlike() for race in races])
    assert np.mean([bool(names) for names in found[0]]) <= 0.03
    assert np.mean(["a" in names for names in found[1]]) > 0.8
    assert told(Race("ab", 2), [1, 2], [5, 2]).unlike() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": "a"},
        {"names": "aa"},
        {"most": 1},
        {"baseline": "z"},
        {"alpha": 0},
        {"alpha": 0.6},
        {"indifference": -1},
        {"indifference": math.nan},
        {"floor": -1.0},
    ],
)
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"give|seeds|among"):
        Race(**{"names": "ab", "most": 3, **wrong})


@pytest.mark.parametrize(
    "values", [{}, {"a": 1.0}, {"a": 1.0, "b": math.nan}, {"a": 1.0, "b": 2.0, "c": 3.0}]
)
def test_values_that_were_not_asked_for_are_refused(values):
    race = Race("ab", 3)
    with pytest.raises(ValueError, match="one finite number for each"):
        race.tell(values)
    assert race.seeds == 0


def test_a_finished_race_asks_and_takes_no_more():
    race = told(Race("ab", 2), [1.0, 2.0], [1.0, 2.5])
    assert race.ask() == ()
    with pytest.raises(ValueError, match="for each"):
        race.tell({"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match="two seeds"):
        Race("ab", 2).standings()
