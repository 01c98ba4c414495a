"""Is it worth it? Loops that learn, each beside its plain way at equal cost, over seeds.

Runs `samplewise compare train` in this process, and keeps its tables, with intervals. GROUPS is all
there is to change.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from harness import record
from samplewise.jobs.training_comparison import LoopsJob, run_compare_training

SEEDS = 3
GROUPS: dict[str, tuple[list[str], int]] = {  # loops, and steps of the first
    "sums, from own answers": (["raft", "raft++", "grpo"], 60),
    "sums, for the best of many": (["confidence-limited:attempts=64"], 100),
    "worked sums, length": (["length-control"], 60),
    "short programs": (["self-sampled"], 100),
    "word problems": (["program-distillation"], 100),
}


def main() -> None:
    groups = {name: compare(loops, steps) for name, (loops, steps) in GROUPS.items()}
    figures = {"setting": {"seeds": SEEDS, "alpha": 0.05, "model": "small"}, "groups": groups}
    show(groups)
    record("compare_train", figures)


def compare(loops: list[str], steps: int) -> dict[str, Any]:
    """Compare some loops beside their plain way; every loop gets every seed."""
    job = LoopsJob(loops=loops, steps=steps, seeds=SEEDS, eliminate=False)
    with tempfile.TemporaryDirectory() as folder:
        run = run_compare_training(job, Path(folder) / "run")
        report = orjson.loads((Path(folder) / "run" / "report.json").read_bytes())
    return {
        "baseline": run["baseline"],
        "budget": run["budget"],
        "steps": steps,
        "verdict": report["verdict"]["text"],
        "loops": [
            {key: value for key, value in row.items() if key != "knobs"}
            for row in report["methods"]
        ],
    }


def show(groups: dict[str, Any]) -> None:
    """Print the tables."""
    for name, group in groups.items():
        table = Table("", "main figure", "difference", "interval", "length", title=name)
        for row in group["loops"]:
            away = ["", ""]
            if row["difference"] is not None:
                low, high = row["difference_low"], row["difference_high"]
                away = [f"{row['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"]
            length = f"{row['others']['length']:.2f}"
            table.add_row(row["method"], f"{row['mean']:.3f}", *away, length)
        Console().print(table)


if __name__ == "__main__":
    main()
