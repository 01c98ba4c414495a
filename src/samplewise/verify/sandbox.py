"""Run programs that nobody has read: without network, without the disk, within limits.

Each run gets fresh namespaces from bubblewrap: no network, a read-only system without the home
folder, an empty folder of limited size, no environment and no privileges. A filter refuses the
calls with which a program could take memory that no limit counts, or make namespaces of its own.
What is left is held by limits of the kernel, and by a monitor that adds up the memory and the
processes of the whole family, cuts the output, and ends everything when the time is over.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, TypeAlias, TypeVar

from samplewise.engine.local import cores
from samplewise.errors import UsageError

__all__ = [
    "Limits",
    "Ran",
    "Running",
    "Sandbox",
    "Status",
    "drive",
    "libraries",
    "map_runs",
    "python_command",
]

T = TypeVar("T")
R = TypeVar("R")

Status: TypeAlias = Literal[
    "ok", "failed", "timeout", "memory", "processes", "output", "killed", "cancelled"
]
"""How a run ended: by itself with exit code 0 or another, because a limit was passed, because a
signal ended it, or because nobody waits for it any more."""

BOX = "/box"
"""The one folder that can be written to."""

POLL = 0.05
"""Seconds between two looks at memory and processes."""

_MIB = 1 << 20
_INSTALL = "apt-get install bubblewrap, or dnf install bubblewrap; Homebrew has none (Linux only)"


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Parameters
    ----------
    seconds : float
        Of wall time; then all of it is killed.
    cpu_seconds : int
        Of processor time, each process.
    memory : int
        Bytes of address space, each process.
    total_memory : int
        Bytes that all its processes hold together.
    processes : int
        Processes and threads at one time.
    output : int
        Bytes of standard output and errors together; whoever writes more is killed.
    disk : int
        Bytes in the folder that it may write to.
    file_size : int
        Bytes of one file.
    open_files : int
        Descriptors, each process.

    Examples
    --------
    >>> Limits(seconds=2.0).processes
    16
    """

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory: int = 768 * _MIB
    total_memory: int = 768 * _MIB
    processes: int = 16
    output: int = 1 * _MIB
    disk: int = 32 * _MIB
    file_size: int = 16 * _MIB
    open_files: int = 64

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise UsageError(f"limit {name} is {getattr(self, name)}", mend="give more than 0")


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run.

    Attributes
    ----------
    status : Status
        How it ended.
    exit_code : int
        128 + signal where a signal ended it.
    stdout, stderr : bytes
        As much as the limit allows.
    seconds : float
        Of wall time.
    """

    status: Status
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.status == "ok"


# Started inside, before the program: gives up root where there is any, sets the limits, and becomes
# the program. A user id of its own makes the kernel count the processes of this run alone.
_START = """
import os, resource, sys
uid, nproc, cpu, memory, size, files = map(int, sys.argv[1:7])
if uid:
    os.setgroups([])
    for one in (uid, 65534):
        try:
            os.setresgid(one, one, one)
            os.setresuid(one, one, one)
            break
        except OSError:
            if one == 65534:
                raise
    assert 0 not in os.getresuid() + os.getresgid() and not os.getgroups()
for name, soft, hard in (
    ("CORE", 0, 0),
    ("CPU", cpu, cpu + 1),
    ("FSIZE", size, size),
    ("NOFILE", files, files),
    ("NPROC", nproc, nproc),
    ("MSGQUEUE", 0, 0),
    ("MEMLOCK", 0, 0),
    ("STACK", 8 << 20, 8 << 20),
    ("AS", memory, memory),
):
    which = getattr(resource, "RLIMIT_" + name, None)
    if which is not None:
        most = resource.getrlimit(which)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(which, (soft, hard))
os.umask(0o077)
if sys.argv[7] != "-":
    os.execv(sys.argv[7], sys.argv[7:])
def become(source, arguments, names, builtins):
    sys.argv[:] = ["-c", *arguments]
    names.clear()
    names.update(__name__="__main__", __builtins__=builtins)
    exec(compile(source, "<string>", "exec"), names)
become(sys.argv[8], sys.argv[9:], globals(), __builtins__)
"""

_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": BOX,
    "TMPDIR": BOX,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Address space is limited, and these would reserve much of it.
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

_uids = itertools.count(os.getpid() % 10_000 * 1_000)


class Running:
    """A run under way; `drive` sees it to its end.

    Parameters
    ----------
    process : Popen
        With pipes, a session of its own.
    limits : Limits
        What it may use.
    stdin : bytes
        What it is given to read.
    """

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, stdin: bytes) -> None:
        self.process = process
        self.limits = limits
        self.started = time.monotonic()
        self.status: Status | None = None
        self.ended: float | None = None
        self._stdin = memoryview(stdin)
        self._out: dict[int, bytearray] = {}
        self._pipes: dict[int, IO[bytes]] = {}
        self._room = limits.output
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._names = (process.stdout.fileno(), process.stderr.fileno())
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(pipe.fileno(), False)
            self._pipes[pipe.fileno()] = pipe
            self._out[pipe.fileno()] = bytearray()
        self._in = process.stdin.fileno()
        if not stdin:
            self._close(self._in)

    @property
    def open_pipes(self) -> dict[int, int]:
        """Descriptors to watch, and for what."""
        return {
            fd: selectors.EVENT_WRITE if fd == self._in else selectors.EVENT_READ
            for fd in self._pipes
        }

    def _close(self, fd: int) -> None:
        pipe = self._pipes.pop(fd, None)
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()

    def serve(self, fd: int) -> None:
        """Move what can be moved through one pipe."""
        if fd not in self._pipes:
            return
        try:
            if fd == self._in:
                self._stdin = self._stdin[os.write(fd, self._stdin[:65536]) :]
                if not self._stdin:
                    self._close(fd)
                return
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(fd)
            return
        self._out[fd] += data[: self._room]
        self._room -= len(data)
        if self._room < 0:
            self.kill("output")

    def look(self) -> bool:
        """Check the limits; say whether it has ended."""
        if self.process.poll() is not None:
            self.ended = self.ended or time.monotonic()
            return True
        if time.monotonic() - self.started > self.limits.seconds:
            self.kill("timeout")
            return True
        pages, threads = _family(self.process.pid)
        if pages * os.sysconf("SC_PAGE_SIZE") > self.limits.total_memory:
            self.kill("memory")
        elif threads > self.limits.processes + 3:  # bubblewrap's own two, and one that starts
            self.kill("processes")
        return self.status is not None

    def kill(self, status: Status = "killed") -> None:
        """End all of it at once."""
        self.status = self.status or status
        # The parent of the namespace goes, and the kernel takes all inside with it; without
        # bubblewrap the group and whoever left it but kept its parents.
        for pid in [*_descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.ended = self.ended or time.monotonic()

    def finish(self) -> Ran:
        """Collect what is left in the pipes, once it has ended."""
        if self.process.poll() is None:
            self.kill()
        else:  # without bubblewrap, children may be left
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        patience = time.monotonic() + 1.0
        for fd in list(self._pipes):
            if fd == self._in:
                self._close(fd)
            while fd in self._pipes and self._room >= 0 and time.monotonic() < patience:
                before = len(self._out[fd])
                self.serve(fd)
                if fd in self._pipes and len(self._out[fd]) == before:
                    time.sleep(0.001)
            self._close(fd)
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        out, errors = (bytes(self._out[fd]) for fd in self._names)
        ended = self.ended or time.monotonic()
        return Ran(self.status or _status(code), code, out, errors, ended - self.started)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill("cancelled")
        for fd in list(self._pipes):
            self._close(fd)


def _status(code: int) -> Status:
    if code == 0:
        return "ok"
    if code in (128 + signal.SIGXCPU,):
        return "timeout"
    if code in {128 + one for one in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)}:
        return "killed"
    return "failed"


def drive(
    runs: Sequence[Running],
    watch: Mapping[int, Callable[[], None]] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """See runs to their end: feed and drain their pipes, hold their limits.

    Parameters
    ----------
    runs : sequence of Running
        When the first of them ends, no more is waited for.
    watch : mapping from descriptor to function, optional
        Further descriptors, and what to call when one can be read.
    stop : Event, optional
        Kills them when it is set.
    """
    watch = watch or {}
    next_look = 0.0
    while True:
        with selectors.DefaultSelector() as selector:
            owners = {fd: run for run in runs for fd in run.open_pipes}
            for run in runs:
                for fd, event in run.open_pipes.items():
                    selector.register(fd, event)
            for fd in watch:
                selector.register(fd, selectors.EVENT_READ)
            _watch_exits(selector, runs)
            for key, _ in selector.select(POLL):
                if key.fd in owners:
                    owners[key.fd].serve(key.fd)
                elif key.fd in watch:
                    watch[key.fd]()
            _drop_exits(selector, runs)
        if stop is not None and stop.is_set():
            for run in runs:
                run.kill("cancelled")
        over = any(run.process.poll() is not None or run.status for run in runs)
        if over or time.monotonic() >= next_look:
            ended = [run.look() for run in runs]  # all of them are looked at
            if any(ended):
                return
            next_look = time.monotonic() + POLL


def _watch_exits(selector: selectors.BaseSelector, runs: Sequence[Running]) -> None:
    """Wake when a process ends, where the kernel can tell."""
    for run in runs:
        with contextlib.suppress(OSError, AttributeError):
            selector.register(os.pidfd_open(run.process.pid), selectors.EVENT_READ, "exit")


def _drop_exits(selector: selectors.BaseSelector, runs: Sequence[Running]) -> None:
    for key in list(selector.get_map().values()):
        if key.data == "exit":
            os.close(key.fd)


def _descendants(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - twice as fast as a Path
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                children = file.read().split()
        except OSError:
            continue
        for child in children:
            yield int(child)
            yield from _descendants(int(child))


def _family(pid: int) -> tuple[int, int]:
    """Count pages held and threads of a process and all that came of it."""
    pages = threads = 0
    for one in (pid, *_descendants(pid)):
        try:
            with open(f"/proc/{one}/statm", "rb") as file:  # noqa: PTH123
                pages += int(file.read().split()[1])
            threads += len(os.listdir(f"/proc/{one}/task"))  # noqa: PTH208
        except (OSError, IndexError):
            continue
    return pages, threads


@dataclass(frozen=True)
class Sandbox:
    r"""Run programs in fresh namespaces, within limits.

    Parameters
    ----------
    limits : Limits
        What each run may use.
    unsafe : {None, 'process'}
        ``"process"`` does without namespaces: limits of the kernel and a process group alone. Such
        a program can read all that you can, and reach the network: only for programs you trust.
    python : str
        The interpreter that can be run inside; its whole prefix can be read there.

    Raises
    ------
    UsageError
        If bubblewrap is missing or cannot make namespaces, unless `unsafe` is asked for.

    Examples
    --------
    >>> sandbox = Sandbox()
    >>> sandbox.run(python_command("print(6 * 7)")).stdout
    b'42\n'
    """

    limits: Limits = field(default_factory=Limits)
    unsafe: Literal["process"] | None = None
    python: str = sys.executable

    def __post_init__(self) -> None:
        if self.unsafe not in (None, "process"):
            raise UsageError(f"unsafe is {self.unsafe!r}", mend="leave it out, or give 'process'")
        if self.unsafe is None:
            _bubblewrap()
            _filter()

    def run(
        self,
        command: Sequence[str],
        stdin: bytes = b"",
        *,
        files: Mapping[str, bytes] | None = None,
        stop: threading.Event | None = None,
    ) -> Ran:
        """Run one program to its end.

        Parameters
        ----------
        command : sequence of str
            The program, with the whole path, and its arguments; a first word ``"python"`` stands
            for the interpreter.
        stdin : bytes
            What it can read.
        files : mapping from path to bytes, optional
            Read-only files that it finds inside.
        stop : Event, optional
            Ends the run when it is set.

        Returns
        -------
        Ran
        """
        with self.start(command, stdin, files=files) as running:
            drive([running], stop=stop)
            return running.finish()

    def start(
        self,
        command: Sequence[str],
        stdin: bytes = b"",
        *,
        pass_fds: Sequence[int] = (),
        files: Mapping[str, bytes] | None = None,
    ) -> Running:
        """Start one program; `pass_fds` are descriptors that it keeps, by their numbers."""
        python = str(Path(self.python).resolve())
        plain = tuple(command[:4]) == ("python", "-I", "-S", "-c")
        if plain:  # the interpreter that runs already will do: to start one is half the cost
            program = ["-", *command[4:]]
        else:
            program = [python, *command[1:]] if command[0] == "python" else list(command)
        root = os.geteuid() == 0 and self.unsafe is None
        inner = [python, "-I", "-S", "-c", _START, *self._numbers(root), *program]
        with contextlib.ExitStack() as stack:
            if self.unsafe is None:
                rules, *sources = [
                    stack.enter_context(_filled(data))
                    for data in (_filter(), *(files or {}).values())
                ]
                options = self._bubblewrap(root, rules)
                for path, source in zip(files or {}, sources, strict=True):
                    options += ["--perms", "0444", "--ro-bind-data", str(source), path]
                inner = [*options, "--", *inner]
                pass_fds = (*pass_fds, rules, *sources)
            elif files:
                raise UsageError("unsafe runs have no folder of their own", mend="use stdin")
            process = subprocess.Popen(
                inner,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,  # bubblewrap's own environment can be read from inside
                pass_fds=pass_fds,
                start_new_session=True,
                cwd="/" if self.unsafe is None else tempfile.gettempdir(),
            )
        return Running(process, self.limits, stdin)

    def _numbers(self, root: bool) -> list[str]:
        limits = self.limits
        # Of root's runs each has a user id; in a user namespace newer kernels count by namespace,
        # older ones all that the user runs, so there the monitor alone counts.
        uid = 1_900_000_000 + next(_uids) % 10_000_000 if root else 0
        crowd = 0 if root else _crowd()
        numbers = (
            uid,
            limits.processes + crowd,
            limits.cpu_seconds,
            limits.memory,
            limits.file_size,
            limits.open_files,
        )
        return [str(number) for number in numbers]

    def _bubblewrap(self, root: bool, rules: int) -> list[str]:
        command = [_bubblewrap(), "--die-with-parent", "--new-session"]
        if root:
            command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
            command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
            command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            command += ["--unshare-all", "--unshare-user", "--cap-drop", "ALL"]
            command += ["--uid", "65534", "--gid", "65534"]
        command += ["--hostname", "sandbox", *_system(self.python)]
        command += ["--perms", "0755", "--dir", "/dev"]
        for device in ("null", "urandom", "random"):  # not zero: it gives memory no limit counts
            command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        command += ["--symlink", "/proc/self/fd", "/dev/fd", "--proc", "/proc"]
        command += ["--perms", "1777", "--size", str(self.limits.disk), "--tmpfs", BOX]
        if not any(prefix.is_relative_to("/tmp") for prefix in _prefixes(self.python)):
            command += ["--symlink", BOX, "/tmp"]  # else it is there, and holds Python alone
        command += ["--remount-ro", "/", "--chdir", BOX, "--clearenv"]
        for name, value in _ENVIRONMENT.items():
            command += ["--setenv", name, value]
        return [*command, "--seccomp", str(rules)]


@contextlib.contextmanager
def _filled(data: bytes) -> Iterator[int]:
    """Give a descriptor from which data can be read."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


def python_command(source: str, *arguments: str) -> list[str]:
    """Give the command that runs Python source in a sandbox, apart from the user's set-up.

    Examples
    --------
    >>> python_command("print(1)")
    ['python', '-I', '-S', '-c', 'print(1)']
    """
    return ["python", "-I", "-S", "-c", source, *arguments]


@functools.cache
def libraries() -> list[str]:
    """Name the folders of installed packages, which programs may import."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(str(Path(paths[name]).resolve()) for name in ("purelib", "platlib")))


def map_runs(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Apply a function that starts sandboxes to each item, a thread a core.

    Examples
    --------
    >>> map_runs(str.upper, ["a", "b"])
    ['A', 'B']
    """
    with ThreadPoolExecutor(cores()) as threads:
        return list(threads.map(function, items))


def _bubblewrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise UsageError(
            "programs are run in a sandbox, which needs bubblewrap (bwrap)",
            mend=f"{_INSTALL}; or ask for Sandbox(unsafe='process') if you trust the programs",
        )
    return found


def _system(python: str) -> list[str]:
    """Give the read-only system: what programs need, and nothing of the user's."""
    options = ["--ro-bind", "/usr", "/usr"]
    for path in (Path("/bin"), Path("/sbin"), *sorted(Path("/").glob("lib*"))):
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    for prefix in _prefixes(python):
        if not prefix.is_relative_to("/usr"):
            for parent in reversed(prefix.parents[:-1]):  # else it gets the mode of the real one
                options += ["--perms", "0755", "--dir", str(parent)]
            options += ["--ro-bind", str(prefix), str(prefix)]
    return options


def _prefixes(python: str) -> list[Path]:
    if python == sys.executable:
        prefixes = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()]
    else:
        prefixes = [Path(python).resolve().parent.parent]
    try:
        home = Path.home().resolve()
    except RuntimeError:  # a user without one
        home = Path("/")
    for prefix in prefixes:
        if prefix == Path("/") or home.is_relative_to(prefix):
            raise UsageError(
                f"the Python of this machine fills {prefix}, which the sandbox must not show",
                mend="run samplewise in a virtual environment of another Python",
            )
    return list(dict.fromkeys(prefixes))


def _crowd() -> int:
    """Count what an older kernel counts against a user beside the run itself."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if release >= (5, 14):
        return 0
    return len(list(Path("/proc").glob("[0-9]*/task/*")))


# Calls with which memory can be taken that no limit counts, other processes reached, or namespaces
# made in which there are privileges again: x86-64 and arm64 number them differently.
_REFUSED: dict[str, tuple[int, int]] = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setns": (308, 268),
    "shmat": (30, 196),
    "shmget": (29, 194),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_CLONE, _CLONE3, _MMAP, _SOCKET = (56, 220), (435, 435), (9, 222), (41, 198)
_NEW_NAMESPACES = 0x7E020080
_SHARED_NOWHERE = 0x21  # MAP_SHARED | MAP_ANONYMOUS
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def _filter() -> bytes:
    """Write the filter of system calls, as the kernel's packet filter program.

    Raises
    ------
    UsageError
        On a machine whose calls are numbered otherwise.
    """
    if platform.machine() not in _MACHINES:
        raise UsageError(
            f"the sandbox does not know the system calls of {platform.machine()}",
            mend="use x86-64 or arm64, or Sandbox(unsafe='process') if you trust the programs",
        )
    which, arch = _MACHINES[platform.machine()]
    load, equal, at_least, mask, give = 0x20, 0x15, 0x35, 0x54, 0x06
    rules: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),  # the machine that the call was made for
        (equal, 1, 0, arch),
        (give, 0, 0, _EPERM),
        (load, 0, 0, 0),  # its number
        (at_least, 0, 1, 0x40000000),  # the 32-bit numbering of x86-64
        (give, 0, 0, _EPERM),
        (equal, 0, 1, _CLONE3[which]),  # its flags cannot be seen; libraries fall back on clone
        (give, 0, 0, _ENOSYS),
    ]
    for numbers in _REFUSED.values():
        rules += [(equal, 0, 1, numbers[which]), (give, 0, 0, _EPERM)]
    rules += [  # 16 + 8 i is where argument i begins
        (equal, 0, 4, _CLONE[which]),
        (load, 0, 0, 16),
        (mask, 0, 0, _NEW_NAMESPACES),
        (equal, 1, 0, 0),
        (give, 0, 0, _EPERM),
        (load, 0, 0, 0),
        (equal, 0, 5, _MMAP[which]),
        (load, 0, 0, 16 + 8 * 3),
        (mask, 0, 0, _SHARED_NOWHERE),
        (equal, 0, 1, _SHARED_NOWHERE),
        (give, 0, 0, _EPERM),
        (load, 0, 0, 0),
        (equal, 0, 3, _SOCKET[which]),
        (load, 0, 0, 16),
        (equal, 1, 0, 1),  # AF_UNIX alone
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)
