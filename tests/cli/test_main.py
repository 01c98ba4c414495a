"""The command line, as a person and a pipe meet it."""

import json
import os
import pty
import re
import subprocess
import sys

import orjson
import pytest

COMMAND = [sys.executable, "-m", "samplewise"]


@pytest.fixture
def pool_file(tmp_path):
    path = tmp_path / "pool.jsonl"
    rows = [{"text": f"row {i} about {'cats' if i % 2 else 'dogs'}"} for i in range(200)]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows) + b"{broken\n")
    return path


def run(*arguments, **more):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **more
    )


def test_select_report_and_rerun(pool_file, tmp_path):
    out = tmp_path / "run"
    done = run("select", pool_file, "--budget", "5%", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "kmeans-random chose 10 of 200 rows; 1 rows set aside" in done.stdout
    assert done.stderr == ""
    chosen = (out / "selected.jsonl").read_bytes().splitlines()
    lines = pool_file.read_bytes().splitlines()
    places = [lines.index(line) for line in chosen]
    assert len(places) == 10
    assert places == sorted(places)
    (rejected,) = map(orjson.loads, (out / "rejected.jsonl").read_bytes().splitlines())
    assert rejected["line"] == 201
    before = (out / "report.html").read_bytes()
    assert run("report", out).stdout.strip() == str(out / "report.html")
    assert (out / "report.html").read_bytes() == before
    again = run("rerun", out, "--out", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["chosen"] == 10
    for name in ("selected.jsonl", "scores.parquet", "rejected.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_the_default_method_follows_the_score(tmp_path):
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(f'{{"text": "t {i}", "score": {i}}}\n' for i in range(50)))
    record = json.loads(run("select", path, "--out", tmp_path / "run", "--json").stdout)
    assert record["method"] == "kmeans-quality"
    assert record["chosen"] == 2


def test_knobs_and_rng(pool_file, tmp_path):
    out = tmp_path / "run"
    options = ["--method", "kmq", "--set", "clusters=3", "--set", "temperature=0.5", "--rng", "7"]
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(f'{{"text": "t {i}", "value": {i}}}\n' for i in range(50)))
    done = run("select", path, "--score", "value", *options, "--out", out, "--json")
    record = json.loads(done.stdout)
    assert record["seed"] == 7
    assert (record["knobs"]["clusters"], record["knobs"]["temperature"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "buys nothing"),
        (["--budget", "200%"], "more than the pool"),
        (["--budget", "abc"], "cannot be read"),
        (["--budget", "$5"], "cannot price a row in dollars"),
        (["--method", "kmeans-quallity"], "kmeans-quality"),
        (["--method", "kmeans-quality"], "--score"),
        (["--method", "stratified"], "--source"),
        (["--method", "iterative-refinement"], "--outcome"),
        (["--set", "clusters"], "NAME=VALUE"),
        (["--method", "random", "--set", "clusters=3"], "no knob 'clusters'"),
        (["--method", "kmeans-random", "--set", "clusters=many"], "'clusters' is 'many'"),
        (["--text", "nothing"], "'nothing'"),
        (["--embed", "nothing"], "builtin"),
        (["--strict"], "line 201"),
        (["--engine", "spark"], "local, ray"),
    ],
)
def test_a_wrong_request_says_what_to_mend(pool_file, tmp_path, arguments, message):
    done = run("select", pool_file, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "selected.jsonl").exists()


def test_a_missing_pool_and_a_token_budget_too_small(pool_file, tmp_path):
    done = run("select", tmp_path / "none.jsonl", "--out", tmp_path / "run")
    assert (done.returncode, "no such file" in done.stderr) == (2, True)
    done = run("select", pool_file, "--budget", "1 token", "--out", tmp_path / "run")
    assert (done.returncode, "costs" in done.stderr) == (3, True)


def test_a_token_budget_is_kept(pool_file, tmp_path):
    out = tmp_path / "run"
    done = run("select", pool_file, "--budget", "100 tokens", "--out", out, "--json")
    assert 5 < json.loads(done.stdout)["chosen"] < 20


def test_outcome_drives_the_rounds_and_each_is_in_the_ledger(pool_file, tmp_path):
    script = tmp_path / "worth.py"
    script.write_text("def worth(pool, draws):\n    return [float(i % 2) for i in draws]\n")
    done = run(
        *("select", pool_file, "--out", tmp_path / "run", "--budget", "30", "--json"),
        *("--method", "iterative-refinement", "--outcome", f"{script}:worth"),
    )
    assert json.loads(done.stdout)["chosen"] == 30, done.stderr
    from samplewise.ledger import Ledger

    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        rounds = ledger.rounds()
    assert [len(one.draws) for one in rounds] == [10, 10, 10]
    assert all(one.outcomes for one in rounds)


def test_methods_lists_every_method():
    listed = json.loads(run("methods", "--json").stdout)
    names = {row["name"] for row in listed}
    assert {"kmeans-quality", "random", "stratified", "k-center", "facility-location"} <= names
    assert all(row["title"] for row in listed)
    text = run("methods").stdout
    assert all(name in text for name in names)
    assert run("methods", "--room", "cellar").returncode == 2


@pytest.mark.parametrize("command", ["select", "methods", "report", "rerun"])
def test_help_has_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"samplewise {command}" in done.stdout.split("Example:")[1]


def test_a_terminal_shows_stage_rate_and_time_left(pool_file, tmp_path):
    main, side = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "select", str(pool_file), "--out", str(tmp_path / "run")],
        stdout=subprocess.DEVNULL,
        stderr=side,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(side)
    seen = b""
    while True:
        try:
            chunk = os.read(main, 65_536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    for stage in ("read", "embed", "select"):
        assert stage in text
    assert "rows/s" in text
    assert re.search(r"\d:\d\d:\d\d", text)
