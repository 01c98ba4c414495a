"""A run repeated from its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samplewise.errors import InputError
from samplewise.jobs.answer_comparison import AnswersJob, run_compare_answers
from samplewise.jobs.answering import AnswerJob, run_answer
from samplewise.jobs.comparison import CompareJob, run_compare
from samplewise.jobs.decoding import DecodeJob, run_decode
from samplewise.jobs.selection import SelectJob, run_select
from samplewise.jobs.training import TrainJob, run_train
from samplewise.jobs.training_comparison import LoopsJob, run_compare_training
from samplewise.progress import Progress
from samplewise.runs import read_run

__all__ = ["rerun"]

_RUNS: Mapping[str, tuple[Callable[..., Any], Callable[..., dict[str, Any]]]] = {
    "select": (SelectJob, run_select),
    "compare select": (CompareJob, run_compare),
    "answer": (AnswerJob, run_answer),
    "compare answer": (AnswersJob, run_compare_answers),
    "decode": (DecodeJob, run_decode),
    "train": (TrainJob, run_train),
    "compare train": (LoopsJob, run_compare_training),
}


def rerun(run: str | Path, out: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Repeat a run from its `run.json`, in a new folder.

    Raises
    ------
    InputError
        If `run` is no run folder, or its input is no longer what it was.
    """
    record = read_run(run)
    job, again = _RUNS[record["command"]]
    made = again(job(**record["arguments"]), out, progress=progress)
    before, now = (
        {key: one.get("input", {}).get(key) for key in ("hash", "target")} for one in (record, made)
    )
    if record["state"] == "done" and before != now:
        raise InputError(
            "has changed since the first run, so the result may differ too",
            file=made["input"]["path"],
        )
    return made
