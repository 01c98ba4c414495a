"""Short, medium and long reasoning in one model, and ends of thinking (arXiv 2505.07961).

The paper trains and decodes language models of mathematics; its formulas were not at hand, and what
is run here is reconstructed. A stop process with one number to learn for each level shows what each
form of the reward does; a small transformer that works out sums at needless length learns to do so
in fewer tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.decode.samplers import PLAIN
from samplewise.decode.stop_temperature import (
    BudgetForcing,
    StopTemperature,
    geometric_length,
    stop_probability,
)
from samplewise.decode.thinking_diagnosis import diagnose_thinking
from samplewise.measure.reasoning_traces import tokens_saved
from samplewise.train.base import Loop
from samplewise.train.imitation import Imitation
from samplewise.train.length_control import LEVELS, LengthControl, tldr_reward
from samplewise.train.rejection_sampling import Raft
from samplewise.train.worked_sums import WorkedSums

Array = NDArray[Any]
Table = dict[str, dict[str, Value]]
Figures = dict[str, tuple[Any, Any]]
"""Name of a figure -> before and after training."""

PAPER: Mapping[str, Table] = {
    "claims (no figure was at hand but this)": {
        "TLDR": {"claim": "about 50% fewer tokens than the start, little or no accuracy lost"},
        "levels": {"claim": "one model with short, medium and long traces"},
        "stop temperature": {"claim": "a better trade-off than budget forcing"},
        "diagnosis": {
            "claim": "wrong answers are longer; the end of thinking is among the 5 likeliest "
            "tokens 87.5% of the time and yet not chosen (a secondary source)"
        },
    },
}
EXPECTED = (
    "linear form, when designed: short 0.98, 9; medium 0.98, 9; long 0.99, 15 (start 0.88, 26)"
)
Curve = dict[str, tuple[float, float]]
"""Setting -> mean length and accuracy."""
TAUS = (0.5, 0.8, 1.0, 1.25, 2.0, 4.0, 8.0)
BUDGETS = (4, 8, 12, 16, 20, 24, 28, 32, 36)
OWN = Raft(problems=16, samples=8, learning_rate=5e-4)
SUPERVISED = {
    "on long solutions": (Imitation(), 6),
    "on short solutions": (Imitation(), 1),
    "on its right answers": (OWN, 6),
    "on its shortest right answers": (replace(OWN, keep="shortest"), 6),
}
"""Loop, and how often the working of a solution goes through the sum, at most."""
LONGEST, GROUP, STEP = 64, 16, 0.05
WEIGHTS = np.array([1.0, 0.3, 0.0])  # of short, medium and long
TARGETS = np.array([0.1, 0.3, 1.0]) * LONGEST
FORMS = {
    "linear": {"form": "linear", "scale": True},
    "linear, advantages not scaled": {"form": "linear", "scale": False},
    "target": {"form": "target", "scale": True},
    "correct-only": {"form": "correct-only", "scale": True},
}


def main(quick: bool) -> Result:
    """Run the stop process and the transformer, and judge."""
    seeds, updates = (2, 60) if quick else (5, 1_500)
    chains = {
        name: [stop_process(seed, updates, **how) for seed in range(seeds)]  # type: ignore[arg-type]
        for name, how in FORMS.items()
    }
    steps = (5, 3) if quick else (400, 150)
    test = 16 if quick else 256
    trained = [transformer(test, seed, *steps) for seed in range(2 if quick else 3)]
    runs, diagnoses, steered = zip(*trained, strict=True)
    savings = [saving(run) for run in steered]
    taught = {
        name: [
            supervised(loop, WorkedSums(passes=passes, test=test), seed, *steps)
            for seed in range(len(runs))
        ]
        for name, (loop, passes) in SUPERVISED.items()
    }
    agrees, why = judge(chains, runs, diagnoses, savings)
    return Result(
        paper="Making Small Language Models Efficient Reasoners: Intervention, Supervision, "
        "Reinforcement, arXiv 2505.07961",
        setting=("Quick run. " if quick else "")
        + "Reconstructed: the paper's formulas were not at hand. Stop process: after each step it "
        "ends with probability sigmoid(w0 + w1 [step >= need]), need uniform on 2 to 16, right if "
        f"as long as needed; {LONGEST} steps at most, w of each level from (-5, 2), groups of "
        f"{GROUP}, {updates:,} updates of {STEP}, {seeds} seeds; accuracy and length of 4,000 "
        "draws. Transformer: two layers of width 64 that read characters and work out sums in base "
        "5, up to six times over; length-control in its target form, likeliest answers to held-out "
        f"sums before and after, {len(runs)} seeds. Diagnosis: an answer drawn to each of "
        "them at temperature 1; thinking is the working, = ends it, and a sentence ends with each "
        "pass through the sum. Length is in tokens of thinking, and a cut answer is wrong. "
        "Steered: an answer drawn to each at the level long before training, of whose tokens all "
        "count; "
        "saved is the mean over the accuracies that both curves reach. Supervised: likeliest "
        "answers after as many steps of training; its own answers are drawn anew at each step, 8 "
        "to each of 16 sums, where the paper's were drawn once.",
        paper_figures=PAPER,
        our_figures={
            "stop process": chain_table(chains),
            "when designed": {"stop process": {"accuracy, length": EXPECTED}},
            "transformer that works out sums": run_table(runs),
            "diagnosis of its drawn answers": run_table(diagnoses),
            "supervised in place of it": {
                name: {key: over_seeds([run[key] for run in found]) for key in found[0]}
                for name, found in taught.items()
            },
            "before training, the end of thinking steered": curve_table(steered),
            "stop temperature against budget forcing at equal accuracy": {
                "transformer before training": {"share of tokens saved": over_seeds(savings)}
            },
            "stop temperature, mean length of thinking that ends with 1% a token": {
                f"tau {tau}": {
                    "length": round(geometric_length(stop_probability(0.01, tau)), 2),
                }
                for tau in (0.8, 1.0, 1.25, 2.0)
            },
        },
        agrees=agrees,
        why=why,
    )


def stop_process(seed: int, updates: int, *, form: Any, scale: bool) -> Array:
    """Train the stop process; give accuracy and length of start and of each level."""
    random = np.random.default_rng(seed)
    w = np.tile([-5.0, 2.0], (len(LEVELS), 1))
    rows = [measure(w[0], random)]
    for _ in range(updates):
        for level in range(len(LEVELS)):
            need = int(random.integers(2, 17))
            lengths, ended, gradient = draw(w[level], np.full(GROUP, need), random)
            worth = tldr_reward(
                ended & (lengths >= need),
                lengths,
                longest=LONGEST,
                weight=WEIGHTS[level],
                target=TARGETS[level],
                form=form,
            )
            centred = worth - worth.mean()
            gains = centred / (worth.std(ddof=1) + 1e-6) if scale else centred
            w[level] += STEP * (gains[:, None] * gradient).mean(axis=0)
    return np.array([*rows, *(measure(one, random) for one in w)])


def draw(w: Array, needs: Array, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """Draw lengths; give them, which ended by themselves, and the gradient of each log-chance."""
    steps = np.arange(1, LONGEST + 1)
    late = (steps >= needs[:, None]).astype(float)
    chances = 1 / (1 + np.exp(-(w[0] + w[1] * late)))
    stops = random.random(chances.shape) < chances
    ended = stops.any(axis=1)
    lengths = np.where(ended, stops.argmax(axis=1) + 1, LONGEST)
    alive = steps <= lengths[:, None]
    last = (steps == lengths[:, None]) & ended[:, None]
    slope = np.where(alive, last - chances, 0.0)
    gradient = np.stack([slope.sum(axis=1), (slope * late).sum(axis=1)], axis=1)
    return lengths, ended, gradient


def measure(w: Array, random: np.random.Generator) -> tuple[float, float]:
    """Give accuracy and mean length."""
    needs = random.integers(2, 17, size=4_000)
    lengths, ended, _ = draw(w, needs, random)
    return float((ended & (lengths >= needs)).mean()), float(lengths.mean())


def transformer(
    test: int, seed: int, warm_up: int, steps: int
) -> tuple[Figures, Figures, dict[str, Curve]]:
    """Train the small transformer; give its figures, its diagnosis, and its curves at the start."""
    loop = LengthControl(learning_rate=5e-4, warm_up=warm_up)
    learner: Any = loop.begin(WorkedSums(test=test), steps=steps, rng=seed)
    while learner.done < warm_up:
        learner.advance()
    before, steering = (learner.evaluate(), diagnose(learner, seed)), curves(learner, seed)
    while learner.done < learner.steps:
        learner.advance()
    after = learner.evaluate(), diagnose(learner, seed)
    figures, diagnosis = (
        {name: (old[name], new[name]) for name in old}
        for old, new in zip(before, after, strict=True)
    )
    return figures, diagnosis, steering


def supervised(
    loop: Loop[Any], task: WorkedSums, seed: int, warm_up: int, steps: int
) -> dict[str, float]:
    """Train by supervision, as long as the transformer above; give accuracy and length."""
    learner: Any = replace(loop, warm_up=warm_up).begin(task, steps=steps, rng=seed)
    while learner.done < learner.steps:
        learner.advance()
    return {name: float(value) for name, value in learner.evaluate().items()}


def diagnose(learner: Any, seed: int) -> dict[str, float | None]:
    """Draw an answer to each held-out problem, and diagnose its thinking."""
    policy, task = learner.policy, learner.task
    prompts = [learner.ask(number) for number in learner.tested]
    random = torch.Generator().manual_seed(seed)  # the learner's own goes on as without
    batch = policy.sample(prompts, most=learner.most, random=random)
    (mark,), (pause,) = policy.encode("="), policy.encode(";")
    found = diagnose_thinking(
        policy.model,
        [ids[read > 0].numpy() for ids, read in zip(batch.ids, batch.read, strict=True)],
        [len(policy.encode(prompt)) for prompt in prompts],
        task.rewards(learner.tested, policy.texts(batch)),
        end=mark,
        sentences=lambda ids: np.isin(np.append(ids[1:], 0), [mark, pause]),
        marks_in_prompt=False,
        finished=((batch.ids == policy.end) & batch.response).any(dim=1).numpy(),
        problems=[number // len(LEVELS) for number in learner.tested],
    )
    lengths, ends = found.lengths, found.ends
    return {
        "accuracy": lengths.accuracy,
        "length": lengths.tokens,
        "length of right": lengths.right_tokens,
        "length of wrong": lengths.wrong_tokens,
        "wrong longer by, within problems": lengths.excess and lengths.excess.mean,
        "share unfinished": lengths.unfinished,
        "tokens per right answer": lengths.tokens_per_right,
        "end: mean probability": float(ends.probabilities.mean()) if len(ends.ranks) else None,
        "end: among the 5 likeliest": ends.among(5),
        "end: among them, not chosen": ends.passed_over(5),
        "4-grams that repeat": found.repetition,
    }


def curves(learner: Any, seed: int) -> dict[str, Curve]:
    """Give length and accuracy of drawn answers for each setting of what ends thinking."""
    (mark,) = learner.policy.encode("=")
    samplers: dict[str, dict[str, Any]] = {
        "stop temperature": {f"tau {tau}": StopTemperature(tau=tau, end=mark) for tau in TAUS},
        "budget forcing": {
            f"{budget} tokens": BudgetForcing(longest=budget, end=mark) for budget in BUDGETS
        },
    }
    return {
        kind: {name: steer(learner, sampler, seed) for name, sampler in settings.items()}
        for kind, settings in samplers.items()
    }


def steer(learner: Any, sampler: Any, seed: int) -> tuple[float, float]:
    """Draw a long answer to each held-out sum with a sampler; give mean length and accuracy."""
    policy = learner.policy
    numbers = list(learner.tested)[LEVELS.index("long") :: len(LEVELS)]
    prompts = torch.tensor([policy.encode(learner.ask(number)) for number in numbers])
    width, processor = prompts.shape[1], sampler.processor()

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # The = of the prompt ends no thinking: one other token stands for the prompt.
        return processor(torch.nn.functional.pad(ids[:, width:], (1, 0)), scores)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = policy.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            logits_processor=[process],
            max_new_tokens=learner.most,
            **PLAIN,
        )[:, width:]
    texts = [policy.decode(row.tolist()) for row in ids]
    right = np.array(learner.task.rewards(numbers, texts)) > 0
    lengths = (ids != policy.padding).sum(dim=1).numpy()
    ended = (ids == policy.end).any(dim=1).numpy()
    return float(lengths.mean()), float((right & ended).mean())


def curve_table(found: Sequence[dict[str, Curve]]) -> Table:
    """Lay out the curves, means over seeds."""
    return {
        f"{kind}, {name}": {
            what: float(np.mean([run[kind][name][place] for run in found]))
            for place, what in enumerate(("length", "accuracy"))
        }
        for kind, settings in found[0].items()
        for name in settings
    }


def saving(run: Mapping[str, Curve]) -> float | None:
    """Say what share of its rival's tokens the stop temperature saves at equal accuracy."""
    rival, mine = (
        tuple(np.transpose(list(run[kind].values())))
        for kind in ("budget forcing", "stop temperature")
    )
    found = tokens_saved(rival, mine)
    return found and found.share


def chain_table(chains: Mapping[str, list[Array]]) -> Table:
    """Lay out accuracy and length of each level."""
    names = ("start", *LEVELS)
    return {
        form: {
            f"{name}, {what}": interval([float(run[row, column]) for run in runs])
            for row, name in enumerate(names)
            for column, what in enumerate(("accuracy", "length"))
        }
        for form, runs in chains.items()
    }


def run_table(runs: Sequence[Figures]) -> Table:
    """Lay out each figure before and after."""
    return {
        name: {
            when: over_seeds([run[name][place] for run in runs])
            for place, when in enumerate(("before", "after"))
        }
        for name in runs[0]
    }


def over_seeds(values: Sequence[float | None]) -> Value:
    """Give the interval, or say in how many runs there is no such figure."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    if len(found) == len(values):
        return interval(found)
    return f"none in {len(values) - len(found)} of {len(values)} runs"


def judge(
    chains: Mapping[str, list[Array]],
    runs: Sequence[Figures],
    diagnoses: Sequence[Figures],
    savings: Sequence[float | None],
) -> tuple[Any, str]:
    """Say which claims hold."""

    def every(values: list[bool]) -> int:
        return 1 if all(values) else 0 if any(values) else -1

    linear, target = chains["linear"], chains["target"]
    lengths = [run[1:, 1] for run in target]
    saved = [run["length_short"][1] / run["length_short"][0] for run in runs]
    lost = [run["accuracy"][0] - run["accuracy"][1] for run in runs]
    return weigh(
        {
            "stop process: short answers are 40% shorter, none less often right": every(
                [run[1, 1] < 0.6 * run[0, 1] and run[1, 0] >= run[0, 0] for run in linear]
            ),
            "linear form: short and medium coincide within a token": every(
                [abs(run[1, 1] - run[2, 1]) < 1 for run in linear]
            ),
            "target form: short < medium < long": every(
                [bool((np.diff(one) > 0).all()) for one in lengths]
            ),
            "diagnosis before: wrong answers are longer": every(
                [(run["wrong longer by, within problems"][0] or 0) > 0 for run in diagnoses]
            ),
            "diagnosis before: at most places = is among the 5 likeliest, not chosen": every(
                [(run["end: among them, not chosen"][0] or 0) > 0.5 for run in diagnoses]
            ),
            "transformer before: stop temperature saves tokens against budget forcing": every(
                [(share or 0) > 0 for share in savings]
            ),
            "transformer: half of the tokens of short answers": every([one < 0.5 for one in saved]),
            "transformer: at most two points of accuracy lost": every(
                [one <= 0.02 for one in lost]
            ),
        }
    )


if __name__ == "__main__":
    reproduce("52-tldr", main)
