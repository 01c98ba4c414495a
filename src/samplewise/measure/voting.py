"""Which of several answers to keep: by vote, by score, or by both; and what a vote can reach.

Cost: O(n c) for n answers of c different ones; O(n) where answers are one only if they are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.rng import RandomState, generator

__all__ = ["SelectionCurve", "best_of", "majority", "majority_limit", "selection_curve", "weighted"]

A = TypeVar("A", bound=Hashable)
Same: TypeAlias = "Callable[[A, A], bool]"
Floats: TypeAlias = NDArray[np.float64]


def majority(answers: Sequence[A | None], same: Same[A] | None = None) -> int | None:
    """Find the most frequent answer.

    Parameters
    ----------
    answers : sequence of hashable or None
        None has no vote.
    same : callable, optional
        Says whether two different answers are one; each is compared with the first of each class.

    Returns
    -------
    int or None
        Place of the first answer of the class; a tie goes to the class seen first. None if there is
        no answer at all.

    References
    ----------
    arXiv 2407.21787, arXiv 2203.11171

    Examples
    --------
    >>> majority(["4", None, "5", "5.0"], same=lambda a, b: float(a) == float(b))
    2
    """
    return weighted(answers, [1.0] * len(answers), same)


def weighted(
    answers: Sequence[A | None], scores: Sequence[float], same: Same[A] | None = None
) -> int | None:
    """Find the answer whose scores sum highest.

    A score below 0 counts against its answer: a frequent answer then loses votes. Shift such scores
    (subtract the least), or take their exponentials, where that is not wanted.

    Parameters
    ----------
    answers : sequence of hashable or None
    scores : sequence of float, as long
    same : callable, optional
        As `majority` takes it.

    Returns
    -------
    int or None
        As `majority` gives it.

    Raises
    ------
    ValueError
        If the lengths differ, or a score is not a number.

    Examples
    --------
    >>> weighted(["a", "b", "a"], [1.0, 1.5, 1.0])
    0
    """
    if len(answers) != len(scores):
        raise ValueError(f"{len(answers)} answers and {len(scores)} scores")
    if any(math.isnan(score) for score in scores):
        raise ValueError("a score is NaN")
    classes = _classes(answers, same)
    sums: dict[int, float] = {}
    for one, score in zip(classes, scores, strict=True):
        if one >= 0:
            sums[one] = sums.get(one, 0.0) + score
    if not sums:
        return None
    # Python's max keeps the first of equals, and a class is met first where it is seen first.
    return classes.index(max(sums, key=sums.__getitem__))


def best_of(scores: Sequence[float]) -> int | None:
    """Find the highest score; a tie goes to the first.

    Returns
    -------
    int or None
        None if there is no score.

    Raises
    ------
    ValueError
        If a score is not a number.

    Examples
    --------
    >>> best_of([0.2, 0.9, 0.9])
    1
    """
    if any(math.isnan(score) for score in scores):
        raise ValueError("a score is NaN")
    return max(range(len(scores)), key=scores.__getitem__) if scores else None


def majority_limit(chances: ArrayLike, right: int = 0) -> float:
    """Give what a vote among ever more answers reaches: the share of problems it gets right.

    Parameters
    ----------
    chances : array_like, shape (problems, answers)
        The probability of each answer of each problem.
    right : int
        Which of them is the right one.

    Returns
    -------
    float
        Share of problems whose likeliest answer is the right one; one that shares the first place
        with others counts by its part.

    Raises
    ------
    ValueError
        If `chances` is not a table of probabilities.

    References
    ----------
    arXiv 2407.21787, section 3 (the limit itself is derived here)

    Examples
    --------
    >>> majority_limit([[0.5, 0.3, 0.2], [0.4, 0.6, 0.0], [0.4, 0.4, 0.2]])
    0.5
    """
    table = np.asarray(chances, np.float64)
    if table.ndim != 2 or not table.size or (table < 0).any():
        raise ValueError("give one row of probabilities a problem")
    if not np.allclose(table.sum(axis=1), 1):
        raise ValueError("a row of probabilities does not sum to 1")
    first = table == table.max(axis=1, keepdims=True)
    return float((first[:, right] / first.sum(axis=1)).mean())


class SelectionCurve(NamedTuple):
    """What each rule reaches with k samples: mean and standard deviation over random subsets.

    Each field but `k` maps a rule (``majority``, ``best-of-n``, ``weighted``, ``oracle``) to an
    array of shape (len(k),).
    """

    k: NDArray[np.int64]
    mean: dict[str, Floats]
    sd: dict[str, Floats]


def selection_curve(
    answers: Sequence[Sequence[A | None]],
    correct: ArrayLike,
    scores: ArrayLike | None = None,
    *,
    ks: Sequence[int],
    subsets: int = 100,
    rng: RandomState = 0,
    same: Same[A] | None = None,
) -> SelectionCurve:
    """Measure how much of the coverage each rule keeps, with k of the samples.

    Parameters
    ----------
    answers : sequence of sequences, shape (problems, samples)
        The answer in each sample; None where there is none.
    correct : array_like of bool, shape (problems, samples)
    scores : array_like of float, shape (problems, samples), optional
        Without it, only the vote and the oracle are measured.
    ks : sequence of int
        Numbers of samples, each from 1 to `samples`.
    subsets : int
        Random subsets of each size.
    rng : int, numpy.random.Generator or None
    same : callable, optional
        As `majority` takes it.

    Returns
    -------
    SelectionCurve

    Raises
    ------
    ValueError
        If shapes differ, or a k cannot be.

    References
    ----------
    arXiv 2407.21787

    Examples
    --------
    >>> curve = selection_curve([["a", "a", "b"]], [[True, True, False]], ks=[1, 3], subsets=200)
    >>> curve.mean["majority"].round(1).tolist(), curve.mean["oracle"].round(1).tolist()
    ([0.6, 1.0], [0.6, 1.0])
    """
    right = np.asarray(correct, bool)
    problems, samples = right.shape if right.ndim == 2 else (0, 0)
    if not problems or [len(row) for row in answers] != [samples] * problems:
        raise ValueError(f"{len(answers)} rows of answers and shape {right.shape} of verdicts")
    if any(not 1 <= k <= samples for k in ks):
        raise ValueError(f"ks is {list(ks)}, with {samples} samples")
    table = np.array([_classes(row, same) for row in answers], np.int64)
    values = None if scores is None else np.asarray(scores, np.float64)
    if values is not None and (values.shape != right.shape or np.isnan(values).any()):
        raise ValueError(f"scores of shape {values.shape} for {right.shape}, or not numbers")
    random = generator(rng)
    found: dict[str, list[Floats]] = {}
    for k in ks:
        picks = np.array([random.permutation(samples)[:k] for _ in range(subsets)])
        for rule, success in _success(table, right, values, picks).items():
            found.setdefault(rule, []).append(success)
    return SelectionCurve(
        np.asarray(ks, np.int64),
        {rule: np.array([one.mean() for one in each]) for rule, each in found.items()},
        {rule: np.array([one.std() for one in each]) for rule, each in found.items()},
    )


def _success(
    table: NDArray[np.int64], right: NDArray[np.bool_], scores: Floats | None, picks: Floats
) -> dict[str, Floats]:
    """Give each rule's share of problems right, a number a subset."""
    rows = np.arange(len(table))[None, :]
    shown = {"oracle": right[:, picks].any(axis=2).mean(axis=0)}
    chosen = {"majority": _winner(table[:, picks], np.ones((*table.shape[:1], *picks.shape)))}
    if scores is not None:
        chosen["best-of-n"] = scores[:, picks].argmax(axis=2)
        chosen["weighted"] = _winner(table[:, picks], scores[:, picks])
    for rule, place in chosen.items():
        sample = np.take_along_axis(picks[None], np.maximum(place, 0)[..., None], axis=2)[..., 0]
        success = right[rows.T, sample] & (place >= 0)
        shown[rule] = success.mean(axis=0)
    return shown


def _winner(classes: NDArray[np.int64], weights: Floats) -> NDArray[np.int64]:
    """Give the place of the first sample of the class that weighs most; -1 if none has an answer.

    Shape (problems, subsets, k) to (problems, subsets).
    """
    totals = np.stack(
        [
            np.where(classes == one, weights, 0).sum(axis=2)
            for one in range(max(1, classes.max() + 1))
        ],
        axis=2,
    )
    mine = np.take_along_axis(totals, np.maximum(classes, 0), axis=2)
    mine = np.where(classes >= 0, mine, -np.inf)
    return np.where(np.isneginf(mine.max(axis=2)), -1, mine.argmax(axis=2))


def _classes(answers: Sequence[A | None], same: Same[A] | None) -> list[int]:
    """Give each answer the number of its class, in the order they are seen; -1 for no answer."""
    known: dict[A, int] = {}
    firsts: list[A] = []
    found = []
    for answer in answers:
        if answer is None:
            found.append(-1)
            continue
        if answer not in known:
            alike = (i for i, first in enumerate(firsts) if same and same(first, answer))
            known[answer] = next(alike, len(firsts))
            if known[answer] == len(firsts):
                firsts.append(answer)
        found.append(known[answer])
    return found
