"""A causal language model that reads trees of tokens, and keeps the keys and values of one branch.

It imports torch and transformers, so that it is imported only where a model is at work.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.models.cache import Keep, run

__all__ = ["Reader"]


class Reader:
    """Reads one sequence, and guesses at how it goes on, which may branch.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal one with attention alone: its past must be keys and values that can be dropped.

    Attributes
    ----------
    length : int
        Tokens that are certain, and read.
    guessed : int
        Tokens read after them that may yet be dropped.

    Raises
    ------
    UsageError
        If the model keeps a past of another kind, or takes no positions.
    """

    def __init__(self, model: Any) -> None:
        _check(model)
        self._model = model
        self._keeps_few = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._layers = model.config.get_text_config().num_hidden_layers
        self.clear()

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self._model.device

    def clear(self) -> None:
        """Forget all."""
        self._caches = [Keep() for _ in range(self._layers)]
        self.length = self.guessed = 0

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read certain tokens; give the logits after the last, shape (vocabulary,).

        Raises
        ------
        UsageError
            If there are none.
        """
        if not len(tokens):
            raise UsageError("there is nothing to read", mend="give a prompt of a token or more")
        if self.guessed:
            self.keep([])
        keep = {"logits_to_keep": 1} if self._keeps_few else {}
        ids = torch.tensor([list(tokens)], device=self.device)
        places = torch.arange(self.length, self.length + len(tokens), device=self.device)[None]
        logits = self._run(ids, None, places, keep)
        self.length += len(tokens)
        return logits[-1]

    def guess(
        self, tokens: Sequence[int], depths: Sequence[int], seen: NDArray[np.bool_]
    ) -> torch.Tensor:
        """Read tokens that may be dropped; give the logits after each.

        Parameters
        ----------
        tokens : sequence of int
        depths : sequence of int
            How far each is behind the last certain token: 0 is right behind it.
        seen : ndarray of bool, shape (tokens, guessed + tokens)
            Which of all guessed tokens each sees, itself among them; all that is certain is seen.

        Returns
        -------
        torch.Tensor, shape (tokens, vocabulary)
        """
        ids = torch.tensor([list(tokens)], device=self.device)
        places = torch.as_tensor(np.asarray(depths) + self.length, device=self.device)[None]
        mask = None
        if len(tokens) > 1 or self.guessed:
            mask = torch.zeros(
                (1, 1, len(tokens), self.length + seen.shape[1]), dtype=self._model.dtype
            )
            hidden = torch.from_numpy(~seen)
            mask[0, 0, :, self.length :].masked_fill_(hidden, torch.finfo(mask.dtype).min)
            mask = mask.to(self.device)
        logits = self._run(ids, mask, places, {})
        self.guessed += len(tokens)
        return logits

    def keep(self, guesses: Sequence[int]) -> None:
        """Make some of the guessed tokens certain, a branch from the root on; drop the others."""
        with torch.inference_mode():
            for cache in self._caches:
                cache.keep_places(self.length, [self.length + place for place in guesses])
        self.length += len(guesses)
        self.guessed = 0

    def _run(self, ids: Any, mask: Any, places: Any, more: dict[str, Any]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = run(
                self._model,
                self._caches,
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
                **more,
            )
        return logits[0]


def _check(model: Any) -> None:
    name = type(model).__name__
    mend = "give a causal model with full attention, such as Llama, Qwen2 or GPT-2"
    if getattr(model, "_is_stateful", False) or model.config.is_encoder_decoder:
        raise UsageError(f"{name} keeps a past that cannot be cut", mend=mend)
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise UsageError(f"{name} takes no positions, which a tree of guesses needs", mend=mend)
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is None and getattr(config, "sliding_window", None):
        kinds = ["sliding_attention"]
    odd = set(kinds or ()) - {"full_attention"}
    if odd:
        raise UsageError(f"{name} has layers of the kind {', '.join(sorted(odd))}", mend=mend)
