"""Which method should I use? All of them on the T0 pool, at 5% of the rows, judged by the probe.

Runs `samplewise compare select` in this process and keeps its table, with intervals, and where the
time went. METHODS is all there is to change.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from harness import data_file, record
from samplewise.jobs import CompareJob, run_compare

METHODS = [
    "stratified",
    "stratified:allocation=equal",
    "kmeans-random",
    "kmeans-median",
    "kmeans-closest",
    "k-center",
    "facility-location",
    "information-gain",
    "herding",
    "lewis",
]  # a random choice is added
BUDGET, SEEDS, PROXY = "5%", 5, "probe"


def main() -> None:
    job = CompareJob(
        pool=str(data_file("t0_instructions.jsonl.gz")),
        methods=METHODS,
        budget=BUDGET,
        seeds=SEEDS,
        proxy=PROXY,
        eliminate=False,  # every method gets every seed
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = run_compare(job, Path(folder) / "run")
        seconds = time.perf_counter() - started
        report = orjson.loads((Path(folder) / "run" / "report.json").read_bytes())
    figures = {
        "setting": {
            "rows": report["asked"]["rows"],
            "chosen": report["asked"]["chosen"],
            "held_out": report["asked"]["held_out"],
            "budget": BUDGET,
            "seeds": SEEDS,
            "proxy": PROXY,
            "alpha": report["asked"]["alpha"],
        },
        "verdict": report["verdict"]["text"],
        "methods": [
            {key: value for key, value in row.items() if key not in ("knobs", "rows")}
            for row in report["methods"]
        ],
        "figures": report["figures"],
        "spent": report["spent"],
        "seconds": round(seconds, 1),
        "seconds_by_stage": run["seconds"],
        "seconds_by_part": report["seconds"],
        "share_of_judging": report["seconds"]["judging"] / report["spent"]["seconds"],
    }
    show(figures)
    record("compare_select", figures)


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("", "mean", "from random", "interval", "seeds", "to choose")
    for row in figures["methods"]:
        away = ["", ""]
        if row["difference"] is not None:
            low, high = row["difference_low"], row["difference_high"]
            away = [f"{row['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}"]
        cells = (row["method"], f"{row['mean']:.4f}", *away, f"{row['seeds']}")
        table.add_row(*cells, f"{row['seconds']:.2f} s")
    Console(width=120).print(table)
    print(figures["verdict"])
    print({key: figures[key] for key in ("seconds", "seconds_by_stage", "share_of_judging")})


if __name__ == "__main__":
    main()
