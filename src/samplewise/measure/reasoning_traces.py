"""How long a model reasons, how near it was to stopping, how much it repeats, and what is saved.

Use it before and after anything that is to shorten reasoning: it says whether wrong answers are the
longer ones, whether the end of thinking was likely and yet not taken, and what tokens two ways of
decoding or training spend at the same accuracy. The reading of a model itself is
`samplewise.decode.thinking_diagnosis`.

Cost: O(V) a place for V tokens in the vocabulary; all else is linear, but for a sort.
Source: arXiv 2505.07961, whose text was not at hand: that these figures are reported is known, and
their exact definitions are reconstructed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.measure.paired import Difference, paired_t
from samplewise.measure.surprise import repetition_percent

__all__ = [
    "SENTENCE_END",
    "EndRanks",
    "Lengths",
    "Saving",
    "end_ranks",
    "mean_repetition",
    "sentence_ends",
    "summarise_lengths",
    "tokens_at",
    "tokens_saved",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Curve: TypeAlias = tuple[ArrayLike, ArrayLike]

SENTENCE_END = r"""[.!?…]+["')\]*]*(?:[ \t]*\n+|(?=\s|$))|\n+"""
"""Where a sentence ends: at its mark and what closes it, before a space; or where a line ends."""


class Lengths(NamedTuple):
    """How long right and wrong traces are.

    Attributes
    ----------
    accuracy : float
        Share of right traces.
    tokens : float
        Mean length of all.
    right_tokens, wrong_tokens : float or None
        Mean length of those; None where there is none.
    unfinished : float
        Share of traces that were cut.
    tokens_per_right : float
        Tokens of all traces, right or wrong, over the number of right ones; infinity where there is
        none.
    excess : Difference or None
        What wrong traces are longer by than right ones; None where it cannot be told.
    """

    accuracy: float
    tokens: float
    right_tokens: float | None
    wrong_tokens: float | None
    unfinished: float
    tokens_per_right: float
    excess: Difference | None


class EndRanks(NamedTuple):
    """How likely the end of thinking was at some places.

    Attributes
    ----------
    ranks : ndarray of int64, shape (places,)
        1 plus the number of tokens that are strictly likelier: 1 for the likeliest, and of tokens
        that tie all have the best rank.
    probabilities : ndarray of float64, shape (places,)
    chosen : ndarray of bool, shape (places,)
        Whether it came next.
    rivals : ndarray of float64, shape (places,)
        Probability of the likeliest other token.
    """

    ranks: Ints
    probabilities: Floats
    chosen: NDArray[np.bool_]
    rivals: Floats

    def among(self, k: int = 5) -> float | None:
        """Give the share of places where it is among the k likeliest; None where there is no place.

        Where tokens tie at rank k, all of them are among the k likeliest.
        """
        return _share(self.ranks <= k)

    def passed_over(self, k: int = 5) -> float | None:
        """Give the share of places where it is among the k likeliest and does not come next."""
        return _share((self.ranks <= k) & ~self.chosen)

    def turned(self, tau: float) -> NDArray[np.bool_]:
        """Say where ``stop-temperature`` changes which token is the likeliest.

        Greedy decoding is changed there alone: where p^(1/tau) and p, the end's probability, lie on
        different sides of the likeliest other token's. A tie goes to the other token.

        Parameters
        ----------
        tau : float
            Above 0; of the form ``logprob``.

        Returns
        -------
        ndarray of bool, shape (places,)

        Raises
        ------
        ValueError
            If `tau` is not above 0, or is infinite.

        Examples
        --------
        >>> found = end_ranks(np.log([[0.7, 0.3], [0.95, 0.05]]), end=1, following=[0, 0])
        >>> found.turned(4.0)
        array([ True, False])
        """
        if not 0 < tau < math.inf:
            raise ValueError(f"tau is {tau}, not above 0 and finite")
        likeliest = self.probabilities ** (1 / tau) > self.rivals
        return np.asarray(likeliest != (self.probabilities > self.rivals))


class Saving(NamedTuple):
    """What one curve spends less than another at the same accuracies.

    Attributes
    ----------
    tokens : float
        Mean over the accuracies; below 0 where it spends more.
    share : float
        The same as a share of the mean of the curve compared with.
    low, high : float
        The accuracies.
    """

    tokens: float
    share: float
    low: float
    high: float


def summarise_lengths(
    lengths: ArrayLike,
    right: ArrayLike,
    finished: ArrayLike | None = None,
    *,
    problems: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Lengths:
    """Compare the lengths of right and wrong traces.

    A cut trace counts as wrong, and with the length at which it was cut: it would have been longer,
    so that means with cut traces are too low.

    Parameters
    ----------
    lengths : array_like of float, shape (traces,)
        Tokens, 0 or more: of thinking or of the whole reply, the same for all.
    right : array_like of bool, shape (traces,)
    finished : array_like of bool, shape (traces,), optional
        Whether it ended by itself; by default all did.
    problems : array_like, shape (traces,), optional
        Which problem a trace is of. Hard problems have longer traces and more wrong ones: with
        `problems`, `excess` is the mean, over problems with both, of the difference of their means,
        by Student's t. Without, it is Welch's, which takes traces as independent.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    Lengths
        `excess` is None where either kind, or with `problems` those that have both, are fewer than
        two. Where no length differs within a kind, its interval has no width.

    Raises
    ------
    ValueError
        If the shapes differ, there is no trace, or a number is out of range.

    References
    ----------
    arXiv 2505.07961; Welch (1947), "The generalization of Student's problem when several different
    population variances are involved".

    Examples
    --------
    >>> found = summarise_lengths([10, 14, 30, 40], [1, 1, 0, 1], [1, 1, 1, 0])
    >>> found[:4], found.unfinished, found.tokens_per_right, found.excess.mean
    ((0.5, 23.5, 12.0, 35.0), 0.25, 47.0, 23.0)
    """
    tokens, correct = np.asarray(lengths, np.float64), np.asarray(right, np.float64) > 0
    ended = np.ones(tokens.shape, bool) if finished is None else np.asarray(finished, bool)
    if tokens.ndim != 1 or not len(tokens) or not tokens.shape == correct.shape == ended.shape:
        raise ValueError(
            f"shapes {tokens.shape}, {correct.shape}, {ended.shape}: give one row each"
        )
    if not ((tokens >= 0) & np.isfinite(tokens)).all():
        raise ValueError("a length is below 0 or not a number")
    if problems is not None and np.shape(problems) != tokens.shape:
        raise ValueError(f"{len(tokens)} traces, and problems of shape {np.shape(problems)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    correct &= ended
    wrong = ~correct
    return Lengths(
        accuracy=float(correct.mean()),
        tokens=float(tokens.mean()),
        right_tokens=_mean(tokens[correct]),
        wrong_tokens=_mean(tokens[wrong]),
        unfinished=float((~ended).mean()),
        tokens_per_right=float(tokens.sum() / correct.sum()) if correct.any() else math.inf,
        excess=(
            _welch(tokens[wrong], tokens[correct], confidence)
            if problems is None
            else _within(tokens, correct, np.asarray(problems), confidence)
        ),
    )


def end_ranks(scores: ArrayLike, end: int, following: ArrayLike) -> EndRanks:
    """Rank the end of thinking among all tokens, place by place.

    Parameters
    ----------
    scores : array_like of float, shape (places, V)
        Logits or log-probabilities of the next token; minus infinity for one that cannot come.
        Scores of few digits tie more often.
    end : int
        The token that ends thinking, 0 to V - 1.
    following : array_like of int, shape (places,)
        The token that came next at each place.

    Returns
    -------
    EndRanks

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no such token or no other, a score is NaN or infinity, or
        no token of a place can come.

    References
    ----------
    arXiv 2505.07961

    Examples
    --------
    >>> found = end_ranks(np.log([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]), end=1, following=[0, 1])
    >>> found.ranks, found.probabilities, found.among(2), found.passed_over(2)
    (array([2, 2]), array([0.3 , 0.25]), 1.0, 0.5)
    """
    table, next_ids = np.asarray(scores, np.float64), np.asarray(following)
    if table.ndim != 2 or next_ids.shape != table.shape[:1]:
        raise ValueError(f"shapes {table.shape} and {next_ids.shape}: give (places, V), (places,)")
    if not 0 <= end < table.shape[1] or table.shape[1] < 2:
        raise ValueError(f"end is {end}: there are {table.shape[1]} tokens")
    top = table.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError("scores are NaN or infinite")
    own = table[:, [end]]
    mass = np.exp(table - top).sum(axis=1)
    return EndRanks(
        ranks=1 + (table > own).sum(axis=1),
        probabilities=np.exp(own - top)[:, 0] / mass,
        chosen=next_ids == end,
        rivals=np.exp(np.delete(table, end, axis=1).max(axis=1) - top[:, 0]) / mass,
    )


def sentence_ends(pieces: Sequence[str], pattern: str = SENTENCE_END) -> Ints:
    r"""Find the tokens with which sentences end.

    Parameters
    ----------
    pieces : sequence of str
        The text of every token; one behind the other they are the text.
    pattern : str
        A regular expression of what ends a sentence. By default `SENTENCE_END`, for which ``3.14``
        is no end and ``e.g.`` is one; line ends right behind a sentence go with it.

    Returns
    -------
    ndarray of int64, shape (ends,)
        Rising; each the place of the token that holds the last character of a match.

    Examples
    --------
    >>> sentence_ends(["It", " is", " 3", ".", "14", ".", " So", " yes", ".", "\n\n", "Done"])
    array([5, 9])
    """
    stops = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    matches = re.finditer(pattern, "".join(pieces))
    last = [match.end() for match in matches if match.end() > match.start()]
    return np.unique(np.searchsorted(stops, np.array(last, np.int64)))


def mean_repetition(
    traces: Sequence[Sequence[Hashable] | NDArray[Any]], n: int = 4
) -> float | None:
    """Give the mean share of n-grams that occurred earlier in their own trace.

    Parameters
    ----------
    traces : sequence of sequence
        Tokens of each.
    n : int
        Tokens of an n-gram, 1 or more. n-grams may overlap.

    Returns
    -------
    float or None
        Each trace of `n` tokens or more counts the same, whatever its length, and shorter ones do
        not count; None where all are shorter. `samplewise.measure.surprise.repetition_percent` is
        one trace's, in percent.

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> mean_repetition(["abab", "abcd", "a"], n=2)  # ab, ba, ab again; no other
    0.16666666666666669
    """
    if n < 1:
        raise ValueError(f"n is {n}, below 1")
    return _mean([repetition_percent(trace, n) / 100 for trace in traces if len(trace) >= n])


def tokens_at(curve: Curve, accuracy: float) -> float | None:
    """Give the tokens at which a curve of accuracy against mean tokens first reaches an accuracy.

    The curve is the straight lines between its points, in order of tokens. Where it falls and rises
    again, its first reach counts; where several points have the same tokens, it is upright.

    Parameters
    ----------
    curve : pair of array_like, shape (points,) each
        Mean tokens and accuracies, in any order.
    accuracy : float

    Returns
    -------
    float or None
        None below the accuracy of the cheapest point, as nothing says how few tokens would do, and
        above the best.

    Raises
    ------
    ValueError
        If the shapes differ, there is no point, or a number is NaN or infinite.

    Examples
    --------
    >>> curve = ([10, 20, 40], [0.5, 0.7, 0.6])
    >>> tokens_at(curve, 0.6), tokens_at(curve, 0.7), tokens_at(curve, 0.8)
    (15.0, 20.0, None)
    """
    return _first_reach(*_points(curve), accuracy)


def tokens_saved(plain: Curve, method: Curve, accuracy: float | None = None) -> Saving | None:
    """Say how many tokens a method saves at equal accuracy.

    Both curves are read as `tokens_at` reads them. Without `accuracy` the tokens are averaged over
    all accuracies that both curves reach, each as likely; that integral is exact.

    Parameters
    ----------
    plain, method : pair of array_like, shape (points,) each
        Mean tokens and accuracies of each setting of a knob.
    accuracy : float, optional

    Returns
    -------
    Saving or None
        None where the curves have no accuracy in common, or not the given one.

    Raises
    ------
    ValueError
        As `tokens_at` does.

    References
    ----------
    Bjontegaard (2001), "Calculation of average PSNR differences between RD curves", for the average
    over what both curves reach.

    Examples
    --------
    >>> tokens_saved(([10, 20], [0.25, 0.75]), ([5, 15], [0.25, 0.75]))
    Saving(tokens=5.0, share=0.3333333333333333, low=0.25, high=0.75)
    >>> tokens_saved(([10, 20], [0.25, 0.75]), ([5, 15], [0.8, 0.9])) is None
    True
    """
    curves = _points(plain), _points(method)
    low = max(float(values[0]) for _, values in curves)
    high = min(float(values.max()) for _, values in curves)
    if low > high or not (accuracy is None or low <= accuracy <= high):
        return None
    if accuracy is not None:
        low = high = accuracy
    # Between two accuracies of points each first reach is one line, whose mean is its middle.
    knots = np.unique(np.clip(np.concatenate([values for _, values in curves]), low, high))
    middles, widths = (knots[1:] + knots[:-1]) / 2, np.diff(knots)
    if low == high:
        middles, widths = knots, np.ones(1)
    reached = [[_first_reach(*curve, middle) for middle in middles] for curve in curves]
    base, mine = np.array(reached, np.float64) @ widths / widths.sum()
    saved = float(base - mine)
    return Saving(saved, saved / float(base) if base else 0.0, low, high)


def _points(curve: Curve) -> tuple[Floats, Floats]:
    """Give the points of a curve in order of tokens, and of accuracy where these are the same."""
    tokens, values = (np.asarray(one, np.float64) for one in curve)
    if tokens.ndim != 1 or not len(tokens) or tokens.shape != values.shape:
        raise ValueError(f"shapes {tokens.shape} and {values.shape} of tokens and accuracies")
    if not (np.isfinite(tokens) & np.isfinite(values)).all():
        raise ValueError("a point is NaN or infinite")
    order = np.lexsort((values, tokens))
    return tokens[order], values[order]


def _first_reach(tokens: Floats, values: Floats, accuracy: float) -> float | None:
    if not values[0] <= accuracy <= values.max():
        return None
    place = int(np.argmax(values >= accuracy))
    if place == 0:
        return float(tokens[0])
    rise = (accuracy - values[place - 1]) / (values[place] - values[place - 1])
    return float(tokens[place - 1] + rise * (tokens[place] - tokens[place - 1]))


def _welch(wrong: Floats, right: Floats, confidence: float) -> Difference | None:
    """Compare the means of independent groups."""
    from scipy.stats import ttest_ind

    if min(len(wrong), len(right)) < 2:
        return None
    away = float(wrong.mean() - right.mean())
    if not (np.ptp(wrong) or np.ptp(right)):
        return Difference(away, away, away)
    found = ttest_ind(wrong, right, equal_var=False).confidence_interval(confidence)
    return Difference(away, float(found.low), float(found.high))


def _within(
    tokens: Floats, right: NDArray[np.bool_], problems: NDArray[Any], confidence: float
) -> Difference | None:
    """Compare the means within each problem that has both kinds."""
    pairs = []
    for problem in np.unique(problems):
        mine = problems == problem
        if right[mine].any() and not right[mine].all():
            pairs.append((tokens[mine & ~right].mean(), tokens[mine & right].mean()))
    return paired_t(*np.transpose(pairs), confidence=confidence) if len(pairs) > 1 else None


def _mean(values: ArrayLike) -> float | None:
    numbers = np.asarray(values, np.float64)
    return float(numbers.mean()) if numbers.size else None


def _share(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None
