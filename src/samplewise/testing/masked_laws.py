"""A law over short texts that is known exactly, and the masked model that knows it.

Run a masked sampler of your own on it: what it draws can be compared with the law itself, or with
the law of any model under random orders and under the ancestral sampler, worked out over all cases.

>>> from samplewise.decode.masked_diffusion import FirstHitting
>>> model = KnownLaw(vocabulary=2, length=3, rng=0)
>>> tokens = FirstHitting().fill(model, model.masks(20_000), 2, rng=0).tokens
>>> distance(model.frequencies(tokens), model.law) < 0.02
True
"""

from __future__ import annotations

import itertools
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["KnownLaw", "ancestral_law", "distance", "random_order_law"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class KnownLaw:
    """A random table of probabilities, whose conditionals are a masked model.

    Parameters
    ----------
    vocabulary, length : int
        The table has ``vocabulary ** length`` numbers; keep it small.
    rng : int, numpy.random.Generator or None
    evenness : float
        Shape of the Gamma law that the numbers are drawn from: below 1 for few likely texts.
    warp : float
        By how much logits grow with each token that can be seen. Above 0 the conditionals are those
        of no law, and depend on the order in which tokens are drawn.

    Attributes
    ----------
    texts : ndarray of int64, shape (vocabulary ** length, length)
        All texts.
    law : ndarray of float64, shape (vocabulary ** length,)
        Their probabilities.
    calls : int
        How often the model was called.
    times : list
        The times it was given.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        rng: RandomState = None,
        evenness: float = 1.0,
        warp: float = 0.0,
    ) -> None:
        self.vocabulary, self.length, self.warp = vocabulary, length, warp
        table = generator(rng).gamma(evenness, size=(vocabulary,) * length) + 1e-6
        table /= table.sum()
        self.law: Floats = table.ravel()
        self.texts = np.array(list(itertools.product(range(vocabulary), repeat=length)))
        # Number `vocabulary` along an axis stands for any token there.
        self._sums = reduce(
            lambda sums, axis: np.append(sums, sums.sum(axis=axis, keepdims=True), axis),
            range(length),
            table,
        )
        self.calls = 0
        self.times: list[Floats | None] = []

    def __call__(self, tokens: Ints, time: Floats | None) -> Floats:
        """Give the law of each place given all tokens that can be seen but its own."""
        self.calls += 1
        self.times.append(time)
        logits = np.empty((*tokens.shape, self.vocabulary))
        for place, value in itertools.product(range(self.length), range(self.vocabulary)):
            seen = tokens.copy()
            seen[:, place] = value
            logits[:, place, value] = np.log(self._sums[tuple(seen.T)])
        growth = 1 + self.warp * (tokens < self.vocabulary).sum(axis=1)
        return np.asarray(logits * growth[:, None, None])

    def masks(self, rows: int) -> Ints:
        """Give texts of nothing but masks."""
        return np.full((rows, self.length), self.vocabulary)

    def frequencies(self, tokens: Ints) -> Floats:
        """Give the share of each of `texts`."""
        places = np.ravel_multi_index(tuple(tokens.T), (self.vocabulary,) * self.length)
        return np.bincount(places, minlength=len(self.texts)) / len(tokens)


def random_order_law(model: KnownLaw) -> Floats:
    """Give the mean over all orders of the product of the model's conditionals.

    Returns
    -------
    ndarray of float64, shape (texts,)

    Examples
    --------
    >>> model = KnownLaw(2, 3, rng=0)
    >>> bool(np.allclose(random_order_law(model), model.law))
    True
    """
    chances = np.zeros(len(model.texts))
    orders = list(itertools.permutations(range(model.length)))
    rows = np.arange(len(model.texts))
    for order in orders:
        tokens, chance = model.masks(len(rows)), np.ones(len(rows))
        for place in order:
            chance *= _laws(model, tokens)[rows, place, model.texts[:, place]]
            tokens[:, place] = model.texts[:, place]
        chances += chance / len(orders)
    return chances


def ancestral_law(model: KnownLaw, shares: ArrayLike) -> Floats:
    """Give the law after the steps of the ancestral sampler, through all transitions.

    Parameters
    ----------
    model : KnownLaw
    shares : array_like of float, shape (steps + 1,)
        The probability of a mask before the first step, 1, and after each, down to 0.

    Returns
    -------
    ndarray of float64, shape (texts,)

    Examples
    --------
    >>> model = KnownLaw(2, 3, rng=0)
    >>> [round(distance(ancestral_law(model, np.linspace(1, 0, n + 1)), model.law), 3)
    ...  for n in (1, 10, 100)]
    [0.168, 0.016, 0.002]
    """
    mask, levels = model.vocabulary, np.asarray(shares, np.float64)
    states = np.array(list(itertools.product(range(mask + 1), repeat=model.length)))
    laws = _laws(model, states)
    chances = (states == mask).all(axis=1).astype(np.float64)
    for before, after in itertools.pairwise(levels):
        stays = after / before
        steps = np.ones((len(states), len(states)))
        for place in range(model.length):
            old, new = states[:, None, place], states[None, :, place]
            falls = (1 - stays) * laws[:, place][:, np.minimum(states[:, place], mask - 1)]
            steps *= np.where(old == mask, np.where(new == mask, stays, falls), old == new)
        chances = chances @ steps
    return np.asarray(chances[(states < mask).all(axis=1)])


def distance(one: ArrayLike, other: ArrayLike) -> float:
    """Give the total variation between two laws.

    Examples
    --------
    >>> distance([0.5, 0.5], [0.2, 0.8]).__round__(6)
    0.3
    """
    return float(np.abs(np.subtract(one, other)).sum() / 2)


def _laws(model: KnownLaw, tokens: Ints) -> Floats:
    logits = model(tokens, None)
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.asarray(odds / odds.sum(axis=2, keepdims=True))
