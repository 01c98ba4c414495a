"""Labels against clones as the budget of an answer grows (arXiv 2502.12118).

The paper proves that learning with a verifier gets ahead of cloning by the root of the budget where
answers differ much in worth and good ones are not rare, and shows it with language models. Here the
smallest such problem is worked out exactly, and both ways are run on planted subsequences: as the
theory has them (likelihood over experts; version space and pessimism), and as they are used (a
policy trained on answers; a trained verifier and best-of-N).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.heterogeneity import (
    Exponent,
    ScalingCurve,
    anti_concentration,
    fit_exponent,
    heterogeneity,
    scaling_curve,
    two_outcome_regret,
)
from samplewise.train.base import train
from samplewise.train.planted_subsequence import PlantedSubsequence
from samplewise.train.verifier_based import VerifierBased, VerifierFree

Table = dict[str, dict[str, Value]]

PAPER: Mapping[str, Table] = {
    "claims": {
        "theory": {
            "claim": "verifier-based learning gets ahead of verifier-free by order sqrt(H) when "
            "budget H and traces n grow together, for heterogeneous, anti-concentrated bases"
        },
        "Llama 3B and 8B on MATH": {
            "claim": "the gap grows with the budget and with n; cloning gets worse as "
            "heterogeneity rises"
        },
        "S1 (32B)": {"claim": "simple search with a verifier is better over a range of budgets"},
    }
}
BUDGETS = (16, 32, 64, 128, 256)
QUICK = (16, 24, 32, 48, 64)
BOTH = ("labels", "cloning")
FIXED = 16  # traces, where they do not grow
SEEDS = 80
TASKS = 5
"""Tasks of each kind; seeds go round them."""
EXPECTED = (0.256, 0.356, 0.498, 0.700, 0.978)
"""Our own simulation of the smallest problem, when this was designed."""
BASES: Mapping[str, dict[str, Any]] = {
    "heterogeneous": {},
    "homogeneous (all follow the true map)": {"known": 1.0, "misled": 0.0},
    "sharp (1 in 1,000 follows each map)": {"known": 0.001, "misled": 0.001},
    "5 symbols at every budget": {"length": 5},
}
MAIN, HOMOGENEOUS, SHARP, SHORT = BASES
SAMPLES = 8
NETWORKS: Mapping[str, Any] = {
    "clone of the expert": VerifierFree(learner="network"),
    "the same, budget forced": VerifierFree(learner="network", forcing=True),
    "clone of filtered answers": VerifierFree(learner="network", data="filtered"),
    f"verifier, best of {SAMPLES}": VerifierBased(learner="network", samples=SAMPLES),
}
CLONE, FORCED, FILTERED, SEARCH = NETWORKS


def main(quick: bool) -> Result:
    """Run all, and judge it."""
    seeds, few = (6, 2) if quick else (SEEDS, 3)
    run = functools.partial(grown, budgets=QUICK if quick else BUDGETS)
    heterogeneous = run(MAIN, seeds if quick else 6 * seeds)
    linear = {base: heterogeneous if base == MAIN else run(base, seeds) for base in BASES}
    others = {
        "n = H, a wide ball (kappa = 1/4)": run(MAIN, seeds, kappa=0.25),
        "n = H, 3 in 10 labels wrong": run(MAIN, seeds, label_noise=0.3),
        f"n = {FIXED} at every budget": run(MAIN, seeds, traces=FIXED),
    }
    by_traces = {n: grown(MAIN, seeds, (64,), traces=n).gap(*BOTH)[0] for n in (16, 64, 256)}
    networks = scaling_curve(
        (16, 24) if quick else QUICK,
        lambda budget: budget * (2 if quick else 50),
        network_learners(),
        few,
    )
    agrees, why = judge(linear, networks)
    return Result(
        paper="Scaling Test-Time Compute Without Verification or RL is Suboptimal, "
        "arXiv 2502.12118",
        setting=("Quick run. " if quick else "")
        + "Two outcomes: exact. Planted subsequences: 15 tokens, noise 0.5; a quarter of the "
        "base's answers follows the true map, a quarter a decoy, the rest is any tokens; the "
        "problem is a quarter of the budget H long, so that heterogeneity grows with H. Cloning is "
        "maximum likelihood over the two experts there can be, labels are a version space of the "
        "two rewards with pessimism; both play within chi-square distance kappa, which is 1 / n "
        "unless said otherwise: the edge of what n answers of the expert can tell. "
        f"{TASKS} tasks, {seeds} seeds ({heterogeneous.gap(*BOTH).shape[1]} for the first). "
        "Networks: a policy of 3 strategies trained token by token, and a verifier of 225 weights "
        f"trained on labels, n = {2 if quick else 50} H in batches of H / 2, kappa = 1/4, 24 "
        f"prompts, {few} seeds; best-of-{SAMPLES} spends {SAMPLES} times the tokens of the "
        "others. Mean and 95% interval over seeds, exponents with a bootstrap. The paper trains "
        "language models; its body could not be read, and definitions are reconstructed.",
        paper_figures=PAPER,
        our_figures={
            "two outcomes, n = H: what cloning loses": two_outcomes(),
            "planted subsequences, n = H": curve_table(heterogeneous),
            "gap of labels over cloning as H grows": {
                **exponents({**linear, **others}),
                "heterogeneous, over sigma / H": over_sigma(heterogeneous),
            },
            "the same at H = 64 as n grows": exponent_by_traces(by_traces),
            "networks: mean return over the budget": network_table(networks),
        },
        agrees=agrees,
        why=why,
    )


@functools.cache
def task_of(base: str, budget: int, seed: int) -> PlantedSubsequence:
    """Make a task; the problem is as long as a quarter of the budget unless the base says else."""
    fields = {"length": budget // 4, **BASES[base]}
    return PlantedSubsequence(budget=budget, seed=seed % TASKS, **fields)


def grown(
    base: str,
    seeds: int,
    budgets: Sequence[int],
    traces: int | None = None,
    kappa: float | None = None,
    label_noise: float = 0.0,
) -> ScalingCurve:
    """Learn in both ways at every budget; `traces` is the budget, and `kappa` 1 / traces."""

    def reach(kind: Any, budget: int, count: int, seed: int, **knobs: Any) -> float:
        loop = kind(traces=count, kappa=1 / count if kappa is None else kappa, **knobs)
        return train(loop, task_of(base, budget, seed), steps=1, rng=seed).evaluate()["value"]

    labels, cloning = BOTH
    return scaling_curve(
        budgets,
        lambda budget: traces or budget,
        {
            labels: functools.partial(reach, VerifierBased, label_noise=label_noise),
            cloning: functools.partial(reach, VerifierFree),
        },
        seeds,
    )


def network_learners() -> dict[str, Callable[[int, int, int], float]]:
    """Give each way of training a network, as `scaling_curve` takes it."""

    def reach(loop: Any, budget: int, count: int, seed: int) -> float:
        task = PlantedSubsequence(budget=budget, length=budget // 4, prompts=24, seed=seed)
        size = budget // 2
        sized = dataclasses.replace(loop, traces=size)
        learner = train(sized, task, steps=count // size, rng=seed)
        return learner.evaluate()["value"]

    return {name: functools.partial(reach, loop) for name, loop in NETWORKS.items()}


# --- tables and judgement -------------------------------------------------------------------------


def rounded(values: NDArray[np.float64], digits: int = 3) -> list[float]:
    """Give the mean and its interval."""
    return [round(value, digits) for value in interval(values.tolist())]


def two_outcomes() -> Table:
    """Work out the smallest problem, beside what was simulated when this was designed."""
    exact = np.array([two_outcome_regret(budget, budget) for budget in BUDGETS])
    table: Table = {
        f"H = {budget}": {
            "cloning": round(float(cloning), 4),
            "labels": f"{labels:.0e}",
            "expected": told,
        }
        for budget, (cloning, labels), told in zip(BUDGETS, exact, EXPECTED, strict=True)
    }
    table["exponent"] = {"cloning": round(fit_exponent(BUDGETS, exact[:, :1]).slope, 3)}
    return table


def law_of(budget: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the exact law of the base's return at the prompts of one task, and the returns."""
    task = task_of(MAIN, budget, 0)
    law = task.laws[:, task.truth]
    return law, np.broadcast_to(np.arange(budget + 1), law.shape)


def curve_table(curve: ScalingCurve) -> Table:
    """Give what is reached at every budget, and what the base is like."""
    table: Table = {}
    for place, budget in enumerate(curve.budgets.tolist()):
        law, returns = law_of(budget)
        table[f"H = {budget}"] = {
            "sigma / H": round(heterogeneity(returns, law).median / budget, 3),
            "c(1/n)": round(float(anti_concentration(returns, [1 / budget], law).worst[0]), 3),
            **{name: rounded(values[place]) for name, values in curve.values.items()},
            "gap": rounded(curve.gap(*BOTH)[place]),
        }
    return table


def exponent(x: Any, gaps: NDArray[np.float64]) -> Exponent | None:
    """Fit the exponent of a gap; None where a mean is not above 0."""
    return fit_exponent(x, gaps) if (gaps.mean(axis=1) > 0).all() else None


def exponents(curves: Mapping[str, ScalingCurve]) -> Table:
    """Give the gaps of every setting, and their exponents."""
    table: Table = {}
    for name, curve in curves.items():
        gaps = curve.gap(*BOTH)
        table[name] = {
            **{
                f"H = {budget}": round(float(gap.mean()), 3)
                for budget, gap in zip(curve.budgets.tolist(), gaps, strict=True)
            },
            "exponent": spelt(exponent(curve.budgets, gaps)),
        }
    return table


def over_sigma(curve: ScalingCurve) -> dict[str, Value]:
    """Give the gap in units of how heterogeneous the base is at each budget, and its exponent."""
    budgets = curve.budgets.tolist()
    laws = map(law_of, budgets)
    sigma = np.array([heterogeneity(returns, law).median for law, returns in laws])
    gaps = curve.gap(*BOTH) * (curve.budgets / sigma)[:, None]
    row: dict[str, Value] = {
        f"H = {budget}": round(float(gap.mean()), 3)
        for budget, gap in zip(budgets, gaps, strict=True)
    }
    return {**row, "exponent": spelt(exponent(curve.budgets, gaps))}


def exponent_by_traces(found: Mapping[int, NDArray[np.float64]]) -> Table:
    """Give the gap at every number of traces, and its exponent."""
    row: dict[str, Value] = {f"n = {n}": rounded(gaps) for n, gaps in found.items()}
    row["exponent"] = spelt(exponent(list(found), np.array(list(found.values()))))
    return {"heterogeneous": row}


def spelt(fit: Exponent | None) -> Value:
    """Give an exponent with its interval."""
    return "a gap is not above 0" if fit is None else [round(value, 3) for value in fit[:3]]


def network_table(curve: ScalingCurve) -> Table:
    """Give the mean return of every network over the budget."""
    return {
        f"H = {budget}": {
            name: rounded(values[place] / budget) for name, values in curve.values.items()
        }
        for place, budget in enumerate(curve.budgets.tolist())
    }


def above(values: NDArray[np.float64], least: float = 0.0) -> int:
    """Give 1 where the interval of the mean is above `least`, -1 where it is below, else 0."""
    _, low, high = interval(values.tolist())
    return int(low > least) - int(high < least)


def judge(
    linear: Mapping[str, ScalingCurve], networks: ScalingCurve
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims: true if all hold beyond seed noise."""
    gaps = {base: curve.gap(*BOTH)[:, :SEEDS] for base, curve in linear.items()}
    fit = exponent(linear[MAIN].budgets, linear[MAIN].gap(*BOTH))
    last = int(linear[MAIN].budgets[-1])
    practical = networks.gap(SEARCH, FORCED)
    slope = exponent(networks.budgets, practical)
    claims = {
        "labels are ahead of cloning at every budget": min(map(above, linear[MAIN].gap(*BOTH))),
        "the gap grows with the budget": grows(fit),
        "by an exponent that is 0.5 within 0.1": near_half(fit),
        f"a homogeneous base has a smaller gap at H = {last}": above(
            gaps[MAIN][-1] - gaps[HOMOGENEOUS][-1]
        ),
        f"so has a sharp one at H = {last}": above(gaps[MAIN][-1] - gaps[SHARP][-1]),
        "a trained verifier with best-of-N is ahead of a trained clone of the expert, budget "
        "forced, at every budget": min(map(above, practical)),
        "and the further the larger the budget": grows(slope),
    }
    agrees, said = weigh(claims)
    filtered = (networks.values[FILTERED][-1] / networks.budgets[-1]).mean()
    search = (networks.values[SEARCH][-1] / networks.budgets[-1]).mean()
    return agrees, (
        f"{said}. Heterogeneity grows a little slower than the budget here (small problems are "
        "solved by luck now and then), and so does the gap: its exponent is also given over "
        "sigma / H. The expert is the worst one for cloning: with a wide ball, likelihood finds it "
        "as well, and there is no gap. The theory's class of one expert a map knows all but which "
        "map is true. A clone of answers filtered by their labels is no verifier-free learning: it "
        f"returns {filtered:.3f} of the largest budget with one answer, beside {search:.3f} for "
        f"the best of {SAMPLES}. The figures themselves are of other problems than the paper's."
    )


def grows(fit: Exponent | None) -> int:
    """Say whether an exponent is above 0."""
    return 0 if fit is None else int(fit.low > 0) - int(fit.high < 0)


def near_half(fit: Exponent | None) -> int:
    """Say whether an exponent's interval lies within 0.1 of a half, or away from it."""
    if fit is None:
        return 0
    if abs(fit.low - 0.5) <= 0.1 and abs(fit.high - 0.5) <= 0.1:
        return 1
    return -1 if fit.low > 0.6 or fit.high < 0.4 else 0


if __name__ == "__main__":
    reproduce("33-verifier-based", main)
