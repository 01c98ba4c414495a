"""A run that is killed and resumed gives the bytes of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time

import orjson
import pytest

from samplewise.errors import UsageError
from samplewise.jobs import SelectJob, rerun, run_select

RESULTS = ("selected.jsonl", "scores.parquet", "rejected.jsonl")
SMALL_SHARDS = """
import sys
from samplewise import readers
readers.SHARD_BYTES = 60_000
from samplewise.cli import main
main()
"""


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    words = "red green blue one two three cat dog bird house tree river".split()
    rng = random.Random(0)
    rows = [{"text": " ".join(rng.choices(words, k=60))} for _ in range(3_000)]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows) + b"not json\n")
    return path


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


def command(pool_file, out, *more):
    arguments = ["select", str(pool_file), "--budget", "5%", "--out", str(out), *more]
    return [sys.executable, "-c", SMALL_SHARDS, *arguments]


def test_killed_at_twenty_moments(pool_file, tmp_path):
    whole = tmp_path / "whole" / "run"
    start = time.monotonic()
    subprocess.run(command(pool_file, whole), check=True, capture_output=True)
    seconds = time.monotonic() - start
    rng = random.Random(1)
    out = tmp_path / "killed" / "run"
    done_early = 0
    for kill in range(20):
        process = subprocess.Popen(
            command(pool_file, out, "--resume"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.1, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        done_early += process.wait() == 0
        process.communicate()
        for name in RESULTS:
            if (out / name).exists():
                assert (out / name).read_bytes() == (whole / name).read_bytes(), (kill, name)
        if (out / "run.json").exists():
            orjson.loads((out / "run.json").read_bytes())
            if kill % 5 == 4:
                out = tmp_path / f"killed-{kill}" / "run"
    subprocess.run(command(pool_file, out, "--resume"), check=True, capture_output=True)
    assert results(out) == results(whole)
    assert not list(out.glob(".*.part"))
    assert done_early < 20


def test_a_finished_run_is_left_as_it_is(pool_file, tmp_path):
    job, out = SelectJob(pool=str(pool_file)), tmp_path / "run"
    run_select(job, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    assert run_select(job, out, resume=True)["state"] == "done"
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    with pytest.raises(UsageError, match="holds a run already"):
        run_select(job, out)
    with pytest.raises(UsageError, match="rng was 0, now 1"):
        run_select(SelectJob(pool=str(pool_file), rng=1), out, resume=True)


def test_rerun_gives_the_same_bytes(pool_file, tmp_path):
    job = SelectJob(pool=str(pool_file), method="kmeans-closest", knobs={"clusters": "9"}, rng=5)
    run_select(job, tmp_path / "first" / "run")
    rerun(tmp_path / "first" / "run", tmp_path / "second" / "run")
    assert results(tmp_path / "first" / "run") == results(tmp_path / "second" / "run")


def test_a_folder_with_other_files_is_refused(pool_file, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="is not empty"):
        run_select(SelectJob(pool=str(pool_file)), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
