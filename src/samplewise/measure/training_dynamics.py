"""How hard each row was to learn, from what a model said of it while it was trained.

Every function takes a record of sightings: entry (t, i) is what the model said of row i the t-th
time it saw that row. Where a row was seen less often than others, its last entries are NaN; sums
and means are over the times it was seen. All functions are pure; cost O(t n c) for t sightings of
n rows with c classes, one sighting held in float64 at a time.
Source: coverage-centric coreset selection, arXiv 2210.15809, and the papers named below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Reduce",
    "aum",
    "el2n",
    "forgetting",
    "forgetting_events",
    "grand",
    "last_layer_gradient_norms",
    "prediction_entropy",
    "softmax",
    "times_correct",
]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Reduce: TypeAlias = Literal["sum", "mean", "last"]
"""What is made of a row's sightings: their sum, their mean, or the last of them alone."""


def softmax(logits: ArrayLike) -> NDArray[np.float32]:
    """Turn logits into probabilities along the last axis; NaN stays NaN.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    values = np.array(logits, dtype=np.float32)
    values -= values.max(axis=-1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return values


def el2n(probabilities: ArrayLike, labels: ArrayLike, reduce: Reduce = "sum") -> Floats:
    """Measure how far each row's probabilities were from its label.

    The Euclidean norm of the error, p - onehot(label).

    Parameters
    ----------
    probabilities : array_like, shape (t, n, c)
    labels : array_like of int, shape (n,)
        From 0 to c - 1.
    reduce : {'sum', 'mean', 'last'}

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher is harder; from 0 to sqrt(2) a sighting.

    Raises
    ------
    ValueError
        If a shape does not fit, a label is no class, or a row was never seen.

    References
    ----------
    M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet", arXiv 2107.07075.

    Examples
    --------
    >>> el2n([[[1, 0], [0, 1], [0.4, 0.6]]], [0, 0, 1]).round(4).tolist()
    [0.0, 1.4142, 0.5657]
    """
    return _reduced(_each(_error_norms, *_record(probabilities, labels)), reduce)


def aum(values: ArrayLike, labels: ArrayLike, reduce: Reduce = "sum") -> Floats:
    """Measure the area under the margin: the label's value less the highest other one.

    Parameters
    ----------
    values : array_like, shape (t, n, c)
        Probabilities, whose margins are from -1 to 1; or logits, whose margins have no bound and
        a long tail, which bins of equal width do not like.
    labels : array_like of int, shape (n,)
        From 0 to c - 1.
    reduce : {'sum', 'mean', 'last'}

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher is *easier*. With one class, the others' highest value is 0.

    Raises
    ------
    ValueError
        If a shape does not fit, a label is no class, or a row was never seen.

    References
    ----------
    G. Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
    arXiv 2001.10528.

    Examples
    --------
    >>> row = [0.7, 0.2, 0.1]
    >>> aum([[row, row]], [0, 1]).round(6).tolist()
    [0.5, -0.5]
    """
    return _reduced(_each(_margins, *_record(values, labels)), reduce)


def prediction_entropy(probabilities: ArrayLike, reduce: Reduce = "last") -> Floats:
    """Measure how unsure the model was of each row, whatever its label.

    Parameters
    ----------
    probabilities : array_like, shape (t, n, c)
    reduce : {'last', 'sum', 'mean'}
        The paper takes the trained model's: the last sighting.

    Returns
    -------
    ndarray of float64, shape (n,)
        In nats, from 0 to log(c) a sighting; higher is harder.

    Raises
    ------
    ValueError
        If a shape does not fit, or a row was never seen.

    Examples
    --------
    >>> prediction_entropy([[[1, 0], [0.5, 0.5]]]).round(4).tolist()
    [0.0, 0.6931]
    """
    record = _values(probabilities)
    return _reduced(_each(_entropies, record, np.zeros(record.shape[1], np.int64)), reduce)


def grand(gradient_norms: ArrayLike, reduce: Reduce = "sum") -> Floats:
    """Measure how strongly each row pulled at the model: the norm of its loss's gradient.

    Parameters
    ----------
    gradient_norms : array_like, shape (t, n)
        Of each row alone, at each sighting; `last_layer_gradient_norms` makes those of the last
        layer.
    reduce : {'sum', 'mean', 'last'}

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher is harder.

    Raises
    ------
    ValueError
        If the shape does not fit, or a row was never seen.

    References
    ----------
    M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet", arXiv 2107.07075.

    Examples
    --------
    >>> grand([[1.0, 2.0], [3.0, float("nan")]], "mean").tolist()
    [2.0, 2.0]
    """
    norms = np.asarray(gradient_norms, np.float64)
    if norms.ndim != 2 or not norms.size:
        raise ValueError(f"gradient norms have shape {norms.shape}: give (sightings, rows)")
    return _reduced(norms, reduce)


def last_layer_gradient_norms(
    probabilities: ArrayLike, labels: ArrayLike, features: ArrayLike, *, bias: bool = True
) -> Floats:
    """Give the norm of each row's cross-entropy gradient by the last linear layer.

    The gradient by the weights is the outer product of p - onehot(label) and the layer's input h,
    and that by the bias is the first of the two: the norm is |p - onehot| sqrt(|h|^2 + 1).

    Parameters
    ----------
    probabilities : array_like, shape (t, n, c)
    labels : array_like of int, shape (n,)
    features : array_like, shape (t, n, h) or (n, h)
        Inputs of the last layer, at each sighting or the same at all.
    bias : bool
        Whether the layer has one.

    Returns
    -------
    ndarray of float64, shape (t, n)

    Raises
    ------
    ValueError
        If a shape does not fit, or a label is no class.

    Examples
    --------
    >>> last_layer_gradient_norms([[[0.5, 0.5]]], [0], [[2.0, 2.0]]).round(4).tolist()
    [[2.1213]]
    """
    errors = _each(_error_norms, *_record(probabilities, labels))
    inputs = np.asarray(features)
    if inputs.ndim < 2 or inputs.shape[:-1] not in (errors.shape, errors.shape[1:]):
        raise ValueError(
            f"features have shape {inputs.shape} for {errors.shape} sightings and rows: "
            "give (sightings, rows, inputs) or (rows, inputs)"
        )
    squares = np.einsum("...h,...h->...", inputs, inputs, dtype=np.float64)
    lengths: Floats = np.sqrt(squares + float(bias))
    return errors * lengths


def forgetting(values: ArrayLike, labels: ArrayLike, reduce: Reduce = "sum") -> Floats:
    """Count how often each row, once right, was wrong the next time it was seen.

    Parameters
    ----------
    values : array_like, shape (t, n, c)
        Probabilities or logits; the answer is the class with the highest, the first of equals.
    labels : array_like of int, shape (n,)
        From 0 to c - 1.
    reduce : {'sum', 'mean'}
        'mean' divides by the times the row was seen.

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher is harder, but for rows that were never right, whose count is 0.

    Raises
    ------
    ValueError
        If a shape does not fit, a label is no class, or a row was never seen.

    References
    ----------
    M. Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network
    Learning", arXiv 1812.05159.

    Examples
    --------
    >>> right, wrong = [0.9, 0.1], [0.2, 0.8]
    >>> forgetting([[right], [wrong], [right], [right], [wrong]], [0]).tolist()
    [2.0]
    """
    if reduce not in ("sum", "mean"):
        raise ValueError(f"no rule {reduce!r} for counts: give 'sum' or 'mean'")
    right = _each(_correct, *_record(values, labels))
    _refuse_unseen(right)
    seen = ~np.isnan(right)
    events = forgetting_events(right == 1, seen).astype(np.float64)
    return events / seen.sum(axis=0) if reduce == "mean" else events


def forgetting_events(correct: ArrayLike, seen: ArrayLike | None = None) -> Indices:
    """Count the times each row went from right to wrong.

    Parameters
    ----------
    correct : array_like of bool, shape (t, n)
    seen : array_like of bool, shape (t, n), optional
        Where the row was seen at all; what it was not seen at is passed over.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> forgetting_events([[1], [0], [1], [1], [0]]).tolist()
    [2]
    """
    right = np.asarray(correct, dtype=bool)
    looked = np.ones_like(right) if seen is None else np.asarray(seen, dtype=bool)
    if right.ndim != 2 or right.shape != looked.shape:
        raise ValueError(f"shapes {right.shape} and {looked.shape}: give (sightings, rows)")
    events = np.zeros(right.shape[1], np.int64)
    before = np.zeros(right.shape[1], dtype=bool)  # a row begins as wrong
    for now, here in zip(right, looked, strict=True):
        events += before & ~now & here
        before = np.where(here, now, before)
    return events


def times_correct(values: ArrayLike, labels: ArrayLike) -> Indices:
    """Count how often each row was right.

    Parameters
    ----------
    values : array_like, shape (t, n, c)
        Probabilities or logits.
    labels : array_like of int, shape (n,)

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> times_correct([[[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.2, 0.8]]], [0, 1]).tolist()
    [2, 1]
    """
    counts: Indices = (_each(_correct, *_record(values, labels)) == 1).sum(axis=0)
    return counts


# --- one sighting: values of shape (n, c), NaN where a row was not seen --------------------------


def _error_norms(values: Floats, labels: Indices) -> Floats:
    values[np.arange(len(labels)), labels] -= 1.0
    norms: Floats = np.sqrt(np.einsum("ij,ij->i", values, values))
    return norms


def _margins(values: Floats, labels: Indices) -> Floats:
    rows = np.arange(len(labels))
    own = values[rows, labels].copy()
    values[rows, labels] = -np.inf
    others: Floats = values.max(axis=1) if values.shape[1] > 1 else np.zeros(len(labels))
    return own - others


def _entropies(values: Floats, labels: Indices) -> Floats:
    logs = np.log(values, out=np.zeros_like(values), where=values != 0)  # 0 log 0 is 0
    entropies: Floats = np.maximum(-np.einsum("ij,ij->i", values, logs), 0.0)
    return entropies


def _correct(values: Floats, labels: Indices) -> Floats:
    right: Floats = (values.argmax(axis=1) == labels).astype(np.float64)
    right[np.isnan(values[:, 0])] = np.nan
    return right


# --- records --------------------------------------------------------------------------------------


def _each(
    function: Callable[[Floats, Indices], Floats], record: NDArray[np.floating], labels: Indices
) -> Floats:
    """Apply a function to a float64 copy of each sighting: (t, n, c) to (t, n)."""
    return np.stack([function(np.array(values, np.float64), labels) for values in record])


def _values(values: ArrayLike) -> NDArray[np.floating]:
    record = np.asarray(values)
    if record.ndim != 3 or not record.size:
        raise ValueError(f"the record has shape {record.shape}: give (sightings, rows, classes)")
    return record


def _record(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.floating], Indices]:
    record, owners = _values(values), np.asarray(labels)
    _, rows, classes = record.shape
    if owners.shape != (rows,) or owners.dtype.kind not in "iu":
        raise ValueError(f"labels have shape {owners.shape} and type {owners.dtype}: give (n,) int")
    if owners.min() < 0 or owners.max() >= classes:
        raise ValueError(f"labels are {owners.min()} to {owners.max()} for {classes} classes")
    return record, owners.astype(np.int64)


def _refuse_unseen(sightings: Floats) -> None:
    unseen = np.isnan(sightings).all(axis=0)
    if unseen.any():
        raise ValueError(f"row {int(unseen.argmax())} was never seen")


def _reduced(sightings: Floats, reduce: Reduce) -> Floats:
    """Make one number a row of its sightings, shape (t, n), passing over NaN."""
    if reduce not in ("sum", "mean", "last"):
        raise ValueError(f"no rule {reduce!r}: give 'sum', 'mean' or 'last'")
    _refuse_unseen(sightings)
    if reduce == "last":
        last = len(sightings) - 1 - np.argmax(~np.isnan(sightings)[::-1], axis=0)
        found: Floats = sightings[last, np.arange(sightings.shape[1])]
        return found
    total: Floats = np.nansum(sightings, axis=0)
    return total / (~np.isnan(sightings)).sum(axis=0) if reduce == "mean" else total
