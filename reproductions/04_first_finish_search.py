"""First finish search (arXiv 2505.18149): keep the completion that ends first, cancel the others.

The paper races reasoning models of 32 billion parameters and more, over traces of ten thousand
tokens; none runs here. What is checked is its theory: races of made completions, whose lengths
follow the paper's assumption, against the integrals; and a replay over real solutions of GSM8K by
four GPT-3 systems, where the data are at hand. Those are not the paper's setting: each system
solved a question once, none reasons at length, and lengths are words, since nobody kept the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from harness import DATA, Result, Value, interval, reproduce
from samplewise.measure.length_races import (
    LengthModel,
    Replay,
    Trace,
    first_finish,
    last_finish,
    vote,
)
from samplewise.verify.maths import find_answer, number

Array = NDArray[Any]
Table = dict[str, dict[str, Value]]
Rule = Callable[[Sequence[Trace]], Replay]

SETS = ("GPQA", "AIME24", "AIME25-I", "AIME25-II")
PAPER: Mapping[str, Any] = {
    "DeepSeek-R1, mean over the AIME sets, in percent (n not confirmed)": {
        "FFS": {"accuracy": 82.23, "above a single sample by": "15 points"},
        "tokens, against the stronger rivals": {"fewer by": "up to 45% (from a summary)"},
    },
    **{
        f"{model}, 8 traces (follow-up, arXiv 2512.02008)": {
            rule: dict(zip((*SETS, "tokens in sequence"), row, strict=True))
            for rule, row in rows.items()
        }
        for model, rows in {
            "DeepSeek-R1": {
                "FFS-1": (0.737, 0.867, 0.667, 0.733, 6420),
                "MV@8": (0.742, 0.867, 0.733, 0.867, 14624),
                "LFS-1": (0.717, 0.7, 0.533, 0.467, ""),
            },
            "QwQ-32B": {
                "FFS-1": (0.662, 0.8, 0.6, 0.8, 9609),
                "MV@8": (0.657, 0.867, 0.667, 0.867, 18337),
                "LFS-1": (0.616, 0.767, 0.533, 0.667, ""),
            },
            "R1-Distill-Qwen-32B": {
                "FFS-1": (0.525, 0.833, 0.533, 0.4, 6046),
                "MV@8": (0.657, 0.8, 0.6, 0.667, 17855),
                "LFS-1": (0.601, 0.533, 0.467, 0.533, ""),
            },
        }.items()
    },
}


@dataclass(frozen=True)
class Setting:
    """A mixture of right and wrong completions, and what was expected of it."""

    model: LengthModel
    expected: Mapping[str, str]
    """Rule -> accuracy, worked out when this was designed (our own figures, not the paper's)."""


SETTINGS = {
    "right ones shorter: N(8000, 2500), wrong ones N(12000, 2500)": Setting(
        LengthModel(0.6, 8000, 2500, 12000, 2500),
        {
            "single": "0.60",
            "FFS-1@2": "0.7781",
            "FFS-1@4": "0.8951",
            "FFS-1@8": "0.9521",
            "FFS-1@16": "0.9763",
            "MV@4": "0.8047",
        },
    ),
    "right ones longer: N(12000, 2500), wrong ones N(8000, 2500)": Setting(
        LengthModel(0.6, 12000, 2500, 8000, 2500),
        {"single": "0.60", "FFS-1@4": "0.256", "MV@4": "0.8047"},
    ),
    "of one length: N(10000, 2500)": Setting(
        LengthModel(0.6, 10000, 2500, 10000, 2500),
        {"single": "0.60", **{f"FFS-1@{n}": "0.60" for n in (2, 4, 8, 16)}},
    ),
    "right ones shorter, wrong ones more spread: N(8000, 1500), N(12000, 5000)": Setting(
        LengthModel(0.6, 8000, 1500, 12000, 5000),
        {
            "single": "0.60",
            "FFS-1@2": "0.7336",
            "FFS-1@4": "0.7352",
            "FFS-1@8": "0.6434",
            "FFS-1@16": "0.4992",
        },
    ),
}
SHORTER, LONGER, _, SPREAD = SETTINGS
RACERS = (2, 4, 8, 16)
SHUFFLES = 20  # orders in which the real solutions are on record
QUESTIONS = 300
WRONG_ANSWERS = 5
RIGHT = 0


def main(quick: bool) -> Result:
    """Race made completions, replay real ones, and judge them."""
    seeds = 3 if quick else 20
    made = {title: races(setting.model, seeds) for title, setting in SETTINGS.items()}
    solutions = None if quick else read_solutions()
    real = None if solutions is None else replay(solutions)
    agrees, why = judge(made, real)
    figures: dict[str, Table] = {
        f"made completions, {title}": race_table(made[title], setting)
        for title, setting in SETTINGS.items()
    }
    if solutions is not None and real is not None:
        figures["solutions of GSM8K by four GPT-3 systems, lengths in words"] = real_table(real)
        figures["the theory on these lengths"] = theory_table(solutions)
    return Result(
        paper="First Finish Search: Efficient Test-Time Scaling in Large Language Models, "
        "arXiv 2505.18149",
        setting=("Quick run. " if quick else "")
        + f"Made completions: {QUESTIONS} questions, 60% of the completions right, wrong ones "
        f"spread over {WRONG_ANSWERS} answers, normal lengths cut off at 1; mean and 95% interval "
        f"over {seeds} seeds, beside the integrals. FFS-k@n: the first k of n to end vote; "
        "LFS-k@n: the longest k; MV@n: all. Ties go to the completion asked for first. "
        + real_setting(real is not None)
        + "The paper runs reasoning models on AIME and GPQA.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees=agrees,
        why=why,
    )


# --- made completions -----------------------------------------------------------------------------


def races(model: LengthModel, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Race made completions: rule -> measure -> one value a seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        questions = make_questions(model, np.random.default_rng(seed))
        alone = [trace for traces in questions for trace in traces]
        note(found, "single", [vote([trace]) for trace in alone])
        for name, rule, n in rules():
            note(found, name, [rule(traces[:n]) for traces in questions])
    return found


def rules() -> list[tuple[str, Rule, int]]:
    """List the rules, and how many completions each has."""
    listed: list[tuple[str, Rule, int]] = []
    for n in RACERS:
        listed.append((f"FFS-1@{n}", first_finish, n))
        listed.append((f"MV@{n}", vote, n))
    listed.append(("FFS-2@4", lambda traces: first_finish(traces, 2), 4))
    listed.append(("LFS-1@4", last_finish, 4))
    return listed


def make_questions(model: LengthModel, rng: np.random.Generator) -> list[list[Trace]]:
    """Draw completions for every question."""
    shape = (QUESTIONS, max(RACERS))
    right = rng.random(shape) < model.accuracy
    mean = np.where(right, model.right_mean, model.wrong_mean)
    spread = np.where(right, model.right_sd, model.wrong_sd)
    lengths = rng.normal(mean, spread).round().clip(1).astype(int)
    answers = np.where(right, RIGHT, 1 + rng.integers(WRONG_ANSWERS, size=shape))
    return [
        [Trace(*pair) for pair in zip(*rows, strict=True)]
        for rows in zip(lengths.tolist(), answers.tolist(), strict=True)
    ]


def note(found: dict[str, dict[str, list[float]]], name: str, kept: Sequence[Replay]) -> None:
    """Write down what a rule did in one seed."""
    row = found.setdefault(name, {"accuracy": [], "waited": [], "drawn": []})
    row["accuracy"].append(float(np.mean([one.answer == RIGHT for one in kept])))
    row["waited"].append(float(np.mean([one.sequential_tokens for one in kept])))
    row["drawn"].append(float(np.mean([one.total_tokens for one in kept])))


# --- real solutions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solutions:
    """What several systems wrote; arrays of shape (questions, systems)."""

    words: Array
    answers: list[list[Any]]
    right: Array


def read_solutions() -> Solutions | None:
    """Read the solutions, where they are present."""
    file = DATA / "gsm8k_model_solutions.jsonl"
    if not file.exists():
        return None
    rows = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    systems = [name for name, value in rows[0].items() if isinstance(value, dict)]
    texts = [[row[name]["solution"] for name in systems] for row in rows]
    return Solutions(
        np.array([[len(text.split()) for text in each] for each in texts], float),
        [[plain(find_answer(text)) for text in each] for each in texts],
        np.array([[row[name]["is_correct"] for name in systems] for row in rows]),
    )


def plain(answer: str | None) -> str | None:
    """Write equal numbers alike, so that they vote together."""
    value = None if answer is None else number(answer)
    return answer if value is None else str(value)


def replay(solutions: Solutions) -> dict[str, dict[str, list[float]]]:
    """Replay every rule: rule -> measure -> one value a question, its mean over orders."""
    n = solutions.words.shape[1]
    # In thousandths of what the system writes on average: as if all wrote at such a pace that,
    # on average, they ended together.
    paced = (1000 * solutions.words / solutions.words.mean(axis=0)).round()
    listed: dict[str, tuple[Array, Rule]] = {
        f"FFS-1@{n}": (solutions.words, first_finish),
        f"FFS-2@{n}": (solutions.words, lambda traces: first_finish(traces, 2)),
        f"LFS-1@{n}": (solutions.words, last_finish),
        f"MV@{n}": (solutions.words, vote),
        f"FFS-1@{n}, paced": (paced, first_finish),
        f"LFS-1@{n}, paced": (paced, last_finish),
    }
    drawn = solutions.words.mean(axis=1).tolist()
    right = solutions.right.mean(axis=1).tolist()
    found = {"single": {"right": right, "waited": drawn, "drawn": drawn}}
    for name, (lengths, rule) in listed.items():
        rng = np.random.default_rng(0)  # the same orders for every rule
        total = np.zeros((len(right), 3))
        for question, answers in enumerate(solutions.answers):
            for _ in range(SHUFFLES):
                order = rng.permutation(n)
                kept = rule([Trace(int(lengths[question, i]), answers[i]) for i in order])
                # Some system gave that answer, and is right or wrong with it.
                said = solutions.right[question, answers.index(kept.answer)]
                total[question] += said, kept.sequential_tokens, kept.total_tokens
        total /= SHUFFLES
        measures = zip(("right", "waited", "drawn"), total.T.tolist(), strict=True)
        found[name] = dict(measures)
        if lengths is paced:  # its lengths are no words
            found[name] = {"right": found[name]["right"]}
    return found


def fitted(solutions: Solutions) -> dict[str, LengthModel]:
    """Fit the paper's model of lengths to the solutions, in two ways."""
    words, right = solutions.words, solutions.right
    ways = {
        "words, all questions together": words,
        "words, by the question's mean": words / words.mean(axis=1, keepdims=True),
    }
    return {
        name: LengthModel(
            float(right.mean()),
            float(lengths[right].mean()),
            float(lengths[right].std()),
            float(lengths[~right].mean()),
            float(lengths[~right].std()),
        )
        for name, lengths in ways.items()
    }


# --- tables and judgement -------------------------------------------------------------------------


def rounded(values: Sequence[float]) -> list[float]:
    """Give the mean and its interval."""
    return [round(value, 4) for value in interval(values)]


def race_table(found: Mapping[str, Mapping[str, list[float]]], setting: Setting) -> Table:
    """Give the mean and interval of each measure, with the integrals beside them."""
    table: Table = {}
    for name, row in found.items():
        rule, _, n = name.partition("@")
        racers = 1 if name == "single" else int(n)
        theory = name == "single" or rule == "FFS-1"
        table[name] = {
            "accuracy": rounded(row["accuracy"]),
            "integral": round(setting.model.first_finish_accuracy(racers), 4) if theory else "",
            "expected": setting.expected.get(name, ""),
            "waited for": round(interval(row["waited"])[0]),
            "integral ": round(setting.model.expected_shortest(racers)) if theory else "",
            "drawn": round(interval(row["drawn"])[0]),
        }
    return table


def real_table(found: Mapping[str, Mapping[str, list[float]]]) -> Table:
    """Give the mean over questions and its interval, and what each rule gains on one solution."""
    single = found["single"]["right"]
    return {
        name: {
            "accuracy": rounded(row["right"]),
            "above single": rounded(np.subtract(row["right"], single).tolist()),
            "waited for": round(interval(row["waited"])[0], 1) if "waited" in row else "",
            "drawn": round(interval(row["drawn"])[0], 1) if "drawn" in row else "",
        }
        for name, row in found.items()
    }


def theory_table(solutions: Solutions) -> Table:
    """Say what the paper's model of lengths foretells of the race, by how it is fitted."""
    n = solutions.words.shape[1]
    return {
        name: {
            "right, mean": round(model.right_mean, 3),
            "right, spread": round(model.right_sd, 3),
            "wrong, mean": round(model.wrong_mean, 3),
            "wrong, spread": round(model.wrong_sd, 3),
            f"FFS-1@{n} foretold": round(model.first_finish_accuracy(n), 4),
        }
        for name, model in fitted(solutions).items()
    }


def real_setting(present: bool) -> str:
    """Say what the replay was, or that there was none."""
    if not present:
        return "No real solutions were replayed. "
    return (
        "Replay: the 1,319 test questions of GSM8K with one solution each of four GPT-3 systems "
        "(6B and 175B, fine-tuned, and with a verifier), lengths in words, "
        f"{SHUFFLES} random orders; mean and 95% interval over questions. 'Paced' divides a "
        "system's lengths by their mean. "
    )


def sign(values: Sequence[float]) -> int:
    """Give 1 where the mean's interval is above 0, -1 where it is below, else 0."""
    _, low, high = interval(values)
    return int(low > 0) - int(high < 0)


def in_words(gaps: Sequence[float]) -> str:
    """Say where the first to end stands beside one solution."""
    word = {1: "above", 0: "not clearly apart", -1: "below"}[sign(gaps)]
    return f"{word} ({100 * interval(gaps)[0]:+.1f} points)"


def judge(
    made: Mapping[str, Mapping[str, Mapping[str, list[float]]]],
    real: Mapping[str, Mapping[str, list[float]]] | None,
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claim: the first to end is right more often than one, and comes sooner.

    False if even made completions do not show what the theory says of them. They are made by the
    paper's own assumption, and the real ones are of other models: neither can confirm its figures.
    """

    def gain(title: str, name: str, over: str, measure: str = "accuracy") -> Any:
        rows = made[title]
        return np.subtract(rows[name][measure], rows[over][measure]).tolist()

    theory = {
        "where right completions are shorter, the first of four is right more often than one": sign(
            gain(SHORTER, "FFS-1@4", "single")
        ),
        "and than a vote of the four": sign(gain(SHORTER, "FFS-1@4", "MV@4")),
        "and waits for fewer tokens than either": min(
            sign(gain(SHORTER, over, "FFS-1@4", "waited")) for over in ("single", "MV@4")
        ),
        "where they are longer, it is right less often than one": sign(
            gain(LONGER, "single", "FFS-1@4")
        ),
        "where wrong ones are more spread, sixteen do worse than four": sign(
            gain(SPREAD, "FFS-1@4", "FFS-1@16")
        ),
    }
    failed = [claim for claim, found in theory.items() if found != 1]
    if failed:
        return False, f"on made completions it does not hold that: {'; '.join(failed)}."
    said = [f"on made completions, {', '.join(theory)}"]
    if real is not None:
        rows = {name: row["right"] for name, row in real.items()}
        unpaced, paced = (
            np.subtract(rows[name], rows["single"]).tolist()
            for name in ("FFS-1@4", "FFS-1@4, paced")
        )
        said.append(
            "on real solutions of GSM8K the first of four is, beside one solution, "
            f"{in_words(unpaced)}, and with paced systems {in_words(paced)}: right solutions are "
            "shorter over all questions, since easy questions have short ones, but not within a "
            "question, and the lengths within a question are what foretells the race"
        )
    said.append(
        "made lengths follow the paper's own assumption, and no reasoning model was raced, so that "
        "its accuracies are neither met nor refuted"
    )
    return "not comparable", "; ".join(said) + "."


if __name__ == "__main__":
    reproduce("04-first-finish-search", main)
