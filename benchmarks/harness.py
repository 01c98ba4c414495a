"""Measure one thing against named peers: interleaved repeats in one run, medians and ratios.

Each call runs in a fresh process unless `in_process` is asked for, so that its peak memory is its
own; then the contestants must be importable functions or `functools.partial` of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

import samplewise
from samplewise.files import atomic_write

RESULTS = Path(__file__).parent / "results"


def compare(
    name: str,
    contestants: Mapping[str, Callable[[], Any]],
    *,
    repeats: int = 5,
    in_process: bool = False,
    setting: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
    results: Path | None = RESULTS,
) -> dict[str, Any]:
    """Run every contestant in turn, `repeats` times, print a table and keep it as JSON.

    Parameters
    ----------
    name : str
        What is measured; the file is `benchmarks/results/NAME.json`.
    contestants : mapping of str to callable
        The first is ours: ratios are a contestant's median over its median. What a callable
        returns, if it is a number, text or a mapping of these, is kept under `returned`.
    repeats : int
        Rounds; the order within a round alternates.
    in_process : bool
        Whether to run in this process, after one unmeasured round, without memory figures.
    setting : mapping, optional
        What was measured, in words and numbers (rows, dimensions, ...).
    packages : sequence of str
        Peers, whose versions are kept too.
    results : Path or None
        Folder to write to, or None to write nothing.

    Returns
    -------
    dict
        What is written to the file.
    """
    run = _call if in_process else in_a_fresh_process
    if in_process:
        for function in contestants.values():
            function()
    measured: dict[str, list[dict[str, Any]]] = {key: [] for key in contestants}
    for number in range(repeats):
        order = list(contestants) if number % 2 == 0 else list(reversed(contestants))
        for key in order:
            measured[key].append(run(contestants[key]))
    report = {
        "setting": dict(setting or {}),
        "repeats": repeats,
        "in_process": in_process,
        "contestants": _summaries(measured, with_memory=not in_process),
        "packages": {package: _version(package) for package in packages},
    }
    show(name, report)
    return record(name, report, results)


def record(name: str, figures: Mapping[str, Any], results: Path | None = RESULTS) -> dict[str, Any]:
    """Add hardware and version to figures, and keep them as `benchmarks/results/NAME.json`."""
    report = {
        "name": name,
        **figures,
        "hardware": hardware(),
        "version": samplewise.__version__,
    }
    if results:
        content = orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        atomic_write(results / f"{name}.json", content)
    return report


def data_file(name: str) -> Path:
    """Find a file of the benchmark data, which lies beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
    if not path.exists():
        raise SystemExit(f"this benchmark needs {name} in {path.parent}")
    return path


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print a report as a table."""
    title = f"{name}: median of {report['repeats']}, interleaved"
    table = Table("", "seconds", "from - to", "ratio", "peak MB", title=title)
    for key, one in report["contestants"].items():
        peak = one["peak_mb"]
        table.add_row(
            key,
            f"{one['median_seconds']:.3g}",
            f"{min(one['seconds']):.3g} - {max(one['seconds']):.3g}",
            f"{one['ratio']:.2f}",
            "-" if peak is None else f"{peak:.0f}",
        )
    Console().print(table)


def hardware() -> dict[str, Any]:
    """Name the machine: processor, cores this process may use, memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gb": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def peak_mb() -> float:
    """Give the largest resident size of this process so far, in MB.

    Linux's `ru_maxrss` starts at the parent's peak; the status file does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _summaries(
    measured: Mapping[str, Sequence[Mapping[str, Any]]], *, with_memory: bool
) -> dict[str, dict[str, Any]]:
    medians = {
        key: statistics.median(call["seconds"] for call in calls) for key, calls in measured.items()
    }
    base = next(iter(medians.values()))
    return {
        key: {
            "median_seconds": medians[key],
            "ratio": medians[key] / base,
            "seconds": [call["seconds"] for call in calls],
            "peak_mb": max(call["peak_mb"] for call in calls) if with_memory else None,
            "returned": calls[-1]["returned"],
        }
        for key, calls in measured.items()
    }


def _call(function: Callable[[], Any]) -> dict[str, Any]:
    gc.collect()
    started = time.perf_counter()
    returned = function()
    seconds = time.perf_counter() - started
    kept = returned if isinstance(returned, (int, float, str, dict)) else None
    return {"seconds": seconds, "peak_mb": peak_mb(), "returned": kept}


def in_a_fresh_process(function: Callable[[], Any]) -> dict[str, Any]:
    """Call a function in a new process: seconds, peak memory, and what it returned."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_call, (function,))


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        print(f"{package} is not installed", file=sys.stderr)
        return "not installed"
