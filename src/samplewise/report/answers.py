"""What a report on answered problems shows, as one plain dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from samplewise.report.answer_curves import (
    Row,
    Same,
    answers_of,
    ask_whether_it_pays,
    drawn_of,
    summarise_curve,
)

__all__ = ["FORMAT", "Row", "cut", "summarise_answers", "wilson"]

FORMAT = 1  # of the dictionary; raise it when a key changes its meaning

_PROBLEMS, _SAMPLES, _TEXT = 200, 64, 4_000  # problems, samples of each and characters shown
_ROOM, _SHORT = 4_000_000, 200  # characters of all samples; of each, where they are too many


def summarise_answers(
    rows: Sequence[Row],
    *,
    strategy: str,
    knobs: Mapping[str, Any] | None = None,
    model: str = "",
    verifier: str = "",
    adaptive: bool = False,
    price: tuple[float, float] | None = None,
    value: float | None = None,
    same: Same | None = None,
    rng: int = 0,
) -> dict[str, Any]:
    """Gather all that the report on answered problems shows.

    Parameters
    ----------
    rows : sequence of mapping
        A problem each, as a line of `answers.jsonl`.
    strategy, model, verifier : str
        Their names.
    knobs : mapping, optional
        Those of the strategy.
    adaptive : bool
        Whether the strategy asks the verifier while it draws.
    price : (float, float), optional
        Dollars a million tokens read and drawn.
    value : float, optional
        Dollars that a solved problem is worth.
    same : callable, optional
        Says whether two extracted answers are one; by default, if their texts are equal.
    rng : int
        Seed of the bootstrap and of the votes.

    Returns
    -------
    dict
        Of plain JSON values: ``asked``, ``totals``, ``curve``, ``pays``, ``problems``, ``shown``
        and ``notes``.
    """
    totals = _totals(rows, price)
    drawn = drawn_of(rows, adaptive=adaptive)
    curve = summarise_curve(drawn, same=same, rng=rng)
    dollars = totals["dollars"]
    cost = dollars / totals["completions"] if dollars and totals["completions"] else None
    limit = _room(rows)
    return {
        "format": FORMAT,
        "kind": "answers",
        "asked": {
            "strategy": strategy,
            "knobs": dict(knobs or {}),
            "model": model,
            "verifier": verifier,
            "price": None if price is None else list(price),
            "value": value,
            "rng": rng,
        },
        "totals": totals,
        "curve": curve,
        "no_curve": "" if curve else drawn.unfit or "no completion came to its end",
        "pays": ask_whether_it_pays(curve, cost, value),
        "problems": [_problem(row, limit) for row in rows[:_PROBLEMS]],
        "shown": {"problems": _PROBLEMS, "samples": _SAMPLES, "characters": limit},
        "notes": _notes(rows, curve, limit),
    }


def _totals(rows: Sequence[Row], price: tuple[float, float] | None) -> dict[str, Any]:
    samples = [one for row in rows for one in row["samples"]]
    right = sum(bool(row["correct"]) for row in rows)
    read = sum(one["prompt_tokens"] for one in samples)
    tokens = sum(one["tokens"] for one in samples)
    states = [row["state"] for row in rows]
    waited = sum(row["sequential_tokens"] for row in rows)
    return {
        "problems": len(rows),
        "right": right,
        "wrong": states.count("answered") - right,
        "abstained": states.count("abstained"),
        "failed": states.count("failed"),
        "accuracy": right / len(rows) if rows else 0.0,
        "interval": list(wilson(right, len(rows))),
        "completions": len(samples),
        "right_samples": sum(bool(one["correct"]) for one in samples),
        "tokens": tokens,
        "prompt_tokens": read,
        "sequential_tokens": waited,
        "waited_each": waited / len(rows) if rows else 0.0,
        "dollars": None if price is None else (price[0] * read + price[1] * tokens) / 1e6,
    }


def wilson(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Give Wilson's interval of a share, which holds near 0 and 1 too."""
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = right / count
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((middle + side * reach) / (1 + z * z / count) for side in (-1, 1))
    return (0.0 if right == 0 else low), (1.0 if right == count else high)


def _picked(row: Row) -> list[int]:
    """Choose the samples to show: the first, and the one that was kept."""
    places = list(range(min(len(row["samples"]), _SAMPLES)))
    kept = row["kept"]
    return places if kept is None or kept < _SAMPLES else [*places[:-1], kept]


def _room(rows: Sequence[Row]) -> int:
    """Say how many characters of a text are shown, so that the page stays small."""
    shown = [row["samples"][place] for row in rows[:_PROBLEMS] for place in _picked(row)]
    total = sum(
        min(len(one.get(key) or ""), _TEXT) for one in shown for key in ("text", "thinking")
    )
    return _TEXT if total <= _ROOM else max(_SHORT, min(_TEXT, _ROOM // (2 * len(shown))))


def _problem(row: Row, limit: int) -> dict[str, Any]:
    samples, state = row["samples"], row["state"]
    if state == "answered":
        state = "right" if row["correct"] else "wrong"
    kept = row["kept"]
    answer = samples[kept]["answer"] if kept is not None else None
    return {
        "id": cut(row["id"], 200),
        "question": cut(row["question"], _TEXT),
        "gold": cut(row["gold"], 400),
        "state": state,
        "reason": cut(row["reason"], 400),
        "answer": cut(answer if answer is not None else row["answer"], 400),
        # A text put together from pieces is found in no sample.
        "text": None if kept is not None else cut(row["answer"], limit),
        "right": sum(bool(one["correct"]) for one in samples),
        "count": len(answers_of(row)),
        "tokens": row["tokens"],
        "sequential_tokens": row["sequential_tokens"],
        "samples": [
            _sample(samples[place], place, kept, limit) | {"depth": depth}
            for place, depth in _tree(samples, _picked(row))
        ],
    }


def _tree(samples: Sequence[Row], picked: Sequence[int]) -> list[tuple[int, int]]:
    """Put every sample below the first one that it was drawn from; give places and depths."""
    chosen, below = set(picked), dict[int | None, list[int]]()
    for place in picked:
        above = next(iter(samples[place].get("parents", ())), None)
        below.setdefault(above if above in chosen else None, []).append(place)
    order: list[tuple[int, int]] = []
    waiting = [(place, 0) for place in reversed(below.get(None, []))]
    while waiting:
        place, depth = waiting.pop()
        order.append((place, depth))
        waiting += [(one, depth + 1) for one in reversed(below.get(place, []))]
    return order


def _sample(one: Row, place: int, kept: int | None, limit: int) -> dict[str, Any]:
    score = one["score"]
    return {
        "place": place,
        "kept": place == kept,
        "correct": bool(one["correct"]),
        "score": float(score) if score is not None and math.isfinite(score) else None,
        "answer": cut(one["answer"], 400),
        "finish": one["finish"],
        "tokens": one["tokens"],
        "text": cut(one["text"], limit),
        "thinking": cut(one.get("thinking"), limit),
        "error": cut(one.get("error"), 400),
        "kind": one.get("kind", "answer"),
        "from": [place + 1 for place in one.get("parents", ())],
        "remarks": {key: cut(value, _TEXT) for key, value in one.get("remarks", {}).items()},
    }


def cut(text: Any, limit: int) -> str | None:
    """Cut a text that is too long to show, and say so."""
    if text is None:
        return None
    whole = str(text)
    if len(whole) <= limit:
        return whole
    return f"{whole[:limit]} … ({len(whole) - limit:,} more characters)"


def _notes(rows: Sequence[Row], curve: Mapping[str, Any] | None, limit: int) -> list[str]:
    notes = []
    longest = max((len(row["samples"]) for row in rows), default=0)
    texts = (one["text"] for row in rows for one in row["samples"])
    cut = [
        f"the first {_PROBLEMS} of {len(rows):,} problems" if len(rows) > _PROBLEMS else "",
        f"at most {_SAMPLES} samples of each" if longest > _SAMPLES else "",
        f"{limit:,} characters of a text" if any(len(text) > limit for text in texts) else "",
    ]
    if any(cut):
        said = ", ".join(filter(None, cut))
        notes.append(f"Shown here: {said}. answers.jsonl in the run folder holds everything.")
    if curve and curve["left_out"]:
        notes.append(
            f"The curves leave out {curve['left_out']:,} of {len(rows):,} problems, which have "
            f"fewer than {curve['samples']:,} completions that came to their end."
        )
    return notes
