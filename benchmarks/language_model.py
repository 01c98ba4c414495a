"""The built-in language model on a CPU: how long it takes to be there, to read, and to learn.

The first load unpacks the model into an empty cache; the second finds it there. Each is a process
of its own, with what Python has to import before the clock starts. Then perplexity of T0 rows, and
a short LoRA run on them, as the `lm` proxy of a comparison does it.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import numpy as np

import samplewise as sw
from harness import data_file, in_a_fresh_process, record
from samplewise.models import load, token_log_probabilities
from samplewise.models.finetune import held_out_loss_after_lora

ROWS, HELD_OUT, STEPS, BATCH, MAX_TOKENS = 64, 32, 32, 2, 256


def load_once() -> float:
    """Load the model and run it once; give the seconds, imports left out."""
    import transformers.models.llama.modeling_llama
    import transformers.models.llama.tokenization_llama  # noqa: F401

    started = time.perf_counter()
    token_log_probabilities(load(), ["a text"])
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMPLEWISE_CACHE"] = folder
        first = in_a_fresh_process(load_once)["returned"]
        later = [in_a_fresh_process(load_once)["returned"] for _ in range(5)]
        figures: dict[str, Any] = {"first load, seconds": first, "later loads, seconds": later}
        pool = sw.Pool.read(data_file("t0_instructions.jsonl.gz"))
        rows = np.random.default_rng(0).choice(len(pool), ROWS + HELD_OUT, replace=False)
        texts = pool.texts(rows)
        lm = load()
        started = time.perf_counter()
        found = token_log_probabilities(lm, texts, max_tokens=MAX_TOKENS)
        seconds = time.perf_counter() - started
        tokens = sum(map(len, found))
        figures["perplexity"] = {
            "tokens": tokens,
            "seconds": seconds,
            "tokens a second": tokens / seconds,
        }
        started = time.perf_counter()
        before, after, seen = held_out_loss_after_lora(
            lm, texts[:ROWS], texts[ROWS:], steps=STEPS, batch=BATCH, max_tokens=MAX_TOKENS
        )
        figures["LoRA"] = {
            "steps": STEPS,
            "tokens trained on": seen,
            "held-out loss before": before,
            "held-out loss after": after,
            "seconds": time.perf_counter() - started,
        }
    print(figures)
    record("language_model", figures)


if __name__ == "__main__":
    main()
