"""Several drafts by optimal transport: tokens a call of the large model (arXiv 2310.15141).

The paper's models are closed. Here the large and the small model are Markov chains over 4 tokens,
and models of characters counted from the help texts that Python ships: the large one sees three
characters, the small one sees one. A block drafts K continuations of L tokens with the small model,
and keeps what one call of the large model allows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.decode.base import Verifier
from samplewise.decode.multi_draft import OptimalMultiDraft
from samplewise.decode.optimal_transport import KSequential, speculative_block
from samplewise.decode.rejection import RecursiveRejection, Rejection

Floats = NDArray[np.float64]
Model = Callable[[tuple[int, ...]], Floats]

PAPER: Mapping[str, Any] = {
    "PaLM-2 Bison with Gecko, LM1B, temperature 1": {
        "one draft": {"block efficiency": 2.9, "wall-clock gain": 1.56},
        "SpecTr, K = 8, L = 8": {"block efficiency": 4.0, "wall-clock gain": 2.13},
    },
}
DESIGN: dict[str, dict[str, Value]] = {  # our own figures when this was designed, of one chain
    "L = 4": {"K = 1": 3.12, "K = 2": 3.63, "K = 4": 4.03, "K = 8": 4.36},
    "L = 8": {"K = 8": 5.64},
}
STATES = 4
SHAPES = ((1, 4), (2, 4), (4, 4), (8, 4), (1, 8), (8, 8))  # K and L
VERIFIERS: Mapping[str, Verifier] = {
    "K-SEQ": KSequential(),
    "recursive rejection": RecursiveRejection(),
    "optimal": OptimalMultiDraft(),
}
SEEN = 3  # characters that the large model of texts sees; the small one sees 1
SMOOTH = 2.0  # how many counts the shorter context is worth


def main(quick: bool) -> Result:
    """Measure chains and texts, and judge them."""
    chains, tokens = (2, 400) if quick else (5, 12_000)
    texts, characters, size = (2, 120, 20_000) if quick else (4, 1_500, 400_000)
    found = [chain_blocks(seed, tokens) for seed in range(chains)]
    text = text_blocks(texts, characters, size)
    agrees, why = judge(found, text)
    return Result(
        paper="SpecTr: Fast Speculative Decoding via Optimal Transport, arXiv 2310.15141",
        setting=("Quick run. " if quick else "")
        + f"{chains} pairs of Markov chains over {STATES} tokens, the small one half the large one "
        f"and half noise, {tokens:,} tokens each; and characters of Python's help texts "
        f"({size:,} of them counted), {texts} runs of {characters:,}. K drafts of L tokens, "
        "verified by K-SEQ unless said otherwise. Mean and 95% interval over pairs or runs. The "
        "paper runs language models, and measures time, which these models do not have.",
        paper_figures=PAPER,
        our_figures={
            "chains, tokens a block": {
                f"L = {length}": {
                    f"K = {count}": interval([one.efficiency[count, length] for one in found])
                    for count, each in SHAPES
                    if each == length
                }
                for length in (4, 8)
            },
            "one pair of chains, when this was designed": DESIGN,
            "chains, transitions against the large one": {
                f"K = {count}, L = {length}": {
                    "least p of a chi-square test": round(
                        min(one.p_value[count, length] for one in found), 4
                    )
                }
                for count, length in SHAPES
            },
            "characters, tokens a block": {
                f"{verifier}, L = {length}": {
                    f"K = {count}": interval(text[verifier, count, length])
                    for name, count, each in text
                    if name == verifier and each == length
                }
                for verifier in ("one draft", *VERIFIERS)
                for length in (4, 8)
            },
        },
        agrees=agrees,
        why=why,
    )


@dataclass
class Blocks:
    """What was measured of one pair of chains, by K and L."""

    efficiency: dict[tuple[int, int], float] = field(default_factory=dict)
    p_value: dict[tuple[int, int], float] = field(default_factory=dict)


def chain_blocks(seed: int, tokens: int) -> Blocks:
    """Measure one pair of chains."""
    from scipy.stats import chisquare

    rng = np.random.default_rng(seed)
    # No transition is so rare that a chi-square test would misjudge it.
    target = 0.9 * rng.dirichlet(np.ones(STATES), STATES) + 0.1 / STATES
    draft = (target + rng.dirichlet(np.ones(STATES), STATES)) / 2
    found = Blocks()
    for shape in SHAPES:
        text, blocks = generate(
            KSequential(),
            lambda context: target[context[-1]],
            lambda context: draft[context[-1]],
            shape,
            (0,),
            tokens,
            rng,
        )
        seen = np.zeros((STATES, STATES))
        np.add.at(seen, (text[:-1], text[1:]), 1)
        expected = seen.sum(axis=1, keepdims=True) * target
        test = chisquare(seen.ravel(), expected.ravel(), ddof=STATES - 1)
        found.efficiency[shape] = (len(text) - 1) / blocks
        found.p_value[shape] = float(test.pvalue)
    return found


def generate(
    verifier: Verifier,
    target: Model,
    draft: Model,
    shape: tuple[int, int],
    start: tuple[int, ...],
    tokens: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], int]:
    """Draw blocks until there are enough tokens; the text with its start, and the blocks."""
    text, blocks = list(start), 0
    while len(text) < len(start) + tokens:
        context = tuple(text[-SEEN:])
        text += speculative_block(verifier, target, draft, context, *shape, rng).tokens
        blocks += 1
    return np.array(text), blocks


def text_blocks(runs: int, characters: int, size: int) -> dict[tuple[str, int, int], list[float]]:
    """Measure models of characters; a verifier, K and L to tokens a block, one value a run."""
    text = help_text(size)
    letters = sorted(set(text))
    codes = np.searchsorted(letters, list(text))
    target, draft = (counted(codes, len(letters), seen) for seen in (SEEN, 1))
    found: dict[tuple[str, int, int], list[float]] = {}
    for run in range(runs):
        rng = np.random.default_rng(run)
        place = int(rng.integers(len(codes) - SEEN))
        start = tuple(codes[place : place + SEEN].tolist())
        for count, length in SHAPES:
            named = VERIFIERS if count > 1 else {"one draft": Rejection()}
            for name, verifier in named.items():
                drawn, blocks = generate(
                    verifier, target, draft, (count, length), start, characters, rng
                )
                tokens = (len(drawn) - SEEN) / blocks
                found.setdefault((name, count, length), []).append(tokens)
    return found


def help_text(size: int) -> str:
    """Give the start of the texts of Python's help, in the order of their names."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    return "".join(letter for letter in text if letter == "\n" or letter.isprintable())[:size]


def counted(codes: NDArray[np.int64], letters: int, seen: int) -> Model:
    """Count what follows the last characters; each longer context leans on the shorter one."""
    tables: list[dict[tuple[int, ...], Floats]] = []
    for length in range(seen + 1):
        table: dict[tuple[int, ...], Floats] = {}
        windows = np.lib.stride_tricks.sliding_window_view(codes, length + 1)
        unique, times = np.unique(windows, axis=0, return_counts=True)
        for window, number in zip(unique.tolist(), times.tolist(), strict=True):
            counts = table.setdefault(tuple(window[:-1]), np.zeros(letters))
            counts[window[-1]] += number
        tables.append(table)

    @functools.cache
    def law(context: tuple[int, ...]) -> Floats:
        shorter = law(context[1:]) if context else np.full(letters, 1 / letters)
        counts = tables[len(context)].get(context)
        if counts is None:
            return shorter
        return np.asarray((counts + SMOOTH * shorter) / (counts.sum() + SMOOTH))

    return lambda context: law(context[len(context) - seen :])


def sign(values: Sequence[float]) -> int:
    """Give 1 where the mean's interval is above 0, -1 where it is below, else 0."""
    _, low, high = interval(values)
    return int(low > 0) - int(high < 0)


def judge(
    chains: Sequence[Blocks], text: Mapping[tuple[str, int, int], Sequence[float]]
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by what the paper shows: more drafts give more tokens a call, and the law holds."""

    def more(one: tuple[int, int], other: tuple[int, int]) -> int:
        gains = [each.efficiency[one] - each.efficiency[other] for each in chains]
        return sign(gains)

    single = ("one draft", 1, 8)
    claims = {
        "tokens a block grow with K, from 1 to 2, 4 and 8, on the chains": min(
            more((2 * count, 4), (count, 4)) for count in (1, 2, 4)
        ),
        "K = 8 is above one draft at L = 8, on the chains": more((8, 8), (1, 8)),
        "and on characters": sign(np.subtract(text["K-SEQ", 8, 8], text[single]).tolist()),
        "8 drafts of 4 are above one of 8, on characters": sign(
            np.subtract(text["K-SEQ", 8, 4], text[single]).tolist()
        ),
        "transitions are those of the large chain, every p above 0.001": (
            1 if min(min(one.p_value.values()) for one in chains) > 0.001 else -1
        ),
    }
    agrees, said = weigh(claims)
    gain = np.mean(text["K-SEQ", 8, 8]) / np.mean(text[single])
    return agrees, (
        f"{said}. The gain of K = 8 over one draft at L = 8 is {gain:.2f} on characters; the "
        "paper's is 1.38, of other models. Time is not measured."
    )


if __name__ == "__main__":
    reproduce("25-spectr", main)
