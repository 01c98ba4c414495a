"""What every job begins with: a pool read, aimed, embedded and scored, in a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from samplewise import registry
from samplewise.embed import embed_pool
from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_path, atomic_write
from samplewise.pool import Pool, load_vectors
from samplewise.progress import Progress
from samplewise.runs import RunFolder
from samplewise.score.base import Scorer
from samplewise.score.base import score as score_pool

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["PoolJob", "cache_of", "describe_input", "read_pool", "with_places", "write_rejected"]

J = TypeVar("J", bound="PoolJob")


@dataclass(frozen=True)
class PoolJob:
    """What a job reads its pool from.

    Parameters
    ----------
    pool : str
        File or folder of rows.
    rng : int
        The seed.
    text, label, source, score, tags : str, optional
        Fields of a row, where they are not to be found by themselves. `score` may also be
        ``"method:NAME"``, a scorer that works one out for the whole pool, or a ``.npy`` file with
        one a row.
    score_knobs : mapping of str to value
        Knobs of the scorer.
    target : str, optional
        File or folder of rows like those that the chosen ones are for.
    embed : str
        ``"builtin"``, ``"sentence-transformers:MODEL"``, ``"endpoint:MODEL"``, a ``.npy`` file
        or ``"column:NAME"``.
    embed_url : str, optional
        Address of the endpoint.
    strict : bool
        Whether a row that cannot be read stops the run.
    """

    pool: str
    _: KW_ONLY
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
    strict: bool = False

    def scorer(self) -> Scorer | None:
        """Make the scorer that ``score="method:NAME"`` asks for.

        Raises
        ------
        UsageError
            If there is no such scorer or knob, or knobs without a scorer.
        """
        kind, _, name = (self.score or "").partition(":")
        if kind != "method" or not name:
            if self.score_knobs:
                raise UsageError("--score-set goes with --score method:NAME")
            return None
        made = registry.make(name, self.score_knobs, "score")
        assert isinstance(made, Scorer)
        return made


def with_places(job: J) -> J:
    """Give the job with its files by their full paths.

    Raises
    ------
    InputError
        If one is not there.
    """
    target = None if job.target is None else _place(job.target)
    return dataclasses.replace(job, pool=_place(job.pool), target=target)


def cache_of(out: Path, cache: str | Path | None) -> Path:
    """Give the folder for rows and vectors: the one that is named, or one beside the run."""
    return Path(cache) if cache else out.resolve().parent / ".samplewise-cache"


def write_rejected(folder: RunFolder, pool: Pool) -> None:
    """Write the rows that were set aside."""
    import orjson

    lines = (orjson.dumps(row.as_json()) + b"\n" for row in pool.rejected)
    atomic_write(folder.path / "rejected.jsonl", b"".join(lines))


def read_pool(
    job: PoolJob,
    folder: RunFolder,
    store: Path,
    engine: Engine,
    progress: Progress,
    *,
    check: Callable[[Pool], None],
    needs_vectors: Callable[[Pool], bool],
) -> Pool:
    """Read the pool and its target, and see to their vectors and scores.

    Parameters
    ----------
    job : PoolJob
    folder : RunFolder
        Gets the rows that were set aside, and the scores that were worked out.
    store : Path
        Folder for rows and vectors.
    engine : Engine
    progress : Progress
    check : callable
        Refuses a pool that lacks something, before any vector or score is made.
    needs_vectors : callable
        Says whether vectors are needed; a scorer's own need is seen to besides.
    """
    scorer = job.scorer()
    score = None if scorer else job.score
    from_file = score is not None and score.endswith(".npy")
    where: dict[str, Any] = {"cache": store, "engine": engine, "progress": progress}
    with folder.stage("read"):
        pool = Pool.read(
            job.pool,
            text=job.text,
            label=job.label,
            source=job.source,
            score=None if from_file else score,
            tags=job.tags,
            strict=job.strict,
            **where,
        )
        if score is not None and from_file:
            pool = pool.with_score(load_vectors(Path(score)), score)
        if job.target is not None:
            pool = pool.with_target(Pool.read(job.target, text=job.text, **where))
        write_rejected(folder, pool)
    if scorer:
        scorer.check(pool)
    # Any score will do to see what else the pool lacks, before the work of scoring it.
    known = pool.with_score(np.zeros(len(pool))) if scorer else pool
    check(known)
    if needs_vectors(known) or (scorer and "embeddings" in scorer.needs):
        with folder.stage("embed"):
            pool = embed_pool(pool, job.embed, url=job.embed_url, **where)
    return _scored(job, pool, scorer, folder, engine, progress) if scorer else pool


def describe_input(job: PoolJob, pool: Pool) -> dict[str, Any]:
    """Say in `run.json` what was read, so that a later run can tell whether it still is that."""
    target = {} if pool.target is None else {"target": pool.target.fingerprint}
    return {
        "path": job.pool,
        "hash": pool.fingerprint,
        "rows": pool.read_count,
        "rejected": len(pool.rejected),
        **target,
    }


def _place(path: str) -> str:
    if not Path(path).exists():
        raise InputError("no such file or folder", file=path)
    return str(Path(path).resolve())


def _scored(
    job: PoolJob,
    pool: Pool,
    scorer: Scorer,
    folder: RunFolder,
    engine: Engine,
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
