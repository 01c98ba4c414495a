"""Documents as a table of endless streams: row i of each batch goes on where row i stopped.

So a recurrent model's state carries over, no token is wasted on padding, and batches can be split
over micro-batches or accelerators by their rows. The same windows, moved on by less than their
length, score a text with more context for each token.

Cost: O(documents x batch size) to distribute, O(batch size x length) a window; documents are read
where they are, and may be memory-mapped. Source: arXiv 2309.11197 and its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError

__all__ = ["DocumentStreams", "Window", "shortest_queues"]

Ints = NDArray[np.int64]


class Window(NamedTuple):
    """What a model reads and predicts at once, in micro-batches.

    Attributes
    ----------
    inputs, targets : ndarray of int64, shape (micro-batches, rows, length)
        Each target is the token after its input.
    scored : ndarray of bool, shape (micro-batches, rows, length)
        Which targets count: padding does not, nor does what the window before has scored.
    is_padded : bool
        Whether a stream has ended.
    """

    inputs: Ints
    targets: Ints
    scored: NDArray[np.bool_]
    is_padded: bool


class DocumentStreams:
    """Windows over documents.

    Parameters
    ----------
    documents : sequence of ndarray of int, shape (tokens,)
        One or more tokens each, and as many documents as rows, at least.
    batch_size, length : int
        Rows, and tokens of each window.
    end : int
        A token that is put behind every document.
    shift : int, optional
        Tokens that a window is moved on by, from 1 to `length`, which is the default. With fewer,
        the first window scores all its targets, and each later one its last `shift`, so that every
        token but the first of its stream is scored once; the published evaluation leaves out the
        first ones of the first window, and all that padding would follow.
    repeat : bool
        Whether streams begin anew for ever.
    micro_batches : int
        Parts that the rows of a window are split into.
    padding : int
        What fills streams that have ended; `Window.scored` tells it apart from a real token.

    Attributes
    ----------
    position : int
        Windows that are behind.

    Examples
    --------
    >>> streams = DocumentStreams([np.array([5, 6, 7]), np.array([8, 9])], batch_size=1, length=4)
    >>> [window.targets.tolist() for window in streams]
    [[[[6, 7, 2, 8]]], [[[9, 2, 0, 0]]]]
    """

    def __init__(
        self,
        documents: Sequence[NDArray[Any]],
        batch_size: int,
        length: int,
        *,
        end: int = 2,
        shift: int | None = None,
        repeat: bool = False,
        micro_batches: int = 1,
        padding: int = 0,
    ) -> None:
        self.shift = length if shift is None else shift
        if not 1 <= self.shift <= length:
            raise UsageError(f"shift is {shift}", mend=f"give 1 to {length}, the length")
        if micro_batches < 1 or batch_size < 1 or batch_size % micro_batches:
            raise UsageError(
                f"batch_size is {batch_size} and micro_batches {micro_batches}",
                mend="give a batch size that they divide",
            )
        if len(documents) < batch_size:
            raise UsageError(
                f"there are {len(documents)} documents for {batch_size} rows",
                mend="give a document a row, or a smaller batch",
            )
        for number, one in enumerate(documents):
            if one.ndim != 1 or not len(one) or not np.issubdtype(one.dtype, np.integer):
                raise UsageError(
                    f"document {number} has the shape {one.shape} and the type {one.dtype}",
                    mend="give whole numbers in one row",
                )
        self.documents, self.batch_size, self.length = documents, batch_size, length
        self.end, self.repeat, self.micro_batches = end, repeat, micro_batches
        self.padding = padding
        self.queues = shortest_queues([len(one) for one in documents], batch_size)
        self._stops = [
            np.cumsum([len(documents[number]) + 1 for number in queue]) for queue in self.queues
        ]
        self.position = 0

    @property
    def windows(self) -> int | None:
        """Windows of a pass, None where it never ends."""
        if self.repeat:
            return None
        longest = max(int(stops[-1]) for stops in self._stops)
        return max(0, -(-(longest - 1 - self.length) // self.shift)) + 1

    def __iter__(self) -> Iterator[Window]:
        """Give the windows from the position on; it moves with each."""
        while self.repeat or self.position < (self.windows or 0):
            self.position += 1
            yield self.window(self.position - 1)

    def window(self, number: int) -> Window:
        """Give one window; the first is 0."""
        start = number * self.shift
        stop = start + self.length + 1
        table = np.full((self.batch_size, self.length + 1), self.padding, dtype=np.int64)
        scored = np.zeros((self.batch_size, self.length), dtype=bool)
        for row in range(self.batch_size):
            tokens = self._tokens(row, start, stop)
            table[row, : len(tokens)] = tokens
            scored[row, : max(0, len(tokens) - 1)] = True
        padded = not bool(scored.all())
        if number:
            scored[:, : self.length - self.shift] = False
        shape = self.micro_batches, -1, self.length
        inputs, targets = table[:, :-1].reshape(shape), table[:, 1:].reshape(shape)
        return Window(inputs, targets, scored.reshape(shape), padded)

    def _tokens(self, row: int, start: int, stop: int) -> Ints:
        """Give the tokens of a stream between two places, fewer where it ends before."""
        stops = self._stops[row]
        whole = int(stops[-1])
        parts: list[NDArray[Any]] = []
        while start < stop and (self.repeat or start < whole):
            at = start % whole
            place = int(np.searchsorted(stops, at, side="right"))
            document = self.documents[self.queues[row][place]]
            inside = at - (int(stops[place]) - len(document) - 1)
            part: NDArray[Any] = document[inside : inside + stop - start]
            if len(part) < stop - start:
                part = np.append(part, self.end)
            parts.append(part)
            start += len(part)
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def state_dict(self) -> dict[str, Any]:
        """Give all that decides what follows, as plain JSON values."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; documents and sizes must be the same."""
        self.position = int(state["position"])


def shortest_queues(lengths: Sequence[int], queues: int) -> list[list[int]]:
    """Give each document, in order, to the queue with the fewest tokens; of equals, to the first.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each document.
    queues : int

    Returns
    -------
    list of list of int
        The documents of every queue.

    Examples
    --------
    >>> shortest_queues([5, 1, 2, 3], 2)
    [[0], [1, 2, 3]]
    """
    loads = np.zeros(queues, dtype=np.int64)
    found: list[list[int]] = [[] for _ in range(queues)]
    for number, length in enumerate(lengths):
        queue = int(loads.argmin())
        found[queue].append(number)
        loads[queue] += length
    return found
