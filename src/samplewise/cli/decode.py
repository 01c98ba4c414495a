"""`samplewise decode`: prompts decoded with guesses, and what the guesses were worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.cli.options import Json, Out, Resume, Seed, Strict, Temperature, TopP

__all__ = ["decode", "tell_decoding"]


def decode(
    out: Out,
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="Rows with a prompt each, in place of prompts.")
    ] = None,
    model: Annotated[str, typer.Option(help="builtin, or a folder of weights.")] = "builtin",
    draft: Annotated[
        str,
        typer.Option(
            help="token-recycling, prompt-lookup, draft-model:model=FOLDER or plain; with knobs, "
            "NAME:KNOB=VALUE."
        ),
    ] = "token-recycling",
    verifier: Annotated[
        str, typer.Option(help="What keeps or replaces drafts that were drawn.")
    ] = "k-seq",
    sampler: Annotated[
        list[str] | None, typer.Option(help="Such as mirostat-v2:tau=3; needs a temperature.")
    ] = None,
    temperature: Temperature = 0.0,
    top_k: Annotated[int | None, typer.Option(help="The likeliest tokens drawn from.")] = None,
    top_p: TopP = 1.0,
    min_p: Annotated[
        float | None, typer.Option(help="Least share of the likeliest token's probability.")
    ] = None,
    typical_p: Annotated[
        float, typer.Option(help="Probability of the tokens whose surprise is nearest the mean.")
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes tokens that have come less likely.")
    ] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of a text.")] = 128,
    chat: Annotated[
        bool, typer.Option(help="Whether a prompt is put as a user's turn, or goes on as it is.")
    ] = True,
    auto: Annotated[
        bool | None,
        typer.Option(help="Whether the speed of this machine decides how much is guessed."),
    ] = None,
    rng: Seed = 0,
    resume: Resume = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Decode prompts with guesses that leave the law of the text as it is.

    Example: samplewise decode "Write a haiku about rain." --draft token-recycling --out run
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs.decoding import DecodeJob, run_decode

    job = DecodeJob(
        prompts=prompts or [],
        file=file,
        model=model,
        draft=draft,
        verifier=verifier,
        samplers=sampler or [],
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        chat=chat,
        auto=auto,
        rng=rng,
        strict=strict,
    )
    with bars() as progress:
        record = run_decode(job, out, resume=resume, progress=progress)
    if as_json:
        typer.echo(json.dumps(record | {"out": str(out)}, indent=2))
        return
    tell_decoding(record, out)


def tell_decoding(record: dict[str, Any], out: Path) -> None:
    """Say what decoding gave: the text of a single prompt, and the speed of all."""
    if record["totals"]["prompts"] == 1:
        line = (out / "decoded.jsonl").read_text(encoding="utf-8")
        typer.echo(json.loads(line)["text"] + "\n")
    totals = record["totals"]
    typer.echo(
        f"{totals['tokens']:,} tokens, {totals['tokens_per_step']:.2f} a reading of the model, "
        f"{totals['speed_up']:.2f} times the speed of plain steps"
    )
    if record["slowness"]:
        typer.echo(f"warning: {record['slowness']}", err=True)
    typer.echo(f"texts:  {out / 'decoded.jsonl'}")
    typer.echo(f"report: {out / 'report.html'}")
