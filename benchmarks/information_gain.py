"""The greedy of information-gain against one written plainly from its paper, and a million rows.

The plain one holds what every row adds as a dense array, and works out every gain anew for each
pick with one NumPy product. Both take the same tags (clusters of the T0 pool), the same scores
(synthetic) and the same propagation, and must choose the same rows in the same order. The second
table makes a pool of a million rows in memory and runs the whole selector on it.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import samplewise as sw
from harness import compare, data_file
from samplewise.embed import embed_pool
from samplewise.engine import make_engine
from samplewise.pool import Pool, Tags
from samplewise.select.information_gain import cluster_tags, greedy, label_graph, propagation

LABELS, BUDGET = 1_000, "5%"
MILLION, MANY_LABELS, EACH, PICKS = 1_000_000, 5_000, 3, 10_000


def main() -> None:
    tags, score, spread = t0_tags()
    n = sw.Budget.parse(BUDGET).rows_of(len(tags))
    chosen: dict[str, NDArray[np.int64]] = {}

    def ours() -> None:
        chosen["ours"] = greedy(tags, score, spread, n).indices

    def plain() -> None:
        chosen["plain"] = plain_greedy(tags, score, spread.toarray(), n)
        assert np.array_equal(chosen["ours"], chosen["plain"])

    compare(
        "information_gain",
        {"samplewise greedy": ours, "dense NumPy greedy": plain},
        repeats=3,
        in_process=True,
        setting={
            "rows": len(tags),
            "labels": len(tags.names),
            "tags of all rows": len(tags.codes),
            "picks": n,
            "links": (spread.nnz - len(tags.names)) // 2,
            "picks are the same": True,
        },
        packages=["numpy", "numba", "scipy"],
    )
    compare(
        "information_gain_million",
        {
            "scores all different": functools.partial(million, equal=False),
            "scores all equal": functools.partial(million, equal=True),
        },
        repeats=3,
        setting={"rows": MILLION, "labels": MANY_LABELS, "labels a row": EACH, "picks": PICKS},
    )


def t0_tags() -> tuple[Tags, NDArray[np.float64], Any]:
    """Cluster the T0 pool into tags; draw scores; link the clusters."""
    pool = embed_pool(sw.Pool.read(data_file("t0_instructions.jsonl.gz")))
    assert pool.embeddings is not None
    rng = np.random.default_rng(0)
    tags, centroids, _ = cluster_tags(pool.embeddings, LABELS, rng, make_engine("local"))
    return tags, rng.gamma(4, 2, len(pool)), propagation(label_graph(centroids))


def plain_greedy(
    tags: Tags, score: NDArray[np.float64], spread: NDArray[np.float64], n: int
) -> NDArray[np.int64]:
    """Write out the method: x = 0; n times, add the row of the largest e . phi'(x)."""
    sets = np.zeros((len(tags), len(tags.names)))
    sets[np.repeat(np.arange(len(tags)), np.diff(tags.starts)), tags.codes] = 1
    added = (score[:, None] * sets) @ spread.T
    x = np.zeros(len(tags.names))
    chosen = np.empty(n, np.int64)
    for pick in range(n):
        gain = added @ (0.8 * (x + 1e-6) ** -0.2)
        gain[chosen[:pick]] = -np.inf
        chosen[pick] = np.argmax(gain)
        x += added[chosen[pick]]
    return chosen


def million(equal: bool) -> dict[str, float]:
    """Make the pool and choose from it; runs in a process of its own."""
    rng = np.random.default_rng(0)
    odds = 1 / np.arange(1, MANY_LABELS + 1)
    drawn = rng.choice(MANY_LABELS, (MILLION, EACH), p=odds / odds.sum())
    names = np.array([word(k) for k in range(MANY_LABELS)], dtype=object)
    score = np.ones(MILLION) if equal else rng.gamma(4, 2, MILLION)
    start = time.perf_counter()
    pool = Pool.from_arrays(score=score, tags=names[drawn].tolist())
    made = time.perf_counter()
    selection = sw.select(pool, PICKS, "information-gain")
    chosen = time.perf_counter()
    assert len(np.unique(selection.indices)) == PICKS
    return {"pool seconds": round(made - start, 2), "select seconds": round(chosen - made, 2)}


def word(number: int) -> str:
    """Make a pronounceable name."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    rng = np.random.default_rng(number)
    return "".join(rng.choice(syllables, 3)) + f" {number}"


if __name__ == "__main__":
    main()
