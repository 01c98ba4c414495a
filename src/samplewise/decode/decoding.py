"""The door of the room: a prompt decoded by a draft, a verifier and samplers, with what it took."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samplewise.decode.base import Draft, Verifier
from samplewise.decode.samplers import Extra, make_processors
from samplewise.decode.speculative import Decoded, Speculation, accepted_by_depth
from samplewise.errors import UsageError
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState

if TYPE_CHECKING:
    from samplewise.models.base import LanguageModel

__all__ = ["Decoding", "PromptDecoder", "decode", "slowness", "total"]

_WORTH_TELLING = 0.97  # of the plain speed: what is nearer to it may be noise


@dataclass(frozen=True)
class Decoding:
    """A prompt, and what was decoded.

    Attributes
    ----------
    prompt, text : str
    pieces : list of str
        The text, token by token; those that end an answer are left out.
    decoded : Decoded
        The tokens, and every step.
    """

    prompt: str
    text: str
    pieces: list[str]
    decoded: Decoded

    def as_json(self) -> dict[str, Any]:
        """Give the line that `decoded.jsonl` holds."""
        found = self.decoded
        return {
            "prompt": self.prompt,
            "text": self.text,
            "finish": found.finish,
            "tokens": len(found.tokens),
            "ids": found.tokens,
            "pieces": self.pieces,
            "surprises": found.surprises,
            "entropies": found.entropies,
            "read": [step.read for step in found.steps],
            "accepted": [step.accepted for step in found.steps],
            "given": [step.given for step in found.steps],
            "seconds": [step.seconds for step in found.steps],
            "plain_seconds": found.plain_seconds,
            "tokens_per_step": found.tokens_per_step,
            "accepted_by_depth": found.accepted_by_depth,
            "speed_up": found.speed_up,
        }


def decode(
    prompt: str, *, max_tokens: int = 128, rng: RandomState = None, **settings: Any
) -> Decoding:
    """Decode a prompt with guesses; what comes out has the law of plain decoding.

    For several prompts make a `PromptDecoder`: its draft keeps what it learnt from each.

    Parameters
    ----------
    prompt : str
    max_tokens : int
    rng : int, numpy.random.Generator or None
    **settings
        As `PromptDecoder` takes them: ``model``, ``draft``, ``temperature`` and so on.

    Returns
    -------
    Decoding

    Raises
    ------
    UsageError
        If a setting makes no sense, or cannot be had together with another.

    Warns
    -----
    UserWarning
        If guessing was slower than plain decoding.

    Examples
    --------
    >>> import samplewise as sw
    >>> found = sw.decode("Name a colour.", draft="prompt-lookup", max_tokens=5)
    >>> found.decoded.tokens_per_step >= 1
    True
    """
    decoder = PromptDecoder(seeded=rng is not None, **settings)
    found = decoder.decode(prompt, max_tokens, rng)
    told = slowness(total([found.as_json()]), decoder.draft.name)
    if told:
        warnings.warn(told, stacklevel=2)
    return found


class PromptDecoder:
    """A model, a draft and a law, ready to decode prompts one after the other.

    Parameters
    ----------
    model : str or LanguageModel
        As `samplewise.models.load` takes it, or gives it.
    draft : str or Draft
        What guesses: ``"token-recycling"``, ``"prompt-lookup"``, ``"draft-model:model=FOLDER"`` or
        ``"plain"``; with knobs, such as ``"prompt-lookup:length=5"``.
    verifier : str or Verifier
        What keeps or replaces drafts that were drawn, as a smaller model's are.
    samplers : sequence of str, Sampler or callable
        Such as ``"mirostat-v2:tau=3"``, or processors of transformers.
    temperature : float
        0 takes the likeliest token.
    top_k, top_p, min_p, typical_p, repetition_penalty
        As transformers takes them.
    chat : bool
        Whether a prompt is put as a user's turn, where the model has a form for that.
    auto : bool, optional
        Whether the size of the guesses is chosen by their speed on this machine. By default it is,
        but not where drafts are drawn and there is a seed: what is drawn then depends on how much,
        so that another machine would give another text, of the same law.
    seeded : bool
        Whether there is a seed.
    progress : Progress, optional
        Told of the unpacking of the built-in model.

    Raises
    ------
    UsageError
        If a setting makes no sense, or cannot be had together with another.
    """

    def __init__(
        self,
        model: str | LanguageModel = "builtin",
        *,
        draft: str | Draft = "token-recycling",
        verifier: str | Verifier = "k-seq",
        samplers: Sequence[Extra] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float | None = None,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        chat: bool = True,
        auto: bool | None = None,
        seeded: bool = True,
        progress: Progress | None = None,
    ) -> None:
        from samplewise.models.base import load

        self.draft = Draft.named(draft)
        verifies = Verifier.named(verifier)
        greedy = _is_greedy(temperature, samplers)
        processors = make_processors(
            temperature=1.0 if greedy else temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            repetition_penalty=repetition_penalty,
            extra=samplers,
        )
        self._chat = chat
        self.lm = load(model, progress=progress or Silent()) if isinstance(model, str) else model
        self._speculation = Speculation(
            self.lm.model,
            self.draft,
            verifier=verifies,
            processors=processors,
            greedy=greedy,
            ends=self.lm.ends,
            auto=auto if auto is not None else greedy or not seeded or not self.draft.draws,
            trace=True,
        )

    def decode(self, prompt: str, max_tokens: int, rng: RandomState = None) -> Decoding:
        """Decode one prompt."""
        lm = self.lm
        if self._chat:
            tokens = lm.turns([{"role": "user", "content": prompt}])
        else:
            tokens = [lm.start, *lm.tokens([prompt])[0]]
        decoded = self._speculation.decode(tokens, max_tokens, rng=rng)
        shown = [token for token in decoded.tokens if token not in lm.ends]
        pieces = [lm.tokenizer.decode([token]) for token in shown]
        return Decoding(prompt, lm.tokenizer.decode(shown), pieces, decoded)


def _is_greedy(temperature: float, samplers: Sequence[Extra]) -> bool:
    if temperature == 0 and len(samplers):
        raise UsageError(
            "temperature 0 takes the likeliest token, whatever a sampler says",
            mend="set a temperature above 0, such as 1",
        )
    return temperature == 0


def total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what several prompts took.

    Parameters
    ----------
    rows : sequence of mapping
        As `Decoding.as_json` gives them.
    """
    accepted = [
        kept
        for row in rows
        for kept, read in zip(row["accepted"], row["read"], strict=True)
        if read
    ]
    tokens, steps = sum(row["tokens"] for row in rows), sum(len(row["read"]) for row in rows)
    seconds = sum(sum(row["seconds"]) for row in rows)
    plain = sum(row["plain_seconds"] * row["tokens"] for row in rows)
    return {
        "prompts": len(rows),
        "tokens": tokens,
        "steps": steps,
        "read": sum(sum(row["read"]) for row in rows),
        "tokens_per_step": tokens / max(1, steps),
        "accepted_by_depth": accepted_by_depth(accepted),
        "seconds": seconds,
        "plain_seconds": plain,
        "speed_up": plain / seconds if seconds else 1.0,
    }


def slowness(totals: Mapping[str, Any], draft: str) -> str:
    """Say what to do where guessing was slower than plain decoding; nothing where it was not."""
    if not totals["read"] or totals["speed_up"] >= _WORTH_TELLING:
        return ""
    return (
        f"Decoding with {draft} ran at {totals['speed_up']:.2f} times the plain speed: leave auto "
        "on, which guesses only where that pays; or guess less; or take the draft 'plain'"
    )
