"""What the loops that train a policy on problems share: its warm-up, its draws, its test."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samplewise.extras import lazy
from samplewise.rng import RandomState
from samplewise.train.base import Figures, Learner, Outcomes, Rollout, Weights, descend
from samplewise.train.objectives import mean_per_row
from samplewise.train.policy import Batch, Policy
from samplewise.train.problems import Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["PolicyLearner", "Reference", "lengths_of"]


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
    most : int, optional
        Tokens of an answer; by default what the task says.

    Attributes
    ----------
    weights : Weights
        Of the policy; they are in `parts`.
    """

    def __init__(
        self,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: RandomState,
        *,
        warm_up: int = 0,
        most: int | None = None,
    ) -> None:
        self.warm_up = warm_up if model is None else 0
        super().__init__(steps + self.warm_up, rng)
        self.task, self.most = task, most or task.longest
        self.policy = Policy.small(rng=self.rng) if model is None else model
        self.weights = Weights(self.policy.model)
        self.parts["model"] = self.weights
        if self.warm_up:
            self._imitation = torch.optim.AdamW(self.policy.learned, lr=3e-3, weight_decay=0.0)
            self.parts["imitation"] = self._imitation

    @abstractmethod
    def learn(self) -> Figures:
        """Take one step after the warm-up."""

    def step(self) -> Figures:
        """Take one step: of the warm-up, or of the loop."""
        before = self.policy.meter.flops
        if self.done >= self.warm_up:
            figures = self.learn()
        else:
            numbers = self.rng.integers(self.task.count, size=32)
            figures = self.imitate(self._imitation, numbers)
        return {**figures, "flops": self.policy.meter.flops - before}

    def imitate(self, optimizer: torch.optim.Optimizer, numbers: NDArray[Any]) -> Figures:
        """Make the solutions of some problems likelier."""
        batch = self.policy.batch(
            [self.ask(number) for number in numbers.tolist()],
            [self.task.solution(number) for number in numbers.tolist()],
        )
        loss = -mean_per_row(self.policy.log_probabilities(batch), batch.scored).mean()
        self.descend(optimizer, loss)
        return {"loss": loss.item(), "tokens": float(batch.lengths.sum())}

    def descend(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        """Take a step down a loss, with gradients of norm 1 at most."""
        descend(optimizer, loss, self.policy.learned)

    def ask(self, number: int) -> str:
        """Word a problem: as the task does."""
        return self.task.prompt(number)

    def draw(
        self, numbers: NDArray[Any], *, temperature: float = 1.0
    ) -> tuple[Batch, NDArray[np.float64]]:
        """Draw an answer to each of some problems, which may be repeated, and reward it."""
        prompts = [self.ask(number) for number in numbers.tolist()]
        batch = self.policy.sample(
            prompts, most=self.most, temperature=temperature, random=self.random
        )
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

    @property
    def tested(self) -> range:
        """The held-out problems."""
        return range(self.task.count, self.task.count + self.task.held_out)

    def likeliest(self) -> Batch:
        """Give the likeliest answers to the held-out problems."""
        prompts = [self.ask(number) for number in self.tested]
        return self.policy.sample(prompts, most=self.most, temperature=0.0, random=self.random)

    def right(self, batch: Batch) -> NDArray[np.float64]:
        """Reward answers to the held-out problems."""
        return np.asarray(self.task.rewards(self.tested, self.policy.texts(batch)), np.float64)

    def outcomes(self) -> Outcomes:
        """Say of each held-out problem whether the likeliest answer solves it, and its length."""
        batch = self.likeliest()
        return {"accuracy": self.right(batch), "length": lengths_of(batch)}


def lengths_of(batch: Batch) -> NDArray[np.float64]:
    """Give the tokens of every answer."""
    return batch.lengths.double().cpu().numpy()


class Reference:
    """The learned weights as they were before the first step, as a part of a checkpoint."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Give the weights; none before they are known."""
        return self.weights

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a state."""
        self.weights = dict(state)
