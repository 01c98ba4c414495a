"""Tests of decisions: all series enumerated, SciPy, simulated coins, and power as computed."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency, norm

from samplewise.measure.decision_bias import (
    Cell,
    answer_logit,
    audit,
    combine_calls,
    compare_shares,
    count,
    draw_chain,
    empirical_logit,
    exact_power,
    few_shot_prompt,
    holm,
    independence,
    markov_order,
    negative_recency,
    one_shot_prompt,
    order_statistic,
    parse_answer,
    parse_answers,
    recency_curve,
    run_lengths,
    runs,
    share_interval,
    temperature_line,
    transitions,
    uniformity,
)


def every(n):
    """All series of n decisions."""
    return np.array(list(itertools.product([0, 1], repeat=n)), np.int8)


def rejected(series, **options):
    """Share of simulated series that each test rejects at 5%."""
    recency = negative_recency(series, **options)
    tests = {
        "uniformity": uniformity(series, **options),
        "independence": independence(series, **options),
        "runs": runs(series, **options),
        "recency": recency.fair,
        "recency, corrected": recency.corrected,
    }
    return {name: float(np.mean(test.p_value <= 0.05)) for name, test in tests.items()}


# --- one series -----------------------------------------------------------------------------------


def test_chi_square_is_the_square_of_z():
    series = np.random.default_rng(0).integers(2, size=(50, 37))
    k = series.sum(axis=1)
    z = (k - 37 / 2) / np.sqrt(37 / 4)
    assert uniformity(series).statistic == pytest.approx(z**2, abs=1e-12)
    wanted = [binomtest(int(one), 37).pvalue for one in k]
    assert uniformity(series).p_value == pytest.approx(wanted)
    assert uniformity(series, exact=False).p_value == pytest.approx(2 * norm.sf(abs(z)))


def test_another_share_than_a_half():
    series = [1] * 9 + [0] * 11
    test = uniformity(series, 0.3)
    assert test.statistic == pytest.approx((9 - 6) ** 2 / (20 * 0.3 * 0.7))
    assert test.p_value == pytest.approx(binomtest(9, 20, 0.3).pvalue)


@pytest.mark.parametrize("n", [5, 9, 21])
def test_an_alternating_series_has_perfect_association(n):
    series = np.arange(n) % 2
    found = negative_recency(series)
    assert found.switching == 1
    assert count(series).switches + 1 == n
    assert independence(series).statistic == pytest.approx(n - 1)
    assert found.fair.p_value == pytest.approx(0.5 ** (n - 1))


def test_equal_transitions_have_no_association():
    series = [0, 0, 1, 1, 0]
    assert count(series).pairs.tolist() == [[1, 1], [1, 1]]
    assert independence(series).statistic == 0
    assert negative_recency(series).switching == 0.5
    assert transitions(series).dependence.difference == 0


def test_a_constant_series_has_no_memory_to_test():
    for test in (independence([1] * 9), runs([0] * 9), negative_recency([1] * 9).corrected):
        assert np.isnan(test.statistic)
        assert np.isnan(test.p_value)
        assert test.reason
    both = independence([[0] * 8, [0, 1, 0, 1, 1, 0, 0, 1]])
    assert np.isnan(both.p_value).tolist() == [True, False]
    assert both.reason
    assert markov_order([1] * 9, 2).reason


@pytest.mark.parametrize("wrong", [[], [1], [0, 2], [0.5, 1], [0, np.nan], 1])
def test_what_is_no_series_is_refused(wrong):
    for test in (uniformity, independence, runs, negative_recency, markov_order, recency_curve):
        with pytest.raises(ValueError):
            test(wrong)


# --- all series -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 12])
def test_means_over_all_series_are_the_closed_forms(n):
    series = every(n)
    counts = count(series)
    assert counts.pairs.mean(axis=0) == pytest.approx(np.full((2, 2), (n - 1) / 4))
    assert negative_recency(series).switching.mean() == pytest.approx(0.5)
    for k in range(n + 1):
        same = counts.ones == k
        assert counts.switches[same].mean() == pytest.approx(2 * k * (n - k) / n)
        assert negative_recency(series[same]).expected == pytest.approx(
            2 * k * (n - k) / n / (n - 1)
        )
        if 1 < k < n - 1:
            variance = 2 * k * (n - k) * (2 * k * (n - k) - n) / (n**2 * (n - 1))
            assert counts.switches[same].var() == pytest.approx(variance)


@pytest.mark.parametrize("n", [3, 7, 10])
def test_exact_p_values_are_shares_of_all_orders(n):
    series = every(n)
    counts = count(series)
    statistics = {
        "independence": (independence(series, exact=True), lambda test: test.statistic),
        "runs": (runs(series), lambda test: np.abs(test.statistic)),
        "recency": (negative_recency(series).corrected, lambda test: test.statistic),
    }
    for test, extremeness in statistics.values():
        extreme = np.nan_to_num(extremeness(test), nan=-np.inf)
        for place in np.flatnonzero(~np.isnan(test.p_value)):
            orders = extreme[counts.ones == counts.ones[place]]
            wanted = np.mean(orders >= extreme[place] - 1e-9)
            assert test.p_value[place] == pytest.approx(wanted)
    switches = counts.switches
    wanted = [(switches >= one).mean() for one in switches]
    assert negative_recency(series).fair.p_value == pytest.approx(wanted)


@pytest.mark.parametrize(("up", "down", "start"), [(0.5, 0.5, 0.5), (0.2, 0.7, 0.9), (1, 0.3, 0)])
def test_power_is_the_sum_over_all_series(up, down, start):
    series = every(11)
    chances = np.where(series[:, 0] == 1, start, 1 - start).astype(float)
    steps = np.array([[1 - up, up], [down, 1 - down]])
    for t in range(10):
        chances *= steps[series[:, t], series[:, t + 1]]
    recency = negative_recency(series)
    tests = {
        "uniformity": uniformity(series),
        "independence": independence(series),
        "runs": runs(series),
        "recency": recency.fair,
        "recency, corrected": recency.corrected,
    }
    wanted = {name: chances[test.p_value <= 0.1].sum() for name, test in tests.items()}
    found = exact_power(11, up, down, start=start, alpha=0.1)
    assert found == pytest.approx(wanted)
    assert chances.sum() == pytest.approx(1)
    always = exact_power(11, up, down, start=start, alpha=1.0)
    assert always["uniformity"] == pytest.approx(1)


def test_run_lengths_of_all_series():
    found = [run_lengths(series, 8) for series in every(7)]
    assert np.mean([one.seen for one in found], axis=0) == pytest.approx(found[0].expected)
    long = run_lengths(np.arange(10_000) % 2, 4).expected
    assert long / 5000 == pytest.approx(0.5 ** np.arange(1, 5), abs=1e-3)


def test_the_recency_curve_of_a_skewed_coin_is_not_flat():
    p, n = 0.7, 10
    series = every(n)
    chances = p ** series.sum(axis=1) * (1 - p) ** (n - series.sum(axis=1))
    cases, differs = np.zeros(4), np.zeros(4)
    for one, chance in zip(series, chances, strict=True):
        curve = recency_curve(one, longest=4)
        cases += chance * curve.cases
        differs += chance * curve.cases * np.nan_to_num(curve.differs)
    wanted = recency_curve([1] * 7 + [0] * 3, longest=4).memoryless  # a share of 0.7
    assert differs / cases == pytest.approx(wanted)
    assert (np.diff(wanted) < 0).all()
    assert recency_curve([0, 1], longest=3).memoryless.tolist() == [0.5] * 3


def test_the_recency_curve_counts_within_calls():
    curve = recency_curve([0, 0, 0, 1], [1, 1], longest=4)
    assert curve.cases.tolist() == [4, 2, 1, 0]
    assert curve.differs[:3].tolist() == [0.25, 0.5, 1.0]
    assert np.isnan(curve.differs[3])


# --- order ----------------------------------------------------------------------------------------


def test_the_order_statistic_is_zero_on_an_exact_product():
    pairs = np.array([[6.0, 4.0], [2.0, 8.0]])  # of ij and jk
    counts = np.empty((2, 2, 2))
    for i, j, k in itertools.product(range(2), repeat=3):
        counts[i, j, k] = pairs[i, j] * pairs[j, k]
    statistic, freedom = order_statistic(counts)
    assert statistic == pytest.approx(0, abs=1e-12)
    assert freedom == 2


def test_order_one_is_the_likelihood_ratio_of_the_table():
    series = draw_chain(20, 60, 0.3, 0.4, rng=1)
    found = markov_order(series, 1)
    for one, statistic, p_value in zip(series, found.statistic, found.p_value, strict=True):
        wanted = chi2_contingency(count(one).pairs, correction=False, lambda_="log-likelihood")
        assert (statistic, p_value) == pytest.approx((wanted.statistic, wanted.pvalue))


def test_order_two_is_summed_over_what_is_between():
    series = draw_chain(5, 80, 0.4, 0.5, rng=2)
    for one in series:
        total = 0.0
        for middle in (0, 1):
            table = np.zeros((2, 2))
            for i, j, k in zip(one, one[1:], one[2:], strict=False):
                table[i, k] += j == middle
            total += chi2_contingency(table, False, "log-likelihood").statistic
        assert markov_order(one, 2).statistic == pytest.approx(total)


def test_a_memory_of_two_is_found_by_the_second_order_alone():
    rng = np.random.default_rng(3)
    first = rng.integers(2, size=(500, 400))
    for t in range(2, 400):  # the same as two steps back, more often than not
        first[:, t] = np.where(rng.random(500) < 0.7, first[:, t - 2], 1 - first[:, t - 2])
    assert np.mean(markov_order(first, 2).p_value <= 0.05) > 0.99
    assert np.mean(independence(first).p_value <= 0.05) < 0.2
    fair = rng.integers(2, size=(5000, 400))
    assert np.mean(markov_order(fair, 2).p_value <= 0.05) == pytest.approx(0.05, abs=0.01)


# --- size and power -------------------------------------------------------------------------------


def test_size_on_a_fair_coin():
    series = draw_chain(8000, 500, 0.5, 0.5, rng=4)
    for exact in (None, False):
        for rate in rejected(series, exact=exact).values():
            assert rate == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(("share", "n"), [(0.3, 200), (0.43, 500)])
def test_size_of_the_tests_of_memory_on_a_skewed_coin(share, n):
    series = draw_chain(8000, n, share, 1 - share, rng=5)
    found = rejected(series)
    for name in ("independence", "runs", "recency, corrected"):
        assert found[name] == pytest.approx(0.05, abs=0.01)
    assert found["recency"] < 0.03  # skew hides switching


@pytest.mark.parametrize(("up", "down"), [(0.5, 0.5), (0.43, 0.57), (0.6, 0.6), (0.35, 0.5)])
def test_simulated_power_is_the_computed_one(up, down):
    computed = exact_power(120, up, down)
    simulated = rejected(draw_chain(8000, 120, up, down, rng=6))
    for name, power in computed.items():
        assert simulated[name] == pytest.approx(
            power, abs=4 * np.sqrt(power * (1 - power) / 8000) + 1e-9
        )


@pytest.mark.parametrize(
    ("up", "down", "wanted"),
    [
        (0.985, 0.015, (1.00, None, 0.00)),
        (0.43, 0.57, (0.88, 0.05, 0.02)),
        (0.6, 0.6, (0.02, 0.996, 0.998)),
        (0.4, 0.4, (0.12, 0.99, 0.00)),
    ],
)
def test_fairness_memory_and_switching_are_separate(up, down, wanted):
    found = rejected(draw_chain(2000, 500, up, down, rng=7), exact=False)
    for name, rate in zip(("uniformity", "independence", "recency"), wanted, strict=True):
        assert rate is None or found[name] == pytest.approx(rate, abs=0.025)


# --- shares and temperature -----------------------------------------------------------------------


def test_intervals_of_shares():
    low, high = share_interval([0, 43, 100], 100)
    for place, k in enumerate((0, 43, 100)):
        wanted = binomtest(k, 100).proportion_ci(method="wilson")
        assert (low[place], high[place]) == pytest.approx((wanted.low, wanted.high))
    one, other = [1] * 56 + [0] * 14, [1] * 48 + [0] * 32
    found = compare_shares(one, other)  # the example of Newcombe (1998), method 10
    assert found[:3] == pytest.approx((0.2, 0.0524, 0.3339), abs=6e-5)
    assert compare_shares(other, one)[:3] == pytest.approx((-0.2, -0.3339, -0.0524), abs=6e-5)


def test_transitions_are_counted_within_calls():
    found = transitions([0, 1, 1, 0], [1, 1])
    assert found.pairs.tolist() == [[0, 1], [1, 2]]
    assert found.yes_after == pytest.approx([1, 2 / 3])
    assert found.dependence.difference == pytest.approx(2 / 3 - 1)


def test_temperature_divides_the_logit():
    share = [1 / (1 + np.exp(-answer_logit(1, 0, t))) for t in (1, 0.5)]
    assert share == pytest.approx([0.731059, 0.880797], abs=5e-7)
    temperatures = np.array([0.2, 0.7, 1.0, 1.5, 1e6])
    logits = [answer_logit(2.0, -0.5, t) for t in temperatures]
    assert logits * temperatures == pytest.approx(np.full(5, 2.5))
    assert temperature_line(temperatures, logits) == pytest.approx((2.5, 0, 0), abs=1e-9)
    weighted = temperature_line([1, 2, 4], [1, 0.5, 9], [1, 1, 0])
    assert (weighted.slope, weighted.intercept) == pytest.approx((1, 0))


def test_spellings_are_added_up_before_they_are_compared():
    yes, no = np.log([0.2, 0.2]), np.log([0.1])
    assert answer_logit(yes, no) == pytest.approx(np.log(4))
    assert answer_logit(yes, no, 0.5) == pytest.approx(np.log(8))  # 2 x 0.2^2 against 0.1^2


def test_logits_of_counts_stay_finite():
    logit, weight = empirical_logit([0, 5, 10], 10)
    assert logit == pytest.approx([-np.log(21), 0, np.log(21)])
    assert weight[1] > weight[0] == pytest.approx(weight[2])


# --- several calls --------------------------------------------------------------------------------


def test_calls_of_one_length_are_pooled():
    calls = draw_chain(30, 50, 0.55, 0.5, rng=8)
    found = combine_calls(calls)
    ones, switches = calls.sum(), count(calls).switches.sum()
    assert found.uniformity.statistic == pytest.approx((2 * ones - 1500) / np.sqrt(1500))
    assert found.recency.statistic == pytest.approx((2 * switches - 30 * 49) / np.sqrt(30 * 49))
    assert found.independence.statistic == pytest.approx(independence(calls).statistic.sum())
    each = np.column_stack([calls.sum(axis=1), 50 - calls.sum(axis=1)])
    wanted = chi2_contingency(each, correction=False)
    assert (found.between.statistic, found.between.p_value) == pytest.approx(
        (wanted.statistic, wanted.pvalue)
    )


def test_longer_calls_weigh_more_and_undefined_ones_nothing():
    calls = [[1] * 5, [0, 1] * 20, [0, 1, 1, 0, 1, 0, 0, 1]]
    found = combine_calls(calls)
    assert found.uniformity.statistic == pytest.approx(5 / np.sqrt(53))
    defined = combine_calls(calls[1:])
    assert found.independence.statistic == pytest.approx(defined.independence.statistic)
    assert found.corrected.statistic == pytest.approx(defined.corrected.statistic)
    assert found.corrected.reason
    assert np.isnan(combine_calls([[1, 1]]).independence.p_value)
    assert combine_calls([[0, 1, 1]]).between.reason == "there is one call"


def test_one_call_is_that_series():
    series = draw_chain(1, 80, 0.4, 0.5, rng=9)[0]
    found = combine_calls([series])
    plain = negative_recency(series, exact=False)
    assert found.recency.p_value == pytest.approx(float(plain.fair.p_value))
    assert found.corrected.p_value == pytest.approx(float(plain.corrected.p_value))
    assert found.independence.p_value == pytest.approx(float(independence(series).p_value))


def test_size_of_the_summed_test_on_short_skewed_calls():
    rng = np.random.default_rng(10)
    p_values = [
        combine_calls(
            draw_chain(6, 15, 0.2, 0.8, rng=rng), resamples=400, rng=rng
        ).independence.p_value
        for _ in range(400)
    ]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.025)


# --- many cells -----------------------------------------------------------------------------------


def test_holm_by_its_definition():
    rng = np.random.default_rng(11)
    for m in (1, 2, 7):
        p = rng.random(m) ** 3
        adjusted = holm(p)
        for alpha in (0.01, 0.05, 0.2, 0.9):
            order, kept = np.argsort(p), set()
            for step, place in enumerate(order):
                if p[place] > alpha / (m - step):
                    break
                kept.add(place)
            assert {place for place in range(m) if adjusted[place] <= alpha} == kept
    assert np.isnan(holm([np.nan, 0.2])[0])
    assert holm([np.nan, 0.2])[1] == 0.2


def test_an_audit_tells_the_three_properties_apart():
    streams = {
        "fair": (0.5, 0.5, (True, True, False)),
        "skewed": (0.97, 0.03, (False, True, False)),
        "switches": (0.7, 0.7, (True, False, True)),
        "lingers": (0.3, 0.3, (True, False, False)),
    }
    cells = [
        Cell(draw_chain(1, 900, up, down, rng=12), model=name, invalid=100)
        for name, (up, down, _) in streams.items()
    ]
    for record in audit(cells, order=2):
        wanted = streams[record.cell.model][2]
        found = (record.uniform, record.markov_independent, record.negative_recency)
        assert found == wanted, record.cell.model
        assert record.invalid_rate == 0.1
        assert {"uniformity", "independence", "order 2", "recency, corrected"} <= {*record.tests}


def test_an_audit_corrects_for_all_that_it_decides():
    cells = [Cell(draw_chain(1, 100, 0.6, 0.4, rng=seed)) for seed in range(10)]
    records = audit(cells)
    deciding = ("uniformity", "independence", "recency, corrected")
    findings = [record.tests[name] for record in records for name in deciding]
    wanted = holm([one.p_value for one in findings])
    assert [one.adjusted for one in findings] == pytest.approx(wanted)
    assert np.isnan(records[0].tests["runs"].adjusted)


def test_an_audit_of_calls_with_many_answers():
    calls = draw_chain(40, 50, 0.7, 0.7, rng=14)
    [record] = audit([Cell(calls, "few_shot")], order=2)
    assert (record.uniform, record.markov_independent, record.negative_recency) == (
        True,
        False,
        True,
    )
    assert record.answers == 2000
    assert record.tests["between calls"].statistic == pytest.approx(
        float(combine_calls(calls).between.statistic)
    )
    [constant] = audit([Cell([[1] * 9])])
    assert (constant.uniform, constant.markov_independent) == (False, None)
    assert constant.tests["independence"].reason
    with pytest.raises(ValueError, match="one series"):
        Cell(calls)


# --- asking ---------------------------------------------------------------------------------------


def test_prompts_say_what_is_wanted():
    assert "random" not in one_shot_prompt()
    assert "random" in one_shot_prompt(randomly=True)
    assert "50" in few_shot_prompt(50)
    assert "random" not in few_shot_prompt(50)
    assert "random" in few_shot_prompt(50, randomly=True)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("yes", 1), (" NO!\n", 0), ("Yes, I do", 1), ('"no"', 0), ("nope", None), ("Well, yes", None)],
)
def test_an_answer_is_its_first_word(text, answer):
    assert parse_answer(text) == answer


def test_a_reply_is_read_line_by_line():
    reply = "Yes or no, as you asked:\n\n1. yes\n2) **No**\n- YES\n4: maybe\nno, yes , no\n7\n"
    found = parse_answers(reply)
    assert found.decisions.tolist() == [1, 0, 1, 0, 1, 0]
    assert found.invalid == 2
    assert parse_answers("").decisions.tolist() == []
