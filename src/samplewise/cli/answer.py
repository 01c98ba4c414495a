"""`samplewise answer`: problems answered by a model, and how many of the answers are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.cli.options import (
    Accept,
    Gold,
    Json,
    MaxTokens,
    ModelName,
    Out,
    Problems,
    Question,
    Resume,
    Seed,
    Strict,
    System,
    Temperature,
    Template,
    TopP,
    Verify,
    settings,
)

__all__ = ["answer", "tell_answers"]


def answer(
    problems: Problems,
    out: Out,
    model: ModelName = "builtin",
    strategy: Annotated[
        str, typer.Option(help="Its name (samplewise methods --room answer).")
    ] = "single",
    samples: Annotated[
        int | None, typer.Option(help="Completions a problem, for strategies that take several.")
    ] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob of the strategy: NAME=VALUE.")
    ] = None,
    verify: Verify = "math",
    accept: Accept = None,
    budget: Annotated[
        str | None, typer.Option(help="'200 samples', '1M tokens', '$5' or '10 min'.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="PROMPT,COMPLETION in dollars a million tokens.")
    ] = None,
    value: Annotated[
        float | None,
        typer.Option(
            metavar="DOLLARS", help="What a solved problem is worth: says how many samples pay."
        ),
    ] = None,
    temperature: Temperature = 0.6,
    top_p: TopP = 0.95,
    max_tokens: MaxTokens = None,
    system: System = None,
    template: Template = None,
    question: Question = None,
    gold: Gold = None,
    limit: Annotated[int | None, typer.Option(help="Tokens that a problem may draw.")] = None,
    rng: Seed = 0,
    resume: Resume = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Answer problems with a model, and say how many of the answers are right.

    Example: samplewise answer problems.jsonl --strategy repeated --samples 16 --out run
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs.answering import AnswerJob, run_answer

    given = settings(knobs or [])
    if samples is not None:
        given["samples"] = str(samples)
    job = AnswerJob(
        problems=problems,
        model=model,
        strategy=strategy,
        knobs=given,
        verify=verify,
        accept=accept,
        budget=budget,
        price=price,
        value=value,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        system=system,
        question=question,
        answer=gold,
        template=template,
        limit=limit,
        rng=rng,
        strict=strict,
    )
    with bars() as progress:
        record = run_answer(job, out, resume=resume, progress=progress)
    if as_json:
        typer.echo(json.dumps(record | {"out": str(out)}, indent=2))
        return
    tell_answers(record, out)


def tell_answers(record: dict[str, Any], out: Path) -> None:
    """Print what became of the problems, and where it is."""
    for line in _lines(record):
        typer.echo(line)
    typer.echo(f"answers: {out / 'answers.jsonl'}")
    typer.echo(f"report:  {out / 'report.html'}")


def _lines(record: dict[str, Any]) -> list[str]:
    states, drawn, count = record["states"], record["drawn"], record["input"]["problems"]
    right = round(record["accuracy"] * count)
    rest = [f"{states[state]} {state}" for state in ("abstained", "failed") if states[state]]
    first = f"{record['strategy']} answered {right} of {count} problems right"
    spent = f"{drawn['completions']:,} completions, {drawn['tokens']:,} tokens drawn"
    if not drawn["counted"]:
        spent += " (estimated in part)"
    if "dollars" in drawn:
        spent += f", ${drawn['dollars']:.4g}"
    if states["failed"]:
        rest[-1] += " (--resume tries them again)"
    return [", ".join([first, *rest]), f"{spent} ({record['spent']['seconds']:.1f} s)"]
