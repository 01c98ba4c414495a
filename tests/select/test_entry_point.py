"""A stranger's selector: one module and one entry point, and no file of ours touched."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "longest.py"


@pytest.fixture
def installed(tmp_path):
    """Give an environment in which the documentation's example is an installed package."""
    site = tmp_path / "site"
    about = site / "stranger-0.1.dist-info"
    about.mkdir(parents=True)
    (site / "stranger.py").write_text(EXAMPLE.read_text())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[samplewise.methods]\nlongest = stranger:Longest\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def run(arguments, environment, **more):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def test_the_example_is_under_forty_lines():
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_it_is_listed_and_runs_from_the_command_line(installed, tmp_path):
    listed = json.loads(run(["samplewise", "methods", "--json"], installed).stdout)
    assert "longest" in {row["name"] for row in listed}
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(f'{{"text": "{"word " * (i + 1)}"}}\n' for i in range(90)))
    out = tmp_path / "run"
    arguments = ["samplewise", "select", pool, "--method", "longest", "--budget", "3", "--out", out]
    done = run(arguments, installed)
    assert done.returncode == 0, done.stderr
    assert (out / "selected.jsonl").read_text().splitlines() == pool.read_text().splitlines()[-3:]


def test_the_contract_checks_cover_it_by_themselves(installed):
    arguments = ["pytest", "-q", "-p", "no:cacheprovider", "-k", "longest", "-p", "no:xdist"]
    done = run([*arguments, "tests/select/test_contract.py"], installed, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 10


def test_a_name_that_is_taken_is_refused(installed, tmp_path):
    module = tmp_path / "site" / "stranger.py"
    module.write_text(module.read_text().replace('"longest"', '"random"'))
    done = run(["samplewise", "methods"], installed)
    assert done.returncode == 2
    assert "both claim the name 'random'" in done.stderr
