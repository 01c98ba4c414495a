"""What a report on several methods shows, as one plain dictionary, and its picture."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.measure.elimination import Race, Standing, additive_fit

__all__ = ["FORMAT", "Run", "draw_methods", "summarise_methods"]

Floats: TypeAlias = NDArray[np.float64]

FORMAT = 1  # of the dictionary; raise it when a key changes its meaning


class Run(NamedTuple):
    """What one method gave in one seed."""

    seed: int
    method: str
    figures: dict[str, float]
    rows: int
    select_seconds: float
    judge_seconds: float


def summarise_methods(
    race: Race,
    runs: Sequence[Run],
    *,
    figures: Mapping[str, tuple[str, str]],
    described: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather all that the report on several methods shows.

    Parameters
    ----------
    race : Race
        At its end, with a baseline; it holds the values of the main figure.
    runs : sequence of Run
        Every figure of every method and seed.
    figures : mapping of str to (title, 'higher' or 'lower')
        What was measured; the first is the main one.
    described : mapping of str to mapping
        More about every method, such as its title and knobs.
    asked : mapping
        What was asked; it is passed on.

    Returns
    -------
    dict
        Of plain JSON values: ``asked``, ``verdict``, ``methods`` (best first), ``figures``,
        ``points``, ``spent``, ``seconds`` and ``notes``.

    Examples
    --------
    >>> race = Race(["a", "random"], 2, baseline="random")
    >>> for values in ({"a": 0.9, "random": 0.2}, {"a": 0.9, "random": 0.2}):
    ...     race.tell(values)
    >>> report = summarise_methods(
    ...     race, [], figures={"score": ("Score", "higher")}, described={}, asked={}
    ... )
    >>> [row["method"] for row in report["methods"]]
    ['a', 'random']
    >>> report["verdict"]["text"]
    'a is the best of 2 methods: it beats a random choice by 0.7 (0.6993 to 0.7007).'
    """
    main, *others = figures
    standings = race.standings()
    means = {key: _means(race.names, runs, key) for key in others}
    rows = [
        {
            "method": row.name,
            "title": "",
            "knobs": {},
            **described.get(row.name, {}),
            "seeds": row.seeds,
            "mean": row.mean,
            "low": row.low,
            "high": row.high,
            "difference": row.difference,
            "difference_low": row.difference_low,
            "difference_high": row.difference_high,
            "verdict": _verdict(row, race.higher_is_better),
            "may_be_best": row.may_be_best,
            "exit": None if row.exit is None else vars(row.exit),
            "seconds": _mean([r.select_seconds for r in runs if r.method == row.name]),
            "rows": _mean([r.rows for r in runs if r.method == row.name]),
            "others": {key: means[key].get(row.name) for key in others},
        }
        for row in standings
    ]
    title, better = figures[main]
    return {
        "format": FORMAT,
        "kind": "methods",
        "asked": {**asked, "main": main, "title": title, "better": better, "alpha": race.alpha},
        "verdict": _say(race, rows, str(asked.get("baseline") or "a random choice")),
        "methods": rows,
        "figures": {key: {"title": one[0], "better": one[1]} for key, one in figures.items()},
        "points": _points(race, runs, main),
        "spent": _spent(race, runs),
        "seconds": {
            "choosing": sum(run.select_seconds for run in runs),
            "judging": sum(run.judge_seconds for run in runs),
        },
        "notes": _notes(race),
    }


def _verdict(row: Standing, higher: bool) -> str:
    if row.difference_low is None or row.difference_high is None:
        return "baseline"
    if row.difference_low <= 0 <= row.difference_high:
        return "same"
    return "better" if (row.difference_low > 0) == higher else "worse"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _means(names: Sequence[str], runs: Sequence[Run], figure: str) -> dict[str, float]:
    """Average another figure over the seeds, as if every method had all of them."""
    if not runs:
        return {}
    table = np.full((max(run.seed for run in runs) + 1, len(names)), np.nan)
    for run in runs:
        table[run.seed, names.index(run.method)] = run.figures[figure]
    known = np.isfinite(table)
    if not known.any(axis=0).all() or not known.any(axis=1).all():
        return {}
    return dict(zip(names, additive_fit(table)[0].tolist(), strict=True))


def _points(race: Race, runs: Sequence[Run], main: str) -> list[dict[str, Any]]:
    """Give every value of the main figure, and what it is without what its seed gives to all."""
    if not runs:
        return []
    table = np.full((race.seeds, len(race.names)), np.nan)
    for run in runs:
        table[run.seed, race.names.index(run.method)] = run.figures[main]
    seed = additive_fit(table)[1]
    return [
        {
            "method": run.method,
            "seed": run.seed,
            "value": run.figures[main],
            "adjusted": run.figures[main] - float(seed[run.seed]),
        }
        for run in runs
    ]


def _spent(race: Race, runs: Sequence[Run]) -> dict[str, Any]:
    """Say what elimination saved: runs, and the seconds they would have taken."""
    cost: dict[str, list[float]] = {name: [] for name in race.names}
    for run in runs:
        cost[run.method].append(run.select_seconds + run.judge_seconds)
    spared = sum((race.most - len(one)) * (_mean(one) or 0.0) for one in cost.values())
    return {
        "runs": race.spent,
        "fixed": race.fixed,
        "saved": 1 - race.spent / race.fixed,
        "seconds": math.fsum(value for one in cost.values() for value in one),
        "seconds_saved": spared if runs else 0.0,
        "seeds": race.seeds,
        "most": race.most,
        "decided": race.decided,
    }


def _say(race: Race, rows: Sequence[Mapping[str, Any]], rival: str) -> dict[str, Any]:
    """Say in plain words which method is best, and whether it beats the baseline."""
    first = rows[0]
    rivals = [row["method"] for row in rows if row["may_be_best"]][1:]
    chance = next(row["method"] for row in rows if row["verdict"] == "baseline")
    by = ""
    if first["difference"] is not None:
        ends = sorted(abs(first[key]) for key in ("difference_low", "difference_high"))
        by = f"{abs(first['difference']):.4g} ({ends[0]:.4g} to {ends[1]:.4g})"
    if first["verdict"] == "baseline":
        text, kind = f"No method has a better mean than {rival}.", "worse"
    elif first["verdict"] != "better":
        text = f"No method beats {rival} for certain; {first['method']} has the best mean."
        kind = "same"
    elif not rivals:
        text = f"{first['method']} is the best of {len(rows)} methods: it beats {rival} "
        text, kind = text + f"by {by}.", "better"
    else:
        text = f"{first['method']} has the best mean, and beats {rival} by {by}."
        kind = "better"
    if rivals and first["verdict"] != "baseline":
        text += f" It cannot be told from {_list(rivals)}."
    if race.decided and rivals and race.indifference:
        text += " Whichever of them is best, the difference is less than matters."
    same = [r["method"] for r in rows if r["verdict"] == "same"]
    worse = [r["method"] for r in rows if r["verdict"] == "worse"]
    if same and kind == "better":
        text += f" Neither better nor worse than {chance} for certain: {_list(same)}."
    if worse:
        text += f" Worse than {chance}: {_list(worse)}."
    return {"kind": kind, "text": text}


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _notes(race: Race) -> list[str]:
    notes = []
    unlike = race.unlike() if race.pooled else []
    if unlike:
        notes.append(
            f"The values of {_list(unlike)} scatter more than those of the others, while the "
            "intervals take all to scatter alike, so that theirs may be too narrow. With "
            "--no-pooled (pooled=False) every pair is judged by its own scatter."
        )
    if not race.pooled:
        notes.append("Every method is judged by its own scatter, so that the intervals are wide.")
    return notes


def draw_methods(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw every method's mean, and its interval set off from the random choice."""
    rows = report.get("methods") or []
    if not rows:
        return None
    asked = report.get("asked") or {}
    chance = next((row["mean"] for row in rows if row["verdict"] == "baseline"), None)
    names = [html.escape(row["method"]) for row in rows]
    points = report.get("points") or []
    shown = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "one seed",
            "x": [point["adjusted"] for point in points],
            "y": [html.escape(point["method"]) for point in points],
            "text": [f"seed {point['seed']}: {point['value']:.4g}" for point in points],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": "@pool", "size": 5, "opacity": 0.6, "line": {"width": 0}},
        },
        _means_of([row for row in rows if row["may_be_best"]], chance, "may be best", "circle"),
        _means_of(
            [row for row in rows if not row["may_be_best"]], chance, "clearly behind", "circle-open"
        ),
    ]
    line = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": chance,
        "x1": chance,
        "y0": 0,
        "y1": 1,
        "line": {"color": "@soft", "width": 1, "dash": "dot"},
    }
    return {
        "data": [trace for trace in shown if trace["x"]],
        "layout": {
            "height": 130 + 34 * len(rows),
            "hovermode": "closest",
            "xaxis": {"title": {"text": html.escape(str(asked.get("title", "")))}},
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.6, len(names) - 0.4],
            },
            "shapes": [] if chance is None else [line],
        },
    }


def _means_of(
    rows: Sequence[Mapping[str, Any]], chance: float | None, name: str, symbol: str
) -> dict[str, Any]:
    """Draw some methods' means; a bar that ends before the line differs from a random choice."""
    color = "@chosen" if symbol == "circle" else "@soft"
    ends = [_ends(row, chance) for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["mean"] for row in rows],
        "y": [html.escape(row["method"]) for row in rows],
        "text": [_hover(row) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - row["mean"] for row, (_, high) in zip(rows, ends, strict=True)],
            "arrayminus": [row["mean"] - low for row, (low, _) in zip(rows, ends, strict=True)],
            "color": color,
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": color, "size": 10, "symbol": symbol, "line": {"width": 2}},
    }


def _ends(row: Mapping[str, Any], chance: float | None) -> tuple[float, float]:
    if chance is None or row["difference_low"] is None:
        return row["mean"], row["mean"]
    return chance + row["difference_low"], chance + row["difference_high"]


def _hover(row: Mapping[str, Any]) -> str:
    text = f"{html.escape(row['method'])}: {row['mean']:.4g}, {row['seeds']} seeds"
    if row["exit"]:
        text += f"<br>clearly behind {html.escape(row['exit']['rival'])} after "
        text += f"{row['exit']['after']} seeds"
    return text
