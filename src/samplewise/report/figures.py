"""The report's pictures, as the plain JSON that Plotly draws; the page adds the colours."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping
from typing import Any

from samplewise.report.answer_curves import draw_coverage
from samplewise.report.decoding import draw_accepted, draw_surprise
from samplewise.report.methods import draw_methods
from samplewise.report.strategies import draw_strategies
from samplewise.report.training import draw_curves

__all__ = ["all_of"]

# Roles, not colours: the page fills in the light or the dark one.
_CHOSEN, _POOL = "@chosen", "@pool"


def all_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Make every picture that the report has the figures for."""
    made = {
        "map": _map(report.get("map")),
        "scores": _scores(report.get("scores")),
        "rounds": _rounds(report.get("rounds")),
        "methods": draw_methods(report),
        "strategies": draw_strategies(report),
        "coverage": draw_coverage(report),
        "accepted": draw_accepted(report),
        "surprise": draw_surprise(report),
        **draw_curves(report),
    }
    return {name: figure for name, figure in made.items() if figure}


def _map(points: dict[str, Any] | None) -> dict[str, Any] | None:
    if not points or not points.get("x"):
        return None
    explained = points.get("explained") or [0, 0]
    return {
        "data": [
            _dots(points, False, "not chosen", {"color": _POOL, "size": 4, "opacity": 0.55}),
            _dots(points, True, "chosen", {"color": _CHOSEN, "size": 5, "opacity": 0.8}),
        ],
        "layout": {
            "height": 520,
            "hovermode": "closest",
            "xaxis": _bare(f"first principal axis, {explained[0]:.0%} of the variance"),
            "yaxis": _bare(f"second, {explained[1]:.0%}"),
        },
    }


def _bare(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title},
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
    }


def _dots(
    points: dict[str, Any], chosen: bool, name: str, marker: dict[str, Any]
) -> dict[str, Any]:
    rows = [i for i, flag in enumerate(points["chosen"]) if bool(flag) == chosen]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [points["x"][i] for i in rows],
        "y": [points["y"][i] for i in rows],
        "text": [_hover(points, i) for i in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {**marker, "line": {"width": 0}},
    }


def _hover(points: dict[str, Any], i: int) -> str:
    """Write what a dot says; Plotly reads a little HTML, so a row's text is escaped."""
    texts, groups = points.get("text") or [], points.get("group") or []
    words = _wrap(texts[i]) if texts else []
    head = f"line {points['line'][i]:,}"
    if groups:
        head += f" · {points.get('kind')} {groups[i]}"
    return "<br>".join(html.escape(line) for line in [head, *words])


def _wrap(text: str, width: int = 60) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)[:4]


def _scores(bins: dict[str, Any] | None) -> dict[str, Any] | None:
    if not bins:
        return None
    edges = bins["edges"]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    sides = (("whole pool", "pool", _POOL, 0.55), ("chosen", "chosen", _CHOSEN, 0.6))
    return {
        "data": [
            {
                "type": "bar",
                "name": name,
                "x": middles,
                "y": bins[key],
                "width": [high - low for low, high in itertools.pairwise(edges)],
                "marker": {"color": color, "opacity": opacity, "line": {"width": 0}},
                "hovertemplate": "score %{x:.4g}: %{y:.1%}<extra>" + name + "</extra>",
            }
            for name, key, color, opacity in sides
        ],
        "layout": {
            "height": 300,
            "barmode": "overlay",
            "xaxis": {"title": {"text": "score"}},
            "yaxis": {"title": {"text": "share of rows"}, "tickformat": ".0%"},
        },
    }


def _rounds(rounds: dict[str, Any] | None) -> dict[str, Any] | None:
    if not rounds or not rounds.get("shares"):
        return None
    names = [f"round {row['round']}" for row in rounds["rows"]]
    return {
        "data": [
            {
                "type": "bar",
                "name": html.escape(str(band["name"])),
                "x": names,
                "y": band["shares"],
                "hovertemplate": "%{y:.1%}<extra>" + html.escape(str(band["name"])) + "</extra>",
            }
            for band in rounds["shares"]
        ],
        "layout": {
            "height": 340,
            "barmode": "stack",
            "xaxis": {"type": "category"},
            "yaxis": {"title": {"text": "share of the round's rows"}, "tickformat": ".0%"},
        },
    }
