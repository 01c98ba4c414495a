"""Training from a configuration to a report, in a run folder that can be resumed."""

from __future__ import annotations

import dataclasses
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from samplewise import registry
from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_folder, atomic_write
from samplewise.jobs.reading import write_rejected
from samplewise.progress import Progress, Silent
from samplewise.report import render, summarise_training
from samplewise.runs import RunFolder
from samplewise.train.base import Figures, Learner, Loop, Task, Weights
from samplewise.train.problem_set import ProblemSet

if TYPE_CHECKING:
    from samplewise.models import LanguageModel
    from samplewise.pool import Pool

__all__ = ["TrainJob", "read_config", "run_train"]

CHECKPOINT = "checkpoint.pt"
TEST = "test "
"""What the names of figures on held-out problems begin with."""


@dataclass(frozen=True)
class TrainJob:
    """All that decides what training gives.

    Parameters
    ----------
    loop : str
        Name of the loop.
    knobs : mapping
        Its knobs.
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
    checkpoint_every, evaluate_every : int
        Steps between two checkpoints, and two tests on held-out problems.
    """

    loop: str = "raft"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    model: str = "small"
    rank: int = 16
    steps: int | None = None
    rng: int = 0
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
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is not TOML: {error}", file=str(path)) from error
    usual = TrainJob()
    for key, value in content.items():
        if key not in TrainJob.__dataclass_fields__:
            known = ", ".join(TrainJob.__dataclass_fields__)
            raise InputError("no such key", file=str(path), field=key, mend=f"one of {known}")
        kind = int if key == "steps" else type(getattr(usual, key))
        if not isinstance(value, kind) or isinstance(value, bool):
            mend = f"give {_WORDS[kind]}"
            raise InputError(f"is {value!r}", file=str(path), field=key, mend=mend)
    return TrainJob(**content | ({"loop": loop} if loop else {}))


_WORDS = {int: "a whole number", str: "text", dict: "a table"}


def run_train(
    job: TrainJob, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train in a run folder.

    Parameters
    ----------
    job : TrainJob
    out : str or Path
        The run folder; `history.jsonl` holds the figures of every step, the ledger every draw,
        `model` the weights.
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
    task, pool, lm = _task(job, loop, progress)
    asked = dataclasses.asdict(job)
    with RunFolder(out, "train", asked, resume=resume) as folder:
        if folder.finished:
            return folder.record
        if pool is not None:
            write_rejected(folder, pool)
        learner = _learner(job, loop, task, lm)
        checkpoint = folder.path / CHECKPOINT
        if checkpoint.exists():
            learner.load(checkpoint)
        with folder.stage("train"):
            _train(job, learner, folder, progress)
        lines = b"".join(orjson.dumps(figures) + b"\n" for figures in learner.history)
        atomic_write(folder.path / "history.jsonl", lines)
        _export(learner, folder.path / "model")
        rollouts = [orjson.loads(content) for *_, content in folder.ledger.completions() if content]
        tokens = sum(row["tokens"] for row in rollouts)
        folder.ledger.spend("tokens", tokens, job.loop)
        folder.write_json(
            "report.json",
            summarise_training(
                learner.history, rollouts, asked=asked, title=type(loop).title(), test=TEST
            ),
        )
        folder.note(
            seed=job.rng,
            loop=job.loop,
            knobs=loop.settings(),
            steps=learner.done,
            rollouts=len(rollouts),
            rejected=0 if pool is None else len(pool.rejected),
            test=_tested(learner.history),
        )
        render(folder.path)
        folder.finish()
        return folder.record


def _task(
    job: TrainJob, loop: Loop[Any], progress: Progress
) -> tuple[Task | None, Pool | None, LanguageModel | None]:
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


def _learner(
    job: TrainJob, loop: Loop[Any], task: Task | None, lm: LanguageModel | None
) -> Learner:
    from samplewise.train.policy import Policy

    model = None if lm is None else Policy.of(lm, rank=job.rank, rng=job.rng)
    return loop.begin(task, model=model, steps=job.steps, rng=job.rng)


def _train(job: TrainJob, learner: Learner, folder: RunFolder, progress: Progress) -> None:
    """Take the steps that are left; all is on disk at every checkpoint."""
    drawn: list[tuple[str, str, str]] = []
    with progress.stage("train", learner.steps, "steps") as advance:
        advance(learner.done)
        while learner.done < learner.steps:
            started = time.perf_counter()
            figures = learner.advance()
            figures["seconds"] = time.perf_counter() - started
            last = learner.done == learner.steps
            if last or learner.done == 1 or learner.done % job.evaluate_every == 0:
                figures |= {f"{TEST}{name}": value for name, value in learner.evaluate().items()}
            drawn += [
                (f"{learner.done}/{place}", row.prompt, orjson.dumps(row._asdict()).decode())
                for place, row in enumerate(learner.rollouts)
            ]
            if last or learner.done % job.checkpoint_every == 0:
                folder.ledger.write_completions([], drawn)
                drawn = []
                learner.save(folder.path / CHECKPOINT)
            progress.say(_live(figures))
            advance(1)


def _live(figures: Figures) -> str:
    said = [f"{name} {figures[name]:.3g}" for name in ("loss", "reward") if name in figures]
    if figures.get("tokens"):
        said.append(f"{figures['tokens'] / max(figures['seconds'], 1e-9):,.0f} tokens/s")
    return ", ".join(said)


def _tested(history: list[Figures]) -> dict[str, list[float]]:
    """Give the first and last of each figure on held-out problems."""
    names = dict.fromkeys(name for row in history for name in row if name.startswith(TEST))
    found = {name: [row[name] for row in history if name in row] for name in names}
    return {name.removeprefix(TEST): [values[0], values[-1]] for name, values in found.items()}


def _export(learner: Learner, path: Path) -> None:
    """Write the trained weights, in the form of transformers where the model is one of its."""
    part = learner.parts.get("model")
    if not isinstance(part, Weights) or path.exists():
        return
    with atomic_folder(path) as temporary:
        write: Any = getattr(part.model, "save_pretrained", None)
        if write is not None:
            from samplewise.models.builtin import quiet

            with quiet():
                write(temporary)
        else:
            from safetensors.torch import save_file

            tensors = {name: value.detach() for name, value in part.tensors().items()}
            save_file(tensors, temporary / "weights.safetensors")
