"""The pictures of the methods that mix and train."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from samplewise import registry
from samplewise.mix.base import Allocator, Mixer, Sources
from samplewise.mix.gradient_variance import GradientVariance, Pilots
from samplewise.mix.group_allocation import GroupAllocation, GroupOutcomes
from samplewise.train.base import Loop

MINE, OTHER = "#d9480f", "#868e96"
COLORS = ("#4c6ef5", "#f59f00", "#2b8a3e", "#be4bdb")
SIZES = {"A, 600 rows": 600, "B, 250 rows": 250, "C, 100 rows": 100, "D, 50 rows": 50}
DRAWS, PARTS = 4_000, 40
NAMES, SLOPES, RATES, PILOTS = ("A", "B", "C", "D"), (1, 3, 9, 27), (0.9, 0.5, 0.2, 0.05), 64
LOSSES = (0.9, 0.7, 0.6, 0.5)  # of the sources at first; each falls as its rows are drawn
STEPS = 40
SHORT = {"warm_up": 60, "problems": 16, "samples": 4}
"""Knobs with which a loop takes seconds."""


def draw_mix(cls: type[registry.Method], axes: Any) -> str:
    """Draw how often each source comes; say what is seen."""
    made: Any = cls()
    return _draw_mixer(made, axes) if isinstance(made, Mixer) else _draw_allocator(made, axes)


def _draw_mixer(method: Mixer, axes: Any) -> str:
    stream = method.start(Sources.of(SIZES), rng=0, total=DRAWS)
    shares, seen, losses = [], np.zeros(sum(SIZES.values()), bool), np.array(LOSSES)
    told, ever = False, []
    for _ in range(PARTS):
        drawn = stream.draw(DRAWS // PARTS)
        counts = np.bincount(drawn.sources, minlength=len(SIZES))
        shares.append(counts / counts.sum())
        seen[drawn.indices] = True
        ever.append(seen.mean())
        losses = losses * (1 - 0.25 * shares[-1])
        told = _tell(stream, losses)
    steps = np.arange(PARTS) * DRAWS // PARTS
    axes.stackplot(steps, np.transpose(shares), labels=list(SIZES), colors=COLORS, alpha=0.85)
    axes.plot(steps, ever, color="black", linewidth=2, label="rows that came at least once")
    axes.set(xlabel="draws", ylabel="share", ylim=(0, 1), xlim=(0, steps[-1]))
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    heard = " It is told a loss of each source now and then, which falls as its rows come." * told
    return (
        f"{DRAWS:,} draws from four sources of {sum(SIZES.values()):,} rows: which share each had, "
        f"draw after draw, and the share of all rows that had come (black).{heard}"
    )


def _tell(stream: Any, losses: Any) -> bool:
    """Tell losses to a stream that heeds them."""
    if not hasattr(stream, "told"):
        return False
    stream.tell(losses)
    return True


def _draw_allocator(method: Allocator, axes: Any) -> str:
    allocation = method.start(len(NAMES), rng=0)
    if isinstance(allocation, GroupAllocation):
        return _draw_rounds(allocation, axes)
    told = ""
    if isinstance(method, GradientVariance):
        random = np.random.default_rng(0)
        right = random.random((len(NAMES), PILOTS)) < np.array(RATES)[:, None]
        allocation.tell([PILOTS] * len(NAMES), Pilots(right, np.ones_like(right, float)))
        shares = ", ".join(f"{rate:.0%}" for rate in right.mean(axis=1))
        told = f" after {PILOTS} pilots each, of which {shares} were right, with gradients alike"
    axes.bar(NAMES, allocation.ask(400), color=COLORS)
    axes.axhline(400 / len(NAMES), color=OTHER, linestyle="dotted")
    axes.set(ylabel="draws of the next 400")
    return f"How 400 draws are split over four prompts{told} (dotted: alike)."


def _draw_rounds(allocation: Any, axes: Any) -> str:
    held, rounds = np.zeros(len(NAMES)), []
    for _ in range(20):
        counts = allocation.ask(60)
        held += counts
        allocation.tell(counts, GroupOutcomes(1 - np.array(SLOPES) / np.maximum(held, 1)))
        rounds.append(held.copy())
    places = np.arange(1, len(rounds) + 1)
    axes.stackplot(places, np.transpose(rounds), labels=NAMES, colors=COLORS, alpha=0.85)
    axes.set(xlabel="round", ylabel="samples so far", xlim=(1, len(rounds)))
    axes.legend(fontsize=8, loc="upper left", framealpha=0.9)
    slopes = ", ".join(map(str, SLOPES))
    return (
        "Samples of four groups, 60 a round. The model does the better on a group the more samples "
        f"it has: 1 - b/n, with b = {slopes}, which the method is not told."
    )


@functools.cache
def curve_of(cls: type[Loop[Any]]) -> tuple[list[float], list[tuple[int, float]], str, str]:
    """Train for a few steps; give the curve that is drawn, and the figure on held-out problems."""
    known = cls().settings()
    loop = cls(**{knob: value for knob, value in SHORT.items() if knob in known})
    learner = loop.begin(steps=STEPS, rng=0)
    tested = []
    while learner.done < learner.steps:
        if learner.done % max(1, learner.steps // 5) == 0:
            tested.append((learner.done, learner.evaluate()))
        learner.advance()
    tested.append((learner.done, learner.evaluate()))
    name = next(iter(tested[-1][1]))
    shown = next(name for name in ("reward", "loss") if name in learner.history[-1])
    values = [row.get(shown, np.nan) for row in learner.history]
    return values, [(step, figures[name]) for step, figures in tested], shown, name


def draw_loop(cls: type[registry.Method], axes: Any) -> str:
    """Draw what a loop learns in seconds."""
    values, tested, shown, name = curve_of(cls)
    axes.plot(np.arange(1, len(values) + 1), values, color=OTHER, linewidth=1)
    axes.set(xlabel="step", ylabel=shown)
    other = axes.twinx()
    other.plot(*zip(*tested, strict=True), "o-", color=MINE, linewidth=2)
    other.set_ylabel(f"{name}, held out", color=MINE)
    other.spines[["top"]].set_visible(False)
    return (
        f"A few seconds of training on the loop's own small task: {shown} of every step (grey), "
        f"and {name} on what it was not trained on."
    )
