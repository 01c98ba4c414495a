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

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.accepted_answers import (
    Estimator,
    accepted,
    answer_weights,
    parts_of,
    raft_loss,
    raft_plus_plus_loss,
    shortest,
)
from samplewise.train.base import Loop
from samplewise.train.imitation import Imitation
from samplewise.train.objectives import group_advantages, grpo_loss
from samplewise.train.own_answers import Answers, OwnAnswers
from samplewise.train.problems import Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["Grpo", "Raft", "RaftPlusPlus"]


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
    keep : {'right', 'shortest'}
        Whether all right answers are learned, or the shortest of each problem, which makes answers
        shorter. With ``'drawn'`` all must be.

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
    keep: Literal["right", "shortest"] = "right"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep == "shortest" and self.estimator == "drawn":
            raise UsageError(
                f"{self.name}: keep is 'shortest' and estimator 'drawn', which divides by the "
                "share of all right answers",
                mend="set one of them otherwise",
            )

    def rival(self, task: Problems) -> Loop[Any] | None:
        """Give all right answers in place of the shortest; else as all loops on own answers do."""
        return replace(self, keep="right") if self.keep == "shortest" else super().rival(task)

    def plain(self, task: Problems) -> Loop[Any] | None:
        """Give imitation of as many given solutions a step of the optimizer, where there are."""
        if not task.solved:
            return None
        return Imitation(
            batch=max(1, self.problems * self.samples // self.mini_batches),
            learning_rate=self.learning_rate,
            most_tokens=self.most_tokens,
            warm_up=self.warm_up,
        )

    @property
    def needs_pilots(self) -> bool:
        """Whether pilots are drawn: also where they are what an estimator divides by."""
        return super().needs_pilots or self.estimator == "drawn"

    def gains(self, answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Keep the right answers; each counts as the estimator says, of a step's whole loss."""
        kept = accepted(answers.rewards, answers.groups)
        if self.keep == "shortest":
            kept = shortest(kept, answers.groups, answers.lengths)
        weights = answer_weights(
            kept,
            answers.groups,
            self.problems,
            draws=answers.draws,
            p=answers.p,
            estimator=self.estimator,
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
    allocation, refresh, pilots, layer, norm_per_token, estimator, keep
        Likewise, and as `Raft` has them.
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

    def plain(self, task: Problems) -> Loop[Any]:
        """Give a single step on each answer, without ratios."""
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

    def plain(self, task: Problems) -> Loop[Any]:
        """Give learning from right answers alone."""
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
