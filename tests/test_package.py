"""The package as a whole: what importing it loads, and that its papers match its parts."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import samplewise

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "faiss", "sklearn", "pyarrow", "numba", "ray", "plotly", "transformers")


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter, and name the heavy packages it loaded."""
    show = f"{code}; import sys; print(*(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import samplewise") == set()


def test_listing_the_methods_loads_nothing_heavy() -> None:
    assert loaded_by("import samplewise; assert samplewise.methods()") == set()


def test_the_command_line_loads_nothing_heavy_before_it_must() -> None:
    assert loaded_by("import samplewise.cli") == set()


def test_public_names_exist() -> None:
    assert all(hasattr(samplewise, name) for name in samplewise.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        samplewise.nothing  # noqa: B018 - the access is the test


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert samplewise.__version__ == project["version"] == version("samplewise")
    assert f"## [{samplewise.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_commands_of_the_readme_exist() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", (ROOT / "README.md").read_text(), re.M))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_options_of_the_readme_exist() -> None:
    from typer.main import get_command

    from samplewise.cli.main import app

    top: Any = get_command(app)
    lines = re.findall(r"^samplewise (\w+)(.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert lines
    for name, rest in lines:
        command = top.commands[name]
        for word in rest.split():  # such as compare select
            command = getattr(command, "commands", {}).get(word, command)
        known = {option for param in command.params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", rest.partition("#")[0])) <= known


@pytest.mark.parametrize("document", ["README.md", "docs/index.md"])
def test_linked_files_exist(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    generated = {"methods/index.md", "guide/which-method.md"}
    assert [one for one in links if one not in generated and not (path.parent / one).exists()] == []


def test_the_method_of_the_documentation_is_short_and_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from samplewise.testing import check_selector

    source = ROOT / "docs" / "examples" / "longest.py"
    assert source.read_text().count("\n") < 40
    monkeypatch.syspath_prepend(source.parent)
    check_selector(importlib.import_module("longest").Longest())
