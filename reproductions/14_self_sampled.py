"""Self-sampled solutions (arXiv 2205.14318): what right programs of a model's own do to pass@k.

The paper's data and models are not at hand. What is measured without them: how many right programs
are found in a grammar where all are known, with and without right beginnings; and pass@k of a small
transformer that is trained before on other problems, and then on one reference a problem, or on all
right programs that it samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.pass_at_k import pass_at_k
from samplewise.train.base import train
from samplewise.train.policy import Policy
from samplewise.train.programs import ShortPrograms, all_answers, arithmetic_trace, statement_at
from samplewise.train.self_sampled import SelfSampled, count_right
from samplewise.train.solutions import SolutionStore, Start

PAPER = {
    "Share of problems solved by one of k samples": {
        "GSM8K, PASS@100, MLE on one reference": {"paper": 35.5},
        "GSM8K, PASS@100, self-sampling": {"paper": 44.5},
        "MathQA, PASS@80, MLE on one reference": {"paper": 27.6},
        "MathQA, PASS@80, self-sampling": {"paper": 36.2},
    }
}
CONSTANTS = {"a": 7, "b": 3, "c": 5}
EXPECTED = {
    ("nothing", 500): 1.4,
    ("beginnings", 500): 3.2,
    ("nothing", 2000): 2.8,
    ("beginnings", 2000): 5.3,
}
"""What a sketch of this experiment gave when it was designed; not the paper's."""
METHODS: Mapping[str, Mapping[str, Any]] = {
    "MLE, one reference": {"loss": "mle"},
    "whole programs, MLE-Aug": {"fully_correct_only": True},
    "whole and beginnings, MLE-Aug": {},
    "whole and beginnings, MML": {"loss": "mml"},
}
BASELINE = "MLE, one reference"
KS = (1, 4, 16, 32)


def main(quick: bool) -> Result:
    """Run both experiments."""
    stored = simulation(seeds=4 if quick else 20, draws=(500,) if quick else (500, 2000))
    runs = [trained(seed, quick) for seed in range(1 if quick else 5)]
    ks = KS[:2] if quick else KS
    figures: dict[str, Any] = {
        "Distinct right programs after S uniform samples, of 63": distinct(stored),
        f"Share of held-out problems solved by one of k samples, {len(runs)} seeds": coverage(
            runs, ks
        ),
        "Gain over MLE, same seeds": gains(runs, ks),
        "What was found while training, a problem": {
            name: {
                kind: rounded([run[name][kind] for run in runs])
                for kind in ("right programs", "beginnings")
            }
            for name in METHODS
            if name != BASELINE
        },
    }
    agrees, said = judge(stored, runs, ks[-1])
    return Result(
        paper="Learning Math Reasoning from Self-Sampled Correct and Partially-Correct Solutions, "
        "arXiv 2205.14318",
        setting=("Quick run. " if quick else "")
        + "Programs of three statements over three constants, all 97,200 of which are known; a "
        "transformer of 0.1M weights that reads characters, trained on 1,500 formulas, then on 64 "
        "others with one reference each; 64 formulas held out, 32 samples each at temperature 0.8, "
        "unbiased pass@k. How long it is trained before was chosen on one seed, so that it solves "
        "some problems and not all. The paper trains GPT-Neo 125M and 2.7B for 50,000 steps on "
        "GSM8K and MathQA-Python.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees=agrees,
        why=said,
    )


# --- the grammar ----------------------------------------------------------------------------------


def simulation(seeds: int, draws: Sequence[int]) -> dict[tuple[str, int], list[int]]:
    """Count distinct right programs after some uniform samples, the reference among them."""
    hows: tuple[Start, ...] = ("nothing", "beginnings")
    found: dict[tuple[str, int], list[int]] = {(how, d): [] for d in draws for how in hows}
    for how in hows:
        for seed in range(seeds):
            for count, programs in zip(draws, sampled(how, seed, draws), strict=True):
                found[how, count].append(programs)
    return found


def sampled(how: Start, seed: int, draws: Sequence[int]) -> list[int]:
    """Sample, and count what is kept at some points."""
    rng, store, counts = np.random.default_rng(seed), SolutionStore(), []
    reference = arithmetic_trace(("t0=a+b", "t1=t0*c", "answer=t1-a"), CONSTANTS)
    assert reference is not None
    store.begin(0, reference)
    known = store.problems[0]
    for draw in range(max(draws)):
        head = known.start(rng, how)
        indices = rng.integers((27, 48, 75)).tolist()
        rest = [statement_at(place, indices[place]) for place in range(len(head), 3)]
        store.offer(0, arithmetic_trace((*head, *rest), CONSTANTS), 43.0)
        if draw + 1 in draws:
            counts.append(len(known.full))
    return counts


def distinct(stored: Mapping[tuple[str, int], Sequence[int]]) -> dict[str, dict[str, Value]]:
    """Give the means over seeds beside what was expected, and how many there are."""
    table: dict[str, dict[str, Value]] = {
        f"S = {count}, begun with {how}": {
            "ours": rounded(found),
            "expected": str(EXPECTED[how, count]),
        }
        for (how, count), found in stored.items()
    }
    right = int((all_answers([*CONSTANTS.values()]) == 43).sum())
    table["all right programs, counted"] = {"ours": right, "expected": "63"}
    return table


# --- a small transformer --------------------------------------------------------------------------


def trained(seed: int, quick: bool) -> dict[str, dict[Any, float]]:
    """Train one model before, then a copy of it by every method; give pass@k by method."""
    before = ShortPrograms(problems=200 if quick else 1500, test=1, seed=100 + seed)
    task = ShortPrograms(problems=64, test=8 if quick else 64, seed=200 + seed)
    policy = Policy.small(rng=seed)
    warm = SelfSampled(
        loss="mle", warm_up=0, problems=32, learning_rate=3e-3, exclude_context_loss=True
    )
    train(warm, before, model=policy, steps=3 if quick else 130, rng=seed)
    return {name: fine_tuned(policy, knobs, task, seed, quick) for name, knobs in METHODS.items()}


def fine_tuned(
    policy: Policy, knobs: Mapping[str, Any], task: ShortPrograms, seed: int, quick: bool
) -> dict[Any, float]:
    """Train a copy of a model, and measure it."""
    own = replace(policy, model=copy.deepcopy(policy.model))
    loop = SelfSampled(problems=8, exclude_context_loss=True, marginal_set_size=8, **knobs)
    learner: Any = train(loop, task, model=own, steps=2 if quick else 100, rng=seed)
    samples = KS[1] if quick else KS[-1]
    counts = count_right(
        own,
        task,
        range(task.count, task.count + task.held_out),
        samples=samples,
        most=task.longest,
        random=torch.Generator().manual_seed(seed),
    )
    known = learner.store.problems.values()
    return {
        **{k: float(pass_at_k(*counts.T, k).mean()) for k in KS if k <= samples},
        "right programs": float(np.mean([len(one.full) for one in known])),
        "beginnings": float(np.mean([len(one.partial) - 1 for one in known])),
    }


Runs = Sequence[Mapping[str, Mapping[Any, float]]]


def coverage(runs: Runs, ks: Sequence[int]) -> dict[str, dict[str, Value]]:
    """Give pass@k with intervals over seeds."""
    return {
        name: {f"k = {k}": rounded([run[name][k] for run in runs]) for k in ks} for name in METHODS
    }


def gain(runs: Runs, name: str, k: int, other: str = BASELINE) -> list[float]:
    """Give by how much a method is above another, a seed each."""
    return [run[name][k] - run[other][k] for run in runs]


def gains(runs: Runs, ks: Sequence[int]) -> dict[str, dict[str, Value]]:
    """Give what each method gains, with intervals over seeds."""
    return {
        name: {f"k = {k}": rounded(gain(runs, name, k)) for k in ks}
        for name in METHODS
        if name != BASELINE
    }


def judge(stored: Mapping[tuple[str, int], Sequence[int]], runs: Runs, k: int) -> tuple[Any, str]:
    """Judge by the paper's claims."""
    count = max(count for _, count in stored)
    more = np.subtract(stored["beginnings", count], stored["nothing", count]).tolist()
    _, whole, both, mml = METHODS
    agrees, said = weigh(
        {
            "beginnings find more right programs": sign(more),
            f"learning whole programs of its own raises pass@{k}": sign(gain(runs, whole, k)),
            f"learning beginnings too raises pass@{k} over MLE": sign(gain(runs, both, k)),
            f"MLE-Aug is above MML at pass@{k}": sign(gain(runs, both, k, mml)),
        }
    )
    return agrees, f"{said}. The figures themselves are of other problems and another model."


def sign(values: Sequence[float]) -> int:
    """Give 1 where the mean's interval is above 0, -1 where it is below, else 0."""
    _, low, high = interval(values)
    return int(low > 0) - int(high < 0)


def rounded(values: Sequence[float]) -> Value:
    """Give the mean and its interval; of a single value, that."""
    if len(values) == 1:
        return round(values[0], 4)
    return [round(value, 4) for value in interval(values)]


if __name__ == "__main__":
    reproduce("14-self-sampled", main)
