"""Large Language Monkeys (arXiv 2407.21787): coverage grows with samples, and a vote does not.

The paper draws 10,000 samples a problem from models of up to 70 billion parameters. Here the
built-in model of 135 million draws 64 for each of 50 questions of GSM8K, and synthetic problems
with known chances go to 10,000. The full run draws for an hour or more on two cores; it keeps what
it has in build/07-large-language-monkeys and goes on from there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import DATA, Result, Value, reproduce
from samplewise.measure.pass_at_k import (
    beta_coverage,
    coverage_curve,
    pass_at_k,
    plug_in_pass_at_k,
)
from samplewise.measure.scaling_law import fit_law, paper_grid
from samplewise.measure.voting import majority_limit, selection_curve

Array = NDArray[Any]

PAPER = {
    "one sample, and many": {
        "SWE-bench Lite, DeepSeek-Coder-V2": {"1": 0.159, "250": 0.56},
        "CodeContests, Gemma-2B": {"1": 0.0002, "10,000": 0.071},
        "MATH, Pythia-160M": {"1": 0.0027, "10,000": 0.57},
        "GSM8K and MATH, Llama-3": {"10,000": "above 0.95"},
    },
    "MATH, Llama-3-8B-Instruct (an early version)": {
        "coverage": {"100": 0.829, "10,000": 0.9844},
        "majority vote": {"100": 0.405, "10,000": 0.4141},
    },
}
PROBLEMS, SAMPLES = 50, 64
TEMPLATE = '{question}\n\nWork it out step by step, and end with "The answer is" and the number.'
BUILD = Path(__file__).resolve().parents[1] / "build" / "07-large-language-monkeys"
KEPT = Path(__file__).parent / "results" / "07-gsm8k-answers.jsonl"
WRONG = 20  # wrong answers that a synthetic problem has


def main(quick: bool) -> Result:
    """Run the synthetic problems, and the built-in model where the questions are at hand."""
    tables: dict[str, dict[str, dict[str, Value]]] = {}
    tables |= synthetic(3 if quick else 20)
    agrees = coverage_outgrows_the_vote(tables[SYNTHETIC])
    drawn = None if quick else gsm8k()
    if drawn is None:
        said = "Synthetic problems only. "
    else:
        said = (
            f"GSM8K: the first {PROBLEMS} questions of the test set, SmolLM2-135M-Instruct, "
            f"{SAMPLES} samples each, temperature 0.6, top-p 0.95, 200 tokens at most, no examples "
            "in the prompt (the paper gives 5), judged by math-verify. "
        )
        tables |= drawn
        agrees = agrees and coverage_outgrows_the_vote(drawn[GSM8K])
    return Result(
        paper="Large Language Monkeys: Scaling Inference Compute with Repeated Sampling, "
        "arXiv 2407.21787",
        setting=("Quick run. " if quick else "")
        + said
        + "Synthetic: 128 problems whose chance of a right sample is Beta(0.3, 3), and whose wrong "
        f"samples spread over {WRONG} answers, Dirichlet(0.5).",
        paper_figures=PAPER,
        our_figures=tables,
        agrees=agrees,
        why="judged by whether coverage keeps growing with samples while a vote levels off far "
        "below it. The paper's models are far stronger, so its figures are not ours.",
    )


SYNTHETIC = "synthetic problems, share solved with k samples"
GSM8K = "GSM8K, share solved with k samples"


def coverage_outgrows_the_vote(table: dict[str, dict[str, Value]]) -> bool:
    """Say whether coverage grows at every step, and a vote reaches less than half of it."""
    coverage = [_mean(value) for value in table["coverage"].values()]
    vote = [_mean(value) for value in table["majority vote"].values()]
    return bool((np.diff(coverage) > 0).all() and vote[-1] < coverage[-1] / 2)


def _mean(value: Value) -> float:
    return float(value if isinstance(value, float) else value[0])  # type: ignore[arg-type]


# --- synthetic problems ---------------------------------------------------------------------------


def synthetic(repeats: int) -> dict[str, dict[str, dict[str, Value]]]:
    """Coverage and votes where every chance is known."""
    rng = np.random.default_rng(0)
    right = rng.beta(0.3, 3, 128)
    wrong = (1 - right)[:, None] * rng.dirichlet(np.full(WRONG, 0.5), 128)
    chances = np.column_stack([right, wrong])
    ks = [10**power for power in range(5)]
    votes = [np.mean([_vote(chances, k, rng) for _ in range(repeats)]) for k in ks]
    drawn = rng.binomial(1000, right)
    return {
        SYNTHETIC: {
            "coverage": {f"{k:,}": round(float((1 - (1 - right) ** k).mean()), 4) for k in ks},
            "majority vote": {
                f"{k:,}": round(float(vote), 4) for k, vote in zip(ks, votes, strict=True)
            },
            "majority vote, in the limit": {"10,000": round(majority_limit(chances), 4)},
        },
        "coverage estimated from 1,000 samples, less the true one": {
            "unbiased": {
                f"{k:,}": round(
                    float((pass_at_k(np.full(128, 1000), drawn, k) - 1 + (1 - right) ** k).mean()),
                    4,
                )
                for k in ks[:4]
            },
        },
        "bias of coverage from 20 samples at k = 20 (mean of 2,000 draws)": _bias(right, rng),
        "the law's error on coverage under Beta(a, b), 37 numbers of samples": {
            f"a = {a}, b = {b}": _law_error(a, b)
            for a, b in ((0.3, 3.0), (0.5, 5.0), (0.15, 3.0), (0.3, 1.0))
        },
    }


def _vote(chances: Array, k: int, rng: np.random.Generator) -> float:
    """Share of problems that a vote among k samples gets right; a tie counts by its part."""
    counts = rng.multinomial(k, chances)
    first = counts == counts.max(axis=1, keepdims=True)
    return float((first[:, 0] / first.sum(axis=1)).mean())


def _bias(right: Array, rng: np.random.Generator) -> dict[str, dict[str, Value]]:
    drawn = rng.binomial(20, right, (2_000, len(right)))
    true = (1 - (1 - right) ** 20).mean()
    return {
        name: {"bias": round(float(estimate(np.full_like(drawn, 20), drawn, 20).mean() - true), 4)}
        for name, estimate in (("unbiased", pass_at_k), ("plug-in", plug_in_pass_at_k))
    }


def _law_error(a: float, b: float) -> dict[str, Value]:
    grid = paper_grid()
    law = fit_law(grid, beta_coverage(a, b, grid))
    return {
        "mean error": round(law.mean_error, 4),
        "largest": round(law.max_error, 4),
        "a": round(law.a, 3),
        "b": round(law.b, 3),
    }


# --- the built-in model on GSM8K ------------------------------------------------------------------


def gsm8k() -> dict[str, dict[str, dict[str, Value]]] | None:
    """Draw, or go on drawing, and measure; None without the questions."""
    source = DATA / "gsm8k_test.jsonl"
    if not source.exists():
        return None
    rows = draw(source)
    KEPT.write_text("".join(json.dumps(row) + "\n" for row in rows))
    correct = np.array([[mark == "1" for mark in row["correct"]] for row in rows])
    counts = np.column_stack([np.full(len(rows), SAMPLES), correct.sum(axis=1)])
    ks = [2**power for power in range(7)]
    curve = coverage_curve(counts, ks)
    law = fit_law(curve.k, curve.mean)
    votes = selection_curve([row["answers"] for row in rows], correct, ks=ks)
    tokens = np.concatenate([row["tokens"] for row in rows])
    return {
        GSM8K: {
            "coverage": {
                str(k): [round(float(v), 4) for v in each]
                for k, *each in zip(ks, curve.mean, curve.low, curve.high, strict=True)
            },
            "majority vote": _row(ks, votes.mean["majority"]),
            "majority vote, sd over subsets": _row(ks, votes.sd["majority"]),
            "the fitted law": _row(ks, law.predict(ks)),
            "coverage less the law": _row(ks, law.residuals),
        },
        "GSM8K, the law c(k) = exp(a k^-b)": {
            "fitted": {"a": round(law.a, 4), "b": round(law.b, 4)},
            "error": {"mean": round(law.mean_error, 4), "largest": round(law.max_error, 4)},
        },
        "GSM8K, what was drawn": {
            "samples": {"count": float(correct.size), "right": float(correct.sum())},
            "tokens": {"count": float(tokens.sum()), "each": round(float(tokens.mean()), 1)},
            "cut off at 200 tokens": {"count": float((tokens >= 200).sum())},
            "problems with a right sample": {"count": float((counts[:, 1] > 0).sum())},
        },
    }


def _row(ks: list[int], values: Array) -> dict[str, Value]:
    return {str(k): round(float(value), 4) for k, value in zip(ks, values, strict=True)}


def draw(source: Path) -> list[dict[str, Any]]:
    """Answer the questions in a run folder that is taken up again; keep answers and marks alone."""
    from samplewise.jobs import AnswerJob, run_answer

    BUILD.mkdir(parents=True, exist_ok=True)
    problems = BUILD / "problems.jsonl"
    problems.write_text("".join(f"{line}\n" for line in source.read_text().split("\n")[:PROBLEMS]))
    job = AnswerJob(
        str(problems),
        strategy="repeated",
        knobs={"samples": str(SAMPLES)},
        template=TEMPLATE,
        max_tokens=200,
    )
    run_answer(job, BUILD / "run", resume=True)
    answers = (BUILD / "run" / "answers.jsonl").read_text().splitlines()
    return [
        {
            "id": one["id"],
            "correct": "".join(str(int(sample["correct"])) for sample in one["samples"]),
            "answers": [sample["answer"] for sample in one["samples"]],
            "tokens": [sample["tokens"] for sample in one["samples"]],
        }
        for one in map(json.loads, answers)
    ]


if __name__ == "__main__":
    reproduce("07-large-language-monkeys", main)
