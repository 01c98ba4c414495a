"""One training in a run folder, and another that may cost as much.

What a training costs is counted by its steps: in floating-point operations, in tokens where those
are not known, or in steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from samplewise.files import atomic_folder, atomic_write
from samplewise.train.base import Figures, Learner, Loop, Outcomes, Task, Weights, means_of

if TYPE_CHECKING:
    from samplewise.models import LanguageModel
    from samplewise.progress import Progress
    from samplewise.runs import RunFolder
    from samplewise.train.policy import Policy

__all__ = ["TEST", "Bench", "Course", "Pace", "cost_unit", "costs_of", "run_course"]

CHECKPOINT = "checkpoint.pt"
TEST = "test "
"""What the names of figures on held-out problems begin with."""
UNITS = ("flops", "tokens")
"""Figures of a step that are its cost, the best first."""
_TRIED = 2  # steps by which it is found what one costs
_PATIENCE = 4  # times the steps that were laid out, for one whose steps become cheaper
_PATIENCE = 4  # times the steps that were laid out, for one whose steps become cheaper


class Pace(NamedTuple):
    """How far a training goes, and how often it is tested and saved.

    Attributes
    ----------
    steps : int, optional
        By default the loop's usual number.
    evaluate_every, checkpoint_every : int
    limit : float, optional
        Cost at which it stops, in place of the steps that it is laid out for.
    unit : str
        Of the cost: the name of a step's figure, or ``steps``.
    """

    steps: int | None
    evaluate_every: int
    checkpoint_every: int
    limit: float | None = None
    unit: str = "steps"


@dataclass
class Course:
    """What a training came to.

    Attributes
    ----------
    loop : Loop
    history : list of dict
        The figures of every step.
    outcomes : dict
        What the trained model is worth on held-out items.
    """

    loop: Loop[Any]
    history: list[Figures]
    outcomes: Outcomes


class Bench:
    """Task and model of a run, for trainings one after the other.

    Parameters
    ----------
    task : Task
    lm : LanguageModel, optional
        Each training puts adapters of its own on it.
    rank : int
        Of the adapters.
    rng : int
        The seed of each training.
    """

    def __init__(self, task: Task, lm: LanguageModel | None, rank: int, rng: int) -> None:
        self.task, self.lm, self.rank, self.rng = task, lm, rank, rng
        self._policy: Policy | None = None

    def begin(self, loop: Loop[Any], steps: int | None) -> Learner:
        """Get ready to train."""
        return loop.begin(self.task, model=self._adapted(), steps=steps, rng=self.rng)

    def equal_cost(self, loops: Sequence[Loop[Any]], other: Course, pace: Pace) -> list[Pace]:
        """Lay out trainings that cost as much as another, by what their first steps cost.

        All have one unit. A loop in phases, and each one beside such a loop, keeps its pace.
        """
        tried = [self._try(loop) for loop in loops]
        unit = cost_unit(other.history, *tried)
        if other.loop.in_phases or any(loop.in_phases for loop in loops):
            return [pace._replace(unit=unit) for _ in loops]
        limit = sum(costs_of(other.history, unit))
        return [
            pace._replace(steps=_steps_at(limit, costs_of(history, unit)), limit=limit, unit=unit)
            for history in tried
        ]

    def _try(self, loop: Loop[Any]) -> list[Figures]:
        """Take the first steps, those of a warm-up before them."""
        tried = self.begin(loop, _TRIED)
        while tried.done < tried.steps:
            tried.advance()
        return tried.history

    def _adapted(self) -> Policy | None:
        if self.lm is None:
            return None
        from samplewise.train.policy import Policy

        if self._policy is not None:
            self._policy.model.unload()  # the model is as it was
        self._policy = Policy.of(self.lm, rank=self.rank, rng=self.rng)
        return self._policy


def run_course(
    loop: Loop[Any],
    bench: Bench,
    pace: Pace,
    folder: RunFolder,
    progress: Progress,
    *,
    name: str = "",
) -> Course:
    """Train, or go on where a training was stopped; one that is done is read.

    Parameters
    ----------
    loop : Loop
    bench : Bench
    pace : Pace
    folder : RunFolder
    progress : Progress
    name : str
        Of the folder of its files within the run's, and what the keys of its draws begin with.
        Without one, the trained weights are exported.
    """
    home = folder.path / name
    home.mkdir(parents=True, exist_ok=True)
    told, tested = home / "history.jsonl", home / "held-out.json"
    if tested.exists():
        history = [orjson.loads(line) for line in told.read_bytes().splitlines()]
        known = {
            key: np.array(one, np.float64) if isinstance(one, list) else one
            for key, one in orjson.loads(tested.read_bytes()).items()
        }
        return Course(loop, history, known)
    checkpoint = home / CHECKPOINT
    learner = bench.begin(loop, pace.steps)
    if checkpoint.exists():
        learner.load(checkpoint)
    found = _train(learner, pace, folder, progress, name)
    lines = b"".join(orjson.dumps(figures) + b"\n" for figures in learner.history)
    atomic_write(told, lines)
    if not name:
        export(learner, folder.path / "model")
    outcomes = found or learner.outcomes()
    folder.write_json(str(tested.relative_to(folder.path)), outcomes)
    return Course(loop, learner.history, outcomes)


def _train(
    learner: Learner, pace: Pace, folder: RunFolder, progress: Progress, name: str
) -> Outcomes | None:
    """Take the steps that are left, if any, and give the last outcomes.

    All is on disk at every checkpoint.
    """
    drawn: list[tuple[str, str, str]] = []
    outcomes: Outcomes | None = None
    spent = sum(costs_of(learner.history, pace.unit))
    with progress.stage(f"train {name}".strip(), learner.steps, "steps") as advance:
        advance(learner.done)
        while not _ended(learner, pace, spent):
            started = time.perf_counter()
            figures = learner.advance()
            figures["seconds"] = time.perf_counter() - started
            spent += sum(costs_of([figures], pace.unit))
            last = _ended(learner, pace, spent)
            if last or learner.done == 1 or learner.done % pace.evaluate_every == 0:
                outcomes = learner.outcomes()
                figures |= {f"{TEST}{key}": value for key, value in means_of(outcomes).items()}
            step = f"{name}/{learner.done}".lstrip("/")
            drawn += [
                (f"{step}/{place}", row.prompt, orjson.dumps(row._asdict()).decode())
                for place, row in enumerate(learner.rollouts)
            ]
            if last or learner.done % pace.checkpoint_every == 0:
                folder.ledger.write_completions([], drawn)
                drawn = []
                learner.save(folder.path / name / CHECKPOINT)
            progress.say(_live(figures))
            advance(1)
    return outcomes


def _ended(learner: Learner, pace: Pace, spent: float) -> bool:
    """Whether all steps are taken, or as many as the cost allows."""
    if pace.limit is None:
        return learner.done >= learner.steps
    return spent >= pace.limit or learner.done >= _PATIENCE * learner.steps


def _live(figures: Figures) -> str:
    said = [f"{name} {figures[name]:.3g}" for name in ("loss", "reward") if name in figures]
    if figures.get("tokens"):
        said.append(f"{figures['tokens'] / max(figures['seconds'], 1e-9):,.0f} tokens/s")
    return ", ".join(said)


def _steps_at(limit: float, costs: Sequence[float]) -> int:
    """Say how many steps a cost pays for, after the warm-up that comes before those tried."""
    warm_up, each = sum(costs[:-_TRIED]), sum(costs[-_TRIED:]) / _TRIED
    return max(1, math.ceil((limit - warm_up) / each))


def cost_unit(*histories: Sequence[Mapping[str, float]]) -> str:
    """Name the best unit of cost that every step of some trainings tells.

    Examples
    --------
    >>> cost_unit([{"flops": 2.0, "tokens": 1.0}], [{"tokens": 3.0}])
    'tokens'
    """
    rows = [row for history in histories for row in history]
    return next((unit for unit in UNITS if all(unit in row for row in rows)), "steps")


def costs_of(history: Sequence[Mapping[str, float]], unit: str) -> list[float]:
    """Give what every step cost."""
    return [1.0 if unit == "steps" else row[unit] for row in history]


def export(learner: Learner, path: Path) -> None:
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
