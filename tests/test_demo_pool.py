"""The demo's pool: docstrings of installed packages as questions and answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo_pool.py"
PACKAGES = ("python", "numpy", "scipy", "sklearn", "rich", "jinja2", "typer", "click", "pyarrow")


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    found = importlib.util.spec_from_file_location("demo_pool", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def package(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / "shop" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return folder


LONG = "Sell the goods that are in the basket, for the price that they bear."


def test_rows_come_from_public_definitions(demo: ModuleType, tmp_path: Path) -> None:
    code = f'''
"""{LONG} A module."""
class Basket:
    """{LONG} A class."""
    def sell(self):
        """{LONG} A method."""
    def _hide(self):
        """{LONG} Private."""
def buy():
    """{LONG} A function."""
def short():
    """Too short."""
raise RuntimeError("never imported")
'''
    root = package(tmp_path, __init__="", _till=code)
    rows = demo.rows_of_file(root / "shop" / "_till.py", root, "shop")
    assert [(row["kind"], row["source"]) for row in rows] == [
        ("class", "shop"),
        ("method", "shop"),
        ("function", "shop"),
    ]
    assert "shop.Basket.sell" in rows[1]["question"]
    assert rows[2]["answer"] == f"{LONG} A function."


def test_a_file_that_does_not_parse_gives_no_rows(demo: ModuleType, tmp_path: Path) -> None:
    root = package(tmp_path, broken="def (:", null="\0")
    assert demo.rows_of_file(root / "shop" / "broken.py", root, "shop") == []
    assert demo.rows_of_file(root / "shop" / "null.py", root, "shop") == []


def test_folders_of_tests_are_passed_over(demo: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("a.py", "test_a.py", "tests/b.py", "notes.txt"):
        (tmp_path / name).write_text("")
    assert demo.python_files(tmp_path) == [tmp_path / "a.py"]


@pytest.mark.parametrize("length", [10, 1_500, 1_501, 5_000])
def test_long_answers_are_cut_at_a_line(demo: ModuleType, length: int) -> None:
    text = ("word word word\n" * 400)[:length].rstrip()
    cut = demo.clean(text)
    assert len(cut) <= 1_500
    assert text.startswith(cut)
    assert cut == text or cut.endswith("word")


def test_the_pool_is_large_varied_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for path, seed in ((first, "1"), (second, "2")):
        command = [sys.executable, str(SCRIPT), str(path), *PACKAGES]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed}, capture_output=True)
    assert first.read_bytes() == second.read_bytes()
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    assert len(rows) >= 5_000
    assert len({row["question"] for row in rows}) == len(rows)
    assert all(40 <= len(row["answer"]) <= 1_500 for row in rows)
    counts = Counter(row["source"] for row in rows)
    assert set(counts) == set(PACKAGES)
    assert max(counts.values()) == 1_500
    assert set(next(iter(rows))) == {"question", "answer", "source", "kind"}
