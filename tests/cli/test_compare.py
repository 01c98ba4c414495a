"""`samplewise compare select`, as a person and a pipe meet it."""

import json
import random
import subprocess
import sys

import orjson
import pytest

COMMAND = [sys.executable, "-m", "samplewise"]


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    rng = random.Random(0)
    words = {"a": "red green blue pink", "b": "cat dog bird horse", "c": "one two three four"}
    rows = []
    for _ in range(200):
        label = rng.choice("aaaabbc")
        rows.append({"text": " ".join(rng.choices(words[label].split(), k=9)), "label": label})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def run(*arguments):
    return subprocess.run(
        [*COMMAND, "compare", "select", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_comparison_from_start_to_report(pool_file, tmp_path):
    out = tmp_path / "run"
    asked = (pool_file, "--methods", "stratified, kmeans-random", "--budget", "10", "--seeds", "3")
    done = run(*asked, "--set", "kmeans-random.clusters=4", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    head, *lines = done.stdout.splitlines()
    assert head.split()[:3] == ["accuracy", "from", "random"]
    assert {line.split()[0] for line in lines[:3]} == {
        "stratified",
        "kmeans-random:clusters=4",
        "random",
    }
    assert str(out / "report.html") in done.stdout
    verdict = json.loads((out / "run.json").read_bytes())["verdict"]
    assert verdict in done.stdout
    before = (out / "report.html").read_bytes()
    again = subprocess.run([*COMMAND, "report", str(out)], capture_output=True, check=True)
    assert again.stdout.decode().strip() == str(out / "report.html")
    assert (out / "report.html").read_bytes() == before

    resumed = run(*asked, "--set", "kmeans-random.clusters=4", "--out", out, "--resume", "--json")
    told = json.loads(resumed.stdout)
    assert told["verdict"]["text"] == verdict
    assert told["winner"] == told["methods"][0]["method"]
    assert told["state"] == "done"
    assert told["spent"]["runs"] <= told["spent"]["fixed"] == 9
    refused = run(*asked, "--out", out, "--resume")
    assert refused.returncode == 2
    assert "knobs was" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "kmeans-quality,stratified"], "kmeans-quality cannot run"),
        (["--methods", "kmeans-quality,stratified"], "--score FIELD"),
        (["--methods", ","], "no method to compare"),
        (["--methods", "stratified", "--proxy", "judge"], "one of probe, coverage, lm"),
        (["--methods", "stratified", "--set", "clusters=3"], "METHOD.KNOB=VALUE"),
        (["--methods", "stratified", "--set", "kmr.clusters=3"], "not compared"),
        (["--methods", "stratified", "--seeds", "1"], "no interval"),
        (["--methods", "stratified", "--budget", "95%"], "all of the 160 rows"),
        (["--methods", "stratified", "--label", "nothing"], "'nothing'"),
    ],
)
def test_a_wrong_request_says_what_to_mend(pool_file, tmp_path, arguments, message):
    done = run(pool_file, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "report.json").exists()


def test_without_elimination_every_method_gets_every_seed(pool_file, tmp_path):
    done = run(
        *(pool_file, "--methods", "k-center", "--budget", "4", "--seeds", "3", "--out"),
        *(tmp_path / "run", "--no-elimination", "--proxy", "coverage", "--no-pooled", "--json"),
    )
    assert json.loads(done.stdout)["spent"]["runs"] == 6, done.stderr


def test_help_has_an_example():
    done = subprocess.run([*COMMAND, "compare", "select", "--help"], capture_output=True, text=True)
    assert "samplewise compare select" in done.stdout.split("Example:")[1]
    assert "select" in subprocess.run([*COMMAND, "compare"], capture_output=True, text=True).stdout
