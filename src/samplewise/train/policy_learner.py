"""What the loops that train a policy on problems share: its warm-up, its draws, its test."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samplewise.extras import lazy
from samplewise.rng import RandomState
from samplewise.train.base import Figures, Learner, Rollout
from samplewise.train.objectives import mean_per_row
from samplewise.train.policy import Batch, Policy
from samplewise.train.problems import Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["PolicyLearner"]


class PolicyLearner(Learner):
    """Train a policy on problems; a small one imitates solutions first.

    A loop's learner derives from it, puts weights and optimizer into `parts`, and writes `learn`.

    Parameters
    ----------
    task : Problems
    model : Policy, optional
        By default a small transformer, which the warm-up trains; a given one has no warm-up.
    steps : int
        Without those of the warm-up, which come before them.
    rng : int, numpy.random.Generator or None
    warm_up : int
        Steps of imitation.
    """

    def __init__(
        self,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: RandomState,
        *,
        warm_up: int = 0,
    ) -> None:
        self.warm_up = warm_up if model is None else 0
        super().__init__(steps + self.warm_up, rng)
        self.task = task
        self.policy = Policy.small(rng=self.rng) if model is None else model
        if self.warm_up:
            self._imitation = torch.optim.AdamW(self.policy.learned, lr=3e-3, weight_decay=0.0)
            self.parts["imitation"] = self._imitation

    @abstractmethod
    def learn(self) -> Figures:
        """Take one step after the warm-up."""

    def step(self) -> Figures:
        """Take one step: of the warm-up, or of the loop."""
        if self.done >= self.warm_up:
            return self.learn()
        numbers = self.rng.integers(self.task.count, size=32)
        return {"loss": self.imitate(self._imitation, numbers)}

    def imitate(self, optimizer: torch.optim.Optimizer, numbers: NDArray[Any]) -> float:
        """Make the solutions of some problems likelier; give the loss."""
        batch = self.policy.batch(
            [self.task.prompt(number) for number in numbers.tolist()],
            [self.task.solution(number) for number in numbers.tolist()],
        )
        loss = -mean_per_row(self.policy.log_probabilities(batch), batch.scored).mean()
        self.descend(optimizer, loss)
        return loss.item()

    def descend(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        """Take a step down a loss, with gradients of norm 1 at most."""
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.learned, 1.0)
        optimizer.step()

    def draw(
        self, numbers: NDArray[Any], *, most: int, temperature: float = 1.0
    ) -> tuple[Batch, NDArray[np.float64]]:
        """Draw an answer to each of some problems, which may be repeated, and reward it."""
        prompts = [self.task.prompt(number) for number in numbers.tolist()]
        batch = self.policy.sample(prompts, most=most, temperature=temperature, random=self.random)
        texts = self.policy.texts(batch)
        rewards = np.asarray(self.task.rewards(numbers.tolist(), texts), dtype=np.float64)
        self.note(prompts, texts, rewards, batch)
        return batch, rewards

    def note(
        self, prompts: Sequence[str], texts: Sequence[str], rewards: NDArray[Any], batch: Batch
    ) -> None:
        """Remember draws for the ledger."""
        self.rollouts += [
            Rollout(*row)
            for row in zip(prompts, texts, rewards.tolist(), batch.lengths.tolist(), strict=True)
        ]

    def evaluate(self) -> Figures:
        """Give the share of held-out problems that the likeliest answer solves, and its length."""
        numbers = range(self.task.count, self.task.count + self.task.held_out)
        batch = self.policy.sample(
            [self.task.prompt(number) for number in numbers],
            most=self.task.longest,
            temperature=0.0,
            random=self.random,
        )
        rewards = self.task.rewards(numbers, self.policy.texts(batch))
        return {
            "accuracy": float(np.mean(rewards)),
            "length": float(batch.lengths.double().mean()),
        }
