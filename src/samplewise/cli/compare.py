"""`samplewise compare`: several methods at equal cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.cli.options import (
    Accept,
    Alpha,
    Cache,
    Elimination,
    Embed,
    EmbedUrl,
    Gold,
    Indifference,
    Json,
    Label,
    MaxTokens,
    ModelName,
    Out,
    Pooled,
    PoolFile,
    Problems,
    Question,
    Resume,
    Score,
    ScoreKnobs,
    Seed,
    Source,
    Strict,
    System,
    Tags,
    Target,
    Temperature,
    Template,
    Text,
    TopP,
    Verify,
    settings,
)

__all__ = ["app"]

app = typer.Typer(help="Compare methods at equal cost.", no_args_is_help=True)


@app.callback()
def compare() -> None:
    """Compare methods at equal cost."""


@app.command()
def select(
    pool: PoolFile,
    out: Out,
    methods: Annotated[
        str,
        typer.Option(help="Comma-separated: NAME or NAME:KNOB=VALUE. A random choice is added."),
    ],
    budget: Annotated[
        str, typer.Option(help="What each may choose: 5%, 2000, '2000 rows' or '1M tokens'.")
    ] = "5%",
    seeds: Annotated[int, typer.Option(help="The most seeds a method gets.")] = 5,
    proxy: Annotated[
        str, typer.Option(help="What judges: probe, coverage or lm, or NAME:KNOB=VALUE.")
    ] = "probe",
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob of a method: METHOD.KNOB=VALUE.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the rows that the proxy judges by.")
    ] = 0.2,
    elimination: Elimination = True,
    indifference: Indifference = 0.0,
    alpha: Alpha = 0.05,
    pooled: Pooled = True,
    rng: Annotated[int, typer.Option(help="The seed of all seeds.")] = 0,
    text: Text = None,
    label: Label = None,
    source: Source = None,
    score: Score = None,
    score_knobs: ScoreKnobs = None,
    target: Target = None,
    tags: Tags = None,
    embed: Embed = "builtin",
    embed_url: EmbedUrl = None,
    workers: Annotated[
        int | None, typer.Option(help="Methods that run at the same time; one a core by default.")
    ] = None,
    cache: Cache = None,
    resume: Resume = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Compare methods that choose rows, beside a random choice, judged by a proxy over seeds.

    Example: samplewise compare select pool.jsonl --methods kmeans-random,k-center --out run
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs import CompareJob, run_compare

    job = CompareJob(
        pool=pool,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        budget=budget,
        knobs=settings(knobs or [], "METHOD.KNOB=VALUE"),
        proxy=proxy,
        seeds=seeds,
        held_out=held_out,
        alpha=alpha,
        indifference=indifference,
        eliminate=elimination,
        pooled=pooled,
        rng=rng,
        text=text,
        label=label,
        source=source,
        score=score,
        score_knobs=settings(score_knobs or [], option="--score-set"),
        target=target,
        tags=tags,
        embed=embed,
        embed_url=embed_url,
        strict=strict,
    )
    with bars() as progress:
        record = run_compare(
            job, out, resume=resume, cache=cache, workers=workers, progress=progress
        )
    if as_json:
        report = json.loads((out / "report.json").read_bytes())
        shown = {key: report[key] for key in ("verdict", "methods", "spent")}
        typer.echo(json.dumps(record | shown | {"out": str(out)}, indent=2))
        return
    show(record, out)


@app.command()
def answer(
    problems: Problems,
    out: Out,
    strategies: Annotated[
        str, typer.Option(help="Comma-separated: NAME or NAME:KNOB=VALUE. Baselines are added.")
    ],
    tokens: Annotated[int, typer.Option(help="Tokens each may draw for a problem.")],
    model: ModelName = "builtin",
    verify: Verify = "math",
    accept: Accept = None,
    temperature: Temperature = 0.6,
    top_p: TopP = 0.95,
    max_tokens: MaxTokens = None,
    system: System = None,
    template: Template = None,
    question: Question = None,
    gold: Gold = None,
    rng: Seed = 0,
    resume: Resume = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Compare strategies that answer, at equal tokens, beside a single completion and a vote.

    Example: samplewise compare answer problems.jsonl --strategies ffs --tokens 2000 --out duel
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs.answer_comparison import AnswersJob, run_compare_answers

    job = AnswersJob(
        problems=problems,
        strategies=[name.strip() for name in strategies.split(",") if name.strip()],
        limit=tokens,
        model=model,
        verify=verify,
        accept=accept,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        system=system,
        template=template,
        question=question,
        answer=gold,
        rng=rng,
        strict=strict,
    )
    with bars() as progress:
        record = run_compare_answers(job, out, resume=resume, progress=progress)
    if as_json:
        table = json.loads((out / "report.json").read_bytes())["strategies"]
        typer.echo(json.dumps(record | {"strategies": table, "out": str(out)}, indent=2))
        return
    show_answers(record, out)


@app.command()
def train(
    out: Out,
    loops: Annotated[
        str, typer.Option(help="Comma-separated: NAME or NAME:KNOB=VALUE. A plain way is added.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="TOML: steps, rng, model, rank, and a table 'task'.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the first loop.")] = None,
    seeds: Annotated[int, typer.Option(help="The most seeds a loop gets.")] = 5,
    elimination: Elimination = True,
    indifference: Indifference = 0.0,
    alpha: Alpha = 0.05,
    pooled: Pooled = True,
    rng: Annotated[int | None, typer.Option("--rng", help="The seed of all seeds.")] = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Compare loops that learn, at the cost of the first, beside its plain way, over seeds.

    Example: samplewise compare train --loops raft,grpo --steps 30 --seeds 3 --out duel
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs.training import TaskJob, read_fields
    from samplewise.jobs.training_comparison import LoopsJob, run_compare_training

    told = {} if config is None else read_fields(config, TaskJob())
    given = {"steps": steps, "rng": rng}
    job = LoopsJob(
        loops=[name.strip() for name in loops.split(",") if name.strip()],
        seeds=seeds,
        alpha=alpha,
        indifference=indifference,
        eliminate=elimination,
        pooled=pooled,
        **told | {name: value for name, value in given.items() if value is not None},
    )
    with bars() as progress:
        record = run_compare_training(job, out, resume=resume, progress=progress)
    if as_json:
        report = json.loads((out / "report.json").read_bytes())
        shown = {key: report[key] for key in ("verdict", "methods", "spent")}
        typer.echo(json.dumps(record | shown | {"out": str(out)}, indent=2))
        return
    show(record, out)


def show_answers(record: dict[str, Any], out: Path) -> None:
    """Print the table and the verdict of a comparison of strategies, and where the report is."""
    table = json.loads((out / "report.json").read_bytes())["strategies"]
    rows = [
        (
            row["strategy"],
            f"{row['accuracy']:.1%}",
            f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            f"{row['tokens']:.0f}",
            f"{row['sequential_tokens']:.0f}",
        )
        for row in table
    ]
    _print_columns([("", "right", "from the vote", "interval", "tokens", "in turn"), *rows])
    typer.echo(f"\n{record['verdict']}")
    typer.echo(f"({record['problems']} problems, {record['spent']['seconds']:.1f} s)")
    typer.echo(f"report: {out / 'report.html'}")


def _print_columns(lines: Sequence[tuple[str, ...]]) -> None:
    """Print cells in columns; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        typer.echo("  ".join(cells).rstrip())


def show(record: dict[str, Any], out: Path) -> None:
    """Print the table and the verdict of a comparison of methods, and where its files are."""
    report = json.loads((out / "report.json").read_bytes())
    asked, spent = report["asked"], report["spent"]
    short = asked.get("baseline") or "random"
    work = str(asked.get("work") or "to choose").lower()
    lines = [("", asked["main"], f"from {short}", "interval", "seeds", work, "")]
    for row in report["methods"]:
        away = ("", "")
        if row["difference"] is not None:
            low, high = row["difference_low"], row["difference_high"]
            away = f"{row['difference']:+.4g}", f"{low:+.4g} to {high:+.4g}"
        end = f"behind {row['exit']['rival']}" if row["exit"] else ""
        name, mean, cost = row["method"], f"{row['mean']:.4g}", f"{row['seconds']:.2g} s"
        lines.append((name, mean, *away, f"{row['seeds']}", cost, end))
    _print_columns(lines)
    typer.echo(f"\n{report['verdict']['text']}")
    if spent["runs"] < spent["fixed"]:
        typer.echo(
            f"Early elimination: {spent['runs']} of {spent['fixed']} runs, "
            f"{spent['saved']:.0%} saved"
        )
    typer.echo(f"({record['spent']['seconds']:.1f} s)")
    if (out / "compare.parquet").exists():
        typer.echo(f"values: {out / 'compare.parquet'}")
    typer.echo(f"report: {out / 'report.html'}")
