"""A JSONL pool of a million rows and 1.2 GB: seconds and resident memory of the whole command."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import orjson

from harness import record
from watch import watched

ROWS = 1_000_000


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "pool.jsonl"
    write_rows(path)
    size = path.stat().st_size
    arguments = ["select", str(path), "--budget", "1%", "--out", str(folder / "run")]
    run = watched([sys.executable, "-m", "samplewise", *arguments])
    stages = orjson.loads((folder / "run" / "run.json").read_bytes())["seconds"]
    shutil.rmtree(folder)
    record(
        "large_jsonl",
        {"setting": {"rows": ROWS, "megabytes": size >> 20}, "ours": run, "stages": stages},
    )


def write_rows(path: Path) -> None:
    """Write rows of about 1,200 bytes of English-like words."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(20_000)])
    odds = 1 / np.arange(1, len(words) + 1)
    odds /= odds.sum()
    with path.open("wb") as stream:
        for _ in range(ROWS // 10_000):
            picks = rng.choice(words, size=(10_000, 195), p=odds)
            for row in picks:
                row = {"instruction": " ".join(row[:100]), "response": " ".join(row[100:])}
                stream.write(orjson.dumps(row) + b"\n")


if __name__ == "__main__":
    main()
