"""`samplewise train`, as a person and a pipe meet it."""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "samplewise"]
KNOBS = ("problems=4", "samples=4", "warm_up=5")


def run(*arguments, code=0):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_loop_from_the_command_to_the_report(tmp_path):
    config = tmp_path / "job.toml"
    config.write_text("steps = 3\n[knobs]\nsamples = 2\n[task]\nproblems = 40\ntest = 10\n")
    out = tmp_path / "run"
    sets = [part for knob in KNOBS for part in ("--set", knob)]
    done = run("train", "raft", "--config", config, *sets, "--out", out)
    assert "8 steps, 48 draws" in done.stdout
    assert "held out, accuracy" in done.stdout
    assert "imitation at equal cost" in done.stdout
    assert done.stderr == ""
    assert (out / "report.html").read_text().count("data-figure=") >= 2
    record = json.loads(
        run("train", "raft", "--config", config, *sets, "--out", out, "--resume", "--json").stdout
    )
    assert record["knobs"]["samples"] == 4, "an option comes before the file"
    assert record["arguments"]["task"] == {"problems": 40, "test": 10}


def test_wrong_requests_are_one_message(tmp_path):
    out = ["--out", tmp_path / "run"]
    assert "no train method" in run("train", "x", *out, code=2).stderr
    assert "no such file" in run("train", "raft", "--config", "none.toml", *out, code=2).stderr
    assert "knob 'x'" in run("train", "raft", "--set", "x=1", *out, code=2).stderr


def test_loops_are_compared_from_the_command_to_the_report(tmp_path):
    config = tmp_path / "job.toml"
    config.write_text("steps = 2\n[task]\nproblems = 40\ntest = 10\n")
    loop = "raft:problems=4:samples=4:warm_up=2"
    ask = ["compare", "train", "--loops", loop, "--config", config, "--seeds", 2]
    done = run(*ask, "--out", tmp_path / "run")
    assert "from imitation" in done.stdout
    assert f"{loop} " in done.stdout
    assert done.stderr == ""
    assert "data-figure=" in (tmp_path / "run" / "report.html").read_text()
    record = json.loads(run(*ask, "--out", tmp_path / "run", "--resume", "--json").stdout)
    assert record["baseline"] == "imitation"
    assert {row["method"] for row in record["methods"]} == {loop, "imitation"}
    config.write_text("knobs = 3\n")
    assert "no such key" in run(*ask, "--out", tmp_path / "none", code=2).stderr
