"""How often does the verifier of maths agree with the published marks? GSM8K, four models.

Each solution comes with the mark that the data set's authors gave it. Every disagreement is kept,
with its cause.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from harness import data_file, record
from samplewise.problems import Problem
from samplewise.verify.maths import Maths, right_answer

MODELS = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]


def cause(gold: str, answer: str | None, solution: str) -> str:
    """Say why a mark and a verdict differ, as far as the text shows it."""
    if "A:" not in solution:
        return "the solution breaks off before its answer; its last number is the right one"
    if answer is None:
        return "no answer was found"
    return f"{answer} and {gold} are the same number" if answer == gold else "another number"


async def judge(rows: list[dict[str, Any]]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    verifier = Maths()
    agreed, disagreements = dict.fromkeys(MODELS, 0), []
    for line, row in enumerate(rows, 1):
        problem = Problem.ask(row["question"], answer=row["ground_truth"])
        gold = right_answer(row["ground_truth"])
        verdicts = await verifier.verify(problem, [row[model]["solution"] for model in MODELS])
        for model, verdict in zip(MODELS, verdicts, strict=True):
            mark = row[model]["is_correct"]
            agreed[model] += verdict.correct == mark
            if verdict.correct != mark:
                solution = row[model]["solution"]
                disagreements.append(
                    {
                        "model": model,
                        "row": line,
                        "answer": verdict.answer,
                        "gold": gold,
                        "marked_correct": mark,
                        "cause": cause(gold, verdict.answer, solution),
                        "end": solution[-120:],
                    }
                )
    await verifier.close()
    return {model: count / len(rows) for model, count in agreed.items()}, disagreements


def main() -> None:
    lines = data_file("gsm8k_model_solutions.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    started = time.perf_counter()
    agreement, disagreements = asyncio.run(judge(rows))
    seconds = time.perf_counter() - started
    verdicts = len(rows) * len(MODELS)
    record(
        "maths_verifier",
        {
            "setting": {"rows": len(rows), "models": MODELS, "verdicts": verdicts},
            "agreement": 1 - len(disagreements) / verdicts,
            "agreement_by_model": agreement,
            "verdicts_a_second": verdicts / seconds,
            "disagreements": disagreements,
        },
    )


if __name__ == "__main__":
    main()
