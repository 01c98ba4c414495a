"""Loops compared at equal cost over seeds, in a run folder that can be taken up again."""

import dataclasses

import orjson
import pytest

from samplewise.errors import UsageError
from samplewise.jobs.rerun import rerun
from samplewise.jobs.training_comparison import LoopsJob, run_compare_training
from samplewise.measure.elimination import Race

RAFT = "raft:problems=4:samples=4:warm_up=2"
GRPO = "grpo:problems=4:samples=4:warm_up=2"
JOB = LoopsJob(loops=[RAFT, GRPO], task={"problems": 40, "test": 10}, steps=3, seeds=2)


def report(folder):
    return orjson.loads((folder / "report.json").read_bytes())


def trainings(folder):
    return sorted((folder / "trainings").glob("*/*"))


def history(folder):
    return [orjson.loads(line) for line in (folder / "history.jsonl").read_bytes().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "run"
    run_compare_training(JOB, folder)
    return folder


def test_every_loop_and_its_plain_way_cost_the_same_in_every_seed(run):
    assert len(trainings(run)) == 3 * 2
    spent = {folder: sum(row["flops"] for row in history(folder)) for folder in trainings(run)}
    reference = spent[run / "trainings" / RAFT.replace(":", "-") / "0"]
    for folder, value in spent.items():
        assert 0 <= value - reference < max(row["flops"] for row in history(folder))
    rows = report(run)["methods"]
    assert {row["method"] for row in rows} == {RAFT, GRPO, "imitation"}
    assert [row["method"] for row in rows if row["verdict"] == "baseline"] == ["imitation"]


def test_differences_are_those_of_a_race_over_the_seeds(run):
    held = {
        name: [
            orjson.loads((run / "trainings" / place / f"{seed}" / "held-out.json").read_bytes())
            for seed in range(2)
        ]
        for name, place in ((RAFT, RAFT.replace(":", "-")), ("imitation", "imitation"))
    }
    values = {
        name: [sum(one["accuracy"]) / len(one["accuracy"]) for one in each]
        for name, each in held.items()
    }
    row = next(row for row in report(run)["methods"] if row["method"] == RAFT)
    away = [mine - other for mine, other in zip(values[RAFT], values["imitation"], strict=True)]
    assert row["difference"] == pytest.approx(sum(away) / 2)
    assert row["mean"] == pytest.approx(sum(values[RAFT]) / 2)


def test_seeds_differ_and_are_repeated(run, tmp_path):
    first, second = (history(folder) for folder in trainings(run)[:2])
    assert first[0]["loss"] != second[0]["loss"]
    rerun(run, tmp_path / "again")
    for one, other in zip(trainings(run), trainings(tmp_path / "again"), strict=True):
        losses = [[row["loss"] for row in history(folder)] for folder in (one, other)]
        assert losses[0] == losses[1]


def test_a_stopped_comparison_trains_no_loop_again(tmp_path, monkeypatch):
    tell = Race.tell

    def stop(race, values):
        tell(race, values)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Race, "tell", stop)
        with pytest.raises(KeyboardInterrupt):
            run_compare_training(JOB, tmp_path / "run")
    done = trainings(tmp_path / "run")
    before = {folder: (folder / "history.jsonl").read_bytes() for folder in done}
    assert len(before) == 3
    run_compare_training(JOB, tmp_path / "run", resume=True)
    assert len(trainings(tmp_path / "run")) == 6
    for folder, content in before.items():  # seconds among it: no step was taken again
        assert (folder / "history.jsonl").read_bytes() == content


def test_the_report_names_the_plain_way(run):
    page = (run / "report.html").read_text()
    assert "From imitation" in page
    assert "random choice" not in page
    assert "the problems are the same" in page


def test_a_loop_that_is_named_as_plain_way_is_trained_once(tmp_path):
    job = dataclasses.replace(
        JOB,
        loops=[
            "length-control:warm_up=1",
            "length-control:warm_up=1:weight_short=0:weight_medium=0:weight_long=0",
        ],
        task={"problems": 30, "test": 4},
        steps=1,
    )
    run_compare_training(job, tmp_path / "run")
    rows = report(tmp_path / "run")["methods"]
    assert len(rows) == 2
    assert next(row for row in rows if row["verdict"] == "baseline")["method"] == job.loops[1]


def test_a_plain_way_takes_no_other_loops_name(tmp_path):
    spec = "raft++:problems=4:samples=4:warm_up=2"
    run_compare_training(dataclasses.replace(JOB, loops=[spec, "raft"], steps=1), tmp_path / "run")
    names = {row["method"] for row in report(tmp_path / "run")["methods"]}
    assert names == {spec, "raft", "raft:problems=4:samples=4:warm_up=2"}


def test_the_plain_way_of_a_kind_is_named_by_what_differs(tmp_path):
    job = dataclasses.replace(JOB, loops=["dco:warm_up=2:attempts=64:batch=4"], steps=2)
    run_compare_training(job, tmp_path / "run")
    rows = {row["method"]: row["verdict"] for row in report(tmp_path / "run")["methods"]}
    assert rows["confidence-limited:attempts=1.0"] == "baseline"
    assert report(tmp_path / "run")["asked"]["main"] == "pass@64"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loops": []}, "no loop"),
        ({"loops": ["imitation"]}, "nothing to be compared"),
        ({"loops": [RAFT, RAFT]}, "twice"),
        ({"loops": [RAFT, "none such"]}, "none such"),
        ({"loops": [RAFT, "infill-mixture"]}, "cannot learn"),
        ({"seeds": 1}, "two seeds"),
        ({"alpha": 0.7}, "alpha"),
        ({"steps": 0}, "steps"),
    ],
)
def test_wrong_requests_are_told(tmp_path, changed, words):
    with pytest.raises(UsageError, match=words):
        run_compare_training(dataclasses.replace(JOB, **changed), tmp_path / "run")
