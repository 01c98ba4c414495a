"""When a response is interrupted to be checked, what that costs, and when it helps.

A budget of tokens grows geometrically; each time a response reaches it, a sentence that asks for
another check is put in. Their number then grows as the logarithm of the length.

Cost: O(interruptions). Source: arXiv 2502.05449 for the growing budget; the counting and the two
states are derived here.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = [
    "prefill_bound",
    "prefill_tokens",
    "simulated_two_state_accuracy",
    "thresholds",
    "two_state_accuracy",
    "two_state_limit",
]

Floats: TypeAlias = NDArray[np.float64]


def thresholds(
    first: int,
    gamma: float,
    limit: int,
    *,
    schedule: Literal["cumulative", "segment"] = "cumulative",
    spacing: int = 1,
) -> list[int]:
    """Give the lengths at which a response is interrupted.

    Parameters
    ----------
    first : int
        Tokens before the first interruption, 1 or more.
    gamma : float
        How many times longer each budget is than the one before, 1 or more; with 1 they are evenly
        spaced in either schedule.
    limit : int
        Only lengths below it: a response that ends with `limit` tokens is interrupted at all of
        them and at no other.
    schedule : {'cumulative', 'segment'}
        Whether the whole length grows by `gamma`, or the stretch between two interruptions.
    spacing : int
        The fewest tokens between two interruptions, 1 or more: a `gamma` just above 1 would else
        interrupt at every token.

    Returns
    -------
    list of int
        In ascending order.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    arXiv 2502.05449

    Examples
    --------
    >>> thresholds(1024, 2, 16000), thresholds(1024, 2, 16000, schedule="segment")
    ([1024, 2048, 4096, 8192], [1024, 3072, 7168, 15360])
    """
    if first < 1 or spacing < 1:
        raise ValueError(f"first is {first} and spacing {spacing}: give 1 or more")
    if not 1 <= gamma < math.inf:
        raise ValueError(f"gamma is {gamma}: give 1 or more")
    found: list[int] = []
    reached, step = float(first), float(first)
    while True:
        # What floating point adds must not push a whole number to the next one.
        place = math.ceil(round(reached, 6))
        if found:
            place = max(place, found[-1] + spacing)
        if place >= limit:
            return found
        found.append(place)
        if gamma == 1:
            reached += first
        elif schedule == "cumulative":
            reached *= gamma
        else:
            step *= gamma
            reached += step


def prefill_tokens(prompt: int, trigger: int, interruptions: ArrayLike) -> int:
    """Count the tokens that continuations read again where nothing is cached.

    Parameters
    ----------
    prompt, trigger : int
        Tokens of the prompt, and of the sentence that is put in.
    interruptions : array_like of int
        As `thresholds` gives them.

    Returns
    -------
    int

    References
    ----------
    arXiv 2502.05449 (the count is derived here)

    Examples
    --------
    >>> prefill_tokens(100, 20, [1024, 2048])
    3332
    """
    places = np.asarray(interruptions, np.int64)
    count = len(places)
    return int(places.sum()) + count * prompt + trigger * count * (count + 1) // 2


def prefill_bound(prompt: int, trigger: int, length: int, gamma: float, count: int) -> float:
    """Bound what `prefill_tokens` counts for a response of some length.

    The response itself is read at most gamma / (gamma - 1) times over: the usual overhead of
    iterative deepening. One token an interruption is for rounding up.

    Parameters
    ----------
    prompt, trigger : int
    length : int
        Tokens of the response.
    gamma : float
        1 or more; with 1 there is no such bound, and it is infinite.
    count : int
        Interruptions.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `gamma` is below 1.

    References
    ----------
    arXiv 2502.05449 (the bound is derived here)

    Examples
    --------
    >>> prefill_bound(100, 20, 3000, 2.0, 2)
    6262.0
    """
    if gamma < 1:
        raise ValueError(f"gamma is {gamma}: give 1 or more")
    if gamma == 1:
        return math.inf
    return count * (prompt + 1 + (count + 1) * trigger / 2) + length * gamma / (gamma - 1)


def two_state_accuracy(
    accuracy: float, repaired: float, spoiled: float, interruptions: ArrayLike
) -> Floats:
    """Give the accuracy after some interruptions, each of which may repair or spoil the answer.

    Parameters
    ----------
    accuracy : float
        Share of right answers before the first.
    repaired, spoiled : float
        Probability that one turns a wrong answer right, and a right one wrong.
    interruptions : array_like of int
        How many there are, 0 or more.

    Returns
    -------
    ndarray of float64
        Of the shape of `interruptions`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> two_state_accuracy(0.4, 0.25, 0.05, [0, 1, 2]).round(3).tolist()
    [0.4, 0.53, 0.621]
    """
    _check_shares(accuracy, repaired, spoiled)
    count = np.asarray(interruptions, np.int64)
    if (count < 0).any():
        raise ValueError("a number of interruptions is below 0")
    if repaired + spoiled == 0:
        return np.full(count.shape, float(accuracy))
    limit = two_state_limit(repaired, spoiled)
    return np.asarray(limit + (1.0 - repaired - spoiled) ** count * (accuracy - limit), np.float64)


def two_state_limit(repaired: float, spoiled: float) -> float:
    """Give the accuracy that many interruptions lead to: they help only where it is below this.

    Parameters
    ----------
    repaired, spoiled : float
        As `two_state_accuracy` takes them; one of them above 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a number is out of range, or both are 0.

    Examples
    --------
    >>> round(two_state_limit(0.25, 0.05), 4)
    0.8333
    """
    _check_shares(repaired, spoiled)
    if repaired + spoiled == 0:
        raise ValueError("nothing is repaired or spoiled: the accuracy stays as it is")
    return repaired / (repaired + spoiled)


def simulated_two_state_accuracy(
    accuracy: float,
    repaired: float,
    spoiled: float,
    interruptions: int,
    *,
    responses: int = 20_000,
    rng: RandomState = 0,
) -> Floats:
    """Simulate what `two_state_accuracy` gives in closed form.

    Parameters
    ----------
    accuracy, repaired, spoiled : float
        As `two_state_accuracy` takes them.
    interruptions : int
        Of every response, 0 or more.
    responses : int
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ndarray of float64, shape (interruptions + 1,)
        The share of right answers after 0, 1, 2, ... interruptions.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> simulated_two_state_accuracy(0.4, 1.0, 0.0, 2)[1:].tolist()
    [1.0, 1.0]
    """
    _check_shares(accuracy, repaired, spoiled)
    if interruptions < 0 or responses < 1:
        raise ValueError(f"{interruptions} interruptions of {responses} responses")
    random = generator(rng)
    right = random.random(responses) < accuracy
    shares = [right.mean()]
    for _ in range(interruptions):
        right ^= random.random(responses) < np.where(right, spoiled, repaired)
        shares.append(right.mean())
    return np.array(shares)


def _check_shares(*shares: float) -> None:
    if any(not 0 <= share <= 1 for share in shares):
        raise ValueError(f"{shares} are not all between 0 and 1")
