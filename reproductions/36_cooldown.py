"""Upsample or upweight, and cool down (arXiv 2410.04579), on two domains of very different size.

The paper translates eight languages, and models four. Here one small network learns two domains
whose labels come from two linear teachers: alike, and less alike. A logistic regression shows that
drawing and weighting are one under full gradients, and how they differ under those of single rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.mix import mix
from samplewise.mix.temperature import (
    scalarization_weights,
    second_moments,
    temperature_law,
    variance_factor,
)

Array = NDArray[Any]
Losses = dict[str, Array]
"""Method -> losses of shape (seeds, domains)."""

PAPER = {
    "OPUS-100, from English, BLEU (mean of large, of small languages)": {
        "tau 1": {"large": 28.3, "small": 30.4},
        "tau 5": {"large": 26.6, "small": 32.4},
        "tau 100": {"large": 26.2, "small": 31.4},
        "cooldown 5 to 1": {"large": 28.1, "small": 32.4},
    },
    "mC4, loss": {
        "tau 1": {"en": 2.67, "it": 3.1, "zh": 4.23, "sw": 4.09},
        "tau 5": {"en": 2.91, "it": 3.01, "zh": 3.14, "sw": 3.12},
        "tau 100": {"en": 3.02, "it": 2.88, "zh": 2.76, "sw": 3.01},
        "order-matters": {"en": 2.77, "it": 2.76, "zh": 3.23, "sw": 3.26},
        "unimax": {"en": 2.98, "it": 2.91, "zh": 2.85, "sw": 3.06},
        "cooldown 5 to 1": {"en": 2.75, "it": 2.63, "zh": 2.56, "sw": 2.94},
    },
    "English to Czech and Romanian, variance of gradient norms": {
        "scalarization": {"variance": 2.25},
        "temperature": {"variance": 0.62},
    },
}
METHODS: Mapping[str, str] = {
    "tau 1": "temperature:tau=1",
    "tau 5": "temperature:tau=5",
    "tau 100": "temperature:tau=100",
    "weighted, tau 5": "scalarization:tau=5",
    "cooldown 5 to 1": "cooldown",
    "increasing 1 to 5": "cooldown:tau_hot=1:tau_cold=5",
    "linear 5 to 1": "temperature-schedule",
    "exponential 5 to 1": "temperature-schedule:curve=exponential",
    "unimax": "unimax:epochs=100",
    "order-matters": "order-matters",
}
COOLED, SWITCHED = "cooldown 5 to 1", "cooldown 5 to 1, at its switch"
EXPECTED = {  # our own runs when this was designed: of other sizes, so to compare in direction
    "tau 1": ("0.33", "0.54 to 0.61"),
    "tau 5": ("0.36", "0.46 to 0.50"),
    "tau 100": ("", "0.49 to 0.52"),
    COOLED: ("0.337 to 0.351", "0.48 to 0.49"),
}
INPUTS, HIDDEN, BATCH, RATE = 30, 32, 32, 0.01
FLIPPED = 0.1  # labels that are wrong, in training and in tests
SIZES = (40_000, 200)
APART, SHARED = 10.0, 1.0
"""How large a domain's flag is: many units then work for one domain, or all for both."""
COUNTER = {
    "teachers less alike (cosine 0.3)": (0.3, APART),
    "units shared (flag of 1)": (0.9, SHARED),
    "teachers less alike and units shared": (0.3, SHARED),
}
"""Settings in which a cooldown may forget: cosine and flag."""
TESTS = 4_000  # rows of each domain
LARGE, SMALL = 0, 1


@dataclass(frozen=True)
class Setting:
    """How alike the teachers are, how large the flags, and how long the network learns."""

    cosine: float
    flag: float
    steps: int
    seeds: int


def main(quick: bool) -> Result:
    """Run both settings and the logistic regression, and judge."""
    steps, seeds = (1_000, 2) if quick else (8_000, 12)
    near = learn(Setting(0.9, APART, steps, seeds), list(METHODS))
    counter = {
        name: forgetting(Setting(cosine, flag, steps, seeds))
        for name, (cosine, flag) in COUNTER.items()
    }
    descent = full_descent(200)
    noise = noises(20_000 if quick else 200_000)
    agrees, why = judge(near, counter, descent, noise)
    return Result(
        paper="Upsample or Upweight? Balanced Training on Heavily Imbalanced Datasets, "
        "arXiv 2410.04579",
        setting=("Quick run. " if quick else "")
        + f"Two domains of {SIZES[0]:,} and {SIZES[1]} rows of {INPUTS} normal inputs, a constant "
        f"and a flag, both of size {APART:g}, so that many hidden units work for one domain "
        f"({SHARED:g} where they are shared); labels by two linear teachers whose cosine is 0.9 "
        f"(0.3 where less alike), {FLIPPED:.0%} of them flipped; one network of {HIDDEN} tanh "
        f"units, {steps:,} steps of {BATCH} rows, SGD at a rate of {RATE} that falls to a tenth of "
        f"it at the end in a line. Loss: cross-entropy on {TESTS:,} other rows of each domain; "
        f"mean and 95% interval over {seeds} seeds, paired by seed where methods are compared. "
        "The dense schedules are our reading of curves that the paper only draws; when "
        "order-matters switches, and to what, is ours. Variance: of the gradient of one row of a "
        f"logistic regression at its first weights, {20_000 if quick else 200_000:,} draws, beside "
        "the formula of the two domains' own mean squares, and beside the paper's factor, which "
        "takes these to be alike. The paper trains Transformers on eight language pairs and on "
        "four languages.",
        paper_figures=PAPER,
        our_figures={
            "two domains, teachers alike (cosine 0.9), loss": table(near, EXPECTED),
            **{f"two domains, {name}, loss": table(found, {}) for name, found in counter.items()},
            "cooldown's loss less that of": {
                name: {
                    "large domain": rounded(gap(near, COOLED, name, LARGE)),
                    "small domain": rounded(gap(near, COOLED, name, SMALL)),
                }
                for name in near
                if name != COOLED
            },
            "drawing and weighting, full gradient descent": {
                "200 steps": {"largest difference of weights": descent}
            },
            "drawing and weighting, variance of one row's gradient": noise,
        },
        agrees=agrees,
        why=why,
    )


# --- two domains ----------------------------------------------------------------------------------


def teachers(cosine: float, rng: np.random.Generator) -> Array:
    """Draw two directions with a cosine between them; shape (2, inputs)."""
    first, other = np.linalg.qr(rng.normal(size=(INPUTS, 2)))[0].T
    return np.stack([first, cosine * first + math.sqrt(1 - cosine**2) * other])


def domain(
    teacher: Array, which: int, rows: int, flag: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draw rows of a domain, and their labels, -1 or 1."""
    X = rng.normal(size=(rows, INPUTS))
    y = np.where(X @ teacher > 0, 1.0, -1.0)
    y[rng.random(rows) < FLIPPED] *= -1
    marks = np.full((rows, 2), [flag, flag * (2 * which - 1)])
    return np.hstack([X, marks]).astype(np.float32), y.astype(np.float32)


def forgetting(setting: Setting) -> Losses:
    """Train by two temperatures and by the cooldown, which is tested at its switch, too."""
    found = learn(setting, ["tau 1", "tau 5", COOLED])
    return {**found, SWITCHED: learn(setting, [COOLED], until=0.5)[COOLED]}


def learn(setting: Setting, names: Sequence[str], until: float = 1.0) -> Losses:
    """Train a network by each method and seed, all at once, and test them.

    Parameters
    ----------
    setting : Setting
    names : sequence of str
    until : float
        Share of the steps after which to stop and test.
    """
    data, tests, streams, firsts = [], [], [], []
    for seed in range(setting.seeds):
        rng = np.random.default_rng(seed)
        directions = teachers(setting.cosine, rng)
        parts = [
            domain(directions[which], which, SIZES[which], setting.flag, rng) for which in (0, 1)
        ]
        data.append([np.concatenate(columns) for columns in zip(*parts, strict=True)])
        tests.append(
            [domain(directions[which], which, TESTS, setting.flag, rng) for which in (0, 1)]
        )
        firsts.append(rng.normal(size=(HIDDEN, INPUTS + 3)) / math.sqrt(INPUTS))
        streams.append(
            [
                mix(sizes=SIZES, method=METHODS[name], rng=seed, total=setting.steps * BATCH)
                for name in names
            ]
        )
    # Networks of all seeds and methods side by side: (seeds, methods, ...).
    first = np.stack(firsts)[:, None].repeat(len(names), axis=1).astype(np.float32)
    inner, outer = first[..., :-1].copy(), first[..., -1].copy()
    done = 0
    while done < round(until * setting.steps):
        part = min(500, round(until * setting.steps) - done)
        drawn = [[stream.draw(part * BATCH) for stream in each] for each in streams]
        rows = [[one.indices.reshape(part, BATCH) for one in each] for each in drawn]
        weights = np.array([[one.weights for one in each] for each in drawn], np.float32)
        weights = weights.reshape(*weights.shape[:2], part, BATCH)
        for step in range(part):
            X = np.stack([data[s][0][[one[step] for one in each]] for s, each in enumerate(rows)])
            y = np.stack([data[s][1][[one[step] for one in each]] for s, each in enumerate(rows)])
            hidden = np.tanh(X @ inner.swapaxes(-1, -2))
            margins = y * (hidden @ outer[..., None])[..., 0]
            slopes = -y * weights[:, :, step] / (1 + np.exp(margins)) / BATCH
            back = (slopes[..., None] * outer[:, :, None]) * (1 - hidden**2)
            rate = RATE * (1 - 0.9 * (done + step) / setting.steps)
            outer -= rate * (slopes[..., None, :] @ hidden)[..., 0, :]
            inner -= rate * (back.swapaxes(-1, -2) @ X)
        done += part
    return {
        name: np.array(
            [
                [loss(inner[seed, place], outer[seed, place], *one) for one in tests[seed]]
                for seed in range(setting.seeds)
            ]
        )
        for place, name in enumerate(names)
    }


def loss(inner: Array, outer: Array, X: Array, y: Array) -> float:
    """Give the mean cross-entropy of a network."""
    return float(np.logaddexp(0, -y * (np.tanh(X @ inner.T) @ outer)).mean())


# --- drawing and weighting ------------------------------------------------------------------------


def regression(scale: float = 1.0) -> tuple[Array, Array, Array]:
    """Make rows, labels and domains of a logistic regression; `scale` is of the large domain."""
    rng = np.random.default_rng(0)
    of = np.repeat([0, 1], (900, 100))
    X = rng.normal(size=(1000, 5)) * np.where(of == 0, scale, 1.0)[:, None]
    y = np.where(X @ rng.normal(size=5) + rng.normal(size=1000) + of > 0, 1.0, -1.0)
    return X, y, of


def gradients(X: Array, y: Array, weights: Array) -> Array:
    """Give the gradient of each row; shape (rows, inputs)."""
    return -(y / (1 + np.exp(y * (X @ weights))))[:, None] * X


def full_descent(steps: int) -> float:
    """Descend the full loss in both ways; give the largest difference that ever was."""
    X, y, of = regression()
    sizes = np.bincount(of)
    drawn = (temperature_law(sizes, 5) / sizes)[of]
    weighted = scalarization_weights(sizes, 5)[of] / len(of)
    one, other, most = np.zeros(5), np.zeros(5), 0.0
    for _ in range(steps):
        one = one - 0.5 * drawn @ gradients(X, y, one)
        other = other - 0.5 * weighted @ gradients(X, y, other)
        most = max(most, float(abs(one - other).max()))
    return most


def noises(draws: int) -> dict[str, dict[str, float]]:
    """Measure the variance of one row's gradient in both ways, beside the formulas."""
    table: dict[str, dict[str, float]] = {}
    for domains, scale in (("alike", 1.0), ("large one steep", 4.0)):
        X, y, of = regression(scale)
        sizes, each = np.bincount(of), gradients(X, y, np.zeros(5))
        norms = (each**2).sum(axis=1)
        squares = [float(norms[of == which].mean()) for which in (0, 1)]
        for tau in (2.0, 5.0, math.inf):
            law = temperature_law(sizes, tau)
            full = (law / sizes)[of] @ each
            told = [moment - float(full @ full) for moment in second_moments(sizes, tau, squares)]
            found = []
            for method in ("temperature", "scalarization"):
                drawn = mix(sizes=sizes, method=f"{method}:tau={tau}", rng=0).draw(draws)
                noisy = each[drawn.indices] * drawn.weights[:, None] - full
                found.append(float((noisy**2).sum(axis=1).mean()))
            table[f"{domains}, tau {tau:g}"] = {
                "drawn": round(found[0], 4),
                "formula (drawn)": round(told[0], 4),
                "weighted": round(found[1], 4),
                "formula (weighted)": round(told[1], 4),
                "ratio": round(found[1] / found[0], 4),
                "formula (ratio)": round(told[1] / told[0], 4),
                "factor of theorem 2": round(variance_factor(sizes, tau), 4),
            }
    return table


# --- tables and judgement -------------------------------------------------------------------------


def rounded(values: Sequence[float]) -> list[float]:
    """Round for a table."""
    return [round(value, 4) for value in values]


def table(found: Losses, expected: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Value]]:
    """Give the losses of each method."""
    shown: dict[str, dict[str, Value]] = {}
    for name, losses in found.items():
        shown[name] = {
            f"{size} domain": rounded(interval(losses[:, which].tolist()))
            for which, size in ((LARGE, "large"), (SMALL, "small"))
        }
        if expected:
            for which, size in ((LARGE, "large"), (SMALL, "small")):
                shown[name][f"{size}, expected"] = expected.get(name, ("", ""))[which]
    return shown


def gap(found: Losses, one: str, other: str, which: int) -> tuple[float, float, float]:
    """Give the difference in loss on a domain, paired by seed: mean and interval."""
    return interval((found[one] - found[other])[:, which].tolist())


def below(found: Losses, one: str, other: str, which: int) -> int:
    """Say whether a loss is clearly below another (1), clearly above it (-1), or neither."""
    _, low, high = gap(found, one, other, which)
    return int(high < 0) - int(low > 0)


def judge(
    near: Losses,
    counter: Mapping[str, Losses],
    descent: float,
    noise: Mapping[str, Mapping[str, float]],
) -> tuple[Any, str]:
    """Judge by the paper's claims; say what becomes of them where a cooldown forgets."""
    claims = {
        "tau 5 below tau 1 on the small domain": below(near, "tau 5", "tau 1", SMALL),
        "tau 1 below tau 5 on the large domain": below(near, "tau 1", "tau 5", LARGE),
        "cooldown below tau 1 on the small domain": below(near, COOLED, "tau 1", SMALL),
        "cooldown below tau 5 on the large domain": below(near, COOLED, "tau 5", LARGE),
    }
    for other in ("increasing 1 to 5", "linear 5 to 1", "exponential 5 to 1"):
        claims[f"cooldown below '{other}' on the small domain"] = below(near, COOLED, other, SMALL)
    alike = [row["ratio"] for name, row in noise.items() if name.startswith("alike")]
    told = [row["ratio"] / row["formula (ratio)"] for row in noise.values()]
    claims["the two are one under full gradients"] = 1 if descent < 1e-12 else -1
    claims["weighting is noisier where gradients are alike"] = 1 if min(alike) > 1 else -1
    near_told = max(abs(one - 1) for one in told) < 0.05
    claims["variances are those of the formula, within 5%"] = 1 if near_told else -1
    agrees, said = weigh(claims)
    quieter = ", ".join(name for name, row in noise.items() if row["ratio"] < 1)
    gains = "; ".join(
        f"{name}: {spell(gap(found, COOLED, 'tau 1', SMALL))}, and since its switch "
        f"{spell(gap(found, COOLED, SWITCHED, SMALL))}"
        for name, found in counter.items()
    )
    return agrees, (
        f"{said}. Cooldown's loss on the small domain less that of tau 1 is "
        f"{spell(gap(near, COOLED, 'tau 1', SMALL))} in the main setting; {gains}: where that is "
        "above 0, what was learnt hot is forgotten cold. Where gradients of the large domain are "
        f"much larger, weighting is the quieter ({quieter or 'nowhere here'}), against theorem 2, "
        "whose proof takes them to be alike."
    )


def spell(found: tuple[float, float, float]) -> str:
    """Write a mean and its interval."""
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


if __name__ == "__main__":
    reproduce("36-cooldown", main)
