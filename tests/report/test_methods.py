"""The report on several methods: what it says, in plain words, and that it is one safe file."""

import json

import numpy as np
import pytest
from method_cases import FIGURES, contest, report_of, write_contest
from report_cases import HOSTILE

from samplewise.measure.elimination import additive_fit
from samplewise.report import render, summarise_methods
from samplewise.report.methods import draw_methods

CLEAR = {"good": 0.9, "fair": 0.7, "poor": 0.3, "random": 0.5}


def html_of(folder):
    return render(folder).read_text(encoding="utf-8")


# --- the figures ------------------------------------------------------------------------------


def test_rows_are_the_standings_of_the_race():
    race, runs = contest(CLEAR)
    report = summarise_methods(race, runs, figures=FIGURES, described={}, asked={})
    for row, standing in zip(report["methods"], race.standings(), strict=True):
        assert (row["method"], row["mean"], row["low"], row["high"], row["seeds"]) == (
            standing.name,
            standing.mean,
            standing.low,
            standing.high,
            standing.seeds,
        )
        assert row["seconds"] == 2.0
        # The second figure is the first one here: its mean must count missed seeds alike.
        assert row["others"]["loss"] == pytest.approx(row["mean"])


def test_what_was_saved():
    report = report_of(CLEAR, most=8)
    race, runs = contest(CLEAR, most=8)
    spent = report["spent"]
    assert (spent["runs"], spent["fixed"]) == (race.spent, 32)
    assert race.spent == len(runs) < 32
    assert spent["saved"] == pytest.approx(1 - race.spent / 32)
    assert spent["seconds"] == pytest.approx(2.5 * race.spent)
    assert spent["seconds_saved"] == pytest.approx(2.5 * (32 - race.spent))


def test_points_are_freed_of_what_a_seed_gives_to_all():
    race, runs = contest(CLEAR, eliminate=False, noise=0.0)
    report = summarise_methods(race, runs, figures=FIGURES, described={}, asked={})
    table = np.array([[r.figures["accuracy"] for r in runs if r.seed == s] for s in range(5)])
    means = dict(zip(CLEAR, additive_fit(table)[0], strict=True))
    for point in report["points"]:
        assert point["adjusted"] == pytest.approx(means[point["method"]])


# --- the words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "kind", "words"),
    [
        (CLEAR, "better", ["good is the best of 4 methods: it beats a random choice by"]),
        (CLEAR, "better", ["Worse than random: poor."]),
        (
            {"one": 0.9, "two": 0.9, "random": 0.5},
            "better",
            ["has the best mean, and beats a random choice by", "It cannot be told from"],
        ),
        (
            {"one": 0.501, "two": 0.5, "random": 0.5},
            "same",
            ["No method beats a random choice for certain"],
        ),
        (
            {"one": 0.1, "two": 0.2, "random": 0.9},
            "worse",
            [
                "No method has a better mean than a random choice.",
                "Worse than random: two and one.",
            ],
        ),
    ],
)
def test_the_verdict_in_words(means, kind, words):
    verdict = report_of(means, seed=3)["verdict"]
    assert verdict["kind"] == kind
    for part in words:
        assert part in verdict["text"]


def test_lower_can_be_better():
    figures = {"loss": ("Loss", "lower")}
    report = report_of({"good": 0.1, "poor": 1.7, "random": 0.9}, figures=figures)
    assert [row["method"] for row in report["methods"]] == ["good", "random", "poor"]
    assert report["methods"][0]["verdict"] == "better"
    assert (
        "good is the best of 3 methods: it beats a random choice by 0.8"
        in (report["verdict"]["text"])
    )
    assert "Worse than random: poor" in report["verdict"]["text"]


def test_it_says_when_what_is_left_does_not_matter():
    means = {"one": 0.9, "two": 0.899, "random": 0.2}
    text = report_of(means, most=9, indifference=0.1, asked={"indifference": 0.1})["verdict"][
        "text"
    ]
    assert "the difference is less than matters" in text


def test_a_method_that_scatters_more_is_named():
    rng = np.random.default_rng(0)
    race, _ = contest({"a": 0.5, "b": 0.5, "c": 0.5, "random": 0.5}, eliminate=False, noise=0.0)
    fresh = type(race)(race.names, 6, baseline="random", eliminate=False)
    for row in 0.5 + rng.normal(size=(6, 4)) * [0.5, 0.01, 0.01, 0.01]:
        fresh.tell(dict(zip(race.names, row, strict=True)))
    notes = summarise_methods(fresh, [], figures=FIGURES, described={}, asked={})["notes"]
    assert "The values of a scatter more" in notes[0]
    assert "--no-pooled" in notes[0]
    assert report_of(CLEAR)["notes"] == []


# --- the page ---------------------------------------------------------------------------------


def test_the_page_shows_it(tmp_path):
    described = {"good": {"title": "Good rows", "knobs": {"clusters": 64}}}
    report = report_of(CLEAR, most=8, described=described)
    page = html_of(write_contest(tmp_path, report))
    row = report["methods"][0]
    assert report["verdict"]["text"] in page
    assert "Good rows" in page
    assert "<code>clusters=64</code>" in page
    assert f"<strong>{row['mean']:.4g}</strong>" in page
    assert f"+{row['difference']:.4g}" in page
    assert "clearly behind good after" in page
    assert f"{report['spent']['runs']} runs were made where" in page
    assert "beats random" in page
    assert "worse than random" in page


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"eliminate": False}, "it was switched off"),
        ({"noise": 3.0}, "no method was clearly behind early enough"),
    ],
)
def test_the_page_says_when_nothing_was_saved(tmp_path, knobs, words):
    page = html_of(write_contest(tmp_path, report_of(CLEAR, most=3, **knobs)))
    assert words in page


def test_it_is_json_and_renders_with_two_methods_and_two_seeds(tmp_path):
    report = report_of({"one": 0.0, "random": 0.0}, most=2, noise=0.0)
    json.dumps(report, allow_nan=False)
    assert "not told from random" in html_of(write_contest(tmp_path, report))


def test_hostile_names_stay_text(tmp_path):
    means = {f"{HOSTILE} 1": 0.9, HOSTILE: 0.5}
    described = {HOSTILE: {"title": HOSTILE, "knobs": {HOSTILE: HOSTILE}}}
    report = report_of(means, described=described, asked={"proxy": HOSTILE, "pool": HOSTILE})
    page = html_of(write_contest(tmp_path, report, seconds={HOSTILE: 1.0}))
    assert "alert(1)" in page
    for tag in ("<script>alert", "<img src=x", "<b>bold", "<!-- <b>"):
        assert tag not in page
    assert page.count("</script>") == page.count("<script") == 3


def test_an_almost_empty_report_still_renders(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "report.json").write_text('{"kind": "methods"}')
    assert "Samplewise" in html_of(tmp_path)


def test_the_picture_sets_bars_off_from_the_random_choice():
    report = report_of(CLEAR, most=8)
    figure = draw_methods(report)
    rows = {row["method"]: row for row in report["methods"]}
    line = figure["layout"]["shapes"][0]
    assert line["x0"] == line["x1"] == rows["random"]["mean"]
    dots, best, behind = figure["data"]
    assert len(dots["x"]) == report["spent"]["runs"]
    assert best["y"] == ["good"]
    assert set(behind["y"]) == {"fair", "random", "poor"}
    assert behind["marker"]["symbol"] == "circle-open"
    for trace in (best, behind):
        for i, name in enumerate(trace["y"]):
            low = trace["x"][i] - trace["error_x"]["arrayminus"][i]
            if name != "random":
                assert low - line["x0"] == pytest.approx(rows[name]["difference_low"])
    assert (
        figure["layout"]["yaxis"]["categoryarray"] == [r["method"] for r in report["methods"]][::-1]
    )
