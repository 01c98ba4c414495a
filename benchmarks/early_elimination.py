"""Early elimination against a fixed number of seeds for every method, by simulation.

Eight methods with known means race; the noise of a value has standard deviation 1. An error is a
pick that is worse than the best by more than the indifference. For each scenario the race's error
rate is measured, then the fixed number of seeds that has the same error rate is found (not whole:
between two counts, a mixture of both), and what both spend is compared. The rival knows how many
seeds it takes, which no user does; the race has to find out. The scenarios where that costs more
than it saves are shown as well.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from harness import record
from samplewise.measure.elimination import Race, critical, per_look

RACES = 40_000
CHECKED = 60  # races that are run through the library's own class as well
ALPHA = 0.05
MEANS = {
    "even steps of 0.5": np.arange(8) * -0.5,
    "even steps of 1": np.arange(8) * -1.0,
    "even steps of 2": np.arange(8) * -2.0,
    "best by 1, the rest alike": np.r_[0.0, np.full(7, -1.0)],
    "two good (0.5 apart), six poor": np.r_[0.0, -0.5, np.full(6, -3.0)],
    "four good (0.5 apart), four poor": np.r_[0.0, -0.5, -1.0, -1.5, np.full(4, -4.0)],
    "hard: even steps of 0.2": np.arange(8) * -0.2,
    "hard: best by 0.3, the rest alike": np.r_[0.0, np.full(7, -0.3)],
    "all alike": np.zeros(8),
}


@dataclass(frozen=True)
class Scenario:
    """What is raced: means, the most seeds, and the difference that does not matter."""

    name: str
    most: int
    indifference: float = 0.0

    @property
    def means(self) -> NDArray[np.float64]:
        """True means; the noise has standard deviation 1."""
        return MEANS[self.name]


SCENARIOS = [
    *(Scenario(name, most) for name in MEANS if name != "all alike" for most in (5, 10, 20)),
    Scenario("even steps of 0.5", 20, 0.75),
    Scenario("hard: even steps of 0.2", 20, 0.5),
    Scenario("all alike", 20),
    Scenario("all alike", 20, 0.5),
]


def main() -> None:
    started = time.perf_counter()
    rows = [measure(scenario) for scenario in SCENARIOS]
    figures = {
        "setting": {
            "methods": 8,
            "noise": 1.0,
            "alpha": ALPHA,
            "races": RACES,
            "checked against the library's class": CHECKED,
        },
        "scenarios": rows,
        "seconds": round(time.perf_counter() - started, 1),
    }
    show(rows)
    record("early_elimination", figures)


def measure(scenario: Scenario) -> dict[str, Any]:
    """Race, and find what a fixed number of seeds spends at the same error rate."""
    means, methods = scenario.means, len(scenario.means)
    bounds = critical_values(methods, scenario.most)
    picks, spent, lost, decided = races()(
        means, scenario.most, bounds, scenario.indifference, RACES, 1
    )
    check(scenario, bounds)
    wrong = means[picks] < means.max() - scenario.indifference - 1e-9
    error, spend = float(wrong.mean()), float(spent.mean())
    row = {
        "scenario": scenario.name,
        "most_seeds": scenario.most,
        "indifference": scenario.indifference,
        "error": error,
        "best_eliminated": float(lost.mean()),
        "decided": float(decided.mean()),
        "mean_spend": spend,
        "share_of_most": spend / (methods * scenario.most),
    }
    if not (means < means.max() - scenario.indifference - 1e-9).any():
        # No pick can be wrong, so that no seed at all has the same error rate.
        return row | {"fixed_seeds": None, "fixed_spend": None, "ratio": None, "interval": None}
    low, high = wilson(int(wrong.sum()), RACES)
    fixed = functools.partial(fixed_seeds, scenario.means, scenario.indifference)
    seeds, most, fewest = fixed(max(error, 1 / RACES)), fixed(max(low, 0.3 / RACES)), fixed(high)
    slack = 1.96 * float(spent.std()) / math.sqrt(RACES)
    return row | {
        "fixed_seeds": seeds,
        "fixed_spend": methods * seeds,
        "ratio": spend / (methods * seeds),
        "interval": [(spend - slack) / (methods * most), (spend + slack) / (methods * fewest)],
    }


def fixed_seeds(means: NDArray[np.float64], indifference: float, error: float) -> float:
    """Find how many seeds for every method give this error rate, perhaps between two counts."""
    above = 0.0, fixed_error(means, indifference, 0)
    for count in [*range(1, 60), *range(60, 1000, 20)]:
        found = fixed_error(means, indifference, count)
        if found <= error:
            # A rival may draw one count or the other at random.
            share = (above[1] - error) / max(above[1] - found, 1e-12)
            return above[0] + min(share, 1.0) * (count - above[0])
        above = float(count), found
    raise AssertionError(f"no count of seeds up to 1000 errs {error}")


def fixed_error(means: NDArray[np.float64], indifference: float, seeds: int) -> float:
    """Integrate the error rate of picking the best of the means of `seeds` seeds."""
    from scipy.special import ndtr, ndtri

    wrong = means < means.max() - indifference - 1e-9
    if not seeds:
        return float(wrong.mean())
    # The pick is right if one that is right has the highest mean: over its noise z, all the others
    # are below it.
    z = ndtri((np.arange(4_000) + 0.5) / 4_000)
    gaps = math.sqrt(seeds) * (means[:, None] - means)  # one that is right minus each
    total = 0.0
    for i in np.flatnonzero(~wrong):
        below = ndtr(z[:, None] + np.delete(gaps[i], i))
        total += float(below.prod(axis=1).mean())
    return max(0.0, 1 - total)


def critical_values(methods: int, most: int) -> NDArray[np.float64]:
    """Give the margins of the race in standard errors, by degrees of freedom."""
    level = per_look("best", methods, most, ALPHA, most - 1)
    freedoms = range(1, (methods - 1) * (most - 1) + 1)
    return np.array([np.inf, *(critical("best", methods, freedom, level) for freedom in freedoms)])


def check(scenario: Scenario, bounds: NDArray[np.float64]) -> None:
    """Run races both in this file's loop and through the library's class: they must agree."""
    picks, spent, _, _ = races()(
        scenario.means, scenario.most, bounds, scenario.indifference, CHECKED, 2
    )
    noise = draws()(CHECKED * scenario.most * 8, 2)
    used = 0
    names = [str(i) for i in range(8)]
    for pick, cost in zip(picks.tolist(), spent.tolist(), strict=True):
        race = Race(
            names, scenario.most, alpha=ALPHA, indifference=scenario.indifference, floor=0.0
        )
        while asked := race.ask():
            values = {
                name: scenario.means[int(name)] + noise[used + i] for i, name in enumerate(asked)
            }
            race.tell(values)
            used += len(asked)
        assert (int(race.leader), race.spent) == (pick, cost), scenario


@functools.cache
def draws() -> Callable[..., NDArray[np.float64]]:
    """Compile what draws the noise that `races` draws."""
    import numba

    @numba.njit(cache=True)
    def draw(count, seed):  # type: ignore[no-untyped-def]
        np.random.seed(seed)  # noqa: NPY002 - numba's own generator
        found = np.empty(count)
        for i in range(count):
            found[i] = np.random.normal()  # noqa: NPY002
        return found

    return draw


@functools.cache
def races() -> Callable[..., Any]:
    """Compile the loop over races, spread pooled."""
    import numba

    @numba.njit(cache=True)
    def run(means, most, bounds, indifference, count, seed):  # type: ignore[no-untyped-def]
        np.random.seed(seed)  # noqa: NPY002
        methods = len(means)
        best = means.max()
        picks = np.empty(count, np.int64)
        spent = np.zeros(count, np.int64)
        lost = np.zeros(count, np.bool_)
        decided = np.zeros(count, np.bool_)
        for race in range(count):
            running = np.ones(methods, np.bool_)
            average = np.zeros(methods)
            squares, freedom = 0.0, 0
            for seeds in range(1, most + 1):
                total, total2, left = 0.0, 0.0, 0
                for i in range(methods):
                    if running[i]:
                        gap = means[i] + np.random.normal() - average[i]  # noqa: NPY002
                        average[i] += gap / seeds
                        total, total2, left = total + gap, total2 + gap * gap, left + 1
                spent[race] += left
                leader = -1
                for i in range(methods):
                    if running[i] and (leader < 0 or average[i] > average[leader]):
                        leader = i
                if seeds == 1:
                    continue
                squares += (seeds - 1) / seeds * (total2 - total * total / left)
                freedom += left - 1
                margin = bounds[freedom] * np.sqrt(squares / freedom * 2 / seeds)
                done = True
                for i in range(methods):
                    if running[i] and i != leader:
                        if average[leader] - average[i] > margin:
                            running[i] = False
                            if means[i] == best:
                                lost[race] = True
                        elif average[i] - average[leader] + margin > indifference:
                            done = False
                if done:
                    decided[race] = True
                    break
            picks[race] = leader
        return picks, spent, lost, decided

    return run


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Give Wilson's 95% interval of a share."""
    share, z2 = hits / count, 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = 1.96 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(middle - half, 0.0), middle + half


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    columns = ("scenario", "most", "indiff.", "error", "spend", "of most", "fixed", "ratio")
    table = Table(*columns, title="early elimination: spend against fixed seeds at one error rate")
    for row in rows:
        ratio = "-"
        if row["ratio"] is not None:
            low, high = row["interval"]
            ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        table.add_row(
            row["scenario"],
            str(row["most_seeds"]),
            f"{row['indifference']:g}",
            f"{row['error']:.4f}",
            f"{row['mean_spend']:.1f}",
            f"{row['share_of_most']:.2f}",
            "-" if row["fixed_spend"] is None else f"{row['fixed_spend']:.1f}",
            ratio,
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
