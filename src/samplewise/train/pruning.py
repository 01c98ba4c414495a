"""Whether pruning paid: fine-tune what is left of a large network, or train it from scratch.

A method of pruning is worth its while only if its network, tuned further, beats the same small
network that never saw the large one's weights. So there are four loops over one way of pruning:
``prune-finetune``, ``scratch-e`` (trained as many steps as the large one), ``scratch-b`` (trained
with as much compute) and ``lottery-ticket`` (from the weights that the large one began with).
`rethink` trains them over seeds, and says which differences are clear. Images are not augmented.

Cost: the large network's training, where a loop needs it, and that of the small one; ``scratch-b``
is as dear as the large network's training. Source: arXiv 1810.05270 and its code; that 5 seeds are
usual there was not confirmed, and its guided pruning, of which no details are known, is left out.
"""

from __future__ import annotations

import copy
import math
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.extras import lazy
from samplewise.measure.paired import Difference, paired_t
from samplewise.rng import seed_of
from samplewise.train.base import Figures, Learner, Loop, Outcomes, Task, Weights
from samplewise.train.images import Digits, ImageArrays, ImageFile, Images
from samplewise.train.pruned_networks import (
    Kept,
    Masks,
    apply_masks,
    chain,
    convolutional,
    flops,
    initialise,
    largest,
    magnitude_masks,
    mask_gradients,
    norms_of_filters,
    parameters,
    rebuild,
    slimmed,
    widths_of,
    zero_smallest,
)

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Arm",
    "LotteryTicket",
    "PruneFinetune",
    "Pruning",
    "PruningLearner",
    "ScratchB",
    "ScratchE",
    "decision_table",
    "equal_compute",
    "rethink",
    "stepped_rate",
]


PruningT = TypeVar("PruningT", bound="Pruning")


@dataclass(frozen=True)
class Pruning(Loop[Images]):
    """Base of the loops: train a large network, prune it, and train what is left.

    `steps` are those of the large network; a loop adds its own. What is left has weights of another
    origin in each loop, and another budget. A network that is given must be a plain
    `torch.nn.Sequential`; it is trained in place, and what is left of it is a new one.

    A checkpoint taken where the large network is ready serves all loops that train it alike.

    Parameters
    ----------
    criterion : {'l1-norm', 'soft-filter', 'network-slimming', 'magnitude'}
        What goes: filters with the smallest sums of absolute weights; those with the smallest
        Euclidean norms, set to 0 after every epoch of the large network's training, too; channels
        with the smallest scales of their batch norms; or single weights of convolutions, which
        leaves the shape as it is.
    pruned : float or str
        Share that goes: of every layer for the first two criteria (a list such as ``0.5,0.5,0.25``
        gives one a layer), of the whole network for the others.
    widths : str
        Of the large network's 3 x 3 convolutions; ``M`` halves height and width.
    learning_rate : float
        A tenth after half of the steps, and a hundredth after three quarters.
    momentum, weight_decay : float
    batch_size : int
        An incomplete batch at the end of an epoch is left out.
    sparsity : float
        What the absolute scales of batch norms cost while the large network of network slimming is
        trained.
    pretrained : bool
        Whether the network that is given is trained already: its training is left out.
    """

    cost: ClassVar[str] = "the large network's training, and that of the small one"
    paper: ClassVar[str] = "1810.05270"
    tasks: ClassVar[tuple[type[Task], ...]] = (Digits, ImageFile, ImageArrays)
    usual_steps: ClassVar[int] = 280
    in_phases: ClassVar[bool] = True
    origin: ClassVar[Literal["trained", "initial", "fresh"]]
    """Where the weights of what is left come from."""

    criterion: Literal["l1-norm", "soft-filter", "network-slimming", "magnitude"] = "l1-norm"
    pruned: float | str = 0.5
    widths: str = "32,64,M,64"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    sparsity: float = 1e-4
    pretrained: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        widths_of(self.widths)
        self.require("learning_rate", "batch_size", above=True)
        self.require("momentum", "weight_decay", "sparsity")
        several = isinstance(self.pruned, str)
        if several and self.criterion in ("network-slimming", "magnitude"):
            self._refuse("pruned", f"give one share: {self.criterion} has one threshold")
        if not all(0 <= share < 1 for share in self.shares):
            self._refuse("pruned", "give shares of 0 or more that are below 1")

    def _refuse(self, knob: str, mend: str) -> None:
        raise UsageError(f"{self.name}: {knob} is {getattr(self, knob)!r}", mend=mend)

    @property
    def shares(self) -> list[float]:
        """The shares that go: one, or one a layer."""
        try:
            return [float(share) for share in str(self.pruned).split(",")]
        except ValueError:
            raise UsageError(
                f"{self.name}: pruned is {self.pruned!r}", mend="write shares, as in 0.5,0.25"
            ) from None

    @property
    def predefined(self) -> bool:
        """Whether the small network's shape is known before the large one is trained."""
        return self.criterion in ("l1-norm", "soft-filter")

    @property
    def trains_large(self) -> bool:
        """Whether the large network is trained."""
        return not (self.pretrained or (self.origin == "fresh" and self.predefined))

    def counts(self, channels: Sequence[int]) -> list[int]:
        """Say how many channels each layer keeps, one at least.

        Raises
        ------
        UsageError
            If there are more or fewer shares than layers.
        """
        shares = self.shares * (len(channels) if len(self.shares) == 1 else 1)
        if len(shares) != len(channels):
            self._refuse("pruned", f"give one share, or {len(channels)}")
        # The guard is for products such as 10 x (1 - 0.9), which is a hair below 1.
        return [
            max(1, int(width * (1 - share) + 1e-9))
            for width, share in zip(channels, shares, strict=True)
        ]

    @property
    def prunings(self) -> int:
        """How often the network is pruned."""
        return 1

    @property
    def large_settings(self) -> tuple[Any, ...]:
        """All knobs that decide how the large network is trained."""
        soft, slim = self.criterion == "soft-filter", self.criterion == "network-slimming"
        return (
            self.widths,
            self.learning_rate,
            self.momentum,
            self.weight_decay,
            self.batch_size,
            tuple(self.shares) if soft else None,
            self.sparsity if slim else None,
        )

    def large_rate(self, step: int, steps: int) -> float:
        """Give the learning rate of a step for the large network."""
        return stepped_rate(step, steps, self.learning_rate)

    @abstractmethod
    def budget(self, steps: int, ratio: float) -> int:
        """Give the steps for what is left, 1 or more.

        Parameters
        ----------
        steps : int
            Of the large network.
        ratio : float
            Floating-point operations of the large network over those of what is left.
        """

    def rate(self, step: int, steps: int) -> float:
        """Give the learning rate of a step for what is left."""
        return self.large_rate(step, steps)

    def start(
        self, task: Images, model: Any, steps: int, rng: np.random.Generator
    ) -> PruningLearner:
        """Make the learner."""
        if self.pretrained and model is None:
            raise UsageError(f"{self.name}: no model is given", mend="give the pretrained one")
        return PruningLearner(self, task, model, steps, rng)

    def as_loop(self, kind: type[PruningT], **changes: Any) -> PruningT:
        """Make a loop of another kind with the knobs that all share."""
        shared = {one.name: getattr(self, one.name) for one in fields(Pruning)}
        return kind(**{**shared, **changes})

    def rival(self, task: Images) -> Pruning | None:
        """Give tuning of what is left of the trained network."""
        return self.as_loop(PruneFinetune)


@dataclass(frozen=True)
class PruneFinetune(Pruning):
    """Prune a trained network, and tune what is left: the usual way.

    Parameters
    ----------
    criterion, pruned, widths, learning_rate, momentum, weight_decay, batch_size, sparsity
        As `Pruning` takes them, and `pretrained`.
    finetune : float
        Steps of tuning, as a share of the large network's; the paper takes 40 epochs of 160. Too
        few of them, or too low a rate, let training from scratch win unfairly.
    finetune_rate : float
        The learning rate then, which does not change.

    References
    ----------
    Liu et al. (2019), arXiv 1810.05270.

    Examples
    --------
    >>> learner = PruneFinetune(widths="4,4", finetune=0.5).begin(steps=2, rng=0)
    >>> [sorted(learner.advance()) for _ in range(3)][-1]
    ['flops', 'loss', 'ratio', 'unpruned', 'untuned']
    """

    name: ClassVar[str] = "prune-finetune"
    origin: ClassVar[Literal["trained", "initial", "fresh"]] = "trained"

    finetune: float = 0.25
    finetune_rate: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("finetune", "finetune_rate", above=True)

    def budget(self, steps: int, ratio: float) -> int:
        """Give a share of the steps."""
        return max(1, round(self.finetune * steps))

    def rate(self, step: int, steps: int) -> float:
        """Give the one rate."""
        return self.finetune_rate

    def rival(self, task: Images) -> Pruning | None:
        """Give training from scratch with as much compute; None where nothing is trained at large.

        A network that is given already trained says not how it was.
        """
        return None if self.pretrained else self.as_loop(ScratchB)


@dataclass(frozen=True)
class ScratchE(Pruning):
    """Train a pruned network from random weights, for as many steps as the large one.

    Where the shape of the small network is known beforehand, no large one is trained.

    Parameters
    ----------
    criterion, pruned, widths, learning_rate, momentum, weight_decay, batch_size, sparsity
        As `Pruning` takes them, and `pretrained`.

    References
    ----------
    Liu et al. (2019), arXiv 1810.05270.

    Examples
    --------
    >>> ScratchE().begin(steps=100, rng=0).steps
    100
    """

    name: ClassVar[str] = "scratch-e"
    origin: ClassVar[Literal["trained", "initial", "fresh"]] = "fresh"

    def budget(self, steps: int, ratio: float) -> int:
        """Give as many steps."""
        return steps


@dataclass(frozen=True)
class ScratchB(Pruning):
    """Train a pruned network from random weights, with as much compute as the large one.

    Where the shape of the small network is known beforehand, no large one is trained.

    Parameters
    ----------
    criterion, pruned, widths, learning_rate, momentum, weight_decay, batch_size, sparsity
        As `Pruning` takes them, and `pretrained`.
    cap : float, optional
        Steps, as a multiple of the large network's, at most; the paper's code has 2 for ImageNet,
        and none for CIFAR.

    References
    ----------
    Liu et al. (2019), arXiv 1810.05270.

    Examples
    --------
    >>> [ScratchB(cap=cap).begin(steps=100, rng=0).steps for cap in (None, 2)]
    [393, 200]
    """

    name: ClassVar[str] = "scratch-b"
    origin: ClassVar[Literal["trained", "initial", "fresh"]] = "fresh"

    cap: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("cap", least=1)

    def budget(self, steps: int, ratio: float) -> int:
        """Give as much compute."""
        return equal_compute(steps, ratio, self.cap)


@dataclass(frozen=True)
class LotteryTicket(Pruning):
    """Train a pruned network from the weights that the large one began with.

    Compare it with ``scratch-e`` of the same criterion, whose weights are drawn anew: the paper
    found no gain at a high learning rate.

    Parameters
    ----------
    criterion, pruned, widths, learning_rate, momentum, weight_decay, batch_size, sparsity
        As `Pruning` takes them; `pretrained` cannot be, as the first weights are not known then.
    rounds : int
        Times that weights are pruned and the rest rewound; the share is of what the round before
        left. More than 1 is for single weights only.

    References
    ----------
    Frankle and Carbin (2019), arXiv 1803.03635; Liu et al. (2019), arXiv 1810.05270.

    Examples
    --------
    >>> LotteryTicket(rounds=2).begin(steps=100, rng=0).steps
    300
    """

    name: ClassVar[str] = "lottery-ticket"
    origin: ClassVar[Literal["trained", "initial", "fresh"]] = "initial"

    criterion: Literal["l1-norm", "soft-filter", "network-slimming", "magnitude"] = "magnitude"
    rounds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1 or (self.rounds > 1 and self.criterion != "magnitude"):
            self._refuse("rounds", "give 1, or more with the criterion magnitude")
        if self.pretrained:
            self._refuse("pretrained", "give the network as it was before training")

    @property
    def prunings(self) -> int:
        """How often the network is pruned."""
        return self.rounds

    def budget(self, steps: int, ratio: float) -> int:
        """Give as many steps."""
        return steps

    def rival(self, task: Images) -> Pruning | None:
        """Give weights that are drawn anew."""
        return self.as_loop(ScratchE)


class PruningLearner(Learner):
    """Train the large network; prune it before the step that follows; train what is left.

    Attributes
    ----------
    network : torch.nn.Module
        The one in training: the large one, then what is left of it.
    large_steps : int
        Steps of the large network, 0 where it is not trained.
    phase : int
        Times that it was pruned.
    kept : list of list of int
        The channels that each convolution keeps.
    masks : dict of str to torch.Tensor
        The weights that are there; empty where channels are pruned.
    ratio : float
        Floating-point operations of the large network over those of what is left; 1 where that is
        not known yet, and then `steps` may grow when it is.
    """

    def __init__(
        self, loop: Pruning, task: Images, model: Any, steps: int, rng: np.random.Generator
    ) -> None:
        super().__init__(steps, rng)
        self.loop, self.asked = loop, steps
        sets = task.sets
        if model is None:
            widths = widths_of(loop.widths)
            model = convolutional(widths, sets.images.shape[1], sets.classes, self.random)
        self.large = self.network = model
        self.groups = chain(model)
        device = next(model.parameters()).device
        self.images, self.labels, self.test_images, self.test_labels = (
            torch.from_numpy(part).to(device) for part in sets
        )
        self.first = Weights(model).state_dict()
        self.large_steps = steps if loop.trains_large else 0
        self.phase, self.start = 0, 0
        self.kept: Kept = [list(range(count)) for count in self._channels()]
        self.masks: Masks = {}
        self.known: Figures = {}
        self.order = torch.empty(0, dtype=torch.int64)
        self.optimizer = self._new_optimizer()
        self.ratio = 1.0
        if loop.predefined:
            chosen = [list(range(count)) for count in loop.counts(self._channels())]
            self.ratio = self._ratio(rebuild(model, self.groups, chosen))
        self._plan()
        self.weights = Weights(model)
        # What is left must be known before its weights are read.
        self.parts = {"pruning": self, "model": self.weights}

    def step(self) -> Figures:
        """Take one step, of whichever network is in training."""
        figures: Figures = {}
        if self.done == self.stop:
            self._prune()
            figures = {**self.known, "ratio": self.ratio}
        loop, place, steps = self.loop, self.done - self.start, self.stop - self.start
        rate = loop.rate if self.phase else loop.large_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate(place, steps)
        rows = self._rows(place)
        self.network.train()
        out = self.network(self.images[rows])
        loss = torch.nn.functional.cross_entropy(out, self.labels[rows])
        self.optimizer.zero_grad()
        loss.backward()
        if self.phase == 0 and loop.criterion == "network-slimming":
            self._penalise_scales()
        mask_gradients(self.network, self.masks)
        self.optimizer.step()
        ended = (place + 1) % self._epoch == 0 or place + 1 == steps
        if self.phase == 0 and loop.criterion == "soft-filter" and ended:
            zero_smallest(self.network, self.groups, loop.counts(self._channels()))
        # Back takes twice the operations of forward.
        return {"loss": loss.item(), **figures, "flops": 3 * len(rows) * self.image_flops}

    def outcomes(self) -> Outcomes:
        """Give the share of test images that are told, and what the network costs.

        Returns
        -------
        dict of str to float
            ``accuracy``; ``flops`` of an image; ``parameters``; ``ratio``; and, once they are
            known, ``unpruned`` and ``untuned``: the accuracies of the large network, and of it
            pruned without further training.
        """
        return {
            "accuracy": self._right(),
            "flops": self.image_flops,
            "parameters": float(parameters(self.network, self.masks)),
            "ratio": self.ratio,
            **self.known,
        }

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows, save the weights in training."""
        return {
            "asked": self.asked,
            "phase": self.phase,
            "start": self.start,
            "kept": self.kept,
            "masks": self.masks,
            "known": self.known,
            "order": self.order,
            "first": self.first,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; loop, task and network must be the same.

        Raises
        ------
        UsageError
            If the checkpoint is of another number of steps, or of another network.
        """
        if state["asked"] != self.asked:
            raise UsageError(
                f"the checkpoint is of {state['asked']} steps, and {self.asked} are asked for",
                mend="resume with as many steps",
            )
        for name in ("phase", "start", "kept", "masks", "known", "order", "first"):
            setattr(self, name, state[name])
        self.network = self.large
        if self.phase:
            self.network = rebuild(self.large, self.groups, self.kept)
            self.ratio = self._ratio(self.network)
        self.weights.model = self.network
        self.optimizer = self._new_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self._plan()

    def _prune(self) -> None:
        """Begin with what is left."""
        loop = self.loop
        if self.phase == 0 and (loop.trains_large or loop.pretrained):
            self.known["unpruned"] = self._accuracy()
        self._choose()
        origin = copy.deepcopy(self.network)
        if loop.origin == "initial":
            Weights(origin).load_state_dict(self.first)
        self.network = self.weights.model = rebuild(origin, self.groups, self.kept)
        # From here on, nothing is drawn as it was for the large network.
        self.random.manual_seed(seed_of(self.rng))
        if loop.origin == "fresh":
            initialise(self.network, self.random, self.masks)
        apply_masks(self.network, self.masks)
        if loop.origin == "trained":
            self.known["untuned"] = self._accuracy()
        self.phase, self.start = self.phase + 1, self.done
        self.ratio = self._ratio(self.network)
        self.optimizer = self._new_optimizer()  # momentum is of the large network's weights
        self._plan()

    def _choose(self) -> None:
        """Decide what is left."""
        loop, network, groups = self.loop, self.network, self.groups
        if loop.criterion == "magnitude":
            self.masks = magnitude_masks(network, loop.shares[0], self.masks or None)
        elif loop.criterion == "network-slimming":
            self.kept = slimmed(network, groups, loop.shares[0])
        else:
            order = 1 if loop.criterion == "l1-norm" else 2
            self.kept = [
                largest(norms_of_filters(network, group, order), count)
                for group, count in zip(groups, loop.counts(self._channels()), strict=True)
            ]

    def _plan(self) -> None:
        """Say where this phase stops, and the training."""
        more = self.loop.budget(self.asked, self.ratio)
        self.stop = self.start + more if self.phase else self.large_steps
        self.steps = self.stop + (self.loop.prunings - self.phase) * more
        self.image_flops = float(flops(self.network, self.images.shape[1:], self.masks))

    def _rows(self, place: int) -> torch.Tensor:
        """Take the next rows of an order that is drawn anew every epoch."""
        size, batch = len(self.images), self._batch
        at = place % self._epoch
        if at == 0:
            self.order = torch.randperm(size, generator=self.random)
        return self.order[at * batch : (at + 1) * batch].to(self.images.device)

    @property
    def _batch(self) -> int:
        return min(self.loop.batch_size, len(self.images))

    @property
    def _epoch(self) -> int:
        return len(self.images) // self._batch

    def _channels(self) -> list[int]:
        return [self.network.get_submodule(one.producers[0]).out_channels for one in self.groups]

    def _ratio(self, small: torch.nn.Module) -> float:
        shape = self.images.shape[1:]
        return flops(self.large, shape) / flops(small, shape, self.masks)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        loop = self.loop
        return torch.optim.SGD(
            self.network.parameters(),
            lr=loop.learning_rate,
            momentum=loop.momentum,
            weight_decay=loop.weight_decay,
        )

    def _penalise_scales(self) -> None:
        for group in self.groups:
            for name in group.norms:
                scale: Any = self.network.get_submodule(name).weight
                scale.grad.add_(self.loop.sparsity * scale.detach().sign())

    def _accuracy(self) -> float:
        return float(self._right().mean())

    def _right(self) -> NDArray[np.float64]:
        self.network.eval()
        with torch.no_grad():
            parts = self.test_images.split(1024)
            found = torch.cat([self.network(part).argmax(dim=1) for part in parts])
        return (found == self.test_labels).double().cpu().numpy()


# --- budgets --------------------------------------------------------------------------------------


def equal_compute(budget: int, ratio: float, cap: float | None = None) -> int:
    """Give the steps, or epochs, in which a smaller network costs what the large one did.

    Parameters
    ----------
    budget : int
        Steps or epochs of the large network.
    ratio : float
        Floating-point operations of the large network over those of the smaller one, 1 or more.
    cap : float, optional
        The ratio at most.

    Returns
    -------
    int
        Rounded down.

    Examples
    --------
    >>> [equal_compute(90, ratio, cap=2) for ratio in (1.0, 1.5732, 4.0)]
    [90, 141, 180]
    """
    return math.floor(budget * min(ratio, math.inf if cap is None else cap))


def stepped_rate(step: int, steps: int, rate: float) -> float:
    """Give a rate that falls to a tenth after half of the steps, and again after three quarters.

    Examples
    --------
    >>> [round(stepped_rate(step, 160, 0.1), 6) for step in (0, 79, 80, 119, 120, 159)]
    [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    """
    falls = (2 * step >= steps) + (4 * step >= 3 * steps)
    return rate * 0.1**falls


# --- the decision ---------------------------------------------------------------------------------


class Arm(NamedTuple):
    """What a loop reached over seeds.

    Attributes
    ----------
    values : tuple of float
        One a seed.
    mean, sd : float
        Over seeds; the deviation is that of a sample.
    difference : Difference
        From the arm that all are compared with, seed by seed.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    difference: Difference


def decision_table(
    accuracy: Mapping[str, ArrayLike], against: str = "prune-finetune", confidence: float = 0.95
) -> dict[str, Arm]:
    """Compare arms over the same seeds.

    Parameters
    ----------
    accuracy : mapping of str to array_like, shape (seeds,)
    against : str
        The arm that all are compared with.
    confidence : float
        Of the interval, by Student's t over the differences of pairs.

    Raises
    ------
    UsageError
        If there is no such arm.
    ValueError
        If there are fewer than two seeds, or not as many in each arm.

    Examples
    --------
    >>> table = decision_table({"prune-finetune": [0.90, 0.92], "scratch-b": [0.93, 0.95]})
    >>> round(table["scratch-b"].difference.mean, 3)
    0.03
    """
    if against not in accuracy:
        raise UsageError(f"there is no arm {against!r}", mend=f"one of {', '.join(accuracy)}")
    values = {name: np.asarray(one, np.float64) for name, one in accuracy.items()}
    return {
        name: Arm(
            tuple(one.tolist()),
            float(one.mean()),
            float(one.std(ddof=1)),
            paired_t(one, values[against], confidence=confidence),
        )
        for name, one in values.items()
    }


def rethink(
    arms: Mapping[str, Pruning] | None = None,
    task: Images | None = None,
    *,
    steps: int | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> dict[str, list[Figures]]:
    """Train every arm with every seed; of one seed, arms share the large network.

    Parameters
    ----------
    arms : mapping of str to Pruning, optional
        By default ``prune-finetune``, ``scratch-e`` and ``scratch-b`` with their defaults.
    task : Images, optional
    steps : int, optional
        Of the large network.
    seeds : sequence of int

    Returns
    -------
    dict of str to list of dict
        What `PruningLearner.evaluate` gives after the last step, with ``steps``, one a seed:
        `decision_table` compares their accuracies.

    Examples
    --------
    >>> found = rethink({"small": ScratchE(widths="4")}, steps=2, seeds=[0])
    >>> found["small"][0]["steps"]
    2.0
    """
    loops = arms or {one.name: one for one in (PruneFinetune(), ScratchE(), ScratchB())}
    found: dict[str, list[Figures]] = {name: [] for name in loops}
    for seed in seeds:
        ready: dict[tuple[Any, ...], Path] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, loop in loops.items():
                learner: Any = loop.begin(task, steps=steps, rng=seed)
                known = ready.get(loop.large_settings)
                if loop.trains_large and known:
                    learner.load(known)
                while learner.done < learner.steps:
                    if loop.trains_large and learner.done == learner.large_steps and not known:
                        known = ready[loop.large_settings] = Path(folder) / f"{len(ready)}.pt"
                        learner.save(known)
                    learner.advance()
                found[name].append({**learner.evaluate(), "steps": float(learner.done)})
    return found
