"""Many short jobs in few sandboxes, each in a process of its own.

Use it where a sandbox a program would cost more than the programs. A job that hangs, dies, or kills
what runs it, loses its own result alone: the others are run again where they must be. Jobs of one
sandbox are a user's own to the kernel, and share its folder: one made to attack the others may
disturb them, though it reaches nothing outside; `most` = 1 keeps them apart.

Cost: one sandbox for `most` jobs, and one fork a job.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from samplewise.errors import UsageError
from samplewise.verify.sandbox import Sandbox, libraries, map_runs, python_command

__all__ = ["run_many"]

# Runs inside the sandbox. Whatever a job writes goes to a pipe of its own, and is read until its
# time is over; nothing of the family is dumpable, so that none opens the pipes of another.
_SERVE = """
import contextlib, ctypes, json, os, resource, select, signal, sys, time
asked = json.load(sys.stdin.buffer)
sys.path += asked["path"]
ours, null = os.dup(1), os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
with contextlib.suppress(AttributeError):  # Linux alone has it
    ctypes.CDLL(None).prctl(4, 0)

def say(value):
    data = json.dumps(value).encode() + b"\\n"
    while data:
        data = data[os.write(ours, data):]

def one(job, out):
    os.setpgid(0, 0)
    os.close(ours)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    data = json.dumps(work(job)).encode()
    while data:
        data = data[os.write(out, data):]

def collect(pipe, until):
    data = b""
    while len(data) <= asked["largest"]:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        part = os.read(pipe, 65536)
        if not part:
            return data.decode("utf-8", "replace")
        data += part
    return None

def serve():
    say("ready")
    for job in asked["jobs"]:
        pipe, out = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(pipe)
                one(job, out)
            finally:
                os._exit(0)
        os.close(out)
        found = collect(pipe, time.monotonic() + asked["seconds"])
        os.close(pipe)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        say(found)
"""


def run_many(
    source: str,
    jobs: Sequence[Any],
    *,
    sandbox: Sandbox | None = None,
    seconds: float = 2.0,
    most: int = 64,
    largest: int = 1 << 16,
    stop: threading.Event | None = None,
) -> list[Any]:
    """Do jobs in the sandbox, and give what came of each.

    Parameters
    ----------
    source : str
        Python that defines ``work(job)``; it is run once a sandbox, before the jobs.
    jobs : sequence
        What JSON can hold.
    sandbox : Sandbox, optional
        Its limits hold for each job, but those of time and output.
    seconds : float
        For one job, of wall time.
    most : int
        Jobs a sandbox.
    largest : int
        Bytes of one result, as JSON.
    stop : Event, optional
        Ends all when it is set.

    Returns
    -------
    list
        What ``work`` gave; None where it raised, was too slow, too large, or died. It comes from a
        program that nobody has read: its shape is not to be trusted.

    Raises
    ------
    UsageError
        Without bubblewrap, or if a number makes no sense.

    Examples
    --------
    >>> run_many("def work(job): return 12 / job", [3, 0, 4])
    [4.0, None, 3.0]
    """
    if not 0 < seconds < math.inf or most < 1 or largest < 1:
        raise UsageError(
            f"seconds {seconds}, most {most}, largest {largest}", mend="give more than 0"
        )
    box = sandbox or Sandbox()
    parts = [jobs[start : start + most] for start in range(0, len(jobs), most)]

    def run(part: Sequence[Any]) -> list[Any]:
        return _run_part(source, part, box, seconds, largest, stop)

    return [result for results in map_runs(run, parts) for result in results]


def _run_part(
    source: str,
    jobs: Sequence[Any],
    sandbox: Sandbox,
    seconds: float,
    largest: int,
    stop: threading.Event | None,
) -> list[Any]:
    """Go on in a new sandbox after the job that ended one."""
    command = python_command(f"{source}\n{_SERVE}\nserve()")
    results: list[Any] = []
    while len(results) < len(jobs) and not (stop is not None and stop.is_set()):
        left = jobs[len(results) :]
        asked = {"jobs": left, "seconds": seconds, "largest": largest, "path": libraries()}
        limits = replace(
            sandbox.limits,
            seconds=sandbox.limits.seconds + seconds * len(left),
            cpu_seconds=sandbox.limits.cpu_seconds + math.ceil(seconds),
            output=4096 + 8 * largest * len(left),  # written as JSON twice
        )
        ran = replace(sandbox, limits=limits).run(command, json.dumps(asked).encode(), stop=stop)
        ready, *told = ran.stdout.split(b"\n")[:-1] or [b""]
        if ready != b'"ready"' and ran.status != "cancelled":
            said = ran.stderr.decode(errors="replace").strip()[-300:]
            raise UsageError(
                f"no program can be run: {said or ran.status}",
                mend="see whether bubblewrap works here, and raise the limits of the sandbox",
            )
        results += [_read(line) for line in told[: len(left)]]
        if len(told) < len(left):
            results.append(None)
    return results + [None] * (len(jobs) - len(results))


def _read(line: bytes) -> Any:
    try:
        text = json.loads(line)
        return None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
