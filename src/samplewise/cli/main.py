"""The `samplewise` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.cli import compare
from samplewise.cli.answer import answer, tell_answers
from samplewise.cli.decode import decode, tell_decoding
from samplewise.cli.options import (
    Cache,
    Embed,
    EmbedUrl,
    Json,
    Label,
    Out,
    PoolFile,
    Resume,
    Score,
    ScoreKnobs,
    Seed,
    Source,
    Strict,
    Tags,
    Target,
    Text,
    settings,
)
from samplewise.cli.serve import serve
from samplewise.cli.train import tell_training, train
from samplewise.errors import SamplewiseError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Decides what to draw next, and gets the most out of a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(compare.app, name="compare")
app.command()(answer)
app.command()(decode)
app.command()(serve)
app.command()(train)


def main() -> None:
    """Run the command; a mistake of the user's is one message and an exit code."""
    try:
        app()
    except SamplewiseError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Answer --version."""
    if show:
        import samplewise

        typer.echo(samplewise.__version__)
        raise typer.Exit


@app.command()
def select(
    pool: PoolFile,
    out: Out,
    budget: Annotated[
        str, typer.Option(help="5%, 2000, '2000 rows' or '1M tokens'.", show_default=True)
    ] = "5%",
    method: Annotated[
        str | None,
        typer.Option(help="By default kmeans-quality where rows have a score, else kmeans-random."),
    ] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob of the method: NAME=VALUE.")
    ] = None,
    rng: Seed = 0,
    text: Text = None,
    label: Label = None,
    source: Source = None,
    score: Score = None,
    score_knobs: ScoreKnobs = None,
    target: Target = None,
    tags: Tags = None,
    embed: Embed = "builtin",
    embed_url: EmbedUrl = None,
    outcome: Annotated[
        str | None,
        typer.Option(help="FILE.py:FUNCTION that scores the rows drawn in a round."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster to join.")] = None,
    cache: Cache = None,
    resume: Resume = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Choose rows of a pool to train on.

    Example: samplewise select instructions.jsonl --budget 5% --out run
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs import SelectJob, run_select

    job = SelectJob(
        pool=pool,
        budget=budget,
        method=method,
        knobs=settings(knobs or []),
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
        outcome=outcome,
        strict=strict,
    )
    with bars() as progress:
        record = run_select(
            job,
            out,
            resume=resume,
            cache=cache,
            engine=engine,
            ray_address=ray_address,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(record | {"out": str(out)}, indent=2))
        return
    _tell(record, out)


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(help="Run folder to repeat.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Repeat a run from its run.json, in a new folder: the same bytes.

    Example: samplewise rerun run --out again
    """
    from samplewise import jobs
    from samplewise.cli.bars import bars

    with bars() as progress:
        record = jobs.rerun(folder, out, progress=progress)
    if as_json:
        typer.echo(json.dumps(record | {"out": str(out)}, indent=2))
        return
    tell = {
        "select": _tell,
        "answer": tell_answers,
        "compare select": compare.show,
        "compare train": compare.show,
        "compare answer": compare.show_answers,
        "decode": tell_decoding,
        "train": tell_training,
    }
    tell[record["command"]](record, out)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Run folder of answers.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the samples of answers as JSONL that others read: question, samples, is_corrects.

    Example: samplewise export run --out samples.jsonl
    """
    from samplewise.answer import export_samples
    from samplewise.errors import InputError

    path = folder / "answers.jsonl"
    if not path.exists():
        raise InputError("no such file", file=str(path), mend="name a run of samplewise answer")
    with path.open("rb") as lines:
        export_samples(map(json.loads, lines), out)
    typer.echo(str(out))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Run folder.")], as_json: Json = False
) -> None:
    """Write the report.html of a run again, and print where it is.

    Example: samplewise report run
    """
    from samplewise.report import render

    path = render(folder)
    typer.echo(json.dumps({"report": str(path)}) if as_json else str(path))


@app.command()
def methods(
    room: Annotated[str | None, typer.Option(help="Only those of one room.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods: name, what it does, cost and paper.

    Example: samplewise methods --room select
    """
    from samplewise import registry

    rows = [_describe(cls) for cls in registry.methods(room)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        aliases = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
        paper = f"  [{row['paper']}]" if row["paper"] else ""
        typer.echo(f"{row['room']}  {row['name']:{width}}  {row['title']}{aliases}{paper}")
        if row["knobs"]:
            listed = ", ".join(f"{knob}={value}" for knob, value in row["knobs"].items())
            typer.echo(f"{'':{len(row['room'])}}  {'':{width}}  knobs: {listed}")


def _describe(cls: Any) -> dict[str, Any]:
    return {
        "name": cls.name,
        "room": cls.room,
        "aliases": list(cls.aliases),
        "title": cls.title(),
        "paper": cls.paper,
        "cost": cls.cost,
        "knobs": cls().settings(),
    }


def _tell(record: dict[str, Any], out: Path) -> None:
    rows = record["input"]
    usable = rows["rows"] - rows["rejected"]
    typer.echo(
        f"{record['method']} chose {record['chosen']:,} of {usable:,} rows"
        + (f"; {rows['rejected']:,} rows set aside in rejected.jsonl" if rows["rejected"] else "")
        + f" ({record['spent']['seconds']:.1f} s)"
    )
    typer.echo(f"rows:   {next(Path(out).glob('selected.*'))}")
    typer.echo(f"report: {out / 'report.html'}")
