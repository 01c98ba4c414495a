"""Limits of resampling with an imperfect verifier (arXiv 2411.17501).

The paper draws 200 programs a task from 17 language models; the tests of HumanEval accept them, the
longer ones of HumanEval+ say what is true. Here the same laws are measured on made tasks, and on
the digits that scikit-learn ships: decision trees of several strengths are the models, a check that
sees the upper half of an image accepts, and the label is the truth. The paper's own printed figures
are fitted anew, and its model of easy and hard tasks is worked out exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.imperfect_verifier import (
    TwoTypes,
    accept_counts,
    best_attempts,
    ceiling,
    false_positives_by_attempt,
    line_over_models,
    reward_curve,
    tasks_without_false_negatives,
)

Array = NDArray[Any]
Table = dict[str, dict[str, Value]]

RATIOS = (0, 1, 2, 4, 8)
"""What a wrong accepted answer costs, where a right one brings 1."""
POINTS = {  # accuracy of one sample, ceiling
    "Vicuna 7B": (0.092, 0.752),
    "Code Llama 7B": (0.286, 0.765),
    "Code Llama 13B": (0.339, 0.779),
    "Command-R": (0.368, 0.842),
    "Llama 3.1 8B": (0.55, 0.825),
    "Phi-3 Medium": (0.608, 0.859),
    "Llama 3.1 70B": (0.712, 0.87),
    "Llama 3.1 405B": (0.781, 0.893),
    "GPT-4o": (0.855, 0.929),
}
PAPER: Mapping[str, Any] = {
    "HumanEval as verifier, HumanEval+ as truth, 150 tasks": {
        name: {"one sample": single, "ceiling": most} for name, (single, most) in POINTS.items()
    },
    "line through all 17 models (refitted)": {
        "ceiling over one sample": {"slope": 0.218, "intercept": 0.725, "R2": 0.892}
    },
    "best attempts (reward), at most 200, by the cost of a wrong answer": {
        name: dict(zip(map(str, RATIOS), row, strict=True))
        for name, row in {
            "Code Llama 13B": ("200 (.732)", "197 (.524)", "98 (.320)", "1 (.083)", "0"),
            "Llama 3.1 8B": ("200 (.799)", "200 (.630)", "22 (.478)", "4 (.221)", "0"),
            "Llama 3.1 70B": ("143 (.835)", "25 (.716)", "9 (.611)", "2 (.436)", "1 (.144)"),
            "GPT-4o": ("200 (.910)", "200 (.840)", "200 (.770)", "200 (.630)", "1 (.356)"),
        }.items()
    },
}
SAMPLES = 200
TASKS = 150
MADE = {  # mean success, and the best attempts of one seed when this was designed (our own figures)
    "weak": (0.27, "200, 5, 1, 1, 1"),
    "middle": (0.53, "200, 61, 5, 1, 1"),
    "strong": (0.84, "200, 200, 200, 200, 1"),
}
SPREAD = 1.5  # sum of both parameters of the Beta distribution of success rates
TREES: Mapping[str, dict[str, Any]] = {  # depth, rows to learn from
    "trees of depth 2": {"depth": 2, "rows": 200},
    "trees of depth 3": {"depth": 3, "rows": 200},
    "trees of depth 4": {"depth": 4, "rows": 200},
    "trees, 200 rows": {"depth": None, "rows": 200},
    "trees, 1,400 rows": {"depth": None, "rows": 1400},
}
WEAKEST, *_, STRONGEST = TREES
PASSES = 2  # labels that the check accepts, of ten
IMAGES = 300


@dataclass
class Found:
    """What was measured of one model, one value a seed."""

    single: list[float] = field(default_factory=list)
    ceiling: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    micro: list[float] = field(default_factory=list)
    attempts: dict[int, list[int]] = field(default_factory=dict)
    reward: dict[int, list[float]] = field(default_factory=dict)
    false: dict[str, list[float]] = field(default_factory=dict)
    """Attempts -> share of wrong ones among what is accepted then."""

    def add(self, counts: Array) -> None:
        """Measure one seed."""
        limits = ceiling(counts)
        self.single.append(limits.single)
        self.ceiling.append(limits.macro)
        self.worst.append(limits.worst)
        self.best.append(limits.best)
        self.micro.append(limits.micro)
        for ratio in RATIOS:
            best = best_attempts(reward_curve(counts, value_wrong=-float(ratio)))
            self.attempts.setdefault(ratio, []).append(best.attempts)
            self.reward.setdefault(ratio, []).append(best.reward)
        wrong = false_positives_by_attempt(counts)
        for first, last, rate in zip(wrong.first, wrong.last, wrong.rate, strict=True):
            name = f"{first} to {last}" if last > first else str(first)
            self.false.setdefault(name, []).append(float(rate))


def main(quick: bool) -> Result:
    """Measure made tasks and digits, and judge them."""
    made = made_tasks(3 if quick else 20)
    digits, kept = digit_tasks(2 if quick else 5, 40 if quick else SAMPLES)
    agrees, why = judge(digits)
    return Result(
        paper="Inference Scaling fLaws: The Limits of LLM Resampling with Imperfect Verifiers, "
        "arXiv 2411.17501",
        setting=("Quick run. " if quick else "")
        + f"Made tasks: {TASKS} tasks, {SAMPLES} samples each of three models whose success rates "
        "are Beta distributed, wrong ones accepted at a rate that is Beta(0.5, 4) over tasks and "
        f"one for all models, {len(made['weak'].single)} seeds. Digits: {IMAGES} images of "
        "scikit-learn's digits as tasks, bootstrapped decision trees as samples, accepted where "
        f"their label is one of the {PASSES} whose mean upper half is nearest; images with a "
        "sign of a rejected right answer are left out, as in the paper "
        f"({interval(kept)[0]:.0f} stay); {len(kept)} seeds. Mean and 95% interval over seeds. "
        "Best attempts: median, range over seeds and mean reward; the expected ones are of one "
        "seed, and of other Beta distributions with the same means. The paper runs 17 language "
        "models.",
        paper_figures=PAPER,
        our_figures={
            "line through the 9 models printed above": printed_line(),
            "easy and hard tasks, worked out": closed_model(),
            "made tasks, ceilings": ceilings(made),
            "made tasks, best attempts by the cost of a wrong answer": attempts(
                made, {name: expected for name, (_, expected) in MADE.items()}
            ),
            "digits, ceilings": ceilings(digits),
            "digits, line through the models": {"ceiling over one sample": line(digits)},
            "digits, best attempts by the cost of a wrong answer": attempts(digits, {}),
            "digits, wrong ones among what is accepted, by the attempt": false_positives(digits),
        },
        agrees=agrees,
        why=why,
    )


def made_tasks(seeds: int) -> dict[str, Found]:
    """Measure three models on tasks that accept wrong answers at the same rates."""
    found = {name: Found() for name in MADE}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        lax = rng.beta(0.5, 4, TASKS)[:, None]
        for name, (mean, _) in MADE.items():
            rate = rng.beta(SPREAD * mean, SPREAD * (1 - mean), TASKS)[:, None]
            right = rng.random((TASKS, SAMPLES)) < rate
            accept = right | (rng.random((TASKS, SAMPLES)) < lax)
            found[name].add(accept_counts(accept, right))
    return found


def digit_tasks(seeds: int, samples: int) -> tuple[dict[str, Found], list[float]]:
    """Measure trees on digits; and how many images stay, a seed each."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    found: dict[str, Found] = {name: Found() for name in TREES}
    kept = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        test, train = np.split(rng.permutation(len(X)), [IMAGES])
        passes = check(X[train], y[train], X[test])
        told = [labels(X[train], y[train], X[test], samples, rng, **how) for how in TREES.values()]
        right = [each == y[test][:, None] for each in told]
        accept = [np.take_along_axis(passes, each, axis=1) for each in told]
        stays = tasks_without_false_negatives(
            [each.mean(axis=1) for each in accept], [each.mean(axis=1) for each in right]
        )
        kept.append(float(stays.sum()))
        for name, passed, true in zip(TREES, accept, right, strict=True):
            found[name].add(accept_counts(passed[stays], true[stays]))
    return found, kept


def check(X: Array, y: Array, test: Array) -> Array:
    """Say which labels the weak verifier accepts for each image; shape (images, 10)."""
    half = X.shape[1] // 2
    means = np.array([X[y == label, :half].mean(axis=0) for label in range(10)])
    distances = np.linalg.norm(test[:, None, :half] - means, axis=2)
    return np.asarray(distances.argsort(axis=1).argsort(axis=1) < PASSES)


def labels(
    X: Array, y: Array, test: Array, samples: int, rng: np.random.Generator, depth: Any, rows: int
) -> Array:
    """Tell the label of every image by many trees; shape (images, samples)."""
    from sklearn.tree import DecisionTreeClassifier

    told = []
    for _ in range(samples):
        some = rng.choice(len(X), rows)
        seed = int(rng.integers(2**31))
        tree = DecisionTreeClassifier(max_depth=depth, max_features=8, random_state=seed)
        told.append(tree.fit(X[some], y[some]).predict(test))
    return np.column_stack(told)


# --- tables and judgement -------------------------------------------------------------------------


def rounded(values: Sequence[float]) -> list[float]:
    """Give the mean and its interval."""
    return [round(value, 4) for value in interval(values)]


def printed_line() -> Table:
    """Fit the paper's printed points."""
    single, most = zip(*POINTS.values(), strict=True)
    fit = line_over_models(single, most)
    strong = POINTS["GPT-4o"][0]
    never = [name for name, (_, reach) in POINTS.items() if reach < strong]
    return {
        "ceiling over one sample": {
            "slope": round(fit.slope, 3),
            "intercept": round(fit.intercept, 3),
            "R2": round(fit.r_squared, 3),
            "never reach one sample of GPT-4o": ", ".join(never),
        }
    }


def closed_model() -> Table:
    """Work out the two-type model, beside what was worked out when this was designed."""
    model = TwoTypes((0.58, 0.42), (0.87, 0.13), soundness=0.75)
    easy_hard = {
        "rejected": (model.rejected, "0.0975, 0.6525"),
        "wrong and accepted": (model.accepted_wrong, "0.0325, 0.2175"),
        "right among accepted": (model.precision, "0.964, 0.374"),
    }
    table: Table = {
        f"{name}, easy and hard": {
            "ours": ", ".join(f"{value:.4f}" for value in values),
            "expected": expected,
        }
        for name, (values, expected) in easy_hard.items()
    }
    numbers = {
        "one attempt": (float(model.rewards(1)[0]), "0.5592"),
        "attempts without end": (model.limit(), "0.71624"),
        "the same, as the published code counts": (
            float(model.rewards_with_beliefs_twice(2000)[-1]),
            "0.8699",
        ),
        "value of a wrong answer from which hard tasks pay": (
            float(-model.accepted_right[1] / model.accepted_wrong[1]),
            "-0.5977",
        ),
    }
    for name, (value, expected) in numbers.items():
        table[name] = {"ours": round(value, 5), "expected": expected}
    for cost, expected in ((0.7, "3, 0.52457"), (1.0, "2, 0.47238"), (2.0, "1, 0.33880")):
        best = best_attempts(model.rewards(200, -cost))
        table[f"best attempts, reward, a wrong answer costs {cost:g}"] = {
            "ours": f"{best.attempts}, {best.reward:.5f}",
            "expected": expected,
        }
    return table


def ceilings(found: Mapping[str, Found]) -> Table:
    """Give accuracy and ceiling of every model."""
    return {
        name: {
            "one sample": rounded(one.single),
            "ceiling": rounded(one.ceiling),
            "at worst": round(interval(one.worst)[0], 3),
            "at best": round(interval(one.best)[0], 3),
            "over samples": round(interval(one.micro)[0], 3),
        }
        for name, one in found.items()
    }


def attempts(found: Mapping[str, Found], expected: Mapping[str, str]) -> Table:
    """Give the best number of attempts of every model: median, range, and mean reward."""
    table: Table = {}
    for name, one in found.items():
        table[name] = {
            str(ratio): f"{np.median(best):.0f} [{min(best)}, {max(best)}] "
            f"({interval(one.reward[ratio])[0]:.3f})"
            for ratio, best in one.attempts.items()
        }
        if name in expected:
            table[name]["expected"] = expected[name]
    return table


def false_positives(found: Mapping[str, Found]) -> Table:
    """Give the share of wrong ones by attempt; the mean over seeds that accept any then."""
    table: Table = {}
    for name, one in found.items():
        known = {bucket: [v for v in rates if v == v] for bucket, rates in one.false.items()}
        table[name] = {
            bucket: round(interval(rates)[0], 3) if rates else "" for bucket, rates in known.items()
        }
    return table


def slopes(found: Mapping[str, Found]) -> list[tuple[float, float, float]]:
    """Fit the ceilings of the models to their accuracy: slope, intercept and R2, a seed each."""
    seeds = zip(
        *((zip(one.single, one.ceiling, strict=True)) for one in found.values()), strict=True
    )
    fits = [line_over_models(*zip(*points, strict=True)) for points in seeds]
    return [(fit.slope, fit.intercept, fit.r_squared) for fit in fits]


def line(found: Mapping[str, Found]) -> dict[str, Value]:
    """Give the line over models."""
    columns = zip(*slopes(found), strict=True)
    return {
        name: rounded(values)
        for name, values in zip(("slope", "intercept", "R2"), columns, strict=True)
    }


def sign(values: Sequence[float]) -> int:
    """Give 1 where the mean's interval is above 0, -1 where it is below, else 0."""
    _, low, high = interval(values)
    return int(low > 0) - int(high < 0)


def late(one: Found) -> list[float]:
    """Give the share of wrong ones at the last attempts where some are accepted in every seed."""
    return [rates for rates in one.false.values() if not np.isnan(rates).any()][-1]


def judge(digits: Mapping[str, Found]) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims, on the digits: made tasks follow the assumptions behind them.

    True if all hold beyond seed noise, false if one holds the other way round.
    """
    weak, strong = digits[WEAKEST], digits[STRONGEST]
    later = [np.subtract(late(one), one.false["1"]).tolist() for one in digits.values()]
    fewer = [np.subtract(one.attempts[0], one.attempts[8]).tolist() for one in digits.values()]
    claims = {
        "the ceiling is lower for weaker models": sign([fit[0] for fit in slopes(digits)]),
        "no number of attempts brings the weakest to one sample of the strongest": sign(
            np.subtract(strong.single, weak.ceiling).tolist()
        ),
        "what is accepted late is wrong more often, for every model": min(map(sign, later)),
        "fewer attempts pay where a wrong answer costs 8, for every model": min(map(sign, fewer)),
        "and none for the weakest": 1 if max(weak.attempts[8]) == 0 else -1,
    }
    agrees, said = weigh(claims)
    return agrees, (
        f"judged on the digits: {said}. The figures themselves are of other models and another "
        "verifier. Whether more attempts pay for the stronger model is not judged: in the paper's "
        "own table it goes either way."
    )


if __name__ == "__main__":
    reproduce("15-inference-scaling-flaws", main)
