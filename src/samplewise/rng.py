"""Randomness: one argument, `rng`, and no global state."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from samplewise.errors import UsageError

__all__ = ["RandomState", "generator", "seed_of"]

RandomState: TypeAlias = "int | np.random.Generator | None"


def generator(rng: RandomState) -> np.random.Generator:
    """Turn `rng` into a NumPy generator.

    Parameters
    ----------
    rng : int, numpy.random.Generator or None
        A seed; a generator, which is used (and advanced) as it is; or None for fresh entropy.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    UsageError
        If `rng` is anything else, or a negative seed.

    Examples
    --------
    >>> int(generator(0).integers(100)) == int(generator(0).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    is_seed = isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0
    if rng is None or is_seed:
        return np.random.default_rng(rng)
    raise UsageError(
        f"rng is {rng!r}", mend="give a seed (an int, 0 or more), a numpy Generator, or None"
    )


def seed_of(rng: np.random.Generator) -> int:
    """Draw a 31-bit seed for a library that keeps its own random state."""
    return int(rng.integers(2**31 - 1))
