"""Filling the masks of a masked diffusion language model, with no grid of times.

`first-hitting` draws the moment at which each mask falls and calls the network only then: exact,
and with as many calls as masks, or fewer where groups fall together. `ancestral` is the usual
sampler on a grid of times, with an error of O(1 / steps). `masked-order` is what first hitting
comes to where the network takes no time: a random order of places. All three take any model that
maps tokens to logits (`samplewise.decode.base.MaskedModel`).

Cost for L masks and a vocabulary of V: first hitting L calls and O(L V) for draws; N steps of the
ancestral sampler up to N calls and O(N L V). Source: arXiv 2409.02908.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import MaskedModel, MaskedSampler, Unmasked
from samplewise.decode.categorical import RandomBits, categorical, open_uniform
from samplewise.decode.mask_schedule import Schedule, share_of_masks, time_of_share
from samplewise.decode.masked_network import Call, Network
from samplewise.errors import UsageError

__all__ = [
    "Ancestral",
    "FirstHitting",
    "MaskedOrder",
    "extrapolated",
    "group_starts",
    "hitting_times",
    "random_order",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Variant: TypeAlias = Literal["plain", "extrapolate", "predictor-corrector"]

_BLOCK = 2**22  # probabilities that are held at once


@dataclass(frozen=True)
class Ancestral(MaskedSampler):
    """The usual sampler: each step of a grid of times gives every mask a chance to fall.

    Too few steps let places fall together that depend on each other. Draw in 64 bits: with 32 the
    many steps act like a lower temperature (`samplewise.decode.categorical`).

    Parameters
    ----------
    steps : int
        Steps of equal length from time 1 to 0.
    cache : bool
        Whether the network is called only where a mask of any row has fallen since. Exact for a
        network that takes no time; one that does sees times that are older than they should be.
    temperature : float
        What logits are divided by, above 0.
    schedule : {'linear', 'cosine'}
        How many masks there are at a time.
    sample_dtype : {'float64', 'float32'}
        Of the random numbers.
    largest_gumbel : float, optional
        Scales random numbers so that no Gumbel number is larger than this, above 0: the fault of
        32 bits, made at will. ``max_gumbel("float32")`` is 16.6355.

    References
    ----------
    arXiv 2409.02908, sections 2 and 5

    Examples
    --------
    >>> model = lambda tokens, time: np.zeros((*tokens.shape, 3))
    >>> filled = Ancestral(steps=10).fill(model, [[0, 3, 3], [3, 1, 2]], vocabulary=3, rng=0)
    >>> filled.tokens[:, 0].tolist()[0], filled.tokens[1, 1:].tolist(), filled.calls <= 3
    (0, [1, 2], True)
    """

    steps: int = 1024
    cache: bool = True
    temperature: float = 1.0
    schedule: Schedule = "linear"
    sample_dtype: RandomBits = "float64"
    largest_gumbel: float | None = None

    name: ClassVar[str] = "ancestral"
    paper: ClassVar[str] = "2409.02908"
    cost: ClassVar[str] = "up to N calls and O(N L V) for N steps, L masks, V tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UsageError(f"knob 'steps' is {self.steps}", mend="give 1 or more")
        if self.largest_gumbel is not None and self.largest_gumbel <= 0:
            raise UsageError(
                f"knob 'largest_gumbel' is {self.largest_gumbel}",
                mend="give a number above 0, or none",
            )
        _check_temperature(self.temperature)

    def unmask(
        self, model: MaskedModel, tokens: Ints, vocabulary: int, rng: np.random.Generator
    ) -> Unmasked:
        """Step down the grid until no mask is left."""
        network = Network(model, vocabulary, self.temperature)
        masked = tokens == vocabulary
        grid = np.arange(self.steps + 1) / self.steps
        shares = share_of_masks(grid, self.schedule)
        call: Call | None = None
        fallen: list[tuple[Ints, Ints, Floats]] = []
        draws = 0
        for step in range(self.steps, 0, -1):
            rows, places = np.nonzero(tokens == vocabulary)
            if not len(rows):
                break
            if call is None or not self.cache:
                call = network.call(tokens, np.unique(rows), np.full(len(tokens), grid[step]))
            falls = float((shares[step] - shares[step - 1]) / shares[step])
            drawn = self._step(call, rows, places, falls, rng)
            draws += len(rows)
            fell = drawn < vocabulary
            if fell.any():
                tokens[rows[fell], places[fell]] = drawn[fell]
                fallen.append((rows[fell], places[fell], np.full(fell.sum(), grid[step - 1])))
                call = None
        times, order = _trace(masked, fallen)
        return Unmasked(tokens, times, order, network.calls, draws)

    def _step(
        self, call: Call, rows: Ints, places: Ints, falls: float, rng: np.random.Generator
    ) -> Ints:
        """Draw a token for each mask, or the number after the last token where it stays."""

        def draw(part: slice) -> Ints:
            laws = call.laws(rows[part], places[part]) * falls
            laws = np.column_stack([laws, np.full(len(laws), 1 - falls)])
            return categorical(laws, rng, self.sample_dtype, self.largest_gumbel)

        return _in_blocks(draw, len(rows), call.vocabulary)


@dataclass(frozen=True)
class FirstHitting(MaskedSampler):
    """Draw the moment at which each mask falls, and call the network only then.

    Token by token it draws from exactly the law that the ancestral sampler tends to with ever more
    steps. Groups that fall together cost one call each, and an error that grows with their size.
    Each row of a batch has its own times.

    Parameters
    ----------
    groups : int, optional
        Calls of the network: the masks of each row fall in so many groups of sizes as equal as can
        be. None stands for one call a mask.
    variant : {'plain', 'extrapolate', 'predictor-corrector'}
        How the law of a group is found. ``plain``: from the call before it. ``extrapolate``: the
        line through the two newest predictions, at the moment of each token; negative values become
        0 (that is a rule of our own: the paper's is not known). For few groups, 128 or less at
        1,024 tokens. ``predictor-corrector`` is experimental, and reconstructed: the paper's rule
        could not be read. Here, the next call, made anyway, redraws the group from the mean of its
        prediction before and after, by the same random numbers, so that a token stays where the
        prediction does. The network then speaks of tokens it can see, which a masked model was
        never taught.
    temperature : float
        What logits are divided by, above 0.
    schedule : {'linear', 'cosine'}
        How many masks there are at a time.
    sample_dtype : {'float64', 'float32'}
        Of the random numbers that choose tokens.

    References
    ----------
    arXiv 2409.02908, sections 4 and 5

    Examples
    --------
    >>> model = lambda tokens, time: np.zeros((*tokens.shape, 3))
    >>> filled = FirstHitting().fill(model, [[0, 3, 3, 3]], vocabulary=3, rng=0)
    >>> filled.calls, filled.draws, bool((np.diff(filled.times) < 0).all())
    (3, 3, True)
    """

    groups: int | None = None
    variant: Variant = "plain"
    temperature: float = 1.0
    schedule: Schedule = "linear"
    sample_dtype: RandomBits = "float64"

    name: ClassVar[str] = "first-hitting"
    aliases: ClassVar[tuple[str, ...]] = ("fhs",)
    paper: ClassVar[str] = "2409.02908"
    cost: ClassVar[str] = "L calls (or as many as groups) and O(L V) for L masks, V tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_groups(self.groups)
        _check_temperature(self.temperature)

    def unmask(
        self, model: MaskedModel, tokens: Ints, vocabulary: int, rng: np.random.Generator
    ) -> Unmasked:
        """Draw the order and the times of all masks, and fill them."""
        network = Network(model, vocabulary, self.temperature)
        masked = tokens == vocabulary
        starts = group_starts(masked.sum(axis=1), self.groups)
        order = random_order(masked, rng)
        times = hitting_times(masked.sum(axis=1), rng, self.schedule)
        filling = _Filling(network, tokens, order, starts, times, self.sample_dtype, rng)
        return filling.run(self.variant)


@dataclass(frozen=True)
class MaskedOrder(MaskedSampler):
    """Fill the masks in a random order, without times.

    First hitting sampling of a network that takes no time, as the plain masked model it then is.

    Parameters
    ----------
    groups : int, optional
        Calls of the network, as `FirstHitting` takes it.
    temperature : float
        What logits are divided by, above 0.
    sample_dtype : {'float64', 'float32'}
        Of the random numbers that choose tokens.

    References
    ----------
    arXiv 2409.02908, section 4.1

    Examples
    --------
    >>> model = lambda tokens, time: np.zeros((*tokens.shape, 3))
    >>> filled = MaskedOrder(groups=2).fill(model, [[0, 3, 3, 3]], vocabulary=3, rng=0)
    >>> filled.calls, sorted(filled.order[0].tolist())
    (2, [1, 2, 3])
    """

    groups: int | None = None
    temperature: float = 1.0
    sample_dtype: RandomBits = "float64"

    name: ClassVar[str] = "masked-order"
    paper: ClassVar[str] = "2409.02908"
    cost: ClassVar[str] = "L calls (or as many as groups) and O(L V) for L masks, V tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_groups(self.groups)
        _check_temperature(self.temperature)

    def unmask(
        self, model: MaskedModel, tokens: Ints, vocabulary: int, rng: np.random.Generator
    ) -> Unmasked:
        """Draw the order of all masks, and fill them."""
        network = Network(model, vocabulary, self.temperature)
        masked = tokens == vocabulary
        starts = group_starts(masked.sum(axis=1), self.groups)
        order = random_order(masked, rng)
        return _Filling(network, tokens, order, starts, None, self.sample_dtype, rng).run("plain")


@dataclass
class _Filling:
    """Masks that fall in a known order, group by group."""

    network: Network
    tokens: Ints
    order: Ints
    starts: Ints
    times: Floats | None
    dtype: RandomBits
    rng: np.random.Generator

    def run(self, variant: Variant) -> Unmasked:
        """Fill all groups."""
        before: Call | None = None
        noise = self.rng
        draws = 0
        for group in range(self.starts.shape[1] - 1):
            rows, ranks = self._members(group)
            call = self.network.call(self.tokens, np.unique(rows), self._moment(group))
            if variant == "predictor-corrector":
                if before is not None:
                    draws += self._correct(group - 1, before, call, noise)
                noise = copy.deepcopy(self.rng)
            self._predict(rows, ranks, call, before if variant == "extrapolate" else None)
            draws += len(rows)
            before = None if variant == "plain" else call
        times = np.full(self.order.shape, np.nan) if self.times is None else self.times
        return Unmasked(self.tokens, times, self.order, self.network.calls, draws)

    def _members(self, group: int) -> tuple[Ints, Ints]:
        """Give the row and the rank of each mask of a group."""
        ranks = np.arange(self.order.shape[1])
        first, last = self.starts[:, group, None], self.starts[:, group + 1, None]
        rows, members = np.nonzero((ranks >= first) & (ranks < last))
        return rows, members

    def _moment(self, group: int) -> Floats | None:
        """Give the time at which the first mask of a group falls, in each row; NaN if none does."""
        if self.times is None:
            return None
        padded = np.pad(self.times, ((0, 0), (0, 1)), constant_values=np.nan)
        return np.asarray(padded[np.arange(len(padded)), self.starts[:, group]])

    def _predict(self, rows: Ints, ranks: Ints, call: Call, older: Call | None) -> None:
        places = self.order[rows, ranks]

        def draw(part: slice) -> Ints:
            r, place = rows[part], places[part]
            laws = call.laws(r, place)
            if older is not None:
                laws = self._on_the_line(older, call, laws, r, ranks[part])
            return categorical(laws, self.rng, self.dtype)

        self.tokens[rows, places] = _in_blocks(draw, len(rows), call.vocabulary)

    def _on_the_line(
        self, older: Call, call: Call, laws: Floats, rows: Ints, ranks: Ints
    ) -> Floats:
        assert self.times is not None
        assert older.time is not None
        assert call.time is not None
        return extrapolated(
            older.laws(rows, self.order[rows, ranks]),
            laws,
            older.time[rows],
            call.time[rows],
            self.times[rows, ranks],
        )

    def _correct(self, group: int, before: Call, call: Call, noise: np.random.Generator) -> int:
        """Redraw a group, by the numbers it was drawn with; give the number of draws."""
        rows, ranks = self._members(group)
        places = self.order[rows, ranks]
        known = call.knows(rows)  # a row that was filled meanwhile has no newer prediction

        def draw(part: slice) -> Ints:
            laws, new = before.laws(rows[part], places[part]), known[part]
            laws[new] = (laws[new] + call.laws(rows[part][new], places[part][new])) / 2
            return categorical(laws, noise, self.dtype)

        self.tokens[rows, places] = _in_blocks(draw, len(rows), call.vocabulary)
        return int(known.sum())


def random_order(masked: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    """Put the masks of each row into a random order.

    Returns
    -------
    ndarray of int64, shape (rows, masks)
        Their places; -1 after the last.

    Examples
    --------
    >>> masked = np.array([[True, False, False], [True, False, True]])
    >>> random_order(masked, np.random.default_rng(0))
    array([[ 0, -1],
           [ 0,  2]])
    """
    keys = rng.random(masked.shape)
    keys[~masked] = 1.0  # after all others: a key is below 1
    counts = masked.sum(axis=1)
    order = keys.argsort(axis=1, kind="stable")[:, : counts.max(initial=0)]
    return np.where(np.arange(order.shape[1]) < counts[:, None], order, -1)


def hitting_times(counts: Ints, rng: np.random.Generator, schedule: Schedule = "linear") -> Floats:
    """Draw when the masks of each row fall, from the first to the last.

    Under the linear schedule they are as many uniform numbers, the largest first.

    Parameters
    ----------
    counts : ndarray of int64, shape (rows,)
        Masks of each row.
    rng : numpy.random.Generator
    schedule : {'linear', 'cosine'}

    Returns
    -------
    ndarray of float64, shape (rows, masks)
        NaN after a row's last.

    References
    ----------
    arXiv 2409.02908, section 4.1

    Examples
    --------
    >>> times = hitting_times(np.full(10_000, 3), np.random.default_rng(0))
    >>> times.mean(axis=0).round(2)
    array([0.75, 0.5 , 0.25])
    """
    left = counts[:, None] - np.arange(counts.max(initial=0))
    steps = np.log(open_uniform(rng, left.shape)) / np.maximum(left, 1)
    times = time_of_share(steps.cumsum(axis=1), schedule)
    return np.where(left > 0, times, np.nan)


def group_starts(counts: Ints, groups: int | None) -> Ints:
    """Split the masks of each row into groups, of sizes as equal as can be.

    Parameters
    ----------
    counts : ndarray of int64, shape (rows,)
        Masks of each row.
    groups : int, optional
        None stands for groups of one, as many as the largest row needs.

    Returns
    -------
    ndarray of int64, shape (rows, groups + 1)
        The rank of the first mask of each group, and the number of masks. A row without masks has
        empty groups.

    Raises
    ------
    UsageError
        If a row has masks, but fewer than groups.

    Examples
    --------
    >>> group_starts(np.array([5, 2]), 2), group_starts(np.array([2, 1]), None)
    (array([[0, 2, 5],
           [0, 1, 2]]), array([[0, 1, 2],
           [0, 1, 1]]))
    """
    most = int(counts.max(initial=0))
    if groups is None or not most:
        return np.minimum(np.arange(most + 1), counts[:, None])
    short = np.flatnonzero((counts > 0) & (counts < groups))
    if len(short):
        raise UsageError(
            f"knob 'groups' is {groups}, and row {short[0]} has {counts[short[0]]} masks",
            mend="give at most as many groups as masks, or none for one call a mask",
        )
    return counts[:, None] * np.arange(groups + 1) // groups


def extrapolated(
    older: Floats, newer: Floats, time_older: Floats, time_newer: Floats, time: Floats
) -> Floats:
    """Continue two laws along a line in time; what falls below 0 is cut off.

    Parameters
    ----------
    older, newer : ndarray of float64, shape (rows, tokens)
    time_older, time_newer, time : ndarray of float64, shape (rows,)
        Falling. Where the first two are equal, the newer law stays as it is.

    Returns
    -------
    ndarray of float64, shape (rows, tokens)

    References
    ----------
    arXiv 2409.02908, section 4.2; the cut is our own rule.

    Examples
    --------
    >>> one = np.ones(1)
    >>> extrapolated(np.array([[0.5, 0.5]]), np.array([[0.6, 0.4]]), one, 0.8 * one, 0.6 * one)
    array([[0.7, 0.3]])
    """
    gap = time_newer - time_older
    ahead = np.divide(time - time_newer, gap, out=np.zeros_like(gap), where=gap != 0)[:, None]
    line = np.maximum(newer + ahead * (newer - older), 0.0)
    return np.asarray(line / line.sum(axis=1, keepdims=True))


def _in_blocks(draw: Callable[[slice], Ints], count: int, vocabulary: int) -> Ints:
    """Draw for many places, so few at once that their laws fit into memory."""
    size = max(1, _BLOCK // vocabulary)
    parts = [draw(slice(start, start + size)) for start in range(0, count, size)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _trace(
    masked: NDArray[np.bool_], fallen: list[tuple[Ints, Ints, Floats]]
) -> tuple[Floats, Ints]:
    """Sort what fell in all rows by row; within a row it stays in the order it fell."""
    counts = masked.sum(axis=1)
    shape = (len(masked), int(counts.max(initial=0)))
    times, order = np.full(shape, np.nan), np.full(shape, -1, np.int64)
    if fallen:
        rows, places, moments = (np.concatenate(part) for part in zip(*fallen, strict=True))
        by_row = rows.argsort(kind="stable")
        ranks = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        times[rows[by_row], ranks] = moments[by_row]
        order[rows[by_row], ranks] = places[by_row]
    return times, order


def _check_temperature(temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise UsageError(f"knob 'temperature' is {temperature}", mend="give a number above 0")


def _check_groups(groups: int | None) -> None:
    if groups is not None and groups < 1:
        raise UsageError(f"knob 'groups' is {groups}", mend="give 1 or more, or none")
