"""Run folders: those of every format version stay readable."""

import json
import shutil
from pathlib import Path

import pytest

from samplewise.errors import InputError, UsageError
from samplewise.ledger import Ledger
from samplewise.report import render
from samplewise.runs import FORMAT, RunFolder, read_run

RUNS = Path(__file__).parent / "assets" / "runs"


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_a_run_of_every_format_version_stays_readable(version, tmp_path):
    folder = shutil.copytree(RUNS / str(version), tmp_path / "run")
    record = read_run(folder)
    assert record["format"] == version
    assert record["chosen"] == len((folder / "selected.jsonl").read_text().splitlines())
    page = render(folder).read_text()
    assert record["method"] in page
    with Ledger(folder / "ledger.sqlite") as ledger:
        assert ledger.spent()["rows"] == record["chosen"]


def test_a_later_or_broken_record_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="not a run record"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(InputError, match="later version"):
        read_run(tmp_path)


def test_two_processes_cannot_share_a_folder(tmp_path):
    with (
        RunFolder(tmp_path / "run", "select", {"a": 1}),
        pytest.raises(UsageError, match="another process"),
    ):
        RunFolder(tmp_path / "run", "select", {"a": 1}, resume=True)
    with RunFolder(tmp_path / "run", "select", {"a": 1}, resume=True) as folder:
        assert not folder.finished


def test_unfinished_files_are_cleared_away(tmp_path):
    with RunFolder(tmp_path / "run", "select", {"a": 1}):
        pass
    (tmp_path / "run" / ".selected.jsonl.0.part").write_text("half")
    with RunFolder(tmp_path / "run", "select", {"a": 1}, resume=True):
        assert not list((tmp_path / "run").glob(".*.part"))
