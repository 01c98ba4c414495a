"""The main job: read a pool, embed it, choose rows, write them and the report."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import samplewise
from samplewise import registry
from samplewise.budget import Budget
from samplewise.embed import embed_pool
from samplewise.engine import make_engine
from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_path, atomic_write
from samplewise.pool import Pool, load_vectors
from samplewise.progress import Progress, Silent
from samplewise.rng import generator
from samplewise.runs import RunFolder, read_run
from samplewise.score.base import Scorer
from samplewise.score.base import score as score_pool
from samplewise.select.base import (
    Outcome,
    Selection,
    Selector,
    check_request,
    default_method,
    select,
)
from samplewise.select.random_rows import Random

__all__ = ["SelectJob", "rerun", "run_select"]


@dataclass(frozen=True)
class SelectJob:
    """All that decides what is selected.

    Parameters
    ----------
    pool : str
        File or folder of rows.
    budget : str
        As `Budget.parse` reads it.
    method : str, optional
        By default `kmeans-quality` where every row has a score, else `kmeans-random`.
    knobs : mapping of str to value
        Knobs of the method; text is read as the knob's type.
    rng : int
        The seed.
    text, label, source, score, tags : str, optional
        Fields of a row, where they are not to be found by themselves. `score` may also be
        ``"method:NAME"``, a scorer that works one out, or a ``.npy`` file with one a row.
    score_knobs : mapping of str to value
        Knobs of the scorer.
    target : str, optional
        File or folder of rows like those that the chosen ones are for.
    embed : str
        ``"builtin"``, ``"sentence-transformers:MODEL"``, ``"endpoint:MODEL"``, a ``.npy`` file
        or ``"column:NAME"``.
    embed_url : str, optional
        Address of the endpoint.
    outcome : str, optional
        ``"FILE.py:FUNCTION"`` that says what draws were worth, for methods that learn from it.
    strict : bool
        Whether a row that cannot be read stops the run.
    """

    pool: str
    budget: str = "5%"
    method: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    rng: int = 0
    text: str | None = None
    label: str | None = None
    source: str | None = None
    score: str | None = None
    score_knobs: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    tags: str | None = None
    embed: str = "builtin"
    embed_url: str | None = None
    outcome: str | None = None
    strict: bool = False


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
    scorer = _scorer(job)
    job = dataclasses.replace(
        job, pool=_found(job.pool), target=None if job.target is None else _found(job.target)
    )
    out = Path(out)
    store = Path(cache) if cache else out.resolve().parent / ".samplewise-cache"
    with RunFolder(out, dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        runner = make_engine(engine, address=ray_address)
        pool = _read(job, scorer, folder, store, runner, progress)
        selection = _select(job, pool, folder, runner, outcome, progress)
        _report(job, folder, selection, engine)
        return folder.record


def rerun(run: str | Path, out: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Repeat a run from its `run.json`, in a new folder.

    Raises
    ------
    InputError
        If `run` is no run folder, or its input is no longer what it was.
    """
    record = read_run(run)
    arguments = record["arguments"]
    if "methods" in arguments:
        from samplewise.jobs.comparison import CompareJob, run_compare

        again = run_compare(CompareJob(**arguments), out, progress=progress)
    else:
        again = run_select(SelectJob(**arguments), out, progress=progress)
    if record["state"] == "done" and record["input"]["hash"] != again["input"]["hash"]:
        raise InputError(
            "has changed since the first run, so the result may differ too",
            file=again["input"]["path"],
        )
    return again


def load_outcome(spec: str) -> Outcome:
    """Load ``FILE.py:FUNCTION``.

    Raises
    ------
    UsageError
        If there is no such file or function.
    """
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py") or not Path(path).exists():
        raise UsageError(f"outcome {spec!r} names no Python file", mend="write FILE.py:FUNCTION")
    found = importlib.util.spec_from_file_location("samplewise_outcome", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{path} has no function {name!r}", mend="write FILE.py:FUNCTION")
    return function  # type: ignore[no-any-return]


def _found(path: str) -> str:
    if not Path(path).exists():
        raise InputError("no such file or folder", file=path)
    return str(Path(path).resolve())


def _scorer(job: SelectJob) -> Scorer | None:
    """Make the scorer that `--score method:NAME` asks for."""
    kind, _, name = (job.score or "").partition(":")
    if kind != "method" or not name:
        if job.score_knobs:
            raise UsageError("--score-set goes with --score method:NAME")
        return None
    made = registry.make(name, job.score_knobs, "score")
    assert isinstance(made, Scorer)
    return made


def _read(
    job: SelectJob,
    scorer: Scorer | None,
    folder: RunFolder,
    store: Path,
    engine: Any,
    progress: Progress,
) -> Pool:
    """Read the pool and its target, and see to their vectors and scores."""
    with folder.stage("read"):
        where: dict[str, Any] = {"cache": store, "engine": engine, "progress": progress}
        score = job.score
        from_file = score is not None and score.endswith(".npy")
        pool = Pool.read(
            job.pool,
            text=job.text,
            label=job.label,
            source=job.source,
            score=None if scorer or from_file else score,
            tags=job.tags,
            strict=job.strict,
            **where,
        )
        if from_file:
            assert score is not None
            pool = pool.with_score(load_vectors(Path(score)), score)
        if job.target is not None:
            pool = pool.with_target(Pool.read(job.target, text=job.text, **where))
    if scorer:
        scorer.check(pool)
    # Any score will do to see what else the pool lacks, before the work of scoring it.
    known = pool.with_score(np.zeros(len(pool))) if scorer else pool
    _method(job, default_method(known)).check(known)
    with folder.stage("embed"):
        pool = embed_pool(
            pool, job.embed, url=job.embed_url, engine=engine, cache=store, progress=progress
        )
    return _scored(job, pool, scorer, folder, engine, progress) if scorer else pool


def _scored(
    job: SelectJob,
    pool: Pool,
    scorer: Scorer,
    folder: RunFolder,
    engine: Any,
    progress: Progress,
) -> Pool:
    """Score the pool; the run folder keeps the scores, so that a resumed run has them."""
    path = folder.path / "score.npy"
    if path.exists():
        return pool.with_score(np.load(path), scorer.name)
    with folder.stage("score"):
        pool = score_pool(pool, scorer, rng=job.rng, engine=engine, progress=progress)
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.asarray(pool.score))
    return pool


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
        import orjson

        lines = (orjson.dumps(row.as_json()) + b"\n" for row in pool.rejected)
        atomic_write(folder.path / "rejected.jsonl", b"".join(lines))
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
        "command": "select",
        "version": samplewise.__version__,
        "engine": engine,
        "seed": job.rng,
        "input": {
            "path": job.pool,
            "hash": pool.fingerprint,
            "rows": pool.read_count,
            "rejected": len(pool.rejected),
        },
        "method": selection.method.name,
        "knobs": selection.method.settings(),
        "budget": str(selection.budget),
        "chosen": len(selection),
    }
    folder.note(**facts)
    render(folder.path)
    folder.finish()
