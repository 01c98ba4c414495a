"""What a report on a selection shows, as one plain dictionary. O(n) in the rows of the pool.

Whatever would cost more than one pass over small columns is measured on a sample, and the report
says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.report.comparison import compare, verdict_of
from samplewise.report.groups import MOST, Groups, find_groups, group_rows
from samplewise.report.picture import draw_map, rows_to_draw

if TYPE_CHECKING:
    from samplewise.pool import Pool
    from samplewise.select.base import Selection

__all__ = ["FORMAT", "summarise"]

Indices: TypeAlias = NDArray[np.int64]

_SALT = 20_240_911
FORMAT = 1  # of the dictionary; raise it when a key changes its meaning
_HOVER, _EXAMPLE = 120, 160  # characters of a text
_BINS, _BANDS, _ROUNDS = 40, 12, 200


def summarise(
    selection: Selection, *, seconds: Mapping[str, float], rng: int = 0
) -> dict[str, Any]:
    """Gather all that the report on a selection shows.

    Parameters
    ----------
    selection : Selection
        What was chosen, with its pool.
    seconds : mapping of str to float
        Time by stage.
    rng : int, default 0
        Seed of the random subsets and of the samples that are drawn.

    Returns
    -------
    dict
        Of plain JSON values: ``asked``, ``verdict``, ``comparison``, ``map``, ``scores``,
        ``groups``, ``rounds``, ``weights`` and ``notes``; a part that the pool has nothing for is
        None.

    Examples
    --------
    >>> import samplewise as sw
    >>> pool = sw.Pool.from_rows([{"text": f"row {i}", "source": "ab"[i % 2]} for i in range(40)])
    >>> report = summarise(sw.select(pool, "10%", "random", rng=0), seconds={})
    >>> report["asked"]["chosen"], report["verdict"]["text"]
    (4, 'This is a random choice: the baseline that others have to beat.')
    """
    # The run's own seed is often given: its numbers must not come back as the random rival.
    pool, random = selection.pool, np.random.default_rng([rng, _SALT])
    chosen = np.zeros(len(pool), dtype=bool)
    chosen[selection.indices] = True
    groups = find_groups(selection)
    comparison = compare(pool, selection.indices, groups, random)
    report = {
        "format": FORMAT,
        "asked": _asked(selection, chosen, seconds, rng),
        "verdict": verdict_of(selection.method.name, comparison["measures"], bool(chosen.all())),
        "comparison": comparison,
        "map": _map(selection, chosen, groups, random),
        "scores": _histogram(pool, chosen),
        "groups": _groups(groups, pool, chosen),
        "rounds": _rounds(selection, groups),
        "weights": _weights(selection),
        "notes": _notes(pool, groups),
    }
    _fill_texts(pool, report)
    plain: dict[str, Any] = _plain(report)
    return plain


def _asked(
    selection: Selection, chosen: NDArray[np.bool_], seconds: Mapping[str, float], rng: int
) -> dict[str, Any]:
    method, pool = selection.method, selection.pool
    return {
        "pool": pool.name,
        "method": method.name,
        "title": method.title(),
        "paper": method.paper,
        "cost": method.cost,
        "knobs": method.settings(),
        "budget": str(selection.budget),
        "rows": len(pool),
        "rejected": len(pool.rejected),
        "chosen": len(selection),
        "distinct": int(chosen.sum()),
        "dimensions": None if pool.embeddings is None else pool.embeddings.shape[1],
        "seconds": dict(seconds),
        "report_seed": rng,
    }


def _map(
    selection: Selection,
    chosen: NDArray[np.bool_],
    groups: Groups | None,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    pool = selection.pool
    if pool.embeddings is None:
        return None
    rows = rows_to_draw(chosen, rng)
    return {
        **draw_map(pool.embeddings, rows, rng),
        "chosen": chosen[rows],
        "row": rows,
        "line": pool.line[rows],
        "kind": None if groups is None else groups.kind,
        "group": None if groups is None else [groups.names[code] for code in groups.codes[rows]],
    }


def _histogram(pool: Pool, chosen: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Give the share of the pool's rows, and of the chosen ones, in each bin of the score."""
    if pool.score is None:
        return None
    known = np.isfinite(pool.score)
    if not (known & chosen).any():
        return None
    bins = min(_BINS, max(1, len(np.unique(pool.score[known][:10_000]))))
    sides = (known, known & chosen)
    edges = np.histogram_bin_edges(pool.score[known], bins)
    counts = [np.histogram(pool.score[side], edges)[0] / side.sum() for side in sides]
    return {"edges": edges, "pool": counts[0], "chosen": counts[1]}


def _groups(groups: Groups | None, pool: Pool, chosen: NDArray[np.bool_]) -> dict[str, Any] | None:
    if groups is None:
        return None
    rows = group_rows(groups, chosen, pool.score)
    for row in rows:
        row["lines"] = [int(pool.line[example]) for example in row["examples"]]
    return {
        "kind": groups.kind,
        "total": len(groups.names),
        "covered": groups.covered(np.flatnonzero(chosen)),
        "most": MOST,
        "rows": rows,
    }


def _rounds(selection: Selection, groups: Groups | None) -> dict[str, Any] | None:
    """Average each number the method kept over the rows of each round."""
    if "round" not in selection.columns:
        return None
    number = np.asarray(selection.columns["round"])[selection.indices]
    kept = {"weight": selection.weights}
    if selection.pool.score is not None:
        kept["score"] = selection.pool.score[selection.indices]
    for name, column in selection.columns.items():
        values = np.asarray(column)
        if name not in ("round", "cluster", "weight") and values.dtype.kind in "fiub":
            kept[name] = values[selection.indices].astype(np.float64)
    places = [(value, number == value) for value in np.unique(number)[:_ROUNDS]]
    rows = [
        {
            "round": value,
            "rows": int(here.sum()),
            "means": {name: _mean(values[here]) for name, values in kept.items()},
        }
        for value, here in places
    ]
    shares = None if groups is None else _bands(groups, selection.indices, places)
    return {"columns": list(kept), "rows": rows, "shares": shares}


def _bands(
    groups: Groups, indices: Indices, places: list[tuple[Any, NDArray[np.bool_]]]
) -> list[dict[str, Any]]:
    """Give the share of each round's rows that the most chosen groups have."""
    table = np.stack([groups.count(indices[here]) / here.sum() for _, here in places])
    most = np.argsort(-groups.count(indices), kind="stable")[:_BANDS]
    return [{"name": groups.names[code], "shares": table[:, code]} for code in most.tolist()]


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _weights(selection: Selection) -> dict[str, Any] | None:
    """Sum up the weights, where the method weights."""
    weights = np.asarray(selection.weights, dtype=np.float64)
    if not len(weights) or (weights == weights[0]).all():
        return None
    return {
        "lowest": weights.min(),
        "median": np.median(weights),
        "highest": weights.max(),
        "effective": weights.sum() ** 2 / (weights**2).sum(),
    }


def _notes(pool: Pool, groups: Groups | None) -> list[str]:
    notes = []
    if pool.embeddings is None:
        notes.append("No vectors were made of the rows: there is no map, and no distances.")
    if not _has_texts(pool):
        notes.append("The rows have no text: they are shown by their number.")
    if groups is None:
        notes.append("The rows have no cluster, source or label to group them by.")
    return notes


def _has_texts(pool: Pool) -> bool:
    return bool(pool.shards and pool.layout.text)


def _fill_texts(pool: Pool, report: dict[str, Any]) -> None:
    """Put short texts beside the rows that are shown, reading the pool once."""
    points = report["map"]
    tables = report["groups"]["rows"] if report["groups"] else []
    wanted = [row for table in tables for row in table["examples"]]
    if points is not None:
        wanted += points["row"].tolist()
    unique = sorted(set(wanted))
    texts = dict(zip(unique, pool.texts(unique), strict=True)) if _has_texts(pool) else {}
    for table in tables:
        table["texts"] = [_short(texts[row], _EXAMPLE) for row in table["examples"] if texts]
    if points is not None:
        points["text"] = [_short(texts[row], _HOVER) for row in points["row"].tolist() if texts]


def _short(text: str, most: int) -> str:
    # Only the beginning is looked at: a text may be a whole book.
    words = " ".join(text[: 4 * most].split())
    return words if len(words) <= most and len(text) <= 4 * most else words[: most - 1] + "…"


def _plain(value: Any) -> Any:
    """Turn arrays, NumPy numbers and numbers that are not finite into what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [
            _plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)
        ]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
