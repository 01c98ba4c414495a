"""Only-IF: at a fixed number of examples, how many distinct rules make a model follow new ones.

A decoder of 3 layers is trained from scratch on the string rewriting of the paper, at a smaller
size: 10 letters, inputs of 10, sides of 2, and 40,000 examples that cover 10, 100 or 4,000 rules.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness import Result, reproduce
from samplewise.measure.rewriting import (
    Rule,
    evaluate_rewriting,
    make_examples,
    render,
    rule_counts,
    split_rules,
)

ALPHABET, LENGTH, SIDE = "abcdefghij", 10, 2
TOKENS = {letter: i + 1 for i, letter in enumerate(ALPHABET + ">|=.")}  # 0 pads
NUMBERS = (10, 100, 4_000)


def encode(examples: list[Any]) -> tuple[Any, Any]:
    """Write examples as tokens, and mark those that are to be predicted."""
    import torch

    pairs = [render(one) for one in examples]
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = np.zeros((len(pairs), width), np.int64)
    wanted = np.zeros((len(pairs), width), bool)
    for row, (prompt, answer) in enumerate(pairs):
        text = prompt + answer
        tokens[row, : len(text)] = [TOKENS[letter] for letter in text]
        wanted[row, len(prompt) : len(text)] = True
    return torch.from_numpy(tokens), torch.from_numpy(wanted)


def make_model(seed: int) -> Any:
    """Make a decoder of 3 layers, width 64 and 4 heads."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(TOKENS) + 1,
        n_positions=48,
        n_embd=64,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config)


def train(rules: list[Rule], total: int, steps: int, seed: int) -> Any:
    """Train on a fixed number of examples of these rules, with the loss on the answer alone."""
    import torch

    rng = np.random.default_rng(seed)
    counts = rule_counts(len(rules), total)
    tokens, wanted = encode(make_examples(rules, counts, rng, length=LENGTH, alphabet=ALPHABET))
    model = make_model(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(total, size=128))
        logits = model(tokens[rows]).logits[:, :-1]
        mask = wanted[rows][:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[mask], tokens[rows][:, 1:][mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: Any, rules: list[Rule], count: int, seed: int) -> float:
    """Measure exact matches of greedy answers, one a rule."""
    import torch

    chosen = rules[:count]
    examples = make_examples(chosen, [1] * len(chosen), seed, length=LENGTH, alphabet=ALPHABET)
    prompts = torch.tensor([[TOKENS[letter] for letter in render(one)[0]] for one in examples])
    with torch.inference_mode():
        found = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=LENGTH + 1,
            eos_token_id=TOKENS["."],
        )
    letters = {number: letter for letter, number in TOKENS.items()} | {0: ""}
    answers = [
        "".join(letters[int(token)] for token in row[prompts.shape[1] :]).partition(".")[0]
        for row in found
    ]
    scores = evaluate_rewriting(examples, answers)
    assert isinstance(scores["all"], float)
    return scores["all"]


def wilson(share: float, count: int) -> tuple[float, float, float]:
    """Give a share and its 95% interval by Wilson's score."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return share, max(0.0, middle - half), min(1.0, middle + half)


def run(quick: bool) -> Result:
    """Train on each number of rules, and ask for rules that were not seen."""
    total, steps, tests = (4_000, 6, 10) if quick else (40_000, 2_500, 500)
    how = {"length": SIDE, "alphabet": ALPHABET, "new_strings": False}
    ours: dict[str, dict[str, Any]] = {}
    seen: dict[int, float] = {}
    known: dict[int, float] = {}
    for number in NUMBERS:
        rules, unseen = split_rules(number, tests, 1, **how)
        model = train(rules, total, steps, seed=0)
        seen[number] = accuracy(model, unseen, tests, 2)
        sample = rules[:tests]
        known[number] = accuracy(model, sample, tests, 3)
        ours[f"{number:,} rules"] = {
            "unseen rules": wilson(seen[number], tests),
            "trained rules": wilson(known[number], len(sample)),
        }
    few, some, many = (seen[number] for number in NUMBERS)
    agrees = few < 0.05 < some < many and many > 0.8
    return Result(
        paper="Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization, "
        "arXiv 2410.04717",
        setting=f"{total:,} examples, {len(ALPHABET)} letters, inputs of {LENGTH}, sides of "
        f"{SIDE}; 3 layers, width 64, {steps:,} steps of 128; {tests} unseen pairs, one seed. The "
        "paper: a million examples, 26 letters, inputs of 50, sides of 20; 6 layers, width 256.",
        paper_figures={
            "number of rules": {
                "does not follow unseen rules": {"rules": "below about 300"},
                "follows them, even with few examples a rule": {"rules": "above about 1,000"},
            }
        },
        our_figures={"exact matches": ours},
        agrees=agrees,
        why="By whether few rules give nothing on unseen ones (below 0.05), many give nearly all "
        "(above 0.8), and the number between lies between: "
        + ", ".join(f"{seen[number]:.2f} at {number:,}" for number in NUMBERS)
        + ". Of the rules trained on it has learned "
        + ", ".join(f"{known[number]:.2f}" for number in NUMBERS)
        + ", so that so short a training may hold it back.",
    )


if __name__ == "__main__":
    reproduce("56-only-if", run)
