import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "reproductions"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
RESULTS = sorted((FOLDER / "results").glob("*.json"))
KEYS = [
    "paper",
    "setting",
    "paper_figures",
    "our_figures",
    "agrees",
    "why",
    "hardware",
    "seconds",
    "version",
]


def figures(tables):
    """Every number of the paper, as the tables print it."""
    rows = [row for table in tables.values() for row in table.values()]
    return [str(value) for row in rows for value in row.values() if isinstance(value, float)]


def check(record):
    assert list(record) == KEYS
    assert record["agrees"] in (True, False, "not comparable")
    for tables in (record["paper_figures"], record["our_figures"]):
        assert tables
        assert all(row for table in tables.values() for row in table.values())
    assert record["why"]
    assert record["seconds"] > 0
    assert os.uname().nodename not in json.dumps(record)
    assert str(FOLDER) not in json.dumps(record)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_quick_run_prints_the_papers_figures_and_writes_its_result(script, tmp_path):
    command = [sys.executable, str(script), "--quick", "--out", str(tmp_path)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert run.returncode == 0, run.stderr
    slug = script.stem.replace("_", "-")
    assert [file.name for file in tmp_path.iterdir()] == [f"{slug}.json"]
    record = json.loads((tmp_path / f"{slug}.json").read_text())
    check(record)
    for figure in figures(record["paper_figures"]):
        assert figure in run.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_full_result_is_committed(script):
    assert FOLDER / "results" / f"{script.stem.replace('_', '-')}.json" in RESULTS


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.stem)
def test_committed_results_have_the_keys(result):
    record = json.loads(result.read_text())
    check(record)
    assert not record["setting"].startswith("Quick run")


def test_results_are_of_scripts():
    slugs = {script.stem.replace("_", "-") for script in SCRIPTS}
    assert {result.stem for result in RESULTS} <= slugs
