"""The groups a pool falls into - clusters, sources or labels - and what each gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samplewise.pool import Category
    from samplewise.select.base import Selection

__all__ = ["MOST", "Groups", "find_groups", "group_rows", "of_category"]

Indices: TypeAlias = NDArray[np.int64]

MOST = 50  # groups shown


@dataclass(frozen=True)
class Groups:
    """Rows by group: row i is in `names[codes[i]]`."""

    kind: str
    codes: Indices
    names: list[str]

    def count(self, rows: Indices) -> Indices:
        """Count the rows of each group."""
        return np.bincount(self.codes[rows], minlength=len(self.names))

    def covered(self, rows: Indices) -> int:
        """Count the groups that hold one of the rows."""
        return int(np.count_nonzero(self.count(rows)))


def find_groups(selection: Selection) -> Groups | None:
    """Give the method's clusters; where it made none, the sources; else the labels."""
    if "cluster" in selection.columns:
        values = np.asarray(selection.columns["cluster"])
        found, codes = np.unique(values, return_inverse=True)
        names = [f"{value:g}" if values.dtype.kind == "f" else str(value) for value in found]
        return Groups("cluster", codes.astype(np.int64), names)
    pool = selection.pool
    if pool.source is not None:
        return of_category("source", pool.source)
    return None if pool.label is None else of_category("label", pool.label)


def of_category(kind: str, category: Category) -> Groups:
    """Turn a column of names into groups, one of them for the rows that have none."""
    codes, names = category.codes.astype(np.int64), list(category.names)
    if (codes < 0).any():
        codes, names = np.where(codes < 0, len(names), codes), [*names, "(none)"]
    return Groups(kind, codes, names)


def group_rows(
    groups: Groups, chosen: NDArray[np.bool_], score: NDArray[np.float64] | None
) -> list[dict[str, Any]]:
    """List the largest groups, each with what it gave and two rows to show for it.

    `examples` are row numbers: chosen ones first.
    """
    sizes = np.bincount(groups.codes, minlength=len(groups.names))
    taken = np.bincount(groups.codes[chosen], minlength=len(groups.names))
    largest = np.argsort(-sizes, kind="stable")[:MOST]
    means = None if score is None else _means(groups, score)
    picks, rest = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    return [
        {
            "name": groups.names[code],
            "size": int(sizes[code]),
            "mean_score": None if means is None or np.isnan(means[code]) else float(means[code]),
            "chosen": int(taken[code]),
            "share": float(taken[code] / sizes[code]),
            "examples": _first_two(groups.codes, code, picks, rest),
        }
        for code in largest.tolist()
        if sizes[code]
    ]


def _means(groups: Groups, score: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(score)
    codes, size = groups.codes[known], len(groups.names)
    counts = np.bincount(codes, minlength=size)
    sums = np.bincount(codes, weights=score[known], minlength=size)
    means: NDArray[np.float64] = np.full(size, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _first_two(codes: Indices, code: int, picks: Indices, rest: Indices) -> list[int]:
    found: list[int] = []
    for rows in (picks, rest):
        # The start of the pool nearly always has two; the whole is searched where it has not.
        for part in (rows[:20_000], rows[20_000:]):
            if len(found) < 2 and len(part):
                found += part[np.flatnonzero(codes[part] == code)[: 2 - len(found)]].tolist()
    return found
