"""Shorter reasoning at the same accuracy: length-regularised GRPO with three levels of length.

The wanted level is said in the prompt (``short``, ``medium``, ``long``), and all three are trained
jointly: one model whose user chooses how long it thinks. A right answer is worth less the longer
it is; each answer is compared with the others to its prompt. Use it for a model that reasons right
and at needless length. One that is not right yet is to be taught that first.

The paper's formula was not at hand: the three forms of the reward, the targets and every number
here are reconstructed from its abstract and from what others say of it.

Beware of the linear form: where all answers of a group are right, dividing by the standard
deviation cancels the weight, so that any two levels whose weights are above 0 are trained alike.
The target form keeps them apart, and so does ``scale=False``.

Cost: O(problems x samples) answers a step, and `updates` passes forward and back over them, twice
forward with a reference.
Source: arXiv 2505.07961; GRPO: arXiv 2402.03300.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Outcomes, Task
from samplewise.train.objectives import group_advantages, grpo_loss, kl_estimate, mean_per_row
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner, Reference
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems
from samplewise.train.worked_sums import WorkedSums

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["LEVELS", "Form", "LengthControl", "Level", "level_prompt", "tldr_reward"]

Level: TypeAlias = Literal["short", "medium", "long"]
Form: TypeAlias = Literal["target", "linear", "correct-only"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class LengthControl(Loop[Problems]):
    """Train short, medium and long reasoning into one model, by length-regularised GRPO.

    Parameters
    ----------
    problems : int
        Problems a step, each at a level drawn at random.
    samples : int
        Answers to each; 2 or more, as they are compared with each other.
    learning_rate : float
    temperature : float
        Of the answers.
    most_tokens : int, optional
        Of an answer, with the token that ends it, as all lengths here; by default what the task
        says. One that is cut is wrong, and that long.
    warm_up : int
        Steps by which a small model first imitates solutions.
    form : {'target', 'linear', 'correct-only'}
        Of the reward; see `tldr_reward`. All three are reconstructed.
    weight_short, weight_medium, weight_long : float
        What a level takes off the reward for an answer of the longest length; 0 or more. 0 leaves
        plain GRPO.
    target_short, target_medium, target_long : float
        Share of the longest length up to which an answer costs nothing, in the target form.
    scale : bool
        Whether advantages are divided by the standard deviation of their group.
    clip : float
        The ratio of new to old probabilities is clipped to 1 - clip and 1 + clip.
    kl : float
        Weight of the divergence from the model as it was, after its warm-up.
    updates : int
        Steps of the optimizer on the answers of one step.

    References
    ----------
    Zhang et al. (2025), arXiv 2505.07961; Shao et al. (2024), arXiv 2402.03300.

    Examples
    --------
    >>> learner = LengthControl(problems=4, samples=2, warm_up=0).begin(steps=1, rng=0)
    >>> figures = learner.advance()
    >>> sorted(figures)
    ['flops', 'kl', 'length', 'loss', 'reward', 'tokens', 'worth']
    """

    name: ClassVar[str] = "length-control"
    aliases: ClassVar[tuple[str, ...]] = ("tldr",)
    paper: ClassVar[str] = "2505.07961"
    cost: ClassVar[str] = "O(problems x samples) answers a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (WorkedSums, Arithmetic, ProblemSet)

    problems: int = 16
    samples: int = 8
    learning_rate: float = 1e-3
    temperature: float = 1.0
    most_tokens: int | None = None
    warm_up: int = 400
    form: Form = "target"
    weight_short: float = 1.0
    weight_medium: float = 0.3
    weight_long: float = 0.0
    target_short: float = 0.25
    target_medium: float = 0.5
    target_long: float = 1.0
    scale: bool = True
    clip: float = 0.2
    kl: float = 0.04
    updates: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("problems", "learning_rate", "temperature", "clip", "updates", above=True)
        levels = (f"{what}_{level}" for what in ("weight", "target") for level in LEVELS)
        self.require(*levels, "kl", "warm_up")
        self.require("samples", least=2)  # they are compared with each other
        self.require("most_tokens", least=1)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of all levels, from short to long."""
        return np.array([getattr(self, f"weight_{level}") for level in LEVELS])

    @property
    def targets(self) -> NDArray[np.float64]:
        """The targets of all levels, from short to long, as shares of the longest length."""
        return np.array([getattr(self, f"target_{level}") for level in LEVELS])

    def worth(
        self, right: ArrayLike, lengths: ArrayLike, levels: ArrayLike, longest: int
    ) -> NDArray[np.float64]:
        """Reward answers by the knobs.

        Parameters
        ----------
        right : array_like of bool, shape (answers,)
        lengths : array_like of int, shape (answers,)
        levels : array_like of int, shape (answers,)
            Numbers of `LEVELS`.
        longest : int

        Returns
        -------
        ndarray of float64, shape (answers,)
        """
        chosen = np.asarray(levels)
        return tldr_reward(
            right,
            lengths,
            longest=longest,
            weight=self.weights[chosen],
            target=self.targets[chosen] * longest,
            form=self.form,
        )

    def reward_function(
        self, right: Callable[..., Sequence[float]], longest: int, ends: Collection[int] = ()
    ) -> Callable[..., list[float]]:
        """Make a reward function for TRL's `GRPOTrainer`.

        The rows of its data need a column ``level``, and prompts that say it: see `level_prompt`.
        Its figures are logged under ``rewards/length_control``.

        Parameters
        ----------
        right : callable
            A reward function of TRL's signature that gives 1 for a right answer, and 0 for others.
        longest : int
            The trainer's `max_completion_length`.
        ends : collection of int
            The tokens that end an answer, as the model's generation settings and the tokenizer have
            them. An answer of the longest length that has one last is not cut; without `ends` every
            answer of that length counts as cut.

        Returns
        -------
        callable
            ``(prompts, completions, **kwargs) -> list of float``.
        """

        def length_control(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
            tokens = _column(kwargs, "completion_ids")
            levels = [_level(level) for level in _column(kwargs, "level")]
            lengths = np.array([len(ids) for ids in tokens])
            whole = [len(ids) < longest or (len(ids) and ids[-1] in ends) for ids in tokens]
            correct = np.asarray(right(prompts, completions, **kwargs), np.float64) > 0
            worth = self.worth(correct & np.array(whole), lengths, levels, longest)
            return [float(value) for value in worth]

        return length_control

    def start(
        self, task: Problems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> LengthLearner:
        """Make the learner."""
        return LengthLearner(self, task, model, steps, rng)

    def rival(self, task: Problems) -> LengthControl:
        """Give plain GRPO, to which all lengths are worth the same."""
        return replace(self, weight_short=0.0, weight_medium=0.0, weight_long=0.0)


class LengthLearner(PolicyLearner):
    """Draw answers at all levels, weigh right against long, and learn from the comparison."""

    def __init__(
        self,
        loop: LengthControl,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(
            _Levelled(task), model, steps, rng, warm_up=loop.warm_up, most=loop.most_tokens
        )
        self.loop = loop
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, weight_decay=0.0
        )
        self.reference = Reference()
        self.parts |= {"optimizer": self.optimizer, "reference": self.reference}

    def learn(self) -> Figures:
        """Take one step."""
        loop = self.loop
        if loop.kl and not self.reference.weights:
            self.reference.weights = self.weights.state_dict()
        chosen = self.rng.choice(self.task.count, size=loop.problems, replace=False)
        numbers = np.repeat(chosen, loop.samples)
        batch, right = self.draw(numbers, temperature=loop.temperature)
        lengths, worth = self.judge(numbers, batch, right)
        groups = torch.from_numpy(np.repeat(np.arange(loop.problems), loop.samples))
        # In double precision: of alike rewards a rounding would be left, to divide by 1e-6.
        advantages = group_advantages(torch.from_numpy(worth), groups, scale=loop.scale).float()
        loss, divergence = self._update(batch, advantages.to(batch.ids.device))
        return {
            "loss": loss,
            "reward": float(right.mean()),
            "worth": float(worth.mean()),
            "length": float(lengths.mean()),
            "kl": divergence,
            "tokens": float(batch.lengths.sum()),
        }

    def judge(
        self, numbers: NDArray[Any], batch: Batch, right: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Give length and worth of every answer; one that is cut is wrong, and the longest."""
        ended = ((batch.ids == self.policy.end) & batch.response).any(dim=1).cpu().numpy()
        lengths = np.where(ended, batch.lengths.cpu().numpy(), self.most)
        levels = numbers % len(LEVELS)
        return lengths, self.loop.worth((right > 0) & ended, lengths, levels, self.most)

    def _update(self, batch: Batch, advantages: torch.Tensor) -> tuple[float, float]:
        """Learn from answers; give the loss and the divergence before the last update."""
        loop, reference = self.loop, self._reference(batch)
        old: torch.Tensor | None = None
        for _ in range(loop.updates):
            new = self.policy.log_probabilities(batch, loop.temperature)
            old = new.detach() if old is None else old
            loss = grpo_loss(
                new,
                old,
                advantages,
                batch.scored,
                reference,
                low=loop.clip,
                high=loop.clip,
                kl=loop.kl,
            )
            self.descend(self.optimizer, loss)
        if reference is None:
            return loss.item(), 0.0
        away = mean_per_row(kl_estimate(new.detach(), reference), batch.scored)
        return loss.item(), away.mean().item()

    def _reference(self, batch: Batch) -> torch.Tensor | None:
        """Give the reference's log-probabilities; (rows, length - 1)."""
        if not self.loop.kl:
            return None
        with torch.no_grad():
            return self.policy.log_probabilities(
                batch, self.loop.temperature, self.reference.weights
            )

    def outcomes(self) -> Outcomes:
        """Give accuracy and length of the likeliest answers to held-out problems, by level too."""
        figures = super().outcomes()
        levels = np.array(self.tested) % len(LEVELS)
        for name, values in list(figures.items()):
            for number, level in enumerate(LEVELS):
                figures[f"{name}_{level}"] = np.asarray(values)[levels == number]
        return figures


class _Levelled(Problems):
    """Every problem at every level: number 3 i + j is problem i at level j."""

    def __init__(self, task: Problems) -> None:
        self.task = task

    @property
    def longest(self) -> int:
        return self.task.longest

    @property
    def solved(self) -> bool:
        return self.task.solved

    @property
    def count(self) -> int:
        return len(LEVELS) * self.task.count

    @property
    def held_out(self) -> int:
        return len(LEVELS) * self.task.held_out

    def prompt(self, number: int) -> str:
        problem, level = divmod(number, len(LEVELS))
        return level_prompt(LEVELS[level]) + self.task.prompt(problem)

    def solution(self, number: int) -> str:
        return self.task.solution(number // len(LEVELS))

    def rewards(self, numbers: Sequence[int], texts: Sequence[str]) -> list[float]:
        return self.task.rewards([number // len(LEVELS) for number in numbers], texts)


def level_prompt(level: Level) -> str:
    """Give the instruction that comes before a prompt; its wording is reconstructed.

    Raises
    ------
    UsageError
        If there is no such level.

    Examples
    --------
    >>> level_prompt("short")
    'short: '
    """
    return f"{LEVELS[_level(level)]}: "


def tldr_reward(
    right: ArrayLike,
    lengths: ArrayLike,
    *,
    longest: int,
    weight: ArrayLike,
    target: ArrayLike = 0.0,
    form: Form = "target",
) -> NDArray[np.float64]:
    """Reward right answers, and take off what they are too long.

    All three forms are reconstructed; the paper's own was not at hand. With c for 1 where an answer
    is right and 0 elsewhere, and length as a share of the longest:

    - ``target``: c - weight * max(0, length - target)
    - ``linear``: c - weight * length
    - ``correct-only``: c * (1 - weight * length), so that giving up early is worth nothing

    Parameters
    ----------
    right : array_like of bool, shape (answers,)
    lengths : array_like of int, shape (answers,)
        In tokens, from 0 to `longest`.
    longest : int
        In tokens.
    weight : array_like of float
        One, or one an answer; 0 gives 1 for right and 0 for wrong in all three forms.
    target : array_like of float
        One, or one an answer; in tokens. Only the target form heeds it.
    form : {'target', 'linear', 'correct-only'}

    Returns
    -------
    ndarray of float64, shape (answers,)

    Raises
    ------
    UsageError
        If a length is not from 0 to `longest`, a weight is below 0, or there is no such form.

    References
    ----------
    arXiv 2505.07961

    Examples
    --------
    >>> tldr_reward([1, 1, 0], [10, 40, 40], longest=80, weight=0.4, target=20).tolist()
    [1.0, 0.9, -0.1]
    """
    tokens, weights = np.asarray(lengths, np.float64), np.asarray(weight, np.float64)
    if longest < 1 or not ((tokens >= 0) & (tokens <= longest)).all():
        raise UsageError(f"lengths go beyond 0 to {longest}", mend="give longest as it was drawn")
    if not (weights >= 0).all():
        raise UsageError(f"weight is {weight!r}", mend="give 0 or more")
    if form not in get_args(Form):
        raise UsageError(f"form is {form!r}", mend=f"one of {', '.join(get_args(Form))}")
    correct = (np.asarray(right, np.float64) > 0).astype(np.float64)
    over = np.maximum(0.0, tokens - np.asarray(target, np.float64)) if form == "target" else tokens
    cost = weights * over / longest
    found: NDArray[np.float64] = correct - (correct * cost if form == "correct-only" else cost)
    return found


def _level(level: str) -> int:
    if level not in LEVELS:
        raise UsageError(f"level is {level!r}", mend=f"one of {', '.join(LEVELS)}")
    return LEVELS.index(level)


def _column(columns: dict[str, Any], name: str) -> Any:
    if name not in columns:
        raise UsageError(f"there is no {name}", mend=f"give the data a column {name!r}")
    return columns[name]
