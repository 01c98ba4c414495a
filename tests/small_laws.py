"""Laws over small vocabularies, flat ones and peaked ones, some with tokens of no chance."""

import numpy as np


def random_law(rng, size):
    law = rng.dirichlet(np.full(size, rng.choice([0.1, 0.5, 1.0, 5.0])))
    law[law < 1e-12] = 0.0
    if rng.random() < 0.3:
        law[rng.integers(size)] = 0.0
    if not law.any():
        law[rng.integers(size)] = 1.0
    return law / law.sum()


def gumbel_pair(rng, size, spread=1.5):
    """A target, and a draft whose logits are the target's with noise."""
    logits = spread * rng.gumbel(size=size)
    return softmax(logits), softmax(logits + rng.normal(size=size))


def softmax(logits):
    law = np.exp(logits - logits.max())
    return law / law.sum()
