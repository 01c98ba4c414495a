"""Whether pruned networks need the weights of the large one (arXiv 1810.05270).

The paper prunes networks for CIFAR and ImageNet in ten ways, and finds that the same small networks
trained from random weights, with as much compute, are as good or better; save where single weights
are pruned on ImageNet. Winning tickets are better than random ones only at a small learning rate.
Here a network of three convolutions is pruned on the digits that scikit-learn ships.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness import Result, Value, interval, reproduce, weigh
from samplewise.train.pruning import (
    Arm,
    LotteryTicket,
    PruneFinetune,
    Pruning,
    ScratchB,
    ScratchE,
    decision_table,
    rethink,
)

Table = dict[str, dict[str, Value]]
Found = dict[str, list[dict[str, float]]]

PAPER: Mapping[str, Any] = {
    "ImageNet, top-1 %": {
        name: dict(zip(("fine-tuned", "Scratch-E", "Scratch-B"), row, strict=True))
        for name, row in {
            "ResNet-34-A, filters by L1 norm": (72.56, 72.77, 73.08),
            "ResNet-34-B, filters by L1 norm": (72.29, 72.55, 72.84),
            "VGG-11, network slimming 50%": (68.62, 70.0, 71.18),
            "VGG-16, single weights 30%": (73.68, 72.75, 74.02),
            "VGG-16, single weights 60%": (73.63, 71.5, 73.42),
            "ResNet-50, single weights 30%": (76.06, 74.77, 75.6),
            "ResNet-50, single weights 60%": (76.09, 73.69, 74.9),
        }.items()
    }
}
POINT = 0.01
WAYS: Mapping[str, dict[str, Any]] = {
    "half of the filters, by L1 norm": {"widths": "32,64,M,64"},
    "half of the channels, network slimming": {
        "widths": "16,32,M,32",
        "criterion": "network-slimming",
        "sparsity": 1e-3,
    },
    "80% of the weights, by magnitude": {
        "widths": "16,32,M,32",
        "criterion": "magnitude",
        "pruned": 0.8,
    },
}
FILTERS, _, WEIGHTS = WAYS
SCRATCH, TICKET = "Scratch-B", "winning ticket"


def main(quick: bool) -> Result:
    """Train all arms, and judge them."""
    steps = 12 if quick else 280
    many, few = (range(2), range(2)) if quick else (range(5), range(3))
    compare = partial(rethink, steps=steps)
    small: dict[str, Any] = {"widths": "4,M,4"} if quick else {}
    found: dict[str, Found] = {}
    for way, knobs in WAYS.items():
        knobs = knobs | small
        arms = arms_of(knobs)
        if way == FILTERS:
            arms |= weak_arms(knobs)
        if way == WEIGHTS:
            arms[TICKET] = LotteryTicket(**knobs)
        found[way] = compare(arms, seeds=many)
    weak = {name: found[FILTERS].pop(name) for name in weak_arms({})}
    slow: dict[str, Any] = {**WAYS[WEIGHTS], **small, "learning_rate": 0.01}
    tickets = {
        0.1: {name: found[WEIGHTS][name] for name in (TICKET, "Scratch-E")},
        0.01: compare({TICKET: LotteryTicket(**slow), "Scratch-E": ScratchE(**slow)}, seeds=few),
    }
    agrees, why = judge(found, tickets, weak)
    return Result(
        paper="Rethinking the Value of Network Pruning, arXiv 1810.05270",
        setting=("Quick run. " if quick else "")
        + "scikit-learn's digits, half to learn from and half for the test; convolutions of "
        "32, 64 and 64 channels for filters, and of half as many for channels and weights, batch "
        f"norm, mean over places, one linear layer; {steps} steps with 64 images each for the "
        "large network, rate 0.1, a tenth after half and again after three quarters, momentum 0.9. "
        "Fine-tuning takes as many steps at the rate 0.01 (the paper: a quarter, at 0.001); "
        "Scratch-B takes twice as many at most. Accuracy after the last step, "
        f"{len(many)} seeds, {len(few)} at the rate 0.01, mean and 95% interval; differences "
        "are paired by seed. The paper trains ResNet, VGG and DenseNet on CIFAR and "
        "ImageNet.",
        paper_figures=PAPER,
        our_figures={
            **{way: arm_table(one, "fine-tuned") for way, one in found.items()},
            "three quarters of the filters, by L1 norm: a weak budget": arm_table(weak, FULL),
            "winning tickets, and random weights under the same masks": {
                f"rate {rate}": {
                    **{name: accuracy(rows) for name, rows in one.items()},
                    "difference": spell(difference(one, TICKET, "Scratch-E")),
                }
                for rate, one in tickets.items()
            },
        },
        agrees=agrees,
        why=why,
    )


def arms_of(knobs: dict[str, Any]) -> dict[str, Pruning]:
    """Make the arms that are compared for one way of pruning."""
    return {
        "fine-tuned": PruneFinetune(finetune=1.0, finetune_rate=0.01, **knobs),
        "Scratch-E": ScratchE(**knobs),
        SCRATCH: ScratchB(cap=2.0, **knobs),
    }


FULL = "fine-tuned, as many steps, rate 0.01"


def weak_arms(knobs: dict[str, Any]) -> dict[str, Pruning]:
    """Make arms that prune more, of which one is tuned too little."""
    knobs = {**knobs, "pruned": 0.75}
    return {
        FULL: PruneFinetune(finetune=1.0, finetune_rate=0.01, **knobs),
        "fine-tuned, a quarter of the steps, rate 0.001": PruneFinetune(**knobs),
        "Scratch-B of three quarters": ScratchB(cap=2.0, **knobs),
    }


# --- tables and judgement -------------------------------------------------------------------------


def accuracy(rows: list[dict[str, float]], name: str = "accuracy") -> Value:
    """Give the mean and its interval."""
    return tuple(round(value, 4) for value in interval([row[name] for row in rows]))


def arm_table(found: Found, first: str) -> Table:
    """Give accuracy and cost of every arm; the difference is from the first one."""
    table: Table = {}
    for name in ("unpruned", "untuned"):
        table[name] = {"accuracy": accuracy(found[first], name)}
    for name, rows in found.items():
        table[name] = {
            "accuracy": accuracy(rows),
            "less the tuned": "" if name == first else spell(difference(found, name, first)),
            "steps in all": round(sum(row["steps"] for row in rows) / len(rows)),
            "operations": f"1/{sum(row['ratio'] for row in rows) / len(rows):.1f}",
        }
    return table


def difference(found: Found, one: str, other: str) -> Arm:
    """Compare two arms, seed by seed."""
    values = {name: [row["accuracy"] for row in found[name]] for name in (one, other)}
    return decision_table(values, against=other)[one]


def spell(arm: Arm) -> Value:
    """Give a difference and its interval."""
    return tuple(round(value, 4) for value in arm.difference)


def judge(
    found: Mapping[str, Found], tickets: Mapping[float, Found], weak: Found
) -> tuple[bool | Any, str]:
    """Judge by the paper's claims."""
    filters = found[FILTERS]
    untuned = max(row["untuned"] for row in filters["fine-tuned"])
    trained = min(row["accuracy"] for rows in filters.values() for row in rows)
    claims = {"without tuning, a pruned network is far below all": 1 if untuned < trained else -1}
    for way, one in found.items():
        _, low, high = difference(one, SCRATCH, "fine-tuned").difference
        claims[f"{way}: Scratch-B is not worse than fine-tuned by a point"] = (
            1 if low > -POINT else -1 if high < -POINT else 0
        )
    _, low, high = difference(tickets[0.1], TICKET, "Scratch-E").difference
    claims["at the rate 0.1 a winning ticket gains nothing (less than a point)"] = (
        1 if high < POINT else -1 if low > 0 else 0
    )
    agrees, said = weigh(claims)
    budgets = "; ".join(f"{name} {interval_text(rows)}" for name, rows in weak.items())
    small = difference(tickets[0.01], TICKET, "Scratch-E").difference
    return agrees, (
        f"{said}. A warning that the card of this work gives: with too small a budget for tuning, "
        f"scratch wins unfairly ({budgets}). At the rate 0.01, where the paper sees tickets gain, "
        f"ours gain {100 * small.mean:.1f} points [{100 * small.low:.1f}, {100 * small.high:.1f}]."
    )


def interval_text(rows: list[dict[str, float]]) -> str:
    """Give an accuracy in percent."""
    mean, low, high = (100 * value for value in interval([row["accuracy"] for row in rows]))
    return f"{mean:.1f}% [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    reproduce("21-rethinking-pruning", main)
