"""Decoding from prompts to a report, in a run folder that can be resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from samplewise.answer.problems import read_problems
from samplewise.decode.decoding import PromptDecoder, slowness, total
from samplewise.errors import UsageError
from samplewise.files import atomic_write
from samplewise.jobs.reading import write_rejected
from samplewise.progress import Progress, Silent
from samplewise.report import render, summarise_decoding
from samplewise.rng import generator, seed_of
from samplewise.runs import RunFolder

__all__ = ["DecodeJob", "run_decode"]


@dataclass(frozen=True)
class DecodeJob:
    """All that decides what decoding gives.

    Parameters
    ----------
    prompts : sequence of str
    file : str, optional
        File or folder of rows with a question each, in place of prompts.
    model, draft, verifier, samplers
        As `PromptDecoder` takes them, by name.
    temperature, top_k, top_p, min_p, typical_p, repetition_penalty, chat, auto
        As `PromptDecoder` takes them.
    max_tokens : int
    rng : int
        The seed.
    strict : bool
        Whether a row that cannot be read stops the run.
    """

    prompts: Sequence[str] = field(default_factory=list)
    file: str | None = None
    model: str = "builtin"
    draft: str = "token-recycling"
    verifier: str = "k-seq"
    samplers: Sequence[str] = field(default_factory=list)
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float | None = None
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    max_tokens: int = 128
    chat: bool = True
    auto: bool | None = None
    rng: int = 0
    strict: bool = False


def run_decode(
    job: DecodeJob, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Decode prompts in a run folder.

    Parameters
    ----------
    job : DecodeJob
    out : str or Path
        The run folder; `decoded.jsonl` holds every text, token and step.
    resume : bool
        Whether to take up a run that was stopped: no prompt is decoded again.
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
    progress = progress or Silent()
    random = generator(job.rng)
    if bool(job.prompts) == (job.file is not None):
        raise UsageError("nothing to decode, or twice", mend="give prompts, or a file of them")
    prompts, pool = list(job.prompts), None
    if job.file is not None:
        problems, pool = read_problems(job.file, strict=job.strict)
        prompts = [problem.question for problem in problems]
    if job.max_tokens < 1:
        raise UsageError(f"max_tokens is {job.max_tokens}", mend="give 1 or more")
    with RunFolder(out, "decode", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        if pool is not None:
            write_rejected(folder, pool)
        with folder.stage("decode"):
            seeds = [seed_of(random) for _ in prompts]
            rows = _decode_all(job, prompts, seeds, folder, progress)
        lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        atomic_write(folder.path / "decoded.jsonl", lines)
        totals = total(rows)
        told = slowness(totals, job.draft)
        summary = summarise_decoding(rows, totals, asked=dataclasses.asdict(job), slowness=told)
        folder.write_json("report.json", summary)
        folder.note(
            seed=job.rng,
            model=job.model,
            rejected=0 if pool is None else len(pool.rejected),
            totals=totals,
            slowness=told,
        )
        render(folder.path)
        folder.finish()
        return folder.record


def _decode_all(
    job: DecodeJob,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: RunFolder,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Decode what the ledger does not hold yet."""
    known = {
        key: orjson.loads(content)
        for key, _, content in folder.ledger.completions()
        if content is not None
    }
    decoder = None
    with progress.stage("decode", len(prompts), "prompts") as advance:
        for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            if str(place) not in known:
                decoder = decoder or _decoder(job, progress)
                row = decoder.decode(prompt, job.max_tokens, seed).as_json()
                content = orjson.dumps(row).decode()
                folder.ledger.write_completions([], [(str(place), prompt, content)])
                known[str(place)] = row
            advance(1)
    return [known[str(place)] for place in range(len(prompts))]


def _decoder(job: DecodeJob, progress: Progress) -> PromptDecoder:
    own = ("prompts", "file", "max_tokens", "rng", "strict")
    settings = {key: value for key, value in vars(job).items() if key not in own}
    return PromptDecoder(**settings, progress=progress)
