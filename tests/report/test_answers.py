"""The report on answers: its figures against values by hand, its limits, and hostile texts."""

import itertools
import json

import numpy as np
import pytest
from answer_cases import drawn, report_on, row, sample, write_answers
from report_cases import HOSTILE

from samplewise.measure.voting import majority
from samplewise.report import render, render_page


def test_totals_by_hand():
    rows = [
        row([sample(True), sample(False, "8")]),
        row([sample(False, "8", tokens=30), sample(True)]),
        row([sample(False, None), sample(False, None)], state="abstained", reason="no answer"),
        row([], state="failed", reason="the server is away"),
    ]
    totals = report_on(rows, price=(1.0, 2.0))["totals"]
    assert (totals["problems"], totals["right"], totals["wrong"]) == (4, 1, 1)
    assert (totals["abstained"], totals["failed"], totals["completions"]) == (1, 1, 6)
    assert (totals["tokens"], totals["prompt_tokens"], totals["sequential_tokens"]) == (80, 30, 50)
    assert totals["dollars"] == pytest.approx((30 * 1 + 80 * 2) / 1e6)
    assert totals["accuracy"] == 0.25
    # Wilson: with z = 1.96, (0.25 + z²/8 ± z √(0.25·0.75/4 + z²/64)) / (1 + z²/4)
    assert totals["interval"] == pytest.approx([0.045587, 0.699358], abs=1e-5)


def test_coverage_and_vote_by_hand():
    rows = [
        row([sample(True), sample(True), sample(False, "8")]),
        row([sample(True), sample(False, "8"), sample(False, "8")]),
        row([sample(False, "8"), sample(False, "9"), sample(False, None)]),
        row([sample(True)]),  # too short for a curve up to 3
    ]
    report = report_on(rows)
    curve = report["curve"]
    assert curve["k"] == [1, 2, 3]
    assert curve["mean"] == pytest.approx([1 / 3, (1 + 2 / 3) / 3, 2 / 3])
    assert curve["vote"][2] == pytest.approx(1 / 3)  # 7 7 8, 7 8 8 and no 7
    assert curve["vote"][0] == pytest.approx(1 / 3, abs=0.1)
    assert (curve["problems"], curve["left_out"]) == (3, 1)
    assert any("leave out 1 of 4" in note for note in report["notes"])
    assert curve["law"] is None  # of three points there is none


def test_votes_count_equal_answers_as_one():
    rows = [row([sample(True, "0.5"), sample(True, "1/2"), sample(False, "8"), sample(False, "8")])]
    alike = {"0.5", "1/2"}
    same = lambda a, b: a == b or {a, b} <= alike  # noqa: E731
    rows[0]["samples"].append(sample(True, "1/2"))
    apart = report_on([row([*rows[0]["samples"], sample(False, "8")])])
    joined = report_on([row([*rows[0]["samples"], sample(False, "9")])], same=same)
    assert apart["curve"]["vote"][-1] == 0
    assert joined["curve"]["vote"][-1] == 1


def test_a_fair_curve_has_a_law_that_says_how_far_to_trust_it():
    law = report_on(drawn(200, 64))["curve"]["law"]
    assert law["fitted_to"] == 64
    assert law["foretold"]["from"] <= 16
    assert [k for k, _ in law["ahead"]] == [128, 256]
    assert law["ahead"][0][1] <= law["ahead"][1][1] <= 1
    assert "extrapolated" in law["trust"]
    few = report_on(drawn(5, 8))["curve"]["law"]
    assert few is None or "5 problems" in few["trust"]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([row([sample(True), sample(False, finish="cancelled")])], {}, "cancelled"),
        ([row([sample(True)]), row([sample(False), sample(True)], 1)], {"adaptive": True}, "stop"),
        ([row([sample(True)]) | {"kept": None}], {}, "pieces"),
        ([row([], state="failed", reason="away")], {}, "no completion"),
        ([], {}, "no completion"),
    ],
)
def test_no_curve_where_it_would_mislead(rows, options, said, tmp_path):
    report = report_on(rows, **options)
    assert report["curve"] is None
    assert said in report["no_curve"]
    page = render(write_answers(tmp_path, report)).read_text()
    assert "There is no curve here" in page
    assert "Plotly" not in page


def test_all_failed_and_one_sample_render(tmp_path):
    failed = [
        row([sample(False, None, finish="failed", text="", error="gone")], state="failed")
    ] * 3
    page = render(write_answers(tmp_path / "a", report_on(failed))).read_text()
    assert "0 of 3 problems right" in page
    single = report_on([row([sample(True)]), row([sample(False, "8")])])
    assert single["curve"]["mean"] == [0.5]
    page = render(write_answers(tmp_path / "b", single)).read_text()
    assert "Each problem has one sample" in page
    assert "Plotly" not in page


def test_how_many_samples_pay(tmp_path):
    rows = [row([sample(True), sample(False, "8"), sample(False, "9")])] * 4
    # A sample reads 5 and draws 10 tokens; coverage is 1/3, 2/3 and 1.
    cheap = report_on(rows, price=(0, 1e5), value=10)["pays"]  # $1 a sample
    assert (cheap["samples"], cheap["all"]) == (3, True)
    assert cheap["cost_per_sample"] == pytest.approx(1)
    assert cheap["gain"] == pytest.approx(10 - 3)
    dear = report_on(rows, price=(0, 1e5), value=2)
    assert dear["pays"]["samples"] == 0
    page = render(write_answers(tmp_path, dear)).read_text()
    assert "None:" in page
    assert "at $1.00 a sample and $2.00 a solved problem" in page
    assert report_on(rows, price=(0, 1e5))["pays"] is None
    assert report_on(rows, value=2)["pays"] is None


def test_texts_are_escaped(tmp_path):
    rows = drawn(4, 8, text=HOSTILE)
    for one in rows:
        one |= {"id": HOSTILE, "question": HOSTILE, "gold": HOSTILE, "reason": HOSTILE}
        one["samples"][0] |= {"answer": HOSTILE, "thinking": HOSTILE, "error": HOSTILE}
    report = report_on(
        rows, strategy=HOSTILE, model=HOSTILE, verifier=HOSTILE, knobs={"k": HOSTILE}
    )
    page = render(write_answers(tmp_path, report)).read_text()
    assert "<script>alert" not in page
    assert "<img" not in page.split('<script type="application/json"')[0]
    assert "&lt;script&gt;alert(1)" in page


def test_the_page_holds_only_so_much(tmp_path):
    rows = drawn(250, 70, text="x" * 5_000)
    for one in rows:
        one["kept"] = 69
    report = report_on(rows)
    assert len(report["problems"]) == 200
    samples = report["problems"][0]["samples"]
    assert len(samples) == 64
    assert (samples[-1]["place"], samples[-1]["kept"]) == (69, True)
    page = render(write_answers(tmp_path, report)).read_text()
    assert "the first 200 of 250 problems, at most 64 samples of each" in page
    assert "answers.jsonl" in page
    assert len(page) < 25_000_000
    few = report_on(rows[:1])
    assert few["shown"]["characters"] == 4_000
    assert "more characters" in few["problems"][0]["samples"][0]["text"]


def test_the_summary_is_plain_json_and_the_same_each_time():
    rows = drawn()
    report = report_on(rows, price=(1, 2), value=1)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report == report_on(rows, price=(1, 2), value=1)


def test_scores_that_are_no_number_are_left_out():
    one = sample(True) | {"score": float("-inf")}
    assert report_on([row([one])])["problems"][0]["samples"][0]["score"] is None


def test_a_page_of_an_empty_run_is_whole():
    assert "0 of 0 problems right" in render_page({}, report_on([]))


def test_the_vote_of_some_samples_is_that_of_all_their_subsets():
    rows = drawn(6, 5, seed=3)
    rows[0]["samples"][1]["answer"] = None
    curve = report_on(rows)["curve"]
    shares = []
    for one in rows:
        samples = one["samples"]
        orders = list(itertools.permutations(range(5), 3))
        picks = [majority([samples[i]["answer"] for i in order]) for order in orders]
        right = [
            pick is not None and samples[order[pick]]["correct"]
            for pick, order in zip(picks, orders, strict=True)
        ]
        shares.append(np.mean(right))
    assert curve["k"][2] == 3
    assert curve["vote"][2] == pytest.approx(np.mean(shares), abs=0.05)


def test_a_tree_of_samples_is_shown_with_each_below_what_it_came_from(tmp_path):
    plan = sample(False, None, text="Add them.", kind="plan", remarks={"feed_back": HOSTILE})
    other = sample(False, None, text="Guess.", kind=HOSTILE)
    samples = [
        plan,
        other,
        sample(True, text="by sum", parents=[0]),
        sample(False, "8", text="by guess", parents=[1, 0]),
        sample(True, text="again", parents=[2]),
    ]
    report = report_on([row(samples, 2), row(samples, 4)])
    [shown, _] = report["problems"]
    assert [(one["place"], one["depth"]) for one in shown["samples"]] == [
        (0, 0),
        (2, 1),
        (4, 2),
        (1, 0),
        (3, 1),
    ]
    assert (shown["right"], shown["count"]) == (2, 3)
    assert report["curve"]["samples"] == 3  # plans are no samples
    page = render(write_answers(tmp_path, report)).read_text()
    assert "sample 4, from 2, 1" in page
    assert "feed back" in page
    assert "<script>alert" not in page
