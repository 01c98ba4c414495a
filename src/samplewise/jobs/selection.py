"""The main job: read a pool, embed it, choose rows, write them and the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplewise import registry
from samplewise.budget import Budget
from samplewise.engine import make_engine
from samplewise.extras import load_function
from samplewise.jobs.reading import PoolJob, cache_of, describe_input, read_pool, with_places
from samplewise.pool import Pool
from samplewise.progress import Progress, Silent
from samplewise.rng import generator
from samplewise.runs import RunFolder
from samplewise.select.base import (
    Outcome,
    Selection,
    Selector,
    check_request,
    default_method,
    select,
)
from samplewise.select.random_rows import Random

__all__ = ["SelectJob", "run_select"]


@dataclass(frozen=True)
class SelectJob(PoolJob):
    """All that decides what is selected.

    Parameters
    ----------
    pool : str
        File or folder of rows; what else is read of it, and how, is as in `PoolJob`.
    budget : str
        As `Budget.parse` reads it.
    method : str, optional
        By default `kmeans-quality` where every row has a score, else `kmeans-random`.
    knobs : mapping of str to value
        Knobs of the method; text is read as the knob's type.
    outcome : str, optional
        ``"FILE.py:FUNCTION"`` that says what draws were worth, for methods that learn from it.
    """

    budget: str = "5%"
    method: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    outcome: str | None = None


def run_select(
    job: SelectJob,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a selection in a run folder.

    Parameters
    ----------
    job : SelectJob
        What to select from what.
    out : str or Path
        The run folder.
    resume : bool
        Whether to take up a run that was stopped; a finished one is left as it is.
    cache : str or Path, optional
        Folder for rows and vectors, shared by runs; by default `.samplewise-cache` beside `out`.
    engine : {'local', 'ray'}
        Where the work runs; the result is the same.
    ray_address : str, optional
        The Ray cluster to join.
    progress : Progress, optional

    Returns
    -------
    dict
        What `run.json` holds.

    Raises
    ------
    SamplewiseError
        If the request or the input is wrong; nothing is then left half-written.
    """
    progress = progress or Silent()
    generator(job.rng)
    outcome = None if job.outcome is None else load_outcome(job.outcome)
    # The default is known only when the pool is read; any one-call method can stand in for it.
    first = _method(job, "") if job.method else Random()
    check_request(first, Budget.parse(job.budget), outcome)
    job.scorer()  # refuses what is none
    job = with_places(job)
    out = Path(out)
    with RunFolder(out, "select", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        runner = make_engine(engine, address=ray_address)
        pool = read_pool(
            job,
            folder,
            cache_of(out, cache),
            runner,
            progress,
            check=lambda known: _method(job, default_method(known)).check(known),
            needs_vectors=lambda known: True,  # the report draws a map of them
        )
        selection = _select(job, pool, folder, runner, outcome, progress)
        _report(job, folder, selection, engine)
        return folder.record


def load_outcome(spec: str) -> Outcome:
    """Load ``FILE.py:FUNCTION``.

    Raises
    ------
    UsageError
        If there is no such file or function.
    """
    return load_function(spec, "outcome")


def _select(
    job: SelectJob,
    pool: Pool,
    folder: RunFolder,
    engine: Any,
    outcome: Outcome | None,
    progress: Progress,
) -> Selection:
    method = _method(job, default_method(pool))
    with folder.stage("select"), progress.stage("select", None, "rows"):
        selection = select(
            pool,
            job.budget,
            method,
            rng=job.rng,
            engine=engine,
            outcome=outcome,
            ledger=folder.ledger,
        )
    with folder.stage("write"):
        selection.write(folder.path)
    return selection


def _method(job: SelectJob, default: str) -> Selector:
    method = registry.make(job.method or default, job.knobs)
    assert isinstance(method, Selector)
    return method


def _report(job: SelectJob, folder: RunFolder, selection: Selection, engine: str) -> None:
    from samplewise.report import render, summarise

    pool = selection.pool
    with folder.stage("report"):
        folder.write_json("report.json", summarise(selection, seconds=folder.seconds, rng=job.rng))
    facts = {
        "engine": engine,
        "seed": job.rng,
        "input": describe_input(job, pool),
        "method": selection.method.name,
        "knobs": selection.method.settings(),
        "budget": str(selection.budget),
        "chosen": len(selection),
    }
    folder.note(**facts)
    render(folder.path)
    folder.finish()
