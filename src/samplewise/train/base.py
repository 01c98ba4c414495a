"""What the methods of the room share: each learns from what was drawn.

A `Loop` holds the knobs. It begins with a task, and gives a `Learner`: something that takes one
step after another, tells what each gave, and can be stopped between any two of them and taken up
again with the same result to the last bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.files import atomic_path
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Figures",
    "Learner",
    "Loop",
    "Outcomes",
    "Rollout",
    "Saved",
    "Task",
    "TaskT",
    "Weights",
    "descend",
    "means_of",
    "train",
]

Figures = dict[str, float]
"""What a step gave, by name: ``loss``, ``reward``, ``tokens``, ``flops``, ..."""

Outcomes = dict[str, float | NDArray[np.float64]]
"""What a model is worth on held-out items, by name: a value an item, or one for all of them."""


class Rollout(NamedTuple):
    """One draw of a model in training, as the ledger keeps it.

    Attributes
    ----------
    prompt, text : str
    reward : float
    tokens : int
        Length of what was drawn.
    """

    prompt: str
    text: str
    reward: float
    tokens: int


class Saved(Protocol):
    """What can be put into a checkpoint: models, optimizers, schedules, streams, allocations."""

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Go on from a state."""
        ...


class Task(ABC):
    """What a loop learns: problems, texts, images. The kinds that a loop takes are its `tasks`.

    A task is a frozen dataclass whose fields have plain types and defaults, so that a file can say
    what it is.
    """

    label: ClassVar[str]
    """Its name in a file."""


TaskT = TypeVar("TaskT", bound=Task)


class Weights:
    """The weights of a model that learn, and its buffers, as a part of a checkpoint."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give them by name."""
        learned = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        return {**learned, **dict(self.model.named_buffers())}

    def state_dict(self) -> dict[str, Any]:
        """Give a copy of each."""
        return {name: value.detach().clone() for name, value in self.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write each back."""
        mine = self.tensors()
        if mine.keys() != state.keys():
            raise UsageError("the checkpoint is of another model", mend="resume with the same one")
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(state[name])


class Learner(ABC):
    """A loop at work.

    A loop's learner sets `parts`, and writes `step` and `outcomes`.

    Parameters
    ----------
    steps : int
        Steps of the whole training; `step` is called as often.
    rng : int, numpy.random.Generator or None

    Attributes
    ----------
    done : int
        Steps that are behind.
    rng : numpy.random.Generator
        For draws by NumPy.
    random : torch.Generator
        For draws by torch on the CPU.
    parts : dict of str to Saved
        All else that decides the next steps: weights, optimizer, schedule, stream, buffers.
    history : list of dict
        The figures of every step.
    rollouts : list of Rollout
        What the last step drew.
    """

    def __init__(self, steps: int, rng: RandomState) -> None:
        self.steps, self.done = steps, 0
        self.rng = generator(rng)
        self.random = torch.Generator().manual_seed(seed_of(self.rng))
        self.parts: dict[str, Saved] = {}
        self.history: list[Figures] = []
        self.rollouts: list[Rollout] = []

    @abstractmethod
    def step(self) -> Figures:
        """Take one step, and give its figures."""

    @abstractmethod
    def outcomes(self) -> Outcomes:
        """Say what the model as it is is worth on what it was not trained on.

        The first figure is the one that the loop is for.
        """

    def evaluate(self) -> Figures:
        """Give the outcomes' means."""
        return means_of(self.outcomes())

    def advance(self) -> Figures:
        """Take one step, and remember it."""
        self.rollouts = []
        figures = self.step()
        self.done += 1
        self.history.append(figures)
        return figures

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: it is either whole, or not there."""
        state = {
            "done": self.done,
            "history": self.history,
            "rng": self.rng.bit_generator.state,
            "random": self.random.get_state(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: str | Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.done, self.history = state["done"], state["history"]
        self.rng.bit_generator.state = state["rng"]
        self.random.set_state(state["random"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])


@dataclass(frozen=True)
class Loop(registry.Method, ABC, Generic[TaskT]):
    """Base of all loops.

    A loop derives from it, sets `name` and `tasks`, and writes `start` and `rival`.
    """

    room: ClassVar[str] = "train"
    tasks: ClassVar[tuple[type[Task], ...]]
    """The kinds of task that it takes; the first is made where none is given."""
    usual_steps: ClassVar[int] = 200
    """Steps taken where none are asked for."""
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    """Of the first figure of its outcomes."""
    in_phases: ClassVar[bool] = False
    """Whether its steps are laid out in phases, so that it cannot be stopped at some cost."""

    def begin(
        self,
        task: TaskT | None = None,
        *,
        model: Any = None,
        steps: int | None = None,
        rng: RandomState = None,
    ) -> Learner:
        """Get ready to train.

        Parameters
        ----------
        task : Task, optional
        model : torch.nn.Module, optional
            What is trained, in place; by default the task's own small one.
        steps : int, optional
        rng : int, numpy.random.Generator or None

        Returns
        -------
        Learner

        Raises
        ------
        UsageError
            If the loop cannot learn such a task, or `steps` is below 1.
        """
        made = self.tasks[0]() if task is None else task
        if not isinstance(made, self.tasks):
            known = ", ".join(one.label for one in self.tasks)
            raise UsageError(f"{self.name} cannot learn {made!r}", mend=f"give one of: {known}")
        count = self.usual_steps if steps is None else steps
        if count < 1:
            raise UsageError(f"steps is {count}", mend="give 1 or more")
        checked: Any = made
        return self.start(checked, model, count, generator(rng))

    @abstractmethod
    def start(self, task: TaskT, model: Any, steps: int, rng: np.random.Generator) -> Learner:
        """Make the learner; `model` is None where the task's own is to be made."""

    @abstractmethod
    def rival(self, task: TaskT) -> Loop[Any] | None:
        """Give the plain way that it has to beat at equal cost; None where the task allows none."""


def means_of(outcomes: Outcomes) -> Figures:
    """Average over items."""
    return {name: float(np.mean(values)) for name, values in outcomes.items()}


def train(
    loop: str | Loop[Any] = "raft",
    task: Task | None = None,
    *,
    model: Any = None,
    steps: int | None = None,
    rng: RandomState = None,
    seen: Callable[[Learner], None] | None = None,
) -> Learner:
    """Train to the end.

    Parameters
    ----------
    loop : str or Loop
        ``NAME`` or ``NAME:KNOB=VALUE:...``.
    task, model, steps, rng
        As `Loop.begin` takes them.
    seen : callable, optional
        Called after every step.

    Returns
    -------
    Learner
        With the trained model in its parts, and the figures of every step.
    """
    kind: Any = Loop  # a base, from which nothing is made
    made: Loop[Any] = registry.named(kind, loop)
    learner = made.begin(task, model=model, steps=steps, rng=rng)
    while learner.done < learner.steps:
        learner.advance()
        if seen:
            seen(learner)
    return learner


def descend(
    optimizer: torch.optim.Optimizer, loss: torch.Tensor, learned: Sequence[torch.nn.Parameter]
) -> None:
    """Take a step down a loss, with a gradient of norm 1 at most."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimizer.step()
