"""Run folders: what was asked, what it gave, and how far it came when it was stopped."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import samplewise
from samplewise.errors import InputError, UsageError
from samplewise.files import PART, atomic_write
from samplewise.ledger import Ledger

__all__ = ["FORMAT", "RunFolder", "read_run"]

FORMAT = 1  # of run.json; raise it when a key changes its meaning


class RunFolder:
    """A folder that holds one run; as a context manager it holds the folder's lock.

    Parameters
    ----------
    path : str or Path
        The folder, made if it is not there.
    command : str
        What is run, such as ``"select"``.
    arguments : mapping
        All that decides the result: a folder is resumed only with the same arguments.
    resume : bool
        Whether a run that is there already is taken up again.

    Attributes
    ----------
    finished : bool
        Whether the run was done before.
    record : dict
        What `run.json` holds; `finish` writes it.

    Raises
    ------
    UsageError
        If the folder holds another run or other files, or a process is at work in it.
    """

    def __init__(
        self, path: str | Path, command: str, arguments: Mapping[str, Any], *, resume: bool = False
    ) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file", mend="name a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(f"another process is at work in {self.path}") from None
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "arguments": dict(arguments),
        }
        self.seconds: dict[str, float] = {}
        try:
            self.finished = self._take_up(resume)
        except BaseException:
            self._lock.close()
            raise
        self.ledger = Ledger(self.path / "ledger.sqlite")

    def _take_up(self, resume: bool) -> bool:
        for part in self.path.glob(f".*{PART}"):
            part.unlink()
        if (self.path / "run.json").exists():
            before = read_run(self.path)
            if not resume:
                raise UsageError(
                    f"{self.path} holds a run already",
                    mend="name another folder with --out, or add --resume",
                )
            _same_arguments(before["arguments"], self.record["arguments"], self.path)
            self.record = before
            return bool(before["state"] == "done")
        if any(child.name != ".lock" for child in self.path.iterdir()):
            raise UsageError(f"{self.path} is not empty", mend="name another folder with --out")
        self.write_json("run.json", self.record | {"state": "running"})
        return False

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def write_json(self, name: str, content: Any) -> None:
        """Write a file of the run as JSON."""
        import orjson

        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        atomic_write(self.path / name, orjson.dumps(content, option=options) + b"\n")

    def note(self, **facts: Any) -> None:
        """Add facts to `run.json`; the run goes on."""
        spent = self.ledger.spent() | {"seconds": round(sum(self.seconds.values()), 3)}
        self.record |= {
            "version": samplewise.__version__,
            **facts,
            "seconds": self.seconds,
            "spent": spent,
            "state": "running",
        }
        self.write_json("run.json", self.record)

    def finish(self) -> None:
        """Say in `run.json` that the run is done: the last write of all."""
        self.record["state"] = "done"
        self.write_json("run.json", self.record)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ledger.close()
        self._lock.close()


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read the `run.json` of a run folder.

    Raises
    ------
    InputError
        If there is none, it is broken, or a later version wrote it.
    """
    import orjson

    path = Path(folder) / "run.json"
    if not path.exists():
        raise InputError("is not a run folder: it has no run.json", file=str(folder))
    try:
        record: dict[str, Any] = orjson.loads(path.read_bytes())
        later = record["format"] > FORMAT
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"is not a run record: {error}", file=str(path)) from error
    if later:
        raise InputError(
            "was written by a later version", file=str(path), mend="pip install -U samplewise"
        )
    return record


def _same_arguments(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        listed = "; ".join(
            f"{key} was {before.get(key)!r}, now {now.get(key)!r}" for key in sorted(changed)
        )
        raise UsageError(
            f"{path} holds a run with other arguments: {listed}",
            mend="resume with the same arguments, or name another folder",
        )
