"""Rows of which no two are near-duplicates, for as long as there are any.

Rows are linked where their texts share most of their word sequences (Jaccard similarity, candidates
found by MinHash and locality-sensitive hashing, then checked), or where the cosine of their vectors
is high. Rows that are linked directly or through others make a group. One row of every group is
taken before any group gives a second one. Use it on pools gathered from many places, or as a
baseline: much of what a clever method gains is often gained by this alone.

By text, time O(s p) for s word sequences and p permutations, and memory O(s + n); by vectors, time
O(n^2 d), all cores, and memory O(n).
Source: A. Broder (1997); MinHash and its bands are those of the datasketch library.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.engine.blas import one_blas_thread
from samplewise.engine.local import LocalEngine
from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.measure.vectors import directions
from samplewise.pool import Pool
from samplewise.rng import RandomState, generator, seed_of
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Dedup", "near_duplicates"]

By = Literal["text", "embedding"]
Unit = Literal["words", "characters"]
_THRESHOLDS = {"text": 0.8, "embedding": 0.95}
_TEXTS = 4_096  # texts held at once
_BLOCK = 1_024  # vectors compared with as many others at once
_MISSED = 0.01  # part of the pairs at the threshold that may be missed


@dataclass(frozen=True)
class Dedup(Selector):
    """Rows without near-duplicates, before any is taken a second time.

    One row stands for every group of near-duplicates: the one of the best score where the rows
    have scores, else the first. These come first; should the budget exceed the number of groups,
    the groups' second rows follow, and so on.

    Parameters
    ----------
    by : {'text', 'embedding'}
        What is compared.
    threshold : float or None
        Similarity in (0, 1] from which two rows are near-duplicates: of the sets of shingles
        (shared over all) or the cosine. None: 0.8 for texts, 0.95 for embeddings.
    shingle : int
        Words (or characters) in a row that make a shingle. Letter case and punctuation between
        words do not count.
    unit : {'words', 'characters'}
        What a shingle is made of; 'characters' for scripts without spaces.
    permutations : int
        Length of a MinHash; with more, fewer duplicates are missed.
    order : {'random', 'score'}
        Which groups come first: in random order, or by the score of the row that is taken.

    Raises
    ------
    UsageError
        If `by` is 'text' and datasketch is not installed.

    References
    ----------
    A. Broder, "On the resemblance and containment of documents" (1997).
    K. Lee et al., "Deduplicating Training Data Makes Language Models Better", arXiv 2107.06499.

    Examples
    --------
    >>> import samplewise as sw
    >>> texts = ["the cat sat on the mat", "The cat sat on the mat!", "a dog ate my homework"]
    >>> pool = sw.Pool.from_rows([{"text": text} for text in texts])
    >>> selection = sw.select(pool, 2, "dedup", rng=0)
    >>> sorted(selection.indices.tolist()), selection.columns["duplicate_of"].tolist()
    ([0, 2], [-1, 0, -1])
    """

    name: ClassVar[str] = "dedup"
    aliases: ClassVar[tuple[str, ...]] = ("near-duplicates", "minhash")
    paper: ClassVar[str] = "2107.06499"
    cost: ClassVar[str] = "O(s p) for s shingles and p permutations; O(n^2 d) by embedding"

    by: By = "text"
    threshold: float | None = None
    shingle: int = 3
    unit: Unit = "words"
    permutations: int = 128
    order: Literal["random", "score"] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.by, self.threshold, self.shingle, self.unit, self.permutations)
        # The base checks the pool for what is named here.
        needs = ("embeddings",) * (self.by == "embedding") + ("score",) * (self.order == "score")
        object.__setattr__(self, "needs", needs)

    def check(self, pool: Pool) -> None:
        """Refuse a pool without scores where they are needed, or without texts."""
        super().check(pool)
        if self.by == "text":
            _check_text(pool)

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; columns `group`, and `duplicate_of`: the row that stands for its group.

        That is -1 for the row that does.
        """
        group = near_duplicates(
            pool,
            by=self.by,
            threshold=self.threshold,
            shingle=self.shingle,
            unit=self.unit,
            permutations=self.permutations,
            rng=rng,
        )
        scored = pool.score is not None and bool(np.isfinite(pool.score).all())
        score = np.asarray(pool.score) if scored else np.zeros(len(pool))
        # Members of a group side by side, the best first, of equals the lowest index.
        members = np.lexsort((-score, group))
        starts = np.searchsorted(group[members], np.arange(group.max() + 1))
        rank = np.empty(len(pool), dtype=np.int64)
        rank[members] = np.arange(len(pool)) - starts[group[members]]
        first = members[starts][group]
        urgency = -score if self.order == "score" else rng.random(len(pool))
        return Choice(
            np.lexsort((urgency, rank))[:n],
            columns={"group": group, "duplicate_of": np.where(rank > 0, first, -1)},
        )


def near_duplicates(
    pool: Pool,
    *,
    by: By = "text",
    threshold: float | None = None,
    shingle: int = 3,
    unit: Unit = "words",
    permutations: int = 128,
    rng: RandomState = 0,
) -> NDArray[np.int64]:
    """Find the groups of near-duplicates in a pool.

    Two rows are linked if their similarity is `threshold` or more; a group is what links hold
    together. By text, a link is missed with the odds of MinHash: at b bands of r permutations,
    (1 - s^r)^b for a similarity of s, and r is such that this is at most 1% at the threshold. What
    is found is checked, so that no link is false.

    Parameters
    ----------
    pool : Pool
    by, threshold, shingle, unit, permutations
        As in `Dedup`.
    rng : int, numpy.random.Generator or None
        Draws the permutations.

    Returns
    -------
    ndarray of int64, shape (n,)
        Group of each row, numbered from 0 in order of first appearance.

    Raises
    ------
    UsageError
        If a value is out of range, or datasketch is missing.
    InputError
        If the pool has no texts, or no embeddings.

    Examples
    --------
    >>> pool = Pool.from_rows([{"text": t} for t in ("one two three", "four", "One, two, three")])
    >>> near_duplicates(pool).tolist()
    [0, 1, 0]
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]])
    >>> near_duplicates(Pool.from_arrays(vectors), by="embedding").tolist()
    [0, 1, 0]
    """
    _check(by, threshold, shingle, unit, permutations)
    limit = _THRESHOLDS[by] if threshold is None else threshold
    if by == "embedding":
        if pool.embeddings is None:
            raise InputError("has no embeddings", file=pool.name, mend="use samplewise.embed first")
        parent = link_vectors(pool.embeddings, limit)
    else:
        _check_text(pool)
        sets = shingle_sets(_texts(pool), shingle, unit)
        parent = link_sets(sets, limit, permutations, seed_of(generator(rng)))
    roots = _kernels().roots(parent)
    _, first, group = np.unique(roots, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[group]


def _check(by: str, threshold: float | None, shingle: int, unit: str, permutations: int) -> None:
    """Refuse values that make no sense."""
    wrong: list[tuple[bool, str, object, str]] = [
        (by not in _THRESHOLDS, "by", by, "give 'text' or 'embedding'"),
        (
            threshold is not None and not 0 < threshold <= 1,
            "threshold",
            threshold,
            "give more than 0 and at most 1",
        ),
        (shingle < 1, "shingle", shingle, "give 1 or more"),
        (unit not in ("words", "characters"), "unit", unit, "give 'words' or 'characters'"),
        (permutations < 2, "permutations", permutations, "give 2 or more"),
    ]
    for is_wrong, knob, value, mend in wrong:
        if is_wrong:
            raise UsageError(f"dedup: knob '{knob}' is {value!r}", mend=mend)


def _check_text(pool: Pool) -> None:
    if not pool.shards or not pool.layout.text:
        raise InputError(
            "dedup compares texts, and the rows have none",
            file=pool.name,
            mend="name the field with --text FIELD, or set by=embedding",
        )


def _texts(pool: Pool) -> Iterator[list[str]]:
    for start in range(0, len(pool), _TEXTS):
        yield pool.texts(np.arange(start, min(start + _TEXTS, len(pool))))


# --- texts ----------------------------------------------------------------------------------------


class Sets(NamedTuple):
    """Sets of hashes, end to end: set i is values[starts[i] : starts[i + 1]], in order."""

    values: NDArray[np.uint32]
    starts: NDArray[np.int64]


def shingle_sets(batches: Iterator[list[str]], size: int, unit: Unit = "words") -> Sets:
    """Hash every text's shingles: each `size` words (or characters) in a row.

    A shorter text is one shingle. The hashes are the same in every process.
    """
    code = _word_codes() if unit == "words" else _character_codes
    values, counts = [], []
    for texts in batches:
        codes = [code(text) for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(one) for one in codes])]).astype(np.int64)
        found, count = _kernels().shingles(np.concatenate(codes), starts, size)
        values.append(found)
        counts.append(count)
    ends = np.cumsum(np.concatenate(counts))
    return Sets(np.concatenate(values), np.concatenate([[0], ends]).astype(np.int64))


def _word_codes() -> Callable[[str], NDArray[np.uint64]]:
    """Give a function that codes a text's words; each different word is hashed once."""
    known: dict[str, int] = {}
    words = re.compile(r"\w+").findall

    def code(text: str) -> NDArray[np.uint64]:
        found = words(text.lower())
        for word in found:
            if word not in known:
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8)
                known[word] = int.from_bytes(digest.digest(), "little")
        if not found:  # no word at all: the signs themselves
            return _character_codes(text)
        return np.fromiter(map(known.__getitem__, found), np.uint64, len(found))

    return code


def _character_codes(text: str) -> NDArray[np.uint64]:
    plain = " ".join(text.lower().split())
    return np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)


def link_sets(sets: Sets, threshold: float, permutations: int, seed: int) -> NDArray[np.int64]:
    """Link the sets whose Jaccard similarity is `threshold` or more; give a union-find forest.

    Sets that are equal are linked first; of the others, those that share a band of a MinHash are
    compared.
    """
    kernels = _kernels()
    parent = np.arange(len(sets.starts) - 1)
    prints = kernels.fingerprints(*sets)
    _, first, same = np.unique(prints, return_index=True, return_inverse=True)
    parent[:] = first[same]
    if threshold == 1:
        return parent
    first.sort()
    for keys in band_keys(sets, first, threshold, permutations, seed):
        order = np.argsort(keys, kind="stable")
        kernels.join(first[order], keys[order], *sets, threshold, parent)
    return parent


def band_keys(
    sets: Sets, which: NDArray[np.int64], threshold: float, permutations: int, seed: int
) -> NDArray[np.uint64]:
    """Give a key of every band of some sets' MinHashes, shape (bands, len(which)).

    Two sets of similarity s share the key of a band of r hashes with probability s^r.
    """
    b, r = bands_for(threshold, permutations)
    lists = (sets.values[sets.starts[i] : sets.starts[i + 1]].tolist() for i in which.tolist())
    minhash = need("datasketch", "dedup", "comparing texts", "set by=embedding").MinHash
    hashes = minhash.generator(lists, num_perm=permutations, seed=seed, hashfunc=int)
    keys = np.empty((b, len(which)), dtype=np.uint64)
    for start in range(0, len(which), _TEXTS):
        part = slice(start, min(start + _TEXTS, len(which)))
        some = np.stack([next(hashes).hashvalues for _ in range(part.stop - start)])
        keys[:, part] = _kernels().bands(some.astype(np.uint64), b, r)
    return keys


def bands_for(threshold: float, permutations: int) -> tuple[int, int]:
    """Choose bands and their length: as long as at most 1% of the pairs are missed.

    Examples
    --------
    >>> bands_for(0.8, 128)
    (21, 6)
    """
    r = 1
    while (1 - threshold ** (r + 1)) ** (permutations // (r + 1)) <= _MISSED:
        r += 1
    return permutations // r, r


# --- vectors --------------------------------------------------------------------------------------


def link_vectors(vectors: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Link the vectors whose cosine is `threshold` or more; give a union-find forest.

    A vector of zeros is linked to none.
    """
    parent = np.arange(len(vectors))
    starts = range(0, len(vectors), _BLOCK)
    # Two equal vectors have a cosine of 1 less what rounding takes off.
    limit = np.float32(threshold - 1e-6)
    with one_blas_thread():
        for start in starts:
            block = directions(vectors[start : start + _BLOCK])
            work = functools.partial(_close_pairs, vectors, block, start, limit)
            for pairs in LocalEngine().map(work, starts[start // _BLOCK :]):
                _kernels().unite(pairs, parent)
    return parent


def _close_pairs(
    vectors: NDArray[np.float32],
    block: NDArray[np.float32],
    start: int,
    limit: np.float32,
    other: int,
) -> NDArray[np.int32]:
    """Give the pairs of rows of two blocks whose cosine is `limit` or more, shape (k, 2)."""
    against = block if start == other else directions(vectors[other : other + _BLOCK])
    left, right = np.nonzero(block @ against.T >= limit)
    later = left + start < right + other
    pairs = np.stack([left[later] + start, right[later] + other], axis=1)
    return pairs.astype(np.int32)


# --- inner loops ----------------------------------------------------------------------------------


class _Kernels(NamedTuple):
    shingles: Callable[..., Any]
    fingerprints: Callable[..., Any]
    bands: Callable[..., Any]
    join: Callable[..., Any]
    unite: Callable[..., Any]
    roots: Callable[..., Any]


@functools.cache
def _kernels() -> _Kernels:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    compiled = numba.njit(nogil=True, cache=True)

    @compiled
    def mix(value):  # type: ignore[no-untyped-def] # numba infers the types
        """Scatter the bits of a number (the finaliser of MurmurHash3)."""
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xC4CEB9FE1A85EC53)
        return value ^ (value >> np.uint64(33))

    @compiled
    def shingles(codes, starts, size):  # type: ignore[no-untyped-def]
        """Hash each window of codes of every text; give each text's different hashes."""
        values = np.empty(len(codes) + len(starts), dtype=np.uint32)
        counts = np.empty(len(starts) - 1, dtype=np.int64)
        used = 0
        for text in range(len(counts)):
            low, high = starts[text], starts[text + 1]
            windows = max(1, high - low - size + 1)
            found = np.empty(windows, dtype=np.uint32)
            for i in range(windows):
                total = np.uint64(0)
                for j in range(low + i, min(low + i + size, high)):
                    total = mix(total * np.uint64(3) + codes[j] + np.uint64(1))
                found[i] = total >> np.uint64(32)
            found.sort()
            first = used
            for i in range(windows):
                if i == 0 or found[i] != found[i - 1]:
                    values[used] = found[i]
                    used += 1
            counts[text] = used - first
        return values[:used].copy(), counts

    @compiled
    def fingerprints(values, starts):  # type: ignore[no-untyped-def]
        """Hash every set as a whole."""
        found = np.empty(len(starts) - 1, dtype=np.uint64)
        for i in range(len(found)):
            total = np.uint64(starts[i + 1] - starts[i])
            for j in range(starts[i], starts[i + 1]):
                total = mix(total + np.uint64(values[j]) + np.uint64(0x9E3779B97F4A7C15))
            found[i] = total
        return found

    @compiled
    def bands(hashes, b, r):  # type: ignore[no-untyped-def]
        """Hash every band of r hashes to one number."""
        keys = np.empty((b, len(hashes)), dtype=np.uint64)
        for i in range(len(hashes)):
            for band in range(b):
                total = np.uint64(band)
                for j in range(band * r, (band + 1) * r):
                    total = mix(total + hashes[i, j] + np.uint64(0x9E3779B97F4A7C15))
                keys[band, i] = total
        return keys

    @compiled
    def find(parent, i):  # type: ignore[no-untyped-def]
        """Find the root of a tree, and shorten the way to it."""
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    @compiled
    def similar(values, starts, i, j, threshold):  # type: ignore[no-untyped-def]
        """Tell whether two sets share enough, by a merge."""
        one, other = starts[i], starts[j]
        last, final = starts[i + 1], starts[j + 1]
        sizes = last - one + final - other
        if min(last - one, final - other) < threshold * max(last - one, final - other):
            return False
        shared = 0
        while one < last and other < final:
            if values[one] == values[other]:
                shared += 1
                one += 1
                other += 1
            elif values[one] < values[other]:
                one += 1
            else:
                other += 1
        return shared >= threshold * (sizes - shared) - 1e-9

    @compiled
    def join(rows, keys, values, starts, threshold, parent):  # type: ignore[no-untyped-def]
        """Unite the similar among rows of the same key; rows of a key are side by side."""
        low = 0
        for at in range(1, len(rows)):
            if keys[at] != keys[low]:
                low = at
            if at == low + 1:
                united = True  # whether all before `at` of this key are of one tree
            elif at > low:
                united = united and find(parent, rows[at - 1]) == find(parent, rows[low])
            for i in range(low, at):
                one, other = find(parent, rows[i]), find(parent, rows[at])
                if one == other and united:
                    break
                if one != other and similar(values, starts, rows[i], rows[at], threshold):
                    parent[max(one, other)] = min(one, other)

    @compiled
    def unite(pairs, parent):  # type: ignore[no-untyped-def]
        """Unite pairs."""
        for i in range(len(pairs)):
            one, other = find(parent, pairs[i, 0]), find(parent, pairs[i, 1])
            if one != other:
                parent[max(one, other)] = min(one, other)

    @compiled
    def roots(parent):  # type: ignore[no-untyped-def]
        """Give the root of every row."""
        found = np.empty(len(parent), dtype=np.int64)
        for i in range(len(parent)):
            found[i] = find(parent, i)
        return found

    return _Kernels(shingles, fingerprints, bands, join, unite, roots)
