"""Training in a run folder: from a configuration to a report, and through SIGKILL."""

import dataclasses
import json
import subprocess
import sys

import orjson
import pytest
import torch

from samplewise.errors import InputError, UsageError
from samplewise.jobs.rerun import rerun
from samplewise.jobs.training import TrainJob, read_config, run_train
from samplewise.ledger import Ledger
from samplewise.measure.paired import paired_difference
from tiny_models import save_model

JOB = TrainJob(
    loop="raft",
    knobs={"problems": 4, "samples": 4, "warm_up": 10},
    task={"problems": 40, "test": 10},
    steps=15,
    checkpoint_every=4,
    evaluate_every=10,
)

# Each run is a fork of one process that has loaded all it needs: a run takes a second, not five.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
from samplewise.jobs.training import TrainJob, run_train
import jinja2, samplewise.models.cache
from samplewise.train.policy import Policy

job, home = TrainJob(**json.loads(sys.argv[1])), Path(sys.argv[2])
Policy.small(rng=0)

def start(out):
    child = os.fork()
    if child == 0:
        run_train(job, out, resume=True)
        os._exit(0)
    return child

began = time.monotonic()
os.waitpid(start(home / "whole"), 0)
seconds = time.monotonic() - began
random.seed(2)
killed = 0
for moment in range(10):
    child = start(home / "killed")
    time.sleep(random.uniform(0.02, 0.15) * seconds)
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
os.waitpid(start(home / "killed"), 0)
print("killed", killed)
"""


def weights(folder, name=""):
    return torch.load(folder / name / "checkpoint.pt", weights_only=True)["parts"]


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def history(folder, name=""):
    lines = (folder / name / "history.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def draws(folder):
    with Ledger(folder / "ledger.sqlite") as ledger:
        return sorted(ledger.completions())


def test_killed_at_ten_moments_the_weights_are_the_same_to_the_last_bit(tmp_path):
    job = json.dumps(dataclasses.asdict(dataclasses.replace(JOB, steps=60)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, job, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5, "most runs ended before they were killed"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert same(weights(whole), weights(killed))
    assert history(whole) == history(killed)
    assert history(whole, "rival") == history(killed, "rival")
    assert draws(whole) == draws(killed)
    assert (whole / "model" / "model.safetensors").read_bytes() == (
        killed / "model" / "model.safetensors"
    ).read_bytes()
    assert not list(killed.glob("*.part")) + list(killed.glob(".*.part"))


def test_the_ledger_holds_every_draw_and_the_report_the_curves(tmp_path):
    record = run_train(JOB, tmp_path / "run")
    assert record["state"] == "done"
    assert record["steps"] == 25
    assert record["rollouts"] == 15 * 4 * 4 == len(draws(tmp_path / "run"))
    row = json.loads(draws(tmp_path / "run")[0][2])
    assert row.keys() == {"prompt", "text", "reward", "tokens"}
    tokens = sum(json.loads(content)["tokens"] for *_, content in draws(tmp_path / "run"))
    assert record["spent"]["tokens"] == tokens
    assert len(record["test"]["accuracy"]) == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data-figure=") >= 3
    assert run_train(JOB, tmp_path / "run", resume=True) == record
    again = rerun(tmp_path / "run", tmp_path / "again")
    assert history(tmp_path / "again") == history(tmp_path / "run")
    assert again["rollouts"] == record["rollouts"]


def flops(folder, name=""):
    return sum(row["flops"] for row in history(folder, name))


def test_the_rival_costs_as_much_and_the_verdict_is_over_held_out_problems(tmp_path):
    record = run_train(JOB, tmp_path / "run")
    last = max(row["flops"] for row in history(tmp_path / "run", "rival"))
    assert 0 <= flops(tmp_path / "run", "rival") - flops(tmp_path / "run") < last
    rival = record["rival"]
    assert rival["loop"] == "imitation"
    assert rival["equal"]
    held = [
        json.loads((tmp_path / "run" / name / "held-out.json").read_text())["accuracy"]
        for name in ("", "rival")
    ]
    row = rival["rows"][0]
    expected = paired_difference(*held)
    assert [row[key] for key in ("difference", "low", "high")] == list(expected)
    assert record["verdict"].startswith("raft is ")


def test_a_rival_with_other_knobs_draws_beside_the_loop(tmp_path):
    job = dataclasses.replace(JOB, steps=4, rival="raft:samples=2:problems=4:warm_up=10")
    record = run_train(job, tmp_path / "run")
    assert record["rollouts"] == 4 * 4 * 4  # the loop's alone
    keys = [key for key, *_ in draws(tmp_path / "run") if key.startswith("rival/")]
    assert len(keys) % 8 == 0
    assert len(keys) > 32  # its steps are cheaper, and so more of them
    assert record["rival"]["knobs"] == {"samples": 2}
    assert record["rival"]["loop"] == "raft:samples=2"


def test_without_a_rival_the_report_says_so(tmp_path):
    record = run_train(dataclasses.replace(JOB, steps=1, rival="none"), tmp_path / "run")
    assert record["rival"] is None
    assert record["verdict"] == "No rival was trained beside raft."
    assert not (tmp_path / "run" / "rival").exists()


def test_a_loop_in_phases_and_its_rival_keep_their_steps(tmp_path):
    job = TrainJob(loop="scratch-e", knobs={"widths": "4,4"}, steps=4)
    record = run_train(job, tmp_path / "run")
    assert not record["rival"]["equal"]
    assert record["rival"]["loop"] == "prune-finetune"
    assert len(history(tmp_path / "run", "rival")) == 4 + 1
    assert "at its own cost" in record["verdict"]


def test_a_language_model_learns_the_users_problems(tmp_path):
    file = tmp_path / "problems.jsonl"
    rows = [{"question": f"{a}+{a}=", "answer": str(2 * a)} for a in range(6)]
    file.write_text("not json\n" + "".join(json.dumps(row) + "\n" for row in rows))
    job = TrainJob(
        loop="raft",
        knobs={"problems": 2, "samples": 2, "most_tokens": 6},
        task={"label": "problems", "file": str(file), "verifier": "regex:.", "test": 2},
        model=save_model(tmp_path / "model"),
        rank=2,
        steps=3,
    )
    record = run_train(job, tmp_path / "run")
    assert record["rejected"] == 1
    assert record["rollouts"] == 3 * 2 * 2
    assert record["test"]["accuracy"][0] >= 0
    assert record["rival"]["loop"] == "imitation"
    adapters = weights(tmp_path / "run")["model"], weights(tmp_path / "run", "rival")["model"]
    assert [*adapters[0]] == [*adapters[1]]  # one set of adapters each, not one on the other
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert "adapter_model.safetensors" in names


def test_a_configuration_is_read(tmp_path):
    file = tmp_path / "job.toml"
    file.write_text('loop = "x"\nsteps = 7\n[knobs]\nsamples = 3\n[task]\ndigits = 1\n')
    job = read_config(file, "raft")
    assert job == TrainJob(loop="raft", steps=7, knobs={"samples": 3}, task={"digits": 1})
    assert read_config(file).loop == "x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = ", "is not TOML"),
        ("epochs = 3", "no such key"),
        ('steps = "many"', "steps"),
        ("rng = true", "rng"),
        ("knobs = 3", "knobs"),
    ],
)
def test_a_wrong_configuration_is_told_by_file_and_key(tmp_path, text, words):
    file = tmp_path / "job.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as told:
        read_config(file)
    assert str(file) in str(told.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loop": "none"}, "no train method"),
        ({"knobs": {"colour": 1}}, "colour"),
        ({"task": {"label": "chess"}}, "chess"),
        ({"task": {"colour": 1}}, "colour"),
        ({"task": {"label": "problems"}}, "file"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"steps": 0}, "steps"),
        ({"rival": "none such"}, "none such"),
        ({"rival": "infill-mixture"}, "infill-mixture"),
        ({"model": "no such folder"}, "no folder"),
    ],
)
def test_wrong_requests_are_told_before_a_step(tmp_path, changed, words):
    with pytest.raises(UsageError, match=words):
        run_train(dataclasses.replace(JOB, **changed), tmp_path / "run")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_config(tmp_path / "none.toml")
