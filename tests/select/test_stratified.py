import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select.allocation import allocate
from samplewise.select.stratified import Stratified

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)


@st.composite
def problems(draw, shared=False):
    sizes = np.array(draw(SIZES), dtype=np.int64)
    n = draw(st.integers(0, int(sizes.sum())))
    if not shared:
        return sizes, n
    share = st.one_of(st.integers(0, 9).map(float), st.floats(0, 1e308))
    return sizes, n, np.array(draw(st.lists(share, min_size=len(sizes), max_size=len(sizes))))


def one_by_one(sizes, n, weights):
    """Caps at the fixed point of sharing out, found group by group in exact fractions."""
    counts = [0] * len(sizes)
    open_groups = {j for j in range(len(sizes)) if sizes[j] > 0 and weights[j] > 0}
    left = n
    while True:
        total = sum(int(weights[j]) for j in open_groups)
        quotas = {j: Fraction(left * int(weights[j]), total) for j in open_groups}
        full = {j for j in open_groups if quotas[j] >= sizes[j]}
        if not full:
            break
        for j in full:
            counts[j] = int(sizes[j])
            left -= counts[j]
        open_groups -= full
        if not open_groups:
            return counts
    for j in open_groups:
        counts[j] = int(quotas[j])
    left = n - sum(counts)
    for j in sorted(open_groups, key=lambda j: (-(quotas[j] - int(quotas[j])), j))[:left]:
        counts[j] += 1
    return counts


def test_the_example():
    assert allocate(np.array([50, 30, 20]), 10).tolist() == [5, 3, 2]


def test_ties_go_to_the_lowest_index():
    assert allocate(np.array([10, 10, 10]), 4).tolist() == [2, 1, 1]
    assert allocate(np.array([30, 10, 30, 10]), 4, "proportional").tolist() == [2, 1, 1, 0]


@pytest.mark.parametrize("rule", ["proportional", "equal"])
@given(problem=problems())
def test_allocation_is_largest_remainder_in_exact_arithmetic(rule, problem):
    sizes, n = problem
    weights = sizes if rule == "proportional" else np.ones_like(sizes)
    assert allocate(sizes, n, rule).tolist() == one_by_one(sizes, n, weights)


@given(problem=problems(shared=True))
def test_shares_sum_to_the_budget_and_never_pass_the_sizes(problem):
    sizes, n, shares = problem
    counts = allocate(sizes, n, "proportional", shares)
    assert counts.sum() == n
    assert (counts >= 0).all()
    assert (counts <= sizes).all()


def test_shares_override_the_rule_and_share_nothing_comes_last():
    sizes = np.array([10, 10, 10])
    assert allocate(sizes, 8, "equal", np.array([3, 1, 0])).tolist() == [6, 2, 0]
    assert allocate(sizes, 24, "equal", np.array([3.0, 1.0, 0.0])).tolist() == [10, 10, 4]


@pytest.mark.parametrize(
    ("sizes", "n", "rule", "shares"),
    [
        ([3, 4], 8, "equal", None),
        ([3, 4], -1, "equal", None),
        ([3, 4], 2, "fair", None),
        ([3, 4], 2, "equal", [1.0, -1.0]),
        ([3, 4], 2, "equal", [1.0, np.nan]),
        ([3, 4], 2, "equal", [1.0]),
    ],
)
def test_what_makes_no_sense_is_refused(sizes, n, rule, shares):
    shares = None if shares is None else np.array(shares)
    with pytest.raises(ValueError, match=r"rows asked|no rule|share"):
        allocate(np.array(sizes), n, rule, shares)


def test_ten_thousand_groups_take_no_time():
    sizes = np.random.default_rng(0).zipf(1.5, 10_000).clip(max=10**6)
    start = time.perf_counter()
    for rule in ("proportional", "equal"):
        assert allocate(sizes, int(sizes.sum() // 2), rule).sum() == sizes.sum() // 2
    assert time.perf_counter() - start < 1


def rows_of(sizes, field="source"):
    """Rows in named groups, one after the other; a group named None has no name."""
    names = [name for name, size in sizes.items() for _ in range(size)]
    rows = [{"text": f"row {i}", field: name} for i, name in enumerate(names)]
    return [{k: v for k, v in row.items() if v is not None} for row in rows], names


def counts_of(names, chosen):
    return Counter(names[i] for i in chosen.tolist())


def test_each_source_gives_its_share():
    rows, names = rows_of({"a": 50, "b": 30, "c": 20})
    pool = sw.Pool.from_rows(rows, source="source")
    chosen = sw.select(pool, 10, "stratified", rng=0).indices
    assert counts_of(names, chosen) == {"a": 5, "b": 3, "c": 2}
    equal = sw.select(pool, 62, "stratified", rng=0, allocation="equal").indices
    assert counts_of(names, equal) == {"a": 21, "b": 21, "c": 20}
    # Any beginning is spread too: after 5 of 10 rows, no group is a row or more off its share.
    half = counts_of(names, chosen[:5])
    assert all(abs(half[name] - share) < 1 for name, share in {"a": 2.5, "b": 1.5, "c": 1}.items())


def test_rows_without_a_group_form_one():
    rows, names = rows_of({"a": 6, None: 3, "b": 3})
    pool = sw.Pool.from_rows(rows, source="source")
    selection = sw.select(pool, 4, "stratified", rng=0)
    assert counts_of(names, selection.indices) == {"a": 2, None: 1, "b": 1}
    assert selection.columns["group"].tolist() == [0] * 6 + [-1] * 3 + [1] * 3


def test_by_says_which_column_and_the_source_comes_first():
    rows, _ = rows_of({"a": 9, "b": 1})
    rows = [{**row, "label": "xy"[i % 2]} for i, row in enumerate(rows)]
    pool = sw.Pool.from_rows(rows, source="source", label="label")
    both = sw.select(pool, 2, "stratified", rng=0, allocation="equal").indices
    assert sum(both == 9) == 1
    labels = sw.select(pool, 4, "stratified", rng=0, by="label").indices
    assert np.bincount(labels % 2).tolist() == [2, 2]


def test_inside_a_group_every_row_is_equally_likely():
    rows, _ = rows_of({"a": 8, "b": 4})
    pool = sw.Pool.from_rows(rows, source="source")
    hits = np.zeros(12)
    for seed in range(1_500):
        hits[sw.select(pool, 3, "stratified", rng=seed).indices] += 1
    assert hits[:8].sum() == 3_000
    assert stats.chisquare(hits[:8]).pvalue > 1e-3
    assert stats.chisquare(hits[8:]).pvalue > 1e-3


def test_a_missing_column_is_named():
    rows, _ = rows_of({"a": 5, "b": 5})
    pool = sw.Pool.from_rows(rows, source="source")
    with pytest.raises(InputError, match=r"field 'label'.*no label"):
        sw.select(pool, 2, "stratified", by="label")


@pytest.mark.parametrize("knob", ["by", "allocation"])
def test_knobs_are_checked(knob):
    with pytest.raises(UsageError, match=f"knob '{knob}'"):
        Stratified(**{knob: "size"})
