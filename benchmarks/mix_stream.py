"""Drawing rows of a mixture: a million rows of a thousand sources, beside what people use.

Wanted: 2 million indices a second in one process, and memory that grows with the sources and not
with the rows. PyTorch's weighted sampler draws the rows of an epoch at once, by a weight a row.
"""

from __future__ import annotations

import functools
import itertools
import time
import tracemalloc
from typing import Any

import numpy as np

from harness import compare
from samplewise.mix import mix

SOURCES, ROWS, DRAWS, BATCH = 1_000, 1_000_000, 2_000_000, 4096


def sizes(rows: int = ROWS) -> Any:
    """Give sources of very different size."""
    shares = np.random.default_rng(0).pareto(1.0, SOURCES) + 0.1
    counts = np.maximum(1, (shares / shares.sum() * rows).astype(np.int64))
    counts[0] += rows - counts.sum()
    return counts


def per_second(draws: int, started: float) -> dict[str, float]:
    """Say how fast draws came."""
    return {"million draws a second": draws / (time.perf_counter() - started) / 1e6}


def batches(batch: int) -> dict[str, float]:
    """Draw in batches, as a loop does."""
    stream = mix(sizes=sizes(), method="temperature:tau=5", rng=0)
    stream.draw(1)
    draws = min(DRAWS, batch * 20_000)
    started = time.perf_counter()
    for _ in range(draws // batch):
        stream.draw(batch)
    return per_second(draws, started)


def one_by_one() -> dict[str, float]:
    """Draw row by row, as a sampler of PyTorch does."""
    stream = mix(sizes=sizes(), method="temperature:tau=5", rng=0)
    started = time.perf_counter()
    for _ in itertools.islice(stream, DRAWS):
        pass
    return per_second(DRAWS, started)


def torch_weighted() -> dict[str, float]:
    """Draw by a weight of every row."""
    import torch
    from torch.utils.data import WeightedRandomSampler

    counts = sizes()
    law = counts**0.2 / (counts**0.2).sum()
    weights = torch.from_numpy(np.repeat(law / counts, counts))
    sampler = WeightedRandomSampler(weights.tolist(), DRAWS)
    started = time.perf_counter()
    for _ in sampler:
        pass
    return per_second(DRAWS, started)


def numpy_choice() -> dict[str, float]:
    """Choose sources and rows by NumPy's own functions."""
    counts = sizes()
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    law, random = counts**0.2 / (counts**0.2).sum(), np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(DRAWS // BATCH):
        chosen = random.choice(SOURCES, BATCH, p=law)
        first[chosen] + random.integers(counts[chosen])
    return per_second(DRAWS, started)


def bytes_held(rows: int) -> int:
    """Measure the memory of a stream and of a batch of it."""
    counts = sizes(rows)
    tracemalloc.start()
    stream = mix(sizes=counts, method="temperature:tau=5", rng=0)
    stream.draw(BATCH)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> None:
    mix(sizes=[1], rng=0).draw(1)
    held = {f"{rows:,} rows": bytes_held(rows) for rows in (ROWS, 100 * ROWS)}
    compare(
        "mix_stream",
        {
            f"batches of {BATCH}": functools.partial(batches, BATCH),
            "batches of 64": functools.partial(batches, 64),
            "one by one": one_by_one,
            "NumPy's choice, batches": numpy_choice,
            "PyTorch's weighted sampler": torch_weighted,
        },
        setting={
            "sources": SOURCES,
            "rows": ROWS,
            "draws": f"{DRAWS:,}; of batches of 64, 1,280,000",
            "peak bytes of a stream and a batch": held,
        },
        packages=["numpy", "torch"],
    )


if __name__ == "__main__":
    main()
