"""How sure a model is, and what that leaves for further samples to find.

Where N answers may be tried, a model that is sure and wrong has thrown N - 1 of them away. Here is
what a probability of success is worth with N tries, what law over answers is worth most, and how a
model's confidence compares with how often it is right.

Cost: O(n) each; the best law O(n) an iteration of a bisection, the table of a proof O(steps x
tries). Source: arXiv 2502.07154; the best law in closed form is derived here.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ConfidenceReport",
    "best_law",
    "confidence_report",
    "pass_at_n",
    "proof_pass_at_n",
]

Floats: TypeAlias = NDArray[np.float64]

_BISECTIONS = 200  # enough for the last bit of any positive double near 1


def pass_at_n(chances: ArrayLike, tries: ArrayLike) -> Floats:
    """Give the probability that one or more of N independent tries succeeds: 1 - (1 - p)^N.

    Parameters
    ----------
    chances : array_like of float
        p of one try, from 0 to 1; broadcast with `tries`.
    tries : array_like of float
        N, 1 or more.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If a number is out of range or NaN.

    See Also
    --------
    samplewise.measure.pass_at_k.pass_at_k : From counts of drawn and right samples, unbiased.

    Examples
    --------
    >>> pass_at_n(0.1, [1, 7]).round(3).tolist()
    [0.1, 0.522]
    """
    p, n = np.asarray(chances, np.float64), np.asarray(tries, np.float64)
    if not (((p >= 0) & (p <= 1)).all() and (n >= 1).all()):
        raise ValueError("a chance must be from 0 to 1, and tries 1 or more")
    with np.errstate(divide="ignore"):  # log1p(-1)
        return np.asarray(-np.expm1(n * np.log1p(-p)), np.float64)


def best_law(beliefs: ArrayLike, tries: float) -> Floats:
    """Give the law over answers whose N independent draws are likeliest to hold the right one.

    With one draw it puts all on the likeliest answer; the more draws, the less it puts on any.

    Parameters
    ----------
    beliefs : array_like of float, shape (answers,)
        The probability that each answer is the right one; 0 or more, summing to 1 at most.
    tries : float
        N, 1 or more.

    Returns
    -------
    ndarray of float64, shape (answers,)
        Where N is 1, answers that are likeliest share all evenly.

    Raises
    ------
    ValueError
        If `beliefs` is not such a row, or N is below 1.

    Notes
    -----
    It maximises sum_i b_i (1 - (1 - q_i)^N): q_i = max(0, 1 - (l / (N b_i))^(1 / (N - 1))), with l
    such that the q_i sum to 1 (derived here).

    References
    ----------
    arXiv 2502.07154

    Examples
    --------
    >>> best_law([0.6, 0.3, 0.1], 2).round(3).tolist()
    [0.667, 0.333, 0.0]
    >>> best_law([0.6, 0.3, 0.1], 1000).round(3).tolist()
    [0.334, 0.333, 0.333]
    """
    b = np.asarray(beliefs, np.float64)
    if b.ndim != 1 or not len(b) or not (b >= 0).all() or not 0 < b.sum() <= 1 + 1e-9:
        raise ValueError("beliefs must be a row of probabilities, not all of them 0")
    if not tries >= 1:
        raise ValueError(f"tries is {tries}: give 1 or more")
    if tries == 1:
        first = b == b.max()
        return np.asarray(first / first.sum(), np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(b / b.max())

    def law(level: float) -> Floats:
        """Give the law for l = N max(b) exp(level), with level from -inf to 0."""
        with np.errstate(over="ignore"):  # an answer of no belief has an infinite bound
            return np.asarray(np.maximum(0.0, -np.expm1((level - logs) / (tries - 1))))

    low, high = -1.0, 0.0
    while law(low).sum() < 1:
        low *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if law(middle).sum() >= 1 else (low, middle)
    found = law(low)
    return np.asarray(found / found.sum(), np.float64)


def proof_pass_at_n(steps: ArrayLike, tries: int) -> Floats:
    """Give the chance that a proof whose steps must all succeed is found, by a table of all tries.

    An attempt that fails at any step begins anew; N attempts may be made.

    Parameters
    ----------
    steps : array_like of float, shape (steps,)
        The probability of each step, from 0 to 1; one or more.
    tries : int
        N, 1 or more.

    Returns
    -------
    ndarray of float64, shape (tries, steps)
        With r attempts left (this one counted) and t steps behind, the chance of success at place
        (r - 1, t); the last row's first number is that of the whole.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    J(r, t) = p_t J(r, t + 1) + (1 - p_t) J(r - 1, 1); J(r, end) = 1, J(0, t) = 0. From the start it
    is 1 - (1 - prod p)^N: trying again is all that N buys where every attempt begins anew.

    Examples
    --------
    >>> proof_pass_at_n([0.5, 0.5], 2)[-1, 0]
    np.float64(0.4375)
    """
    p = np.asarray(steps, np.float64)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all() or tries < 1:
        raise ValueError("give one probability a step, and tries of 1 or more")
    table = np.zeros((tries + 1, len(p) + 1))
    table[1:, -1] = 1.0
    for left in range(1, tries + 1):
        for place in range(len(p) - 1, -1, -1):
            again = (1 - p[place]) * table[left - 1, 0]
            table[left, place] = p[place] * table[left, place + 1] + again
    return table[1:, :-1]


class ConfidenceReport(NamedTuple):
    """How confidence compares with being right.

    Attributes
    ----------
    confidence : float
        Mean probability of the answers given.
    accuracy : float
        Share of them that is right.
    overconfidence : float
        The first minus the second.
    calibration_error : float
        Mean distance of the two within each bin, weighted by its answers.
    edges : ndarray of float64, shape (bins + 1,)
        Of the bins of confidence; each holds its upper edge.
    counts : ndarray of int64, shape (bins,)
    confidences, accuracies : ndarray of float64, shape (bins,)
        Within each bin; NaN where it is empty.
    """

    confidence: float
    accuracy: float
    overconfidence: float
    calibration_error: float
    edges: Floats
    counts: NDArray[np.int64]
    confidences: Floats
    accuracies: Floats


def confidence_report(
    log_probabilities: ArrayLike, correct: ArrayLike, bins: int = 10
) -> ConfidenceReport:
    """Compare how likely a model held its answers with how often they are right.

    Parameters
    ----------
    log_probabilities : array_like of float, shape (problems,)
        Of the whole answer given to each problem (the greedy one, say); natural logarithms.
    correct : array_like of bool, shape (problems,)
    bins : int
        Of equal width.

    Returns
    -------
    ConfidenceReport

    Raises
    ------
    ValueError
        If shapes differ, there is no problem or bin, or a log-probability is above 0 or NaN.

    References
    ----------
    arXiv 2502.07154

    Examples
    --------
    >>> report = confidence_report(np.log([0.9, 0.9, 0.5]), [True, False, True])
    >>> round(report.confidence, 3), round(report.overconfidence, 3)
    (0.767, 0.1)
    """
    logs, right = np.asarray(log_probabilities, np.float64), np.asarray(correct, bool)
    if logs.ndim != 1 or logs.shape != right.shape or not len(logs) or bins < 1:
        raise ValueError(f"shapes {logs.shape} and {right.shape}, {bins} bins")
    if not (logs <= 0).all():
        raise ValueError("a log-probability is above 0 or NaN")
    sure = np.exp(logs)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # empty bins
        confidences = np.bincount(place, sure, bins) / counts
        accuracies = np.bincount(place, right, bins) / counts
    held = counts > 0
    gaps = np.abs(confidences - accuracies)[held]
    return ConfidenceReport(
        float(sure.mean()),
        float(right.mean()),
        float(sure.mean() - right.mean()),
        float(counts[held] @ gaps / len(logs)),
        edges,
        counts,
        confidences,
        accuracies,
    )
