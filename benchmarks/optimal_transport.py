"""Sinkhorn from 55,185 rows to 2,000 targets (256-d), against POT and plain NumPy.

All solve the same problem, the vectors of the T0 pool moved onto those of GSM8K questions with
epsilon 0.05 of the mean cost, until their own measure of the misplaced mass is below 1e-6. Needs
`pip install pot`.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

import samplewise as sw
from harness import compare, data_file
from samplewise.embed import embed_pool

TARGETS = 2_000
EPSILON = 0.05
TOLERANCE = 1e-6


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    for name, file in (("source", "t0_instructions.jsonl.gz"), ("target", "gsm8k_train.jsonl")):
        vectors = embed_pool(sw.Pool.read(data_file(file))).embeddings
        np.save(folder / f"{name}.npy", vectors if name == "source" else vectors[:TARGETS])
    rows, dimensions = np.load(folder / "source.npy", mmap_mode="r").shape
    compare(
        "optimal_transport",
        {
            "samplewise": functools.partial(ours, folder),
            "samplewise, costs not kept": functools.partial(ours, folder, kept=0),
            "POT sinkhorn": functools.partial(pot, folder, "sinkhorn"),
            "POT sinkhorn_log": functools.partial(pot, folder, "sinkhorn_log"),
        },
        repeats=1,
        setting={
            "rows": rows,
            "targets": TARGETS,
            "dimensions": dimensions,
            "epsilon": EPSILON,
            "tolerance": TOLERANCE,
            "note": "a call is a fresh process: imports and reading count; POT measures misplaced "
            "mass by its Euclidean norm, which is the smaller one",
        },
        packages=["pot", "numpy"],
    )
    shutil.rmtree(folder)


def ours(folder: Path, kept: int | None = None) -> dict[str, float]:
    from samplewise.measure import transport

    if kept is not None:
        transport._KEPT_BYTES = kept
    source, target = load(folder)
    found = transport.sinkhorn(source, target, epsilon=EPSILON, tolerance=TOLERANCE)
    return {"value": found.value, "iterations": found.iterations, "misplaced": found.error}


def pot(folder: Path, method: str) -> dict[str, float]:
    for backend in ("PYTORCH", "JAX", "CUPY", "TENSORFLOW"):  # slow to import, and not used
        os.environ[f"POT_BACKEND_DISABLE_{backend}"] = "1"
    import ot

    source, target = load(folder)
    costs = ot.dist(source, target, metric="euclidean")
    weights = np.full(len(source), 1 / len(source)), np.full(len(target), 1 / len(target))
    plan, log = ot.sinkhorn(
        *weights,
        costs,
        EPSILON * float(costs.mean()),
        method=method,
        numItermax=1_000,
        stopThr=TOLERANCE,
        log=True,
    )
    misplaced = np.abs(plan.sum(axis=0) - weights[1]).sum()
    misplaced += np.abs(plan.sum(axis=1) - weights[0]).sum()
    plan *= costs
    return {
        "value": float(plan.sum()),
        "iterations": int(log["niter"]),
        "misplaced": float(misplaced),
    }


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(folder / "source.npy"), np.load(folder / "target.npy")


if __name__ == "__main__":
    main()
