"""Learning from good answers alone, or from labelled answers of one's own: which gets further.

``verifier-free`` clones what an expert did, or the better ones among the base's own answers.
``verifier-based`` spends its data on labels: it keeps the rewards that agree with them and plays
what is best under the worst of these, or trains a small verifier and searches with it. Use the two
side by side, at the same number of answers to learn from and the same budget, to see what labels
buy on a problem whose every figure is known; `measure.heterogeneity` tells from real answers on
which side a model of yours lies.

Cost: O(traces x budget x length) a step; a verifier O(vocabulary^2) weights.
Source: arXiv 2502.12118. Its body could not be read and no code was published: the class of
experts, version space, pessimism and per-step rewards are reconstructed from its abstract and
summaries.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.heterogeneity import best_in_ball, best_of_n_value, pessimistic_tilt
from samplewise.train.base import Figures, Learner, Loop, Outcomes, Rollout, Task, Weights
from samplewise.train.planted_subsequence import PlantedSubsequence

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "VerifierBased",
    "VerifierFree",
    "clone_log_likelihood",
    "clone_rollouts",
    "solved_by_step",
    "version_space",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Planted(Loop[PlantedSubsequence]):
    """What both loops share."""

    paper: ClassVar[str] = "2502.12118"
    cost: ClassVar[str] = "O(traces x budget x length) a step"
    tasks: ClassVar[tuple[type[Task], ...]] = (PlantedSubsequence,)
    usual_steps: ClassVar[int] = 100

    traces: int = 32
    kappa: float = 0.25
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("traces", "learning_rate", above=True)
        self.require("kappa")


@dataclass(frozen=True)
class VerifierFree(_Planted):
    """Clone an expert's answers, or the better ones among the base's own.

    Parameters
    ----------
    traces : int
        Answers to learn from, a step.
    kappa : float
        The expert's radius: the chi-square distance of the expert to the base at each prompt is
        this at most. The paper's value is not known; the claim is about the order of 1 / traces.
    learning_rate : float
        Of the network.
    learner : {'class', 'network'}
        Maximum likelihood over the experts that there can be, one for each map, or a small policy
        trained token by token (supervised fine-tuning).
    data : {'expert', 'filtered'}
        Answers of the expert; or the base's own that return at least what the expert does on
        average, which takes labels.
    strategies : int
        Of the network: it takes one for every answer.
    forcing : bool
        Budget forcing of the network: when it reckons that it is done, it begins anew, until the
        budget is spent.

    Notes
    -----
    The class of experts is reconstructed. The network is of the base's own family, with maps, noise
    and shares of its strategies that are learned.

    References
    ----------
    Setlur et al. (2025), arXiv 2502.12118.

    Examples
    --------
    >>> learner = VerifierFree().begin(steps=4, rng=0)
    >>> sorted(learner.advance())
    ['kept', 'loss', 'reward', 'tokens']
    >>> sorted(learner.evaluate())
    ['accuracy', 'base', 'best', 'expert', 'regret', 'tokens', 'value']
    """

    name: ClassVar[str] = "verifier-free"
    aliases: ClassVar[tuple[str, ...]] = ("vf",)

    learner: Literal["class", "network"] = "class"
    data: Literal["expert", "filtered"] = "expert"
    strategies: int = 3
    forcing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("strategies", least=1)
        if self.forcing and self.learner == "class":
            raise UsageError(
                f"{self.name}: forcing is of the network's answers", mend="set learner=network"
            )

    def start(
        self, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> PlantedLearner:
        """Make the learner."""
        kind = LikelihoodLearner if self.learner == "class" else CloneLearner
        return kind(self, task, model, steps, rng)

    def rival(self, task: PlantedSubsequence) -> VerifierBased:
        """Give labels in place of the expert's answers."""
        same = VerifierBased(self.traces, self.kappa, self.learning_rate)
        return same if self.learner == "class" else replace(same, learner="network")


@dataclass(frozen=True)
class VerifierBased(_Planted):
    """Label the base's own answers, and play what the labels leave as best.

    Parameters
    ----------
    traces : int
        Answers to learn from, a step.
    kappa : float
        Radius of what may be played around the base: chi-square distance at each prompt.
    learning_rate : float
        Of the verifier.
    learner : {'regression', 'zero-one', 'network'}
        The rewards (one for each map) whose squared error, or whose share of wrong labels, is among
        the least stay in the version space, and the policy within `kappa` whose worst value over
        them is best is played; or a verifier is trained to tell whether an answer is solved, and
        the best of `samples` answers of the base is given.
    gamma : float
        How far above the least error a reward may lie to stay in the version space; errors are
        from 0 to 1. The paper's value is not known.
    samples : int
        N of best-of-N: it costs N times the tokens of one answer.
    label_noise : float
        Share of labels that are replaced by a return drawn evenly from 0 to the budget.

    Notes
    -----
    Version space and pessimism are reconstructed.

    References
    ----------
    Setlur et al. (2025), arXiv 2502.12118.

    Examples
    --------
    >>> learner = VerifierBased().begin(steps=4, rng=0)
    >>> figures = learner.advance()
    >>> figures["version_space"], learner.evaluate()["regret"]
    (1.0, 0.0)
    """

    name: ClassVar[str] = "verifier-based"
    aliases: ClassVar[tuple[str, ...]] = ("vb",)

    learner: Literal["regression", "zero-one", "network"] = "regression"
    gamma: float = 0.0
    samples: int = 8
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("samples", least=1)
        self.require("gamma")
        self.require("label_noise", most=1)

    def start(
        self, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> PlantedLearner:
        """Make the learner."""
        kind = VerifierLearner if self.learner == "network" else VersionSpaceLearner
        return kind(self, task, model, steps, rng)

    def rival(self, task: PlantedSubsequence) -> VerifierFree:
        """Give an expert's answers in place of labels."""
        same = VerifierFree(self.traces, self.kappa, self.learning_rate)
        return replace(same, learner="network") if self.learner == "network" else same


class PlantedLearner(Learner):
    """What the learners share: draws of the base, and figures on the prompts of the test.

    Parameters
    ----------
    loop : VerifierFree or VerifierBased
    task : PlantedSubsequence
    model : torch.nn.Module, optional
        As `fresh` makes it.
    steps : int
    rng : int, numpy.random.Generator or None
    """

    def __init__(
        self, loop: Any, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> None:
        super().__init__(steps, rng)
        self.loop, self.task = loop, task
        self.model: Any = self.fresh() if model is None else model
        self.parts["model"] = Weights(self.model)

    @abstractmethod
    def fresh(self) -> torch.nn.Module:
        """Make what learns."""

    def draw(self, count: int) -> tuple[Ints, Ints, Ints]:
        """Draw answers of the base to prompts at random: prompts, tokens, return under each map."""
        numbers = self.rng.integers(self.task.prompts, size=count)
        tokens = self.task.sample(numbers, self.rng)
        return numbers, tokens, self.task.returns(numbers, tokens)

    def note(self, numbers: Ints, tokens: Ints, rewards: NDArray[Any]) -> None:
        """Remember draws for the ledger."""
        words = np.array([str(token) for token in range(self.task.vocabulary)])
        asked, said = (words[rows].tolist() for rows in (self.task.symbols[numbers], tokens))
        self.rollouts += [
            Rollout(" ".join(prompt), " ".join(answer), reward, len(answer))
            for prompt, answer, reward in zip(
                asked, said, rewards.astype(np.float64).tolist(), strict=True
            )
        ]

    def figures(self, value: Floats, accuracy: Floats, samples: int = 1) -> Outcomes:
        """Set what a policy reaches beside what the base, the expert and the best answer do.

        `value` and `accuracy` are those of each prompt.
        """
        true = self.task.pool.returns[:, :, self.task.truth].astype(np.float64)
        expert = best_in_ball(true, self.loop.kappa).value
        return {
            "value": value,
            "accuracy": accuracy,
            "base": true.mean(axis=1),
            "expert": expert,
            "best": true.max(axis=1),
            "regret": expert - value,
            "tokens": float(samples * self.task.budget),
        }

    def tilted(self, weights: Floats) -> Outcomes:
        """Give the figures of a policy that weighs the base's answers."""
        true = self.task.pool.returns[:, :, self.task.truth]
        value, accuracy = ((weights * each).mean(axis=1) for each in (true, true > 0))
        return self.figures(value, accuracy)


class FreeLearner(PlantedLearner):
    """What verifier-free learners share: answers that are worth cloning.

    Attributes
    ----------
    tilts : ndarray of float64, shape (prompts, maps, budget + 1)
        How much likelier each return is under the expert of each map.
    level : ndarray of float64, shape (prompts,)
        What the expert of the true map returns on average.
    """

    def __init__(
        self, loop: Any, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> None:
        super().__init__(loop, task, model, steps, rng)
        self.tilts = task.tilts(loop.kappa)[: task.prompts]
        law = task.laws[: task.prompts, task.truth] * self.tilts[:, task.truth]
        self.level = law @ np.arange(task.budget + 1)

    def good(self) -> tuple[Ints, Ints, Ints, float]:
        """Give answers to clone, as `draw` does, and what those looked at return on average."""
        if self.loop.data == "expert":
            numbers, tokens, returns = self.expert(self.loop.traces)
            reward = float(returns[:, self.task.truth].mean())
        else:
            numbers, tokens, returns = self.draw(self.loop.traces)
            true = returns[:, self.task.truth]
            reward = float(true.mean())
            stays = true >= self.level[numbers]
            numbers, tokens, returns = numbers[stays], tokens[stays], returns[stays]
        self.note(numbers, tokens, returns[:, self.task.truth])
        return numbers, tokens, returns, reward

    def expert(self, count: int) -> tuple[Ints, Ints, Ints]:
        """Draw the expert's answers: those of the base, each kept as often as it is likelier."""
        weights = self.tilts[:, self.task.truth]
        possible = self.task.laws[: self.task.prompts, self.task.truth] > 0
        most = float(weights[possible].max())
        found: list[tuple[Ints, Ints, Ints]] = []
        have = 0
        while have < count:
            numbers, tokens, returns = self.draw(count)
            chance = weights[numbers, returns[:, self.task.truth]] / most
            stays = np.flatnonzero(self.rng.random(count) < chance)[: count - have]
            found.append((numbers[stays], tokens[stays], returns[stays]))
            have += len(stays)
        numbers, tokens, returns = (np.concatenate(part) for part in zip(*found, strict=True))
        return numbers, tokens, returns


class LikelihoodLearner(FreeLearner):
    """Maximum likelihood over the experts that there can be."""

    def fresh(self) -> torch.nn.Module:
        """Make the log-likelihood of every expert, less that of the base."""
        model = torch.nn.Module()
        model.register_buffer("evidence", torch.zeros(len(self.task.maps), dtype=torch.float64))
        return model

    def step(self) -> Figures:
        """See more answers."""
        numbers, _, returns, reward = self.good()
        if len(numbers):
            maps = np.arange(len(self.task.maps))
            with np.errstate(divide="ignore"):  # an expert that never gives such an answer
                logs = np.log(self.tilts[numbers[:, None], maps, returns]).sum(axis=0)
            self.model.evidence += torch.from_numpy(logs)
        seen = (self.done + 1) * self.loop.traces
        return {
            "loss": -float(self.model.evidence.max()) / seen,
            "reward": reward,
            "kept": float(len(numbers)),
            "tokens": float(self.loop.traces * self.task.budget),
        }

    def outcomes(self) -> Outcomes:
        """Give the figures of the likeliest expert; where some are as likely, of any of them."""
        evidence = self.model.evidence.numpy()
        likeliest = np.flatnonzero(evidence == evidence.max())
        returns = self.task.pool.returns
        each = [best_in_ball(returns[:, :, one], self.loop.kappa).weights for one in likeliest]
        return self.tilted(np.mean(each, axis=0))


class CloneLearner(FreeLearner):
    """A small policy, trained token by token on answers that are worth cloning."""

    def __init__(
        self, loop: Any, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> None:
        super().__init__(loop, task, model, steps, rng)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=loop.learning_rate)
        self.parts["optimizer"] = self.optimizer

    def fresh(self) -> torch.nn.Module:
        """Make some strategies: the log-odds of every token for every symbol, noise and share."""
        size, count = self.task.vocabulary, self.loop.strategies
        return torch.nn.ParameterDict(
            {
                "map": torch.randn(count, size, size, generator=self.random),
                "noise": torch.zeros(count),
                "share": torch.zeros(count),
            }
        )

    def step(self) -> Figures:
        """Make the answers likelier."""
        numbers, tokens, _, reward = self.good()
        figures = {
            "loss": 0.0,
            "reward": reward,
            "kept": float(len(numbers)),
            "tokens": float(self.loop.traces * self.task.budget),
        }
        if len(numbers):
            symbols = torch.from_numpy(self.task.symbols[numbers])
            logs = clone_log_likelihood(self.model, symbols, torch.from_numpy(tokens))
            loss = -logs.mean() / self.task.budget
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            figures["loss"] = loss.item()
        return figures

    def outcomes(self) -> Outcomes:
        """Give the figures of the policy's own answers, drawn from a seed of the task's."""
        task, pool = self.task, self.task.pool
        tokens = clone_rollouts(
            {name: weight.detach() for name, weight in self.model.items()},
            task.symbols[pool.numbers],
            task.budget,
            forcing=self.loop.forcing,
            rng=np.random.default_rng([task.seed, 5]),
        )
        true = task.returns(pool.numbers, tokens)[:, task.truth]
        each = true.reshape(task.test, -1)
        return self.figures(each.mean(axis=1), (each > 0).mean(axis=1))


class BasedLearner(PlantedLearner):
    """What verifier-based learners share: labels of the base's own answers."""

    def labelled(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Draw answers and their labels, some of which may be wrong."""
        numbers, tokens, returns = self.draw(self.loop.traces)
        labels = returns[:, self.task.truth].copy()
        if self.loop.label_noise:
            wrong = self.rng.random(len(labels)) < self.loop.label_noise
            labels[wrong] = self.rng.integers(self.task.budget + 1, size=int(wrong.sum()))
        self.note(numbers, tokens, labels)
        return numbers, tokens, returns, labels


class VersionSpaceLearner(BasedLearner):
    """Keep the rewards that agree with the labels, and play what is best under the worst."""

    def fresh(self) -> torch.nn.Module:
        """Make the summed error of every reward."""
        model = torch.nn.Module()
        model.register_buffer("errors", torch.zeros(len(self.task.maps), dtype=torch.float64))
        return model

    def step(self) -> Figures:
        """See more labels."""
        _, tokens, returns, labels = self.labelled()
        off = returns - labels[:, None]
        error = (off / self.task.budget) ** 2 if self.loop.learner == "regression" else off != 0
        self.model.errors += torch.from_numpy(error.sum(axis=0, dtype=np.float64))
        mean = self.model.errors.numpy() / ((self.done + 1) * self.loop.traces)
        return {
            "loss": float(mean.min()),
            "reward": float(labels.mean()),
            "version_space": float(len(version_space(mean, self.loop.gamma))),
            "tokens": float(tokens.size),
        }

    def outcomes(self) -> Outcomes:
        """Give the figures of the policy whose worst value over the version space is best."""
        mean = self.model.errors.numpy() / max(1, self.done * self.loop.traces)
        kept = version_space(mean, self.loop.gamma)
        found = pessimistic_tilt(self.task.pool.returns[:, :, kept], self.loop.kappa)
        return {**self.tilted(found.weights), "version_space": float(len(kept))}


class VerifierLearner(BasedLearner):
    """Train a small verifier to tell whether an answer is solved, and search with it."""

    def __init__(
        self, loop: Any, task: PlantedSubsequence, model: Any, steps: int, rng: np.random.Generator
    ) -> None:
        super().__init__(loop, task, model, steps, rng)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=loop.learning_rate)
        self.parts["optimizer"] = self.optimizer

    def fresh(self) -> torch.nn.Module:
        """Make the log-odds that each token serves each symbol."""
        size = self.task.vocabulary
        odds = 0.1 * torch.randn(size, size, generator=self.random) - float(np.log(size - 1))
        return torch.nn.ParameterDict({"map": odds})

    def step(self) -> Figures:
        """Learn from more labels."""
        numbers, tokens, _, labels = self.labelled()
        solved = self.solved(numbers, tokens)
        steps = torch.arange(self.task.budget, 0, -1)
        told = (torch.from_numpy(labels)[:, None] >= steps).to(solved)
        loss = torch.nn.functional.binary_cross_entropy(solved.clamp(1e-6, 1 - 1e-6), told)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item(), "reward": float(labels.mean()), "tokens": float(tokens.size)}

    def solved(self, numbers: Ints, tokens: Ints) -> torch.Tensor:
        """Give the verifier's probability that answers are solved by each step."""
        symbols = torch.from_numpy(self.task.symbols[numbers])
        return solved_by_step(self.model.map.sigmoid(), symbols, torch.from_numpy(tokens))

    def outcomes(self) -> Outcomes:
        """Give the figures of best-of-N, and how far the verifier is off on the test's answers."""
        pool, samples = self.task.pool, self.loop.samples
        with torch.no_grad():
            by_step = self.solved(pool.numbers, pool.tokens)
        scores = by_step.sum(dim=1).double().numpy().reshape(self.task.test, -1)
        true = pool.returns[:, :, self.task.truth]
        value = best_of_n_value(true, scores, samples)
        accuracy = best_of_n_value(true > 0, scores, samples)
        likely = by_step[:, -1].numpy().reshape(true.shape) >= 0.5
        return {
            **self.figures(value, accuracy, samples),
            "verifier_error": (likely != (true > 0)).mean(axis=1),
            "perfect": best_of_n_value(true, true, samples),
        }


def version_space(errors: Floats, gamma: float) -> Ints:
    """Give the rewards whose error is within `gamma` of the least.

    Parameters
    ----------
    errors : ndarray of float64, shape (rewards,)
    gamma : float
        0 or more.

    Examples
    --------
    >>> version_space(np.array([0.2, 0.0, 0.05]), 0.1).tolist()
    [1, 2]
    """
    return np.flatnonzero(errors <= errors.min() + gamma)


def solved_by_step(
    serves: torch.Tensor, symbols: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Give the probability that each answer is solved by each step, for a map that is not sure.

    Parameters
    ----------
    serves : torch.Tensor, shape (symbols, tokens)
        The probability that a token is what a symbol needs.
    symbols : torch.Tensor of int64, shape (rows, length)
    tokens : torch.Tensor of int64, shape (rows, budget)

    Returns
    -------
    torch.Tensor, shape (rows, budget)
        The sum of a row is the expected return.

    Examples
    --------
    >>> rows = solved_by_step(torch.eye(3), torch.tensor([[0, 2]]), torch.tensor([[0, 1, 2, 2]]))
    >>> rows.tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    fits = serves[symbols[:, :, None], tokens[:, None, :]]
    rows, length, budget = fits.shape
    place = torch.nn.functional.one_hot(torch.zeros(rows, dtype=torch.int64), length + 1).to(fits)
    ends = []
    for step in range(budget):
        moved = place[:, :-1] * fits[:, :, step]
        place = place - torch.nn.functional.pad(moved, (0, 1))
        place = place + torch.nn.functional.pad(moved, (1, 0))
        ends.append(place[:, -1])
    return torch.stack(ends, dim=1)


def clone_log_likelihood(
    model: Mapping[str, torch.Tensor], symbols: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Give the log-probability of answers under a policy with maps that are learned.

    The policy is of the base's family: it takes a strategy for every answer, and gives the token
    for the next symbol with probability 1 - noise, else any; any at all when it is done.

    Parameters
    ----------
    model : mapping of str to torch.Tensor
        `map`, shape (strategies, symbols, tokens), the log-odds of the token for each symbol;
        `noise`, shape (strategies,), as its logit; `share`, shape (strategies,), as log-odds.
    symbols : torch.Tensor of int64, shape (rows, length)
    tokens : torch.Tensor of int64, shape (rows, budget)

    Returns
    -------
    torch.Tensor, shape (rows,)
        Natural logarithms.

    Examples
    --------
    >>> model = {"map": 50 * torch.eye(2)[None], "noise": torch.zeros(1), "share": torch.zeros(1)}
    >>> found = clone_log_likelihood(model, torch.tensor([[1]]), torch.tensor([[0, 1, 1]]))
    >>> round(float(found.exp()), 4)  # 1/4 x 3/4 x 1/2
    0.0938
    """
    gives, noise = model["map"].softmax(dim=2), model["noise"].sigmoid()[:, None, None, None]
    size = gives.shape[2]
    fits = gives[:, symbols[:, :, None], tokens[:, None, :]]
    on, off = fits * (1 - noise + noise / size), (1 - fits) * noise / size
    pad = torch.nn.functional.pad
    place = pad(torch.ones_like(fits[:, :, :1, 0]), (0, fits.shape[2]))
    total = model["share"].log_softmax(dim=0)[:, None]
    for step in range(fits.shape[3]):
        begun = place[:, :, :-1]
        moved, stayed = begun * on[:, :, :, step], begun * off[:, :, :, step]
        place = pad(moved, (1, 0)) + torch.cat([stayed, place[:, :, -1:] / size], dim=2)
        likely = place.sum(dim=2).clamp(min=1e-30)
        total = total + likely.log()
        place = place / likely[:, :, None]
    return total.logsumexp(dim=0)


def clone_rollouts(
    model: Mapping[str, torch.Tensor],
    symbols: Ints,
    budget: int,
    *,
    forcing: bool = False,
    rng: np.random.Generator,
) -> Ints:
    """Draw answers of a policy with maps that are learned.

    Parameters
    ----------
    model : mapping of str to torch.Tensor
        As `clone_log_likelihood` takes it.
    symbols : ndarray of int64, shape (rows, length)
    budget : int
        Tokens of an answer.
    forcing : bool
        Whether it begins anew, with a strategy drawn again, when it reckons that it is done; else
        it goes on with any tokens.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (rows, budget)

    Examples
    --------
    >>> swap = 100 * torch.eye(2).flip(0)[None]
    >>> model = {"map": swap, "noise": torch.tensor([-100.0]), "share": torch.zeros(1)}
    >>> one = {"symbols": np.array([[0, 1]]), "budget": 4, "rng": np.random.default_rng(0)}
    >>> clone_rollouts(model, forcing=True, **one).tolist()
    [[1, 0, 1, 0]]
    """
    gives = model["map"].double().softmax(dim=2).numpy()
    noise = model["noise"].double().sigmoid().numpy()
    shares = model["share"].double().softmax(dim=0).numpy()
    rows, length = symbols.shape
    count, _, size = gives.shape
    wanted, other = (_cumulative(law) for law in (gives, (1 - gives) / (size - 1)))
    chance = 1 - noise + noise / size
    place, every = np.zeros(rows, np.int64), np.arange(rows)
    strategy: Ints = np.asarray(rng.choice(count, size=rows, p=shares), np.int64)
    tokens = np.empty((rows, budget), np.int64)
    for step in range(budget):
        u, v = rng.random((2, rows))
        done = place == length
        symbol = symbols[every, np.minimum(place, length - 1)]
        moves = ~done & (u < chance[strategy])
        laws = np.where(moves[:, None], wanted[strategy, symbol], other[strategy, symbol])
        drawn = (laws > v[:, None]).argmax(axis=1)
        tokens[:, step] = np.where(done, (v * size).astype(np.int64), drawn)
        place += moves
        ended = np.flatnonzero(place == length)
        if forcing and len(ended):
            place[ended] = 0
            strategy[ended] = rng.choice(count, size=len(ended), p=shares)
    return tokens


def _cumulative(law: Floats) -> Floats:
    sums = law.cumsum(axis=-1)
    sums[..., -1] = 1.0
    return sums
