"""Learn given solutions as they are: supervised fine-tuning, the plain way.

Every token of a solution counts alike within it, and every solution alike. Use it where solutions
are at hand, and as the rival of all that learns from answers it drew itself: those cost passes of
the model that imitation spends on more solutions.

Cost: O(batch) solutions forward and back a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Task
from samplewise.train.policy import Policy
from samplewise.train.policy_learner import PolicyLearner
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems
from samplewise.train.worked_sums import WorkedSums

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["Imitation"]


@dataclass(frozen=True)
class Imitation(Loop[Problems]):
    """Make given solutions likelier, token by token.

    Parameters
    ----------
    batch : int
        Solutions a step.
    learning_rate : float
    most_tokens : int, optional
        Of an answer in the test; by default what the task says.
    warm_up : int
        Steps at first with another optimizer, as the loops have that draw answers.

    References
    ----------
    Ouyang et al. (2022), arXiv 2203.02155, section 3.5, for its place before other training.

    Examples
    --------
    >>> learner = Imitation(batch=4).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['flops', 'loss', 'tokens']
    """

    name: ClassVar[str] = "imitation"
    aliases: ClassVar[tuple[str, ...]] = ("sft",)
    paper: ClassVar[str] = "2203.02155"
    cost: ClassVar[str] = "O(batch) solutions a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (Arithmetic, WorkedSums, ProblemSet)

    batch: int = 32
    learning_rate: float = 1e-3
    most_tokens: int | None = None
    warm_up: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("batch", "learning_rate", above=True)
        self.require("warm_up")
        self.require("most_tokens", least=1)

    def start(
        self, task: Problems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> ImitationLearner:
        """Make the learner."""
        if not task.solved:
            raise UsageError(
                f"{self.name}: some problems have no solution", mend="give rows with an answer"
            )
        return ImitationLearner(self, task, model, steps, rng)

    def rival(self, task: Problems) -> None:
        """Give none: this is the plain way."""
        return


class ImitationLearner(PolicyLearner):
    """Draw problems, and make their solutions likelier."""

    def __init__(
        self,
        loop: Imitation,
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
        self.parts["optimizer"] = self.optimizer

    def learn(self) -> Figures:
        """Take one step."""
        numbers = self.rng.integers(self.task.count, size=self.loop.batch)
        return self.imitate(self.optimizer, numbers)
