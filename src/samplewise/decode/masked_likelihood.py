"""How likely a masked diffusion model finds a text: its evidence lower bound, and training masks.

The bound is the mean, over the number of masks n and over which places they are, of the
log-probability of the hidden tokens divided by n; no time is in it. Where the model's conditionals
are those of one law, the bound is that law's log-probability. A network that takes a time is
averaged over the times at which so many masks are left.

Cost: one call of the network a sample; the exact bound calls it on 2^length texts.
Source: arXiv 2409.02908, section 3.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.decode.base import MaskedModel, as_tokens
from samplewise.decode.categorical import open_uniform
from samplewise.decode.mask_schedule import Schedule, time_of_share
from samplewise.decode.masked_network import Network
from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

__all__ = ["Elbo", "discrete_elbo", "exact_elbo", "mask_counts", "mask_places"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_LONGEST = 16  # tokens of a text whose masks are all enumerated
_NODES = 24  # of the integral over times


class Elbo(NamedTuple):
    """Evidence lower bound of each text, in nats.

    Attributes
    ----------
    values : ndarray of float64, shape (rows,)
        0 or less; the text's log-probability is at least so large.
    errors : ndarray of float64, shape (rows,)
        Standard errors as of independent draws; low-discrepancy ones err less.
    length : int
        Tokens of a text.
    """

    values: Floats
    errors: Floats
    length: int

    def perplexity(self) -> float:
        """Give the exponential of the mean loss a token, over all texts."""
        return math.exp(-float(self.values.mean()) / self.length)


def discrete_elbo(
    model: MaskedModel,
    tokens: ArrayLike,
    vocabulary: int,
    *,
    samples: int = 64,
    schedule: Schedule | None = None,
    rng: RandomState = 0,
) -> Elbo:
    """Estimate the evidence lower bound of texts.

    Parameters
    ----------
    model : callable
        See `samplewise.decode.base.MaskedModel`.
    tokens : array_like of int, shape (rows, length)
        Texts without masks.
    vocabulary : int
    samples : int
        Draws of masks for each text, 2 or more: one call of the model each.
    schedule : {'linear', 'cosine'}, optional
        For a model that takes a time. Without it the time is None.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Elbo

    Raises
    ------
    UsageError
        If a token is a mask or none at all, or `samples` is below 2.

    References
    ----------
    arXiv 2409.02908, section 3

    Examples
    --------
    >>> model = lambda tokens, time: np.zeros((*tokens.shape, 5))
    >>> elbo = discrete_elbo(model, [[0, 4, 2]], vocabulary=5, samples=10)
    >>> elbo.values.round(3), round(elbo.perplexity(), 6)
    (array([-4.828]), 5.0)
    """
    texts = _whole_texts(tokens, vocabulary)
    if samples < 2:
        raise UsageError(f"samples is {samples}", mend="give 2 or more")
    random, network = generator(rng), Network(model, vocabulary)
    length = texts.shape[1]
    counts = np.stack([mask_counts(samples, length, random) for _ in texts], axis=1)
    values = np.empty((samples, len(texts)))
    for sample, masks in enumerate(counts):
        hidden = mask_places(masks, length, random)
        share = None if schedule is None else random.beta(masks, length - masks + 1)
        values[sample] = length / masks * _hidden_scores(network, texts, hidden, share, schedule)
    errors = values.std(axis=0, ddof=1) / math.sqrt(samples)
    return Elbo(values.mean(axis=0), errors, length)


def exact_elbo(
    model: MaskedModel, tokens: ArrayLike, vocabulary: int, *, schedule: Schedule | None = None
) -> Elbo:
    """Compute the evidence lower bound of short texts, over all their masks.

    Parameters
    ----------
    model : callable
    tokens : array_like of int, shape (rows, length)
        At most 16 tokens long.
    vocabulary : int
    schedule : {'linear', 'cosine'}, optional
        For a model that takes a time: the mean over times is taken by Gauss-Jacobi quadrature,
        which is exact where the log-probability is a polynomial of the share of masks of degree 47
        or less.

    Returns
    -------
    Elbo

    Raises
    ------
    UsageError
        If a token is a mask or none at all, or the texts are too long.

    Examples
    --------
    >>> model = lambda tokens, time: np.zeros((*tokens.shape, 5))
    >>> exact_elbo(model, [[0, 4, 2]], vocabulary=5).values.round(3)
    array([-4.828])
    """
    from scipy.special import roots_jacobi

    texts = _whole_texts(tokens, vocabulary)
    length = texts.shape[1]
    if length > _LONGEST:
        raise UsageError(
            f"tokens are {length} long", mend=f"give at most {_LONGEST}, or use discrete_elbo"
        )
    network = Network(model, vocabulary)
    values = np.zeros(len(texts))
    for masks in range(1, length + 1):
        places = np.array(list(itertools.combinations(range(length), masks)))
        hidden = np.zeros((len(places), length), bool)
        np.put_along_axis(hidden, places, True, axis=1)
        shares, weights = [None], [1.0]
        if schedule is not None:
            roots, masses = roots_jacobi(_NODES, length - masks, masks - 1)
            shares, weights = list((1 + roots) / 2), list(masses / masses.sum())
        for row, text in enumerate(texts):
            repeated = np.tile(text, (len(hidden), 1))
            for share, weight in zip(shares, weights, strict=True):
                each = None if share is None else np.full(len(hidden), share)
                scores = _hidden_scores(network, repeated, hidden, each, schedule)
                values[row] += weight * scores.mean() / masks
    return Elbo(values, np.zeros(len(texts)), length)


def mask_counts(draws: int, length: int, rng: np.random.Generator) -> Ints:
    """Draw numbers of masks, 1 to `length` and each as likely, spread evenly over the draws.

    Draw i of B is ``ceil(length (i + u) / B)`` with u uniform: the mean of a loss over them varies
    less than over independent draws.

    Returns
    -------
    ndarray of int64, shape (draws,)
        Rising.

    References
    ----------
    arXiv 2409.02908, section 3

    Examples
    --------
    >>> mask_counts(4, 4, np.random.default_rng(0))
    array([1, 2, 3, 4])
    """
    times = (np.arange(draws) + open_uniform(rng, draws)) / draws
    return np.clip(np.ceil(length * times).astype(np.int64), 1, length)


def mask_places(counts: Ints, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which places of each row are masks.

    Parameters
    ----------
    counts : ndarray of int64, shape (rows,)
        Masks of each row, at most `length`.
    length : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (rows, length)

    Examples
    --------
    >>> mask_places(np.array([1, 3]), 3, np.random.default_rng(0)).sum(axis=1)
    array([1, 3])
    """
    ranks = rng.random((len(counts), length)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < counts[:, None])


def _whole_texts(tokens: ArrayLike, vocabulary: int) -> Ints:
    texts = as_tokens(tokens, vocabulary)
    if not texts.size or (texts == vocabulary).any():
        raise UsageError(
            "tokens are empty, or hold a mask", mend="give whole texts, at least one token each"
        )
    return texts


def _hidden_scores(
    network: Network,
    texts: Ints,
    hidden: NDArray[np.bool_],
    share: Floats | None,
    schedule: Schedule | None,
) -> Floats:
    """Sum the log-probabilities of the hidden tokens of each row."""
    shown = np.where(hidden, network.vocabulary, texts)
    time = None
    if share is not None and schedule is not None:
        time = time_of_share(np.log(share), schedule)
    call = network.call(shown, np.arange(len(texts)), time)
    rows, places = np.nonzero(hidden)
    scores = call.log_likelihoods(rows, places, texts[rows, places])
    return np.asarray(np.bincount(rows, scores, len(texts)), np.float64)
