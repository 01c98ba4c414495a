"""Mirostat holds the surprise of a text at a target (arXiv 2007.14966).

The paper continues texts with GPT-2, and so does the built-in model here, at three targets. A model
of three words with back-off, learnt from the texts that Python's own help is made of, shows how
repetition goes with surprise; a stream of Zipf's laws shows the loop alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, reproduce
from samplewise.decode.base import Sampler
from samplewise.decode.mirostat import MirostatV2
from samplewise.decode.samplers import PLAIN, make_processors
from samplewise.measure.surprise import repetition_percent, truncated_cross_entropy

Array = NDArray[Any]
Table = dict[str, dict[str, Value]]

PAPER: Mapping[str, Table] = {
    "GPT-2 (117M), 200 tokens after one context, from the published notebook": {
        "top-k, k = 3": {"bits a token, four runs": "1.9 to 2.4"},
        "top-p, p = 0.3": {"bits a token, four runs": "1.0 to 1.5"},
        "Mirostat, tau = 0.5": {"bits a token, one run": 0.66},
    },
    "claims": {
        "Mirostat": {"claim": "the observed rate stays at tau, whatever the length"},
        "small k or p": {"claim": "surprise falls with length, and repetition rises"},
        "repetition": {
            "claim": "nearly linear in the cross-entropy, nearly whatever the sampling method"
        },
    },
}
TAUS = (2.0, 3.0, 5.0)
LENGTH = 500
CLOSE = 0.05
"""Share of the target that a rate may be off."""
PROMPT = (
    "The lighthouse had stood at the end of the pier for more than a hundred years. Every evening "
    "the keeper climbed the stairs, lit the lamp and wrote one line in his book. Last winter,"
)
ROWS = 2  # texts of each setting
WATCH = MirostatV2(tau=1.0, eta=1e-9, mu0=1e9, mu_max=math.inf)
"""Cuts nothing, and keeps a trace: how surprising what other samplers draw is."""
STREAM_TAUS = (2.0, 3.0, 4.0, 5.0)
STREAM_EXPECTED = {  # our own runs when this was designed
    "mirostat, eta 1": "2.08, 3.00, 3.99, 4.98",
    "mirostat, eta 0.1": "2.26, 3.08, 4.01, 4.94",
    "mirostat-v2, eta 1": "2.07, 3.00, 3.99, 4.98",
    "mirostat-v2, eta 0.1": "2.12, 3.04, 3.99, 4.93",
}


@dataclass(frozen=True)
class Sampled:
    """One text: its tokens, and a number of bits for each.

    How surprising it was, how surprising the likeliest one would have been, and how surprising one
    from the full law would have been on average: what the model could supply at that place.
    """

    tokens: Sequence[int]
    surprise: Array
    least: Array
    most: Array
    high: float
    """Share of the tokens drawn with so high a limit that nearly all might come."""

    def rates(self) -> tuple[float, float, float]:
        """Give the rate of all of it, and of its first and last fifth."""
        fifth = len(self.surprise) // 5
        parts = (self.surprise, self.surprise[:fifth], self.surprise[-fifth:])
        whole, first, last = (float(part.mean()) for part in parts)
        return whole, first, last

    def supplies(self, tau: float) -> bool:
        """Say whether a rate of `tau` lies within what the model could supply, off its edges."""
        return bool(self.least.mean() * (1 + CLOSE) < tau < self.most.mean() * (1 - CLOSE))

    def hits(self, tau: float) -> bool:
        """Say whether the rate is close to a target."""
        return bool(abs(self.surprise.mean() / tau - 1) <= CLOSE)


def main(quick: bool) -> Result:
    """Run the stream, the model of words and the built-in model, and judge them."""
    words = word_model(seeds=2 if quick else 4, length=150 if quick else LENGTH)
    texts = {} if quick else language_model()
    agrees, why = judge(words, texts)
    figures: dict[str, Table] = {
        "stream of Zipf's laws, mean observed rate": stream(
            vocabulary=2_000 if quick else 50_000, seeds=2 if quick else 5
        ),
        "model of three words": rate_table(words),
        "model of three words, single texts": target_table(words),
    }
    if texts:
        figures["built-in model (SmolLM2-135M-Instruct)"] = rate_table(texts)
        figures["built-in model, single texts"] = target_table(texts)
    return Result(
        paper="Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity, "
        "arXiv 2007.14966",
        setting=("Quick run. " if quick else "")
        + "Stream: 200 steps, the exponent uniform in [1.0, 1.6] at each, vocabulary "
        + ("2,000, 2 seeds" if quick else "50,000, 5 seeds")
        + ". Words: interpolated back-off (Witten-Bell) on the topics of Python's help, texts of "
        + ("150 words, 2 seeds" if quick else f"{LENGTH} words, 4 seeds")
        + ". "
        + (
            f"Built-in model: {ROWS} texts of {LENGTH} tokens of each setting after one short "
            "prompt, the tokens that end a text suppressed. "
            if texts
            else ""
        )
        + "Bits a token: mean over texts, and the mean of the first and of the last fifth of each. "
        "n-gram %: n-grams that had occurred before. Limit high: tokens drawn while nearly all "
        "might come. Supplied: mean surprise of the likeliest token, and of plain sampling, at the "
        "places of the text; within: whether the target lies there. "
        "The paper runs GPT-2 and GPT-2 XL, and has texts rated by people, which is not repeated "
        "here.",
        paper_figures=PAPER,
        our_figures=figures,
        agrees=agrees,
        why=why,
    )


# --- a stream of Zipf's laws ----------------------------------------------------------------------


def stream(vocabulary: int, seeds: int, steps: int = 200) -> Table:
    """Run both versions on laws whose exponent changes at every step; a batch row is a seed."""
    logs = np.log(np.arange(1, vocabulary + 1))
    table: Table = {}
    for name, expected in STREAM_EXPECTED.items():
        version, _, eta = name.partition(", eta ")
        row: dict[str, Value] = {}
        for tau in STREAM_TAUS:
            method = Sampler.named(f"{version}:tau={tau}:eta={eta}")
            rng = np.random.default_rng(0)
            state, surprises = method.start(seeds), []
            for _ in range(steps):
                logits = -rng.uniform(1.0, 1.6, (seeds, 1)) * logs
                _, state, drawn = method.step(logits, state, rng)
                surprises.append(drawn.surprise)
            row[f"tau {tau:g}"] = round(float(np.mean(surprises)), 2)
        table[name] = {**row, "expected": expected}
    exponents = np.random.default_rng(0).uniform(1.0, 1.6, 40)
    for k, bits in ((5, "2.9"), (20, "3.7"), (100, "4.5"), (1000, "5.4")):
        rates = [truncated_cross_entropy(np.exp(-s * logs), top_k=k) for s in exponents]
        table[f"top-k, k = {k}"] = {"whatever is wanted": round(float(np.mean(rates)), 2)}
        table[f"top-k, k = {k}"]["expected"] = bits
    return table


# --- a model of three words -----------------------------------------------------------------------


class Words:
    """The law of the next word after two, mixed with those after one and after none."""

    def __init__(self, text: str) -> None:
        words = re.findall(r"[A-Za-z']+|[.,;:?!]", text)
        known = {word: number for number, word in enumerate(dict.fromkeys(words))}
        self.ids = [known[word] for word in words]
        self.size = len(known)
        self._after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for place, word in enumerate(self.ids):
            for order in (1, 2):
                if place >= order:
                    self._after[tuple(self.ids[place - order : place])][word] += 1
        # One more of each, so that every word can come.
        counts = np.bincount(self.ids, minlength=self.size) + 1.0
        self._single = counts / counts.sum()

    def law(self, words: Sequence[int]) -> Array:
        """Mix by Witten-Bell: a context counts by its words against its kinds of words."""
        law = self._single.copy()
        for order in (1, 2):
            found = self._after.get(tuple(words[-order:]))
            if found:
                total, kinds = found.total(), len(found)
                law *= kinds / (total + kinds)
                law[list(found)] += np.array(list(found.values())) / (total + kinds)
        return law


def word_settings() -> dict[str, dict[str, Any]]:
    """Name every setting that is run on the model of words, with what makes its processors."""
    found: dict[str, dict[str, Any]] = {}
    for k in (3, 10, 30, 100):
        found[f"top-k, k = {k}"] = {"top_k": k}
    for p in (0.3, 0.6, 0.9):
        found[f"top-p, p = {p}"] = {"top_p": p}
    found["plain sampling"] = {}
    for name in ("mirostat", "mirostat-v2"):
        for tau in (2.0, 3.0, 4.0):
            found[f"{name}, tau = {tau:g}"] = {"extra": [f"{name}:tau={tau}"]}
    return found


def word_model(seeds: int, length: int) -> dict[str, list[Sampled]]:
    """Write texts with the model of words by every setting."""
    from pydoc_data.topics import topics

    model = Words(" ".join(topics.values()))
    return {
        name: [write(model, settings, length, seed) for seed in range(seeds)]
        for name, settings in word_settings().items()
    }


def write(model: Words, settings: Mapping[str, Any], length: int, seed: int) -> Sampled:
    """Write one text."""
    import torch

    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(model.ids) - 2))
    words = model.ids[place : place + 2]
    processors = make_processors(**settings)
    bits = []
    for _ in range(length):
        law = model.law(words)
        scores = processors(torch.tensor([words]), torch.from_numpy(np.log(law))[None])
        weights = scores[0].softmax(-1).numpy()
        words.append(int(rng.choice(model.size, p=weights / weights.sum())))
        bits.append((-math.log2(law[words[-1]]), -math.log2(law.max()), -(law @ np.log2(law))))
    return Sampled(words[2:], *np.array(bits).T, high=high_share(processors, words))


def high_share(processors: Any, words: Sequence[int]) -> float:
    """Say at what share of the tokens the limit was high; 0 where there is none."""
    import torch

    if not (processors and hasattr(processors[-1], "trace")):
        return 0.0
    return float(processors[-1].trace(torch.tensor([words]))[0].saturated.mean())


# --- the built-in model ---------------------------------------------------------------------------


def model_settings() -> dict[str, dict[str, Any]]:
    """Name every setting that is run on the built-in model."""
    found: dict[str, dict[str, Any]] = {
        "top-k, k = 3": {"top_k": 3},
        "top-p, p = 0.3": {"top_p": 0.3},
        "plain sampling": {},
    }
    for name in ("mirostat", "mirostat-v2"):
        for tau in TAUS:
            found[f"{name}, tau = {tau:g}"] = {"extra": [f"{name}:tau={tau}"]}
    return found


def language_model() -> dict[str, list[Sampled]]:
    """Continue one prompt by all settings in one batch, each row with processors of its own."""
    import torch
    from transformers import LogitsProcessor

    from samplewise.models import load

    lm = load("builtin")
    settings = model_settings()
    rows = [
        [WATCH.processor(), *make_processors(**one)]
        for one in settings.values()
        for _ in range(ROWS)
    ]

    supply = []

    class Routed(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            logs = scores.log_softmax(-1)
            supply.append(torch.stack([-logs.amax(-1), torch.special.entr(logs.exp()).sum(-1)]))
            found = []
            for row, processors in enumerate(rows):
                ids, one = input_ids[row : row + 1], scores[row : row + 1]
                for processor in processors:
                    one = processor(ids, one)
                found.append(one)
            return torch.cat(found)

    prompt = torch.tensor(lm.tokens([PROMPT])).repeat(len(rows), 1)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        sequences = lm.model.generate(
            prompt.to(lm.device),
            attention_mask=torch.ones_like(prompt).to(lm.device),
            max_new_tokens=LENGTH,
            suppress_tokens=sorted(lm.ends),
            pad_token_id=min(lm.ends),
            logits_processor=[Routed()],
            **PLAIN,
        ).cpu()
    texts = []
    least_most = torch.stack(supply, dim=-1).permute(1, 0, 2).cpu().numpy() / math.log(2)
    for row, processors, (least, most) in zip(sequences, rows, least_most, strict=True):
        [trace] = processors[0].trace(row[None])
        tokens = row[prompt.shape[1] :].tolist()
        high = high_share(processors[1:], row.tolist())
        texts.append(Sampled(tokens, trace.surprise, least, most, high))
    return {name: texts[ROWS * place : ROWS * (place + 1)] for place, name in enumerate(settings)}


# --- tables and judgement -------------------------------------------------------------------------


def mean(texts: Sequence[Sampled], n: int) -> float:
    """Give the mean repetition percentage."""
    return float(np.mean([repetition_percent(text.tokens, n) for text in texts]))


def rate_table(found: Mapping[str, Sequence[Sampled]]) -> Table:
    """Give rates and repetition of every setting."""
    table: Table = {}
    for name, texts in found.items():
        whole, first, last = zip(*(text.rates() for text in texts), strict=True)
        table[name] = {
            "bits a token": round(float(np.mean(whole)), 3),
            "first fifth": round(float(np.mean(first)), 2),
            "last fifth": round(float(np.mean(last)), 2),
            "1-gram %": round(mean(texts, 1), 1),
            "2-gram %": round(mean(texts, 2), 1),
            "6-gram %": round(mean(texts, 6), 1),
            "limit high %": round(100 * float(np.mean([text.high for text in texts])), 1),
        }
    return table


def target_table(found: Mapping[str, Sequence[Sampled]]) -> Table:
    """Give the rate of each text that had a target, and what the model could supply along it."""
    return {
        f"{name}, text {number}": {
            "bits a token": round(float(text.surprise.mean()), 3),
            "off the target, %": round(100 * (float(text.surprise.mean()) / tau - 1), 2),
            "supplied": f"{text.least.mean():.2f} to {text.most.mean():.2f}",
            "within": "yes" if text.supplies(tau) else "no",
        }
        for name, tau, number, text in aimed(found)
    }


def aimed(found: Mapping[str, Sequence[Sampled]]) -> list[tuple[str, float, int, Sampled]]:
    """List the texts that had a target: setting, target, number and text."""
    return [
        (name, tau, number, text)
        for name, texts in found.items()
        if (tau := target(name)) is not None
        for number, text in enumerate(texts, start=1)
    ]


def target(name: str) -> float | None:
    """Read the target from a setting's name."""
    _, tau, value = name.partition("tau = ")
    return float(value) if tau else None


def line(found: Mapping[str, Sequence[Sampled]]) -> float:
    """Give the correlation of rate and repetition over all settings."""
    rates = [np.mean([text.rates()[0] for text in texts]) for texts in found.values()]
    return float(np.corrcoef(rates, [mean(texts, 1) for texts in found.values()])[0, 1])


def judge(
    words: Mapping[str, Sequence[Sampled]], texts: Mapping[str, Sequence[Sampled]]
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims: true if all hold for the language model, if it was run."""
    judged: list[bool] = []
    notes = []
    for model, found in {"model of words": words, "built-in model": texts}.items():
        if not found:
            continue
        within = [(tau, text) for _, tau, _, text in aimed(found) if text.supplies(tau)]
        hit = sum(text.hits(tau) for tau, text in within)
        correlation = line(found)
        small = {name: mean(found[name], 2) for name in ("top-k, k = 3", "top-p, p = 0.3")}
        held = mean(found["mirostat-v2, tau = 3"], 2)
        judged = [hit == len(within), correlation < -0.9, min(small.values()) > held]
        notes.append(
            f"{model}: {hit} of the {len(within)} texts whose target the model could supply are "
            f"within {CLOSE:.0%} of it (of {len(aimed(found))} with a target); correlation of bits "
            f"a token and repeated tokens over all samplers {correlation:.3f}; repeated pairs "
            f"{', '.join(f'{name} {v:.0f}%' for name, v in small.items())}, Mirostat at 3 bits "
            f"{held:.0f}%"
        )
    return all(judged), (
        f"{'. '.join(notes)}. Judged, by the built-in model where it was run, by three claims: "
        "rates at the target, repetition that falls with surprise nearly in a line (correlation "
        "below -0.9), and more repetition with small k or p. A target can be supplied where it "
        "lies between the mean surprise of the likeliest token and that of plain sampling along "
        f"the text, and {CLOSE:.0%} from either."
    )


if __name__ == "__main__":
    reproduce("46-mirostat", main)
