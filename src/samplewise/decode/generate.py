"""Guessing within transformers' own `generate`: its settings, processors and stopping hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from samplewise.decode.base import Draft, Verifier
from samplewise.decode.speculative import Decoded, Speculation, forgets
from samplewise.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["SpeculativeGenerate"]


class SpeculativeGenerate:
    """Let `generate` decode with guesses: ``model.generate(..., custom_generate=this)``.

    All that `generate` is told about the law of the next token and about the end holds. Rows of a
    batch are decoded one after the other, and a draft keeps what it learnt from those before. The
    random numbers follow torch's seed. A streamer hears nothing: transformers does not hand it on.

    Parameters
    ----------
    draft : str or Draft
        As `samplewise.decode` takes it.
    verifier : str or Verifier
        What keeps or replaces drafts that were drawn.
    auto : bool, optional
        Whether the size of the guesses is chosen by their speed on this machine. By default it is,
        but not where drafts are drawn and the target samples: the same seed then gives the same
        text on every machine.

    Attributes
    ----------
    decoded : list of Decoded
        What the last call took, a row each.

    Examples
    --------
    >>> from samplewise.models import load
    >>> lm = load("builtin")
    >>> asked = lm.tokenizer("Once upon a", return_tensors="pt")
    >>> fast = SpeculativeGenerate("token-recycling")
    >>> found = lm.model.generate(
    ...     **asked, do_sample=False, max_new_tokens=4, custom_generate=fast
    ... )
    >>> lm.tokenizer.decode(found[0])
    'Once upon a time, the city'
    """

    def __init__(
        self,
        draft: str | Draft = "token-recycling",
        *,
        verifier: str | Verifier = "k-seq",
        auto: bool | None = None,
    ) -> None:
        self.draft, self.verifier = Draft.named(draft), Verifier.named(verifier)
        self.decoded: list[Decoded] = []
        self._auto = auto
        self._last: Speculation | None = None

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Sequence[Any] = (),
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **others: Any,  # an argument that is named is taken away from the others by transformers
    ) -> torch.Tensor:
        """Decode every row of a batch.

        Returns
        -------
        torch.Tensor of int64, shape (rows, length)
            Shorter rows end in padding.

        Raises
        ------
        UsageError
            If beams, or a dictionary of outputs, are asked for; or if a batch comes with processors
            that look at its rows.
        """
        import torch

        mask = others.get("attention_mask")
        padded = mask is not None and not bool(mask.all())
        _refuse(generation_config, logits_processor if len(input_ids) > 1 or padded else ())
        speculation = self._speculation(model, list(logits_processor), generation_config)
        self.decoded, rows = [], []
        for place, row in enumerate(input_ids):
            shown = row if mask is None else row[mask[place].bool()]
            most = generation_config.max_length - len(row)
            found = speculation.decode(
                shown.tolist(),
                most,
                rng=int(torch.randint(2**62, ()).item()),
                stop=_stop(stopping_criteria, row[: len(row) - len(shown)]),
            )
            self.decoded.append(found)
            rows.append(torch.cat([row, row.new_tensor(found.tokens)]))
        padding = generation_config.pad_token_id
        return torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=0 if padding is None else int(padding)
        )

    def _speculation(self, model: Any, processors: list[Any], config: Any) -> Speculation:
        """Begin anew with these settings, and with what the draft learnt of this model."""
        speculation = Speculation(
            model,
            self.draft,
            verifier=self.verifier,
            processors=processors,
            greedy=not config.do_sample,
            ends=_ends(config.eos_token_id),
            auto=not (self.draft.draws and config.do_sample) if self._auto is None else self._auto,
        )
        if self._last and self._last.model is model:
            speculation.inherit(self._last)
        self._last = speculation
        return speculation


def _refuse(config: Any, of_batch: Sequence[Any]) -> None:
    odd = [type(one).__name__ for one in of_batch if not forgets(one)]
    if odd:  # transformers makes them for this batch, with its padding
        raise UsageError(
            f"{', '.join(odd)} with several rows, or with padding",
            mend="give one prompt at a time, without padding",
        )
    if config.num_beams != 1 or config.num_return_sequences != 1:
        raise UsageError(
            f"{config.num_beams} beams and {config.num_return_sequences} sequences of a prompt",
            mend="leave num_beams at 1, and repeat the prompt for several sequences",
        )
    if config.return_dict_in_generate:
        raise UsageError(
            "return_dict_in_generate is not to be had with guesses",
            mend="leave it out: the attribute `decoded` holds what every step gave",
        )


def _stop(criteria: Any, padding: torch.Tensor) -> Any:
    """Ask transformers' criteria about the row as they know it, padding included."""
    import torch

    def stop(tokens: list[int]) -> bool:
        row = torch.cat([padding, padding.new_tensor(tokens)])[None]
        return bool(criteria is not None and criteria(row, None).all())

    return stop


def _ends(named: Any) -> list[int]:
    if named is None:
        return []
    return list(named) if isinstance(named, (list, tuple)) else [int(named)]
