"""A law over short texts that is known exactly, and the masked model that knows it."""

import itertools
from functools import reduce

import numpy as np


class JointLaw:
    """A random table over `length` tokens, and its conditionals as a masked model."""

    def __init__(self, vocabulary, length, seed, sharpness=1.0):
        rng = np.random.default_rng(seed)
        table = rng.gamma(sharpness, size=(vocabulary,) * length) + 1e-6
        self.table = table / table.sum()
        self.vocabulary, self.length = vocabulary, length
        self.texts = np.array(list(itertools.product(range(vocabulary), repeat=length)))
        # Number `vocabulary` along an axis stands for any token there.
        self.sums = reduce(
            lambda t, axis: np.concatenate([t, t.sum(axis=axis, keepdims=True)], axis=axis),
            range(length),
            self.table,
        )
        self.calls, self.times = 0, []

    def chances(self, texts):
        return self.sums[tuple(np.asarray(texts).T)]

    def __call__(self, tokens, time):
        """Give the law of each place given all visible tokens but its own."""
        self.calls += 1
        self.times.append(time)
        logits = np.empty((*tokens.shape, self.vocabulary))
        for place, value in itertools.product(range(self.length), range(self.vocabulary)):
            seen = tokens.copy()
            seen[:, place] = value
            logits[:, place, value] = np.log(self.chances(seen))
        return logits

    def masks(self, rows):
        return np.full((rows, self.length), self.vocabulary)


class WarpedLaw(JointLaw):
    """A model whose conditionals are of no joint law: each depends on how much it can see."""

    def __call__(self, tokens, time):
        seen = (tokens < self.vocabulary).sum(axis=1)
        return super().__call__(tokens, time) * (1 + 0.5 * seen)[:, None, None]


def laws_of(model, tokens):
    """Softmax of the model's logits, one text."""
    logits = model(np.asarray(tokens)[None], None)[0]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def random_order_law(model):
    """The mean over all orders of the product of conditionals, by enumeration."""
    chances = np.zeros(len(model.texts))
    orders = list(itertools.permutations(range(model.length)))
    for order, (i, text) in itertools.product(orders, enumerate(model.texts)):
        tokens, chance = np.full(model.length, model.vocabulary), 1.0
        for place in order:
            chance *= laws_of(model, tokens)[place, text[place]]
            tokens[place] = text[place]
        chances[i] += chance / len(orders)
    return chances


def ancestral_law(model, shares):
    """The law after steps of the ancestral sampler, through all transitions between states."""
    mask, width = model.vocabulary, model.vocabulary + 1
    states = np.array(list(itertools.product(range(width), repeat=model.length)))
    laws = np.stack([laws_of(model, state) for state in states])
    chances = (states == mask).all(axis=1).astype(float)
    for before, after in itertools.pairwise(shares):
        stays = after / before
        steps = np.ones((len(states), len(states)))
        for place in range(model.length):
            old, new = states[:, None, place], states[None, :, place]
            falls = (1 - stays) * laws[:, place][:, np.minimum(states[:, place], mask - 1)]
            moved = np.where(new == mask, stays, falls)
            steps *= np.where(old == mask, moved, old == new)
        chances = chances @ steps
    return chances[(states < mask).all(axis=1)]


def distance(p, q):
    """Total variation."""
    return np.abs(np.asarray(p) - q).sum() / 2


def frequencies(model, tokens):
    """The share of each text of `model.texts`."""
    index = np.ravel_multi_index(tuple(tokens.T), (model.vocabulary,) * model.length)
    return np.bincount(index, minlength=len(model.texts)) / len(tokens)
