"""Several loops that learn, at equal cost and over seeds, beside the plain way of the first.

What the first loop costs in the first seed is what each may cost in every seed. A seed is one of
weights and draws: the problems are the same in all. Loops that are clearly behind stop getting
seeds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.jobs.course import Bench, Course, Pace, costs_of, run_course
from samplewise.jobs.reading import write_rejected
from samplewise.jobs.training import TaskJob, make_task
from samplewise.measure.elimination import Race
from samplewise.progress import Progress, Silent
from samplewise.report import Run, render, summarise_methods
from samplewise.report.training import COST_UNITS
from samplewise.runs import RunFolder
from samplewise.train.base import Loop, Task, means_of

__all__ = ["LoopsJob", "run_compare_training"]


@dataclass(frozen=True)
class LoopsJob(TaskJob):
    """All that decides what a comparison of loops gives.

    Parameters
    ----------
    loops : sequence of str
        Names, also with knobs: ``"raft:samples=4"``. The plain way of the first is added where it
        is not named.
    seeds : int
        The most seeds that a loop gets; 2 or more.
    alpha, indifference, eliminate, pooled
        As `samplewise.compare` takes them.

    The others are those of `TaskJob`; `steps` are those of the first loop.
    """

    loops: Sequence[str] = ()
    seeds: int = 5
    alpha: float = 0.05
    indifference: float = 0.0
    eliminate: bool = True
    pooled: bool = True


def run_compare_training(
    job: LoopsJob, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare loops in a run folder.

    Parameters
    ----------
    job : LoopsJob
    out : str or Path
        The run folder; `report.json` holds the table, and a folder for every loop and seed the
        figures of its steps and what it was worth on each held-out problem.
    resume : bool
        Whether to take up a run that was stopped.
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
    loops = _made(job.loops)
    first = next(iter(loops.values()))
    task, pool, lm = make_task(job, first, progress)
    baseline = _with_baseline(loops, first, task)
    race = _race(job, loops, baseline)
    with RunFolder(out, "compare train", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        if pool is not None:
            write_rejected(folder, pool)
        with folder.stage("train"):
            trainings = _Trainings(job, loops, task, lm, folder, progress)
            runs = trainings.run(race)
        report = _report(job, race, runs, loops, task, trainings)
        folder.write_json("report.json", report)
        folder.note(
            seed=job.rng,
            loops={name: loop.settings() for name, loop in loops.items()},
            baseline=baseline,
            budget=trainings.budget,
            rejected=0 if pool is None else len(pool.rejected),
            winner=race.leader,
            verdict=report["verdict"]["text"],
        )
        render(folder.path)
        folder.finish()
        return folder.record


def _made(specs: Sequence[str]) -> dict[str, Loop[Any]]:
    kind: Any = Loop  # a base, from which nothing is made
    found: dict[str, Loop[Any]] = {}
    for spec in specs:
        if spec in found:
            raise UsageError(f"{spec} is named twice", mend="name it once, or with other knobs")
        found[spec] = registry.named(kind, spec)
    if not found:
        raise UsageError("no loop is named", mend="name one or more: raft,raft++,grpo")
    return found


def _with_baseline(loops: dict[str, Loop[Any]], first: Loop[Any], task: Task) -> str:
    """Add the plain way of the first loop, and give its name; refuse loops that do not compare."""
    rival = first.rival(task)
    if rival is None:
        baseline = next(iter(loops))
    else:
        known = next((name for name, loop in loops.items() if loop == rival), None)
        # Of another kind, it is told by its name: its knobs are those of the first.
        same = type(rival) is type(first)
        label = rival.label(first) if same else rival.name
        baseline = known or (rival.label() if label in loops else label)
        loops[baseline] = rival
    if len(loops) < 2:
        raise UsageError(f"{baseline} has nothing to be compared with", mend="name another loop")
    for name, loop in loops.items():
        if not isinstance(task, loop.tasks):
            raise UsageError(f"{name} cannot learn the task {task.label}", mend="leave it out")
        if loop.better != first.better:
            raise UsageError(f"{name} is for another figure than {first.name}", mend="leave it out")
    return baseline


def _race(job: LoopsJob, loops: Mapping[str, Loop[Any]], baseline: str) -> Race:
    try:
        return Race(
            list(loops),
            job.seeds,
            baseline=baseline,
            alpha=job.alpha,
            indifference=job.indifference,
            higher_is_better=next(iter(loops.values())).better == "higher",
            pooled=job.pooled,
            eliminate=job.eliminate,
        )
    except ValueError as error:
        raise UsageError(str(error), mend="see samplewise compare train --help") from error


class _Trainings:
    """The trainings of a comparison, each in a folder of its own.

    Attributes
    ----------
    main : str
        The figure that the loops are for.
    budget : str
        What each may cost.
    """

    def __init__(
        self,
        job: LoopsJob,
        loops: Mapping[str, Loop[Any]],
        task: Task,
        lm: Any,
        folder: RunFolder,
        progress: Progress,
    ) -> None:
        self.job, self.loops, self.task, self.lm = job, loops, task, lm
        self.folder, self.progress = folder, progress
        self.paces: dict[str, Pace] = {}
        self.main, self.budget = "", ""

    def run(self, race: Race) -> list[Run]:
        """Train all that the race asks for."""
        runs: list[Run] = []
        with self.progress.stage("compare", race.fixed, "runs") as advance:
            while asked := race.ask():
                bench = Bench(self.task, self.lm, self.job.rank, self.job.rng + race.seeds)
                if not self.paces:
                    self._lay_out(bench)
                done = {}
                for name in asked:
                    done[name] = self._run(name, race.seeds, bench)
                    advance(1)
                runs += done.values()
                race.tell({name: run.figures[self.main] for name, run in done.items()})
        return runs

    def _lay_out(self, bench: Bench) -> None:
        """Train the first loop for its steps, and find how far the others go at its cost."""
        first = next(iter(self.loops))
        often = self.job.steps or self.loops[first].usual_steps
        pace = Pace(self.job.steps, evaluate_every=often, checkpoint_every=often)
        course = self._course(first, 0, bench, pace)
        plan = self.folder.path / "equal-cost.json"
        if not plan.exists():
            paces = bench.equal_cost(list(self.loops.values()), course, pace)
            named = zip(self.loops, paces, strict=True)
            self.folder.write_json(plan.name, {name: one._asdict() for name, one in named})
        known = orjson.loads(plan.read_bytes())
        self.paces = {name: Pace(**one) for name, one in known.items()}
        unit = self.paces[first].unit
        shown, size = COST_UNITS.get(unit, (unit, 1.0))
        self.budget = f"{sum(costs_of(course.history, unit)) / size:.4g} {shown}"
        self.main = next(iter(course.outcomes))

    def _run(self, name: str, seed: int, bench: Bench) -> Run:
        course = self._course(name, seed, bench, self.paces[name])
        figures = means_of(course.outcomes)
        if not np.isfinite(figures.get(self.main, np.nan)):
            raise UsageError(f"{name} tells no {self.main}", mend="leave it out")
        seconds = sum(row["seconds"] for row in course.history)
        return Run(seed, name, figures, len(course.history), seconds, 0.0)

    def _course(self, name: str, seed: int, bench: Bench, pace: Pace) -> Course:
        home = re.sub(r"[^\w.+=-]+", "-", name)
        return run_course(
            self.loops[name],
            bench,
            pace,
            self.folder,
            self.progress,
            name=f"trainings/{home}/{seed}",
        )


def _report(
    job: LoopsJob,
    race: Race,
    runs: Sequence[Run],
    loops: Mapping[str, Loop[Any]],
    task: Task,
    trainings: _Trainings,
) -> dict[str, Any]:
    main = trainings.main
    shared = [name for name in runs[0].figures if all(name in run.figures for run in runs)]
    better = {main: next(iter(loops.values())).better}
    equal = all(pace.limit is not None for pace in trainings.paces.values())
    baseline = str(race.baseline)
    return summarise_methods(
        race,
        runs,
        figures={name: (name, better.get(name, "")) for name in [main, *shared] if name},
        described={
            name: {"title": loop.title(), "knobs": loop.settings()} for name, loop in loops.items()
        },
        asked={
            "pool": task.label,
            "budget": trainings.budget if equal else "its own steps",
            "rng": job.rng,
            "indifference": job.indifference,
            "eliminate": job.eliminate,
            "pooled": job.pooled,
            "baseline": baseline,
            "work": "To train",
            "judged": f"Judged by {main} on held-out problems ({better[main]} is better). Seeds "
            "are of weights and draws; the problems are the same in all of them.",
        },
    )
