"""Make the demo's pool: questions and answers from the docstrings of installed Python packages.

Usage: python scripts/demo_pool.py [build/demo/pool.jsonl [PACKAGE...]]

Files are parsed, never imported. One row per public module, class, function or method whose
docstring says something, at most 1,500 rows a package, in an order that does not change.
"""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from samplewise.files import atomic_path

PER_PACKAGE = 1_500
PER_FILE = 30
SHORTEST = 40
LONGEST = 1_500
LARGEST_FILE = 400_000
STDLIB = "python"
SKIPPED_FOLDERS = {
    "__pycache__", "_vendor", "conftest", "ensurepip", "externals", "idlelib", "lib2to3",
    "site-packages", "dist-packages", "test", "tests", "testing", "turtledemo",
}  # fmt: skip
SKIPPED_PACKAGES = {"pip", "setuptools", "pkg_resources", "samplewise", "wheel"}
QUESTIONS = {
    "module": ("What is the module {} for?", "What would I find in the module {}?"),
    "class": (
        "What is {} in Python, and when would I use it?",
        "What is the class {} for?",
    ),
    "function": ("What does {} do, and how is it called?", "How do I use the function {}?"),
    "method": ("What does the method {} do?", "When would I call {}, and what comes back?"),
}

Row = dict[str, str]


def main() -> None:
    """Write the pool, and say how many rows of how many packages it holds."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo/pool.jsonl")
    counts: Counter[str] = Counter()
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for row in rows(set(sys.argv[2:])):
            counts[row["source"]] += 1
            stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    largest = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(5))
    print(f"{path}: {counts.total():,} rows from {len(counts)} packages ({largest}, ...)")


def rows(wanted: set[str]) -> Iterator[Row]:
    """Give the rows of the packages wanted (all if none is named); no question twice."""
    for source, root, files in packages():
        if wanted and source not in wanted:
            continue
        found: dict[str, Row] = {}
        for file in sorted(files, key=lambda file: spread(file.relative_to(root).as_posix())):
            for row in rows_of_file(file, root, source):
                found.setdefault(row["question"], row)
            if len(found) >= PER_PACKAGE:
                break
        yield from [found[question] for question in sorted(found)][:PER_PACKAGE]


def spread(name: str) -> tuple[int, str]:
    """Order names so that a capped package is drawn from all over, the same way every time."""
    return zlib.crc32(name.encode()), name


def packages() -> Iterator[tuple[str, Path, list[Path]]]:
    """Give (name, folder its module names start from, its files) of each package."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    yield STDLIB, stdlib, python_files(stdlib)
    folders = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    for root in sorted(folders):
        for package in sorted(root.iterdir()):
            hidden = package.name.startswith("_") or package.name in SKIPPED_PACKAGES
            if (package / "__init__.py").is_file() and not hidden:
                yield package.name, root, python_files(package)


def python_files(folder: Path) -> list[Path]:
    """Give the Python files below a folder, without those of its tests."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.stem in SKIPPED_FOLDERS or path.name.startswith(("test_", ".")):
            continue
        if path.is_dir():
            if path.name.isidentifier():
                found += python_files(path)
        elif path.suffix == ".py" and path.stat().st_size <= LARGEST_FILE:
            found.append(path)
    return found


def rows_of_file(file: Path, root: Path, source: str) -> list[Row]:
    """Parse one file; a file that does not parse gives no rows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []
    parts = file.relative_to(root).with_suffix("").parts
    name = ".".join(part for part in parts if not part.startswith("_"))
    if not name:
        return []
    found = (
        [] if parts[-1].startswith("_") and parts[-1] != "__init__" else [(name, "module", tree)]
    )
    found += definitions(tree, name)
    rows = (row_of(name, kind, node, source) for name, kind, node in found)
    return [row for row in rows if row][:PER_FILE]


def definitions(tree: ast.Module, module: str) -> Iterator[tuple[str, str, ast.AST]]:
    """Give (full name, kind, node) of each public class, function and method."""
    for node in public(tree):
        name = f"{module}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield name, "class", node
            for method in public(node):
                if not isinstance(method, ast.ClassDef):
                    yield f"{name}.{method.name}", "method", method
        else:
            yield name, "function", node


def public(
    node: ast.Module | ast.ClassDef,
) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give the public definitions directly inside a module or class."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [one for one in node.body if isinstance(one, kinds) and not one.name.startswith("_")]


def row_of(name: str, kind: str, node: ast.AST, source: str) -> Row | None:
    """Make a row, or None where the docstring says too little."""
    answer = clean(ast.get_docstring(node) or "")  # type: ignore[arg-type]
    if len(answer) < SHORTEST:
        return None
    questions = QUESTIONS[kind]
    question = questions[zlib.crc32(name.encode()) % len(questions)].format(name)
    return {"question": question, "answer": answer, "source": source, "kind": kind}


def clean(docstring: str) -> str:
    """Drop broken characters and cut after the last whole line that fits."""
    text = inspect.cleandoc(docstring.encode("utf-8", "ignore").decode()).strip()
    if len(text) <= LONGEST:
        return text
    head = text[:LONGEST]
    return (head[: head.rfind("\n")] if "\n" in head else head).rstrip()


if __name__ == "__main__":
    main()
