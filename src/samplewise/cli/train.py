"""`samplewise train`: a loop that learns from what it draws, with a report of its curves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.cli.options import Json, Out, Resume, settings

__all__ = ["tell_training", "train"]


def train(
    loop: Annotated[str, typer.Argument(help="Name of a loop: samplewise methods --room train.")],
    out: Out,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML: steps, rng, model, rival, and tables 'knobs' and 'task'."),
    ] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob of the loop: NAME=VALUE.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="The loop's usual number by default.")] = None,
    model: Annotated[
        str | None, typer.Option(help="small, builtin, or a folder of weights.")
    ] = None,
    rng: Annotated[int | None, typer.Option("--rng", help="The seed.")] = None,
    rival: Annotated[
        str | None,
        typer.Option(help="A loop to train beside at equal cost; usual (the default), or none."),
    ] = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Train on what is drawn meanwhile; options come before the file's.

    Example: samplewise train raft --steps 60 --out run
    """
    from samplewise.cli.bars import bars
    from samplewise.jobs.training import TrainJob, read_config, run_train

    job = TrainJob(loop=loop) if config is None else read_config(config, loop)
    given: dict[str, Any] = {"steps": steps, "model": model, "rng": rng, "rival": rival}
    job = dataclasses.replace(
        job,
        knobs={**job.knobs, **settings(knobs or [])},
        **{name: value for name, value in given.items() if value is not None},
    )
    with bars() as progress:
        record = run_train(job, out, resume=resume, progress=progress)
    if as_json:
        typer.echo(json.dumps(record | {"out": str(out)}, indent=2))
        return
    tell_training(record, out)


def tell_training(record: dict[str, Any], out: Path) -> None:
    """Say what training gave."""
    typer.echo(
        f"{record['loop']}: {record['steps']:,} steps, {record['rollouts']:,} draws, "
        f"{record['spent'].get('tokens', 0):,.0f} tokens drawn ({record['spent']['seconds']:.1f} s)"
    )
    for name, (first, last) in record["test"].items():
        typer.echo(f"held out, {name}: {first:.4g} at first, {last:.4g} at last")
    typer.echo(record["verdict"])
    typer.echo(f"weights: {out / 'model'}")
    typer.echo(f"report:  {out / 'report.html'}")
