"""Speculative decoding on this machine, side by side with plain decoding and with transformers.

Each contestant decodes the same prompts with the built-in model, greedily, and other prompts in
every round: a draft that learns must not know the texts already. Where the size of the guesses is
chosen by their speed, they must not make decoding slower than it is without.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import torch

import harness
from samplewise.decode.generate import SpeculativeGenerate
from samplewise.models import LanguageModel, load

PROMPTS, NEW, LONGEST = 4, 64, 400


def prompts(lm: LanguageModel, rounds: int, count: int) -> list[list[list[int]]]:
    """Take prompts of all kinds for every round: every so manyth of Spec-Bench's."""
    lines = harness.data_file("spec_bench_questions.jsonl").read_text().splitlines()
    read = [lm.turns([{"role": "user", "content": json.loads(line)["turns"][0]}]) for line in lines]
    short = [tokens for tokens in read if len(tokens) <= LONGEST]
    chosen = short[:: max(1, len(short) // (rounds * count))]
    return [chosen[number::rounds][:count] for number in range(rounds)]


def generate(
    lm: LanguageModel, rounds: Iterator[list[list[int]]], new: int, settings: dict[str, Any]
) -> dict[str, float]:
    """Decode the prompts of a round; give the tokens that came out."""
    made = 0
    for tokens in next(rounds):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--new", type=int, default=NEW)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    given = parser.parse_args()
    lm = load("builtin")
    asked = prompts(lm, 1 + given.repeats, given.prompts)

    def contestant(**settings: Any) -> Callable[[], Any]:
        return functools.partial(generate, lm, iter(asked), given.new, settings)

    contestants = {
        "plain, in our loop": contestant(custom_generate=SpeculativeGenerate("plain")),
        "token recycling, auto": contestant(custom_generate=SpeculativeGenerate("token-recycling")),
        "prompt lookup, auto": contestant(custom_generate=SpeculativeGenerate("prompt-lookup")),
        "transformers": contestant(),
        "transformers, prompt lookup": contestant(prompt_lookup_num_tokens=10),
    }
    report = harness.compare(
        "decode",
        contestants,
        repeats=given.repeats,
        in_process=True,
        setting={
            "prompts_a_round": given.prompts,
            "new_tokens": given.new,
            "device": lm.device,
            "threads": torch.get_num_threads(),
        },
        packages=["torch", "transformers"],
        results=None,
    )
    report["times_the_plain_speed"] = {
        name: 1 / one["ratio"] for name, one in report["contestants"].items()
    }
    print(json.dumps(report["times_the_plain_speed"], indent=2))
    known = {key: value for key, value in report.items() if key != "name"}
    harness.record("decode", known, None if given.dry else harness.RESULTS)


if __name__ == "__main__":
    main()
