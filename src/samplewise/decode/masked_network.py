"""A masked model as samplers and likelihoods call it: counted, checked, and any temperature.

A PyTorch module becomes such a model by `torch_model`. Cost: that of the network, and
O(places x vocabulary) for the laws that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import MaskedModel
from samplewise.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Call", "Network", "torch_model"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class Network:
    """A model that counts its calls.

    Parameters
    ----------
    model : callable
        See `samplewise.decode.base.MaskedModel`.
    vocabulary : int
    temperature : float
        What logits are divided by.
    """

    def __init__(self, model: MaskedModel, vocabulary: int, temperature: float = 1.0) -> None:
        self.model, self.vocabulary, self.temperature = model, vocabulary, temperature
        self.calls = 0

    def call(self, tokens: Ints, rows: Ints, time: Floats | None) -> Call:
        """Call the model on some rows of a table.

        Parameters
        ----------
        tokens : ndarray of int64, shape (all rows, length)
        rows : ndarray of int64
            Those that are given to the model.
        time : ndarray of float64, shape (all rows,), or None

        Raises
        ------
        UsageError
            If the model's answer has another shape than (rows, length, vocabulary).
        """
        self.calls += 1
        logits = np.asarray(self.model(tokens[rows], None if time is None else time[rows]))
        expected = (len(rows), tokens.shape[1], self.vocabulary)
        if logits.shape != expected:
            raise UsageError(
                f"the model gave logits of the shape {logits.shape} instead of {expected}",
                mend="give one logit a token of the vocabulary, and none for the mask",
            )
        slots = np.full(len(tokens), -1, np.int64)
        slots[rows] = np.arange(len(rows))
        return Call(logits, slots, time, self.temperature)


class Call:
    """One answer of the network, with the times it was asked for.

    Attributes
    ----------
    time : ndarray of float64, shape (all rows,), or None
    vocabulary : int
    """

    def __init__(
        self, logits: NDArray[Any], slots: Ints, time: Floats | None, temperature: float
    ) -> None:
        self._logits, self._slots, self.time = logits, slots, time
        self._temperature = temperature
        self.vocabulary = logits.shape[2]

    def knows(self, rows: Ints) -> NDArray[np.bool_]:
        """Say which rows the model was given."""
        return np.asarray(self._slots[rows] >= 0)

    def laws(self, rows: Ints, places: Ints) -> Floats:
        """Give the law of the token at each place, shape (places, vocabulary).

        Raises
        ------
        UsageError
            If the logits of a place are no numbers, or forbid all tokens.
        """
        scores = self._scores(rows, places)
        laws = np.exp(scores)
        laws /= laws.sum(axis=1, keepdims=True)
        return laws

    def log_likelihoods(self, rows: Ints, places: Ints, tokens: Ints) -> Floats:
        """Give the log-probability of one token at each place, shape (places,)."""
        scores = self._scores(rows, places)
        chosen = scores[np.arange(len(tokens)), tokens]
        return np.asarray(chosen - np.log(np.exp(scores).sum(axis=1)))

    def _scores(self, rows: Ints, places: Ints) -> Floats:
        """Give logits over the temperature; the largest of each place is 0."""
        scores = self._logits[self._slots[rows], places].astype(np.float64) / self._temperature
        top = scores.max(axis=1, keepdims=True)
        if not np.isfinite(top).all():  # NaN is the largest of all
            raise UsageError(
                "the model gave logits that are no numbers, or forbid every token of a place",
                mend="give finite logits, or minus infinity for a token that must not be drawn",
            )
        scores -= top
        return scores


def torch_model(
    module: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    vocabulary: int,
    device: str = "cpu",
) -> MaskedModel:
    """Make a masked model of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module or callable
        ``module(tokens, time)`` gives logits of the shape (rows, length, vocabulary or more); what
        is beyond the vocabulary, such as a column of the mask, is cut off. The time is in float32,
        or None. The module is used as it is: call its `eval()` before, where that matters.
    vocabulary : int
    device : str
        Where the module is, such as ``"cuda"``.

    Returns
    -------
    callable

    Examples
    --------
    >>> import torch
    >>> model = torch_model(lambda tokens, time: torch.zeros(*tokens.shape, 3), vocabulary=2)
    >>> model(np.array([[2, 2]]), None).shape
    (1, 2, 2)
    """
    import torch

    def model(tokens: Ints, time: Floats | None) -> NDArray[np.float32]:
        times = None if time is None else torch.from_numpy(time).float().to(device)
        with torch.inference_mode():
            logits = module(torch.from_numpy(tokens).to(device), times)
        found: NDArray[np.float32] = logits[..., :vocabulary].float().cpu().numpy()
        return found

    return model
