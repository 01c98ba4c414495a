"""Streams of the room `mix` as what PyTorch's loaders take: a sampler, and an iterable data set.

>>> import samplewise as sw
>>> from torch.utils.data import DataLoader
>>> rows = [f"row {number}" for number in range(10)]
>>> stream = sw.mix(sizes=[9, 1], method="temperature:tau=inf", rng=0)
>>> loader = DataLoader(rows, batch_size=4, sampler=MixSampler(stream, length=12))
>>> [len(batch) for batch in loader]
[4, 4, 4]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samplewise.errors import UsageError
from samplewise.extras import need

if TYPE_CHECKING:
    from samplewise.mix import Stream

data = need("torch.utils.data", "torch", "a sampler for its loaders")

__all__ = ["MixDataset", "MixSampler"]

_CHUNK = 1024


class MixSampler(data.Sampler):  # type: ignore[misc, name-defined] # a base found at run time
    """Row numbers for a `DataLoader`, in a stream's order; each epoch goes on where the last ended.

    It lives in the process that loads, so that any number of workers is fed by one order.

    Parameters
    ----------
    stream : Stream
        With `rank` and `world_size` where several processes train.
    length : int
        Draws of an epoch, of this process.

    Raises
    ------
    UsageError
        If `length` is below 1, or the stream weights losses: a sampler has no place for weights.
    """

    def __init__(self, stream: Stream, length: int) -> None:
        _check(length)
        if stream.weighted:
            raise UsageError(
                "this stream weights losses, which a sampler cannot hand on",
                mend="use MixDataset, which gives each row with its weight",
            )
        self.stream, self.length = stream, length
        self._begun = stream.position  # where the epoch began
        self._resumed = False

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        if not self._resumed:
            self._begun = self.stream.position
        self._resumed = False
        rows = iter(self.stream)
        end = self._begun + self.length * self.stream.world_size
        while self.stream.position < end:
            yield next(rows)

    def state_dict(self, used: int | None = None) -> dict[str, Any]:
        """Give all that decides what follows.

        Parameters
        ----------
        used : int, optional
            Draws of this epoch that were trained on. Loaders with workers take draws ahead of
            their use: give it there, or what was taken and not used is skipped.
        """
        position = None if used is None else self._begun + used * self.stream.world_size
        return self.stream.state_dict(position) | {"epoch": self._begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next epoch is what was left of the one it was taken in."""
        self.stream.load_state_dict(state)
        self._begun, self._resumed = int(state["epoch"]), True


class MixDataset(data.IterableDataset):  # type: ignore[misc, name-defined] # as above
    """Rows in a stream's order, each with its weight.

    With workers, each takes its share of one order.

    Parameters
    ----------
    stream : Stream
    rows : sequence
        Such as a list, or a Hugging Face data set.
    length : int
        Rows of an epoch, of this process.

    Raises
    ------
    UsageError
        If `length` is below 1, or there are fewer rows than the stream draws from.

    Notes
    -----
    A row that is a mapping gets the key ``sample_weight``; another comes as ``(row, weight)``. A
    loader with workers copies the data set into each of them, so that the stream here does not
    move: move it with `skip` after an epoch, or a part of one.

    Examples
    --------
    >>> import samplewise as sw
    >>> stream = sw.mix(sizes=[3, 1], method="temperature", rng=0)
    >>> rows = [{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": "d"}]
    >>> next(iter(MixDataset(stream, rows, length=8)))["sample_weight"]
    1.0
    """

    def __init__(self, stream: Stream, rows: Sequence[Any], length: int) -> None:
        _check(length)
        if len(rows) < stream.sources.total:
            raise UsageError(
                f"there are {len(rows)} rows, and the stream draws from {stream.sources.total}",
                mend="give the rows that the sources were made of",
            )
        self.stream, self.rows, self.length = stream, rows, length

    def __len__(self) -> int:
        return self.length

    def skip(self, count: int) -> None:
        """Move on by rows that were used, of this process."""
        self.stream.position += count * self.stream.world_size

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        stream, start = self.stream, self.stream.position
        size = stream.world_size
        for first in range(0, self.length, _CHUNK):
            last = min(first + _CHUNK, self.length)
            drawn = stream.between(start + first * size, start + last * size)
            for place in range(first, last):
                if place % workers == worker:
                    at = (place - first) * size + stream.rank
                    if info is None:
                        stream.position = start + (place + 1) * size
                    yield _weighted(self.rows[int(drawn.indices[at])], float(drawn.weights[at]))


def _weighted(row: Any, weight: float) -> Any:
    return {**row, "sample_weight": weight} if isinstance(row, Mapping) else (row, weight)


def _check(length: int) -> None:
    if length < 1:
        raise UsageError(f"length is {length}", mend="give 1 draw or more an epoch")
