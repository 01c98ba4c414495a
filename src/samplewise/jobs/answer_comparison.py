"""Several strategies at equal tokens, on the same problems, in a run folder.

Every strategy may draw the same number of tokens for a problem. A single completion, and a vote
among as many as the tokens buy, are always among them.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.answer.base import Answers, Strategy
from samplewise.answer.repeated import Repeated
from samplewise.answer.single import Single
from samplewise.errors import UsageError
from samplewise.jobs.answering import AnswerJob, Bench, make_strategy
from samplewise.jobs.reading import write_rejected
from samplewise.measure.paired import paired_difference
from samplewise.models.completion import Model
from samplewise.progress import Progress, Silent
from samplewise.report import render, summarise_strategies
from samplewise.runs import RunFolder

__all__ = ["AnswersJob", "run_compare_answers"]

SINGLE, VOTE = "single", "equal-tokens vote"
_SHORTEST = 8  # tokens: no answer that is of use is shorter, so that no vote needs more samples
_MOST = 4096


@dataclass(frozen=True)
class AnswersJob(AnswerJob):
    """All that decides what a comparison gives.

    Parameters
    ----------
    strategies : sequence of str
        Names, also with knobs: ``"first-finish:samples=4"``.
    alpha : float
        The probability, at most, that any interval misses.

    The others are those of `AnswerJob`; `limit` is what each strategy may draw for a problem.
    """

    strategies: Sequence[str] = ()
    alpha: float = 0.05


def run_compare_answers(
    job: AnswersJob,
    out: str | Path,
    *,
    resume: bool = False,
    model: Model | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare strategies in a run folder.

    Parameters
    ----------
    job : AnswersJob
    out : str or Path
        The run folder; `report.json` holds the table, `answers-NAME.jsonl` every answer.
    resume : bool
        Whether to take up a run that was stopped: no completion is paid for again.
    model : Model, optional
        Used in place of the one that the job names, and left open.
    progress : Progress, optional

    Returns
    -------
    dict
        What `run.json` holds.

    Raises
    ------
    SamplewiseError
        If the request or the input is wrong.
    """
    if job.limit is None or job.limit < 1:
        raise UsageError(
            "strategies are compared at equal tokens",
            mend="give --tokens N: what each may draw for a problem",
        )
    strategies = _with_baselines(job)
    bench = Bench(job, list(strategies.values()), model, progress or Silent())
    with RunFolder(out, "compare answer", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        write_rejected(folder, bench.pool)
        with folder.stage("answer"):
            found = asyncio.run(_answer_all(strategies, bench, folder))
        for name, answers in found.items():
            answers.write(folder.path, f"answers-{name.replace(':', '-').replace(' ', '-')}.jsonl")
        table = _table(found, job.alpha)
        summary = summarise_strategies(
            table,
            {name: [one.as_json() for one in each.answers] for name, each in found.items()},
            rival=VOTE,
            verdict=_verdict(table),
            asked={
                "model": job.model,
                "verifier": job.verify,
                "limit": job.limit,
                "alpha": job.alpha,
                "rng": job.rng,
            },
        )
        folder.write_json("report.json", summary)
        folder.note(
            seed=job.rng,
            model=job.model,
            verifier=job.verify,
            limit=job.limit,
            problems=len(bench.problems),
            rejected=len(bench.pool.rejected),
            verdict=summary["verdict"],
        )
        render(folder.path)
        folder.finish()
        return folder.record


def _with_baselines(job: AnswersJob) -> dict[str, Strategy]:
    assert job.limit is not None
    many = min(_MOST, 1 + job.limit // _SHORTEST)
    named = {name: make_strategy(name) for name in job.strategies}
    return {SINGLE: Single(), VOTE: Repeated(samples=many), **named}


async def _answer_all(
    strategies: dict[str, Strategy], bench: Bench, folder: RunFolder
) -> dict[str, Answers]:
    async with bench:
        return {
            name: await bench.answer(strategy, folder.ledger, name)
            for name, strategy in strategies.items()
        }


def _table(found: dict[str, Answers], alpha: float) -> list[dict[str, Any]]:
    """Give a row a strategy, best first, with its difference from the vote at equal tokens."""
    right = {name: [one.correct for one in answers.answers] for name, answers in found.items()}
    confidence = 1 - alpha / max(1, len(found) - 1)  # all intervals hold together
    rows = []
    for name, answers in found.items():
        away = paired_difference(right[name], right[VOTE], confidence=confidence)
        one = {
            "strategy": name,
            "knobs": answers.strategy.settings(),
            "accuracy": answers.accuracy,
            "difference": away.mean,
            "low": away.low,
            "high": away.high,
            "clear": away.clear,
            "tokens": float(np.mean([each.tokens for each in answers.answers])),
            "sequential_tokens": float(
                np.mean([each.sequential_tokens for each in answers.answers])
            ),
            "completions": float(np.mean([len(each.completions) for each in answers.answers])),
            "unanswered": sum(each.state != "answered" for each in answers.answers),
        }
        rows.append(one)
    return sorted(rows, key=lambda row: -row["accuracy"])


def _verdict(table: list[dict[str, Any]]) -> str:
    clear = [row for row in table if row["clear"] and row["low"] > 0]
    if not clear:
        return "No strategy is clearly better than a vote at equal tokens."
    best = clear[0]
    return (
        f"{best['strategy']} beats a vote at equal tokens by {best['difference']:.3g} "
        f"({best['low']:.3g} to {best['high']:.3g})."
    )
