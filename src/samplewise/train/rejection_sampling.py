"""A reasoner trained on its own answers: on the right ones, or on all, by how they compare.

``raft`` draws answers to a batch of problems, keeps those that are right, and makes them likelier.
``raft++`` takes several steps on the same draws, and clips how much likelier a token may become.
``grpo`` learns from the wrong answers as well: each is compared with the others to its problem.
Use them where an answer can be checked and the model is right now and then.

How many answers a problem gets is an `allocation` of the room mix: as many for each, or, with
``gradient-variance``, as many as make the gradient vary least. That one looks at pilot answers
first, which cost draws of their own: compare it with ``uniform`` at equal tokens, pilots and all.

Cost: O(problems x samples) answers a step, and passes forward and back over those learned from;
with pilots, every `refresh` steps, refresh x problems x pilots answers more, and one pass forward
and back over the right ones among them.
Source: arXiv 2304.06767 (raft), 2504.11343 (raft++), 2402.03300 (grpo); with allocations, arXiv
2505.02391, whose learning rate is 1e-6, its problems a step 1,024, for models of 1.5 billion
weights; ours are for small ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Task
from samplewise.train.gradient_norms import Layer, gradient_norms
from samplewise.train.imitation import Imitation
from samplewise.train.objectives import (
    clipped_surrogate,
    group_advantages,
    grpo_loss,
    kl_estimate,
    mean_per_row,
)
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner, Reference
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Answers",
    "Estimator",
    "Grpo",
    "Raft",
    "RaftPlusPlus",
    "accepted",
    "answer_weights",
    "raft_loss",
    "raft_plus_plus_loss",
]

Estimator: TypeAlias = Literal["accepted", "drawn", "pooled"]


class Answers(NamedTuple):
    """What is known of the answers of a step.

    Attributes
    ----------
    rewards : ndarray of float64, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem of the step each answers.
    p : ndarray of float64, shape (answers,)
        Share of right answers to its problem, from pilots; not a number without them.
    """

    rewards: NDArray[np.float64]
    groups: NDArray[np.int64]
    p: NDArray[np.float64]


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

    tasks: ClassVar[tuple[type[Task], ...]] = (Arithmetic, ProblemSet)
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
        self.allocator()

    def allocator(self) -> Any:
        """Make the allocation's method.

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
        return self.allocator().outcomes is not None

    @property
    def divergence(self) -> float:
        """Weight of the divergence from the model as it was before the first step."""
        return 0.0

    @property
    def plain(self) -> Loop[Any]:
        """The loop that it is to beat where all problems get as many answers."""
        return Imitation(
            batch=max(1, self.problems * self.samples // self.mini_batches),
            learning_rate=self.learning_rate,
            most_tokens=self.most_tokens,
            warm_up=self.warm_up,
        )

    def as_loop(self, kind: type[OwnT]) -> OwnT:
        """Make another of the loops with the knobs that all share."""
        return kind(**{one.name: getattr(self, one.name) for one in fields(OwnAnswers)})

    def rival(self, task: Problems) -> Loop[Any] | None:
        """Give as many answers to each problem; a plainer loop where that is what is done."""
        if self.allocator().name != "uniform":
            return replace(self, allocation="uniform")
        return self.plain if task.solved or not isinstance(self.plain, Imitation) else None

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


@dataclass(frozen=True)
class Raft(OwnAnswers):
    """Make the right ones among a model's answers likelier.

    Parameters
    ----------
    problems, samples, learning_rate, temperature, most_tokens, warm_up, mini_batches
        As `OwnAnswers` has them.
    allocation, refresh, pilots, layer, norm_per_token
        Likewise.
    estimator : {'accepted', 'drawn', 'pooled'}
        How much each right answer counts; see `answer_weights`.

    References
    ----------
    Dong et al. (2023), arXiv 2304.06767; Yao et al. (2025), arXiv 2505.02391.

    Examples
    --------
    >>> learner = Raft(problems=4, warm_up=0).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['flops', 'kept', 'loss', 'pilots', 'reward', 'tokens']
    """

    name: ClassVar[str] = "raft"
    paper: ClassVar[str] = "2304.06767"
    cost: ClassVar[str] = "O(problems x samples) answers a step"
    on_old: ClassVar[bool] = False

    estimator: Estimator = "accepted"

    @property
    def needs_pilots(self) -> bool:
        """Whether pilots are drawn: also where they are what an estimator divides by."""
        return super().needs_pilots or self.estimator == "drawn"

    def gains(self, answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Keep the right answers; each counts as the estimator says, of a step's whole loss."""
        kept = accepted(answers.rewards, answers.groups)
        weights = answer_weights(
            kept, answers.groups, self.problems, p=answers.p, estimator=self.estimator
        )
        # A mini-batch has a part of the step's answers, and a step of the optimizer to itself.
        rows = np.flatnonzero(kept)
        return rows, weights[rows] * min(self.mini_batches, max(1, len(rows)))

    def loss(
        self,
        new: torch.Tensor,
        old: torch.Tensor,
        reference: torch.Tensor | None,
        response: torch.Tensor,
        gains: torch.Tensor,
    ) -> torch.Tensor:
        """Give `raft_loss`."""
        return raft_loss(new, response, gains)


@dataclass(frozen=True)
class RaftPlusPlus(Raft):
    """Make right answers likelier in several steps a draw, with ratios that are clipped.

    Parameters
    ----------
    problems, samples, learning_rate, temperature, most_tokens, warm_up, mini_batches
        As `OwnAnswers` has them.
    allocation, refresh, pilots, layer, norm_per_token, estimator
        Likewise, and as `Raft` has it.
    clip_low, clip_high : float
        The ratio of a token's new probability to its old is clipped to 1 - clip_low and
        1 + clip_high; as the gain is never negative, `clip_low` has no effect. With
        ``gradient-variance`` the paper appears to set `clip_high` to 0.35; its sentence is garbled.
    kl : float
        Weight of the divergence from the model as it was after the warm-up, over the answers kept;
        0 needs no memory for that model.

    References
    ----------
    Xiong et al. (2025), arXiv 2504.11343; Yao et al. (2025), arXiv 2505.02391.

    Examples
    --------
    >>> loop = RaftPlusPlus(problems=4, warm_up=0, allocation="gvm:alpha=0", refresh=1)
    >>> figures = loop.begin(steps=1, rng=0).advance()
    >>> figures["pilots"]
    32.0
    """

    name: ClassVar[str] = "raft++"
    paper: ClassVar[str] = "2504.11343"
    on_old: ClassVar[bool] = True

    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("clip_low", "clip_high", "kl")

    @property
    def plain(self) -> Loop[Any]:
        """Several steps a draw against one."""
        return self.as_loop(Raft)

    @property
    def divergence(self) -> float:
        """Weight of the divergence from the model as it was."""
        return self.kl

    def loss(
        self,
        new: torch.Tensor,
        old: torch.Tensor,
        reference: torch.Tensor | None,
        response: torch.Tensor,
        gains: torch.Tensor,
    ) -> torch.Tensor:
        """Give `raft_plus_plus_loss`."""
        return raft_plus_plus_loss(
            new,
            old,
            response,
            gains,
            reference,
            low=self.clip_low,
            high=self.clip_high,
            kl=self.kl,
        )


@dataclass(frozen=True)
class Grpo(OwnAnswers):
    """Compare each answer with the others to its problem, and learn from right and wrong ones.

    Parameters
    ----------
    problems, samples, learning_rate, temperature, most_tokens, warm_up, mini_batches
        As `OwnAnswers` has them.
    allocation, refresh, pilots, layer, norm_per_token
        Likewise.
    clip_low, clip_high : float
        The ratio of a token's new probability to its old is clipped to 1 - clip_low and
        1 + clip_high.
    dual_clip : float, optional
        Where an answer is worse than others, the ratio counts as this at most.
    kl : float
        Weight of the divergence from the model as it was after the warm-up; 0 needs no memory for
        that model.
    group : int, optional
        Answers that are compared with each other. None compares all those to a problem, as the
        published code of gradient-variance does; its paper says 4.
    scale : bool
        Whether advantages are divided by the standard deviation of their group.

    References
    ----------
    Shao et al. (2024), arXiv 2402.03300; Yao et al. (2025), arXiv 2505.02391.

    Examples
    --------
    >>> learner = Grpo(problems=4, warm_up=0).begin(steps=1, rng=0)
    >>> learner.advance()["kept"]
    32.0
    """

    name: ClassVar[str] = "grpo"
    paper: ClassVar[str] = "2402.03300"
    cost: ClassVar[str] = "O(problems x samples) answers a step"
    on_old: ClassVar[bool] = True

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    kl: float = 0.001
    group: int | None = None
    scale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("clip_low", "clip_high", "kl")
        self.require("dual_clip", least=1, above=True)
        self.require("group", least=2)

    @property
    def plain(self) -> Loop[Any]:
        """Right and wrong answers against right ones."""
        return self.as_loop(RaftPlusPlus)

    @property
    def divergence(self) -> float:
        """Weight of the divergence from the model as it was."""
        return self.kl

    def gains(self, answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Take all answers; each counts as much as it is better than the others of its group."""
        groups = answers.groups
        if self.group is not None:
            groups = parts_of(groups, self.group)
        advantages = group_advantages(
            torch.from_numpy(answers.rewards), torch.from_numpy(groups), scale=self.scale
        )
        return np.arange(len(groups)), advantages.numpy()

    def loss(
        self,
        new: torch.Tensor,
        old: torch.Tensor,
        reference: torch.Tensor | None,
        response: torch.Tensor,
        gains: torch.Tensor,
    ) -> torch.Tensor:
        """Give `grpo_loss`."""
        return grpo_loss(
            new,
            old,
            gains,
            response,
            reference,
            low=self.clip_low,
            high=self.clip_high,
            dual=self.dual_clip,
            kl=self.kl,
        )


# --- the loop at work -----------------------------------------------------------------------------


class Plan:
    """The answers that the next steps draw, as a part of a checkpoint.

    Attributes
    ----------
    problems : ndarray of int64
        The problem of each answer, in the order of drawing.
    places : ndarray of int64
        Which of the problems allocated for it is: one may be there twice.
    p : ndarray of float64
        The share of right pilots of its problem; not a number without pilots.
    """

    def __init__(self) -> None:
        self.problems = self.places = np.empty(0, dtype=np.int64)
        self.p = np.empty(0)

    def take(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Take the next answers: their problems, places and shares."""
        taken = self.problems[:count], self.places[:count], self.p[:count]
        self.problems, self.places = self.problems[count:], self.places[count:]
        self.p = self.p[count:]
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Give what is left of it."""
        return {name: getattr(self, name).tolist() for name in ("problems", "places", "p")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.problems = np.asarray(state["problems"], dtype=np.int64)
        self.places = np.asarray(state["places"], dtype=np.int64)
        self.p = np.asarray(state["p"], dtype=np.float64)


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
        self.allocation = loop.allocator().start(loop.problems * loop.refresh, rng=self.rng)
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
        if not len(self.plan.problems):
            pilots = self.allocate()
        problems, places, p = self.plan.take(loop.problems * loop.samples)
        batch, rewards = self.draw(problems, temperature=loop.temperature)
        groups = np.unique(places, return_inverse=True)[1].astype(np.int64)
        rows, gains = loop.gains(Answers(rewards, groups, p))
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
        told = loop.allocator().outcomes
        if loop.needs_pilots:
            correct, norms = self.pilot(pool)
            # A problem whose pilots are all wrong may be right later: half a pilot stands for it.
            p = np.maximum(correct.sum(axis=1), 0.5) / loop.pilots
            if told is not None:
                self.allocation.tell(np.full(size, loop.pilots), told(correct, norms))
        counts = self.allocation.ask(size * loop.samples)
        self.plan.problems = np.repeat(pool, counts)
        self.plan.places = np.repeat(np.arange(size), counts)
        self.plan.p = np.repeat(p, counts)
        return size * loop.pilots if loop.needs_pilots else 0

    def pilot(self, pool: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Draw pilots to some problems, a step's at a time, and measure the right ones.

        Returns
        -------
        correct : ndarray of bool, shape (problems, pilots)
        norms : ndarray of float64, shape (problems, pilots)
            0 where an answer is wrong.
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
            if len(right):
                chosen = batch.rows(torch.from_numpy(right))
                found = gradient_norms(self.policy, chosen, loop.layer, loop.temperature)
                if loop.norm_per_token:
                    found = found / chosen.lengths
                norms[here] = found.cpu().numpy()
        shape = len(pool), loop.pilots
        return correct.reshape(shape), norms.reshape(shape)


# --- what each answer counts ----------------------------------------------------------------------


def accepted(rewards: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which answers are kept: those of the highest reward of their problem, if it is above 0.

    Parameters
    ----------
    rewards : ndarray of float, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem each answers, from 0.

    Examples
    --------
    >>> accepted(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])).tolist()
    [False, True, True, False]
    """
    best = np.zeros(int(groups.max(initial=-1)) + 1)
    np.maximum.at(best, groups, rewards)
    kept: NDArray[np.bool_] = (rewards > 0) & (rewards == best[groups])
    return kept


def answer_weights(
    kept: NDArray[np.bool_],
    groups: NDArray[np.int64],
    problems: int,
    *,
    p: NDArray[np.float64] | None = None,
    estimator: Estimator = "accepted",
) -> NDArray[np.float64]:
    """Say how much each answer counts in an estimate of the gradient.

    Parameters
    ----------
    kept : ndarray of bool, shape (answers,)
    groups : ndarray of int64, shape (answers,)
        Which problem each answers, from 0.
    problems : int
        How many the estimate is of, with those that no answer was drawn to.
    p : ndarray of float, shape (answers,), optional
        Share of right answers to its problem; ``"drawn"`` needs it.
    estimator : {'accepted', 'drawn', 'pooled'}
        ``"accepted"`` averages over those kept of each problem, as the paper's Algorithm 1 does;
        ``"drawn"`` divides by the draws times p, which is Lemma 1 and unbiased if p is exact;
        ``"pooled"`` averages over all that are kept, so that a problem counts by its right answers.

    Returns
    -------
    ndarray of float64, shape (answers,)
        0 for those not kept.

    References
    ----------
    arXiv 2505.02391

    Examples
    --------
    >>> kept, groups = np.array([True, True, False, True]), np.array([0, 0, 1, 1])
    >>> answer_weights(kept, groups, 2).tolist()
    [0.25, 0.25, 0.0, 0.5]
    >>> answer_weights(kept, groups, 2, p=np.array([1, 1, 0.5, 0.5]), estimator="drawn").tolist()
    [0.25, 0.25, 0.0, 0.5]
    """
    weights: NDArray[np.float64] = kept.astype(np.float64)
    if estimator == "pooled":
        weights /= max(1, int(kept.sum()))
    elif estimator == "accepted":
        weights /= problems * np.maximum(np.bincount(groups, weights), 1)[groups]
    elif p is None or not (p[kept] > 0).all():
        raise UsageError("estimator is 'drawn' without p above 0", mend="draw pilots, or give p")
    else:
        weights[kept] /= problems * (np.bincount(groups)[groups] * p)[kept]
    return weights


def parts_of(groups: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Cut groups whose members stand together into parts of a size, the last maybe smaller.

    Examples
    --------
    >>> parts_of(np.array([0, 0, 0, 1, 1]), 2).tolist()
    [0, 0, 1, 2, 2]
    """
    if not len(groups):
        return groups
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    within = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    parts: NDArray[np.int64] = (within % size == 0).cumsum() - 1
    return parts


# --- losses ---------------------------------------------------------------------------------------


def raft_loss(
    new: torch.Tensor, response: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Give minus the mean log-probability of each answer's tokens, weighted.

    Parameters
    ----------
    new : torch.Tensor, shape (rows, length)
        Log-probabilities, natural logarithms.
    response : torch.Tensor of bool, shape (rows, length)
        Which tokens are the answer's.
    weights : torch.Tensor, shape (rows,), optional
        As `answer_weights` gives them; by default answers are averaged.

    Returns
    -------
    torch.Tensor, shape ()
    """
    return -_weighted(mean_per_row(new, response), weights)


def raft_plus_plus_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    response: torch.Tensor,
    weights: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    *,
    low: float = 0.2,
    high: float = 0.28,
    kl: float = 0.001,
) -> torch.Tensor:
    """Give minus the mean clipped ratio of each right answer's tokens, weighted.

    Parameters
    ----------
    new, old : torch.Tensor, shape (rows, length)
        Log-probabilities under the policy that learns, and under the one that drew, of the answers
        that are `accepted`; natural logarithms.
    response : torch.Tensor of bool, shape (rows, length)
        Which tokens are the answer's.
    weights : torch.Tensor, shape (rows,), optional
        As `answer_weights` gives them; by default answers are averaged.
    reference : torch.Tensor, shape (rows, length), optional
        Log-probabilities under the frozen model.
    low, high : float
        The ratio is clipped to [1 - low, 1 + high].
    kl : float
        Weight of the divergence from the frozen model.

    Returns
    -------
    torch.Tensor, shape ()

    References
    ----------
    arXiv 2504.11343, arXiv 2505.02391
    """
    tokens = -clipped_surrogate(new, old, torch.ones_like(new[:, 0]), low, high)
    if reference is not None:
        tokens = tokens + kl * kl_estimate(new, reference)
    return _weighted(mean_per_row(tokens, response), weights)


def _weighted(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return values.mean() if weights is None else (values * weights.to(values.dtype)).sum()
