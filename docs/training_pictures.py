"""The pictures of the methods that mix and train."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from samplewise import registry
from samplewise.mix.base import Allocator, Mixer, Sources
from samplewise.train.base import Loop

MINE, OTHER = "#d9480f", "#868e96"
COLORS = ("#4c6ef5", "#f59f00", "#2b8a3e", "#be4bdb")
SIZES = {"A, 600 rows": 600, "B, 250 rows": 250, "C, 100 rows": 100, "D, 50 rows": 50}
DRAWS, PARTS = 20_000, 40
LOSSES = (0.9, 0.7, 0.6, 0.5)  # of the sources at first; each falls as its rows are drawn
STEPS = 60
SHORT = {"warm_up": 100, "problems": 16, "samples": 4}
"""Knobs with which a loop takes seconds."""


def draw_mix(cls: type[registry.Method], axes: Any) -> str:
    """Draw how often each source comes; say what is seen."""
    made: Any = cls()
    return _draw_mixer(made, axes) if isinstance(made, Mixer) else _draw_allocator(made, axes)


def _draw_mixer(method: Mixer, axes: Any) -> str:
    stream = method.start(Sources.of(SIZES), rng=0, total=DRAWS)
    shares, seen, losses = [], np.zeros(sum(SIZES.values()), bool), np.array(LOSSES)
    told = False
    for _ in range(PARTS):
        drawn = stream.draw(DRAWS // PARTS)
        counts = np.bincount(drawn.sources, minlength=len(SIZES))
        shares.append(counts / counts.sum())
        seen[drawn.indices] = True
        losses = losses * (1 - 0.12 * shares[-1])
        told = _tell(stream, losses)
    steps = np.arange(PARTS) * DRAWS // PARTS
    axes.stackplot(steps, np.transpose(shares), labels=list(SIZES), colors=COLORS, alpha=0.85)
    axes.set(xlabel="draws", ylabel="share of the draws", ylim=(0, 1), xlim=(0, steps[-1]))
    axes.legend(fontsize=8, loc="upper right", framealpha=0.9)
    heard = " It is told a loss of each source now and then, which falls as its rows come." * told
    return (
        f"{DRAWS:,} draws from four sources of {sum(SIZES.values()):,} rows: which share each had, "
        f"draw after draw. {seen.mean():.0%} of the rows came at least once.{heard}"
    )


def _tell(stream: Any, losses: Any) -> bool:
    """Tell losses to a stream that heeds them."""
    if not hasattr(stream, "told"):
        return False
    stream.tell(losses)
    return True


def _draw_allocator(method: Allocator, axes: Any) -> str:
    allocation = method.start(4, rng=0)
    told = tell_allocation(method, allocation)
    counts = allocation.ask(400)
    axes.bar(["A", "B", "C", "D"], counts, color=COLORS)
    axes.axhline(100, color=OTHER, linestyle="dotted")
    axes.set(ylabel="draws of the next 400")
    return f"How 400 draws are split over four groups (dotted: alike). {told}"


@functools.cache
def curve_of(cls: type[Loop[Any]]) -> tuple[list[float], list[tuple[int, float]], str, str]:
    """Train for a few steps; give the curve that is drawn, and the figure on held-out problems."""
    known = cls().settings()
    loop = cls(**{knob: value for knob, value in SHORT.items() if knob in known})
    learner = loop.begin(steps=STEPS, rng=0)
    tested = []
    while learner.done < learner.steps:
        if learner.done % max(1, learner.steps // 8) == 0:
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


def tell_allocation(method: Allocator, allocation: Any) -> str:
    """Tell an allocation of four groups that differ, in the form that it takes."""
    return ""
