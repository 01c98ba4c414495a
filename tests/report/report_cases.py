"""Small pools and runs to report on, made without the methods that other tests prove."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise import Pool
from samplewise.budget import Budget
from samplewise.select.base import Selection, Selector

HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)><!-- <b>bold</b> \u2028"


@dataclass(frozen=True)
class Given(Selector):
    """Rows that the test names."""

    name: ClassVar[str] = "given"
    knob: float = 0.5


def choose(pool, indices, columns=None, weights=None):
    indices = np.asarray(indices, np.int64)
    weights = np.ones(len(indices)) if weights is None else np.asarray(weights)
    return Selection(pool, Given(), Budget(len(indices)), indices, weights, columns or {})


def make_pool(n=300, d=6, *, hostile=False, vectors=True, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "text": f"row {i} {HOSTILE if hostile else 'says something'}",
            "source": f"{HOSTILE if hostile else 'source'} {i % 5}",
            "label": "ab"[i % 2],
            "score": float(rng.normal()),
        }
        for i in range(n)
    ]
    pool = Pool.from_rows(rows)
    return pool.with_embeddings(rng.normal(size=(n, d))) if vectors else pool


def write_run(folder, report, rejected=(), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "command": "select",
        "version": "0.0",
        "seed": 3,
        "input": {"path": "pool.jsonl", "rows": 300, "rejected": len(rejected), "hash": "ab" * 32},
        "method": "given",
        "knobs": {"knob": 0.5},
        "budget": "10 rows",
        "chosen": 10,
        "seconds": {"read": 1.25},
        "spent": {"rows": 10},
        "state": "done",
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "report.json").write_text(json.dumps(report, allow_nan=False))
    if rejected:
        lines = "".join(json.dumps(row) + "\n" for row in rejected)
        (folder / "rejected.jsonl").write_text(lines)
    return folder
