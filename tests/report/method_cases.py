"""Small comparisons to report on, without running a method."""

from __future__ import annotations

import json

import numpy as np

from samplewise.measure.elimination import Race
from samplewise.report import Run, summarise_methods

FIGURES = {"accuracy": ("Accuracy", "higher"), "loss": ("Log-loss", "lower")}


def contest(means, *, most=5, noise=0.01, seed=0, figures=None, **knobs):
    """Race methods of known means; the last is the random choice."""
    figures = figures or FIGURES
    rng = np.random.default_rng(seed)
    names = list(means)
    higher = next(iter(figures.values()))[1] == "higher"
    race = Race(names, most, baseline=names[-1], higher_is_better=higher, **knobs)
    runs = []
    while asked := race.ask():
        shift = 0.05 * rng.normal()
        values = {name: means[name] + shift + noise * rng.normal() for name in asked}
        runs += [
            Run(race.seeds, name, dict.fromkeys(figures, value), 20, 2.0, 0.5)
            for name, value in values.items()
        ]
        race.tell(values)
    return race, runs


def report_of(means, *, described=None, asked=None, figures=None, **knobs):
    race, runs = contest(means, figures=figures, **knobs)
    given = {
        "pool": "pool.jsonl",
        "rows": 100,
        "held_out": 20,
        "chosen": 5,
        "budget": "5%",
        "proxy": "probe",
        "rng": 0,
        "eliminate": race.eliminate,
        **(asked or {}),
    }
    return summarise_methods(
        race, runs, figures=figures or FIGURES, described=described or {}, asked=given
    )


def write_contest(folder, report, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "command": "compare select",
        "version": "0.0",
        "input": {"path": "pool.jsonl", "rows": 100, "rejected": 0, "hash": "ab" * 32},
        "seconds": {"read": 1.0, "compare": 9.0},
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "report.json").write_text(json.dumps(report, allow_nan=False))
    return folder
