"""Repeated random sampling (arXiv 2305.18424): a new random subset in every round of training.

The paper trains ResNet18 on CIFAR10 and ImageNet. Here a perceptron trains on the digits that
scikit-learn ships. Beside the paper's comparisons stands the one that its reviewers asked for:
plain shuffled training on as many rows, with as short a schedule.
"""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import samplewise as sw
from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.learning_rate import cosine_rate
from samplewise.measure.time_to_accuracy import AccuracyCurve, TrainingClock, speed_up, time_to
from samplewise.measure.training_dynamics import el2n
from samplewise.mix import mix
from samplewise.mix.rounds import RoundStream

Array = NDArray[Any]
Rounds = Iterator[Array]
Curves = dict[str, list[AccuracyCurve]]
"""Method -> one curve a seed."""

PAPER = {
    "CIFAR10, ResNet18, test accuracy, % (read off the vector figures)": {
        "RS2, no replacement": {"1%": 51.8, "5%": 87.1, "10%": 91.7, "30%": 94.3},
        "static random": {"1%": 36.7, "5%": 64.5, "10%": 78.4, "30%": 91.0},
        "best other method": {"1%": 42.8, "5%": 65.7, "10%": 85.0, "30%": 93.9},
        "full data": {"100%": 95.5},
    },
    "ImageNet, ResNet18, test accuracy, %": {
        "RS2, no replacement": {"1%": 44.4, "5%": 63.2, "10%": 66.0, "30%": 68.2},
        "static random": {"1%": 8.9, "5%": 40.1, "10%": 52.1, "30%": 64.1},
        "best other method": {"1%": 18.1, "5%": 47.6, "10%": 55.1, "30%": 63.6},
        "full data": {"100%": 69.5},
    },
    "time to the accuracy of RS2 at 10%, full training over RS2": {
        "CIFAR10": {"times sooner": 4.3},
        "ImageNet": {"times sooner": 9.0},
    },
}
RATIOS = (0.02, 0.05, 0.1, 0.3)
EXPECTED = {  # our own runs when this was designed
    "RS2, no replacement": ("0.941", "0.961", "0.970", "0.977"),
    "RS2, replacement": ("0.929", "0.960", "0.972", "0.979"),
    "static random": ("0.725", "0.847", "0.908", "0.957"),
    "full training": ("0.982",) * 4,
}
OURS, FRESH = "RS2, no replacement", "RS2, replacement"
STATIC, CENTRES, WEIGHTED = "static random", "static k-center", "each round by importance (EL2N)"
PLAIN, CUT, FULL = "plain, as short a schedule", "plain, full schedule cut short", "full training"
BATCH, MOMENTUM, DECAY = 32, 0.9, 5e-4
SCORING = 5  # epochs before importance is known


class Data(NamedTuple):
    """Digits to train on and to test on."""

    X: Array
    y: Array
    test_rows: Array
    test_labels: Array


class Run(NamedTuple):
    """The rounds of a training, and the steps that its schedule is made for."""

    rounds: Rounds
    steps: int


def main(quick: bool) -> Result:
    """Train by every method at every ratio, and judge."""
    import torch

    torch.set_num_threads(1)
    seeds, rounds = (2, 10) if quick else (10, 60)
    ratios = (0.02, 0.1) if quick else RATIOS
    for start in methods(0.02, 1).values():  # what is loaded and compiled at first use costs no one
        train(digits(0), 0, start, 1)
    full = [train(digits(seed), seed, plain(1.0, rounds), rounds) for seed in range(seeds)]
    found = {ratio: experiment(ratio, rounds, full) for ratio in ratios}
    agrees, why = judge(found)
    return Result(
        paper="Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning, "
        "arXiv 2305.18424",
        setting=("Quick run. " if quick else "")
        + "scikit-learn's digits, 70% to train on and 30% to test, a perceptron of 64 hidden "
        f"units, batches of {BATCH}, {rounds} rounds, SGD with Nesterov momentum 0.9, weight decay "
        "5e-4, the rate from 0.1 to 1e-4 along a cosine over the steps that are taken. Accuracy: "
        f"at the end, mean and 95% interval over {seeds} seeds. Steps and rows are the same for "
        "all methods of a ratio, but for full training. Seconds: of one core's own time, "
        "with scoring, choosing and drawing, and without the tests that follow each round; times "
        "sooner: full training's seconds until it first reaches the accuracy that the method ends "
        "with, over the method's, mean and interval as above (in steps, too, which no load of the "
        f"machine changes). Importance is EL2N over {SCORING} epochs, whose time counts. The paper "
        "trains 200 rounds of ResNet18 on CIFAR10 and ImageNet, and compares with 32 methods.",
        paper_figures=PAPER,
        our_figures={
            **{f"digits, {ratio:.0%} a round": table(found[ratio], ratio) for ratio in ratios},
            f"accuracy of '{OURS}' less that of": {
                rival: {
                    f"{ratio:.0%} a round": rounded(interval(gap(found[ratio], OURS, rival)))
                    for ratio in ratios
                }
                for rival in found[ratios[0]]
                if rival != OURS
            },
        },
        agrees=agrees,
        why=why,
    )


# --- training -------------------------------------------------------------------------------------


@functools.cache
def digits(seed: int) -> Data:
    """Split the digits."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = np.split(order, [round(0.7 * len(X))])
    return Data(X[train], y[train], X[test], y[test])


def experiment(ratio: float, rounds: int, full: list[AccuracyCurve]) -> Curves:
    """Train by every method at one ratio, with as many seeds as there are full trainings."""
    found = {
        name: [train(digits(seed), seed, start, rounds) for seed in range(len(full))]
        for name, start in methods(ratio, rounds).items()
    }
    return {**found, FULL: full}


def methods(ratio: float, rounds: int) -> dict[str, Callable[[Data, int], Run]]:
    """Name the methods that are given as many rows, and how each begins."""
    return {
        OURS: mixed(f"rs2:ratio={ratio}", rounds),
        FRESH: mixed(f"rs2:ratio={ratio}:variant=replacement", rounds),
        "RS2, stratified": mixed(f"rs2:ratio={ratio}:variant=stratified", rounds),
        PLAIN: plain(ratio, rounds),
        CUT: plain(ratio, rounds, cut=True),
        STATIC: mixed(f"static-subset:ratio={ratio}", rounds),
        CENTRES: centres(ratio, rounds),
        WEIGHTED: weighted(ratio, rounds),
    }


def mixed(method: str, rounds: int) -> Callable[[Data, int], Run]:
    """Take the rounds of a method, with the classes as sources."""

    def start(data: Data, seed: int) -> Run:
        stream = stream_of(data, method, seed)
        return Run(stream.rounds(), stream.steps(rounds, BATCH))

    return start


def plain(ratio: float, rounds: int, cut: bool = False) -> Callable[[Data, int], Run]:
    """Cut plain epochs where the rounds of a ratio end: as many rows and steps, and tests.

    The schedule is made for these steps or, to be cut short, for as many epochs as rounds.
    """

    def start(data: Data, seed: int) -> Run:
        stream = stream_of(data, "shuffled", seed)
        short = stream_of(data, f"rs2:ratio={ratio}", seed)
        parts = (stream.draw(short.plan.size).indices for _ in range(rounds))
        return Run(parts, (stream if cut else short).steps(rounds, BATCH))

    return start


def centres(ratio: float, rounds: int) -> Callable[[Data, int], Run]:
    """Choose rows once, none far from a chosen one, and shuffle them in each round."""

    def start(data: Data, seed: int) -> Run:
        size = round(ratio * len(data.X))
        rows = sw.select(sw.Pool.from_arrays(data.X), size, "k-center", rng=seed).indices
        stream = mix(sizes=len(rows), method="shuffled", rng=seed)
        assert isinstance(stream, RoundStream)
        return Run((rows[part] for part in stream.rounds()), stream.steps(rounds, BATCH))

    return start


def weighted(ratio: float, rounds: int) -> Callable[[Data, int], Run]:
    """Score rows by EL2N, summed over a short training, and draw each round by their scores."""

    def start(data: Data, seed: int) -> Run:
        scorer, stream = Perceptron(data, seed), stream_of(data, "shuffled", seed)
        record = []
        for drawn in islice(stream.rounds(), SCORING):
            for batch in batches(drawn):
                scorer.step(batch, rate=0.05)
            record.append(scorer.probabilities(data.X))
        scores = el2n(record, data.y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scores.npy"
            np.save(path, scores)
            method = f"rs2:ratio={ratio}:variant=replacement:importance={path}"
            return mixed(method, rounds)(data, seed)

    return start


def stream_of(data: Data, method: str, seed: int) -> RoundStream:
    """Begin a stream of the rows to train on, with the classes as sources."""
    stream = mix(labels=data.y, method=method, rng=seed)
    assert isinstance(stream, RoundStream)
    return stream


def batches(rows: Array) -> list[Array]:
    """Cut a round into batches."""
    return np.split(rows, range(BATCH, len(rows), BATCH))


class Perceptron:
    """One hidden layer of 64 units, trained by SGD with Nesterov's momentum."""

    def __init__(self, data: Data, seed: int) -> None:
        import torch

        source = torch.Generator().manual_seed(seed)
        self.X, self.y = torch.from_numpy(data.X), torch.from_numpy(data.y)
        shapes = ((64, 64), (64, 10))
        layers = [torch.randn(a, b, generator=source) * (2 / a) ** 0.5 for a, b in shapes]
        self.weights = [*layers, torch.zeros(64), torch.zeros(10)]
        for one in self.weights:
            one.requires_grad_()
        self.velocities = [torch.zeros_like(one) for one in self.weights]

    def logits(self, rows: Any) -> Any:
        """Score the classes of some rows."""
        first, second, first_bias, second_bias = self.weights
        return (rows @ first + first_bias).relu() @ second + second_bias

    def step(self, batch: Array, rate: float) -> None:
        """Learn from some rows."""
        import torch

        rows = torch.from_numpy(batch)
        loss = torch.nn.functional.cross_entropy(self.logits(self.X[rows]), self.y[rows])
        gradients = torch.autograd.grad(loss, self.weights)
        with torch.no_grad():
            for one, velocity, gradient in zip(
                self.weights, self.velocities, gradients, strict=True
            ):
                slope = gradient + DECAY * one
                velocity.mul_(MOMENTUM).add_(slope)
                one.sub_(rate * (slope + MOMENTUM * velocity))

    def probabilities(self, X: Array) -> Array:
        """Give the probability of each class of some rows."""
        import torch

        with torch.no_grad():
            return self.logits(torch.from_numpy(X)).softmax(dim=1).numpy()


def train(data: Data, seed: int, start: Callable[[Data, int], Run], rounds: int) -> AccuracyCurve:
    """Train the perceptron for some rounds, and test it after each."""
    model = Perceptron(data, seed)
    clock = TrainingClock(len(data.X), clock=time.process_time)
    run, step = start(data, seed), 0
    for drawn in islice(run.rounds, rounds):
        for batch in batches(drawn):
            model.step(batch, cosine_rate(step, run.steps, high=0.1, low=1e-4))
            clock.step(batch)
            step += 1
        with clock.paused():
            told = model.probabilities(data.test_rows).argmax(axis=1)
            clock.record(float(np.mean(told == data.test_labels)))
    return clock.curve


# --- tables and judgement -------------------------------------------------------------------------


def table(found: Curves, ratio: float) -> dict[str, dict[str, Value]]:
    """Give what each method reaches and spends."""
    place = RATIOS.index(ratio)
    tables: dict[str, dict[str, Value]] = {}
    for name, curves in found.items():
        last = curves[-1]
        tables[name] = {
            "accuracy": rounded(interval([float(one.accuracy[-1]) for one in curves])),
            "expected": EXPECTED.get(name, ("",) * 4)[place],
            "steps": int(last.steps[-1]),
            "rows": int(last.examples[-1]),
            "distinct rows": round(float(np.mean([one.distinct[-1] for one in curves])), 1),
            "seconds": round(float(np.mean([one.seconds[-1] for one in curves])), 3),
            "times sooner": sooner(found[FULL], curves, speed_up),
            "in steps": sooner(found[FULL], curves, fewer_steps),
        }
    return tables


def sooner(
    full: Sequence[AccuracyCurve],
    curves: Sequence[AccuracyCurve],
    ratio: Callable[[AccuracyCurve, AccuracyCurve], float],
) -> Value:
    """Give how much sooner a method is, over the seeds for which full training gets there."""
    ratios = [ratio(one, other) for one, other in zip(full, curves, strict=True)]
    there = [one for one in ratios if np.isfinite(one)]
    if len(there) < 2:
        return "full training never gets there"
    return rounded(interval(there))


def fewer_steps(full: AccuracyCurve, method: AccuracyCurve) -> float:
    """Give full training's steps to the accuracy that a method ends with, over the method's."""
    target = float(method.accuracy[-1])
    return time_to(full.steps, full.accuracy, target) / time_to(
        method.steps, method.accuracy, target
    )


def later(rival: AccuracyCurve, ours: AccuracyCurve) -> float:
    """Give the logarithm of a rival's seconds over ours, to what the worse of the two ends with."""
    target = float(min(rival.accuracy[-1], ours.accuracy[-1]))
    times = [time_to(one.seconds, one.accuracy, target) for one in (rival, ours)]
    return math.log(times[0] / times[1])


def gap(found: Curves, one: str, other: str) -> list[float]:
    """Give the difference in accuracy, paired by seed."""
    return [
        float(ours.accuracy[-1] - theirs.accuracy[-1])
        for ours, theirs in zip(found[one], found[other], strict=True)
    ]


def rounded(values: Sequence[float]) -> list[float]:
    """Round for a table."""
    return [round(value, 4) for value in values]


def above(values: Sequence[float], margin: float = 0.0) -> int:
    """Say whether values are clearly above a margin (1), clearly below it (-1), or neither."""
    _, low, high = interval(values)
    return int(low > margin) - int(high < margin)


def judge(found: Mapping[float, Curves]) -> tuple[Any, str]:
    """Judge by the paper's claims; say what plain training on as many rows does."""
    claims = {}
    for ratio, curves in found.items():
        for rival in (STATIC, CENTRES, WEIGHTED):
            claims[f"{ratio:.0%} a round, above {rival}"] = above(gap(curves, OURS, rival))
    tenth = found[0.1]
    claims["10% a round, within 0.02 of full training"] = above(gap(tenth, OURS, FULL), -0.02)
    for ratio, curves in found.items():
        if ratio >= 0.05:
            apart = gap(curves, OURS, FRESH)
            near = min(above(apart, -0.02), above([-one for one in apart], -0.02))
            claims[f"{ratio:.0%} a round, with and without replacement within 0.02"] = near
    seconds = [later(*pair) for pair in zip(tenth[WEIGHTED], tenth[OURS], strict=True)]
    claims[f"10% a round, sooner than {WEIGHTED}"] = above(seconds)
    steps = [fewer_steps(*pair) for pair in zip(tenth[FULL], tenth[OURS], strict=True)]
    reached = [one for one in steps if np.isfinite(one)]
    claims["10% a round, full training needs more steps to the same accuracy"] = above(reached, 1.0)
    agrees, said = weigh(claims)
    plainly = "; ".join(
        f"{ratio:.0%}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        for ratio, (mean, low, high) in (
            (ratio, interval(gap(curves, OURS, PLAIN))) for ratio, curves in found.items()
        )
    )
    return agrees, (
        f"{said}. Importance is compared at as many rows after its scoring; the scoring takes "
        f"{SCORING} epochs more. Not a claim of the paper, but what its reviewers asked: RS2 "
        "without replacement less plain training on as many rows with as short a schedule is "
        f"{plainly}. With a ratio of 1/k the two are one and the same stream, so that what the "
        "method gains is the short schedule on rows that are always new, not a better choice of "
        "them."
    )


if __name__ == "__main__":
    reproduce("49-rs2", main)
