"""Training from a configuration to a report, in a run folder that can be resumed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from samplewise import registry
from samplewise.errors import InputError, UsageError
from samplewise.jobs.course import TEST, Bench, Course, Pace, run_course
from samplewise.jobs.reading import write_rejected
from samplewise.progress import Progress, Silent
from samplewise.report import Beside, Draws, render, summarise_training
from samplewise.runs import RunFolder
from samplewise.train.base import Figures, Loop, Task
from samplewise.train.problem_set import ProblemSet

if TYPE_CHECKING:
    from samplewise.ledger import Ledger
    from samplewise.models import LanguageModel
    from samplewise.pool import Pool

__all__ = ["TaskJob", "TrainJob", "make_task", "read_config", "read_fields", "run_train"]

RIVAL = "rival"
"""The folder of the rival's files."""


@dataclass(frozen=True)
class TaskJob:
    """What is trained, on what, and how far.

    Parameters
    ----------
    task : mapping
        ``label`` names the kind of task, by default the loop's first; the rest are its fields. Of
        ``problems``, these are ``file``, ``verifier`` and ``test``.
    model : str
        ``small`` for the task's own, ``builtin``, or a folder of weights, of which low-rank
        adapters are trained.
    rank : int
        Of the adapters.
    steps : int, optional
        By default the loop's usual number.
    rng : int
        The seed.
    """

    task: Mapping[str, Any] = field(default_factory=dict)
    model: str = "small"
    rank: int = 16
    steps: int | None = None
    rng: int = 0


@dataclass(frozen=True)
class TrainJob(TaskJob):
    """All that decides what training gives.

    Parameters
    ----------
    loop : str
        Name of the loop.
    knobs : mapping
        Its knobs.
    rival : str
        What is trained beside, at equal cost and from the same seed: ``usual`` for the plain way
        that the loop names, ``NAME:KNOB=VALUE:...``, or ``none``, as it costs as much again.
    checkpoint_every, evaluate_every : int
        Steps between two checkpoints, and two tests on held-out problems.

    The others are those of `TaskJob`.
    """

    loop: str = "raft"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    rival: str = "usual"
    checkpoint_every: int = 20
    evaluate_every: int = 50


def read_config(path: str | Path, loop: str | None = None) -> TrainJob:
    """Read a job from TOML; its keys are the fields of `TrainJob`.

    Parameters
    ----------
    path : str or Path
    loop : str, optional
        In place of the file's.

    Raises
    ------
    InputError
        If it cannot be read, or a key is unknown or of the wrong type.
    """
    return TrainJob(**read_fields(path, TrainJob()) | ({"loop": loop} if loop else {}))


def read_fields(path: str | Path, usual: TaskJob) -> dict[str, Any]:
    """Read the fields of a job from TOML; they have the types of the usual ones.

    Raises
    ------
    InputError
        As `read_config` does.
    """
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is not TOML: {error}", file=str(path)) from error
    for key, value in content.items():
        if key not in usual.__dataclass_fields__:
            known = ", ".join(usual.__dataclass_fields__)
            raise InputError("no such key", file=str(path), field=key, mend=f"one of {known}")
        kind = int if key == "steps" else type(getattr(usual, key))
        if not isinstance(value, kind) or isinstance(value, bool):
            mend = f"give {_WORDS[kind]}"
            raise InputError(f"is {value!r}", file=str(path), field=key, mend=mend)
    return content


_WORDS = {int: "a whole number", str: "text", dict: "a table"}


def run_train(
    job: TrainJob, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train in a run folder.

    Parameters
    ----------
    job : TrainJob
    out : str or Path
        The run folder; `history.jsonl` holds the figures of every step, `held-out.json` what the
        model is worth on each held-out problem, the ledger every draw, `model` the weights, and
        `rival` the same of the rival.
    resume : bool
        Whether to go on from the last checkpoint of a run that was stopped.
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
    for name in ("rank", "checkpoint_every", "evaluate_every"):
        if getattr(job, name) < 1:
            raise UsageError(f"{name} is {getattr(job, name)}", mend="give 1 or more")
    loop: Any = registry.make(job.loop, job.knobs, room="train")
    task, pool, lm = make_task(job, loop, progress)
    rival = _rival(job, loop, task)
    bench = Bench(task, lm, job.rank, job.rng)
    asked = dataclasses.asdict(job)
    with RunFolder(out, "train", asked, resume=resume) as folder:
        if folder.finished:
            return folder.record
        if pool is not None:
            write_rejected(folder, pool)
        pace = Pace(job.steps, job.evaluate_every, job.checkpoint_every)
        with folder.stage("train"):
            mine = run_course(loop, bench, pace, folder, progress)
        beside = None
        if rival is not None:
            with folder.stage("rival"):
                beside = _run_rival(rival, mine, bench, pace, folder, progress)
        draws = _draws(folder.ledger)
        folder.ledger.spend("tokens", draws.tokens, job.loop)
        summary = summarise_training(
            mine.history,
            draws,
            asked=asked,
            title=loop.title(),
            test=TEST,
            knobs=loop.settings(),
            rival=beside,
        )
        folder.write_json("report.json", summary)
        folder.note(
            seed=job.rng,
            loop=job.loop,
            knobs=loop.settings(),
            steps=len(mine.history),
            rollouts=draws.count,
            rejected=0 if pool is None else len(pool.rejected),
            test=_tested(mine.history),
            rival=summary["rival"],
            verdict=summary["verdict"],
        )
        render(folder.path)
        folder.finish()
        return folder.record


def _rival(job: TrainJob, loop: Loop[Any], task: Task) -> Loop[Any] | None:
    """Make the loop that is trained beside, if any."""
    if job.rival == "none":
        return None
    kind: Any = Loop  # a base, from which nothing is made
    rival: Loop[Any] | None = (
        loop.rival(task) if job.rival == "usual" else registry.named(kind, job.rival)
    )
    if rival is not None and not isinstance(task, rival.tasks):
        raise UsageError(
            f"the rival {rival.name} cannot learn the task {task.label}",
            mend="name another of samplewise methods --room train, or usual, or none",
        )
    return rival


def _run_rival(
    rival: Loop[Any],
    mine: Course,
    bench: Bench,
    pace: Pace,
    folder: RunFolder,
    progress: Progress,
) -> Beside:
    """Train the rival at the cost of the loop."""
    plan = folder.path / "equal-cost.json"
    if not plan.exists():
        folder.write_json(plan.name, bench.equal_cost([rival], mine, pace)[0]._asdict())
    pace = Pace(**orjson.loads(plan.read_bytes()))
    theirs = run_course(rival, bench, pace, folder, progress, name=RIVAL)
    return Beside(
        name=rival.label(mine.loop) if type(rival) is type(mine.loop) else rival.name,
        title=rival.title(),
        knobs=rival.settings(),
        unit=pace.unit,
        equal=pace.limit is not None,
        histories=(mine.history, theirs.history),
        outcomes=(mine.outcomes, theirs.outcomes),
        better=mine.loop.better,
    )


def _draws(ledger: Ledger) -> Draws:
    """Read the loop's draws, and keep those that are shown."""
    draws = Draws()
    for key, _, content in ledger.completions():
        if content and not key.startswith(f"{RIVAL}/"):
            draws.add(orjson.loads(content))
    return draws


def make_task(
    job: TaskJob, loop: Loop[Any], progress: Progress
) -> tuple[Task, Pool | None, LanguageModel | None]:
    """Make the task, with the pool it was read from and the language model that learns it."""
    from samplewise.models import load

    lm = None if job.model == "small" else load(job.model, progress=progress)
    settings = dict(job.task)
    label = settings.pop("label", loop.tasks[0].label)
    kinds = {kind.label: kind for kind in loop.tasks}
    if label not in kinds:
        raise UsageError(f"{loop.name} has no task {label!r}", mend=f"one of {', '.join(kinds)}")
    if kinds[label] is ProblemSet:
        return *_problem_set(lm, **settings), lm
    try:
        return kinds[label](**settings), None, lm
    except TypeError as error:
        known = ", ".join(getattr(kinds[label], "__dataclass_fields__", {}))
        raise UsageError(f"task {label}: {error}", mend=f"its fields are {known}") from error


def _problem_set(
    lm: LanguageModel | None, file: str = "", verifier: str = "math", test: int = 100
) -> tuple[ProblemSet, Pool]:
    from samplewise.answer.problems import read_problems
    from samplewise.verify import make_verifier

    if lm is None or not file:
        raise UsageError(
            "the task problems needs a file and a language model",
            mend='set file = "problems.jsonl" in [task], and model = "builtin" or a folder',
        )
    problems, pool = read_problems(file)

    def ask(problem: Any) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in problem.messages]
        return str(lm.tokenizer.decode(lm.turns(turns)))

    return ProblemSet(problems, make_verifier(verifier), test, ask), pool


def _tested(history: list[Figures]) -> dict[str, list[float]]:
    """Give the first and last of each figure on held-out problems."""
    names = dict.fromkeys(name for row in history for name in row if name.startswith(TEST))
    found = {name: [row[name] for row in history if name in row] for name in names}
    return {name.removeprefix(TEST): [values[0], values[-1]] for name, values in found.items()}
