"""What a report on decoding shows, as one plain dictionary, and its pictures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from samplewise.report.answers import cut

__all__ = ["draw_accepted", "draw_surprise", "summarise_decoding"]

_PROMPTS, _TOKENS, _TEXT = 50, 1_000, 4_000  # prompts, tokens of each, characters of a prompt
_SHADES = 8.0  # bits: a token this surprising has the darkest shade


def summarise_decoding(
    rows: Sequence[Mapping[str, Any]],
    totals: Mapping[str, Any],
    *,
    asked: Mapping[str, Any],
    slowness: str = "",
) -> dict[str, Any]:
    """Gather all that the report on decoding shows.

    Parameters
    ----------
    rows : sequence of mapping
        A prompt each, as a line of `decoded.jsonl`.
    totals : mapping
        What all of them took.
    asked : mapping
        The settings.
    slowness : str
        What to do where guessing did not pay.

    Returns
    -------
    dict
        Of plain JSON values.
    """
    return {
        "format": 1,
        "kind": "decoding",
        "asked": dict(asked),
        "totals": dict(totals),
        "slowness": slowness,
        "count": len(rows),
        "prompts": [_prompt(row) for row in rows[:_PROMPTS]],
    }


def _prompt(row: Mapping[str, Any]) -> dict[str, Any]:
    first = set(itertools.accumulate(row["given"], initial=0))
    marked = zip(row["pieces"], row["surprises"], row["entropies"], strict=False)
    return {
        "prompt": cut(row["prompt"], _TEXT),
        "finish": row["finish"],
        "tokens": row["tokens"],
        "steps": len(row["read"]),
        "tokens_per_step": row["tokens_per_step"],
        "speed_up": row["speed_up"],
        "pieces": [
            {
                "text": piece,
                "surprise": round(surprise, 3),
                "entropy": round(entropy, 3),
                "shade": round(min(1.0, surprise / _SHADES), 2),
                "begins": place in first,  # a step of its own
            }
            for place, (piece, surprise, entropy) in enumerate(marked)
        ][:_TOKENS],
    }


def draw_accepted(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw how far guesses were right."""
    shares = (report.get("totals") or {}).get("accepted_by_depth")
    if report.get("kind") != "decoding" or not shares:
        return None
    return {
        "data": [
            {
                "type": "bar",
                "x": list(range(1, len(shares) + 1)),
                "y": shares,
                "marker": {"color": "@chosen"},
                "hovertemplate": "%{x} or more: %{y:.1%}<extra></extra>",
            }
        ],
        "layout": {
            "height": 300,
            "xaxis": {"title": {"text": "guessed tokens kept, at least"}, "dtick": 1},
            "yaxis": {"title": {"text": "share of steps"}, "tickformat": ".0%"},
        },
    }


def draw_surprise(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw the surprise and entropy of every token of the first prompt."""
    prompts = report.get("prompts")
    if report.get("kind") != "decoding" or not prompts or not prompts[0]["pieces"]:
        return None
    pieces = prompts[0]["pieces"]
    places = list(range(1, len(pieces) + 1))
    lines = (("surprise", "@chosen", "lines+markers"), ("entropy", "@pool", "lines"))
    return {
        "data": [
            {
                "type": "scatter",
                "mode": mode,
                "name": name,
                "x": places,
                "y": [piece[name] for piece in pieces],
                "line": {"color": color, "width": 1.5},
                "marker": {"color": color, "size": 4},
                "hovertemplate": "token %{x}: %{y:.2f} bits<extra>" + name + "</extra>",
            }
            for name, color, mode in lines
        ],
        "layout": {
            "height": 320,
            "xaxis": {"title": {"text": "token"}},
            "yaxis": {"title": {"text": "bits"}, "rangemode": "tozero"},
        },
    }
