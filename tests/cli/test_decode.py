"""`samplewise decode`, as a person and a pipe meet it."""

import json
import subprocess
import sys

import pytest

from samplewise.jobs.decoding import DecodeJob, run_decode
from tiny_models import save_model

COMMAND = [sys.executable, "-m", "samplewise"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def run(*arguments, code=0):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_prompt_from_the_command_to_the_report(model, tmp_path):
    out = tmp_path / "run"
    done = run("decode", "ab ab ab", "--model", model, "--max-tokens", "20", "--out", out)
    [row] = lines(out / "decoded.jsonl")
    assert row["text"] in done.stdout
    assert "20 tokens" in done.stdout
    assert f"report: {out / 'report.html'}" in done.stdout
    assert (out / "report.html").read_text().count("data-figure=") >= 1
    again = run("rerun", out, "--out", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["command"] == "decode"
    assert lines(tmp_path / "again" / "decoded.jsonl")[0]["ids"] == row["ids"]


def test_wrong_requests_are_one_message(model, tmp_path):
    out = ["--model", model, "--out", tmp_path / "run"]
    assert "nothing to decode" in run("decode", *out, code=2).stderr
    assert "no decode method" in run("decode", "a", "--draft", "x", *out, code=2).stderr
    assert "max_tokens" in run("decode", "a", "--max-tokens", "0", *out, code=2).stderr


def test_prompts_of_a_file_and_what_cannot_be_read(model, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "ab"}\nnot json\n{"prompt": "cd"}\n')
    job = DecodeJob(file=str(file), model=model, max_tokens=6, temperature=1.0, rng=3)
    record = run_decode(job, tmp_path / "run")
    rows = lines(tmp_path / "run" / "decoded.jsonl")
    assert [row["prompt"] for row in rows] == ["ab", "cd"]
    assert record["rejected"] == len(lines(tmp_path / "run" / "rejected.jsonl")) == 1
    assert record["totals"]["tokens"] == sum(row["tokens"] for row in rows)


def test_a_stopped_run_goes_on_where_it_was(model, tmp_path, monkeypatch):
    job = DecodeJob(
        prompts=["ab", "cd", "ef"], model=model, max_tokens=12, temperature=1.0, auto=False
    )
    whole = run_decode(job, tmp_path / "whole")
    from samplewise.decode.decoding import PromptDecoder

    decode, asked = PromptDecoder.decode, []

    def stopping(self, prompt, *rest):
        asked.append(prompt)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return decode(self, prompt, *rest)

    monkeypatch.setattr(PromptDecoder, "decode", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_decode(job, tmp_path / "stopped")
    run_decode(job, tmp_path / "stopped", resume=True)
    assert asked == ["ab", "cd", "cd", "ef"]
    ids = [
        [row["ids"] for row in lines(tmp_path / name / "decoded.jsonl")]
        for name in ("whole", "stopped")
    ]
    assert ids[0] == ids[1]
    assert run_decode(job, tmp_path / "whole", resume=True) == whole
