"""`samplewise answer` and what goes with it, as a person and a pipe meet them."""

import json
import subprocess
import sys

import pytest

from stub_server import Plan, Served

COMMAND = [sys.executable, "-m", "samplewise"]


def run(*arguments, code=0):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in (2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_built_in_model_answers(problems, tmp_path):
    done = run("answer", problems, "--max-tokens", "8", "--out", tmp_path / "run")
    assert "single answered" in done.stdout
    assert "2 completions" in done.stdout
    assert done.stderr == ""
    assert [len(one["samples"]) for one in lines(tmp_path / "run" / "answers.jsonl")] == [1, 1]


def said(number, body):
    return Plan(tokens=("The answer", " is", f" {4 + body['seed'] % 2}"))


def test_answer_rerun_export_and_compare(problems, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    out = tmp_path / "run"
    with Served(said) as server:
        model = ["--model", f"endpoint:stub@{server.url}", "--verify", "regex:(\\d+)"]
        options = ["--strategy", "repeated", "--samples", "3", "--rng", "5"]
        done = run("answer", problems, *model, *options, "--out", out)
        assert "repeated answered" in done.stdout
        assert "6 completions" in done.stdout
        answers = lines(out / "answers.jsonl")
        assert [len(one["samples"]) for one in answers] == [3, 3]
        again = run("rerun", out, "--out", tmp_path / "again", "--json")
        assert json.loads(again.stdout)["command"] == "answer"
        assert lines(tmp_path / "again" / "answers.jsonl") == answers
        run("export", out, "--out", tmp_path / "samples.jsonl")
        for one, row in zip(answers, lines(tmp_path / "samples.jsonl"), strict=True):
            assert row["samples"] == [sample["text"] for sample in one["samples"]]
            assert row["is_corrects"] == [sample["correct"] for sample in one["samples"]]
            assert (row["question"], row["gt_answer"]) == (one["question"], one["gold"])
        duel = ["--strategies", "ffs:samples=2", "--tokens", "60", "--max-tokens", "20"]
        done = run("compare", "answer", problems, *model, *duel, "--out", tmp_path / "duel")
    assert "equal-tokens vote" in done.stdout
    assert "ffs:samples=2" in done.stdout
    report = json.loads((tmp_path / "duel" / "report.json").read_text())
    assert all(row["tokens"] <= 60 for row in report["strategies"])
    assert (tmp_path / "duel" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--budget", "$1"], 2, "price"),
        (["--budget", "100 tokens"], 2, "--max-tokens"),
        (["--budget", "10 tokens", "--max-tokens", "50"], 3, "budget"),
        (["--strategy", "nothing"], 2, "no answer method"),
        (["--set", "samples=0", "--strategy", "repeated"], 2, "samples"),
        (["--verify", "nothing"], 2, "no verifier"),
        (["--verify", "judge:"], 2, "write judge"),
        (["--question", "nothing"], 2, "nothing"),
        (["--value", "1"], 2, "--price"),
    ],
)
def test_a_request_that_makes_no_sense(problems, tmp_path, arguments, code, message):
    nowhere = ["--model", "endpoint:stub@http://127.0.0.1:9/v1"]
    done = run("answer", problems, *nowhere, *arguments, "--out", tmp_path / "run", code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_export_needs_answers(tmp_path):
    done = run("export", tmp_path, "--out", tmp_path / "samples.jsonl", code=2)
    assert "samplewise answer" in done.stderr
