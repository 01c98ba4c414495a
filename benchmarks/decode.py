"""Speculative decoding on this machine, side by side with plain decoding and with transformers.

Each contestant decodes the same prompts with the built-in model, greedily. Where the size of the
guesses is chosen by their speed, they must not make decoding slower than it is without.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from typing import Any

import torch

import harness
from samplewise.decode.base import Draft
from samplewise.decode.generate import SpeculativeGenerate
from samplewise.models import LanguageModel, load

PROMPTS, NEW, LONGEST = 6, 64, 500


def prompts(lm: LanguageModel, count: int) -> list[list[int]]:
    """Take prompts of all kinds: every so manyth of Spec-Bench's."""
    lines = harness.data_file("spec_bench_questions.jsonl").read_text().splitlines()
    read = [lm.turns([{"role": "user", "content": json.loads(line)["turns"][0]}]) for line in lines]
    short = [tokens for tokens in read if len(tokens) <= LONGEST]
    return short[:: max(1, len(short) // count)][:count]


def generate(
    lm: LanguageModel, asked: list[list[int]], new: int, settings: dict[str, Any]
) -> dict[str, float]:
    """Decode all prompts; give the tokens that came out."""
    made = 0
    for tokens in asked:
        ids = torch.tensor([tokens], device=lm.device)
        found = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new,
            **settings,
        )
        made += found.shape[1] - len(tokens)
    return {"tokens": made}


def speculative(
    fast: SpeculativeGenerate, lm: LanguageModel, asked: list[list[int]], new: int
) -> dict[str, float]:
    """Decode all prompts with guesses; give the tokens a step too."""
    found = generate(lm, asked, new, {"custom_generate": fast})
    steps = sum(len(one.steps) for one in fast.decoded)
    return found | {"tokens_per_step_of_the_last": len(fast.decoded[0].tokens) / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--new", type=int, default=NEW)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    given = parser.parse_args()
    lm = load("builtin")
    asked = prompts(lm, given.prompts)

    def with_draft(draft: str) -> Callable[[], Any]:
        fast = SpeculativeGenerate(Draft.named(draft))
        return functools.partial(speculative, fast, lm, asked, given.new)

    contestants = {
        "plain, in our loop": with_draft("plain"),
        "token recycling, auto": with_draft("token-recycling"),
        "prompt lookup, auto": with_draft("prompt-lookup"),
        "transformers": functools.partial(generate, lm, asked, given.new, {}),
        "transformers, prompt lookup": functools.partial(
            generate, lm, asked, given.new, {"prompt_lookup_num_tokens": 10}
        ),
    }
    report = harness.compare(
        "decode",
        contestants,
        repeats=given.repeats,
        in_process=True,
        setting={
            "prompts": len(asked),
            "new_tokens": given.new,
            "device": lm.device,
            "threads": torch.get_num_threads(),
        },
        packages=["torch", "transformers"],
        results=None,
    )
    plain = report["contestants"]["plain, in our loop"]["median_seconds"]
    report["times_the_plain_speed"] = {
        name: plain / one["median_seconds"] for name, one in report["contestants"].items()
    }
    print(json.dumps(report["times_the_plain_speed"], indent=2))
    known = {key: value for key, value in report.items() if key != "name"}
    harness.record("decode", known, None if given.dry else harness.RESULTS)


if __name__ == "__main__":
    main()
