"""What a report says, against brute force; and that it is one safe file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from report_cases import HOSTILE, choose, make_pool, write_run

from samplewise import Pool
from samplewise.errors import InputError
from samplewise.report import render, summarise
from samplewise.report.comparison import verdict_of
from samplewise.report.picture import principal_axes


def measures_of(report):
    return {row["key"]: row for row in report["comparison"]["measures"]}


def html_of(folder):
    return render(folder).read_text(encoding="utf-8")


# --- the figures ------------------------------------------------------------------------------


def test_figures_of_the_choice_match_brute_force():
    pool = make_pool()
    picks = np.arange(0, 300, 9)
    found = measures_of(summarise(choose(pool, picks), seconds={}))
    gaps = np.linalg.norm(pool.embeddings[:, None] - pool.embeddings[None, picks], axis=2)
    unit = pool.embeddings / np.linalg.norm(pool.embeddings, axis=1, keepdims=True)
    shares = np.bincount(picks % 5) / len(picks)
    expected = {
        "mean_score": pool.score[picks].mean(),
        "mean_nearest": gaps.min(axis=1).mean(),
        "p90_nearest": np.quantile(gaps.min(axis=1), 0.9),
        "facility_location": (unit @ unit[picks].T).max(axis=1).mean(),
        "cluster_entropy": -(shares * np.log(shares)).sum() / np.log(5),
        "distinct_sources": 5,
        "distinct_labels": 2,
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key]["chosen"] == pytest.approx(value, rel=1e-5), key


def test_vectors_of_length_one_give_the_same_facility_location():
    pool = make_pool()
    unit = pool.embeddings / np.linalg.norm(pool.embeddings, axis=1, keepdims=True)
    found = [
        measures_of(summarise(choose(pool.with_embeddings(scale * unit), range(20)), seconds={}))
        for scale in (1, 2)
    ]
    rows = [figures["facility_location"] for figures in found]
    assert rows[0]["chosen"] == pytest.approx(rows[1]["chosen"], abs=1e-6)
    assert rows[0]["low"] == pytest.approx(rows[1]["low"], abs=1e-6)


def test_the_interval_holds_19_random_choices_in_20():
    pool = make_pool(n=400)
    inside = []
    for seed in range(60):
        picks = np.random.default_rng(1000 + seed).choice(400, 30, replace=False)
        found = measures_of(summarise(choose(pool, picks), seconds={}, rng=seed))
        inside += [found[key]["verdict"] == "same" for key in ("mean_score", "mean_nearest")]
    assert 0.88 <= np.mean(inside) <= 1


def test_the_random_rival_is_not_the_choice_of_the_same_seed(monkeypatch):
    pool = make_pool()
    picks = np.random.default_rng(0).choice(300, size=30, replace=False)
    drawn = []

    def spy(pool, indices, groups, rng):
        drawn.append(rng.choice(300, size=30, replace=False))
        return {"measures": []}

    monkeypatch.setattr("samplewise.report.selection.compare", spy)
    summarise(choose(pool, picks), seconds={}, rng=0)
    assert drawn[0].tolist() != picks.tolist()


def test_noise_of_a_sample_is_counted(monkeypatch):
    pool = make_pool(n=2000, d=3)
    whole = measures_of(summarise(choose(pool, range(50)), seconds={}))
    monkeypatch.setattr("samplewise.report.comparison._WORK", 0)
    report = summarise(choose(pool, range(50)), seconds={})
    part = measures_of(report)
    assert report["comparison"]["reference"] == 500
    for key in ("mean_nearest", "p90_nearest", "facility_location"):
        wide, narrow = part[key], whole[key]
        assert wide["low"] <= narrow["chosen"] <= wide["high"]


def test_many_chosen_rows_are_compared_by_a_sample(monkeypatch):
    monkeypatch.setattr("samplewise.report.comparison._MOST_PICKS", 20)
    report = summarise(choose(make_pool(), range(100)), seconds={})
    assert report["comparison"]["picks"] == 20
    assert measures_of(report)["mean_nearest"]["verdict"] == "same"


def test_a_better_choice_is_called_better_and_a_worse_one_worse():
    pool = make_pool(vectors=False)
    order = np.argsort(pool.score)
    for picks, verdict in ((order[-30:], "better"), (order[:30], "worse")):
        assert (
            measures_of(summarise(choose(pool, picks), seconds={}))["mean_score"]["verdict"]
            == verdict
        )


def test_it_says_so_when_the_choice_does_not_beat_random():
    pool = make_pool(vectors=False)
    picks = np.argsort(pool.score)[:30]
    verdict = summarise(choose(pool, picks), seconds={})["verdict"]
    assert verdict["kind"] == "worse"
    assert "does not beat a random one" in verdict["text"]
    assert "worse on: mean score" in verdict["text"]


@pytest.mark.parametrize(
    ("verdicts", "kind"),
    [
        ("bb", "better"),
        ("bs", "better"),
        ("bw", "mixed"),
        ("ss", "same"),
        ("sw", "worse"),
        ("", "none"),
    ],
)
def test_verdict_of_measures(verdicts, kind):
    names = {"b": "better", "s": "same", "w": "worse"}
    rows = [{"title": f"Measure {i}", "verdict": names[v]} for i, v in enumerate(verdicts)]
    assert verdict_of("kmeans-random", rows, False)["kind"] == kind
    assert verdict_of("random", rows, False)["kind"] == ("random" if rows else "none")
    assert verdict_of("random", rows, True)["kind"] == "all"


def test_same_seed_same_report():
    pool = make_pool()
    first, again, other = (
        json.dumps(summarise(choose(pool, range(30)), seconds={"a": 1.0}, rng=rng))
        for rng in (1, 1, 2)
    )
    assert first == again != other


def test_principal_axes_match_the_exact_ones():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 40)) * np.linspace(5, 1, 40)).astype(np.float32)
    _, axes, explained = principal_axes(vectors, rng)
    _, sizes, turn = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    assert np.abs((axes * turn[:2]).sum(axis=1)) == pytest.approx([1, 1], abs=0.02)
    assert explained == pytest.approx(sizes[:2] ** 2 / (sizes**2).sum(), rel=0.01)


def test_the_map_draws_a_bounded_sample_with_chosen_rows_on_top():
    pool = Pool.from_arrays(np.random.default_rng(0).normal(size=(8000, 3)))
    points = summarise(choose(pool, range(2000)), seconds={})["map"]
    assert len(points["x"]) == len(points["y"]) == 4500
    assert points["chosen"] == [False] * 3000 + [True] * 1500
    assert all(
        (row < 2000) == flag for row, flag in zip(points["row"], points["chosen"], strict=True)
    )


def test_groups_are_the_clusters_largest_first():
    pool = make_pool()
    cluster = np.repeat(np.arange(60), np.r_[np.full(59, 2), 300 - 118])
    picks = np.array([299, 298, 0])
    groups = summarise(choose(pool, picks, {"cluster": cluster}), seconds={})["groups"]
    assert (groups["kind"], groups["total"], groups["covered"]) == ("cluster", 60, 2)
    assert len(groups["rows"]) == 50
    first = groups["rows"][0]
    assert (first["name"], first["size"], first["chosen"]) == ("59", 182, 2)
    assert first["share"] == pytest.approx(2 / 182)
    assert first["mean_score"] == pytest.approx(pool.score[cluster == 59].mean())
    assert [text[:7] for text in first["texts"]] == ["row 298", "row 299"]


def test_groups_fall_back_on_source_then_label_then_none():
    for keys, kind in ((("source", "label"), "source"), (("label",), "label")):
        rows = [{"text": f"t{i}", **dict.fromkeys(keys, str(i % 2))} for i in range(10)]
        rows[0] = {"text": "t", **dict.fromkeys(keys)}
        report = summarise(choose(Pool.from_rows(rows), [0, 1]), seconds={})
        assert report["groups"]["kind"] == kind
        assert "(none)" in [row["name"] for row in report["groups"]["rows"]]
    report = summarise(choose(Pool.from_rows([{"text": "a"}, {"text": "b"}]), [0]), seconds={})
    assert report["groups"] is None
    assert report["verdict"]["kind"] == "none"


def test_rounds_average_what_the_method_kept():
    pool = make_pool()
    number = np.full(300, -1)
    number[:10], number[10:30] = 0, 1
    gain = np.where(number == 0, 1.0, np.nan)
    report = summarise(choose(pool, range(30), {"round": number, "gain": gain}), seconds={})
    assert [row["rows"] for row in report["rounds"]["rows"]] == [10, 20]
    assert [row["means"]["gain"] for row in report["rounds"]["rows"]] == [1.0, None]
    shares = np.sum([band["shares"] for band in report["rounds"]["shares"]], axis=0)
    assert shares == pytest.approx([1, 1])


def test_weights_are_summed_up_only_where_they_differ():
    pool = make_pool()
    assert summarise(choose(pool, [0, 1]), seconds={})["weights"] is None
    weights = summarise(choose(pool, [0, 1], weights=[1.0, 3.0]), seconds={})["weights"]
    assert weights == {"lowest": 1, "median": 2, "highest": 3, "effective": pytest.approx(1.6)}


# --- the edges --------------------------------------------------------------------------------


def edge_cases():
    texts = [{"text": f"row {i}"} for i in range(6)]
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    yield "one row", Pool.from_rows(texts[:1]).with_embeddings(vectors[:1]), [0], {}
    yield "all chosen", make_pool(), np.arange(300), {}
    yield "duplicates", Pool.from_arrays(np.ones((50, 4)), text=["same"] * 50), [0, 1], {}
    yield "chosen twice", make_pool(), [4, 4, 4, 7], {}
    yield "no vectors", make_pool(vectors=False), [1, 2], {}
    yield "no texts", Pool.from_arrays(np.random.default_rng(0).normal(size=(20, 3))), [3, 5], {}
    yield "labels, no texts", Pool.from_arrays(vectors, y=list("aabbcc")), [3, 5], {}
    yield "one dimension", Pool.from_arrays(vectors[:, :1]), [0, 1], {}
    yield "zero vectors", Pool.from_arrays(np.zeros((5, 2))), [0], {}
    yield "scores missing", Pool.from_arrays(vectors, score=[1, np.nan, 2, 3, 4, 5]), [1], {}
    yield "one score", Pool.from_arrays(vectors, score=np.ones(6)), [1, 2], {}
    yield "wide", Pool.from_arrays(np.random.default_rng(0).normal(size=(9, 3000))), [1], {}
    yield "unassigned", Pool.from_arrays(vectors), [1], {"cluster": np.array([-1, 0, 0, 1, 1, 1])}
    yield "float clusters", Pool.from_arrays(vectors), [1], {"cluster": np.array([0.0] * 6)}


@pytest.mark.parametrize(
    ("pool", "picks", "columns"), [pytest.param(*case[1:], id=case[0]) for case in edge_cases()]
)
def test_edges_give_json_and_a_page(tmp_path, pool, picks, columns):
    report = summarise(choose(pool, picks, columns), seconds={})
    json.dumps(report, allow_nan=False)
    page = html_of(write_run(tmp_path, report))
    assert report["verdict"]["text"] in page
    assert (report["map"] is None) == (pool.embeddings is None)
    for note in report["notes"]:
        assert note in page


def test_it_says_what_is_missing():
    notes = " ".join(summarise(choose(make_pool(vectors=False), [1]), seconds={})["notes"])
    assert "no map" in notes
    pool = Pool.from_arrays(np.eye(4))
    assert "no text" in " ".join(summarise(choose(pool, [1]), seconds={})["notes"])


def test_all_rows_chosen_differ_from_random_in_nothing():
    report = summarise(choose(make_pool(), np.arange(300)), seconds={})
    assert report["verdict"]["kind"] == "all"
    assert {row["verdict"] for row in report["comparison"]["measures"]} == {"same"}


# --- the page ---------------------------------------------------------------------------------


def test_hostile_text_stays_text(run_folder):
    page = html_of(run_folder)
    assert "alert(1)" in page
    for tag in ("<script>alert", "<img src=x", "<b>bold", "<!-- <b>"):
        assert tag not in page
    assert page.count("</script>") == page.count("<script") == 3


def test_hostile_run_record_stays_text(tmp_path):
    report = summarise(choose(make_pool(), range(5)), seconds={HOSTILE: 1.0})
    record = {"path": HOSTILE, "hash": HOSTILE}
    page = html_of(
        write_run(
            tmp_path, report, input=record, method=HOSTILE, knobs={HOSTILE: HOSTILE}, budget=HOSTILE
        )
    )
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_the_page_asks_for_nothing(run_folder):
    page = html_of(run_folder)
    head = page[: page.index("<body>")]
    assert '<meta charset="utf-8">' in head
    assert "default-src 'none'" in head
    assert "http" not in head.replace("http-equiv", "")
    assert 'href="data:,"' in head


def test_rejected_rows_are_counted_and_the_first_100_shown(run_folder):
    page = html_of(run_folder)
    assert "120 could not be used; the first 100 are shown" in page
    assert page.count("<td>is empty</td>") == 100


@pytest.mark.parametrize("content", [None, ""])
def test_without_rejected_rows_there_is_no_such_table(tmp_path, content):
    folder = write_run(tmp_path, summarise(choose(make_pool(), range(5)), seconds={}))
    if content is not None:
        (folder / "rejected.jsonl").write_text(content)
    assert 'id="rejected"' not in html_of(folder)


def test_a_page_without_pictures_leaves_plotly_out(tmp_path):
    pool = Pool.from_rows([{"text": "a"}, {"text": "b"}])
    folder = write_run(tmp_path, summarise(choose(pool, [0]), seconds={}))
    assert render(folder).stat().st_size < 50_000


def test_an_almost_empty_run_still_renders(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "report.json").write_text("{}")
    assert "Samplewise" in html_of(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "report.json", "rejected.jsonl"])
def test_a_file_that_cannot_be_read_is_named(run_folder, name):
    (run_folder / name).write_text("{broken")
    with pytest.raises(InputError, match=name):
        render(run_folder)


def test_a_missing_file_is_named_with_the_mend(run_folder):
    (run_folder / "report.json").unlink()
    with pytest.raises(InputError, match=r"report\.json: no such file\n.*finished run"):
        render(run_folder)


def test_rendering_leaves_no_other_file(run_folder):
    before = {path.name for path in run_folder.iterdir()}
    render(run_folder)
    assert {path.name for path in run_folder.iterdir()} == before | {"report.html"}


def test_importing_the_report_loads_nothing_heavy():
    code = (
        "import sys, samplewise.report;"
        "heavy = {'pyarrow', 'plotly', 'faiss', 'sklearn', 'jinja2', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
