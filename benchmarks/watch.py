"""Run a command and watch the memory it holds."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["watched"]


def watched(command: Sequence[str]) -> dict[str, float]:
    """Run a command; give its seconds, and its highest memory in MB.

    `resident_mb` counts all pages; `private_mb` leaves out those of mapped files.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    resident = private = 0
    while process.poll() is None:
        status = _status(process.pid)
        resident = max(resident, status.get("VmHWM", 0))
        private = max(private, status.get("RssAnon", 0) + status.get("RssShmem", 0))
        time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 2),
        "resident_mb": round(resident / 1024),
        "private_mb": round(private / 1024),
    }


def _status(pid: int) -> dict[str, int]:
    """Read the sizes in kB that Linux keeps for a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith("kB"))
    return {name.rstrip(":"): int(size) for name, size, _ in pairs}
