"""The built-in embedder: static word vectors, averaged. Offline, no torch, both cores.

The vectors and the tokenizer ship in the `wordllama` wheel. A text's vector is the mean of its
tokens' vectors, normalised: the same as ``WordLlama.embed(norm=True)``, without its padding.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.embed.base import Vectors

__all__ = ["StaticEmbedder"]

_BATCH_CHARACTERS = 1 << 20  # tokens of this much text are held at once
_PIECE_CHARACTERS = 100_000  # a longer text is tokenised in pieces, cut at spaces


@dataclass(frozen=True)
class StaticEmbedder:
    """Means of static 256-d word vectors.

    References
    ----------
    WordLlama, l2_supercat, 256 dimensions.

    Examples
    --------
    >>> vectors = StaticEmbedder().embed(["a cat sat", "the cat sits", "tax law"])
    >>> vectors.shape, bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    ((3, 256), True)
    """

    id: str = "wordllama:l2_supercat:256"

    def embed(self, texts: list[str]) -> Vectors:
        """Give one unit vector a text (zero for an empty one)."""
        model = _model()
        batches = [
            model.mean(tokens, starts, model.table) for tokens, starts in _tokens(texts, model)
        ]
        return np.concatenate(batches) if batches else np.empty((0, model.table.shape[1]), "f4")

    def count(self, texts: list[str]) -> NDArray[np.int64]:
        """Count the tokens of each text."""
        counts = [np.diff(starts) for _, starts in _tokens(texts, _model())]
        return np.concatenate(counts) if counts else np.empty(0, np.int64)


class _Model(NamedTuple):
    tokenizer: Any
    table: Vectors
    mean: Callable[[NDArray[np.int32], NDArray[np.int64], Vectors], Vectors]


@functools.cache
def _model() -> _Model:
    import tokenizers
    from safetensors.numpy import load_file

    from samplewise.embed._mean import mean_vectors

    # Only the package's data are wanted: importing it would set up the root logger.
    wheel = importlib.util.find_spec("wordllama")
    assert wheel is not None
    assert wheel.origin is not None
    home = Path(wheel.origin).parent
    tokenizer = tokenizers.Tokenizer.from_file(
        str(home / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = load_file(home / "weights" / "l2_supercat_256.safetensors")
    table = np.ascontiguousarray(weights["embedding.weight"], dtype=np.float32)
    return _Model(tokenizer, table, mean_vectors)


def _tokens(
    texts: list[str], model: _Model
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Yield (token ids, start of each text's tokens) for batches of the texts."""
    for batch in _batches(texts):
        pieces = [list(_pieces(text)) for text in batch]
        encodings = model.tokenizer.encode_batch_fast(
            [piece for some in pieces for piece in some], add_special_tokens=False
        )
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        bounds = np.concatenate([[0], np.cumsum([len(some) for some in pieces])])
        yield tokens, ends[bounds.astype(np.int64)]


def _batches(texts: list[str]) -> Iterator[list[str]]:
    start, size = 0, 0
    for end, text in enumerate(texts, start=1):
        size += len(text)
        if size >= _BATCH_CHARACTERS or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def _pieces(text: str) -> Iterator[str]:
    while len(text) > _PIECE_CHARACTERS:
        cut = text.rfind(" ", 1, _PIECE_CHARACTERS)
        cut = cut if cut > 0 else _PIECE_CHARACTERS
        yield text[:cut]
        text = text[cut:].removeprefix(" ")
    if text:
        yield text
