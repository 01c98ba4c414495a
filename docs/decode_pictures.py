"""The pictures of the methods that decode, a kind after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from samplewise import registry
from samplewise.decode.base import Draft, MaskedSampler, Verifier
from samplewise.decode.feynman_kac import Annealed, FeynmanKac
from samplewise.decode.masked_diffusion import Ancestral
from samplewise.decode.mirostat import SurpriseControl
from samplewise.decode.noising import VarianceExploding, exact_score
from samplewise.decode.optimum import optimal_acceptance
from samplewise.decode.speculative import Speculation
from samplewise.decode.stop_temperature import StopTemperature, stop_probability
from samplewise.errors import UsageError
from samplewise.measure.gaussian_mixture import GaussianMixture
from samplewise.testing.decoders import target_model
from samplewise.testing.masked_laws import KnownLaw, ancestral_law, distance, random_order_law

MINE, OTHER = "#d9480f", "#868e96"
STREAM = 300
COUNTS = (1, 2, 4, 8)
TEXTS, TOKENS = 4, 150


def draw(cls: type[registry.Method], axes: Any) -> str:
    """Draw what a method does; say what is seen, or why there is no picture."""
    pictures: dict[str, Callable[[Any, Any], str]] = {
        "sampler": surprise_of_a_stream,
        "draft": tokens_a_reading,
        "verifier": drafts_accepted,
        "masked sampler": distance_by_calls,
        "corrector": annealed_mixture,
    }
    return pictures[cls.kind](cls(), axes)


def thinking_goes_on(method: Any, axes: Any) -> str:
    """Draw how likely thinking is to go on, where its end has one probability at every token."""
    chance, tokens = 0.02, np.arange(151)
    axes.plot(tokens, (1 - chance) ** tokens, color=OTHER, linewidth=1.5, label="as it is")
    if isinstance(method, StopTemperature):
        for tau, style in ((0.8, "dotted"), (1.25, "solid"), (2.0, "dashed")):
            ended = stop_probability(chance, tau)
            axes.plot(tokens, (1 - ended) ** tokens, MINE, linestyle=style, label=f"tau {tau}")
        said = "by the temperature of the end alone"
    else:
        shortest, longest = 20, 80
        goes_on = np.where(tokens < shortest, 1.0, (1 - chance) ** (tokens - shortest))
        axes.plot(tokens, np.where(tokens < longest, goes_on, 0.0), MINE, label="20 to 80 tokens")
        said = "between two limits"
    axes.set(xlabel="tokens of thinking", ylabel="probability that it goes on")
    axes.legend(frameon=False)
    return f"Thinking whose end has a probability of {chance:.0%} at every token, and {said}."


def surprise_of_a_stream(method: Any, axes: Any) -> str:
    """Draw the mean surprise so far, on a stream of Zipf laws of changing steepness."""
    if not isinstance(method, SurpriseControl):
        return thinking_goes_on(method, axes)
    rng = np.random.default_rng(0)
    ranks = np.log(np.arange(1, 10_001))
    logits = -rng.uniform(1.0, 1.6, STREAM)[:, None] * ranks
    for most in (2, 20, 200):
        means = running(cut_to(logits, most, rng))
        axes.plot(means, color=OTHER, linewidth=1)
        axes.annotate(f"top-k {most}", (STREAM, means[-1]), fontsize=8)
    state, seen = method.start(), []
    for row in logits:
        _, state, drawn = method.step(row, state, rng)
        seen.append(float(drawn.surprise))
    axes.plot(running(np.array(seen)), color=MINE, linewidth=2)
    axes.axhline(method.tau, color=MINE, linewidth=0.8, linestyle="dotted")
    axes.set(xlabel="token", ylabel="mean surprise so far, bits", ylim=(0, 9))
    axes.margins(x=0.18)
    return (
        f"Tokens drawn from Zipf laws whose steepness changes from token to token. A fixed top-k "
        f"takes whatever surprise comes; `{method.name}` keeps to its `tau` (dotted)."
    )


def cut_to(logits: Any, most: int, rng: np.random.Generator) -> Any:
    """Draw with a fixed top-k, and give the surprise of what was drawn."""
    laws = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    kept = laws[:, :most].cumsum(axis=1)
    drawn = (kept < rng.random((len(laws), 1)) * kept[:, -1:]).sum(axis=1)
    return -np.log2(laws[np.arange(len(laws)), drawn])


def running(values: Any) -> Any:
    """Give the mean so far."""
    return values.cumsum() / np.arange(1, len(values) + 1)


def tokens_a_reading(method: Draft, axes: Any) -> str:
    """Draw what each reading of a small model gave, text after text."""
    try:
        speculation = Speculation(target(), method, greedy=True, auto=False)
    except UsageError as error:
        raise UsageError(f"it needs something of yours: {error}") from error
    for text in range(TEXTS):
        found = speculation.decode([0, 40, 50, 60, text], TOKENS)
        given = np.cumsum([step.given for step in found.steps])
        shade = MINE if text == TEXTS - 1 else OTHER
        axes.step(np.arange(1, len(given) + 1), given, color=shade, where="post")
        axes.annotate(f"text {text + 1}", (len(given), given[-1]), fontsize=8, color=shade)
    axes.plot([0, TOKENS], [0, TOKENS], color="black", linestyle="dotted", linewidth=0.8)
    axes.set(xlabel="readings of the model", ylabel="tokens")
    return (
        f"{TEXTS} texts of {TOKENS} tokens of a small random model, one after the other: plain "
        "decoding takes a reading a token (dotted)."
    )


@functools.cache
def target() -> Any:
    """Make the small model once."""
    return target_model()


def drafts_accepted(method: Verifier, axes: Any) -> str:
    """Draw how often the next token is a draft, beside the best that any verifier could do."""
    target, draft = laws()
    counts = [count for count in COUNTS if method.most is None or count <= method.most]
    best = [optimal_acceptance(target, draft, count, method.scheme).rate for count in COUNTS]
    one = float(np.minimum(target, draft).sum())
    axes.plot(COUNTS, best, color="black", linestyle="dotted", label="best for such drafts")
    axes.plot(COUNTS, [one] * len(COUNTS), color=OTHER, label="rejection, one draft")
    rates = [method.acceptance(target, draft, count) for count in counts]
    axes.plot(counts, rates, "o-", color=MINE, label=method.name)
    axes.set(xscale="log", xlabel="drafts a place", ylabel="accepted", xticks=COUNTS)
    axes.set_xticklabels(map(str, COUNTS))
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")
    return (
        f"Two laws over {len(target)} tokens, the draft's a noisy copy of the target's; drafts are "
        f"drawn {method.scheme.replace('-', ' ')}."
    )


@functools.cache
def laws() -> tuple[Any, Any]:
    """Make a target's law and a draft's that resembles it."""
    rng = np.random.default_rng(0)
    logits = rng.gumbel(size=12)
    both = np.exp(np.stack([logits, logits + 1.5 * rng.normal(size=12)]))
    target, draft = both / both.sum(axis=1, keepdims=True)
    return target, draft


def distance_by_calls(method: MaskedSampler, axes: Any) -> str:
    """Draw how far what is drawn is from the law that a model knows, by calls of the model."""
    model = KnownLaw(vocabulary=2, length=5, rng=0, evenness=0.3)
    steps = (1, 2, 4, 8, 16, 32, 64)
    away, calls = [], []
    for number in steps:
        away.append(distance(ancestral_law(model, np.linspace(1, 0, number + 1)), model.law))
        filled = Ancestral(steps=number).fill(model, model.masks(1), 2, rng=0)
        calls.append(max(number, filled.calls))
    mine = method.name == "ancestral"
    axes.plot(calls, away, "o-", color=MINE if mine else OTHER)
    axes.annotate("ancestral", (calls[1], away[1]), (6, 6), textcoords="offset points", fontsize=9)
    if not mine:
        exact = distance(random_order_law(model), model.law)
        axes.plot([5], [exact], "o", color=MINE, markersize=11)
        axes.annotate(method.name, (5, exact), (8, 6), textcoords="offset points", color=MINE)
    axes.set(xscale="log", xlabel="calls of the model, or steps", ylabel="distance from its law")
    return (
        "Texts of five tokens of a law that is known exactly, worked out over all cases: the "
        "distance is total variation. A call a mask is exact; a grid of times is so only with "
        "ever more steps."
    )


def annealed_mixture(_: FeynmanKac, axes: Any) -> str:
    """Draw an annealed mixture: what was meant, and what comes with and without weights."""
    mixture = GaussianMixture.of([0.6, 0.4], [[-2.0], [2.0]], [0.25, 1.0])
    noising, beta = VarianceExploding(0.01, 10.0), 3.0
    line = np.linspace(-4, 4, 801)
    density = np.exp(beta * mixture.log_density(line[:, None]))
    density /= density.sum() * (line[1] - line[0])
    axes.plot(line, density, color="black", linewidth=1, label="meant")
    for correction, color in (("none", OTHER), ("every-step", MINE)):
        method = FeynmanKac(correction=correction, particles=4000, steps=300)
        found = method.sample(exact_score(mixture, noising), Annealed(beta), noising, 1, rng=3)
        axes.hist(
            found.samples[:, 0],
            bins=80,
            range=(-4, 4),
            density=True,
            weights=found.weights,
            histtype="step",
            color=color,
            label="without weights" if correction == "none" else "with weights",
        )
    axes.set(xlabel="x", ylabel="density")
    axes.legend(frameon=False)
    return "A mixture of two Gaussians to the power of 3, from its score and no more."
