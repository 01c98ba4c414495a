"""A million 256-d vectors, 1%: the whole command against faiss k-means and assignment."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from harness import record
from samplewise.select.clusters import automatic_clusters
from watch import watched

ROWS, DIMENSIONS, REPEATS = 1_000_000, 256, 3
FAISS = """
import sys, faiss, numpy as np
vectors = np.load(sys.argv[1], mmap_mode="r")
trainer = faiss.Kmeans(vectors.shape[1], int(sys.argv[2]), niter=20, seed=0)
trainer.train(vectors)
trainer.index.search(np.ascontiguousarray(vectors), 1)
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "vectors.npy"
    write_vectors(path)
    k = automatic_clusters(ROWS // 100)
    ours, faiss = [], []
    for number in range(REPEATS):
        out = folder / f"run-{number}"
        arguments = ["select", str(path), "--budget", "1%", "--out", str(out)]
        ours.append(watched([sys.executable, "-m", "samplewise", *arguments]))
        assert len(np.load(out / "selected.npy", mmap_mode="r")) == ROWS // 100
        faiss.append(watched([sys.executable, "-c", FAISS, str(path), str(k)]))
    shutil.rmtree(folder)
    middle = sorted(a["seconds"] / b["seconds"] for a, b in zip(ours, faiss, strict=True))
    record(
        "million_vectors",
        {
            "setting": {"rows": ROWS, "dimensions": DIMENSIONS, "k": k, "budget": "1%"},
            "ours": ours,
            "faiss": faiss,
            "ratio_of_seconds": round(middle[REPEATS // 2], 3),
            "highest_private_mb": max(run["private_mb"] for run in ours),
        },
    )


def write_vectors(path: Path) -> None:
    """Write unit vectors around 2,000 centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2_000, DIMENSIONS)).astype(np.float32)
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(ROWS, DIMENSIONS))
    for start in range(0, ROWS, 50_000):
        block = centres[rng.integers(0, len(centres), 50_000)]
        block = block + rng.normal(size=block.shape).astype(np.float32)
        vectors[start : start + 50_000] = block / np.linalg.norm(block, axis=1, keepdims=True)
    vectors.flush()


if __name__ == "__main__":
    main()
