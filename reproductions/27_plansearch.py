"""PlanSearch (arXiv 2409.03733): search over plans in words, and what diverse ideas are worth.

The paper lets models write programs for LiveCodeBench. Here nothing is a language model. First a
model of ideas alone: each answer rests on one of 64 ideas, and its habit is sharpened or flattened.
Then list puzzles that need one or two facts, answered by rules that stand in for a model, so that
the whole of plan-search runs: observations, sets of them, plans, criticism, programs, public tests.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import samplewise as sw
from harness import Result, Value, interval, reproduce
from samplewise.answer import Answer, Strategy
from samplewise.answer.plan_search import IdeaSearch, PlanSearch
from samplewise.answer.repeated import Repeated
from samplewise.measure.filtered_pools import filtered_counts, padded_pass_at_k
from samplewise.measure.idea_diversity import (
    diversity_of_ideas,
    expected_diversity,
    relative_gain,
)
from samplewise.measure.pass_at_k import pass_at_k
from samplewise.models.completion import Completion, Request
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel
from samplewise.verify.calls import Call

Floats = NDArray[np.float64]
Found = dict[str, dict[str, list[float]]]
"""Row -> column -> one value a seed."""

PAPER = {
    "LiveCodeBench, pass rates in percent": {
        "GPT-4o-mini": {"pass@1": 39.0, "repeated": 53.3, "IdeaSearch": 59.4, "PlanSearch": 64.9},
        "GPT-4o": {"pass@1": 41.3, "repeated": 60.6, "IdeaSearch": 70.4, "PlanSearch": 73.0},
        "DeepSeek-Coder-V2": {
            "pass@1": 41.4,
            "repeated": 53.2,
            "IdeaSearch": 65.9,
            "PlanSearch": 70.3,
        },
        "Claude 3.5 Sonnet": {
            "pass@1": 40.3,
            "repeated": 55.6,
            "IdeaSearch": 70.2,
            "PlanSearch": 77.0,
        },
        "o1-mini": {"pass@1": 69.5, "repeated": 90.8, "IdeaSearch": 91.2, "PlanSearch": 91.3},
    },
    "LiveCodeBench, Claude 3.5 Sonnet, programs that pass the public tests": {
        "PlanSearch": {"pass@20": 77.1}
    },
    "idea diversity D and relative gain of pass@200 on pass@1": {
        "all models and methods": {"": "they rise together (a figure; no coefficient known)"}
    },
}
EXPECTED = {  # D, pass@1, pass@10, pass@200
    1.5: (0.672, 0.128, 0.343, 0.613),
    1.0: (0.841, 0.092, 0.359, 0.733),
    0.5: (0.962, 0.042, 0.296, 0.885),
    0.25: (0.980, 0.024, 0.209, 0.945),
}
"""What a sketch of the model of ideas gave on one draw (our own figures, not the paper's)."""
IDEAS, HABIT, CARE = 64, 2.0, 0.9  # ideas; spread of their logits; chance that code follows an idea
DRAWN, JUDGED = 200, 40
PASSES = (1, 10, DRAWN)
LEAP = 0.02  # how often a plain sample puts two steps together, where it ever does


def main(quick: bool) -> Result:
    """Run both parts, and judge them."""
    seeds, problems, puzzles = (2, 100, 4) if quick else (6, 400, 12)
    ideas = in_seeds(lambda seed: model_of_ideas(seed, problems), seeds)
    pools = in_seeds(lambda seed: list_puzzles(seed, puzzles), seeds)
    return Result(
        paper="Planning In Natural Language Improves LLM Search For Code Generation, "
        "arXiv 2409.03733",
        setting=("Quick run. " if quick else "")
        + f"No language model. Model of ideas: {problems} problems, {IDEAS} ideas with logits of "
        f"spread {HABIT}, the right one drawn half from the model's own habit and half evenly, a "
        f"right program of a right idea with chance {CARE}, {DRAWN} samples, D of {JUDGED} of "
        f"them. Puzzles: {puzzles} ways to change lists, half by one of {len(STEPS)} steps and "
        "half by two, answered by rules. A plain sample is a step drawn from a habit (or, in "
        f"{LEAP:.0%} of the samples, two); a sketch and an observation are drawn from the root of "
        "that habit; a plan puts its observations together, and its mended form turns them round. "
        f"Right: {TESTS} tests, {PUBLIC} of them public. Plan-search is at its defaults, with 4 "
        "observations kept of each list; the others draw as many answers as it has plans, and "
        "repeated sampling also as many as all its completions. D takes equal steps for the same "
        f"idea. Mean and 95% interval over {seeds} seeds. The paper runs five models on "
        "LiveCodeBench.",
        paper_figures=PAPER,
        our_figures={
            "model of ideas, by the exponent of its habit": rounded(ideas),
            "the same, as it was expected": {
                str(exponent): dict(zip(("D", *(f"pass@{k}" for k in PASSES)), wanted, strict=True))
                for exponent, wanted in EXPECTED.items()
            },
            "puzzles": rounded(pools),
        },
        agrees="not comparable",
        why=judge(ideas, pools),
    )


def in_seeds(measure: Callable[[int], dict[str, dict[str, float]]], seeds: int) -> Found:
    """Gather what is measured with each seed."""
    found: Found = {}
    for seed in range(seeds):
        for row, columns in measure(seed).items():
            for column, value in columns.items():
                found.setdefault(row, {}).setdefault(column, []).append(float(value))
    return found


# --- a model of ideas alone -----------------------------------------------------------------------


def model_of_ideas(seed: int, problems: int) -> dict[str, dict[str, float]]:
    """Draw answers at every exponent; measure D, pass rates, and what they are expected to be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, HABIT, (problems, IDEAS))
    own = draw(rng, chances(logits, 1.0), 1)[:, 0]
    right = np.where(rng.random(problems) < 0.5, own, rng.integers(IDEAS, size=problems))
    found = {}
    for exponent in EXPECTED:
        habit = chances(logits, exponent)
        ideas = draw(rng, habit, DRAWN)
        solved = (ideas == right[:, None]) & (rng.random(ideas.shape) < CARE)
        rates = [pass_at_k(DRAWN, solved.sum(axis=1), k).mean() for k in PASSES]
        one = CARE * habit[np.arange(problems), right]
        found[str(exponent)] = {
            "D": np.mean([diversity_of_ideas(row[:JUDGED].tolist()) for row in ideas]),
            "D in theory": expected_diversity(habit).mean(),
            **{f"pass@{k}": rate for k, rate in zip(PASSES, rates, strict=True)},
            f"pass@{DRAWN} in theory": (1 - (1 - one) ** DRAWN).mean(),
            "relative gain": float(relative_gain(rates[0], rates[-1])),
        }
    return found


def chances(logits: Floats, exponent: float) -> Floats:
    """Give the habit, sharpened or flattened."""
    weights = np.exp(exponent * (logits - logits.max(axis=-1, keepdims=True)))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def draw(rng: np.random.Generator, shares: Floats, times: int) -> NDArray[np.int64]:
    """Draw places by their chances, so many of every row."""
    edges = shares.cumsum(axis=1)
    picks = rng.random((len(shares), times))
    places = [np.searchsorted(edge, pick) for edge, pick in zip(edges, picks, strict=True)]
    return np.minimum(places, shares.shape[1] - 1)


# --- puzzles, answered by rules -------------------------------------------------------------------

Numbers = list[int]
STEPS: Mapping[str, Callable[[Numbers], Numbers]] = {
    "sort": sorted,
    "reverse": lambda row: row[::-1],
    "unique": lambda row: list(dict.fromkeys(row)),
    "double": lambda row: [2 * one for one in row],
    "negate": lambda row: [-one for one in row],
    "square": lambda row: [one * one for one in row],
    "sum": lambda row: list(itertools.accumulate(row)),
    "evens": lambda row: [one for one in row if one % 2 == 0],
    "positives": lambda row: [one for one in row if one > 0],
    "rest": lambda row: row[1:],
    "half": lambda row: row[: len(row) // 2],
    "next": lambda row: [one + 1 for one in row],
}
NAMES = list(STEPS)
TESTS, PUBLIC = 10, 2
WORDS = {  # terse wording, so that the rules can tell what they are asked for
    **{name: name for name in ("list", "filter", "format", "fix")},
    **{name: f"{{question}} {name} {{observations}}" for name in ("derive", "sketch")},
    **{
        name: f"{{question}} {name} {{sketch}}"
        for name in ("criticise", "pseudocode", "code_from_sketch")
    },
    "observe": "{question} observe",
    "idea": "{question} idea",
    "code_from_pseudocode": "{question} code_from_pseudocode {pseudocode}",
    "nothing": "nothing",
}


class Puzzle(NamedTuple):
    """Steps to be found, and how likely the rules are to think of each step."""

    steps: tuple[str, ...]
    habit: Floats


def run(steps: Sequence[str], row: Numbers) -> Numbers:
    """Change a list step by step."""
    for step in steps:
        row = STEPS[step](row)
    return row


def make_puzzle(rng: np.random.Generator, size: int, rows: Sequence[Numbers]) -> Puzzle:
    """Make a puzzle that no fewer steps solve."""
    while True:
        steps = tuple(NAMES[place] for place in rng.permutation(len(NAMES))[:size])
        wanted = [run(steps, row) for row in rows]
        shorter = [some for fewer in range(size) for some in itertools.permutations(NAMES, fewer)]
        if all([run(some, row) for row in rows] != wanted for some in shorter):
            return Puzzle(steps, chances(rng.normal(0, HABIT, len(NAMES)), 1.0))


def list_puzzles(seed: int, count: int) -> dict[str, dict[str, float]]:
    """Answer puzzles by every strategy, and measure their pools."""
    rng = np.random.default_rng([seed, 27])
    rows = [rng.integers(-9, 10, 8).tolist() for _ in range(TESTS)]
    puzzles = [make_puzzle(rng, 1 + place % 2, rows) for place in range(count)]
    problems = [Problem.ask(f"puzzle {place} :", id=str(place)) for place in range(count)]

    def passes(problem: Problem, text: str, tests: int = TESTS) -> bool:
        steps = puzzles[int(problem.id)].steps
        return all(run(text.split(), row) == run(steps, row) for row in rows[:tests])

    async def judged(problem: Problem, text: str) -> bool:
        return passes(problem, text)

    def pool(strategy: Strategy, leap: float = 0.0) -> Sequence[Answer]:
        model = ScriptedModel(lambda request, _: reply(request, puzzles, leap))
        return sw.answer(problems, model, strategy, verifier=Call(judged), rng=seed).answers

    with tempfile.TemporaryDirectory() as folder:
        for name, text in WORDS.items():
            (Path(folder) / f"{name}.txt").write_text(text)
        search = PlanSearch(observations_kept=4, prompts=folder)
        plans = pool(search)
        many = round(np.mean([len(one.candidates) for one in plans]))
        cost = round(np.mean([len(one.completions) for one in plans]))
        contest = {
            "repeated": pool(Repeated(samples=many)),
            "repeated, equal cost": pool(Repeated(samples=cost)),
            f"repeated, two steps in {LEAP:.0%}": pool(Repeated(samples=many), LEAP),
            f"repeated, two steps in {LEAP:.0%}, equal cost": pool(Repeated(samples=cost), LEAP),
            "idea-search": pool(IdeaSearch(samples=many, prompts=folder)),
            "plan-search": plans,
            "plan-search, leaves": pool(dataclasses.replace(search, expand="leaves")),
        }
    return {name: measure(answers, passes) for name, answers in contest.items()}


def measure(
    answers: Sequence[Answer], passes: Callable[[Problem, str, int], bool]
) -> dict[str, float]:
    """Measure the pools of one strategy."""
    texts = [[done.text for done, _ in one.candidates] for one in answers]
    right = [[verdict.correct for _, verdict in one.candidates] for one in answers]
    public = [
        [passes(one.problem, text, PUBLIC) for text in some]
        for one, some in zip(answers, texts, strict=True)
    ]
    drawn, solved = np.array([len(some) for some in right]), np.array([sum(some) for some in right])
    left, good = filtered_counts(right, public).T
    return {
        "answers": drawn.mean(),
        "completions": np.mean([len(one.completions) for one in answers]),
        "D": np.mean([diversity_of_ideas(some) for some in texts]),
        "pass@1": padded_pass_at_k(drawn, solved, 1).mean(),
        "pass@20": padded_pass_at_k(drawn, solved, 20).mean(),
        "pass@all": (solved > 0).mean(),
        "two steps, pass@all": (solved[1::2] > 0).mean(),
        "public tests, pass@1": padded_pass_at_k(left, good, 1).mean(),
    }


def reply(request: Request, puzzles: Sequence[Puzzle], leap: float) -> Completion:
    """Answer by rules, as a model would answer each step."""
    rng = np.random.default_rng(request.seed)
    _, place, _, *asked = request.messages[0].content.split()
    habit = puzzles[int(place)].habit
    then = request.messages[-1].content if len(request.messages) > 1 else ""
    kind = then or (asked[0] if asked else "answer")
    known = [word for word in asked[1:] if word in STEPS]
    return Completion(RULES[kind](rng, habit, known, request, leap), tokens=1)


def pick(rng: np.random.Generator, weights: Floats, but: Sequence[str], count: int) -> list[str]:
    """Draw different steps one after the other, each by its weight among those that are left."""
    race = rng.exponential(size=len(NAMES)) / weights  # the order of arrival is that of such draws
    ranked = [NAMES[place] for place in np.argsort(race)]
    return [name for name in ranked if name not in but][:count]


def think_of(rng: np.random.Generator, habit: Floats, but: Sequence[str], count: int) -> list[str]:
    """Think of steps, more evenly than one answers."""
    return pick(rng, np.sqrt(habit), but, count)


def say_answer(rng: np.random.Generator, habit: Floats, *rest: Any) -> str:
    """Answer by the first step that comes to mind; seldom by two."""
    return " ".join(pick(rng, habit, (), 1 + int(rng.random() < rest[-1])))


def say_plan(rng: np.random.Generator, habit: Floats, known: list[str], *_: Any) -> str:
    """Put what was observed in some order."""
    return " ".join(rng.permutation(known or think_of(rng, habit, (), 1)))


def say_fix(rng: np.random.Generator, habit: Floats, known: list[str], *_: Any) -> str:
    """Turn the order round; one step becomes another."""
    return " ".join(known[::-1] if len(known) > 1 else think_of(rng, habit, known, 1))


def say_program(rng: np.random.Generator, habit: Floats, known: list[str], *_: Any) -> str:
    """Carry out a plan, or slip in its last step."""
    if rng.random() < CARE:
        return " ".join(known)
    return " ".join([*known[:-1], *think_of(rng, habit, known, 1)])


def say_list(*given: Any) -> str:
    """Write the steps that were observed as a list."""
    return repr(given[3].messages[1].content.split())


RULES: Mapping[str, Callable[..., str]] = {
    "answer": say_answer,
    "observe": lambda rng, habit, known, *_: " ".join(think_of(rng, habit, (), 6)),
    "derive": lambda rng, habit, known, *_: " ".join(think_of(rng, habit, known, 6)),
    "list": lambda *_: "listed",
    "filter": lambda *_: "filtered",
    "format": say_list,
    "idea": lambda rng, habit, known, *_: think_of(rng, habit, (), 1)[0],
    "sketch": say_plan,
    "criticise": lambda *_: "It fails.",
    "fix": say_fix,
    "pseudocode": lambda rng, habit, known, *_: " ".join(known),
    "code_from_pseudocode": say_program,
    "code_from_sketch": say_program,
}


# --- tables and judgement -------------------------------------------------------------------------


def rounded(found: Found) -> dict[str, dict[str, Value]]:
    """Give means and intervals."""
    return {
        row: {
            column: [round(value, 4) for value in interval(values)]
            for column, values in columns.items()
        }
        for row, columns in found.items()
    }


def judge(ideas: Found, pools: Found) -> str:
    """Say what the two parts show of the paper's pattern, and why that is not its claim."""
    rows = [ideas[str(exponent)] for exponent in EXPECTED]  # from the sharpest habit on
    said = [
        "what the paper says of language models cannot be confirmed by rules: it is built in here "
        "that thinking flattens a habit and that plans put observations together",
        "model of ideas, from the sharpest habit on: "
        + ", ".join(
            f"{column} {in_order(rows, column)}" for column in ("D", "relative gain", "pass@1")
        ),
        f"of the figures expected of it, {within(ideas)} of {4 * len(EXPECTED)} lie in our "
        "intervals; they are of one draw of the problems",
    ]
    order = [pools[name] for name in ("repeated", "idea-search", "plan-search")]
    said += [
        "puzzles, repeated, idea-search and plan-search: "
        + ", ".join(f"{column} {in_order(order, column)}" for column in ("D", "pass@1", "pass@all"))
    ]
    solved = {name: np.mean(row["two steps, pass@all"]) for name, row in pools.items()}
    said += [
        "of the puzzles of two steps, "
        + ", ".join(f"'{name}' solves {share:.0%}" for name, share in solved.items()),
        "that D rises with the gain while pass@1 need not, and that a search over plans reaches "
        "what samples of one habit do not, is the paper's direction",
    ]
    return "; ".join(said) + "."


def within(ideas: Found) -> int:
    """Count the expected figures that lie in our intervals."""
    count = 0
    for exponent, wanted in EXPECTED.items():
        for column, value in zip(("D", *(f"pass@{k}" for k in PASSES)), wanted, strict=True):
            _, low, high = interval(ideas[str(exponent)][column])
            count += low <= value <= high
    return count


def in_order(rows: Sequence[Mapping[str, Sequence[float]]], column: str) -> str:
    """Give the means of a column, and whether it rises or falls from row to row in every seed."""
    steps = np.diff([row[column] for row in rows], axis=0)
    means = ", ".join(f"{np.mean(row[column]):.3f}" for row in rows)
    if (steps > 0).all():
        return f"rises ({means})"
    return f"falls ({means})" if (steps < 0).all() else f"does neither in every seed ({means})"


if __name__ == "__main__":
    reproduce("27-plansearch", main)
