"""Iterative agent decoding (arXiv 2504.01931): show the model its best and worst answer so far.

The paper runs agents on Sketch2Code, Text2SQL and WebShop. Here two made-up models stand in for the
language model, so that every figure can be worked out: one fills slots, one writes small Python
functions that tests then run. What they can mend of an answer they are shown is set by us. So this
proves the loop and shows what decides, and not what language models gain by it.
"""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import samplewise as sw
from harness import Result, Value, interval, reproduce
from samplewise.answer import Answer, Strategy
from samplewise.answer.iterative_refinement import IterativeRefinement
from samplewise.answer.repeated import Repeated
from samplewise.measure.refinement import Slots, revised_share
from samplewise.models.completion import Completion, Request
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel
from samplewise.verify.base import Verdict
from samplewise.verify.calls import Call

PAPER = {
    "gain of IAD over its rivals, best-of-n among them (points, from the abstracts)": {
        "Sketch2Code, Text2SQL": {"gain": "3 to 6"},
        "WebShop": {"gain": "8 to 10"},
        "these and InterCode, later version": {"gain": "up to 10"},
    },
    "what it says decides": {
        "gains come from": {"": "feedback by a verifier, more than from sampling"},
        "noisy and sparse rewards": {"": "flatten the curves"},
    },
}
CALLS = 8
MODEL = Slots(20, 0.35, 0.15, 0.05)
SKETCHED = [0.352, 0.435, 0.504, 0.563, 0.610, 0.649, 0.683, 0.714]
"""The share right round by round, from a sketch of this experiment when it was designed."""


def main(quick: bool) -> Result:
    """Run both stand-ins, and say what decides."""
    number = 40 if quick else 300
    slots = {name: run_slots(one, number) for name, one in SETTINGS.items()}
    programs = {name: run_programs(one, number // 2) for name, one in WRITERS.items()}
    return Result(
        paper="Review, Refine, Repeat: Understanding Iterative Decoding of AI Agents with Dynamic "
        "Evaluation and Selection, arXiv 2504.01931",
        setting=("Quick run. " if quick else "")
        + f"{number} problems, {CALLS} calls each. Slots: an answer has {MODEL.slots} slots, each "
        f"right with probability {MODEL.right} when sampled anew; shown an answer, the model "
        f"mends a wrong slot with probability {MODEL.mend} and spoils a right one with "
        f"{MODEL.spoil}. Share of right slots in what is kept, mean and 95% interval over "
        "problems; `exact` is the closed form or the Markov chain, `sketch` an earlier "
        "simulation of 4000 runs by other code. Programs: "
        f"{len(PROGRAMS)} functions, {number // 2} problems; each constant and operator is right "
        f"with probability {RIGHT} when drawn, and a revision draws each anew with probability "
        f"{REDRAWN}; the verifier is the share of tests passed. Neither model reads the worst "
        "answer or a critique: those need a language model. The paper runs language models on "
        "Sketch2Code, Text2SQL and WebShop.",
        paper_figures=PAPER,
        our_figures={
            f"slots, {CALLS} calls": {name: one.row() for name, one in slots.items()},
            "slots, exact verifier, round by round": by_round(slots["IAD"]),
            "slots, what best of n takes to come level with IAD": level(slots["IAD"]),
            f"programs, {CALLS} calls": {name: one.row() for name, one in programs.items()},
            "IAD less its rival (paired by problem)": gaps(slots, programs),
        },
        agrees="not comparable",
        why=verdict(slots, programs),
    )


@dataclass(frozen=True)
class Setting:
    """A strategy, what it must come to, and what the sketch came to."""

    strategy: Strategy
    exact: float | None = None
    sketch: float | None = None


@dataclass(frozen=True)
class Found:
    """What a strategy came to on every problem."""

    answers: Sequence[Answer]
    shares: Mapping[str, Sequence[float]]
    known: Mapping[str, float]

    def row(self) -> dict[str, Value]:
        """Give its row of the table."""
        measured: dict[str, Value] = {
            column: [round(value, 4) for value in interval(values)]
            for column, values in self.shares.items()
        }
        return {
            **measured,
            **{column: round(value, 4) for column, value in self.known.items()},
            "calls": round(float(np.mean([len(one.completions) for one in self.answers])), 2),
            "answers read": round(float(np.mean([answers_read(one) for one in self.answers])), 2),
            "calls in turn": round(float(np.mean([rounds(one) for one in self.answers])), 2),
        }


def answers_read(one: Answer) -> int:
    """Count the answers that its prompts showed."""
    return sum(len(origin.parents) for origin in one.origins)


def rounds(one: Answer) -> int:
    """Count the calls that had to be waited for, one after the other."""
    return max((origin.remarks.get("iteration", 1) for origin in one.origins), default=0)


def refine(**knobs: Any) -> IterativeRefinement:
    """Make the loop, of eight rounds unless said otherwise."""
    return IterativeRefinement(**{"iterations": CALLS, **knobs})


def side_by_side(**knobs: Any) -> IterativeRefinement:
    """Make best of n with the knobs of the loop."""
    return IterativeRefinement(iterations=1, candidates=CALLS, **knobs)


def shown(request: Request) -> str | None:
    """Read the answer to revise out of a prompt."""
    found = re.search(
        r"<(best|last)_answer>\n(.*?)\n</\1_answer>", request.messages[-1].content, re.DOTALL
    )
    return found and found[2]


def solved(problems: list[Problem], strategy: Strategy, script: Any, score: Any) -> list[Answer]:
    """Answer all problems with a made-up model."""
    model = ScriptedModel(script)
    verifier = Call(lambda problem, text: rated(score(problem, text)))
    return list(sw.answer(problems, model, strategy, verifier=verifier, rng=0).answers)


def rated(score: float) -> Verdict:
    """Accept nothing less than a perfect answer."""
    return Verdict(score == 1, score)


# --- slots ----------------------------------------------------------------------------------------

LAST = float(revised_share(MODEL.right, MODEL.mend, MODEL.spoil, CALLS)[-1])
BEST_OF = MODEL.best_of(CALLS)
REFINED = MODEL.refined(CALLS)
SETTINGS = {
    "single": Setting(Repeated(1, "best-of-n"), MODEL.right),
    "best of 8": Setting(Repeated(CALLS, "best-of-n"), BEST_OF, 0.504),
    "revise the last, keep the last": Setting(refine(revise="last"), LAST, 0.666),
    "IAD, shuffled feedback": Setting(refine(revise="shuffled"), None, 0.603),
    "IAD": Setting(refine(), float(REFINED[-1]), 0.714),
    "IAD, 4 rounds of 2": Setting(
        refine(iterations=4, candidates=2), float(MODEL.refined(4, 2)[-1])
    ),
    "IAD, 2 rounds of 4": Setting(
        refine(iterations=2, candidates=4), float(MODEL.refined(2, 4)[-1])
    ),
    "noise 0.1: best of 8": Setting(side_by_side(noise=0.1), None, 0.465),
    "noise 0.1: IAD, shuffled feedback": Setting(refine(revise="shuffled", noise=0.1), None, 0.564),
    "noise 0.1: IAD": Setting(refine(noise=0.1), None, 0.605),
    "noise 0.3: best of 8": Setting(side_by_side(noise=0.3), None, 0.403),
    "noise 0.3: IAD": Setting(refine(noise=0.3), None, 0.517),
    "noise 0.3: IAD, mean of 9 ratings": Setting(refine(noise=0.3, ratings=9), None),
    "all or nothing: best of 8": Setting(side_by_side(sparse=True), MODEL.right, 0.349),
    "all or nothing: IAD": Setting(refine(sparse=True), MODEL.right),
    "all or nothing: IAD, ties at random": Setting(refine(sparse=True, ties="random"), None, 0.469),
    "all or nothing: IAD, ties to the last": Setting(refine(sparse=True, ties="last"), LAST),
}


def share(text: str) -> float:
    """Give the share of right slots."""
    return text.count("1") / MODEL.slots


def fill(request: Request, number: int) -> Completion:
    """Fill slots: anew, or by mending and spoiling those that are shown."""
    before = shown(request)
    chance = np.full(MODEL.slots, MODEL.right)
    if before:
        chance = np.where([one == "1" for one in before], 1 - MODEL.spoil, MODEL.mend)
    right = np.random.default_rng(request.seed).random(MODEL.slots) < chance
    return Completion("".join(map(str, right.astype(int))), tokens=MODEL.slots)


def run_slots(setting: Setting, number: int) -> Found:
    """Run one setting."""
    problems = [Problem.ask("Fill the slots.", id=str(n)) for n in range(number)]
    answers = solved(problems, setting.strategy, fill, lambda problem, text: share(text))
    known = {"exact": setting.exact, "sketch": setting.sketch}
    return Found(
        answers,
        {"share right": [share(one.text or "") for one in answers]},
        {name: value for name, value in known.items() if value is not None},
    )


def by_round(found: Found) -> dict[str, dict[str, Value]]:
    """Give the share right in the best answer so far."""
    drawn = np.array([[share(done.text) for done in one.completions] for one in found.answers])
    best = np.maximum.accumulate(drawn, axis=1)
    return {
        f"round {place + 1}": {
            "share right": [round(value, 4) for value in interval(best[:, place].tolist())],
            "exact": round(float(REFINED[place]), 4),
            "sketch": SKETCHED[place],
        }
        for place in range(CALLS)
    }


def level(found: Found) -> dict[str, dict[str, Value]]:
    """Compare at equal cost of other kinds; best of n by its closed form."""
    handled = float(np.mean([len(one.completions) + answers_read(one) for one in found.answers]))
    same = round(handled)
    needed = next(n for n in range(1, 10**6) if MODEL.best_of(n) >= REFINED[-1])
    return {
        f"at equal calls, n = {CALLS}": {"best of n": round(BEST_OF, 4)},
        f"at equal tokens, if reading costs what writing does and answers are long, n = {same}": {
            "best of n": round(MODEL.best_of(same), 4)
        },
        f"to come level, n = {needed}": {"best of n": round(MODEL.best_of(needed), 4)},
    }


# --- programs -------------------------------------------------------------------------------------

RIGHT = 0.5
REDRAWN = 0.2
PROGRAMS = {
    "thirds": """
def f(n):
    total = 0
    for k in range(1, n + 1):
        if k % 3 == 0:
            total = total + k * k
    return total
""",
    "clamp": """
def f(n):
    if n < 4:
        return 4 - n
    if n > 9:
        return n * 2 - 9
    return n + 1
""",
    "digits": """
def f(n):
    seen = 0
    for place in range(0, 3):
        if n % 7 >= 2:
            seen = seen + 1
        n = n * 3 + 5
    return seen
""",
    "count": """
def f(n):
    found = 0
    for a in range(1, n + 1):
        for b in range(a, n + 1):
            if a * b - a == n + 6:
                found = found + 1
    return found
""",
}
INPUTS = range(12)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Mod)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
WRITERS = {
    "single": Repeated(1, "best-of-n"),
    "best of 8": Repeated(CALLS, "best-of-n"),
    "revise the last, keep the last": refine(revise="last"),
    "IAD, shuffled feedback": refine(revise="shuffled"),
    "IAD": refine(),
    "all or nothing: IAD": refine(sparse=True),
}


def write(request: Request, number: int) -> Completion:
    """Write a program: anew, or by drawing some pieces of the one shown anew."""
    rng = np.random.default_rng(request.seed)
    truth = PROGRAMS[request.messages[-1].content.split()[1]]
    before = shown(request)
    tree, right = ast.parse(before or truth), pieces(ast.parse(truth))
    for piece, wanted in zip(pieces(tree), right, strict=True):
        if before is None or rng.random() < REDRAWN:
            redraw(piece, wanted, rng)
    text = ast.unparse(tree)
    return Completion(text, tokens=len(text.split()))


def pieces(tree: ast.AST) -> list[Any]:
    """List what can be wrong in a program: constants and operators, in one order."""
    return [
        one for one in ast.walk(tree) if isinstance(one, ast.Constant | ast.BinOp | ast.Compare)
    ]


def redraw(piece: Any, wanted: Any, rng: np.random.Generator) -> None:
    """Draw one piece: the right one, or any."""
    known = rng.random() < RIGHT
    if isinstance(piece, ast.Constant):
        piece.value = wanted.value if known else int(rng.integers(10))
    elif isinstance(piece, ast.BinOp):
        piece.op = wanted.op if known else OPERATORS[rng.integers(len(OPERATORS))]()
    else:
        drawn = COMPARISONS[rng.integers(len(COMPARISONS))]()
        piece.ops = wanted.ops if known else [drawn]


def passed(problem: Problem, text: str) -> float:
    """Give the share of tests that a program passes."""
    wanted = outcomes(PROGRAMS[problem.question.split()[1]])
    return float(np.mean([a == b for a, b in zip(outcomes(text), wanted, strict=True)]))


@functools.cache
def outcomes(text: str) -> list[int | str]:
    """Give what a program makes of every input."""
    function = compiled(text)
    return [outcome(function, n) for n in INPUTS]


def compiled(text: str) -> Callable[[int], int]:
    """Make a function of a program; all loops in it are over short ranges."""
    space: dict[str, Any] = {}
    exec(text, space)
    return operator.itemgetter("f")(space)


def outcome(function: Callable[[int], int], n: int) -> int | str:
    """Call it; an error is an outcome, too."""
    try:
        return function(n)
    except ZeroDivisionError:
        return "division by zero"


def run_programs(strategy: Strategy, number: int) -> Found:
    """Run one strategy."""
    names = list(PROGRAMS)
    problems = [
        Problem.ask(f"Write {names[n % len(names)]} in Python.", id=str(n)) for n in range(number)
    ]
    answers = solved(problems, strategy, write, passed)
    tests = [passed(one.problem, one.text or "def f(n): return None") for one in answers]
    return Found(
        answers,
        {"tests passed": tests, "all passed": [float(one == 1) for one in tests]},
        {},
    )


# --- judgement ------------------------------------------------------------------------------------

GAPS = (
    ("slots", "IAD", "best of 8"),
    ("slots", "IAD", "IAD, shuffled feedback"),
    ("slots", "IAD", "revise the last, keep the last"),
    ("slots", "noise 0.1: IAD", "noise 0.1: best of 8"),
    ("slots", "noise 0.1: IAD", "noise 0.1: IAD, shuffled feedback"),
    ("slots", "noise 0.1: IAD", "revise the last, keep the last"),
    ("slots", "noise 0.3: IAD", "noise 0.3: best of 8"),
    ("slots", "noise 0.3: IAD", "noise 0.3: IAD, mean of 9 ratings"),
    ("slots", "all or nothing: IAD", "all or nothing: best of 8"),
    ("programs", "IAD", "best of 8"),
    ("programs", "IAD", "IAD, shuffled feedback"),
    ("programs", "IAD", "revise the last, keep the last"),
    ("programs", "all or nothing: IAD", "best of 8"),
)


def gaps(slots: Mapping[str, Found], programs: Mapping[str, Found]) -> dict[str, dict[str, Value]]:
    """Give the loop less each rival: mean and 95% interval over problems."""
    rows: dict[str, dict[str, Value]] = {}
    for task, mine, other in GAPS:
        found, column = (slots, "share right") if task == "slots" else (programs, "tests passed")
        apart = np.subtract(found[mine].shares[column], found[other].shares[column])
        rows[f"{task}, {mine} less {other}"] = {
            "gap": [round(value, 4) for value in interval(apart.tolist())]
        }
    return rows


def verdict(slots: Mapping[str, Found], programs: Mapping[str, Found]) -> str:
    """Say what our figures show, and what they cannot."""
    words = {1: "above", 0: "not clearly apart from", -1: "below"}
    told = []
    for name, row in gaps(slots, programs).items():
        _, low, high = row["gap"]  # type: ignore[misc]
        told.append(name.replace("less", words[int(low > 0) - int(high < 0)]))
    known = [one for one in slots.values() if "exact" in one.known]
    within = sum(
        low <= one.known["exact"] <= high
        for one in known
        for _, low, high in [interval(one.shares["share right"])]
    )
    return (
        "our models mend what they are shown by probabilities that we set, so that a gain or a "
        "loss here says nothing of language models. Of the figures that are known exactly, "
        f"{within} of {len(known)} lie within our 95% intervals. The writer of programs is a blind "
        "mutator, whose revisions are right no more often than its first drafts. Beyond the noise "
        f"of the problems: {'; '.join(told)}. With all-or-nothing scores and ties to the first, "
        "the loop refines its first answer until one is right, and keeps that first one if none "
        "is, as our rule for ties has it; the sketch must have broken ties at random."
    )


if __name__ == "__main__":
    reproduce("17-iterative-agent-decoding", main)
