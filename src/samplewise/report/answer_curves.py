"""How coverage and votes grow with the completions drawn, the law fitted to it, and its picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import SamplewiseError

__all__ = ["Drawn", "ask_whether_it_pays", "draw_coverage", "drawn_of", "summarise_curve"]

Row: TypeAlias = Mapping[str, Any]
Same: TypeAlias = "Callable[[str, str], bool]"
Indices: TypeAlias = NDArray[np.int64]

_POINTS = 40  # of a curve: log-spaced, so that more would not be seen
_ORDERS = 64  # random orders of a problem's samples that the vote is averaged over, at most
_WORK = 40_000_000  # votes counted at most, about: a few seconds
_AT_ONCE = 2_000_000  # votes held in memory
_ALIKE = 64  # different answers of a problem that are compared in pairs; more only as texts
_PAIRS = 20_000  # pairs compared in all: a pair can take milliseconds
_BEYOND = 4  # the law is drawn up to so many times the samples there are
_FEW = 20  # problems, with fewer of which a law says little


class Drawn(NamedTuple):
    """The samples of each problem that ended, and why a curve of them would mislead."""

    samples: list[list[Row]]
    unfit: str
    most: int
    """Samples up to which the curve goes."""
    left_out: int
    """Problems with fewer than these."""


def drawn_of(rows: Sequence[Row], *, adaptive: bool = False) -> Drawn:
    """Find the problems and the number of samples that a curve can be drawn for.

    Parameters
    ----------
    rows : sequence of mapping
        What `answers.jsonl` holds.
    adaptive : bool
        Whether the strategy asks the verifier while it draws, so that it may stop at a right one.
    """
    samples = [
        [one for one in answers_of(row) if one["finish"] not in ("cancelled", "failed")]
        for row in rows
    ]
    sizes = np.array([len(some) for some in samples], np.int64)
    # The number that keeps most samples in all: one short problem must not cut the others.
    kept = {int(k): int(k) * int((sizes >= k).sum()) for k in np.unique(sizes)}
    most = max(kept, key=lambda k: (kept[k], k), default=0)
    whole = [some for some in samples if most and len(some) >= most]
    return Drawn(whole, _unfit(rows, adaptive), most, len(rows) - len(whole))


def answers_of(row: Row) -> list[Any]:
    """Give the samples of a row that are answers of their own, and not steps on the way to one."""
    return [one for one in row["samples"] if one.get("kind", "answer") == "answer"]


def _unfit(rows: Sequence[Row], adaptive: bool) -> str:
    if any(one["finish"] == "cancelled" for row in rows for one in row["samples"]):
        return "completions were cancelled before their end, so that those left are no fair sample"
    if any(row["answer"] is not None and row["kept"] is None for row in rows):
        return "the strategy puts answers together from pieces, which are no samples by themselves"
    if adaptive and len({len(answers_of(row)) for row in rows}) > 1:
        return "the strategy stopped drawing when the verifier accepted an answer"
    return ""


def summarise_curve(
    drawn: Drawn, *, same: Same | None = None, rng: int = 0
) -> dict[str, Any] | None:
    """Give coverage, votes and the law at 1 sample and more; None where no fair curve is.

    Returns
    -------
    dict or None
        ``k``, ``mean``, ``low``, ``high``, ``vote``, ``problems``, ``left_out``, ``samples`` and
        ``law`` (None where none can be fitted).
    """
    from samplewise.measure.pass_at_k import coverage_curve

    if drawn.unfit or not drawn.most:
        return None
    counts = np.array(
        [(len(some), sum(bool(one["correct"]) for one in some)) for some in drawn.samples],
        np.int64,
    )
    ks = _grid(drawn.most)
    found = coverage_curve(counts, ks=ks, rng=rng)
    mean = np.asarray(found.mean, np.float64)
    return {
        "k": ks.tolist(),
        "mean": mean.tolist(),
        "low": np.asarray(found.low, np.float64).tolist(),
        "high": np.asarray(found.high, np.float64).tolist(),
        "vote": _vote(drawn, ks, same, rng),
        "problems": len(drawn.samples),
        "left_out": drawn.left_out,
        "samples": drawn.most,
        "law": _law(ks, mean, len(drawn.samples)),
    }


def _grid(most: int) -> Indices:
    if most <= _POINTS:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, _POINTS).round().astype(np.int64))


def _vote(drawn: Drawn, ks: Indices, same: Same | None, rng: int) -> list[float]:
    """Average over random orders how often the vote of the first k samples is right."""
    work = len(drawn.samples) * int(ks.sum())
    orders = int(np.clip(_WORK // max(work, 1), 4, _ORDERS))
    chance = np.random.default_rng(rng)
    total = np.zeros(len(ks))
    same = _sparing(same)
    for some in _batches(drawn.samples, orders):
        classes = np.array([_classes([one["answer"] for one in samples], same) for samples in some])
        right = np.array([[bool(one["correct"]) for one in samples] for samples in some])
        places = np.tile(np.arange(classes.shape[1]), (len(some) * orders, 1))
        order = chance.permuted(places, axis=1)
        owner = np.repeat(np.arange(len(some)), orders)
        total += [_right_votes(classes, right, owner, order[:, :k]) / orders for k in ks]
    return [float(share) for share in total / len(drawn.samples)]


def _batches(samples: Sequence[list[Row]], orders: int) -> Iterator[list[list[Row]]]:
    """Put problems with equally many samples together, as many as fit in memory."""
    for size, alike in itertools.groupby(sorted(samples, key=len), len):
        problems = list(alike)
        step = max(1, _AT_ONCE // (orders * size))
        for first in range(0, len(problems), step):
            yield problems[first : first + step]


def _right_votes(
    classes: Indices, right: NDArray[np.bool_], owner: Indices, order: Indices
) -> float:
    """Count the orders whose most frequent answer, the first seen of these, is right."""
    voted = classes[owner[:, None], order]
    rows = np.arange(len(order))
    width = max(int(classes.max()) + 1, 1)
    ballots = rows[:, None] * width + np.maximum(voted, 0)
    counts = np.bincount(ballots[voted >= 0], minlength=len(order) * width)
    votes = np.where(voted >= 0, counts[ballots], 0)
    first = votes.argmax(axis=1)
    wins = right[owner, order[rows, first]] & (votes[rows, first] > 0)
    return float(wins.sum())


def _sparing(same: Same | None) -> Same | None:
    """Compare so many pairs, and then only texts."""
    if same is None:
        return None
    left = itertools.count(_PAIRS, -1)
    return lambda first, second: next(left) > 0 and same(first, second)


def _classes(answers: Sequence[str | None], same: Same | None) -> Indices:
    """Give equal answers one number; -1 where there is none."""
    texts = [text for text in dict.fromkeys(answers) if text is not None]
    compare = same if same and len(texts) <= _ALIKE else None
    number: dict[str, int] = {}
    leaders: list[str] = []  # one text of each class
    for text in texts:
        alike = next((seen for seen in leaders if compare and compare(seen, text)), None)
        if alike is None:
            number[text] = len(leaders)
            leaders.append(text)
        else:
            number[text] = number[alike]
    return np.array([-1 if text is None else number[text] for text in answers], np.int64)


def _law(ks: Indices, mean: NDArray[np.float64], problems: int) -> dict[str, Any] | None:
    """Fit c(k) = exp(a k^b), and look how far it can be trusted."""
    from samplewise.measure.scaling_law import fit_law

    fit = (mean > 0) & (mean < 1)
    if fit.sum() < 4:
        return None
    try:
        law = fit_law(ks[fit], mean[fit])
    except (SamplewiseError, ValueError):
        return None
    most = int(ks[-1])
    beyond = np.unique(np.geomspace(1, most * _BEYOND, 2 * _POINTS).round())
    foretold = _foretold(ks, mean)
    found = {
        "a": float(law.a),
        "b": float(law.b),
        "mean_error": float(law.mean_error),
        "max_error": float(law.max_error),
        "k": beyond.tolist(),
        "predicted": np.asarray(law.predict(beyond), np.float64).tolist(),
        "fitted_to": most,
        "ahead": _ahead(law, most),
        "foretold": foretold,
    }
    if not np.isfinite([found["a"], found["b"], *found["predicted"]]).all():
        return None
    return found | {"trust": _trust(found, problems)}


def _ahead(law: Any, most: int) -> list[list[float]]:
    """Extrapolate to twice the samples and to the end of the picture."""
    ks = np.array([2 * most, _BEYOND * most])
    return [[int(k), float(c)] for k, c in zip(ks, law.predict(ks), strict=True)]


def _foretold(ks: Indices, mean: NDArray[np.float64]) -> dict[str, Any] | None:
    """Fit to the first quarter of the samples alone, and look how far off it is at the last."""
    from samplewise.measure.scaling_law import fit_law

    few = (ks <= ks[-1] // 4) & (mean > 0) & (mean < 1)
    if few.sum() < 4:
        return None
    try:
        told = float(np.asarray(fit_law(ks[few], mean[few]).predict(ks[-1:]))[0])
    except (SamplewiseError, ValueError):
        return None
    upto = int(ks[few][-1])
    return {"from": upto, "at": int(ks[-1]), "predicted": told, "measured": float(mean[-1])}


def _trust(law: Mapping[str, Any], problems: int) -> str:
    most = law["fitted_to"]
    text = (
        f"Up to {most:,} samples the law is off by {100 * law['mean_error']:.2g} points of "
        f"coverage on average and by {100 * law['max_error']:.2g} at most. "
        f"Beyond {most:,} it is extrapolated: no sample was drawn there."
    )
    told = law["foretold"]
    if told:
        off = abs(told["predicted"] - told["measured"])
        text += (
            f" Fitted to the first {told['from']:,} samples alone, it foretells coverage at "
            f"{told['at']:,} within {100 * off:.2g} points; expect no better from {most:,} to "
            f"{_BEYOND * most:,}."
        )
    else:
        text += " There are too few samples to try how well it foretells, so do not rely on it."
    if law["max_error"] > 0.05:
        text += " It fits badly: read the curve, not the law."
    if problems < _FEW:
        text += f" With {problems} problems, other problems may have quite another law."
    return text


def ask_whether_it_pays(
    curve: Mapping[str, Any] | None, cost: float | None, value: float | None
) -> dict[str, Any] | None:
    """Say how many samples a problem pay, where a verifier finds the right one.

    Parameters
    ----------
    curve : mapping or None
        What `summarise_curve` gave.
    cost : float or None
        Dollars a sample.
    value : float or None
        Dollars that a solved problem is worth.
    """
    from samplewise.measure.sampling_cost import samples_worth_paying

    if not curve or cost is None or value is None:
        return None
    every = np.arange(1, curve["samples"] + 1)
    means = np.interp(np.log(every), np.log(curve["k"]), curve["mean"])
    best = int(samples_worth_paying(means, cost, value))
    solved = float(means[best - 1]) if best else 0.0
    return {
        "samples": best,
        "all": best == len(every),
        "cost_per_sample": cost,
        "value": value,
        "coverage": solved,
        "gain": value * solved - cost * best,
    }


def draw_coverage(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw coverage, the vote, a single sample, the strategy and the law."""
    curve = report.get("curve")
    if not curve or len(curve["k"]) < 2:
        return None
    law = curve.get("law")
    last = law["k"][-1] if law else curve["k"][-1]
    traces = [
        _band(curve),
        _line("at least one right (coverage)", curve["k"], curve["mean"], "@chosen", width=2.5),
        _line("vote of the most", curve["k"], curve["vote"], "#4c6ef5", width=2),
        _line("a single sample", [1, last], [curve["mean"][0]] * 2, "@soft", dash="dash"),
        *_law_lines(law),
        *_strategy_dot(report),
    ]
    powers = list(itertools.takewhile(lambda k: k <= last, (2**i for i in range(40))))
    return {
        "data": traces,
        "layout": {
            "height": 430,
            "hovermode": "closest",
            "xaxis": {
                "type": "log",
                "title": {"text": "samples a problem"},
                "tickvals": powers[:: 1 + len(powers) // 9],
                "zeroline": False,
            },
            "yaxis": {
                "title": {"text": "share of the problems"},
                "tickformat": ".0%",
                "rangemode": "tozero",
            },
        },
    }


def _band(curve: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "95% interval",
        "x": [*curve["k"], *reversed(curve["k"])],
        "y": [*curve["high"], *reversed(curve["low"])],
        "fill": "toself",
        "fillcolor": "@band",
        "hoverinfo": "skip",
        "line": {"width": 0, "color": "@band"},
    }


def _line(
    name: str,
    k: Sequence[float],
    y: Sequence[float],
    color: str,
    *,
    width: float = 1.5,
    dash: str = "solid",
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(k),
        "y": list(y),
        "line": {"color": color, "width": width, "dash": dash},
        "hovertemplate": "%{x:,} samples: %{y:.1%}<extra>" + name + "</extra>",
    }


def _law_lines(law: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Draw the law where it was fitted and, dotted, where it is extrapolated."""
    if not law:
        return []
    pairs = list(zip(law["k"], law["predicted"], strict=True))
    inside = [pair for pair in pairs if pair[0] <= law["fitted_to"]]
    beyond = [inside[-1], *pairs[len(inside) :]]
    return [
        _line("fitted law", *_columns(inside), "@ink", width=1, dash="dash"),
        _line("extrapolated", *_columns(beyond), "@ink", width=1, dash="dot"),
    ]


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _strategy_dot(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    totals = report["totals"]
    if not totals["problems"] or not totals["completions"]:
        return []
    each = max(1.0, totals["completions"] / totals["problems"])
    low, high = totals["interval"]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "answers kept",
            "x": [each],
            "y": [totals["accuracy"]],
            "marker": {"color": "@good", "size": 10, "line": {"width": 0}},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - totals["accuracy"]],
                "arrayminus": [totals["accuracy"] - low],
                "color": "@good",
                "thickness": 1.5,
            },
            "hovertemplate": "%{x:.4g} samples: %{y:.1%}<extra>answers kept</extra>",
        }
    ]
