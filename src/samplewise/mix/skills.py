"""Skills drawn by how much they help those that are not learned yet.

Rows are of named skills; a graph says which skill helps which (see `samplewise.mix.skill_graph`).
``skill-it`` starts with the skills that help most, and each time it is told the losses it moves
towards those that help where the loss is high. Use it to train, to fine-tune for some skills, or to
prepare for others, on a fixed number of steps. ``stratified-skills`` is its plain rival.

Cost: O(1) a draw, O(k m) each time that losses of m targets are told for k skills.
Source: arXiv 2307.14430, algorithm 1; knobs that only the published code has say so.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Setting, Sources, Stream, largest_remainder
from samplewise.mix.mixture import MixtureStream, Stage
from samplewise.mix.skill_graph import Floats, SkillGraph, check_losses
from samplewise.rng import RandomState

__all__ = [
    "SkillIt",
    "SkillStream",
    "StratifiedSkills",
    "skill_law",
    "static_mixture",
    "stratified_law",
]


@dataclass(frozen=True)
class GraphMixer(Mixer):
    """Base of the methods that draw skills by a graph."""

    graph: str | None = None

    def start(
        self,
        sources: Sources,
        *,
        rng: RandomState = None,
        total: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        graph: SkillGraph | ArrayLike | None = None,
    ) -> Stream:
        """Begin to draw.

        Parameters
        ----------
        sources : Sources
            A skill each.
        rng, total, rank, world_size
            As every mixer takes them.
        graph : SkillGraph or array_like, shape (skills, targets), optional
            In place of the knob; a matrix has its rows in the order of the sources.

        Raises
        ------
        UsageError
            If the graph is not of these sources.
        """
        setting = Setting.of(rng, total, rank, world_size)
        return self.stream(sources, setting, graph)

    def stream(
        self,
        sources: Sources,
        setting: Setting,
        graph: SkillGraph | ArrayLike | None = None,
    ) -> Stream:
        """Make the stream."""
        names = sources.names
        if isinstance(graph, SkillGraph):
            known = graph
        elif graph is not None:
            known = SkillGraph.of(graph, names)
        elif self.graph is not None:
            known = SkillGraph.read(self.graph, names)
        else:
            known = SkillGraph.of(np.eye(len(names)), names)
        return self.drawn_by(known.ordered(names), sources, setting)

    @abstractmethod
    def drawn_by(
        self,
        graph: SkillGraph,
        sources: Sources,
        setting: Setting,
    ) -> Stream:
        """Make the stream of a graph whose rows are in the order of the sources."""


@dataclass(frozen=True)
class SkillIt(GraphMixer):
    """Draw skills that help where the loss is high.

    The probability of skill i is in proportion to exp(eta x sum over targets j of A_ij L_j), where
    L_j is the sum of the last `window` losses told for j; before any is told, all are taken as 1.
    Tell mean losses of a held-out set at the end of every round (``stream.tell(losses)``), the same
    on all processes; the paper takes 5 to 12 rounds. Never told, it draws by the static mixture.
    The diagonal of the graph counts: a skill with 0 there is not drawn for its own sake.

    Parameters
    ----------
    graph : str, optional
        A file that `SkillGraph.read` reads; by default no skill helps another. A matrix, or a
        learned graph, is given to `start` as ``graph=``.
    eta : float
        Of 1/loss: higher moves further. The paper's: LEGO 0.5, addition 0.1, Natural Instructions
        0.2 to 0.8, RedPajama 100.
    window : int, optional
        Losses that count: those told last; none: all that were told.
    average : bool
        Take the mean of the window and not its sum, as the published code does where it fine-tunes
        for some skills; then eta means the same in every round.
    clip : bool
        Take negative edges as 0, as the paper's text has it; some of its published graphs hold
        negative ones, which its code keeps.
    relative : bool
        Divide losses by those told first, so that eta has no unit. Only in the published code.
    fade : float
        What edges between different skills are multiplied by each time losses are told: below 1
        where help ends as skills are learned (0.5 in the published code, off by default).
    hold_isolated : bool
        Give skills without an edge their share 1/k, and draw the others by their losses. Only in
        the published code.

    References
    ----------
    Chen, Roberts, Bhatia, Wang, Zhang, Sala, Ré (2023), arXiv 2307.14430.

    Examples
    --------
    >>> from samplewise.mix import Sources
    >>> graph = [[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]]
    >>> stream = SkillIt().start(Sources.of([100, 100, 100]), rng=0, graph=graph)
    >>> stream.law().round(3)
    array([0.36, 0.36, 0.28])
    >>> stream.tell([0.1, 0.7, 0.7])  # the first is learned: less of it
    >>> stream.law().round(3)
    array([0.287, 0.388, 0.325])
    """

    name: ClassVar[str] = "skill-it"
    paper: ClassVar[str] = "2307.14430"
    cost: ClassVar[str] = "O(1) a draw, O(k m) a round"

    eta: float = 0.5
    window: int | None = 3
    average: bool = False
    clip: bool = True
    relative: bool = False
    fade: float = 1.0
    hold_isolated: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("eta")
        self.require("window", least=1)
        self.require("fade", most=1)

    def drawn_by(
        self,
        graph: SkillGraph,
        sources: Sources,
        setting: Setting,
    ) -> SkillStream:
        """Make the stream."""
        return SkillStream(sources, setting, graph, self)


class SkillStream(MixtureStream):
    """A stream whose law follows the losses that it is told.

    Attributes
    ----------
    graph : SkillGraph
        As it was given, but for what was clipped.
    told : list of ndarray of float64, shape (targets,)
        All losses told so far.
    """

    def __init__(
        self,
        sources: Sources,
        setting: Setting,
        graph: SkillGraph,
        method: SkillIt,
    ) -> None:
        self.graph = graph.clipped() if method.clip else graph
        self.method = method
        self.told: list[Floats] = []
        first = [Stage(0, self._law(), np.ones(len(sources.sizes)))]
        super().__init__(sources, setting, first)

    def tell(self, losses: ArrayLike) -> None:
        """Say what the loss on each target is now; draws from here on heed it.

        Parameters
        ----------
        losses : array_like, shape (targets,)
            Mean losses in the order of `graph.targets`, 0 or more. Nothing is learned from those
            that raise an error.

        Raises
        ------
        UsageError
            If they are not one finite number for every target, or `relative` and 0 at first.
        """
        values = check_losses(losses, self.graph.targets)
        if self.method.relative and not self.told and not values.all():
            raise UsageError(
                f"relative is true, and the first losses are {values}",
                mend="tell losses above 0 first",
            )
        self.told.append(values)
        self.change(self._law())

    def counts(self, n: int) -> NDArray[np.int64]:
        """Say how many of `n` rows each skill gets, where a round's rows are laid out at once."""
        return largest_remainder(self.law(), n)

    def _law(self) -> Floats:
        method, graph = self.method, self.graph
        losses = np.array(self.told).reshape(len(self.told), len(graph.targets))
        if method.relative and len(losses):
            losses = losses / losses[0]
        # The first losses meet the graph as it is.
        faded = method.fade ** max(len(losses) - 1, 0)
        weights = np.where(graph.own, graph.weights, faded * graph.weights)
        how = (method.eta, method.window, method.average)
        alone = isolated(graph)
        if not method.hold_isolated or alone.all():
            return skill_law(weights, losses, *how)
        law = np.full(len(alone), 1 / len(alone))
        law[~alone] *= skill_law(weights[~alone], losses, *how) * int((~alone).sum())
        return law

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Give all that decides what follows; it grows with the rounds, not with the rows."""
        told = [losses.tolist() for losses in self.told]
        return super().state_dict(position) | {"told": told, "graph": self._mark()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; sources, graph and knobs must be the same.

        Raises
        ------
        UsageError
            If the graph is another one.
        """
        if state.get("graph") != self._mark():
            raise UsageError("the state is of another graph", mend="resume with the same graph")
        super().load_state_dict(state)
        self.told = [np.asarray(losses, dtype=np.float64) for losses in state["told"]]

    def _mark(self) -> int:
        names = repr((self.graph.skills, self.graph.targets)).encode()
        return zlib.crc32(self.graph.weights.tobytes(), zlib.crc32(names))


@dataclass(frozen=True)
class StratifiedSkills(GraphMixer):
    """Draw alike all skills that matter for the targets.

    All skills where all are targets; where some are, those and the ones with an edge to one of
    them; where the targets are others, the ones with an edge.

    Parameters
    ----------
    graph : str, optional
        A file that `SkillGraph.read` reads; by default all skills are targets.

    References
    ----------
    Chen et al. (2023), arXiv 2307.14430, section 3.2.

    Examples
    --------
    >>> from samplewise.mix import Sources
    >>> graph = SkillGraph.of([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]).onto(["1"])
    >>> StratifiedSkills().start(Sources.of([10, 10, 10]), rng=0, graph=graph).law()
    array([0.5, 0.5, 0. ])
    """

    name: ClassVar[str] = "stratified-skills"
    paper: ClassVar[str] = "2307.14430"
    cost: ClassVar[str] = "O(1) a draw"

    def drawn_by(
        self,
        graph: SkillGraph,
        sources: Sources,
        setting: Setting,
    ) -> Stream:
        """Make the stream."""
        stage = Stage(0, stratified_law(graph), np.ones(len(graph.skills)))
        return MixtureStream(sources, setting, [stage])


def skill_law(
    weights: ArrayLike,
    losses: ArrayLike,
    eta: float = 0.5,
    window: int | None = 3,
    average: bool = False,
) -> Floats:
    """Give the probability of each skill after some rounds.

    Parameters
    ----------
    weights : array_like, shape (skills, targets)
        The graph.
    losses : array_like, shape (rounds, targets)
        In the order in which they were measured; with no round, all losses are taken as 1.
    eta : float
    window : int, optional
        Rounds that count: the last ones; none: all.
    average : bool
        Take their mean in place of their sum.

    Returns
    -------
    ndarray of float64, shape (skills,)

    References
    ----------
    arXiv 2307.14430, algorithm 1

    Examples
    --------
    >>> skill_law([[1, 0.5], [0, 1]], [[1.0, 2.0], [0.5, 2.0]], eta=1.0)
    array([0.37754067, 0.62245933])
    """
    matrix, history = np.asarray(weights, np.float64), np.asarray(losses, np.float64)
    counted = history if window is None else history[-window:]
    if not len(counted):
        counted = np.ones((1, matrix.shape[1]))
    scores = eta * (matrix @ (counted.mean(axis=0) if average else counted.sum(axis=0)))
    # Seen from the highest: the exponential of a large score is no number.
    powers = np.exp(scores - scores.max())
    law: Floats = powers / powers.sum()
    return law


def static_mixture(graph: SkillGraph, eta: float = 0.5) -> Floats:
    """Give the mixture before any loss is known, which is all of the method in one round.

    Examples
    --------
    >>> static_mixture(SkillGraph.of([[1, 0.5], [0, 1]]), eta=1.0).round(4)
    array([0.6225, 0.3775])
    """
    return skill_law(graph.weights, np.empty((0, len(graph.targets))), eta)


def stratified_law(graph: SkillGraph) -> Floats:
    """Give every skill that matters for the targets the same probability, and the others 0.

    Where none does, all are alike.

    Examples
    --------
    >>> stratified_law(SkillGraph.of([[0.2], [0.0], [0.1]])).tolist()
    [0.5, 0.0, 0.5]
    """
    chosen = np.asarray((graph.edges | graph.own).any(axis=1), np.float64)
    if not chosen.any():
        chosen += 1
    law: Floats = chosen / chosen.sum()
    return law


def isolated(graph: SkillGraph) -> NDArray[np.bool_]:
    """Say which skills neither help another one nor are helped."""
    helped = (graph.own & graph.edges.any(axis=0)).any(axis=1)
    return np.asarray(~(graph.edges.any(axis=1) | helped))
