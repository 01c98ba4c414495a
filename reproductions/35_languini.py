"""Language models at equal accelerator time (arXiv 2309.11197).

The paper trains a transformer and a quasi-LSTM on books for 6 to 96 hours of one RTX 3090 each: the
hours are turned into steps by the throughput that each design has there. The transformer is better
at every level; the quasi-LSTM improves faster, and would overtake it near 50,000 hours. Here the
published numbers of steps and parameters are computed anew, and small models of both kinds, and a
plain LSTM, are trained on a made source for seconds of one core.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.compute_class import (
    Contender,
    Run,
    ScalingLaw,
    at_equal_steps,
    at_equal_time,
    crossing,
    fit_scaling,
    measure_throughput,
    normalised_metrics,
    steps_for,
)
from samplewise.models.sizes import SIZES, Size, gpt_parameters, quasi_lstm_parameters
from samplewise.train.document_streams import DocumentStreams

Table = dict[str, dict[str, Value]]

CLASSES = {  # class: (size, batch size, tokens a second, steps) of the best run of each design
    "GPT 6 h": ("small", 128, 55_416, 18_265.0),
    "GPT 12 h": ("small", 128, 55_416, 36_529.0),
    "GPT 24 h": ("small", 256, 55_416, 36_529.0),
    "GPT 48 h": ("medium", 256, 16_618, 21_908.0),
    "GPT 96 h": ("medium", 256, 16_618, 43_817.0),
    "quasi-LSTM 6 h": ("mini", 80, 94_781, 49_982.0),
    "quasi-LSTM 12 h": ("tiny", 80, 36_930, 38_950.0),
    "quasi-LSTM 24 h": ("small", 84, 11_143, 22_385.0),
    "quasi-LSTM 48 h": ("small", 80, 11_143, 47_010.0),
    "quasi-LSTM 96 h": ("small", 160, 11_143, 47_010.0),
}
PARAMETERS = {
    "mini": 27_549_696.0,
    "tiny": 53_912_064.0,
    "small": 110_615_040.0,
    "medium": 336_390_144.0,
    "large": 731_077_632.0,
    "XL": 1_478_160_384.0,
}
PAPER: Mapping[str, Any] = {
    "steps of the best runs": {name: {"steps": row[3]} for name, row in CLASSES.items()},
    "parameters": {name: {"GPT": value} for name, value in PARAMETERS.items()},
    "trend": {
        "GPT": {"test perplexity": "better at all levels"},
        "quasi-LSTM": {
            "test perplexity": "falls faster; the laws meet near 50,000 hours",
            "speed": "about 10 times that of a plain LSTM",
        },
    },
}
TOKENS, FIRST = 16, 3  # of the source; tokens 0 to 2 are padding, none, and the end of a document
BATCH, LENGTH = 16, 64
SIZE = Size(layers=2, width=32, heads=4, head_width=8, block=4)  # short blocks: one core
RATES = {"high": 6e-3, "low": 6e-5, "warm_up": 20}


class Source(NamedTuple):
    """A source whose next token depends on the two before.

    Attributes
    ----------
    laws : ndarray of float64, shape (TOKENS, TOKENS, TOKENS)
    documents, test : list of ndarray of int64
    """

    laws: NDArray[np.float64]
    documents: list[NDArray[np.int64]]
    test: list[NDArray[np.int64]]

    def entropy(self) -> float:
        """Give the nats of a test token under the source's own law."""
        total = sum(
            float(-np.log(self.laws[one[:-2], one[1:-1], one[2:]]).sum())
            for one in (document - FIRST for document in self.test)
        )
        return total / sum(len(one) - 2 for one in self.test)


def main(quick: bool) -> Result:
    """Compute the published tables, train the small models, and judge them."""
    import torch

    torch.set_num_threads(1)
    seconds = (0.1, 0.2) if quick else (1.5, 3.0, 6.0)
    source = make_source(40_000 if quick else 400_000)
    speeds = throughputs(rounds=3 if quick else 20)
    seeds = range(1) if quick else range(2)
    hours = [value / 3600 for value in seconds]
    by_time: dict[str, list[Run]] = {name: [] for name in speeds}
    by_steps: dict[str, list[Run]] = {name: [] for name in speeds}
    common = round(seconds[0] / 2 * speeds["GPT"] / (BATCH * LENGTH))
    for seed in seeds:
        contenders = {
            name: Contender(speed, BATCH, LENGTH, partial(trained, name, source, seed))
            for name, speed in speeds.items()
        }
        for found, runs in (
            (by_time, at_equal_time(contenders, hours)),
            (by_steps, at_equal_steps(contenders, [common])),
        ):
            for name in runs:
                found[name] += runs[name]
    laws = {
        name: fit_scaling(
            [run.hours * 3600 for run in runs],
            [run.perplexity for run in runs],
            floor=source.entropy(),
        )
        for name, runs in by_time.items()
    }
    agrees, why = judge(by_time, by_steps, laws, speeds)
    return Result(
        paper="The Languini Kitchen: Enabling Language Modelling Research at Different Scales of "
        "Compute, arXiv 2309.11197",
        setting=("Quick run. " if quick else "")
        + f"A source of {TOKENS} tokens whose law depends on the two tokens before, "
        f"{np.exp(source.entropy()):.3f} its own perplexity; {sum(map(len, source.documents)):,} "
        f"tokens to train on. Models of {SIZE.layers} layers, width {SIZE.width}, windows of "
        f"{LENGTH} tokens, {BATCH} a step, Adam with rates from {RATES['high']} to {RATES['low']} "
        f"(ten times the paper's), trained for {', '.join(f'{one:g}' for one in seconds)} seconds "
        "of one core each, by the throughput that was measured first (in processor time), "
        f"{len(seeds)} seeds; mean and 95% interval. One token is one character, so that "
        "perplexity and normalised perplexity are one. The law is fitted to the loss above the "
        "source's own. The paper trains for 6 to 96 hours on books, and prints no perplexity that "
        "could be read.",
        paper_figures=PAPER,
        our_figures={
            "steps of the best runs": {
                name: {"steps": steps_of(name), "parameters": parameters_of(name)}
                for name in CLASSES
            },
            "parameters": {
                name: {"GPT": gpt_parameters(size), "quasi-LSTM": quasi_lstm_parameters(size)}
                for name, size in SIZES.items()
            },
            "perplexity at equal time": run_table(by_time),
            f"perplexity at {common} steps": {
                name: {
                    "perplexity": perplexities([run.perplexity for run in runs]),
                    "seconds": round(runs[0].hours * 3600, 1),
                }
                for name, runs in by_steps.items()
            },
            "throughput and law": {
                name: {
                    "tokens a second": round(speeds[name]),
                    "slope": (round(law.slope, 3), *(round(end, 3) for end in law.interval)),
                }
                for name, law in laws.items()
            },
        },
        agrees=agrees,
        why=why,
    )


def steps_of(name: str) -> int:
    """Compute the steps of a published run."""
    _, batch, speed, _ = CLASSES[name]
    return steps_for(float(name.split()[-2]), speed, batch)


def parameters_of(name: str) -> int:
    """Compute the parameters of a published run."""
    count = gpt_parameters if name.startswith("GPT") else quasi_lstm_parameters
    return count(SIZES[CLASSES[name][0]])


# --- models on a made source ----------------------------------------------------------------------


def make_source(tokens: int) -> Source:
    """Draw a source and its texts."""
    random = np.random.default_rng(0)
    laws = random.dirichlet(np.full(TOKENS, 0.3), size=(TOKENS, TOKENS))
    sums = laws.cumsum(axis=2)
    length = 1000
    table = np.zeros((tokens // length + 10, length), np.int64)
    table[:, :2] = random.integers(TOKENS, size=(len(table), 2))
    for place in range(2, length):
        rows = sums[table[:, place - 2], table[:, place - 1]]
        drawn = (rows < random.random(len(table))[:, None]).sum(axis=1)
        table[:, place] = np.minimum(drawn, TOKENS - 1)
    documents = list(table + FIRST)
    return Source(laws, documents[10:], documents[:10])


def make_model(name: str, seed: int) -> Any:
    """Make a model with new weights."""
    from samplewise.models.gpt import GPT
    from samplewise.models.quasi_lstm import QuasiLSTM

    if name == "GPT":
        return GPT(SIZE, FIRST + TOKENS, LENGTH, rng=seed)
    return QuasiLSTM(SIZE, FIRST + TOKENS, rng=seed, recurrent=name == "plain LSTM")


def throughputs(rounds: int) -> dict[str, float]:
    """Measure every design on random tokens, in processor time: others may be at work here."""
    from samplewise.train.stream_training import adam, stream_step

    random = np.random.default_rng(0)
    documents = [random.integers(FIRST, FIRST + TOKENS, LENGTH + 1) for _ in range(BATCH)]
    window = DocumentStreams(documents, BATCH, LENGTH).window(0)
    speeds = {}
    for name in ("GPT", "quasi-LSTM", "plain LSTM"):
        model = make_model(name, 0)
        step = partial(stream_step, model, adam(model), window)
        speeds[name] = measure_throughput(
            step, BATCH, LENGTH, warm_up=2, rounds=rounds, clock=time.process_time
        ).tokens_per_second
    return speeds


def trained(name: str, source: Source, seed: int, steps: int) -> float:
    """Train a model for some steps, and give its perplexity on the test documents."""
    from samplewise.train.stream_training import score_on_streams, train_on_streams

    model = make_model(name, seed)
    train_on_streams(
        model,
        DocumentStreams(source.documents, BATCH, LENGTH, repeat=True),
        steps,
        high=RATES["high"],
        low=RATES["low"],
        warm_up=int(RATES["warm_up"]),
    )
    score = score_on_streams(model, DocumentStreams(source.test, len(source.test), LENGTH))
    return normalised_metrics(score.total, score.tokens, score.tokens).normalised_perplexity


# --- tables and judgement -------------------------------------------------------------------------


def perplexities(values: list[float]) -> Value:
    """Give the mean and its interval; alone, one value."""
    if len(values) == 1:
        return round(values[0], 4)
    return tuple(round(value, 4) for value in interval(values))


def of_class(runs: list[Run]) -> dict[float, list[Run]]:
    """Sort runs by their class, in hours."""
    return {hours: [r for r in runs if r.hours == hours] for hours in {r.hours: 0 for r in runs}}


def run_table(found: Mapping[str, list[Run]]) -> Table:
    """Give perplexity and steps of every class."""
    return {
        name: {
            column: value
            for hours, runs in of_class(all_runs).items()
            for column, value in (
                (f"{hours * 3600:g} s", perplexities([run.perplexity for run in runs])),
                (f"steps, {hours * 3600:g} s", runs[0].steps),
            )
        }
        for name, all_runs in found.items()
    }


def judge(
    by_time: Mapping[str, list[Run]],
    by_steps: Mapping[str, list[Run]],
    laws: Mapping[str, ScalingLaw],
    speeds: Mapping[str, float],
) -> tuple[bool | Any, str]:
    """Judge by what the paper says, and by the published tables."""
    exact = all(steps_of(name) == row[3] for name, row in CLASSES.items()) and all(
        gpt_parameters(SIZES[name]) == value for name, value in PARAMETERS.items()
    )
    baselines = ("GPT", "quasi-LSTM")
    means = {
        name: [float(np.mean([run.perplexity for run in runs])) for runs in of_class(all_).values()]
        for name, all_ in by_time.items()
    }
    falls = all((np.diff(means[name]) < 0).all() for name in baselines)
    better = [one < other for one, other in zip(*(means[name] for name in baselines), strict=True)]
    met = crossing(laws["quasi-LSTM"], laws["GPT"])
    steeper = 1 if met.share > 0.975 else -1 if met.share < 0.025 else 0
    ratio = speeds["quasi-LSTM"] / speeds["plain LSTM"]
    agrees, said = weigh(
        {
            "all 10 published numbers of steps and all 6 of parameters come out": 1
            if exact
            else -1,
            "the perplexity of both baselines falls with every class": 1 if falls else -1,
            "GPT is better than the quasi-LSTM in every class": 1
            if all(better)
            else -1
            if not any(better)
            else 0,
            "the quasi-LSTM's law is the steeper one": steeper,
        }
    )
    ranks = {
        title: " < ".join(sorted(values, key=values.__getitem__))
        for title, values in (
            ("equal time", {name: value[0] for name, value in means.items()}),
            (
                "equal steps",
                {name: np.mean([r.perplexity for r in runs]) for name, runs in by_steps.items()},
            ),
        )
    }
    return agrees, (
        f"{said}. The two laws meet at {met.hours:.3g} s [{met.low:.3g}, {met.high:.3g}]; "
        f"the quasi-LSTM is {ratio:.1f} times as fast as the plain LSTM here. By perplexity in the "
        f"shortest class, at equal time {ranks['equal time']}; at equal steps "
        f"{ranks['equal steps']}. The source looks back two tokens and no further: a recurrence is "
        "made for that, and attention must learn to find them, so the order of the two here says "
        "nothing of books."
    )


if __name__ == "__main__":
    reproduce("35-languini", main)
