"""Token Recycling (arXiv 2408.08696): tokens a step, and text that is plain decoding's.

A made-up model shows how the table fills: its next token depends on the last one, and, as far as a
knob says, on the two before. The full run reads Spec-Bench prompts with the built-in model of 135M
parameters in place of Vicuna, and holds every draft to the text of `generate`.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import LlamaConfig
from transformers.modeling_outputs import CausalLMOutput

from harness import DATA, Result, Value, reproduce
from samplewise.decode.draft_model import DraftModel
from samplewise.decode.plain import Plain
from samplewise.decode.prompt_lookup import PromptLookup
from samplewise.decode.speculative import Decoded, Speculation
from samplewise.decode.token_recycling import TokenRecycling
from samplewise.models import LanguageModel, load

PAPER = {
    "Spec-Bench, Vicuna 7B": {
        "Token Recycling": {"speed-up": "2.03", "tokens a step (leaderboard)": "2.73"},
        "prompt lookup": {"speed-up (leaderboard)": "1.66", "tokens a step (leaderboard)": "1.75"},
        "plain decoding": {"tokens a step": "1"},
    }
}
WORDS, TOKENS = 500, 150  # of the made-up model
MEMORY, TEXTS = (0.0, 1.0), 4
EXACT, EACH, NEW, LONGEST = 40, 6, 64, 500  # prompts compared; of a category; tokens
LAYERS = 10  # of the smaller model: the first ones of the built-in one


def main(quick: bool) -> Result:
    """Let the table fill, and in the full run read Spec-Bench."""
    figures: dict[str, Any] = {"Made-up model: tokens a step, text after text": made_up()}
    agrees: bool | Literal["not comparable"] = "not comparable"
    why = "the made-up model alone was run, and its text was plain decoding's."
    if not quick:
        found, agrees, why = spec_bench()
        figures |= found
    return Result(
        paper="Turning Trash into Treasure: Accelerating Inference of Large Language Models with "
        "Token Recycling, arXiv 2408.08696",
        setting=("Quick run, without a language model. " if quick else "")
        + f"Made-up model of {WORDS} tokens, {TEXTS} texts of {TOKENS} tokens. Full run: "
        "SmolLM2-135M-Instruct in float32 on a CPU in place of Vicuna 7B to 33B in float16 on an "
        f"A100; up to {EACH} Spec-Bench prompts of each category that have at most {LONGEST} "
        f"tokens, {NEW} new tokens each, categories by turns, greedy; the whole tree of 80 nodes "
        "is read at every step, and the table is kept from prompt to prompt. Speed is measured "
        "elsewhere: on this CPU reading 81 tokens takes far longer than reading one.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees=agrees,
        why=why,
    )


# --- a made-up model ------------------------------------------------------------------------------


def made_up() -> dict[str, dict[str, Value]]:
    """Give the tokens a step of one text after the other, where more or less memory is needed."""
    table: dict[str, dict[str, Value]] = {}
    for memory in MEMORY:
        model = Remembering(memory)
        speculation = Speculation(model, TokenRecycling(), greedy=True, auto=False)
        row: dict[str, Value] = {}
        for text in range(TEXTS):
            found = speculation.decode([text, text + 7, text + 11], TOKENS)
            plain = Speculation(model, Plain(), greedy=True)
            assert found.tokens == plain.decode([text, text + 7, text + 11], TOKENS).tokens
            row[f"text {text + 1}"] = round(found.tokens_per_step, 2)
        table[f"weight of the two tokens before the last: {memory:g}"] = row
    return table


class Remembering(torch.nn.Module):
    """Logits by the last token, and noise of a given size by the last three.

    The tokens and their places are kept where a transformer keeps keys and values, so that the mask
    says which three are the last ones on a token's own branch.
    """

    def __init__(self, memory: float) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.table = torch.from_numpy(rng.gumbel(size=(WORDS, WORDS)))
        self.memory = memory
        self.config = LlamaConfig(vocab_size=WORDS, num_hidden_layers=1)
        self.dtype, self.device = torch.float64, torch.device("cpu")

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        cache: Any = None,
        use_cache: Any = None,
    ) -> CausalLMOutput:
        """Give the logits after each token."""
        held = (input_ids, position_ids)
        words, places = cache.update(*(one[:, None, :, None].double() for one in held), 0)
        words, places = words[0, 0, :, 0].long(), places[0, 0, :, 0].long()
        new = input_ids.shape[1]
        logits = self.table[input_ids[0]].clone()
        for row, place in enumerate(position_ids[0].tolist()) if self.memory else ():
            last = len(words) - new + row + 1
            seen = torch.arange(len(words)) < last
            if attention_mask is not None:
                seen = attention_mask[0, 0, row] == 0
            near = words[seen & (places > place - 3)].tolist()
            noise = np.random.default_rng(near).gumbel(size=WORDS)
            logits[row] += self.memory * torch.from_numpy(noise)
        return CausalLMOutput(logits=logits[None])


# --- Spec-Bench -----------------------------------------------------------------------------------


def spec_bench() -> tuple[dict[str, Any], bool, str]:
    """Read prompts with the built-in model: the same text by every draft, and tokens a step."""
    lm = load("builtin")
    asked = prompts(lm)
    with tempfile.TemporaryDirectory() as folder:
        small = smaller(lm, folder)
        drafts = {
            "Token Recycling": TokenRecycling(),
            "prompt lookup": PromptLookup(),
            f"its own first {LAYERS} layers": DraftModel(model=small, length=3),
            "its own first layers, a tree": DraftModel(model=small, length=2, branches="3 2"),
        }
        reading = {
            name: Speculation(lm.model, draft, greedy=True, ends=lm.ends, auto=False)
            for name, draft in drafts.items()
        }
        same = dict.fromkeys(drafts, 0)
        by_category: dict[str, list[Decoded]] = defaultdict(list)
        of_draft: dict[str, list[Decoded]] = defaultdict(list)
        for place, (category, tokens) in enumerate(asked):
            for name, speculation in reading.items():
                if place >= EXACT and name != "Token Recycling":
                    continue
                found = speculation.decode(tokens, NEW)
                of_draft[name].append(found)
                if name == "Token Recycling":
                    by_category[category].append(found)
                if place < EXACT:
                    same[name] += found.tokens == by_itself(lm, tokens)
    return judged(same, of_draft, by_category)


def judged(
    same: Mapping[str, int],
    of_draft: Mapping[str, Sequence[Decoded]],
    by_category: Mapping[str, Sequence[Decoded]],
) -> tuple[dict[str, Any], bool, str]:
    """Put the figures together, and hold them against the paper's claims."""
    mine = of_draft["Token Recycling"]
    part = len(mine) // 4
    mean = per_step(mine)
    lookup = per_step(of_draft["prompt lookup"])
    figures = {
        f"Texts that are those of generate, of {EXACT}": {
            name: {"same": count} for name, count in same.items()
        },
        "Tokens a step": {
            name: {"all prompts": round(per_step(found), 3)} for name, found in of_draft.items()
        }
        | {
            "Token Recycling, by the table's age": {
                "first quarter of the prompts": round(per_step(mine[:part]), 3),
                "last quarter": round(per_step(mine[-part:]), 3),
            }
        },
        "Token Recycling, tokens a step by category": {
            category: {"tokens a step": round(per_step(found), 3), "prompts": len(found)}
            for category, found in sorted(by_category.items())
        },
    }
    exact = all(count == EXACT for count in same.values())
    why = (
        f"{'all' if exact else 'not all'} texts are those of plain decoding; Token Recycling gives "
        f"{mean:.2f} tokens a step and prompt lookup {lookup:.2f}, where the paper's larger model "
        "has 2.73 and 1.75."
    )
    return figures, exact and mean > lookup, why


def per_step(found: Sequence[Decoded]) -> float:
    """Give the tokens that a reading of the model gave in the mean."""
    return sum(len(one.tokens) for one in found) / sum(len(one.steps) for one in found)


def prompts(lm: LanguageModel) -> list[tuple[str, list[int]]]:
    """Read prompts that are not too long, a category after the other by turns."""
    by_category: dict[str, list[list[int]]] = defaultdict(list)
    for line in (DATA / "spec_bench_questions.jsonl").read_text().splitlines():
        row = json.loads(line)
        tokens = lm.turns([{"role": "user", "content": row["turns"][0]}])
        if len(tokens) <= LONGEST and len(by_category[row["category"]]) < EACH:
            by_category[row["category"]].append(tokens)
    return [
        (category, found[turn])
        for turn in range(EACH)
        for category, found in by_category.items()
        if turn < len(found)
    ]


def by_itself(lm: LanguageModel, tokens: list[int]) -> list[int]:
    """Decode with transformers alone."""
    ids = torch.tensor([tokens])
    found = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW
    )
    return list(found[0, len(tokens) :].tolist())


def smaller(lm: LanguageModel, folder: str) -> str:
    """Save the first layers of a model as a model of its own."""
    config = type(lm.model.config).from_dict(
        {**lm.model.config.to_dict(), "num_hidden_layers": LAYERS, "layer_types": None}
    )
    model = type(lm.model)(config)
    model.load_state_dict({name: lm.model.state_dict()[name] for name in model.state_dict()})
    model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(Path(folder))


if __name__ == "__main__":
    reproduce("09-token-recycling", main)
