"""What Mirostat adds to a token: its processors beside a forward pass of the built-in model.

A forward pass reads one token a row, with keys and values of what came before. Each processor is
called as `generate` calls it: it learns the last token from the ids, and masks the scores. All on
one thread of a CPU; the share is of one forward pass of the same number of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from harness import compare
from samplewise.decode.samplers import make_processors
from samplewise.models import load

BEFORE = 200
"""Tokens that were read already."""
CALLS = 10
"""Calls of a processor in one measurement."""


def forward_pass(rows: int) -> tuple[Callable[[], None], torch.Tensor]:
    """Make a call that reads one token `CALLS` times, and give the scores to process."""
    lm = load("builtin")
    ids = torch.randint(100, 10_000, (rows, BEFORE), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = lm.model(input_ids=ids, use_cache=True).past_key_values

    def read() -> None:
        with torch.inference_mode():
            for _ in range(CALLS):
                lm.model(input_ids=ids[:, -1:], use_cache=True, **{lm.cache_name: cache})
                cache.crop(-1)  # the token that was read

    with torch.inference_mode():
        scores = lm.model(input_ids=ids).logits[:, -1].float()
    return read, scores


def processing(name: str, scores: torch.Tensor) -> Callable[[], None]:
    """Make a call that processes the scores of `CALLS` tokens, each after the one before it."""
    settings = {"top_k": {"top_k": 50}, "top_p": {"top_p": 0.9}}.get(name, {"extra": [name]})
    ids = torch.zeros((len(scores), BEFORE), dtype=torch.long)
    processors, random = make_processors(**settings), torch.Generator().manual_seed(0)
    for _ in range(CALLS):  # the text that is read again below, token by token
        law = processors(ids, scores).softmax(dim=-1)
        ids = torch.cat([ids, torch.multinomial(law, 1, generator=random)], dim=1)

    def process() -> None:
        processors = make_processors(**settings)
        for call in range(CALLS):
            processors(ids[:, : BEFORE + call], scores)

    return process


def main() -> None:
    torch.set_num_threads(1)
    for rows in (1, 8):
        read, scores = forward_pass(rows)
        names = ("mirostat:tau=3", "mirostat:tau=5", "mirostat-v2:tau=3", "top_k", "top_p")
        compare(
            f"mirostat_rows_{rows}",
            {
                "forward pass": read,
                **{name: processing(name, scores) for name in names},
            },
            repeats=7,
            in_process=True,
            setting={
                "rows": rows,
                "vocabulary": scores.shape[1],
                "tokens read before": BEFORE,
                "tokens": CALLS,
                "threads": 1,
                "ratio": "share of a forward pass; wanted: below 0.05",
                "top_k, top_p": "transformers' own, k = 50, p = 0.9, for comparison",
            },
            packages=["torch", "transformers"],
        )


if __name__ == "__main__":
    main()
