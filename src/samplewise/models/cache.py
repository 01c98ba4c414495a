"""Keys and values of what a model has read, kept for many completions at a time.

It imports transformers, so that it is imported only where a model is at work.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["Keep", "run"]


class Keep(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, in a buffer with room to grow: a step copies none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = True
        self.length = 0
        self._keys: Any = None
        self._values: Any = None

    def update(self, keys: Any, values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Put new keys and values behind the old, and give all."""
        end = self.length + keys.shape[2]
        if self._keys is None:
            self._keys, self._values = keys.clone(), values.clone()
        elif end > self._keys.shape[2]:
            self._grow(max(end, self.length + self.length // 2, self.length + 64))
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def get_seq_length(self) -> int:
        """Give how many places are kept."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Give the length that a mask must have, and where it begins."""
        return self.length + query_length, 0

    def repeat(self, rows: int) -> None:
        """Make the one row many."""
        self._keys = self._keys[:, :, : self.length].repeat(rows, 1, 1, 1)
        self._values = self._values[:, :, : self.length].repeat(rows, 1, 1, 1)

    def keep_rows(self, rows: list[int], unused: int) -> None:
        """Keep some rows, less the places at the front that none of them uses."""
        self._keys = self._keys[rows, :, unused : self.length]
        self._values = self._values[rows, :, unused : self.length]
        self.length -= unused

    def keep_places(self, length: int, places: list[int]) -> None:
        """Keep the first `length` places, and some of those behind them, in a row behind these."""
        if places and places != list(range(length, length + len(places))):
            for name in ("_keys", "_values"):
                kept = getattr(self, name)[:, :, places]  # a copy: places may overlap
                getattr(self, name)[:, :, length : length + len(places)] = kept
        self.length = length + len(places)

    def append(self, other: Keep, rows: int) -> None:
        """Put `rows` copies of another's one row below; the shorter get nothing in front."""
        length = max(self.length, other.length)
        for name in ("_keys", "_values"):
            mine = getattr(self, name)[:, :, : self.length]
            theirs = getattr(other, name)[:, :, : other.length]
            both = mine.new_zeros(len(mine) + rows, mine.shape[1], length + 64, mine.shape[3])
            both[: len(mine), :, length - self.length : length] = mine
            both[len(mine) :, :, length - other.length : length] = theirs
            setattr(self, name, both)
        self.length = length

    def _grow(self, size: int) -> None:
        for name in ("_keys", "_values"):
            old = getattr(self, name)
            new = old.new_zeros(*old.shape[:2], size, old.shape[3])
            new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)


def run(model: Any, caches: Sequence[Keep], **inputs: Any) -> Any:
    """Run a model on what comes after the kept places, which it adds to; give the logits."""
    cache = DynamicCache()
    cache.layers = caches
    return model(**inputs, use_cache=True, **{_cache_name(type(model).forward): cache}).logits


@functools.cache
def _cache_name(forward: Callable[..., Any]) -> str:
    """Find what this version of transformers calls the keys and values that a model is given."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"
