"""A reasoner trained on the right ones among its own answers.

``raft`` draws answers to a batch of problems, keeps those that are right, and makes them likelier.
Use it where an answer can be checked and the model is right now and then.

Cost: O(problems x samples) answers a step, and one pass forward and back over those kept.
Source: arXiv 2304.06767; as here, arXiv 2505.02391.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Task, Weights
from samplewise.train.objectives import mean_per_row
from samplewise.train.policy import Policy
from samplewise.train.policy_learner import PolicyLearner
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["Raft", "raft_loss"]


@dataclass(frozen=True)
class Raft(Loop[Problems]):
    """Make the right ones among a model's answers likelier.

    Parameters
    ----------
    problems : int
        Problems a step.
    samples : int
        Answers to each.
    learning_rate : float
    temperature : float
        Of the answers.
    most_tokens : int, optional
        Of an answer; by default what the task says.
    warm_up : int
        Steps by which a small model first imitates solutions: one that is never right learns
        nothing.

    References
    ----------
    Dong et al. (2023), arXiv 2304.06767; Yao et al. (2025), arXiv 2505.02391.

    Examples
    --------
    >>> learner = Raft(problems=4, warm_up=0).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['kept', 'loss', 'reward', 'tokens']
    """

    name: ClassVar[str] = "raft"
    paper: ClassVar[str] = "2304.06767"
    cost: ClassVar[str] = "O(problems x samples) answers a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (Arithmetic, ProblemSet)

    problems: int = 32
    samples: int = 8
    learning_rate: float = 1e-3
    temperature: float = 1.0
    most_tokens: int | None = None
    warm_up: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("problems", "samples", "learning_rate", "temperature"):
            if not getattr(self, knob) > 0:
                raise UsageError(
                    f"{self.name}: {knob} is {getattr(self, knob)}", mend="give more than 0"
                )

    def start(
        self, task: Problems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> RaftLearner:
        """Make the learner."""
        return RaftLearner(self, task, model, steps, rng)


class RaftLearner(PolicyLearner):
    """Draw, keep what is right, and make it likelier."""

    def __init__(
        self,
        loop: Raft,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(task, model, steps, rng, warm_up=loop.warm_up)
        self.loop = loop
        self.most = loop.most_tokens or task.longest
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, weight_decay=0.0
        )
        self.parts |= {"model": Weights(self.policy.model), "optimizer": self.optimizer}

    def learn(self) -> Figures:
        """Take one step."""
        loop = self.loop
        chosen = self.rng.choice(self.task.count, size=loop.problems, replace=False)
        numbers = np.repeat(chosen, loop.samples)
        batch, rewards = self.draw(numbers, most=self.most, temperature=loop.temperature)
        kept = torch.from_numpy(np.flatnonzero(rewards > 0))
        figures = {
            "loss": 0.0,
            "reward": float(rewards.mean()),
            "kept": float(len(kept)),
            "tokens": float(batch.lengths.sum()),
        }
        if len(kept):
            right = batch.rows(kept)
            loss = raft_loss(self.policy.log_probabilities(right), right.scored)
            self.descend(self.optimizer, loss)
            figures["loss"] = loss.item()
        return figures


def raft_loss(new: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Give the mean over answers of minus the mean log-probability of their tokens.

    Parameters
    ----------
    new : torch.Tensor, shape (rows, length)
        Log-probabilities, natural logarithms.
    response : torch.Tensor of bool, shape (rows, length)
        Which tokens are the answer's.

    Returns
    -------
    torch.Tensor, shape ()
    """
    return -mean_per_row(new, response).mean()
