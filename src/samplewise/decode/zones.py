"""Choose one of several independent drafts so that each token is chosen as often as it should be.

Every token has a zone: a part of the line from 0 to 1 whose length is the token's probability under
the draft's law. Each draft is put at random into its token's zone, so that all places are uniform,
and the draft with the lowest place is chosen. The lowest of n places lies below x with the chance
1 - (1 - x)^n, so a token is chosen as often as that measure of its zone says; any wish that some
coupling can grant, some zones do.

The zones are found token by token, those first that ought to be chosen most often for their length.
Each takes the stretch of what is still free whose measure is right: such a stretch leaves free what
is spread most, and so what is left can still grant the others' wishes. A zone is one stretch with
the holes that earlier zones left in it.

Cost: O(V) after sorting, for V tokens. Source: derived here, from the coupling of two laws of which
one spreads the other (the curtain coupling, arXiv 1208.1509); arXiv 2502.18779 has the optimum that
it reaches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.optimum import by_surplus

__all__ = ["Zones", "choose_lowest", "optimal_zones"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class Zones(NamedTuple):
    """Which zone each token has, and how often it is chosen.

    Attributes
    ----------
    chosen : ndarray of float64, shape (vocabulary,)
        The law of the chosen draft.
    zone : ndarray of int64, shape (vocabulary,)
        The number of the token's zone; tokens that are to be chosen equally often for their
        probability share one. -1 for a token that is never a draft.
    starts, ends : ndarray of float64, shape (pieces,)
        The pieces of all zones, zone by zone.
    offsets : ndarray of int64, shape (zones + 1,)
        Where each zone's pieces begin.
    """

    chosen: Floats
    zone: Ints
    starts: Floats
    ends: Floats
    offsets: Ints


def optimal_zones(target: Floats, draft: Floats, count: int) -> Zones:
    """Find zones by which the chosen draft's law has most in common with the target.

    Parameters
    ----------
    target, draft : ndarray of float64, shape (vocabulary,)
    count : int
        Drafts, 2 or more.

    Returns
    -------
    Zones

    Examples
    --------
    >>> zones = optimal_zones(np.array([0.75, 0.25]), np.array([0.5, 0.5]), 2)
    >>> zones.chosen.tolist(), zones.starts.tolist(), zones.ends.tolist()
    ([0.75, 0.25], [0.0, 0.5], [0.5, 1.0])
    """
    tokens, ratios = by_surplus(target, draft)
    tokens, ratios = tokens[::-1], ratios[::-1]
    lengths, wished = draft[tokens], _reachable(target[tokens], draft[tokens], ratios, count)
    # One zone where what is wished for a length is the same, to rounding.
    density = wished / lengths
    new = np.append(True, density[1:] < density[:-1] * (1.0 - 1e-12))
    first = np.flatnonzero(new)
    sizes, masses = np.add.reduceat(lengths, first), np.add.reduceat(wished, first)
    starts, ends = np.empty((2, 3 * len(first) + 3))
    offsets, granted = np.zeros(len(first) + 1, np.int64), np.zeros(len(first))
    _partition()(sizes, masses, count, starts, ends, offsets, granted)
    pieces = offsets[-1]
    zone, chosen = np.full(len(draft), -1), np.zeros(len(draft))
    zone[tokens] = new.cumsum() - 1
    # What the zones grant, and not what was wished: they differ by rounding.
    chosen[tokens] = lengths * (granted / sizes)[zone[tokens]]
    return Zones(chosen, zone, starts[:pieces], ends[:pieces], offsets)


def choose_lowest(zones: Zones, tokens: Ints) -> Floats:
    """Give the chance of each draft to have the lowest place.

    Parameters
    ----------
    zones : Zones
    tokens : ndarray of int64, shape (drafts,)

    Returns
    -------
    ndarray of float64, shape (drafts,)
        They sum to 1.

    Examples
    --------
    >>> zones = optimal_zones(np.array([0.75, 0.25]), np.array([0.5, 0.5]), 2)
    >>> choose_lowest(zones, np.array([1, 0])).tolist()
    [0.0, 1.0]
    """
    mine, place, times = np.unique(zones.zone[tokens], return_inverse=True, return_counts=True)
    parts = [slice(zones.offsets[zone], zones.offsets[zone + 1]) for zone in mine]
    starts = np.concatenate([zones.starts[part] for part in parts])
    shares = np.concatenate([_shares(zones.ends[part] - zones.starts[part]) for part in parts])
    owners = np.repeat(np.arange(len(mine)), [part.stop - part.start for part in parts])
    order = starts.argsort()
    owners, shares = owners[order], shares[order]
    # Pieces of one zone with no other drafted one between them are as good as one piece.
    first = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
    owners, shares = owners[first], np.add.reduceat(shares, first)
    below = np.where(owners == np.arange(len(mine))[:, None], shares, 0.0).cumsum(axis=1)
    # No draft lies below the end of a piece; where one did not before, it is the piece's owner's.
    none = np.append(1.0, ((1.0 - below).clip(0.0) ** times[:, None]).prod(axis=0))
    lowest = np.bincount(owners, -np.diff(none), len(mine)) / times
    chances: Floats = (lowest / (times @ lowest))[place]
    return chances


def _shares(lengths: Floats) -> Floats:
    """Give each piece's part of a zone; one too short for the numbers here is a point."""
    total = lengths.sum()
    return lengths / total if total > 0 else np.full(len(lengths), 1.0 / len(lengths))


def _reachable(target: Floats, draft: Floats, ratios: Floats, count: int) -> Floats:
    """Give the law of a draft that can be chosen, nearest to the target; by descending ratio.

    The tokens of the optimal set are chosen too often, whatever is done, and the others too seldom.
    A level from above for the latter, and one from below for the former, makes the law that is
    spread least of all that are nearest, and so one that can be reached.
    """
    outside = np.append(draft[::-1].cumsum()[::-1], 0.0)  # what is after the first k tokens
    first = 1.0 - outside**count  # how often one of the first k tokens is among the drafts
    first[-1] = 1.0
    short = first - np.append(0.0, target.cumsum())
    split = int(short.argmin())
    given = target.copy()
    given[:split] = _level(target[:split], draft[:split], ratios[:split], float(first[split]))
    # The same from the other end, with the signs turned.
    end = slice(split, None)
    given[end] = -_level(
        -target[end][::-1], draft[end][::-1], -ratios[end][::-1], -float(outside[split] ** count)
    )[::-1]
    return given


def _level(target: Floats, draft: Floats, ratios: Floats, total: float) -> Floats:
    """Lower the first tokens to one ratio of target to draft, so that all sum to `total`."""
    after = np.append(target[::-1].cumsum()[::-1], 0.0)
    if not len(target) or after[0] <= total:
        return target
    levels = (total - after[1:]) / draft.cumsum()
    reached = levels >= np.append(ratios[1:], -np.inf)
    count = int(reached.argmax()) + 1
    return np.append(levels[count - 1] * draft[:count], target[count:])


@functools.cache
def _partition() -> Callable[..., None]:
    """Compile the search for zones; numba keeps it on disk."""
    import numba

    compiled = numba.njit(nogil=True, cache=True)

    @compiled
    def measure(high, length, count):  # type: ignore[no-untyped-def] # numba infers the types
        """Give high^count - (high - length)^count, as a product, so that little is not lost."""
        total, low = 0.0, high - length
        power = 1.0
        for _ in range(count):
            total = total * low + power
            power *= high
        return total * length

    @compiled
    def alone(length, mass, count, free):  # type: ignore[no-untyped-def]
        """Find where a stretch of the free end must start; as what is above the start."""
        low, high = length, free
        at = length / 2 + (mass / (count * length)) ** (1.0 / (count - 1))
        for _ in range(200):
            at = min(max(at, low), high)
            error = measure(at, length, count) - mass
            if error > 0:
                high = at
            else:
                low = at
            slope = count * measure(at, length, count - 1)
            if abs(error) < 1e-17 or high - low < 1e-16:
                break
            at = at - error / slope if slope > 0 else low - 1.0
            if not low < at < high:
                at = (low + high) / 2
        return at

    @compiled
    def both(above, below, length, mass, count, most):  # type: ignore[no-untyped-def]
        """Find how much of a stretch around a block lies before it.

        The ends of the block are given as what is above them.
        """
        low, high = max(0.0, length - below), most
        at = (low + high) / 2
        for _ in range(200):
            error = measure(above + at, at, count) + measure(below, length - at, count) - mass
            if error > 0:
                high = at
            else:
                low = at
            if abs(error) < 1e-17 or high - low < 1e-16:
                break
            slope = count * ((above + at) ** (count - 1) - (below - length + at) ** (count - 1))
            at = at - error / slope if slope > 0 else low - 1.0
            if not low < at < high:
                at = (low + high) / 2
        return at

    @compiled
    def partition(  # type: ignore[no-untyped-def]
        sizes, masses, count, starts, ends, offsets, granted
    ):
        """Fill the pieces of every zone, for zones by descending mass over size."""
        size = len(sizes)
        lefts, rights = np.empty(size + 1), np.empty(size + 1)  # what is taken, in blocks
        blocks, pieces = 0, 0
        for zone in range(size):
            length, mass = sizes[zone], masses[zone]
            base = rights[blocks - 1] if blocks else 0.0
            if blocks == 0 or measure(1.0 - base, min(length, 1.0 - base), count) >= mass:
                length = min(length, 1.0 - base)
                above = alone(length, mass, count, 1.0 - base)
                start = max(1.0 - above, base)
                starts[pieces], ends[pieces] = start, start + length
                granted[zone] = measure(1.0 - start, length, count)
                pieces += 1
                if blocks and start <= base:
                    rights[blocks - 1] = start + length
                else:
                    lefts[blocks], rights[blocks] = start, start + length
                    blocks += 1
            else:
                left = lefts[blocks - 1]
                while True:
                    blocks -= 1
                    floor = rights[blocks - 1] if blocks else 0.0
                    gap = left - floor
                    before = measure(1.0 - floor, gap, count)
                    fits = gap <= length and (
                        before + measure(1.0 - base, length - gap, count) <= mass
                    )
                    part = gap
                    if not fits:
                        part = both(1.0 - left, 1.0 - base, length, mass, count, min(gap, length))
                        before = measure(1.0 - left + part, part, count)
                    if part > 0:
                        starts[pieces], ends[pieces] = left - part, left
                        pieces += 1
                    length -= part
                    mass -= before
                    granted[zone] += before
                    left = lefts[blocks - 1] if fits and blocks else left - part
                    if not fits or not blocks:
                        break
                length = min(length, 1.0 - base)
                starts[pieces], ends[pieces] = base, base + length
                granted[zone] += measure(1.0 - base, length, count)
                pieces += 1
                lefts[blocks], rights[blocks] = left, base + length
                blocks += 1
            offsets[zone + 1] = pieces

    return partition  # type: ignore[no-any-return]
