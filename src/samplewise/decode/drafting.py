"""How the drafts of one place are drawn: three schemes, and every outcome of each.

Drafts drawn independently suit `recursive-rejection`, `k-seq` and `optimal-multi-draft`; drafts
that all differ waste none; the likeliest tokens and one more need the simplest verifier.

Without replacement, and under the greedy scheme, a draft has as many different tokens as the law
gives it: where fewer tokens have a chance than drafts are asked for, all of them are drawn, and no
others. So a draft is never a token that its law cannot give.

Cost: O(V) a place for V tokens, plus O(n log n) for n drafts. Source: arXiv 2502.18779.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samplewise.decode.base import Scheme

__all__ = [
    "drafts_of",
    "draw_drafts",
    "draw_greedily",
    "draw_with_replacement",
    "draw_without_replacement",
    "every_draft",
    "likeliest",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def drafts_of(law: Floats, count: int, scheme: Scheme) -> int:
    """Count the drafts that a scheme gives where `count` are asked for.

    Examples
    --------
    >>> drafts_of(np.array([0.5, 0.5, 0.0]), 3, "without-replacement")
    2
    """
    return count if scheme == "with-replacement" else min(count, int(np.count_nonzero(law)))


def draw_drafts(law: Floats, count: int, scheme: Scheme, rng: np.random.Generator) -> Ints:
    """Draw the drafts of one place.

    Parameters
    ----------
    law : ndarray of float64, shape (vocabulary,)
    count : int
        1 or more.
    scheme : {'with-replacement', 'without-replacement', 'greedy'}
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (drafts_of(law, count, scheme),)
        In the order in which they were drawn; under ``"greedy"`` the drawn one is the last.
    """
    if scheme == "with-replacement":
        return draw_with_replacement(law, count, rng)
    count = drafts_of(law, count, scheme)
    if scheme == "without-replacement":
        return draw_without_replacement(law, count, rng)
    return draw_greedily(law, count, rng)


def draw_with_replacement(law: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Draw tokens independently, none that has no chance.

    Examples
    --------
    >>> draw_with_replacement(np.array([0.0, 1.0, 0.0]), 2, np.random.default_rng(0)).tolist()
    [1, 1]
    """
    sums = law.cumsum()
    # Below the sum even after rounding, so that it falls into a token's part.
    places = np.minimum(rng.random(count) * sums[-1], np.nextafter(sums[-1], 0.0))
    tokens: Ints = np.searchsorted(sums, places, side="right").astype(np.int64)
    return tokens


def draw_without_replacement(law: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Draw different tokens, one after another, each by the law of those that are left.

    Every token gets an exponential clock whose rate is its probability; the first to ring are
    drawn. `count` is at most the number of tokens that have a chance.

    Examples
    --------
    >>> sorted(draw_without_replacement(np.array([0.9, 0.0, 0.1]), 2, np.random.default_rng(0)))
    [np.int64(0), np.int64(2)]
    """
    tokens = np.flatnonzero(law)
    # In logarithms, where no probability is too small for its clock.
    clocks = np.log(rng.standard_exponential(len(tokens))) - np.log(law[tokens])
    first = np.argpartition(clocks, count - 1)[:count]
    drawn: Ints = tokens[first[clocks[first].argsort()]]
    return drawn


def draw_greedily(law: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Take the likeliest tokens, and draw the last one from the others.

    `count` is at most the number of tokens that have a chance.

    Examples
    --------
    >>> law = np.array([0.2, 0.3, 0.3, 0.2, 0.0])
    >>> draw_greedily(law, 3, np.random.default_rng(0)).tolist()
    [1, 2, 3]
    """
    top = likeliest(law, count - 1)
    others = law.copy()
    others[top] = 0.0
    return np.append(top, draw_with_replacement(others, 1, rng))


def likeliest(law: Floats, count: int) -> Ints:
    """Give the likeliest tokens, the likeliest first; the lower id where two are alike.

    Examples
    --------
    >>> likeliest(np.array([0.2, 0.3, 0.3, 0.2]), 3).tolist()
    [1, 2, 0]
    """
    if not count:
        return np.empty(0, np.int64)
    least = np.partition(law, len(law) - count)[len(law) - count]
    above = np.flatnonzero(law > least)
    level = np.flatnonzero(law == least)[: count - len(above)]
    return np.concatenate([above[np.argsort(-law[above], kind="stable")], level])


def every_draft(law: Floats, count: int, scheme: Scheme) -> tuple[Ints, Floats]:
    """List all drafts of one place, in every order, with their probabilities; for small sizes.

    Returns
    -------
    tokens : ndarray of int64, shape (outcomes, drafts)
    chances : ndarray of float64, shape (outcomes,)
        They sum to 1.

    Examples
    --------
    >>> tokens, chances = every_draft(np.array([0.75, 0.25]), 2, "with-replacement")
    >>> tokens.tolist(), chances.tolist()
    ([[0, 0], [0, 1], [1, 0], [1, 1]], [0.5625, 0.1875, 0.1875, 0.0625])
    """
    count = drafts_of(law, count, scheme)
    known = np.flatnonzero(law)
    if scheme == "greedy":
        top = likeliest(law, count - 1)
        last = np.setdiff1d(known, top)
        tokens = np.column_stack([np.tile(top, (len(last), 1)), last])
        return tokens, law[last] / law[last].sum()
    with_replacement = scheme == "with-replacement"
    tokens = np.array(
        list(
            itertools.product(known, repeat=count)
            if with_replacement
            else itertools.permutations(known, count)
        ),
        np.int64,
    )
    chances = law[tokens]
    if not with_replacement:
        left = np.tile(law, (len(tokens), 1))
        for place in range(count):
            chances[:, place] /= left.sum(axis=1)
            left[np.arange(len(tokens)), tokens[:, place]] = 0.0
    return tokens, chances.prod(axis=1)
