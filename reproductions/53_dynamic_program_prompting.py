"""Dynamic program prompting (arXiv 2305.18170): which solved problems to show before a question.

The paper's models, and programs for its data, are not at hand. What is measured without them: on
made problems, a stand-in for a model that solves a question only if an example of the same kind is
shown, whose programs are run; how well a small student writes programs, by the share of questions
that have an accepted one, beside one that is taught the answers at once; and on GSM8K, where it is
present, whether the examples that are found do the same arithmetic as the question.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import samplewise as sw
from harness import DATA, Result, Value, interval, reproduce, weigh
from samplewise.answer.program_prompting import Order, retrieve, similarities
from samplewise.embed import make_embedder
from samplewise.measure.decision_bias import share_interval
from samplewise.models.completion import Completion, Request
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel
from samplewise.train.base import train
from samplewise.train.program_distillation import ProgramDistillation
from samplewise.train.solved_problems import WordProblems

PAPER = {
    "GSM8K, SVAMP and MathQA, accuracy (no figure is known to us)": {
        "similar solved problems as examples": {"claim": "above one fixed prompt"},
        "students taught programs": {"claim": "above students taught answers"},
    }
}
ORDERS: tuple[Order, ...] = ("most-similar", "random", "fixed", "least-similar")
EXPECTED: Mapping[str, str] = {
    "most-similar": "1.00",
    "random": "0.337",
    "fixed": "0.40",
    "least-similar": "0.00",
}
"""What theory, and a sketch of this experiment, gave when it was designed; not the paper's."""
KINDS = (
    *("apples baskets orchard", "trains stations timetable", "painters walls brushes"),
    *("coins piggy savings", "swimmers laps pool", "bakers loaves ovens", "taxis kilometres fare"),
    *("violins concert seats", "bees honey hives", "tailors shirts buttons", "glaciers ice metres"),
    *("printers pages toner", "miners gold nuggets", "chess games tournament"),
    *("sailors knots harbour", "gardeners tulips beds", "pilots flights airport"),
    *("cows milk litres", "readers novels library", "cyclists hills wheels"),
)
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana")
SHOWN = 8
COVERAGES = (0.1, 0.8)
DIRECT = "taught all answers, no program"


def main(quick: bool) -> Result:
    """Run the stand-in, and look for the same arithmetic in GSM8K."""
    figures: dict[str, Any] = {
        "Made problems, share solved by a stand-in for a model": stand_in(40 if quick else 200)
    }
    students = distilled(quick)
    figures["Made word problems, share solved by a small student"] = {
        name: {
            "solved": [round(value, 4) for value in interval(shares)] if not quick else shares[0]
        }
        for name, shares in students.items()
    }
    said = [
        judged(students),
        "no large model was asked; of the stand-in, examples in order of similarity are told from "
        "random, fixed and least similar ones as theory says",
    ]
    if not quick and (DATA / "gsm8k_train.jsonl").exists():
        figures |= gsm8k()
        said.append(
            "on GSM8K the share of questions with an example of the same arithmetic says what "
            "similarity by static word vectors finds, not what a model makes of it"
        )
    return Result(
        paper="Leveraging Training Data in Few-Shot Prompting for Numerical Reasoning, "
        "arXiv 2305.18170",
        setting=("Quick run. " if quick else "")
        + f"20 kinds of made problems, 400 with programs of which 80% are solved, {SHOWN} examples "
        "a prompt, built-in static vectors, programs run in the sandbox; intervals are Wilson's. "
        "Students are transformers of 0.1M weights that read characters, 400 questions of six "
        "kinds, 400 steps of 16, 100 questions held out; their intervals over 6 seeds are "
        "Student's. A first run had 300 steps and 5, 20 and 80% of programs (0.06, 0.56, 0.76 "
        "solved), a second 3 seeds; in both, growth was not clear. Where GSM8K is present, a full "
        "run finds examples for its 1,319 test questions among its 7,473 training questions. The "
        "paper draws programs with large models.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees="not comparable",
        why="; ".join(said) + ".",
    )


# --- made problems --------------------------------------------------------------------------------


def stand_in(count: int) -> dict[str, dict[str, Value]]:
    """Measure what share a stand-in solves, by the order of the examples."""
    rng = np.random.default_rng(0)
    train = [made(int(kind), rng) for kind in rng.integers(len(KINDS), size=400)]
    rows = [
        {"question": question, "program": program(a, b), "score": int(rng.random() < 0.8)}
        for _, question, a, b in train
    ]
    seeds = [
        {"question": question, "program": program(a, b)}
        for _, question, a, b in (made(kind, rng) for kind in range(SHOWN))
    ]
    tests = [made(int(kind), rng) for kind in rng.integers(len(KINDS), size=count)]
    problems = [
        Problem.ask(question, id=str(place), answer=str(a * b))
        for place, (_, question, a, b) in enumerate(tests)
    ]
    found: dict[str, dict[str, Value]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {"fixed": written(Path(folder) / "seeds.jsonl", seeds)}
        usual = written(Path(folder) / "examples.jsonl", rows)
        for order in ORDERS:
            answers = sw.answer(
                problems,
                ScriptedModel(copies),
                "program-prompting",
                rng=0,
                examples=files.get(order, usual),
                order=order,
                shown=SHOWN,
            )
            found[order] = {
                "solved": with_interval(round(answers.accuracy * count), count),
                "expected": EXPECTED[order],
            }
    return found


def made(kind: int, rng: np.random.Generator) -> tuple[int, str, int, int]:
    """Make a problem of a kind."""
    one, other, third = KINDS[kind].split()
    a, b = (int(number) for number in rng.integers(2, 90, size=2))
    name = NAMES[rng.integers(len(NAMES))]
    return kind, f"{name} counts {a} {one} with {b} {other} each. What is the {third} total?", a, b


def program(a: int, b: int) -> str:
    """Write the program of a made problem."""
    return f"def solution():\n    return {a} * {b}"


def copies(request: Request, number: int) -> Completion:
    """Answer as a model would that can only copy the program of an example of the same kind."""
    *shown, last = [turn.content for turn in request.messages if turn.role == "user"]
    a, b = re.findall(r"\d+", last)[:2]
    if any(kind_of(text) == kind_of(last) for text in shown):
        return Completion(f"```python\n{program(int(a), int(b))}\n```", tokens=20)
    return Completion(f"```python\n{program(0, 0)}\n```", tokens=20)


def kind_of(question: str) -> str:
    """Tell the kind of a made problem by the word that only it has."""
    words = set(re.findall(r"\w+", question))
    return next(kind for kind in KINDS if kind.split()[0] in words)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows to a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def with_interval(hits: int, count: int) -> Value:
    """Give a share with its interval."""
    low, high = share_interval(hits, count)
    return [round(value, 4) for value in (hits / count, float(low), float(high))]


# --- distillation ---------------------------------------------------------------------------------


def distilled(quick: bool) -> dict[str, list[float]]:
    """Teach small students, and give the share that each solves of held-out problems."""
    seeds, steps = (1, 2) if quick else (6, 400)
    students: dict[str, dict[str, Any]] = {
        f"taught programs of {share:.0%}": {"coverage": share} for share in COVERAGES
    }
    students[DIRECT] = {"target": "answer"}
    found: dict[str, list[float]] = {name: [] for name in students}
    for name, settings in students.items():
        for seed in range(seeds):
            task = WordProblems(
                problems=400,
                test=10 if quick else 100,
                coverage=settings.get("coverage", 1.0),
                seed=seed,
            )
            loop = ProgramDistillation(batch=16, target=settings.get("target", "program"))
            learner = train(loop, task, steps=steps, rng=seed)
            found[name].append(round(learner.evaluate()["accuracy"], 4))
    return found


def judged(students: Mapping[str, list[float]]) -> str:
    """Say what becomes of the claims about students."""
    few, many, direct = students.values()
    _, said = weigh(
        {
            "one solves more where 80% of the questions have a program than where 10% have": sign(
                many, few
            ),
            "one taught programs of 80% solves more than one taught all answers": sign(
                many, direct
            ),
        }
    )
    return f"of small students, {said}"


def sign(ours: list[float], theirs: list[float]) -> int:
    """Give 1 where the mean difference over seeds is above 0, -1 where it is below, else 0."""
    _, low, high = interval(np.subtract(ours, theirs).tolist())
    return int(low > 0) - int(high < 0)


# --- GSM8K ----------------------------------------------------------------------------------------


def gsm8k() -> dict[str, dict[str, dict[str, Value]]]:
    """Find examples for the test questions, and compare their arithmetic."""
    train, test = (rows_of(DATA / f"gsm8k_{part}.jsonl") for part in ("train", "test"))
    embedder = make_embedder("builtin")
    pool, queries = (embedder.embed([row["question"] for row in rows]) for rows in (train, test))
    near = similarities(queries, pool)
    kinds = [operations(row["answer"]) for row in train]
    wanted = [operations(row["answer"]) for row in test]
    nearest = near.max(axis=1)
    table: dict[str, dict[str, Value]] = {}
    for order in ORDERS:
        table[order] = arithmetic(near, kinds, wanted, order, 1.0)
    table["most-similar, at most 0.9 similar"] = arithmetic(
        near, kinds, wanted, "most-similar", 0.9
    )
    thirds = np.digitize(nearest, np.quantile(nearest, [1 / 3, 2 / 3]))
    hits = [
        shares_arithmetic(one, kinds, own, "most-similar", 1.0, place)
        for place, (one, own) in enumerate(zip(near, wanted, strict=True))
    ]
    by_similarity: dict[str, dict[str, Value]] = {
        name: {
            "mean similarity": round(float(nearest[thirds == third].mean()), 4),
            "same arithmetic": with_interval(
                int(np.sum(np.array(hits)[thirds == third])), int((thirds == third).sum())
            ),
        }
        for third, name in enumerate(("least similar third", "middle third", "most similar third"))
    }
    above: dict[str, Value] = {
        f"above {level}": with_interval(int((nearest > level).sum()), len(test))
        for level in (0.8, 0.9, 0.95)
    }
    return {
        f"GSM8K, share of questions with the same arithmetic in {SHOWN} examples": table,
        "GSM8K, the same by how similar the nearest training question is": by_similarity,
        "GSM8K, share of test questions with a training question so similar": {"nearest": above},
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def operations(answer: str) -> str:
    """Spell the arithmetic of a GSM8K solution: the operators of its steps, in order."""
    steps = re.findall(r"<<([^=]*)=", answer)
    return " ".join("".join(re.findall(r"[-+*/]", step)) for step in steps)


def arithmetic(
    near: NDArray[np.float64],
    kinds: list[str],
    wanted: list[str],
    order: Order,
    most: float,
) -> dict[str, Value]:
    """Give the share of questions of which an example has the same arithmetic."""
    hits = sum(
        shares_arithmetic(one, kinds, own, order, most, place)
        for place, (one, own) in enumerate(zip(near, wanted, strict=True))
    )
    return {"same arithmetic": with_interval(hits, len(wanted))}


def shares_arithmetic(
    near: NDArray[np.float64], kinds: list[str], own: str, order: Order, most: float, seed: int
) -> bool:
    """Say whether one of the examples for a question has its arithmetic."""
    picked = retrieve(near, count=SHOWN, order=order, most=most, rng=seed)
    return any(kinds[place] == own for place in picked)


if __name__ == "__main__":
    reproduce("53-dynamic-program-prompting", main)
