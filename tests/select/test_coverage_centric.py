"""Coverage-centric selection against the card's figures, brute force and its sampling law."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select.coverage_centric import (
    CoverageCentric,
    equal_width_strata,
    keep_after_cut,
    stratum_budgets,
)


def pool_of(score):
    return sw.Pool.from_arrays(np.arange(len(score), dtype=np.float32)[:, None], score=score)


def chosen(score, n, **knobs):
    return sw.select(pool_of(score), n, "ccs", **{"rng": 0, **knobs})


@pytest.mark.parametrize(
    ("n", "sizes", "budgets"),
    [
        (10, [0, 3, 10, 100], [0, 3, 3, 4]),
        (12, [5, 5, 5], [4, 4, 4]),
        (7, [4, 4, 4], [2, 2, 3]),
        (2, [5, 5, 5], [0, 1, 1]),
        (100, [0, 0, 0, 200], [0, 0, 0, 100]),
        (50, [1, 2, 3], [1, 2, 3]),
        (10, [100, 3, 0, 10], [4, 3, 0, 3]),
    ],
)
def test_budgets_of_the_card(n, sizes, budgets):
    assert stratum_budgets(np.array(sizes), n).tolist() == budgets


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 400))
def test_budgets_are_water_filling(sizes, n):
    sizes = np.array(sizes)
    budgets = stratum_budgets(sizes, n)
    assert budgets.sum() == min(n, sizes.sum())
    assert (budgets <= sizes).all()
    levels = [int(level) for level in range(int(sizes.max()) + 1)]
    assert any(
        np.all((budgets == np.minimum(sizes, low)) | (budgets == np.minimum(sizes, low + 1)))
        for low in levels
    )


@pytest.mark.parametrize("sizes", [(2, 3, 4), (0, 1, 4), (3, 3, 3), (1, 1, 5), (4, 2, 0, 3)])
def test_budgets_raise_the_smallest_first_as_brute_force_does(sizes):
    for n in range(sum(sizes) + 1):
        fits = [
            one for one in itertools.product(*(range(size + 1) for size in sizes)) if sum(one) == n
        ]
        best = max(sorted(one) for one in fits)
        assert sorted(stratum_budgets(np.array(sizes), n).tolist()) == best


def test_strata_hold_their_lower_edge_and_the_last_both():
    assert equal_width_strata(np.arange(11.0), 10).tolist() == [*range(10), 9]
    assert equal_width_strata(np.arange(101.0), 50).tolist() == [
        min(i // 2, 49) for i in range(101)
    ]


def test_the_highest_score_is_not_lost_where_all_are_below_zero():
    assert equal_width_strata(np.array([-4.0, -3.0, -2.0]), 2).tolist() == [0, 1, 1]
    assert equal_width_strata(np.array([-1.0, 0.0]), 2).tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.0, -3.5, 1e300, 5e-324])
def test_equal_scores_make_one_stratum(value):
    assert equal_width_strata(np.full(4, value), 50).tolist() == [0] * 4
    assert len(chosen(np.full(20, value), 7)) == 7


def test_scores_as_far_apart_as_floats_go():
    assert equal_width_strata(np.array([-1.7e308, 0.0, 1.7e308]), 4).tolist() == [0, 2, 3]


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=60),
    st.sampled_from([0.25, 1.0, 8.0]),
    st.integers(-5, 5),
)
def test_a_rising_line_leaves_the_strata_as_they_are(scores, slope, offset):
    scores = np.array(scores, dtype=np.float64)
    before = equal_width_strata(scores, 7)
    assert np.array_equal(equal_width_strata(slope * scores + offset, 7), before)


def test_flipping_sign_and_direction_changes_nothing():
    score = np.random.default_rng(1).normal(size=400).round(1)
    high, low = chosen(score, 60), chosen(-score, 60, hard="low")
    assert high.indices.tolist() == low.indices.tolist()
    assert np.array_equal(high.columns["stratum"], low.columns["stratum"])
    other = chosen(score, 60, hard="low")
    assert other.indices.tolist() != high.indices.tolist()


def test_the_hardest_are_cut_before_the_strata_are_made():
    score = np.r_[np.linspace(0, 1, 90), np.full(10, 1e6)]
    selection = chosen(score, 40, strata=9)
    stratum = selection.columns["stratum"]
    assert (stratum[90:] == -1).all()
    assert np.bincount(stratum[:90]).tolist() == [10] * 9
    assert set(np.bincount(stratum[selection.indices]).tolist()) == {4, 5}


@pytest.mark.parametrize(("beta", "rows", "cut"), [(0.1, 100, 10), (0.29, 100, 29), (0.3, 7, 2)])
def test_the_share_that_is_cut_is_rounded_down(beta, rows, cut):
    selection = chosen(np.arange(float(rows)), 2, beta=beta)
    assert np.flatnonzero(selection.columns["stratum"] < 0).tolist() == [*range(rows - cut, rows)]


def test_of_equal_scores_chance_decides_what_is_cut():
    lost = np.zeros(10)
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        lost += ~np.isin(np.arange(10), keep_after_cut(np.zeros(10), 3, rng))
    assert np.abs(lost / 2_000 - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 2_000)


def test_all_that_is_left_is_chosen_where_the_budget_is_that():
    score = np.random.default_rng(2).normal(size=50)
    selection = chosen(score, 40, beta=0.2)
    assert set(selection.indices.tolist()) == set(np.argsort(score)[:40].tolist())


def test_a_budget_above_that_cuts_less_with_a_warning():
    score = np.arange(100.0)
    with pytest.warns(UserWarning, match=r"95 of 100 rows leave no room to cut .* 5 rows are cut"):
        selection = chosen(score, 95, beta=0.3)
    assert sorted(selection.indices.tolist()) == [*range(95)]


def test_no_warning_where_the_cut_fits(recwarn):
    chosen(np.arange(100.0), 70, beta=0.3)
    assert not [one for one in recwarn if "coverage-centric" in str(one.message)]


def test_inside_a_stratum_all_rows_are_as_likely():
    rng = np.random.default_rng(3)
    sizes = np.array([3, 12, 40, 25])
    score = np.repeat([0.0, 1.0, 2.0, 3.0], sizes)
    budgets = stratum_budgets(sizes, 20)
    hits = np.zeros(len(score))
    method, pool, draws = CoverageCentric(strata=4, beta=0.0), pool_of(score), 5_000
    for _ in range(draws):
        hits[method.choose(pool, 20, rng, None).indices] += 1
    expected = np.repeat(budgets / sizes, sizes)
    error = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(hits / draws - expected) <= 4 * error).all()


def test_one_stratum_is_a_cut_and_then_random():
    rng = np.random.default_rng(4)
    score = rng.normal(size=30)
    kept = np.sort(np.argsort(score)[:27])
    hits, draws = np.zeros(30), 5_000
    method, pool = CoverageCentric(strata=1), pool_of(score)
    for _ in range(draws):
        hits[method.choose(pool, 9, rng, None).indices] += 1
    expected = np.where(np.isin(np.arange(30), kept), 1 / 3, 0)
    assert (np.abs(hits / draws - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_counts_with_a_spike_at_zero():
    score = np.r_[np.zeros(900), np.repeat([1.0, 2.0, 3.0], [60, 30, 10])]
    selection = chosen(score, 60, beta=0.0)
    counts = np.bincount(score[selection.indices].astype(int))
    assert counts.tolist() == [17, 17, 16, 10]


@pytest.mark.parametrize(
    "knobs", [{"strata": 0}, {"beta": 1.0}, {"beta": -0.1}, {"beta": float("nan")}, {"hard": "up"}]
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        CoverageCentric(**knobs)


def test_a_score_is_needed():
    with pytest.raises(InputError, match="score"):
        sw.select(sw.Pool.from_arrays(np.eye(3)), 1, "ccs")
