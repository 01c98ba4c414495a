"""A small writer of programs, taught by programs that a large model wrote and that ran right.

Use it where many questions have a number for an answer and no worked solution: what
``program-prompting`` annotates, and the answer accepts, is learned; the student's programs are run.

Cost: O(batch x tokens x weights) a step; a program a held-out question to evaluate.
Source: arXiv 2305.18170.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.train.base import Figures, Loop, Outcomes, Task
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner, lengths_of
from samplewise.train.schedule import linear_schedule
from samplewise.train.solved_problems import (
    SolvedFile,
    SolvedProblems,
    WordProblems,
    near,
    values_of,
)
from samplewise.verify.programs import as_number

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "IGNORED",
    "Collator",
    "DistillationLearner",
    "ProgramDistillation",
    "decay_groups",
    "label_mask",
    "target_loss",
]

IGNORED = -100
"""The label of a token that is not learned, as transformers has it."""

PROMPTS = {
    "program": "Question: {question}\n\n# The resulting Python solution\n",
    "answer": "Question: {question}\n\nAnswer: ",
}
"""What a student is asked, by what it is to write."""


@dataclass(frozen=True)
class ProgramDistillation(Loop[SolvedProblems]):
    """Fine-tune a student on accepted programs; its own are run for the test.

    Parameters
    ----------
    target : {'program', 'answer'}
        What the student learns to write: the program, or, to compare with, the number at once.
        Answers are learned of all problems, programs of those that have an accepted one.
    batch : int
        Problems a step.
    learning_rate : float
        The highest; the published 2e-5 is for CodeGen 350M, this for the small transformer.
    weight_decay : float
        Of matrices; biases and norms have none.
    ramp_share : float
        Share of the steps in which the learning rate rises; then it falls to 0.
    longest : int
        Tokens of a prompt and its target; problems with more are left out.
    most_tokens : int, optional
        Of what the student writes; by default what the task says.

    Notes
    -----
    The published training takes 40 epochs, in mixed precision.

    References
    ----------
    Jie and Lu (2023), "Leveraging Training Data in Few-Shot Prompting for Numerical Reasoning",
    arXiv 2305.18170.

    Examples
    --------
    >>> learner = ProgramDistillation(batch=4).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['flops', 'loss', 'tokens']
    """

    name: ClassVar[str] = "program-distillation"
    paper: ClassVar[str] = "2305.18170"
    cost: ClassVar[str] = "O(batch x tokens x weights) a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (WordProblems, SolvedFile)

    target: Literal["program", "answer"] = "program"
    batch: int = 30
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    ramp_share: float = 0.1
    longest: int = 600
    most_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("batch", "learning_rate", "longest", above=True)
        self.require("weight_decay", "ramp_share")
        if not self.ramp_share < 1:
            raise UsageError(
                f"{self.name}: ramp_share is {self.ramp_share}", mend="give a share below 1"
            )

    def prompt(self, task: SolvedProblems, number: int) -> str:
        """Word a problem."""
        return PROMPTS[self.target].format(question=task.prompt(number))

    def wanted(self, task: SolvedProblems, number: int) -> str | None:
        """Give what is to be written, where it is known."""
        if self.target == "program":
            return task.solution(number)
        answer = task.answer(number)
        return None if answer is None else as_number(str(answer))

    def start(
        self, task: SolvedProblems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> DistillationLearner:
        """Make the learner."""
        return DistillationLearner(self, task, model, steps, rng)

    def rival(self, task: SolvedProblems) -> ProgramDistillation:
        """Give the other target: answers at once for programs, and the reverse."""
        return replace(self, target="answer" if self.target == "program" else "program")


class DistillationLearner(PolicyLearner):
    """Make accepted programs likelier."""

    def __init__(
        self,
        loop: ProgramDistillation,
        task: SolvedProblems,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(task, model, steps, rng, most=loop.most_tokens)
        self.loop, self.solved = loop, task
        self.pairs = list(self._pairs())
        if not self.pairs:
            raise UsageError(
                f"no problem has a {loop.target} that can be learned",
                mend="give accepted programs (or answers), or raise knob 'longest'",
            )
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.policy.learned, loop.weight_decay), lr=loop.learning_rate, eps=1e-8
        )
        self.schedule = linear_schedule(self.optimizer, steps, round(loop.ramp_share * steps))
        self.parts |= {"optimizer": self.optimizer, "schedule": self.schedule}

    def ask(self, number: int) -> str:
        """Word a problem for its target."""
        return self.loop.prompt(self.solved, number)

    def _pairs(self) -> Iterable[tuple[str, str]]:
        """Give prompts and targets that are known and short enough."""
        loop, task, encode = self.loop, self.solved, self.policy.encode
        numbers = task.accepted if loop.target == "program" else range(task.count)
        for number in numbers:
            prompt, wanted = self.ask(number), loop.wanted(task, number)
            if wanted and len(encode(prompt)) + len(encode(wanted)) < loop.longest:
                yield prompt, wanted

    def learn(self) -> Figures:
        """Take one step."""
        count = min(self.loop.batch, len(self.pairs))
        chosen = self.rng.choice(len(self.pairs), size=count, replace=False).tolist()
        prompts, targets = zip(*(self.pairs[place] for place in chosen), strict=True)
        batch = self.policy.batch(prompts, targets)
        loss = target_loss(self.policy.log_probabilities(batch), batch.scored)
        self.descend(self.optimizer, loss)
        self.schedule.step()
        return {"loss": loss.item(), "tokens": float(batch.lengths.sum())}

    def outcomes(self) -> Outcomes:
        """Say of each held-out problem if it is solved, if its text has a value, and its length.

        Programs are run in the sandbox.
        """
        batch = self.likeliest()
        texts = self.policy.texts(batch)
        run = self.loop.target == "program"
        values = values_of(texts) if run else [_number(one) for one in texts]
        right = [
            near(one, self.solved.answer(number))
            for one, number in zip(values, self.tested, strict=True)
        ]
        return {
            "accuracy": np.array(right, np.float64),
            "with_value": np.array([one is not None for one in values], np.float64),
            "length": lengths_of(batch),
        }


def _number(text: str) -> float | None:
    found = as_number(text.strip())
    return None if found is None else float(found)


# --- what is learned ------------------------------------------------------------------------------


def target_loss(log_probabilities: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Give the mean of minus the log-probability over all target tokens of a batch.

    Parameters
    ----------
    log_probabilities : torch.Tensor, shape (rows, length)
        Natural logarithms.
    scored : torch.Tensor of bool, shape (rows, length)
        Which tokens are of targets, their ends among them.

    Returns
    -------
    torch.Tensor, shape ()
    """
    return -torch.where(scored, log_probabilities, 0.0).sum() / scored.sum()


def label_mask(batch: Batch) -> torch.Tensor:
    """Give labels as transformers takes them: the targets' tokens, and `IGNORED` for all others.

    Returns
    -------
    torch.Tensor of int64, shape (rows, length)
    """
    return torch.where(batch.response, batch.ids, IGNORED)


@dataclass(frozen=True)
class Collator:
    r"""Make batches for the Trainer of transformers, in which only the targets are learned.

    Use it as ``Trainer(..., data_collator=Collator(policy))`` on rows with ``prompt`` and
    ``program``, with ``remove_unused_columns=False``. TRL's `SFTTrainer` takes it with that and
    ``dataset_kwargs={"skip_prepare_dataset": True}``.

    Parameters
    ----------
    policy : Policy
        How texts are read.

    Examples
    --------
    >>> collator = Collator(Policy.small(width=8, layers=1, heads=1))
    >>> made = collator([{"prompt": "Q\n", "program": "ok"}, {"prompt": "Q2\n", "program": "x"}])
    >>> made["labels"].tolist()
    [[-100, -100, -100, 82, 78, 1], [-100, -100, -100, 91, 1, -100]]
    """

    policy: Policy

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch, on the CPU."""
        batch = self.policy.batch([row["prompt"] for row in rows], [row["program"] for row in rows])
        made = {
            "input_ids": batch.ids,
            "attention_mask": batch.read,
            "position_ids": (batch.read.cumsum(dim=1) - 1).clamp(min=0),
            "labels": label_mask(batch),
        }
        return {name: values.cpu() for name, values in made.items()}


def decay_groups(weights: Sequence[torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Group weights for an optimizer: matrices decay, vectors (biases and norms) do not."""
    return [
        {"params": [one for one in weights if one.dim() > 1], "weight_decay": decay},
        {"params": [one for one in weights if one.dim() <= 1], "weight_decay": 0.0},
    ]
