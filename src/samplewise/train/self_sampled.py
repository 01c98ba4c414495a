"""A writer of programs that learns from right programs, and right beginnings, of its own.

Use it where there is one reference program a problem and a program can be checked by running it:
more right programs are found by sampling, and the model learns all of them, not the one that
somebody happened to write. Beginnings of wrong programs that reach a state known to be right are
kept too, and new programs are begun with them.

Cost: O(problems) programs a step, each run once, and one pass forward and back over all that is
known of these problems. Source: arXiv 2205.14318.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.pass_at_k import pass_at_k
from samplewise.train.base import Figures, Loop, Outcomes, Task
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner
from samplewise.train.programs import ProgramFile, Programs, ShortPrograms
from samplewise.train.schedule import linear_schedule
from samplewise.train.solutions import SolutionStore, Start

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "SelfSampled",
    "SelfSampledLearner",
    "count_right",
    "mixture_loss",
    "mle_aug_loss",
    "mle_loss",
    "mml_loss",
    "scale_by_length",
]

Loss: TypeAlias = Literal["mle", "mle-aug", "mml", "beta-mml", "mixture"]


@dataclass(frozen=True)
class SelfSampled(Loop[Programs]):
    """Learn from self-sampled programs that are right, or begin right.

    Parameters
    ----------
    problems : int
        Problems a step.
    beginnings : int
        Beginnings drawn of each.
    samples : int
        Programs that go on from each.
    begin_with : {'beginnings', 'states', 'nothing'}
        What a program begins with: a kept beginning, which may be empty; one that leads to a state
        drawn among those known to be right; or always nothing.
    fully_correct_only : bool
        Whether beginnings are neither kept nor used.
    length_tolerance : int
        Statements that a program may have more than the shortest that does as much.
    state_tolerance : float, optional
        Numbers of a state count as multiples of it; by default they are compared as text.
    marginal_set_size : int
        Programs of a problem that are learned at a time.
    prioritize_fully_correct : bool
        Whether right programs come before beginnings where there are more than that; else some are
        drawn.
    max_buffer_size : int
        Right programs, and beginnings, that are kept of a problem.
    loss : {'mle', 'mle-aug', 'mml', 'beta-mml', 'mixture'}
        Of the reference alone, without any sampling; of each program; of their total likelihood;
        of a smoothed one; or ``mml_lambda`` times beta-MML and ``mle_lambda`` times MLE-Aug.
    mle_lambda, mml_lambda : float
        Of the mixture.
    beta : float
        Of beta-MML, above 0: with 1 it is MML, near 0 all programs weigh the same.
    mle_aug_norm : bool
        Whether MLE-Aug is the mean over a set, not the sum.
    norm_marg_by_len : bool
        Whether short programs are made to weigh as long ones do.
    exclude_context_loss : bool
        Whether the prompt is not learned with the programs.
    learning_rate : float
        The highest; the published 1e-4 is for GPT-Neo, this for the small transformer.
    ramp : int
        Steps in which it is reached; then it falls to 0.
    weight_decay : float
    temperature : float
        Of the programs that are sampled, and of those of the test.
    most_tokens : int, optional
        Of a program; by default what the task says.
    warm_up : int
        Steps by which a small model first imitates the references: what it samples before that is
        no program.
    test_samples : int
        Programs to each held-out problem, for the share of problems that one of them solves.

    Notes
    -----
    Where both lambdas and `beta` are set, the published code multiplies the MLE-Aug term by `beta`;
    here the formula holds. The published training takes 50,000 steps.

    References
    ----------
    Ni et al. (2023), "Learning Math Reasoning from Self-Sampled Correct and Partially-Correct
    Solutions", arXiv 2205.14318.

    Examples
    --------
    >>> learner = SelfSampled(problems=4, warm_up=0).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['beginnings', 'flops', 'loss', 'reward', 'right', 'tokens']
    """

    name: ClassVar[str] = "self-sampled"
    paper: ClassVar[str] = "2205.14318"
    cost: ClassVar[str] = "O(problems) programs a step, and a pass over all known of them"
    tasks: ClassVar[tuple[type[Task], ...]] = (ShortPrograms, ProgramFile)

    problems: int = 16
    beginnings: int = 1
    samples: int = 1
    begin_with: Start = "beginnings"
    fully_correct_only: bool = False
    length_tolerance: int = 0
    state_tolerance: float | None = None
    marginal_set_size: int = 100
    prioritize_fully_correct: bool = True
    max_buffer_size: int = 100
    loss: Loss = "mle-aug"
    mle_lambda: float = 1.0
    mml_lambda: float = 0.0
    beta: float = 0.25
    mle_aug_norm: bool = False
    norm_marg_by_len: bool = False
    exclude_context_loss: bool = False
    learning_rate: float = 1e-3
    ramp: int = 100
    weight_decay: float = 0.1
    temperature: float = 0.8
    most_tokens: int | None = None
    warm_up: int = 200
    test_samples: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            *("problems", "beginnings", "samples", "marginal_set_size", "max_buffer_size"),
            *("learning_rate", "temperature", "test_samples", "state_tolerance"),
            above=True,
        )
        self.require("length_tolerance", "mle_lambda", "mml_lambda", "ramp", "weight_decay")
        self.require("beta", most=1, above=True)
        if self.loss == "mixture" and not self.mle_lambda + self.mml_lambda > 0:
            raise UsageError(
                f"{self.name}: mle_lambda and mml_lambda are 0",
                mend="give more than 0 for one of them",
            )

    @property
    def lambdas(self) -> tuple[float, float, float]:
        """The weights of MLE-Aug and of MML, and beta."""
        return {
            "mle": (1.0, 0.0, 1.0),
            "mle-aug": (1.0, 0.0, 1.0),
            "mml": (0.0, 1.0, 1.0),
            "beta-mml": (0.0, 1.0, self.beta),
            "mixture": (self.mle_lambda, self.mml_lambda, self.beta),
        }[self.loss]

    def begin_store(self, task: Programs) -> SolutionStore:
        """Make the buffers of all problems, with their references.

        Raises
        ------
        UsageError
            If a reference cannot be run.
        """
        store = SolutionStore(
            most=self.max_buffer_size,
            length_tolerance=self.length_tolerance,
            state_tolerance=self.state_tolerance,
            full_only=self.fully_correct_only,
        )
        numbers = range(task.count)
        traces = task.trace(numbers, [task.solution(number) for number in numbers])
        for number, trace in zip(numbers, traces, strict=True):
            if trace is None:
                raise UsageError(
                    f"the reference of problem {number} cannot be run",
                    mend="give straight-line programs that run by themselves",
                )
            store.begin(number, trace)
        return store

    def start(
        self, task: Programs, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> SelfSampledLearner:
        """Make the learner."""
        return SelfSampledLearner(self, task, model, steps, rng)

    def rival(self, task: Programs) -> SelfSampled:
        """Give the references alone, without any sampling."""
        return replace(self, loss="mle")


class SelfSampledLearner(PolicyLearner):
    """Sample, run, keep what is right, and learn all that is known."""

    def __init__(
        self,
        loop: SelfSampled,
        task: Programs,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(task, model, steps, rng, warm_up=loop.warm_up, most=loop.most_tokens)
        self.loop, self.programs = loop, task
        self.store = loop.begin_store(task)
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, weight_decay=loop.weight_decay
        )
        self.schedule = linear_schedule(self.optimizer, steps, loop.ramp)
        self.parts |= {
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "store": self.store,
        }

    def learn(self) -> Figures:
        """Take one step."""
        count = min(self.loop.problems, self.task.count)
        chosen = self.rng.choice(self.task.count, size=count, replace=False).tolist()
        if self.loop.loss != "mle":
            self.explore(chosen)
        batch, sets = self.training_batch(chosen)
        loss = self.loss(batch, sets)
        self.descend(self.optimizer, loss)
        self.schedule.step()
        known = [self.store.problems[number] for number in chosen]
        return {
            "loss": loss.item(),
            "tokens": float(sum(one.tokens for one in self.rollouts)),
            "reward": float(np.mean([one.reward for one in self.rollouts] or [0.0])),
            "right": float(np.mean([len(one.full) for one in known])),
            "beginnings": float(np.mean([len(one.partial) - 1 for one in known])),
        }

    def explore(self, chosen: Sequence[int]) -> None:
        """Sample programs for some problems, and keep what is right of them."""
        loop = self.loop
        how: Start = "nothing" if loop.fully_correct_only else loop.begin_with
        numbers = np.repeat(chosen, loop.beginnings).tolist()
        codes = [self.store.problems[number].start(self.rng, how) for number in numbers]
        begun = ["".join(f"{statement}\n" for statement in code) for code in codes]
        numbers, begun = (np.repeat(one, loop.samples).tolist() for one in (numbers, begun))
        prompts = [self.task.prompt(n) + head for n, head in zip(numbers, begun, strict=True)]
        batch = self.policy.sample(
            prompts, most=self.most, temperature=loop.temperature, random=self.random
        )
        texts = self.policy.texts(batch)
        programs = [head + text for head, text in zip(begun, texts, strict=True)]
        kinds = [
            self.store.offer(number, trace, self.programs.answer(number))
            for number, trace in zip(numbers, self.programs.trace(numbers, programs), strict=True)
        ]
        right = np.array([kind in ("full", "known", "too-long") for kind in kinds], np.float64)
        self.note(prompts, texts, right, batch)

    def training_batch(self, chosen: Sequence[int]) -> tuple[Batch, torch.Tensor]:
        """Put what is known of some problems into a table, with the place of each row's problem."""
        loop = self.loop
        most = 1 if loop.loss == "mle" else loop.marginal_set_size
        drawn = None if loop.prioritize_fully_correct or loop.loss == "mle" else self.rng
        rows = [
            (place, self.task.prompt(number), "\n".join(code), whole)
            for place, number in enumerate(chosen)
            for code, whole in self.store.problems[number].training_set(most, drawn)
        ]
        places, prompts, responses, ended = zip(*rows, strict=True)
        batch = self.policy.batch(prompts, responses, ended=ended)
        return batch, torch.tensor(places, device=batch.ids.device)

    def loss(self, batch: Batch, sets: torch.Tensor) -> torch.Tensor:
        """Give the mean loss of some problems."""
        loop = self.loop
        mask = batch.scored
        if not loop.exclude_context_loss:
            mask = (batch.read[:, 1:] * batch.read[:, :-1]).bool()
        scores = torch.where(mask, self.policy.log_probabilities(batch), 0.0).sum(dim=1)
        if loop.norm_marg_by_len:
            scores = scale_by_length(scores, batch.lengths, sets)
        mle_lambda, mml_lambda, beta = loop.lambdas
        return mixture_loss(
            scores,
            sets,
            mle_lambda=mle_lambda,
            mml_lambda=mml_lambda,
            beta=beta,
            mean=loop.mle_aug_norm,
        ).mean()

    def outcomes(self) -> Outcomes:
        """Say whether a problem is solved by the likeliest program, its length, and pass@k."""
        samples = self.loop.test_samples
        counts = count_right(
            self.policy,
            self.programs,
            self.tested,
            samples=samples,
            most=self.most,
            temperature=self.loop.temperature,
            random=torch.Generator().manual_seed(0),
        )
        coverage = pass_at_k(counts[:, 0], counts[:, 1], samples)
        return {**super().outcomes(), "coverage": coverage}


def count_right(
    policy: Policy,
    task: Programs,
    numbers: Sequence[int],
    *,
    samples: int,
    most: int,
    random: torch.Generator,
    temperature: float = 0.8,
) -> NDArray[np.int64]:
    """Sample programs for some problems, and count the right ones.

    Returns
    -------
    ndarray of int64, shape (problems, 2)
        Drawn and right, as `samplewise.measure.pass_at_k` takes them.
    """
    repeated = np.repeat(numbers, samples).tolist()
    batch = policy.sample(
        [task.prompt(number) for number in repeated],
        most=most,
        temperature=temperature,
        random=random,
    )
    rewards = np.reshape(task.rewards(repeated, policy.texts(batch)), (-1, samples))
    right = (rewards > 0).sum(axis=1)
    return np.column_stack([np.full_like(right, samples), right])


# --- losses ---------------------------------------------------------------------------------------


def mle_loss(scores: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """Give minus the log-probability of the first program of every set, its reference.

    Parameters
    ----------
    scores : torch.Tensor, shape (rows,)
        Log-probabilities of programs, summed over tokens; natural logarithms.
    sets : torch.Tensor of int64, shape (rows,)
        The set that each is of, from 0; none is empty.

    Returns
    -------
    torch.Tensor, shape (sets,)
    """
    places = torch.arange(len(sets), device=sets.device)
    first = places.new_full((_count(sets),), len(sets))
    return -scores[first.scatter_reduce(0, sets, places, "amin")]


def mle_aug_loss(scores: torch.Tensor, sets: torch.Tensor, *, mean: bool = False) -> torch.Tensor:
    """Give minus the sum of log-probabilities of every set: all of it is made likelier alike.

    Parameters
    ----------
    scores, sets : torch.Tensor, shape (rows,)
        As `mle_loss` takes them.
    mean : bool
        Whether it is their mean.

    Returns
    -------
    torch.Tensor, shape (sets,)
    """
    total = scores.new_zeros(_count(sets)).index_add(0, sets, scores)
    return -total / torch.bincount(sets) if mean else -total


def mml_loss(scores: torch.Tensor, sets: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Give minus the log of the total probability of every set, or a smoothed one.

    It is ``-log(sum(exp(beta * scores))) / beta``: a program weighs as the softmax of ``beta *
    scores``, so the likeliest learns most where `beta` is 1.

    Parameters
    ----------
    scores, sets : torch.Tensor, shape (rows,)
        As `mle_loss` takes them.
    beta : float
        Above 0, and 1 at most.

    Returns
    -------
    torch.Tensor, shape (sets,)
    """
    scaled = beta * scores
    lowest = scaled.new_full((_count(sets),), -torch.inf)
    largest = lowest.scatter_reduce(0, sets, scaled.detach(), "amax")
    sums = torch.zeros_like(largest).index_add(0, sets, (scaled - largest[sets]).exp())
    return -(largest + sums.log()) / beta


def mixture_loss(
    scores: torch.Tensor,
    sets: torch.Tensor,
    *,
    mle_lambda: float = 1.0,
    mml_lambda: float = 0.0,
    beta: float = 1.0,
    mean: bool = False,
) -> torch.Tensor:
    """Give ``mml_lambda`` times beta-MML plus ``mle_lambda`` times MLE-Aug, a number a set."""
    loss = scores.new_zeros(_count(sets))
    if mle_lambda:
        loss = loss + mle_lambda * mle_aug_loss(scores, sets, mean=mean)
    if mml_lambda:
        loss = loss + mml_lambda * mml_loss(scores, sets, beta)
    return loss


def scale_by_length(
    scores: torch.Tensor, lengths: torch.Tensor, sets: torch.Tensor
) -> torch.Tensor:
    """Scale every score to the longest program of its set, so that short ones are not favoured.

    Parameters
    ----------
    scores, lengths, sets : torch.Tensor, shape (rows,)

    Returns
    -------
    torch.Tensor, shape (rows,)
    """
    longest = lengths.new_zeros(_count(sets)).scatter_reduce(0, sets, lengths, "amax")
    return scores * longest[sets] / lengths


def _count(sets: torch.Tensor) -> int:
    return int(sets.max()) + 1
