"""Fine-tuning on solutions for the best of N samples: what is likely enough is left alone.

Cross-entropy drives a model to be sure of one answer, which lowers the chance that any of N samples
is right. ``confidence-limited`` makes the probability large that one or more of N is right: the
gradient of an example is that of cross-entropy times a factor F that falls from 1 to 0 as the
solution becomes likely, so that it is switched off at a probability of about 1/N. Use it where N
answers can be checked (by tests, a proof assistant, a known answer); with a vote in place of a
check, or with one sample, cross-entropy is better.

Cost: one pass forward over the problems looked at, and one forward and back over the batch, a step.
Source: arXiv 2502.07154 (direct coverage optimization).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.confidence import confidence_report, pass_at_n
from samplewise.train.base import Figures, Loop, Outcomes, Task
from samplewise.train.policy import Batch, Policy
from samplewise.train.policy_learner import PolicyLearner, lengths_of
from samplewise.train.problem_set import ProblemSet
from samplewise.train.problems import Arithmetic, Problems

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "ConfidenceLimited",
    "CoverageLoss",
    "TrainerLoss",
    "compute_loss_func",
    "dco_a_loss",
    "dco_factor",
    "dco_loss",
    "dco_step_loss",
    "mode_share",
    "target_log_probabilities",
]

IGNORED = -100
"""The label of a token that is no target, as transformers has it."""

_TINY = 1e-6  # N p below which both terms of a difference of logarithms lose their digits


@dataclass(frozen=True)
class ConfidenceLimited(Loop[Problems]):
    """Train on solutions for the chance that one or more of N samples is right.

    Parameters
    ----------
    attempts : float
        N' of the loss, 1 or more: near the number of samples that will be drawn. 1 is plain
        cross-entropy. With `limit` "steps", the paper's N_eff.
    limit : {'solution', 'steps', 'answer'}
        What F is of: the probability of the whole solution; that of each of its lines, as for the
        tactics of a proof (a proof of k lines then needs about N_eff^k samples, so long proofs want
        a small N_eff); or the share of the most frequent answer (the last line) among `samples`
        draws, for solutions that are a chain of thought.
    epsilon : float
        Examples with F below it are replaced by others until the batch is full. The paper's value
        is not known. With `limit` "steps", the largest F of an example's lines counts.
    refill : int
        Batches looked at for one, at most.
    batch : int
        Problems a step.
    samples : int
        Answers drawn to each problem where `limit` is "answer"; the paper's number is not known.
    learning_rate : float
    warm_up : int
        Steps by which a small model first imitates solutions, token by token.

    Notes
    -----
    The paper's settings of the optimizer are not known either. That F of the most frequent answer's
    share weighs the cross-entropy of the reference solution is inferred.

    References
    ----------
    Chen et al. (2025), arXiv 2502.07154.

    Examples
    --------
    >>> learner = ConfidenceLimited(batch=4, warm_up=0).begin(steps=1, rng=0)
    >>> sorted(learner.advance())
    ['batch', 'cross_entropy', 'effective', 'factor', 'flops', 'loss', 'tokens']
    """

    name: ClassVar[str] = "confidence-limited"
    aliases: ClassVar[tuple[str, ...]] = ("dco",)
    paper: ClassVar[str] = "2502.07154"
    cost: ClassVar[str] = "O(refill x batch) solutions forward and O(batch) back a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (Arithmetic, ProblemSet)

    attempts: float = 16.0
    limit: Literal["solution", "steps", "answer"] = "solution"
    epsilon: float = 0.01
    refill: int = 4
    batch: int = 32
    samples: int = 8
    learning_rate: float = 1e-3
    warm_up: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("attempts", least=1)
        self.require("refill", "batch", "samples", "learning_rate", above=True)
        self.require("warm_up")
        if not 0 <= self.epsilon < 1:
            raise UsageError(f"{self.name}: epsilon is {self.epsilon}", mend="give 0 to below 1")

    def start(
        self, task: Problems, model: Policy | None, steps: int, rng: np.random.Generator
    ) -> ConfidenceLimitedLearner:
        """Make the learner."""
        return ConfidenceLimitedLearner(self, task, model, steps, rng)

    def rival(self, task: Problems) -> ConfidenceLimited:
        """Give plain cross-entropy."""
        return replace(self, attempts=1.0, limit="solution")


class ConfidenceLimitedLearner(PolicyLearner):
    """Find problems that still matter, and make their solutions likelier."""

    shown: ClassVar[tuple[int, ...]] = (1, 4, 16, 64, 256)
    """N for which `outcomes` gives pass@N; that nearest to the loop's attempts comes first."""

    def __init__(
        self,
        loop: ConfidenceLimited,
        task: Problems,
        model: Policy | None,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(task, model, steps, rng, warm_up=loop.warm_up)
        self.loop = loop
        self.optimizer = torch.optim.AdamW(
            self.policy.learned, lr=loop.learning_rate, weight_decay=0.0
        )
        self.parts["optimizer"] = self.optimizer

    def learn(self) -> Figures:
        """Take one step."""
        numbers, factors, looked = self.fill()
        figures = {
            "loss": 0.0,
            "cross_entropy": 0.0,
            "factor": float(np.mean(looked)),
            "effective": float(np.mean(looked >= self.loop.epsilon)),
            "batch": float(len(numbers)),
            "tokens": 0.0,
        }
        if len(numbers):
            batch, owners = self.rows(numbers)
            found = self.loss(self.log_probabilities(batch), owners, factors)
            self.descend(self.optimizer, found.loss.mean())
            figures["loss"] = found.loss.mean().item()
            figures["cross_entropy"] = found.cross_entropy.mean().item()
            figures["tokens"] = float(batch.lengths.sum())
        return figures

    def fill(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Find problems whose F is not small; give them, their F, and all F looked at."""
        size, most = self.loop.batch, self.loop.batch * self.loop.refill
        order = self.rng.permutation(self.task.count)[:most]
        kept: list[NDArray[np.int64]] = []
        factors: list[NDArray[np.float64]] = []
        looked: list[NDArray[np.float64]] = []
        full = 0
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            factor = self.factors(numbers)
            stays = factor >= self.loop.epsilon
            kept.append(numbers[stays])
            factors.append(factor[stays])
            looked.append(factor)
            full += int(stays.sum())
            if full >= size:
                break
        chosen, held = np.concatenate(kept)[:size], np.concatenate(factors)[:size]
        return chosen, held, np.concatenate(looked)

    def factors(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give F of some problems, the largest of its lines where each has its own."""
        loop = self.loop
        if loop.limit == "answer":
            shares = torch.from_numpy(self.mode_shares(numbers))
            return dco_factor(shares.log(), loop.attempts).numpy()
        with torch.no_grad():
            batch, owners = self.rows(numbers)
            factor = dco_factor(self.log_probabilities(batch), loop.attempts).double().cpu()
        largest = torch.zeros(len(numbers), dtype=torch.float64)
        return largest.scatter_reduce(0, owners, factor, "amax").numpy()

    def mode_shares(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Draw answers to some problems, and give the share of the most frequent one of each."""
        samples = self.loop.samples
        batch, _ = self.draw(np.repeat(numbers, samples))
        answers = [text.rpartition("\n")[2].strip() for text in self.policy.texts(batch)]
        groups = [answers[at : at + samples] for at in range(0, len(answers), samples)]
        return np.array([mode_share(group) for group in groups])

    def rows(self, numbers: NDArray[np.int64]) -> tuple[Batch, torch.Tensor]:
        """Give the solutions of some problems as rows, and the place of each row's problem."""
        prompts, responses, ended, owners = [], [], [], []
        for place, number in enumerate(numbers.tolist()):
            head, solution = self.task.prompt(number), self.task.solution(number)
            parts = solution.splitlines(keepends=True) if self.loop.limit == "steps" else [solution]
            for part in parts:
                prompts.append(head)
                responses.append(part)
                ended.append(False)
                owners.append(place)
                head += part
            ended[-1] = True
        batch = self.policy.batch(prompts, responses, ended=ended)
        return batch, torch.tensor(owners)

    def log_probabilities(self, batch: Batch) -> torch.Tensor:
        """Give the log-probability of every row's whole response, shape (rows,)."""
        each = self.policy.log_probabilities(batch)
        return torch.where(batch.scored, each, 0.0).sum(dim=1)

    def loss(
        self, logp: torch.Tensor, owners: torch.Tensor, factors: NDArray[np.float64]
    ) -> CoverageLoss:
        """Give the loss of every row; `factors` are of the answers, where F is of them."""
        if self.loop.limit == "answer":
            factor = torch.from_numpy(factors).to(logp)[owners.to(logp.device)]
            return CoverageLoss(-factor * logp, factor, -logp.detach())
        return dco_loss(logp, self.loop.attempts)

    def outcomes(self) -> Outcomes:
        """Give accuracy, length, confidence, and the exact pass@N of the held-out solutions."""
        prompts = [self.ask(number) for number in self.tested]
        solutions = [self.task.solution(number) for number in self.tested]
        with torch.no_grad():
            batch = self.policy.batch(prompts, solutions)
            chances = self.log_probabilities(batch).double().exp().cpu().numpy()
            greedy = self.likeliest()
            sure = self.log_probabilities(greedy).double().cpu().numpy()
        right = self.right(greedy) > 0
        report = confidence_report(sure, right)
        covered = {f"pass@{n}": pass_at_n(chances, n) for n in self.shown}
        nearest = min(self.shown, key=lambda n: abs(math.log(n / self.loop.attempts)))
        return {
            f"pass@{nearest}": covered[f"pass@{nearest}"],
            "accuracy": right.astype(np.float64),
            "length": lengths_of(greedy),
            **covered,
            "confidence": report.confidence,
            "overconfidence": report.overconfidence,
        }


class CoverageLoss(NamedTuple):
    """The loss of every example, and how much of cross-entropy's gradient is left of each.

    Attributes
    ----------
    loss : torch.Tensor, shape (rows,)
        To be made small; its gradient is F times that of the cross-entropy.
    factor : torch.Tensor
        F, from 0 to 1; without gradient.
    cross_entropy : torch.Tensor
        Without gradient.
    """

    loss: torch.Tensor
    factor: torch.Tensor
    cross_entropy: torch.Tensor

    def effective(self, epsilon: float) -> torch.Tensor:
        """Say which examples still matter: F is `epsilon` or more."""
        return self.factor >= epsilon


def dco_loss(logp: torch.Tensor, attempts: float) -> CoverageLoss:
    """Give -log(1 - (1 - p)^N): minus the log-chance that one or more of N samples is the target.

    Parameters
    ----------
    logp : torch.Tensor of float32 or float64, any shape
        log p of whole targets: sums over tokens, never means; 0 or below, finite. Where several
        strings are right, the log of the sum of their probabilities.
    attempts : float
        N, 1 or more; 1 is cross-entropy.

    Returns
    -------
    CoverageLoss

    Raises
    ------
    UsageError
        If a log-probability is above 0, infinite, NaN or of half precision, or N is below 1.

    Notes
    -----
    The gradient is put in by hand, so that there is none of infinity at p = 1 and none is lost at
    p = 1e-12; second derivatives are not those of the loss.

    References
    ----------
    Chen et al. (2025), arXiv 2502.07154.

    Examples
    --------
    >>> found = dco_loss(torch.tensor([0.25, 1.0], dtype=torch.float64).log(), attempts=4)
    >>> found.loss.numpy().round(4).tolist(), found.factor.numpy().round(4).tolist()
    ([0.3804, 0.0], [0.6171, 0.0])
    """
    held = logp.detach()
    _check(held, attempts)
    if attempts == 1:
        return CoverageLoss(-logp, torch.ones_like(held), -held)
    factor = dco_factor(held, attempts)
    chance = held.exp()
    small = attempts * chance < _TINY
    near = -math.log(attempts) - held + (attempts - 1) * chance / 2
    value = torch.where(small, near, -_log1mexp(attempts * _log1mexp(held)))
    return CoverageLoss(value + factor * (held - logp), factor, -held)


def dco_factor(logp: torch.Tensor, attempts: float) -> torch.Tensor:
    """Give F = N p (1 - p)^(N - 1) / (1 - (1 - p)^N), what is left of cross-entropy's gradient.

    It falls from 1 at p = 0 to 0 at p = 1, and with N; at p = c/N and large N it is c/(e^c - 1).

    Parameters
    ----------
    logp, attempts
        As `dco_loss` takes them.

    Returns
    -------
    torch.Tensor
        As `logp`, without gradient.

    Raises
    ------
    UsageError
        As `dco_loss` does.

    Examples
    --------
    >>> chances = torch.tensor([1 / 16, 5 / 16], dtype=torch.float64)
    >>> dco_factor(chances.log(), 16).numpy().round(4).tolist()
    [0.5898, 0.0182]
    """
    held = logp.detach()
    _check(held, attempts)
    if attempts == 1:
        return torch.ones_like(held)
    missed = _log1mexp(held)
    chance = held.exp()
    small = attempts * chance < _TINY
    logs = math.log(attempts) + held + (attempts - 1) * missed - _log1mexp(attempts * missed)
    return torch.where(small, 1 - (attempts - 1) * chance / 2, logs.exp()).clamp(max=1.0)


def dco_step_loss(step_logp: torch.Tensor, attempts: float) -> CoverageLoss:
    """Give the loss of proofs, each of whose steps is limited by itself.

    Parameters
    ----------
    step_logp : torch.Tensor, shape (..., steps)
        log p of every step (a tactic, given the state before it); a shorter proof is filled with 0,
        which is a step that is certain and has neither loss nor gradient.
    attempts : float
        N_eff, the width of the search tree, 1 or more; 1 is cross-entropy.

    Returns
    -------
    CoverageLoss
        The loss, shape (...,), is the sum over steps; factor and cross-entropy are of each step.

    Raises
    ------
    UsageError
        As `dco_loss` does.

    References
    ----------
    Chen et al. (2025), arXiv 2502.07154.

    Examples
    --------
    >>> steps = torch.tensor([[0.5, 0.25], [0.25, 1.0]], dtype=torch.float64).log()
    >>> dco_step_loss(steps, 4).loss.numpy().round(4).tolist()
    [0.4449, 0.3804]
    """
    found = dco_loss(step_logp, attempts)
    return found._replace(loss=found.loss.sum(dim=-1))


def dco_a_loss(cross_entropy: torch.Tensor, mode: torch.Tensor, attempts: float) -> torch.Tensor:
    """Weigh the cross-entropy of rationales and answers by F of how sure the answer is.

    The probability of an answer is a sum over all rationales; the share of the most frequent answer
    among a few samples stands for it. That it weighs this cross-entropy is inferred.

    Parameters
    ----------
    cross_entropy : torch.Tensor, shape (rows,)
        Of the reference rationale and answer: sums over tokens.
    mode : torch.Tensor, shape (rows,)
        Share of the most frequent answer, in (0, 1], as `mode_share` gives it.
    attempts : float
        N, 1 or more.

    Returns
    -------
    torch.Tensor, shape (rows,)

    Raises
    ------
    UsageError
        If a share is not in (0, 1], or N is below 1.

    References
    ----------
    Chen et al. (2025), arXiv 2502.07154.

    Examples
    --------
    >>> round(dco_a_loss(torch.tensor([2.0]), torch.tensor([0.25]), 4).item(), 4)
    1.2343
    """
    return dco_factor(mode.log(), attempts).to(cross_entropy) * cross_entropy


def mode_share(answers: Sequence[Hashable]) -> float:
    """Give the share of the most frequent answer.

    Raises
    ------
    UsageError
        If there is none.

    Examples
    --------
    >>> mode_share(["4", "5", "4", "4"])
    0.75
    """
    if not answers:
        raise UsageError("there are no answers", mend="draw one or more")
    return max(Counter(answers).values()) / len(answers)


def target_log_probabilities(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Give the log-probability of every row's target, in single precision or better.

    Parameters
    ----------
    logits : torch.Tensor, shape (rows, length, vocabulary)
        At each place, of the next token.
    labels : torch.Tensor of int64, shape (rows, length)
        The tokens; -100 for prompt and padding.

    Returns
    -------
    torch.Tensor, shape (rows,)
        A row without any target gives 0: it is certain, and has no gradient for N above 1.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    taken = torch.nn.functional.cross_entropy(
        wide[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return -taken.sum(dim=1)


@dataclass(frozen=True)
class TrainerLoss:
    """The loss for transformers' Trainer: ``Trainer(..., compute_loss_func=TrainerLoss(64))``.

    The sum over examples is divided by the target tokens of the whole batch, accumulated ones
    counted, as the Trainer's own loss is: with `attempts` 1 it is that loss.

    TRL 1.16's `SFTTrainer` takes it as well, at one more pass forward a step, and warns that TRL 2
    will not.

    Parameters
    ----------
    attempts : float
        N of `dco_loss`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> outputs = SimpleNamespace(logits=torch.zeros(1, 3, 4))
    >>> labels = torch.tensor([[-100, 2, 3]])
    >>> round(TrainerLoss(1)(outputs, labels).item(), 4)  # log 4
    1.3863
    """

    attempts: float = 256.0

    def __call__(
        self,
        outputs: Any,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Give the loss of a batch."""
        loss = dco_loss(target_log_probabilities(outputs.logits, labels), self.attempts).loss
        if num_items_in_batch is None:
            num_items_in_batch = int((labels[:, 1:] != IGNORED).sum())
        return loss.sum() / num_items_in_batch


def compute_loss_func(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Give the loss for transformers' Trainer with N = 256, one of those that the paper studies.

    Parameters
    ----------
    outputs : ModelOutput
        With `logits`.
    labels : torch.Tensor of int64, shape (rows, length)
    num_items_in_batch : int or torch.Tensor, optional
        Target tokens of the whole batch, as the Trainer counts them.

    Returns
    -------
    torch.Tensor, shape ()

    See Also
    --------
    TrainerLoss : The same with any N.
    """
    return TrainerLoss()(outputs, labels, num_items_in_batch)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """Give log(1 - e^x) for x <= 0; each form is used where it keeps its digits."""
    return torch.where(x > -math.log(2), (-torch.expm1(x)).log(), torch.log1p(-x.exp()))


def _check(logp: torch.Tensor, attempts: float) -> None:
    if not 1 <= attempts < math.inf:
        raise UsageError(f"attempts is {attempts}", mend="give 1 or more")
    if logp.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"log-probabilities are of {logp.dtype}", mend="sum them in float32 or float64"
        )
    if not bool(((logp <= 0) & (logp > -math.inf)).all()):
        raise UsageError(
            "a log-probability is above 0, infinite or NaN",
            mend="sum log-softmax values over the target's tokens alone",
        )
