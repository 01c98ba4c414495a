"""Binary decision bias (arXiv 2501.16356): yes/no answers, fair and memoryless or not.

The paper asks three GPT models, which are not at hand. Here coins of known skew and memory show
what each test finds, and the full run asks the built-in model of 135M parameters: a call for every
answer (one-shot) and one call for many (few-shot), plainly and for random answers, at four
temperatures. The exact probability of yes is read off its logits as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from harness import Result, Value, reproduce
from samplewise.measure.decision_bias import (
    Cell,
    Record,
    answer_logit,
    audit,
    compare_shares,
    draw_chain,
    exact_power,
    few_shot_prompt,
    independence,
    negative_recency,
    one_shot_prompt,
    parse_answer,
    parse_answers,
    share_interval,
    temperature_line,
    uniformity,
)

PAPER = {
    "Share of yes, one-shot": {
        "GPT-4o-Mini-2024-07-18": {"yes": "32% to 43%"},
        "GPT-4-0125-preview": {"yes": "98% to 99%"},
        "GPT-3.5 Turbo-0125": {"yes": "not known to us"},
    },
    "What it says of all of them": {
        "one-shot": {"claim": "none is both uniform and memoryless"},
        "few-shot": {"claim": "can be near uniform, then often not memoryless"},
        "one-shot and few-shot": {"claim": "differ for the same model"},
    },
}
COINS: Mapping[str, tuple[float, float, tuple[str, str, str]]] = {  # up, down, card
    "fair": (0.5, 0.5, ("0.052", "0.051", "0.060")),
    "98.5% yes": (0.985, 0.015, ("1.00", "about 0.05", "0.00")),
    "43% yes": (0.43, 0.57, ("0.88", "0.05", "0.02")),
    "switches 60%": (0.6, 0.6, ("0.02", "0.996", "0.998")),
    "switches 40%": (0.4, 0.4, ("0.12", "0.99", "0.00")),
}
"""What a sketch of the coins gave when this was designed (our own figures, not the paper's)."""
TESTS = ("uniformity", "independence", "recency")
LENGTH = 500
TEMPERATURES = (0.2, 0.7, 1.0, 1.5)
ONE_SHOT = 200
CALLS, ANSWERS = 8, 50
PROMPTS = {"plain": False, "random": True}


def main(quick: bool) -> Result:
    """Test the coins, and in the full run the model."""
    figures: dict[str, Any] = coins(400 if quick else 4000)
    agrees: bool | Literal["not comparable"] = "not comparable"
    why = "coins alone were tested, which are no model."
    if not quick:
        cells, exact = asyncio.run(ask())
        records = audit(cells)
        figures |= {
            "Built-in model: share of yes, and p-values corrected for all cells": table(records),
            "Built-in model: probability of yes from its logits": exact,
        }
        agrees, why = judge(records)
    return Result(
        paper="Evaluating Binary Decision Biases in Large Language Models, arXiv 2501.16356",
        setting=("Quick run, without a model. " if quick else "")
        + f"Coins of known skew and memory, {LENGTH} flips, tests at 5%. Full run: the built-in "
        f"SmolLM2-135M-Instruct in place of the GPT models, {ONE_SHOT} one-shot answers and "
        f"{CALLS} few-shot calls of {ANSWERS} answers for each of two prompts of our own wording "
        f"and temperatures {', '.join(map(str, TEMPERATURES))}. The paper's numbers of samples, "
        "tests and exact prompts are not known to us; word frequencies of a web corpus and the "
        "answers of people, which it compares with, are not at hand.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees=agrees,
        why=why,
    )


# --- coins ----------------------------------------------------------------------------------------


def coins(count: int) -> dict[str, dict[str, dict[str, Value]]]:
    """Measure how often each test rejects each coin, with the exact rate beside it."""
    tables: dict[str, dict[str, dict[str, Value]]] = {test: {} for test in TESTS}
    for name, (up, down, expected) in COINS.items():
        series = draw_chain(count, LENGTH, up, down, rng=0)
        found = {
            "uniformity": uniformity(series),
            "independence": independence(series),
            "recency": negative_recency(series).fair,
        }
        power = exact_power(LENGTH, up, down)
        for test, wanted in zip(TESTS, expected, strict=True):
            hits = int((found[test].p_value <= 0.05).sum())
            low, high = share_interval(hits, count)
            tables[test][name] = {
                "simulated": [round(value, 4) for value in (hits / count, float(low), float(high))],
                "computed": round(power[test], 4),
                "expected": wanted,
            }
    return {f"Coins that the test of {test} rejects at 5%": table for test, table in tables.items()}


# --- the model ------------------------------------------------------------------------------------


async def ask() -> tuple[list[Cell], dict[str, dict[str, Value]]]:
    """Collect the answers of the built-in model under all conditions, and its exact logits."""
    from samplewise.models import load
    from samplewise.models.local import LocalModel

    lm = load("builtin")
    bits = np.random.default_rng(0).integers(2, size=(1, ONE_SHOT))
    cells = [Cell(bits, "one_shot", "random bits", "none")]
    async with LocalModel(lm) as model:
        for prompt, randomly in PROMPTS.items():
            for temperature in TEMPERATURES:
                asked = (prompt, randomly, temperature)
                found = (await one_shot(model, *asked), await few_shot(model, *asked))
                cells += [cell for cell in found if cell is not None]
    return cells, {name: logits(lm, randomly) for name, randomly in PROMPTS.items()}


async def one_shot(model: Any, prompt: str, randomly: bool, temperature: float) -> Cell | None:
    """Ask for one answer, many times; None where too few can be read."""
    texts = await draw(model, one_shot_prompt(randomly), temperature, ONE_SHOT, 4)
    answers = [parse_answer(text) for text in texts]
    read = [answer for answer in answers if answer is not None]
    if len(read) < 2:
        return None
    invalid = len(answers) - len(read)
    return Cell([read], "one_shot", "built-in", prompt, temperature, invalid)


async def few_shot(model: Any, prompt: str, randomly: bool, temperature: float) -> Cell | None:
    """Ask for many answers at once, some times; None where too few can be read."""
    asked = few_shot_prompt(ANSWERS, randomly)
    texts = await draw(model, asked, temperature, CALLS, 5 * ANSWERS)
    replies = [parse_answers(text) for text in texts]
    calls = [reply.decisions for reply in replies if len(reply.decisions) > 1]
    if not calls:
        return None
    invalid = sum(reply.invalid for reply in replies)
    return Cell(calls, "few_shot", "built-in", prompt, temperature, invalid)


async def draw(
    model: Any, question: str, temperature: float, count: int, max_tokens: int
) -> list[str]:
    """Draw completions, each with a seed of its own."""
    from samplewise.models.completion import Request

    request = Request.ask(question, temperature=temperature, top_p=1.0, max_tokens=max_tokens)
    drawn = await model.complete([request.with_seed(seed) for seed in range(count)])
    return [completion.text for completion in drawn]


def logits(lm: Any, randomly: bool) -> dict[str, Value]:
    """Read the probability of yes off the logits of the first token, at every temperature."""
    import torch

    turns = [{"role": "user", "content": one_shot_prompt(randomly)}]
    text = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    with torch.inference_mode():
        ids = torch.tensor([lm.tokens([text])[0]], device=lm.device)
        last = lm.model(input_ids=ids).logits[0, -1].double().cpu().numpy()
    spelled = {word: spellings(lm, word) for word in ("yes", "no")}
    found = [answer_logit(last[spelled["yes"]], last[spelled["no"]], t) for t in TEMPERATURES]
    line = temperature_line(TEMPERATURES, found)
    shares: dict[str, Value] = {
        f"T = {t}": round(float(1 / (1 + np.exp(-logit))), 4)
        for t, logit in zip(TEMPERATURES, found, strict=True)
    }
    return shares | {
        "logit against 1/T: slope": round(line.slope, 4),
        "intercept": round(line.intercept, 4),
        "farthest from the line": round(line.worst, 4),
    }


def spellings(lm: Any, word: str) -> list[int]:
    """List the tokens that begin an answer with a word, however it is spelled."""
    forms = [form for one in (word, word.capitalize(), word.upper()) for form in (one, f" {one}")]
    return sorted({ids[0] for ids in lm.tokens(forms) if len(ids) == 1})


# --- tables and judgement -------------------------------------------------------------------------


def title(cell: Cell) -> str:
    """Name a condition."""
    way = cell.mode.replace("_", "-")
    return f"{cell.model}, {way}, {cell.prompt}, T = {cell.temperature}"


def table(records: Sequence[Record]) -> dict[str, dict[str, Value]]:
    """Give the figures of every condition."""
    verdicts = {True: "yes", False: "no", None: "undefined"}
    return {
        title(one.cell): {
            "share of yes": [round(value, 4) for value in (one.share, one.low, one.high)],
            "not readable": round(one.invalid_rate, 4),
            "p, uniformity": f"{one.tests['uniformity'].adjusted:.3g}",
            "p, independence": f"{one.tests['independence'].adjusted:.3g}",
            "p, recency": f"{one.tests['recency, corrected'].adjusted:.3g}",
            "uniform": verdicts[one.uniform],
            "memoryless": verdicts[one.markov_independent],
            "switches too often": verdicts[one.negative_recency],
        }
        for one in records
    }


def judge(records: Sequence[Record]) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's three claims, in direction."""
    ours = [one for one in records if one.cell.model == "built-in"]
    one_shot = [one for one in ours if one.cell.mode == "one_shot"]
    few_shot = [one for one in ours if one.cell.mode == "few_shot"]
    fair = [title(one.cell) for one in one_shot if one.uniform and one.markov_independent]
    forgetful = [one for one in few_shot if one.markov_independent is False]
    differing = 0
    for one in one_shot:
        for other in few_shot:
            same = (one.cell.prompt, one.cell.temperature)
            if same == (other.cell.prompt, other.cell.temperature):
                gap = compare_shares(one.cell.calls[0], np.concatenate(list(other.cell.calls)))
                differing += gap.low > 0 or gap.high < 0
    said = [
        f"one-shot, {len(fair)} of {len(one_shot)} conditions are uniform and memoryless"
        + (f" ({'; '.join(fair)})" if fair else "")
        + ", where the second holds by construction, as every draw has a seed of its own",
        f"few-shot, {len(forgetful)} of {len(few_shot)} are found to have memory",
        f"one-shot and few-shot shares differ beyond 95% intervals in {differing} conditions",
    ]
    claims = (not fair, bool(forgetful), differing > len(few_shot) / 2)
    agrees: bool | Literal["not comparable"] = all(claims)
    if not few_shot or not one_shot:
        agrees = "not comparable"
    return agrees, "; ".join(said) + ". The model is another and far smaller one."


if __name__ == "__main__":
    reproduce("06-binary-decision-bias", main)
