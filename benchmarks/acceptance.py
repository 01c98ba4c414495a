"""The best acceptance of 4 drafts among 50,000 tokens, and what a verifier takes for one token.

The laws are those of Gumbel logits, and of the same logits with noise. The rival is a fixed grid of
600 times for the integral of drafts without replacement, in plain NumPy. Two places are measured:
where every token has its part, and where few have nearly all.
"""

from __future__ import annotations

import functools
import os

import numpy as np

import samplewise as sw
from harness import RESULTS, compare
from samplewise.decode import optimal_acceptance
from samplewise.decode.base import Verifier
from samplewise.decode.optimum import by_surplus
from samplewise.registry import methods

TOKENS = 50_000
COUNT = 4
SPREADS = {"spread": 1.5, "peaked": 4.0}
SCHEMES = ("with-replacement", "without-replacement", "greedy")


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    contestants = {}
    for place, spread in SPREADS.items():
        p, q = laws(spread)
        for scheme in SCHEMES:
            contestants[f"{place}: optimum, {scheme}"] = functools.partial(best, p, q, scheme)
        for cls in methods("decode"):
            if issubclass(cls, Verifier) and not cls.cost.startswith("a linear program"):
                call = functools.partial(one_token, cls(), p, q, np.random.default_rng(0))
                contestants[f"{place}: token, {cls.name}"] = call
        contestants[f"{place}: 600 times in NumPy"] = functools.partial(fixed_grid, p, q)
    compare(
        "acceptance",
        contestants,
        repeats=9,
        in_process=True,
        setting={
            "tokens": TOKENS,
            "drafts": COUNT,
            "target logits": "Gumbel x " + ", ".join(f"{SPREADS[key]} ({key})" for key in SPREADS),
            "draft logits": "the same + N(0, 1)",
            "note": "a token: its drafts are drawn and verified; returned: the rate; "
            "an optimum is meant to take less than 0.05 s",
        },
        packages=["numpy", "numba"],
        results=RESULTS,
    )


def laws(spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Make the law of the next token and that of the drafts."""
    rng = np.random.default_rng(0)
    logits = spread * rng.gumbel(size=TOKENS)
    target = np.exp(logits - logits.max())
    logits = logits + rng.normal(size=TOKENS)
    draft = np.exp(logits - logits.max())
    return target / target.sum(), draft / draft.sum()


def best(p: np.ndarray, q: np.ndarray, scheme: str) -> float:
    return optimal_acceptance(p, q, COUNT, scheme).rate


def one_token(verifier: Verifier, p: np.ndarray, q: np.ndarray, rng: np.random.Generator) -> None:
    count = COUNT if verifier.most is None else min(COUNT, verifier.most)
    verifier.verify(p, q, verifier.draw(q, count, rng), rng)


def fixed_grid(p: np.ndarray, q: np.ndarray) -> float:
    """Sum the integral at 600 times, a token after another."""
    order, _ = by_surplus(p, q)
    logs = np.linspace(-12, 40, 600)
    times, step = np.exp(logs), logs[1] - logs[0]
    few = np.zeros((COUNT, len(times)))
    few[0] = 1.0
    outside = np.append(q[order][::-1].cumsum()[::-1], 0.0)
    least, sums = 0.0, 0.0
    for size, token in enumerate(order[:-1], 1):
        come = -np.expm1(-q[token] * times)
        few[1:] += come * (few[:-1] - few[1:])
        few[0] -= come * few[0]
        sums += p[token]
        weights = outside[size] * times * np.exp(-outside[size] * times)
        least = min(least, sums - 1.0 + step * float(weights @ few.sum(axis=0)))
    return 1.0 + float(least)


if __name__ == "__main__":
    print(f"samplewise {sw.__version__}")
    main()
