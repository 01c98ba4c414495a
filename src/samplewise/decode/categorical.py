"""Categorical draws by a race of exponentials, and what too few random bits do to them.

The token v that has the largest ``p_v / e_v``, with ``e_v = -log u_v`` and u uniform, is drawn with
probability ``p_v``; its logarithm is the Gumbel-max trick. A random number of b bits is at most
``1 - 2^-b``, so that a Gumbel number ``-log(-log u)`` is at most about ``b log 2``: 16.6 in 32 bits
(24 of them random), 36.7 in 64 bits. One draw hardly shows it. A masked diffusion sampler that
draws every mask again in a thousand steps, each time with a tiny chance to unmask, lives in that
tail: unlikely tokens are cut off, as at a lower temperature, and places with a peaked law are
unmasked first. Draw in 64 bits; the closed forms here say how much it costs not to.

Cost: O(rows x tokens) a draw; the closed form O(tokens log tokens). Source: arXiv 2409.02908,
section 5 and appendix J; `grid_unmask_rate`, which counts the gaps between 32-bit random numbers
too, is derived here.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.decode.base import as_law
from samplewise.errors import UsageError

__all__ = [
    "RandomBits",
    "categorical",
    "effective_temperature",
    "grid_unmask_rate",
    "max_gumbel",
    "open_uniform",
    "truncated_gumbel_probs",
    "unmask_rate",
]

RandomBits: TypeAlias = Literal["float32", "float64"]
Floats: TypeAlias = NDArray[np.float64]

_BITS = {"float32": 24, "float64": 53}
_NODES = 1024  # of the integral over the mask's own random number


def max_gumbel(dtype: RandomBits) -> float:
    """Give the largest Gumbel number that can be drawn.

    Examples
    --------
    >>> round(max_gumbel("float32"), 4), round(max_gumbel("float64"), 4)
    (16.6355, 36.7368)
    """
    return -math.log(-math.log1p(-(2.0 ** -_BITS[dtype])))


def open_uniform(
    rng: np.random.Generator, shape: int | tuple[int, ...], dtype: RandomBits = "float64"
) -> NDArray[np.floating]:
    """Draw uniform numbers, neither 0 nor 1; a 0 becomes half the smallest other number.

    Examples
    --------
    >>> u = open_uniform(np.random.default_rng(0), 1000, "float32")
    >>> u.dtype, bool(0 < u.min() < u.max() < 1)
    (dtype('float32'), True)
    """
    kind = np.float32 if dtype == "float32" else np.float64
    drawn = rng.random(shape, dtype=kind)
    return np.maximum(drawn, kind(2.0 ** -(_BITS[dtype] + 1)))


def categorical(
    laws: NDArray[np.floating],
    rng: np.random.Generator,
    dtype: RandomBits = "float64",
    largest: float | None = None,
) -> NDArray[np.int64]:
    """Draw one token of each law.

    Parameters
    ----------
    laws : ndarray of float, shape (rows, tokens)
        Rows of numbers of 0 or more, in proportion to the probabilities.
    rng : numpy.random.Generator
    dtype : {'float64', 'float32'}
        Of random numbers and of all that is computed with them.
    largest : float, optional
        Largest Gumbel number, above 0: random numbers are scaled into the range that goes with it.

    Returns
    -------
    ndarray of int64, shape (rows,)

    References
    ----------
    arXiv 2409.02908

    Examples
    --------
    >>> drawn = categorical(np.tile([0.2, 0.0, 0.8], (10_000, 1)), np.random.default_rng(0))
    >>> (np.bincount(drawn) / 10_000).round(1)
    array([0.2, 0. , 0.8])
    """
    uniform = open_uniform(rng, laws.shape, dtype)
    if largest is not None:
        uniform *= math.exp(-math.exp(-largest))
    race = laws.astype(uniform.dtype) / -np.log(uniform)
    return np.asarray(race.argmax(axis=1), np.int64)


def truncated_gumbel_probs(law: ArrayLike, largest: float) -> Floats:
    """Give the law that is really drawn where no Gumbel number exceeds a limit.

    The numbers are uniform below the limit's quantile: 64-bit ones scaled into the range of 32-bit
    ones. Real 32-bit numbers have gaps besides, which matter where the limit does: see
    `grid_unmask_rate`.

    Parameters
    ----------
    law : array_like of float, shape (tokens,)
        The law that is meant.
    largest : float
        The limit, such as ``max_gumbel("float32")``.

    Returns
    -------
    ndarray of float64, shape (tokens,)
        Sums to 1. A likelier token has gained over any less likely one.

    Raises
    ------
    UsageError
        If `law` is none.

    References
    ----------
    arXiv 2409.02908, section 5

    Examples
    --------
    >>> [truncated_gumbel_probs([0.1, 0.9], limit).round(3).tolist() for limit in (0.0, 2.0, 20.0)]
    [[0.0, 1.0], [0.034, 0.966], [0.1, 0.9]]
    """
    meant = as_law(law)
    # A token of probability 0 never wins, and never stands in another's way.
    order = np.argsort(meant, kind="stable")[np.count_nonzero(meant == 0) :]
    p = meant[order]
    sums = p[::-1].cumsum()[::-1]
    left = np.arange(len(p), 0, -1)
    step = math.exp(-largest)
    # Between the limits of tokens i - 1 and i, only token i and the likelier ones can win.
    below = np.concatenate([[np.inf], 1 / p[:-1]])
    with np.errstate(over="ignore"):  # a token that is far out of reach
        shares = np.exp((left - sums / p) * step) * -np.expm1((1 / p - below) * sums * step) / sums
    drawn = np.zeros_like(meant)
    drawn[order] = p * shares.cumsum()
    return drawn


def unmask_rate(law: ArrayLike, nominal: float, largest: float) -> float:
    """Give the probability that a mask falls in a step, over that which is meant.

    Parameters
    ----------
    law : array_like of float, shape (tokens,)
        Of the token, should the mask fall.
    nominal : float
        Probability that is meant, above 0 and below 1.
    largest : float
        As `truncated_gumbel_probs` takes it.

    Returns
    -------
    float

    Raises
    ------
    UsageError
        If `law` is none, or `nominal` no such probability.

    Examples
    --------
    >>> from samplewise.decode.categorical import max_gumbel
    >>> uniform = np.full(50_257, 1 / 50_257)
    >>> round(unmask_rate(uniform, 1e-3, max_gumbel("float32")), 2)
    0.05
    """
    _check_nominal(nominal)
    tokens = as_law(law) * nominal
    drawn = truncated_gumbel_probs(np.append(tokens, 1 - nominal), largest)
    return float(drawn[:-1].sum() / nominal)


def grid_unmask_rate(law: ArrayLike, nominal: float, bits: int = 24) -> float:
    """Give `unmask_rate` for random numbers that are multiples of ``2^-bits``.

    So are those of NumPy and PyTorch in 32 bits (24 of them random). Near the limit their gaps
    count as much as the limit itself, and the other way: a number that falls into the last gap is
    rounded onto a multiple.

    Parameters
    ----------
    law : array_like of float, shape (tokens,)
    nominal : float
    bits : int
        1 to 53.

    Returns
    -------
    float

    Raises
    ------
    UsageError
        As `unmask_rate` does.

    Notes
    -----
    Given ``c = p_v e / (1 - nominal)`` with the mask's own number e, token v is ahead of the mask
    with probability ``floor(2^bits (1 - exp(-c))) / 2^bits``; the mean over e, an exponential
    number, is taken by the midpoint rule. Derived here; not in the paper.

    Examples
    --------
    >>> round(grid_unmask_rate(np.full(50_257, 1 / 50_257), 1e-3), 2)
    0.16
    """
    _check_nominal(nominal)
    values, counts = np.unique(as_law(law), return_counts=True)
    cells = 2.0**bits
    scale = values * nominal / (1 - nominal)
    nodes = -np.log1p(-(np.arange(_NODES) + 0.5) / _NODES)
    stays = [
        (counts * np.log1p(-np.floor(-np.expm1(-scale * e) * cells) / cells)).sum() for e in nodes
    ]
    return float(-np.expm1(stays).mean() / nominal)


def effective_temperature(meant: ArrayLike, drawn: ArrayLike) -> float:
    """Give the temperature at which the law that is meant has the entropy of that which is drawn.

    Parameters
    ----------
    meant, drawn : array_like of float, shape (tokens,)

    Returns
    -------
    float
        Below 1 where the draws are too sure; 0 where no temperature above 2^-20 is as sure;
        infinite where none is as unsure.

    Raises
    ------
    UsageError
        If either is no law.

    Examples
    --------
    >>> round(effective_temperature([0.2, 0.8], [1 / 17, 16 / 17]), 6)
    0.5
    """
    from scipy.optimize import brentq
    from scipy.special import entr, softmax

    law, other = as_law(meant, "meant"), as_law(drawn, "drawn")
    logs = np.log(law[law > 0])
    goal = float(entr(other).sum())

    def excess(inverse: float) -> float:
        return float(entr(softmax(inverse * logs)).sum()) - goal

    if abs(excess(1.0)) < 1e-12:
        return 1.0
    if excess(0.0) <= 0:
        return math.inf
    coldest = 1.0
    while excess(coldest) > 0:
        coldest *= 2
        if coldest > 2**20:
            return 0.0
    return 1 / float(brentq(excess, 0.0, coldest, xtol=1e-12))


def _check_nominal(nominal: float) -> None:
    if not 0 < nominal < 1:
        raise UsageError(f"nominal is {nominal}", mend="give a probability above 0 and below 1")
