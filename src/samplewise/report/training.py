"""What a report on training shows, as one plain dictionary, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplewise.report.answers import cut

__all__ = ["draw_curves", "summarise_training"]

_POINTS, _ROLLOUTS, _TEXT = 400, 12, 2_000  # of a curve, of each end, characters of a text
_FIRST = ("loss", "reward")  # curves that are shown before the others


def summarise_training(
    history: Sequence[Mapping[str, float]],
    rollouts: Sequence[Mapping[str, Any]],
    *,
    asked: Mapping[str, Any],
    title: str = "",
    test: str = "test ",
) -> dict[str, Any]:
    """Gather all that the report on training shows.

    Parameters
    ----------
    history : sequence of mapping
        The figures of every step; ``seconds`` and ``tokens`` among them.
    rollouts : sequence of mapping
        Draws in their order: ``prompt``, ``text``, ``reward``, ``tokens``.
    asked : mapping
        The settings.
    title : str
        What the loop does.
    test : str
        What the names of figures on held-out problems begin with.

    Returns
    -------
    dict
        Of plain JSON values.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    shown = sorted((n for n in names if not n.startswith(test) and n != "seconds"), key=_order)
    tested = [name for name in names if name.startswith(test)]
    curves = [_curve(history, name, smooth=True) for name in shown]
    if "tokens" in names and "seconds" in names:
        curves.append(_speed(history))
    return {
        "format": 1,
        "kind": "training",
        "asked": dict(asked),
        "title": title,
        "steps": len(history),
        "seconds": sum(row.get("seconds", 0.0) for row in history),
        "tokens": sum(int(row["tokens"]) for row in rollouts),
        "draws": len(rollouts),
        "curves": curves,
        "tested": [
            _curve(history, name, smooth=False) | {"name": name.removeprefix(test)}
            for name in tested
        ],
        "first": [_rollout(row) for row in rollouts[:_ROLLOUTS]],
        "last": [_rollout(row) for row in rollouts[_ROLLOUTS:][-_ROLLOUTS:]],
    }


def _order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _curve(history: Sequence[Mapping[str, float]], name: str, *, smooth: bool) -> dict[str, Any]:
    steps = np.asarray([step for step, row in enumerate(history, 1) if name in row])
    values = np.asarray([row[name] for row in history if name in row], dtype=np.float64)
    known = np.isfinite(values)
    return _points(name, steps[known], values[known], smooth)


def _speed(history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    rows = [
        (step, row["tokens"] / row["seconds"])
        for step, row in enumerate(history, 1)
        if row.get("tokens") and row.get("seconds")
    ]
    steps, values = np.asarray(rows, dtype=np.float64).reshape(-1, 2).T
    return _points("tokens a second", steps, values, True)


def _points(
    name: str, steps: NDArray[Any], values: NDArray[np.float64], smooth: bool
) -> dict[str, Any]:
    """Average neighbours until there are few enough points; `smooth` adds a running mean."""
    width = max(1, -(-len(values) // _POINTS))
    edges = range(0, len(values), width)
    means = np.asarray([values[at : at + width].mean() for at in edges])
    curve = {
        "name": name,
        "x": [float(steps[at : at + width].mean()) for at in edges],
        "y": [float(f"{value:.6g}") for value in means],
        "smooth": [],
    }
    if smooth and len(means) >= 20:
        reach = max(2, len(means) // 20)
        sums = np.concatenate([[0.0], means.cumsum()])
        places = np.arange(len(means))
        low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(means))
        running = (sums[high] - sums[low]) / (high - low)
        curve["smooth"] = [float(f"{value:.6g}") for value in running]
    return curve


def _rollout(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prompt": cut(row["prompt"], _TEXT),
        "text": cut(row["text"], _TEXT),
        "reward": row["reward"],
        "tokens": row["tokens"],
    }


def draw_curves(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Draw every figure against the steps; pictures are named by their places."""
    if report.get("kind") != "training":
        return {}
    groups = ("curves", "tested")
    return {
        f"{group}-{place}": _draw(curve)
        for group in groups
        for place, curve in enumerate(report[group])
        if len(curve["x"]) > 1
    }


def _draw(curve: Mapping[str, Any]) -> dict[str, Any]:
    color = "@pool" if curve["smooth"] else "@chosen"
    line = {
        "type": "scatter",
        "mode": "lines" if curve["smooth"] else "lines+markers",
        "x": curve["x"],
        "y": curve["y"],
        "line": {"color": color, "width": 1},
        "marker": {"color": color, "size": 5},
        "hovertemplate": "step %{x:.0f}: %{y:.4g}<extra></extra>",
    }
    mean = {
        **line,
        "y": curve["smooth"],
        "mode": "lines",
        "line": {"color": "@chosen", "width": 2.5},
    }
    return {
        "data": [line, mean] if curve["smooth"] else [line],
        "layout": {
            "height": 240,
            "showlegend": False,
            "xaxis": {"title": {"text": "step"}},
            "yaxis": {"title": {"text": curve["name"]}},
        },
    }
