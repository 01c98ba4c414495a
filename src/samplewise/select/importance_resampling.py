"""Rows drawn by how much likelier their words are in the target than in the pool.

Two bags of hashed words and word pairs are counted, one of the target and one of the pool; a
row's importance is the ratio of its probabilities under the two, and rows are drawn by it, without
replacement. Use it to match the target's words quickly, with no vectors at all.

Time and memory O(words of pool and target).
Source: Data Selection for Language Models via Importance Resampling (DSIR), arXiv 2302.03169.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.pool import Pool
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    import pyarrow as pa

    from samplewise.engine.base import Engine

__all__ = ["ImportanceResampling", "hash_words", "log_importance"]

_BLOCK = 4_096  # texts of a pool in memory that one call hashes


@dataclass(frozen=True)
class ImportanceResampling(Selector):
    """Rows drawn by how much likelier their words are in the target than in the pool.

    A row of words and word pairs w has the logit sum over w of log p_target(w) - log p_pool(w);
    those with the highest logit plus Gumbel noise are taken, which draws them without
    replacement in proportion to their importance.

    Parameters
    ----------
    ngrams : int
        Runs of up to so many words are counted.
    buckets : int
        How many different ones are told apart; they are hashed.
    smoothing : float
        Is added to every probability, so that a word the target lacks is unlikely, not impossible.
        The value is that of the paper's code.

    References
    ----------
    Data Selection for Language Models via Importance Resampling, arXiv 2302.03169.

    Examples
    --------
    >>> import samplewise as sw
    >>> pool = sw.Pool.from_rows([{"text": t} for t in ["a red cat", "a blue sea", "the red cat"]])
    >>> target = sw.Pool.from_rows([{"text": "red cat"}])
    >>> sorted(sw.select(pool, 2, "dsir", target=target, rng=0).indices.tolist())
    [0, 2]
    """

    name: ClassVar[str] = "dsir"
    aliases: ClassVar[tuple[str, ...]] = ("importance-resampling",)
    needs: ClassVar[tuple[str, ...]] = ("target",)
    paper: ClassVar[str] = "2302.03169"
    cost: ClassVar[str] = "O(words)"

    ngrams: int = 2
    buckets: int = 10_000
    smoothing: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("ngrams", "buckets"):
            if not 1 <= getattr(self, knob) < 2**31:
                raise UsageError(
                    f"{self.name}: knob '{knob}' is {getattr(self, knob)}",
                    mend="give 1 or more, and less than 2^31",
                )
        if not 0 < self.smoothing < np.inf:
            raise UsageError(
                f"{self.name}: knob 'smoothing' is {self.smoothing}", mend="give more than 0"
            )

    def check(self, pool: Pool) -> None:
        """Refuse, besides, a pool or target without texts.

        Raises
        ------
        InputError
        """
        super().check(pool)
        assert pool.target is not None
        for what, rows in (("pool", pool), ("target", pool.target)):
            if not (rows.shards and rows.layout.text):
                raise InputError(
                    f"{self.name} needs texts, and the rows of the {what} have none",
                    file=rows.name,
                    mend="name the field with --text FIELD, or take 'nearest-to-target', which "
                    "needs vectors alone",
                )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; column `log_importance`."""
        assert pool.target is not None
        ours, theirs = self.count(pool, engine), self.count(pool.target, engine)
        logits = log_importance(ours, theirs, self.smoothing)
        order = np.argsort(-(logits + rng.gumbel(size=len(logits))), kind="stable")
        return Choice(order[:n].astype(np.int64), columns={"log_importance": logits})

    def count(self, pool: Pool, engine: Engine) -> Any:
        """Hash the words of every row: a sparse matrix of shape (n, buckets)."""
        from scipy.sparse import vstack

        hashed = functools.partial(_hash_item, self.ngrams, self.buckets)
        return vstack(list(engine.map(hashed, _items(pool))), format="csr")


def log_importance(source: Any, target: Any, smoothing: float = 1e-8) -> NDArray[np.float64]:
    """Give every source row's log-probability under the target's bag less that under its own.

    Parameters
    ----------
    source : sparse matrix, shape (n, k)
        Counts of each word in each row.
    target : sparse matrix, shape (m, k)
    smoothing : float
        Is added to each probability.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> source, target = csr_array([[1, 0], [0, 3]]), csr_array([[2, 2]])
    >>> log_importance(source, target).round(3).tolist()
    [0.693, -1.216]
    """
    own, wanted = (np.asarray(bag.sum(axis=0), np.float64).ravel() for bag in (source, target))
    ratio = np.log(wanted / max(1.0, wanted.sum()) + smoothing)
    ratio -= np.log(own / max(1.0, own.sum()) + smoothing)
    return np.asarray(source @ ratio, np.float64).ravel()


def hash_words(texts: pa.Array, ngrams: int, buckets: int) -> Any:
    """Count the hashed words of texts, and their runs of up to `ngrams` words.

    A word is a run of letters, digits and underscores, or of other signs; case does not count.
    All that is not ASCII is taken for letters. A word has the same bucket everywhere and always.

    Parameters
    ----------
    texts : pyarrow.Array of string, shape (n,)
    ngrams : int
    buckets : int

    Returns
    -------
    scipy.sparse.csr_array of float32, shape (n, buckets)
        A bucket may have several entries in a row: they add up.

    Examples
    --------
    >>> import pyarrow as pa
    >>> hash_words(pa.array(["The cat.", "the  cat ."]), 2, 1_000).sum(axis=1).tolist()
    [5.0, 5.0]
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from scipy.sparse import csr_array

    plain = pc.utf8_lower(texts.cast(pa.large_string()))
    _, ends, content = plain.buffers()
    offsets = np.frombuffer(ends, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    letters = np.frombuffer(content, np.uint8) if content else np.empty(0, np.uint8)
    count, fill = _kernels()
    pointers = np.concatenate([[0], np.cumsum(count(letters, offsets, ngrams))])
    indices = np.empty(pointers[-1], np.int32)
    fill(letters, offsets, ngrams, buckets, pointers, indices)
    ones = np.ones(len(indices), np.float32)
    return csr_array((ones, indices, pointers), shape=(len(plain), buckets))


def _items(pool: Pool) -> list[Any]:
    """Cut the pool into what one call takes: a shard's path, or a slice of a table in memory."""
    items: list[Any] = []
    for shard in pool.shards:
        if isinstance(shard, Path):
            items.append(shard)
        else:
            text = shard.select(["text"])
            items += [text.slice(start, _BLOCK) for start in range(0, text.num_rows, _BLOCK)]
    return items


def _hash_item(ngrams: int, buckets: int, item: Any) -> Any:
    from samplewise.shards import load_shard

    column = load_shard(item, ("text",)).column("text")
    return hash_words(column.combine_chunks(), ngrams, buckets)


@functools.cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the inner loops; numba keeps them on disk for the next process."""
    import numba

    # What each byte is: 0 between words, 1 part of a word, 2 another sign.
    kinds = np.full(256, 2, np.uint8)
    kinds[:33] = kinds[127] = 0
    for low, high in ((48, 58), (65, 91), (95, 96), (97, 123), (128, 256)):
        kinds[low:high] = 1

    @numba.njit(nogil=True, cache=True)
    def count(letters, offsets, ngrams):  # type: ignore[no-untyped-def] # numba infers the types
        """Count the runs of up to `ngrams` words of every text."""
        found = np.empty(len(offsets) - 1, np.int64)
        for text in range(len(found)):
            words, last = 0, 0
            for place in range(offsets[text], offsets[text + 1]):
                kind = kinds[letters[place]]
                words += kind != 0 and kind != last
                last = kind
            found[text] = 0
            for length in range(1, min(ngrams, words) + 1):
                found[text] += words - length + 1
        return found

    @numba.njit(nogil=True, cache=True)
    def fill(  # type: ignore[no-untyped-def] # numba infers the types
        letters, offsets, ngrams, buckets, pointers, indices
    ):
        """Write the bucket of every such run. The hash is FNV-1a, with murmur's last mix."""
        recent = np.empty(ngrams, np.uint64)  # hashes of the last words, the newest first
        for text in range(len(offsets) - 1):
            known, at = 0, pointers[text]
            place, stop = offsets[text], offsets[text + 1]
            while place < stop:
                kind = kinds[letters[place]]
                if kind == 0:
                    place += 1
                    continue
                word = np.uint64(14695981039346656037)
                while place < stop and kinds[letters[place]] == kind:
                    word = (word ^ np.uint64(letters[place])) * np.uint64(1099511628211)
                    place += 1
                for older in range(min(known, ngrams - 1), 0, -1):
                    recent[older] = recent[older - 1]
                recent[0] = word
                known = min(known + 1, ngrams)
                run = np.uint64(0)
                for length in range(known):
                    run = (run ^ recent[length]) * np.uint64(1099511628211)
                    mixed = run
                    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
                        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
                    mixed ^= mixed >> np.uint64(33)
                    indices[at] = np.int32(mixed % np.uint64(buckets))
                    at += 1

    return count, fill
