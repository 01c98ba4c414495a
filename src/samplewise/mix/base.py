"""What the methods of the room share: each decides how often something is drawn.

There are two kinds. A `Mixer` says in which order the rows of some sources come while a model is
trained, as a `Stream` that never ends. An `Allocator` splits a sampling budget over groups or
prompts, round by round, as an `Allocation` that is asked and told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    from samplewise.pool import Pool

__all__ = [
    "Allocation",
    "Allocator",
    "Draws",
    "Mix",
    "Mixer",
    "Setting",
    "Sources",
    "Stream",
    "largest_remainder",
    "mix",
]

_CHUNK = 4096  # draws made at once where they are taken one by one


class Draws(NamedTuple):
    """Rows in the order in which they are to be trained on.

    Attributes
    ----------
    indices : ndarray of int64, shape (draws,)
        Rows: numbered through all sources, source after source, or as the labels they came by.
    sources : ndarray of int64, shape (draws,)
        The source of each.
    weights : ndarray of float64, shape (draws,)
        What the loss of each is to be multiplied by; 1 where the method does not weight.
    """

    indices: NDArray[np.int64]
    sources: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """What is drawn from: groups of rows, such as languages, domains or skills.

    Attributes
    ----------
    sizes : ndarray of int64, shape (sources,)
        Rows of each; 1 or more.
    names : tuple of str
    rows : ndarray of int64, shape (rows,), optional
        The rows of the first source, then those of the second, ...; None where rows are numbered
        in that order, so that nothing is kept for each row.

    Examples
    --------
    >>> Sources.of(labels=["en", "sw", "en"])
    Sources(sizes=array([2, 1]), names=('en', 'sw'))
    """

    sizes: NDArray[np.int64]
    names: tuple[str, ...]
    rows: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def total(self) -> int:
        """Rows of all sources."""
        return int(self.sizes.sum())

    @property
    def first(self) -> NDArray[np.int64]:
        """Where each source begins among all rows."""
        return np.concatenate([[0], self.sizes.cumsum()[:-1]]).astype(np.int64)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each source in all rows."""
        shares: NDArray[np.float64] = self.sizes / self.sizes.sum()
        return shares

    @classmethod
    def of(
        cls,
        sizes: Mapping[str, int] | Sequence[int] | NDArray[Any] | int | None = None,
        labels: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Self:
        """Read sources from their sizes, or from a label of every row.

        Parameters
        ----------
        sizes : int, sequence of int, or mapping from name to int, optional
            Rows of one source, or of each.
        labels : array_like, shape (rows,), optional
            The source of every row; sources are ordered by their labels.

        Raises
        ------
        UsageError
            If both are given or neither, there is no source, a size is no whole number above 0, or
            labels are not alike in kind.
        """
        if (sizes is None) == (labels is None):
            raise UsageError("sources need sizes or labels", mend="give one of the two")
        if labels is not None:
            values = np.asarray(labels)
            if values.ndim != 1 or not len(values):
                raise UsageError(f"labels have the shape {values.shape}", mend="give one a row")
            try:
                found, numbers = np.unique(values, return_inverse=True)
            except TypeError as error:
                raise UsageError(f"labels cannot be ordered: {error}", mend="give text") from error
            rows = np.argsort(numbers, kind="stable").astype(np.int64)
            return cls(np.bincount(numbers).astype(np.int64), tuple(map(str, found)), rows)
        if isinstance(sizes, Mapping):
            names = tuple(map(str, sizes))
            counts = np.asarray(list(sizes.values()))
        else:
            counts = np.atleast_1d(np.asarray(sizes))
            names = tuple(map(str, range(len(counts))))
        whole = counts.ndim == 1 and len(counts) and np.issubdtype(counts.dtype, np.integer)
        if not whole or counts.min() < 1:
            raise UsageError(f"sizes are {sizes!r}", mend="give whole numbers of rows, 1 or more")
        return cls(counts.astype(np.int64), names)

    @classmethod
    def of_pool(cls, pool: Pool) -> Self:
        """Read the sources of a pool's rows; where they have none, all are of one.

        Raises
        ------
        UsageError
            If the pool is empty.
        """
        domains = pool.domains
        if domains is None:
            return cls.of(sizes=len(pool))
        named = np.asarray([*domains.names, "without a source"])
        return cls.of(labels=named[domains.codes])


@dataclass(frozen=True)
class Mix(registry.Method, ABC):
    """Base of all methods of the room."""

    room: ClassVar[str] = "mix"
    kind: ClassVar[str]
    """``"mixer"`` or ``"allocator"``."""

    @classmethod
    def named(cls, spec: str | Mix) -> Self:
        """Make a method of this kind from ``NAME`` or ``NAME:KNOB=VALUE:...``; a made one passes.

        Raises
        ------
        UsageError
            If there is no such method of this kind, or no such knob.

        Examples
        --------
        >>> Mixer.named("temperature:tau=3").tau
        3.0
        """
        return registry.named(cls, spec)


# --- streams --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What decides a stream beside its method and its sources.

    Parameters
    ----------
    seed : int
    total : int, optional
        Draws that the whole training is going to take, over all processes.
    rank, world_size : int
        Of this process, and how many there are.

    Raises
    ------
    UsageError
        If a number makes no sense.
    """

    seed: int
    total: int | None = None
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"rank is {self.rank} and world_size {self.world_size}",
                mend="give 0 <= rank < world_size",
            )
        if self.total is not None and self.total < 1:
            raise UsageError(f"total is {self.total}", mend="give the draws of the whole training")

    @classmethod
    def of(cls, rng: RandomState, total: int | None, rank: int, world_size: int) -> Self:
        """Make one whose seed is drawn from `rng`."""
        return cls(seed_of(generator(rng)), total, rank, world_size)

    def total_for(self, method: str) -> int:
        """Give the total to a method that cannot do without.

        Raises
        ------
        UsageError
            If there is none.
        """
        if self.total is None:
            raise UsageError(f"{method} needs the total of draws", mend="give total=")
        return self.total


class Stream(ABC):
    """Rows without end, decided by a seed and a position alone.

    With several processes each takes every `world_size`th draw of one and the same order, so that a
    run may go on with more or fewer of them than it was stopped with.

    Parameters
    ----------
    sources : Sources
    setting : Setting

    Attributes
    ----------
    position : int
        Draws that are behind, over all processes.
    """

    def __init__(self, sources: Sources, setting: Setting) -> None:
        self.sources, self.seed = sources, setting.seed
        self.rank, self.world_size = setting.rank, setting.world_size
        self.position = 0
        self._changes = 0  # of what decides later draws: those made before one hold no more
        self._ahead: tuple[int, int, Draws] | None = None

    def draw(self, count: int) -> Draws:
        """Take the next draws of this process; all processes must take as many.

        Raises
        ------
        UsageError
            If `count` is negative.
        """
        if count < 0:
            raise UsageError(f"count is {count}", mend="give 0 or more")
        start, stop = self.position, self.position + count * self.world_size
        first, made = self._made_for(start, stop)
        self.position = stop
        own = slice(start - first + self.rank, stop - first, self.world_size)
        return Draws(made.indices[own].copy(), made.sources[own].copy(), made.weights[own].copy())

    def _made_for(self, start: int, stop: int) -> tuple[int, Draws]:
        """Make draws, and some ahead, as small batches would each cost as much; say from where."""
        if self._ahead is not None:
            first, changes, made = self._ahead
            inside = first <= start <= stop <= first + len(made.indices)
            if inside and changes == self._changes:
                return first, made
        made = self.between(start, max(stop, start + _CHUNK * self.world_size))
        self._ahead = (start, self._changes, made)
        return start, made

    @property
    def weighted(self) -> bool:
        """Whether a draw may have a weight other than 1."""
        return False

    @abstractmethod
    def between(self, start: int, stop: int) -> Draws:
        """Give the draws of all processes from one position to another."""

    def tell(self, losses: ArrayLike) -> None:
        """Say how well the model does on each source (or target) now; what follows may heed it.

        Parameters
        ----------
        losses : array_like, shape (sources,)
            Mean losses, 0 or more.
        """
        raise UsageError("this stream learns from nothing", mend="use skill-it, which does")

    def __iter__(self) -> Iterator[int]:
        """Give this process's rows one by one; the position moves with each."""
        while True:
            start, changes = self.position, self._changes
            stop = start + _CHUNK * self.world_size
            rows = self.between(start, stop).indices[self.rank :: self.world_size]
            for place, row in enumerate(rows.tolist(), 1):
                self.position = start + place * self.world_size
                yield row
                if (self.position, self._changes) != (start + place * self.world_size, changes):
                    break  # it was moved, or told something, meanwhile

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Give all that decides what follows, as plain JSON values.

        Parameters
        ----------
        position : int, optional
            What to go on from, where draws were taken ahead of their use, as a loader with workers
            does: the draws that were used, over all processes.
        """
        return {"seed": self.seed, "position": self.position if position is None else position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; sources must be the same."""
        self.seed, self.position = int(state["seed"]), int(state["position"])
        self._changes += 1


@dataclass(frozen=True)
class Mixer(Mix):
    """Base of the methods that say in which order rows come.

    A method derives from it, sets `name`, and writes `stream`.
    """

    kind: ClassVar[str] = "mixer"

    def start(
        self,
        sources: Sources,
        *,
        rng: RandomState = None,
        total: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> Stream:
        """Begin to draw.

        Parameters
        ----------
        sources : Sources
        rng : int, numpy.random.Generator or None
            All processes must give the same seed.
        total : int, optional
            Draws that the whole training is going to take, over all processes; methods whose
            schedule depends on it need it.
        rank, world_size : int
            Of this process, and how many there are.

        Raises
        ------
        UsageError
            If a number makes no sense, or the method needs a total and there is none.
        """
        return self.stream(sources, Setting.of(rng, total, rank, world_size))

    @abstractmethod
    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""


def mix(
    pool: Pool | None = None,
    method: str | Mixer = "temperature",
    *,
    sizes: Mapping[str, int] | Sequence[int] | NDArray[Any] | int | None = None,
    labels: Sequence[Any] | NDArray[Any] | None = None,
    rng: RandomState = None,
    total: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Stream:
    """Begin to draw rows for training, source by source as a method decides.

    Parameters
    ----------
    pool : Pool, optional
        Rows with a source, or a label, each.
    method : str or Mixer
        ``NAME`` or ``NAME:KNOB=VALUE:...``.
    sizes, labels
        In place of a pool: as `Sources.of` takes them.
    rng : int, numpy.random.Generator or None
    total : int, optional
        Draws of the whole training, over all processes.
    rank, world_size : int
        Of this process, and how many there are.

    Returns
    -------
    Stream

    Raises
    ------
    UsageError
        If there is no such method or knob, or nothing to draw from.

    Examples
    --------
    >>> stream = mix(sizes={"en": 900, "sw": 100}, method="temperature:tau=inf", rng=0)
    >>> drawn = stream.draw(10_000)
    >>> bool(abs((drawn.sources == 1).mean() - 0.5) < 0.02)
    True
    """
    if pool is not None and (sizes is not None or labels is not None):
        raise UsageError("a pool has sources of its own", mend="give the pool, or sizes")
    sources = Sources.of(sizes, labels) if pool is None else Sources.of_pool(pool)
    made = Mixer.named(method)
    return made.start(sources, rng=rng, total=total, rank=rank, world_size=world_size)


# --- allocations ----------------------------------------------------------------------------------


class Allocation(ABC):
    """A budget that is split as results come in.

    Parameters
    ----------
    groups : int
        Groups, or prompts.
    """

    def __init__(self, groups: int) -> None:
        if groups < 1:
            raise UsageError(f"groups is {groups}", mend="give 1 or more")
        self.groups = groups

    @abstractmethod
    def ask(self, n: int) -> NDArray[np.int64]:
        """Say how many of `n` draws each group gets; they sum to `n`."""

    @abstractmethod
    def tell(self, counts: ArrayLike, outcomes: Any) -> None:
        """Learn what came of draws.

        Parameters
        ----------
        counts : array_like of int, shape (groups,)
            Draws that were made of each group.
        outcomes
            What they turned out to be worth: the method says in which form.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows, as plain JSON values."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


@dataclass(frozen=True)
class Allocator(Mix):
    """Base of the methods that split a sampling budget.

    A method derives from it, sets `name`, and writes `start`, with further arguments of its own
    that have defaults.
    """

    kind: ClassVar[str] = "allocator"
    outcomes: ClassVar[type[Any] | None]
    """The NamedTuple in which results are told; None where none are heeded."""

    @abstractmethod
    def start(self, groups: int, *, rng: RandomState = None) -> Allocation:
        """Begin to allocate."""


def largest_remainder(shares: ArrayLike, count: int) -> NDArray[np.int64]:
    """Split a count in proportion to shares; what is left goes to the largest remainders.

    Where remainders are alike, the earlier share is given first.

    Parameters
    ----------
    shares : array_like, shape (groups,)
        0 or more, not all 0.
    count : int

    Returns
    -------
    ndarray of int64, shape (groups,)
        They sum to `count`.

    Raises
    ------
    UsageError
        If a share is negative or not finite, or all are 0.

    Examples
    --------
    >>> largest_remainder([1, 1, 2], 6)
    array([2, 1, 3])
    """
    weights = np.asarray(shares, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum():
        raise UsageError(f"shares are {weights}", mend="give finite numbers above 0")
    exact = weights / weights.sum() * count
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    # Rounding must not decide between remainders that are alike.
    order = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[order[: count - int(counts.sum())]] += 1
    return counts
