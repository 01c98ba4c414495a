"""How surprising a text is, what cutting the tail of a law does to that, and how much repeats.

Surprise is counted in bits: -log2 of the probability that the model gave the token, in its full law
even where the token was drawn from a part of it. Its mean over a text is the observed cross-entropy
rate, whose power of 2 is the perplexity. Use the tools to choose a target for Mirostat, to say what
a fixed top-k or top-p amounts to, and to see whether a text repeats itself.

Cost: O(V) for V tokens, O(V log V) where they are to be sorted. Source: arXiv 2007.14966, and the
notebook that its authors published.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cutoff_k",
    "fit_exponents",
    "log_cutoffs",
    "repetition_cost",
    "repetition_percent",
    "truncated_cross_entropy",
    "zipf_cross_entropy",
    "zipf_exponent",
]

_NEAR_ONE = 1e-6  # of an exponent, where the general form is 0 / 0
_FLATTEST, _STEEPEST = 1e-6, 1e6  # exponents beyond them keep all, or one


def zipf_exponent(probabilities: ArrayLike, candidates: int = 100) -> float:
    """Fit the exponent of Zipf's law to the head of a law, by least squares.

    Parameters
    ----------
    probabilities : array_like, shape (V,)
        The largest first.
    candidates : int
        Tokens looked at, 2 or more; their ratios are one fewer. It stops before the first 0.

    Returns
    -------
    float
        Infinite if fewer than two are above 0: nothing is as steep as one token alone.

    Raises
    ------
    ValueError
        If the values are no probabilities in falling order, or `candidates` is below 2.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> round(zipf_exponent(np.arange(1, 1001.0) ** -1.3), 6)
    1.3
    """
    head = np.asarray(probabilities, np.float64)
    if head.ndim != 1 or not (head >= 0).all() or (np.diff(head) > 0).any():
        raise ValueError("probabilities are not a row of numbers from 0 on, the largest first")
    if candidates < 2:
        raise ValueError(f"candidates is {candidates}, below 2")
    with np.errstate(divide="ignore"):
        return float(fit_exponents(np.log(head[:candidates]), np))


def cutoff_k(exponent: float, mu: float, vocabulary: int) -> float:
    """Give the rank whose surprise is `mu` bits where Zipf's law holds; not rounded.

    The sum of the law's weights is taken as an integral, as the paper does: (1 - N^(1 - s)) /
    (s - 1) for N tokens and exponent s, and ln N where s is 1.

    Parameters
    ----------
    exponent : float
        Above 0.
    mu : float
        Bits.
    vocabulary : int
        Number of tokens, 2 or more.

    Returns
    -------
    float
        At most `vocabulary`, and below 1 where even the first token is more surprising than `mu`.

    Raises
    ------
    ValueError
        If there is no such law.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> round(cutoff_k(1.1, 6.0, 50_000), 2)
    7.88
    """
    if not exponent > 0 or vocabulary < 2:
        raise ValueError(f"exponent is {exponent}, and vocabulary {vocabulary}")
    return float(np.exp(log_cutoffs(np.float64(exponent), mu, vocabulary, np)))


def truncated_cross_entropy(
    probabilities: ArrayLike, *, top_k: int | None = None, top_p: float | None = None
) -> float:
    """Give the expected surprise of a token drawn from the head of a law, in bits.

    It is drawn from the likeliest tokens by their weights, and its surprise is that in the full
    law. Exact; with neither limit it is the law's entropy.

    Parameters
    ----------
    probabilities : array_like, shape (V,)
        In any order; scaled to sum to 1.
    top_k : int, optional
        Tokens that are kept, 1 or more.
    top_p : float, optional
        The fewest tokens are kept that have this much probability together; above 0, at most 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the values are no law, a limit cannot be, or both are given.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> truncated_cross_entropy([0.5, 0.25, 0.25]), truncated_cross_entropy([0.5, 0.5], top_k=1)
    (1.5, 1.0)
    """
    law = np.asarray(probabilities, np.float64)
    if law.ndim != 1 or not (law >= 0).all() or not 0 < law.sum() < math.inf:
        raise ValueError("probabilities are not a row of numbers from 0 on with a sum above 0")
    if top_k is not None and top_p is not None:
        raise ValueError("both top_k and top_p are given")
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(f"top_k is {top_k}, and top_p {top_p}")
    law = np.sort(law[law > 0])[::-1] / law.sum()
    if top_p is not None:
        # A sum that rounding leaves just below the share still reaches it.
        top_k = 1 + int(np.searchsorted(law.cumsum(), top_p * (1 - 1e-12)))
    head = law[:top_k]
    return float(head @ -np.log2(head) / head.sum())


def zipf_cross_entropy(exponent: float, top_k: int, vocabulary: int) -> float:
    """Give about what `truncated_cross_entropy` is for Zipf's law, in O(V) and without its terms.

    A closed form of k and the exponent, plus the law's normaliser, which is summed. Within 0.06 bit
    for exponents of 1.05 to 1.5 and k of 10 to 10,000, at 50,000 tokens (measured here, not the
    paper's claim).

    Parameters
    ----------
    exponent : float
        Above 1.
    top_k : int
        From 2 to `vocabulary`.
    vocabulary : int

    Returns
    -------
    float
        Bits.

    Raises
    ------
    ValueError
        If a value is out of range.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> exact = truncated_cross_entropy(np.arange(1, 50_001.0) ** -1.2, top_k=100)
    >>> round(exact, 2), round(zipf_cross_entropy(1.2, 100, 50_000), 2)
    (5.12, 5.11)
    """
    if not exponent > 1 or not 2 <= top_k <= vocabulary:
        raise ValueError(f"exponent is {exponent}, top_k {top_k}, and vocabulary {vocabulary}")
    s, eps = exponent, exponent - 1
    c = 1 + 0.7 * eps
    tail = (math.log(3) + 1 / eps) / (math.log(2) * eps * 3**eps)
    b1 = s * (2**-s + math.log2(3) * 3**-s + tail)
    b2 = s / (eps * math.log(2))
    normaliser = float((np.arange(1, vocabulary + 1, dtype=np.float64) ** -s).sum())
    cut = (c * b2 * (math.log(top_k) + 1 / eps) - b1) / (c * top_k**eps - 1)
    return float(eps / c * (b1 - cut) + math.log2(normaliser))


def repetition_percent(tokens: Sequence[Hashable] | NDArray[Any], n: int = 1) -> float:
    """Give the percentage of n-grams that occurred earlier in the text.

    Parameters
    ----------
    tokens : sequence
        Ids or words.
    n : int
        Tokens of an n-gram, 1 or more.

    Returns
    -------
    float
        0 if the text has no n-gram.

    Raises
    ------
    ValueError
        If `n` is below 1.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> repetition_percent("abab"), repetition_percent("abab", n=2)
    (50.0, 33.333333333333336)
    """
    if n < 1:
        raise ValueError(f"n is {n}, below 1")
    count = len(tokens) - n + 1
    return 100 * _repeated(tokens, n) / count if count > 0 else 0.0


def repetition_cost(tokens: Sequence[Hashable] | NDArray[Any]) -> int:
    """Give the square of the number of tokens that occurred earlier in the text.

    References
    ----------
    The notebook published with arXiv 2007.14966.

    Examples
    --------
    >>> repetition_cost("abab")
    4
    """
    return _repeated(tokens, 1) ** 2


def fit_exponents(logs: Any, xp: Any) -> Any:
    """Fit the exponent of Zipf's law to each row of log-probabilities.

    Parameters
    ----------
    logs : array, shape (..., m)
        Natural logarithms, the largest first; -inf for what cannot come.
    xp : module
        NumPy or torch: whose arrays they are.

    Returns
    -------
    array, shape (...)
        Infinite where fewer than two are above -inf.
    """
    ranks = xp.arange(1, logs.shape[-1], dtype=logs.dtype, **_place(logs, xp))
    ratios = xp.log((ranks + 1) / ranks)
    known = logs[..., 1:] > -math.inf
    finite = xp.where(logs > -math.inf, logs, 0.0)
    falls = xp.where(known, finite[..., :-1] - finite[..., 1:], 0.0)
    squares = xp.where(known, ratios**2, 0.0).sum(-1)
    some = squares > 0
    return xp.where(some, (ratios * falls).sum(-1) / xp.where(some, squares, 1.0), math.inf)


def log_cutoffs(exponents: Any, mu: Any, vocabulary: int, xp: Any) -> Any:
    """Give the natural logarithm of `cutoff_k` for each exponent and mu.

    An exponent near 0 (a flat head) keeps all tokens or none, and an infinite one about one.

    Parameters
    ----------
    exponents : array, shape (...)
        0 or more.
    mu : array or float
        Bits.
    vocabulary : int
    xp : module
        NumPy or torch.

    Returns
    -------
    array, shape (...)
        At most ln `vocabulary`.
    """
    s = exponents.clip(_FLATTEST, _STEEPEST)
    near = abs(s - 1) < _NEAR_ONE
    eps = xp.where(near, 1.0, s - 1)
    log_n = math.log(vocabulary)
    weights = xp.where(near, log_n, -xp.expm1(-eps * log_n) / eps)
    # One token alone has no weights to integrate over; any small number then keeps it.
    found = (mu * math.log(2) - xp.log(weights.clip(1e-30))) / s
    return found.clip(max=log_n)


def _place(logs: Any, xp: Any) -> dict[str, Any]:
    """Say on which device an array is to be made, where that is a question."""
    return {} if xp is np else {"device": logs.device}


def _repeated(tokens: Sequence[Hashable] | NDArray[Any], n: int) -> int:
    """Count the n-grams that occurred earlier."""
    listed = tokens.tolist() if isinstance(tokens, np.ndarray) else list(tokens)
    grams = [tuple(listed[i : i + n]) for i in range(len(listed) - n + 1)]
    return len(grams) - len(set(grams))
