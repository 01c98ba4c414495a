"""The probe of `samplewise compare` against slower and simpler classifiers, on the T0 pool.

Six choices of 5% of the rows are judged by each: how accurate it is on held-out rows, how long it
takes, and whether it puts the choices in the order that the most accurate one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import samplewise as sw
from harness import data_file, record
from samplewise.embed import embed_pool
from samplewise.measure.linear_probe import fit_linear_probe

METHODS = [
    "random",
    "stratified",
    "kmeans-random",
    "kmeans-closest",
    "k-center",
    "facility-location",
]
REFERENCE = "logistic regression, C=100"
Data = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def main() -> None:
    pool = embed_pool(sw.Pool.read(data_file("t0_instructions.jsonl.gz")))
    assert pool.embeddings is not None
    assert pool.source is not None
    X, y, classes = pool.embeddings, pool.source.codes, len(pool.source.names)
    order = np.random.default_rng(0).permutation(len(pool))
    held, rest = order[: len(pool) // 5], np.sort(order[len(pool) // 5 :])
    train = pool.subset(rest)
    size = sw.Budget.parse("5%").rows_of(len(pool))
    judges: dict[str, Callable[[Data], NDArray[Any]]] = {
        "linear discriminants (ours)": lambda data: _ours(data, classes),
        "ridge, alpha by generalised cross-validation": _ridge,
        REFERENCE: _logistic,
    }
    found: dict[str, dict[str, Any]] = {name: {"accuracy": {}, "seconds": {}} for name in judges}
    for method in METHODS:
        rows = rest[sw.select(train, size, method, rng=0).indices]
        for name, judge in judges.items():
            started = time.perf_counter()
            guess = judge((X[rows], y[rows], X[held], y[held]))
            found[name]["seconds"][method] = round(time.perf_counter() - started, 3)
            found[name]["accuracy"][method] = float((guess == y[held]).mean())
    reference = list(found[REFERENCE]["accuracy"].values())
    for one in found.values():
        rank = spearmanr(list(one["accuracy"].values()), reference)
        one["rank_correlation_with_reference"] = float(rank.statistic)
        one["median_seconds"] = float(np.median(list(one["seconds"].values())))
    setting = {"train": size, "held_out": len(held), "classes": classes, "dimensions": X.shape[1]}
    show(found)
    record("linear_probe", {"setting": setting, "judges": found, "reference": REFERENCE})


def _ours(data: Data, classes: int) -> NDArray[Any]:
    X, y, X_test, y_test = data
    return fit_linear_probe(X, y, classes).judge(X_test, y_test)[0]


def _ridge(data: Data) -> NDArray[Any]:
    from sklearn.linear_model import RidgeClassifierCV

    X, y, X_test, _ = data
    return RidgeClassifierCV(alphas=np.logspace(-3, 2, 11)).fit(X, y).predict(X_test)


def _logistic(data: Data) -> NDArray[Any]:
    from sklearn.linear_model import LogisticRegression

    X, y, X_test, _ = data
    return LogisticRegression(C=100, max_iter=200).fit(X, y).predict(X_test)


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("", *METHODS, "rank corr.", "median s")
    for name, one in found.items():
        cells = [f"{value:.3f}" for value in one["accuracy"].values()]
        rank = f"{one['rank_correlation_with_reference']:.2f}"
        table.add_row(name, *cells, rank, f"{one['median_seconds']:.2f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
