"""What the loops share that learn from a model's own answers: allocating, drawing, learning.

A loop of theirs derives from `OwnAnswers`, and says how much each answer counts and what the loss
is; how many answers a problem gets is said by an allocation of the room mix.

Cost: O(problems x samples) answers a step, and passes forward and back over those learned from;
with pilots, every `refresh` steps, refresh x problems x pilots answers more, and one pass forward
and back over the right ones among them.
Source: arXiv 2505.02391, whose learning rate is 1e-6, its problems a step 1,024, for models of 1.5
billion weights; ours are for small ones.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Task
from samplewise.train.gradient_norms import Layer, gradient_norms
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner, Reference
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems
from samplewise.train.worked_sums import WorkedSums

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["Answers", "OwnAnswers", "OwnAnswersLearner", "Plan", "Planned"]


OwnT = TypeVar("OwnT", bound="OwnAnswers")


@dataclass(frozen=True)
class OwnAnswers(Loop[Problems]):
    """What the three loops share: how answers are drawn, and how many to each problem.

    Parameters
    ----------
    problems : int
        Problems a step.
    samples : int
        Answers to each, on average; every step draws problems x samples.
    learning_rate : float
    temperature : float
        Of the answers.
    most_tokens : int, optional
        Of an answer; by default what the task says.
    warm_up : int
        Steps by which a small model first imitates solutions: one that is never right learns
        nothing.
    mini_batches : int
        Parts of a step's answers, with a step of the optimizer on each.
    allocation : str
        How many answers each problem gets: ``NAME`` or ``NAME:KNOB=VALUE:...`` of the room mix,
        ``uniform`` or ``gradient-variance``.
    refresh : int
        Steps for whose problems answers are allocated together.
    pilots : int
        Answers to each of these problems by which it is done, where the allocation needs them.
        They are not learned from.
    layer : {'embedding', 'head'}
        Whose gradients are measured.
    norm_per_token : bool
        Whether a gradient's norm is divided by the answer's tokens.
    """

    tasks: ClassVar[tuple[type[Task], ...]] = (Arithmetic, WorkedSums, ProblemSet)
    on_old: ClassVar[bool]
    """Whether its loss needs the probabilities that the answers were drawn with."""

    problems: int = 32
    samples: int = 8
    learning_rate: float = 3e-4
    temperature: float = 1.0
    most_tokens: int | None = None
    warm_up: int = 200
    mini_batches: int = 4
    allocation: str = "uniform"
    refresh: int = 10
    pilots: int = 8
    layer: Layer = "embedding"
    norm_per_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            *("problems", "samples", "learning_rate", "temperature"),
            *("mini_batches", "refresh", "pilots"),
            above=True,
        )
        self.require("warm_up")
        self.require("most_tokens", least=1)
        # A cap that leaves no room for the answers is refused here, and not after the pilots.
        self.allocator.start(1).ask(self.samples)

    @functools.cached_property
    def allocator(self) -> Any:
        """The allocation's method.

        Raises
        ------
        UsageError
            If there is no such method, or it does not go by pilots.
        """
        name, settings = registry.parse_spec(self.allocation)
        made: Any = registry.make(name, settings, room="mix")
        told = getattr(made, "outcomes", ())
        if told is not None and getattr(told, "_fields", ()) != ("correct", "norms"):
            raise UsageError(
                f"{self.name}: allocation is {self.allocation!r}, which does not go by pilots",
                mend="give uniform or gradient-variance",
            )
        return made

    @property
    def needs_pilots(self) -> bool:
        """Whether pilots are drawn."""
        return self.allocator.outcomes is not None

    @property
    def divergence(self) -> float:
        """Weight of the divergence from the model as it was before the first step."""
        return 0.0

    @abstractmethod
    def plain(self, task: Problems) -> Loop[Any] | None:
        """Give what it has to beat where all problems get as many answers; None if nothing."""

    def rival(self, task: Problems) -> Loop[Any] | None:
        """Give as many answers to each problem; where that is done, what is plainer still."""
        if self.allocator.name != "uniform":
            return replace(self, allocation="uniform")
        return self.plain(task)

    def as_loop(self, kind: type[OwnT]) -> OwnT:
        """Make another of the loops with the knobs that both have."""
        known = self.settings()
        return kind(**{one.name: known[one.name] for one in fields(kind) if one.name in known})

    @abstractmethod
    def gains(self, answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Say which answers are learned from, and how much each of them counts."""

    @abstractmethod
    def loss(
        self,
        new: torch.Tensor,
        old: torch.Tensor,
        reference: torch.Tensor | None,
        response: torch.Tensor,
        gains: torch.Tensor,
    ) -> torch.Tensor:
        """Give the loss on some answers of a step; (rows, length) and (rows,) to ()."""

    def start(
        self, task: Problems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> OwnAnswersLearner:
        """Make the learner."""
        return OwnAnswersLearner(self, task, model, steps, rng)


class Answers(NamedTuple):
    """What is known of the answers of a step.

    Attributes
    ----------
    rewards : ndarray of float64, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem of the step each answers.
    draws : ndarray of int64, shape (answers,)
        Answers drawn to its problem in all: some may be of the step before, or of the next.
    p : ndarray of float64, shape (answers,)
        Share of right answers to its problem, from pilots; not a number without them.
    lengths : ndarray of int64, shape (answers,)
        In tokens.
    """

    rewards: NDArray[np.float64]
    groups: NDArray[np.int64]
    draws: NDArray[np.int64]
    p: NDArray[np.float64]
    lengths: NDArray[np.int64]


# --- the loop at work -----------------------------------------------------------------------------


class Planned(NamedTuple):
    """Answers that are going to be drawn, in this order.

    Attributes
    ----------
    problems : ndarray of int64, shape (answers,)
        The problem of each.
    places : ndarray of int64, shape (answers,)
        Which of the problems allocated for it is: one may be there twice.
    draws : ndarray of int64, shape (answers,)
        How many answers that one was given.
    p : ndarray of float64, shape (answers,)
        The share of right pilots of its problem; not a number without pilots.
    """

    problems: NDArray[np.int64]
    places: NDArray[np.int64]
    draws: NDArray[np.int64]
    p: NDArray[np.float64]

    def part(self, chosen: slice) -> Planned:
        """Take some of them."""
        numbers = self.problems[chosen], self.places[chosen], self.draws[chosen]
        return Planned(*numbers, self.p[chosen])


class Plan:
    """The answers of the next steps, as a part of a checkpoint.

    Attributes
    ----------
    left : Planned
    """

    def __init__(self) -> None:
        none = np.empty(0, dtype=np.int64)
        self.left = Planned(none, none, none, np.empty(0))

    def take(self, count: int) -> Planned:
        """Take the next answers."""
        taken = self.left.part(slice(count))
        self.left = self.left.part(slice(count, None))
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Give what is left of it."""
        return {name: part.tolist() for name, part in self.left._asdict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.left = Planned(
            np.asarray(state["problems"], dtype=np.int64),
            np.asarray(state["places"], dtype=np.int64),
            np.asarray(state["draws"], dtype=np.int64),
            np.asarray(state["p"], dtype=np.float64),
        )


class OwnAnswersLearner(PolicyLearner):
    """Allocate, draw, say what each answer counts, and learn from it."""

    def __init__(
        self,
        loop: OwnAnswers,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(task, model, steps, rng, warm_up=loop.warm_up, most=loop.most_tokens)
        self.loop = loop
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, weight_decay=0.0
        )
        self.plan, self.reference = Plan(), Reference()
        self.allocation = loop.allocator.start(loop.problems * loop.refresh, rng=self.rng)
        self.parts |= {
            "optimizer": self.optimizer,
            "plan": self.plan,
            "allocation": self.allocation,
            "reference": self.reference,
        }

    def learn(self) -> Figures:
        """Take one step."""
        loop = self.loop
        if loop.divergence and not self.reference.weights:
            self.reference.weights = self.weights.state_dict()
        pilots = 0
        if not len(self.plan.left.problems):
            pilots = self.allocate()
        planned = self.plan.take(loop.problems * loop.samples)
        batch, rewards = self.draw(planned.problems, temperature=loop.temperature)
        groups = np.unique(planned.places, return_inverse=True)[1].astype(np.int64)
        lengths = batch.lengths.cpu().numpy()
        rows, gains = loop.gains(Answers(rewards, groups, planned.draws, planned.p, lengths))
        figures = {
            "reward": float(rewards.mean()),
            "kept": float(len(rows)),
            "pilots": float(pilots),
            "tokens": float(sum(rollout.tokens for rollout in self.rollouts)),
        }
        return figures | self.update(batch.rows(torch.from_numpy(rows)), gains)

    def update(self, batch: Batch, gains: NDArray[np.float64]) -> Figures:
        """Take a step of the optimizer on every part of some answers."""
        loop = self.loop
        count = len(gains)
        weights = torch.from_numpy(gains).to(batch.ids.device, torch.float32)
        old = reference = None
        if count and loop.on_old:
            with torch.no_grad():
                old = self.policy.log_probabilities(batch, loop.temperature)
                if loop.divergence:
                    reference = self.policy.log_probabilities(
                        batch, loop.temperature, self.reference.weights
                    )
        losses = []
        parts = np.array_split(self.rng.permutation(count), min(loop.mini_batches, max(1, count)))
        for part in parts if count else ():
            rows = torch.from_numpy(part)
            chosen = batch.rows(rows)
            new = self.policy.log_probabilities(chosen, loop.temperature)
            loss = loop.loss(
                new,
                new.detach() if old is None else old[rows],
                None if reference is None else reference[rows],
                chosen.scored,
                weights[rows],
            )
            self.descend(self.optimizer, loss)
            losses.append(loss.item())
        return {"loss": float(np.mean(losses)) if losses else 0.0}

    def allocate(self) -> int:
        """Plan the answers of the next steps, by pilots where they are needed; give how many."""
        loop = self.loop
        size = loop.problems * loop.refresh
        rounds = -(-size // self.task.count)
        pool = np.concatenate([self.rng.permutation(self.task.count) for _ in range(rounds)])[:size]
        p = np.full(size, np.nan)
        told = loop.allocator.outcomes
        if loop.needs_pilots:
            correct, norms = self.pilot(pool, measured=told is not None)
            # A problem whose pilots are all wrong may be right later: half a pilot stands for it.
            p = np.maximum(correct.sum(axis=1), 0.5) / loop.pilots
            if told is not None:
                self.allocation.tell(np.full(size, loop.pilots), told(correct, norms))
        counts = self.allocation.ask(size * loop.samples)
        self.plan.left = Planned(
            np.repeat(pool, counts),
            np.repeat(np.arange(size), counts),
            np.repeat(counts, counts),
            np.repeat(p, counts),
        )
        return size * loop.pilots if loop.needs_pilots else 0

    def pilot(
        self, pool: NDArray[np.int64], *, measured: bool = True
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Draw pilots to some problems, a step's at a time, and measure the right ones if asked to.

        Returns
        -------
        correct : ndarray of bool, shape (problems, pilots)
        norms : ndarray of float64, shape (problems, pilots)
            0 where an answer is wrong, or none is measured.
        """
        loop = self.loop
        correct = np.zeros(len(pool) * loop.pilots, dtype=bool)
        norms = np.zeros(len(correct))
        for start in range(0, len(pool), loop.problems):
            numbers = np.repeat(pool[start : start + loop.problems], loop.pilots)
            batch, rewards = self.draw(numbers, temperature=loop.temperature)
            right = np.flatnonzero(rewards > 0)
            here = start * loop.pilots + right
            correct[here] = True
            if measured and len(right):
                chosen = batch.rows(torch.from_numpy(right))
                found = gradient_norms(self.policy, chosen, loop.layer, loop.temperature)
                if loop.norm_per_token:
                    found = found / chosen.lengths
                norms[here] = found.cpu().numpy()
        shape = len(pool), loop.pilots
        return correct.reshape(shape), norms.reshape(shape)
