"""Cross-entropy makes a model too sure for many samples; a limit mends it (arXiv 2502.07154).

The paper fine-tunes language models on mathematics. Here the same losses train a linear softmax on
labels drawn from a true one, and a small transformer on sums of two numbers, for longer and longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.confidence import pass_at_n
from samplewise.train.confidence_limited import ConfidenceLimited, dco_loss
from samplewise.train.problems import Arithmetic

Table = dict[str, dict[str, Value]]
Run = dict[tuple[int, int], dict[str, list[float]]]
"""(N', steps) -> figure -> a value a seed."""

PAPER: Mapping[str, Any] = {
    "Llama-3-8B-base, cross-entropy on MATH, direct answers, %": {
        f"epoch {epoch}": dict(zip(("pass@1", "pass@16", "pass@256", "pass@4k"), row, strict=True))
        for epoch, row in enumerate(
            (
                (4.4, 30.0, 65.2, 82.5),
                (5.3, 31.4, 64.5, 80.0),
                (6.5, 28.7, 54.5, 79.2),
                (7.4, 22.9, 44.5, 63.0),
            ),
            start=1,
        )
    },
    "the same with chains of thought, epoch 3, %": {
        "cross-entropy": {"pass@1": 9.0, "pass@16": 41.6, "pass@64": 61.7},
        "DCO-a": {"pass@1": 8.3, "pass@16": 42.6, "pass@64": 63.1},
    },
    "claims": {
        "many samples": {"claim": "cross-entropy lowers pass@N for large N as training goes on"},
        "limit": {"claim": "each N is best served by a training N' near to it"},
    },
}
TRAINED = (1, 16, 64)  # N'; 1 is cross-entropy
SAMPLES = (1, 16, 64)
EXPECTED = {  # one seed, when this was designed
    (1, 10): "0.062, 0.470, 0.794 (0.18)",
    (1, 400): "0.106, 0.275, 0.389 (0.65)",
    (16, 400): "0.065, 0.450, 0.748 (0.23)",
    (64, 400): "0.042, 0.448, 0.845 (0.09)",
}
FEATURES, CLASSES, ROWS, TESTED = 60, 40, 300, 2_000


def main(quick: bool) -> Result:
    """Train both models with each loss, and judge them."""
    seeds = 2 if quick else 20
    softmax = gather(softmax_run, seeds, (10, 100, 400))
    few = 1 if quick else 4
    transformer = gather(transformer_run, few, (4, 8) if quick else (100, 400))
    agrees, why = judge(softmax, {} if quick else transformer)
    return Result(
        paper="Rethinking Fine-Tuning when Scaling Test-Time Compute: Limiting Confidence Improves "
        "Mathematical Reasoning, arXiv 2502.07154",
        setting=("Quick run. " if quick else "")
        + f"Softmax: {FEATURES} features, {CLASSES} classes, {ROWS} points to train and "
        f"{TESTED:,} to test, labels drawn from a true softmax, full gradient steps of 2.0, "
        f"{seeds} seeds. Transformer: some 90,000 weights that read characters, 256 sums of "
        f"numbers of two digits, 128 others to test, batches of 32, no warm-up, {few} seeds. "
        "pass@N is exact, from the probability of the right answer; confidence is the mean "
        "probability of the likeliest (greedy) one. Mean and 95% interval over seeds. The paper "
        "trains models of 1.5 to 70 billion weights.",
        paper_figures=PAPER,
        our_figures={
            "linear softmax": table(softmax, EXPECTED),
            "small transformer on sums": table(transformer, {}),
        },
        agrees=agrees,
        why=why,
    )


def gather(run: Any, seeds: int, shown: Sequence[int]) -> Run:
    """Train with every N' and seed; give the figures at the steps shown."""
    found: Run = {}
    for seed in range(seeds):
        for attempts in TRAINED:
            for steps, figures in run(seed, attempts, shown).items():
                place = found.setdefault((attempts, steps), {})
                for name, value in figures.items():
                    place.setdefault(name, []).append(value)
    return found


def softmax_run(seed: int, attempts: int, shown: Sequence[int]) -> dict[int, dict[str, float]]:
    """Train a linear softmax by full gradient steps."""
    import torch

    x, y = labelled(np.random.default_rng(seed))
    points, labels = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    weights = torch.zeros(FEATURES, CLASSES, dtype=torch.float64, requires_grad=True)
    found = {}
    for step in range(1, max(shown) + 1):
        logs = (points[:ROWS] @ weights).log_softmax(dim=1)
        loss = dco_loss(logs.gather(1, labels[:ROWS])[:, 0], attempts).loss.mean()
        [gradient] = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 2.0 * gradient
        if step in shown:
            law = (points[ROWS:] @ weights).softmax(dim=1).detach()
            right = law.gather(1, labels[ROWS:])[:, 0].numpy()
            found[step] = {
                **{f"pass@{n}": float(pass_at_n(right, n).mean()) for n in SAMPLES},
                "confidence": float(law.amax(dim=1).mean()),
            }
    return found


def labelled(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw points, and labels from a softmax of them."""
    true = rng.normal(size=(FEATURES, CLASSES))
    x = rng.normal(size=(ROWS + TESTED, FEATURES))
    # The largest of logits with Gumbel noise is a draw from their softmax.
    logits = 2 * x @ true / np.sqrt(FEATURES)
    return x, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def transformer_run(seed: int, attempts: int, shown: Sequence[int]) -> dict[int, dict[str, float]]:
    """Train a small transformer by the loop."""
    task = Arithmetic(digits=2, problems=256, test=128, seed=seed)
    loop = ConfidenceLimited(attempts=attempts, learning_rate=3e-3, warm_up=0)
    learner = loop.begin(task, steps=max(shown), rng=seed)
    found = {}
    while learner.done < learner.steps:
        learner.advance()
        if learner.done in shown:
            figures = learner.evaluate()
            names = (*(f"pass@{n}" for n in SAMPLES), "confidence")
            found[learner.done] = {name: figures[name] for name in names}
    return found


# --- tables and judgement -------------------------------------------------------------------------


def name_of(attempts: int) -> str:
    """Name a loss."""
    return "cross-entropy" if attempts == 1 else f"DCO, N' = {attempts}"


def table(found: Run, expected: Mapping[tuple[int, int], str]) -> Table:
    """Give every loss and length of training a row."""
    rows: Table = {}
    for (attempts, steps), figures in sorted(found.items()):
        row: dict[str, Value] = {
            name: [round(value, 4) for value in interval(values)]
            if len(values) > 1
            else round(values[0], 4)
            for name, values in figures.items()
        }
        if (attempts, steps) in expected:
            row["expected, one seed"] = expected[attempts, steps]
        rows[f"{name_of(attempts)}, {steps} steps"] = row
    return rows


def beyond(values: NDArray[np.float64], least: float = 0.0) -> int:
    """Give 1 where the interval of the mean is above `least`, -1 where it is below, else 0."""
    _, low, high = interval(values.tolist())
    return int(low > least) - int(high < least)


def gain(found: Run, name: str, one: tuple[int, int], other: tuple[int, int]) -> Any:
    """Give how much higher a figure is in one place than in another, a value a seed."""
    return np.subtract(found[one][name], found[other][name])


def judge(softmax: Run, transformer: Run) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims: true if all hold beyond seed noise."""
    claims = {
        "softmax: cross-entropy's pass@64 falls by more than 0.2 from 10 to 400 steps": beyond(
            gain(softmax, "pass@64", (1, 10), (1, 400)), 0.2
        ),
        "softmax: while its pass@1 rises": beyond(gain(softmax, "pass@1", (1, 400), (1, 10))),
        "softmax: after 400 steps N' = 64 is better by more than 0.3 at 64 samples": beyond(
            gain(softmax, "pass@64", (64, 400), (1, 400)), 0.3
        ),
        "softmax: and worse with one": beyond(gain(softmax, "pass@1", (1, 400), (64, 400))),
    }
    if transformer:
        first, last = 100, 400
        claims |= {
            "transformer: cross-entropy's pass@64 falls with training": beyond(
                gain(transformer, "pass@64", (1, first), (1, last))
            ),
            "transformer: N' = 64 is better at 64 samples": beyond(
                gain(transformer, "pass@64", (64, last), (1, last))
            ),
        }
    agrees, said = weigh(claims)
    best = {
        n: name_of(max(TRAINED, key=lambda k: float(np.mean(softmax[k, 400][f"pass@{n}"]))))
        for n in SAMPLES
    }
    return agrees, (
        f"{said}. Highest mean of the softmax after 400 steps: "
        + ", ".join(f"pass@{n} {name}" for n, name in best.items())
        + ". Cross-entropy stopped after 10 steps has pass@64 "
        f"{np.mean(softmax[1, 10]['pass@64']):.3f} there: stopping early mends most of it, and the "
        "limit does not need to know when. The figures themselves are of other models and data."
    )


if __name__ == "__main__":
    reproduce("45-dco", main)
