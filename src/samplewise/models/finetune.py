"""What a model learns of some texts: its loss on held-out texts before and after a short LoRA run.

Use it to compare choices of training rows: same steps, same seed, other rows. Meant for a GPU; the
built-in model takes minutes on a CPU.

Cost: O(steps x batch x tokens x weights), and one pass over the held-out texts before and after.
Source: LoRA, arXiv 2106.09685; AdamW, arXiv 1711.05101.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.models.base import LanguageModel
from samplewise.models.scoring import (
    Reading,
    batches,
    log_probabilities,
    read_pairs,
    read_texts,
    score_readings,
)
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState, generator, seed_of

__all__ = ["HeldOutLoss", "Texts", "held_out_loss_after_lora"]

Texts: TypeAlias = Sequence[str | tuple[str, str]]
"""Texts, or pairs of a prompt and a response; of a pair only the response is learned."""


class HeldOutLoss(NamedTuple):
    """Mean loss per held-out token, in nats, before and after; and the tokens trained on."""

    before: float
    after: float
    tokens: int


def held_out_loss_after_lora(
    lm: LanguageModel,
    train_texts: Texts,
    test_texts: Texts,
    *,
    rank: int = 8,
    steps: int = 100,
    learning_rate: float = 5e-4,
    batch: int = 8,
    seed: RandomState = 0,
    max_tokens: int = 512,
    batch_tokens: int = 4096,
    progress: Progress | None = None,
) -> HeldOutLoss:
    """Train low-rank adapters on some texts, and say how well the model then knows others.

    Every call takes `steps` steps of `batch` texts, however many texts there are: few texts are
    gone through more often, in another order each time. The same seed gives the same loss, on a
    CPU to the last bit. The model is left as it was, but wears the adapters meanwhile: use it for
    one call at a time.

    Parameters
    ----------
    lm : LanguageModel
        Loaded in float32, or on a GPU in bfloat16.
    train_texts, test_texts : sequence of str or of (str, str)
        Texts, or pairs of a prompt and a response, of which only the response counts.
    rank : int
        Rank of the adapters, which are put on every linear layer but the last; their scale is 2.
    steps : int
        Steps of AdamW.
    learning_rate : float
        Of the first step; it falls to 0 along a line.
    batch : int
        Texts a step.
    seed : int or numpy.random.Generator
        Of the adapters' first values, and of the order of the texts.
    max_tokens : int
        Tokens that are read of a text, or of a prompt and its response together.
    batch_tokens : int
        Tokens that are read at once; it bounds the memory and changes nothing else.
    progress : Progress, optional

    Returns
    -------
    HeldOutLoss

    Raises
    ------
    UsageError
        If a number makes no sense, or peft is missing.
    InputError
        If there is no token to learn, or none is held out.
    """
    import torch

    _check(rank=rank, steps=steps, batch=batch, max_tokens=max_tokens, batch_tokens=batch_tokens)
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UsageError(f"learning_rate is {learning_rate}", mend="give a number above 0")
    rng = generator(seed)
    train = _read(lm, train_texts, max_tokens, "texts to train on")
    test = _read(lm, test_texts, max_tokens, "held-out texts")
    peft = need("peft", "llm", "LoRA")
    shown = progress or Silent()

    before = _loss(lm, test, batch_tokens)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    with (
        torch.random.fork_rng(devices=_random_devices(lm)),  # the caller's random state stays
        warnings.catch_warnings(action="ignore"),  # of what peft itself uses, or mends
    ):
        torch.manual_seed(seed_of(rng))
        adapted = peft.get_peft_model(lm.model, config)
    try:
        # No dropout anywhere: the model stays in evaluation mode.
        learned = [weight for weight in adapted.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        order = _shuffled(train, rng)
        tokens = 0
        with shown.stage("train", steps, "steps") as advance:
            for _ in range(steps):
                rows = [next(order) for _ in range(batch)]
                targets = sum(row.targets for row in rows)
                for part in batches(rows, batch_tokens):
                    # The mean over the tokens of the whole step, whatever the parts.
                    loss = -log_probabilities(lm, [rows[i] for i in part]).sum() / targets
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(learned, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                tokens += sum(len(row.ids) - 1 for row in rows)
                advance(1)
        after = _loss(lm, test, batch_tokens)
    finally:
        adapted.unload()
        vars(lm.model).pop("peft_config", None)  # some releases leave it, and then warn of it
    return HeldOutLoss(before, after, tokens)


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"{name} is {number}", mend="give 1 or more")


def _read(lm: LanguageModel, texts: Texts, max_tokens: int, name: str) -> list[Reading]:
    """Turn texts and pairs into tokens to be learned; those with none are left out."""
    plain = [text for text in texts if isinstance(text, str)]
    pairs = [text for text in texts if not isinstance(text, str)]
    found = read_texts(lm, plain, max_tokens)
    found += read_pairs(lm, [pair[0] for pair in pairs], [pair[1] for pair in pairs], max_tokens)
    found = [reading for reading in found if reading.targets]
    if not found:
        raise InputError("holds no text with a token in it", file=name, mend="give at least one")
    return found


def _loss(lm: LanguageModel, readings: list[Reading], batch_tokens: int) -> float:
    values = np.concatenate(score_readings(lm, readings, batch_tokens))
    return float(-values.mean(dtype=np.float64))


def _shuffled(readings: list[Reading], rng: np.random.Generator) -> Iterator[Reading]:
    """Go through the readings over and over, each time in another order."""
    while True:
        for place in rng.permutation(len(readings)):
            yield readings[place]


def _random_devices(lm: LanguageModel) -> list[int]:
    """Name the GPU whose random state is touched; the CPU's always is."""
    device = lm.model.device
    return [device.index or 0] if device.type == "cuda" else []
