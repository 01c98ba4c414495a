"""What a report on training shows, as one plain dictionary, and its pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.paired import Difference, paired_difference
from samplewise.report.answers import cut

__all__ = ["COST_UNITS", "Beside", "Draws", "draw_curves", "summarise_training"]

COST_UNITS = {"flops": ("billions of operations", 1e9)}
"""Units of cost that are shown under another name, and how many of them are one of it."""
History: TypeAlias = Sequence[Mapping[str, float]]

_POINTS, _ROLLOUTS, _TEXT = 400, 12, 2_000  # of a curve, of each end, characters of a text
_FIRST = ("loss", "reward")  # curves that are shown before the others


@dataclass
class Draws:
    """What a training drew: how much, and the first and the last of it."""

    count: int = 0
    tokens: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)
    last: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_ROLLOUTS))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a draw: ``prompt``, ``text``, ``reward``, ``tokens``."""
        self.count += 1
        self.tokens += int(row["tokens"])
        (self.first if self.count <= _ROLLOUTS else self.last).append(_rollout(row))


@dataclass(frozen=True)
class Beside:
    """A loop and its rival, trained from one seed at equal cost.

    Parameters
    ----------
    name, title : str
        Of the rival; the name says how it differs where it is of one kind with the loop.
    knobs : mapping
        Of the rival.
    unit : str
        Of the cost: a figure of every step, or ``steps``.
    equal : bool
        Whether the rival was trained until it had cost as much, or as many steps as it is laid out
        for.
    histories : pair of sequences of mapping
        The figures of every step: the loop's, the rival's.
    outcomes : pair of mappings
        What each is worth on held-out items: a value an item, or one for all. The first is what the
        loop is for.
    better : str
        ``higher`` or ``lower``, of that.
    """

    name: str
    title: str
    knobs: Mapping[str, Any]
    unit: str
    equal: bool
    histories: tuple[History, History]
    outcomes: tuple[Mapping[str, ArrayLike], Mapping[str, ArrayLike]]
    better: str = "higher"

    def rows(self) -> list[dict[str, Any]]:
        """Compare every figure that both tell; those of every item with an interval."""
        mine, theirs = self.outcomes
        return [
            _compared(name, np.asarray(mine[name]), np.asarray(theirs[name]))
            for name in mine
            if name in theirs
        ]

    def costs(self) -> dict[str, list[float]]:
        """Give what each cost, in steps, in the unit and in seconds."""
        units = dict.fromkeys(("steps", self.unit, "seconds"))
        shown = {unit: COST_UNITS.get(unit, (unit, 1.0)) for unit in units}
        return {
            name: [sum(_costs(history, unit)) / size for history in self.histories]
            for unit, (name, size) in shown.items()
        }

    def verdict(self, loop: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Say which of the two is ahead."""
        first = rows[0]
        cost = "at equal cost" if self.equal else "at its own cost"
        if not first["clear"]:
            return f"{loop} is not clearly different from {self.name} {cost}, in {first['name']}."
        ahead = (first["difference"] > 0) == (self.better == "higher")
        return (
            f"{loop} is {'ahead of' if ahead else 'behind'} {self.name} {cost}: {first['name']} "
            f"{first['mine']:.3g} against {first['rival']:.3g}, difference "
            f"{first['difference']:+.3g} ({first['low']:+.3g} to {first['high']:+.3g})."
        )


def _compared(name: str, mine: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Any]:
    away = Difference(float(mine.mean() - theirs.mean()), np.nan, np.nan)
    if mine.ndim and mine.shape == theirs.shape and len(mine) > 1:
        away = paired_difference(mine, theirs)
    known = {
        "mine": mine.mean(),
        "rival": theirs.mean(),
        "difference": away.mean,
        "low": away.low,
        "high": away.high,
    }
    finite = {key: float(value) if np.isfinite(value) else None for key, value in known.items()}
    return {"name": name, **finite, "clear": bool(away.clear)}


def _costs(history: History, unit: str) -> list[float]:
    return [1.0 if unit == "steps" else row.get(unit, 0.0) for row in history]


def summarise_training(
    history: History,
    draws: Draws,
    *,
    asked: Mapping[str, Any],
    title: str = "",
    test: str = "test ",
    knobs: Mapping[str, Any] | None = None,
    rival: Beside | None = None,
) -> dict[str, Any]:
    """Gather all that the report on training shows.

    Parameters
    ----------
    history : sequence of mapping
        The figures of every step; ``seconds`` and ``tokens`` among them.
    draws : Draws
    asked : mapping
        The settings.
    title : str
        What the loop does.
    test : str
        What the names of figures on held-out problems begin with.
    knobs : mapping, optional
        All knobs of the loop.
    rival : Beside, optional

    Returns
    -------
    dict
        Of plain JSON values.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    hidden = ("seconds", "flops")
    shown = sorted((n for n in names if not n.startswith(test) and n not in hidden), key=_order)
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
        "tokens": draws.tokens,
        "draws": draws.count,
        "curves": curves,
        "tested": [
            _tested(history, name, rival) | {"name": name.removeprefix(test)} for name in tested
        ],
        "first": draws.first,
        "last": list(draws.last),
        **_beside(rival, str(asked["loop"]), knobs or {}),
    }


def _beside(rival: Beside | None, loop: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Gather what is shown of a rival, and those of its knobs that differ from the loop's."""
    if rival is None:
        return {"rival": None, "verdict": f"No rival was trained beside {loop}."}
    rows = rival.rows()
    other = {
        name: value
        for name, value in rival.knobs.items()
        if value is not None and knobs.get(name, knobs) != value
    }
    shown = {
        "loop": rival.name,
        "title": rival.title,
        "knobs": other,
        "equal": rival.equal,
        "costs": rival.costs(),
        "rows": rows,
    }
    return {"rival": shown, "verdict": rival.verdict(loop, rows)}


def _tested(history: History, name: str, rival: Beside | None) -> dict[str, Any]:
    """Draw a figure of held-out problems: against steps, or beside a rival against the cost."""
    if rival is None:
        return _curve(history, name, smooth=False)
    spent = [np.cumsum(_costs(history, rival.unit)) for history in rival.histories]
    most = max(each[-1] for each in spent)
    mine, theirs = (
        _curve(history, name, smooth=False, places=each / most)
        for history, each in zip(rival.histories, spent, strict=True)
    )
    return mine | {"rival": {"name": rival.name, "x": theirs["x"], "y": theirs["y"]}}


def _order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _curve(
    history: History, name: str, *, smooth: bool, places: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Draw a figure against the steps, or against other places of them."""
    told = np.asarray([step for step, row in enumerate(history) if name in row], dtype=np.int64)
    values = np.asarray([history[step][name] for step in told], dtype=np.float64)
    steps = told + 1 if places is None else places[told]
    known = np.isfinite(values)
    return _points(name, steps[known], values[known], smooth)


def _speed(history: History) -> dict[str, Any]:
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
        "hovertemplate": "%{x:.4g}: %{y:.4g}<extra></extra>",
    }
    mean = {
        **line,
        "y": curve["smooth"],
        "mode": "lines",
        "line": {"color": "@chosen", "width": 2.5},
    }
    other = curve.get("rival")
    lines = [line, mean] if curve["smooth"] else [line]
    if other:
        soft = {"line": {"color": "@pool", "width": 1}, "marker": {"color": "@pool", "size": 5}}
        lines.append({**line, **soft, "x": other["x"], "y": other["y"]})
    return {
        "data": lines,
        "layout": {
            "height": 240,
            "showlegend": False,
            "xaxis": {"title": {"text": "share of the cost" if other else "step"}},
            "yaxis": {"title": {"text": curve["name"]}},
        },
    }
