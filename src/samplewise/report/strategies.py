"""What a report on several strategies shows, as one plain dictionary, and its picture."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from samplewise.report.answers import Row, cut, wilson

__all__ = ["draw_strategies", "summarise_strategies"]

FORMAT = 1  # of the dictionary; raise it when a key changes its meaning

_PROBLEMS, _TEXT = 200, 1_500  # problems and characters shown


def summarise_strategies(
    table: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Row]],
    *,
    rival: str,
    verdict: str,
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather all that the report on several strategies shows.

    Parameters
    ----------
    table : sequence of mapping
        A row a strategy, best first: ``strategy``, ``accuracy``, ``difference``, ``low``, ``high``,
        ``clear``, ``tokens``, ``sequential_tokens``, ``completions``, ``unanswered``.
    answers : mapping of str to sequence of mapping
        For each strategy, the lines of its answers, in the order of the problems.
    rival : str
        The strategy that differences are taken from.
    verdict : str
        In one sentence.
    asked : mapping
        ``model``, ``verifier``, ``limit`` (tokens a problem), ``alpha`` and ``rng``.

    Returns
    -------
    dict
        Of plain JSON values.
    """
    names = [row["strategy"] for row in table]
    problems = next(iter(answers.values()), [])
    shown = [
        {
            "id": cut(problem["id"], 200),
            "question": cut(problem["question"], _TEXT),
            "gold": cut(problem["gold"], 400),
            "answers": [_answer(answers[name][place]) for name in names],
        }
        for place, problem in enumerate(problems[:_PROBLEMS])
    ]
    rows = [
        dict(row) | {"interval": wilson(_right(answers[row["strategy"]]), len(problems))}
        for row in table
    ]
    return {
        "format": FORMAT,
        "kind": "strategies",
        "asked": dict(asked),
        "rival": rival,
        "verdict": verdict,
        "strategies": rows,
        "count": len(problems),
        "problems": shown,
    }


def _right(rows: Sequence[Row]) -> int:
    return sum(bool(row["correct"]) for row in rows)


def _answer(row: Row) -> dict[str, Any]:
    state = row["state"]
    if state == "answered":
        state = "right" if row["correct"] else "wrong"
    return {
        "state": state,
        "text": cut(row["answer"], _TEXT),
        "reason": cut(row["reason"], 400),
        "tokens": row["tokens"],
        "samples": len(row["samples"]),
    }


def draw_strategies(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw the share of problems that each strategy answers right, with what it drew for one."""
    rows = report.get("strategies") or []
    if not rows:
        return None
    sides = (("clearly better than the vote", True), ("the others", False))
    traces = [
        _shares([row for row in rows if _better(row) == better], name, better)
        for name, better in sides
    ]
    names = [html.escape(row["strategy"]) for row in rows]
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": {
            "height": 130 + 34 * len(rows),
            "hovermode": "closest",
            "xaxis": {"title": {"text": "problems answered right"}, "tickformat": ".0%"},
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.6, len(names) - 0.4],
            },
        },
    }


def _better(row: Mapping[str, Any]) -> bool:
    return bool(row["clear"] and row["low"] > 0)


def _shares(rows: Sequence[Mapping[str, Any]], name: str, better: bool) -> dict[str, Any]:
    color = "@chosen" if better else "@pool"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["accuracy"] for row in rows],
        "y": [html.escape(row["strategy"]) for row in rows],
        "text": [
            f"{row['accuracy']:.1%}, {row['tokens']:.0f} tokens a problem, "
            f"{row['sequential_tokens']:.0f} of them in turn"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [row["interval"][1] - row["accuracy"] for row in rows],
            "arrayminus": [row["accuracy"] - row["interval"][0] for row in rows],
            "color": color,
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": color, "size": 10, "line": {"width": 0}},
    }
