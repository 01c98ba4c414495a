# ruff: noqa: E501 - programs, each in a line
"""Hostile programs: none gets out, none outlives its time, none takes more than it is given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import venv
from pathlib import Path

import pytest

from samplewise.errors import UsageError
from samplewise.verify.sandbox import Limits, Sandbox, map_runs, python_command

LIMITS = Limits(seconds=2.0, cpu_seconds=2, total_memory=200 << 20, output=100_000)

C = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
MUST_FAIL = {
    "reads passwords": "open('/etc/passwd').read()",
    "reads a home folder": "import os; assert os.listdir('/home')",
    "reads root's home": "import os; assert set(os.listdir('/root')) - {'.pyenv'}",
    "lists the host's mounts": "import os; assert os.path.exists('/etc/hostname')",
    "reads by /proc/1/root": "open('/proc/1/root/etc/passwd').read()",
    "reads by its own root": "open('/proc/self/root/etc/passwd').read()",
    "reads by a parent folder": "open('../../../../etc/passwd').read()",
    "reads by a link": "import os; os.symlink('/etc/passwd', 'x'); open('x').read()",
    "writes to the system": "open('/usr/bin/x', 'w')",
    "writes to the root": "open('/x', 'w')",
    "writes to the devices": "open('/dev/x', 'w')",
    "writes to a kernel switch": "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
    "remounts": C + "assert libc.mount(b'none', b'/', None, 4128, None) == 0",
    "mounts memory": C + "assert libc.mount(b'x', b'/box', b'tmpfs', 0, None) == 0",
    "unmounts": C + "assert libc.umount(b'/proc') == 0",
    "makes a user namespace": C + "assert libc.unshare(0x10000000) == 0",
    "makes one by clone": C + "assert libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0",
    "makes one by clone3": C + "assert libc.syscall(435, ctypes.create_string_buffer(88), 88) > 0",
    "becomes root": "import os; os.setuid(0)",
    "becomes root by groups": "import os; os.setgroups([0])",
    "runs su": "import subprocess as s; s.run(['/usr/bin/su', '-c', 'id'], check=True, stdin=0)",
    "changes its root": "import os; os.mkdir('r'); os.chroot('r')",
    "traces its parent": C + "assert libc.ptrace(16, os.getppid(), 0, 0) == 0",
    "lets itself be traced": C + "assert libc.ptrace(0, 0, 0, 0) == 0",
    "reads its parent's memory": "open('/proc/1/mem', 'rb').read(1)",
    "memory without a file": "import os; os.memfd_create('x')",
    "memory that is shared": "import mmap; mmap.mmap(-1, 1 << 20)",
    "memory of System V": C + "assert libc.shmget(0, 1 << 20, 0o1600) >= 0",
    "memory from /dev/zero": "import mmap; mmap.mmap(open('/dev/zero', 'r+b').fileno(), 4096)",
    "connects by TCP": "import socket; socket.create_connection(('127.0.0.1', PORT), 1)",
    "connects by TCP of IPv6": "import socket; socket.socket(socket.AF_INET6)",
    "sends by UDP": (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', PORT))"
    ),
    "opens a raw socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "speaks to the host of its machine": "import socket; socket.socket(40)",
    "connects by a named socket": "import socket; socket.socket(socket.AF_UNIX).connect('UNIX')",
    "connects by an abstract one": (
        "import socket; socket.socket(socket.AF_UNIX).connect('\\0ABSTRACT')"
    ),
    "asks for a name": "import socket; socket.getaddrinfo('example.com', 80)",
    "lifts its limits": "import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1))",
    "takes much memory": "x = bytearray(1 << 34)",
    "takes memory bit by bit": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "fills its folder": (
        "for i in range(9):\n with open(f'f{i}', 'wb') as f:\n  for _ in range(9): f.write(bytes(1<<20))"
    ),
    "writes a large file": "f = open('x', 'wb')\nfor _ in range(99): f.write(bytes(1 << 20))",
    "opens many files": "x = [open('/dev/null') for _ in range(1000)]",
    "calls itself": "f = lambda: f()\nf()",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "kills the init of its namespace": "import os, time; os.kill(1, 9); time.sleep(60)",
    "kills its parent": "import os, time; os.kill(os.getppid(), 9); time.sleep(60)",
    "kills all": "import os, time; os.kill(-1, 9); time.sleep(60)",
    "loops": "while True: pass",
    "sleeps": "import time; time.sleep(60)",
    "ignores signals": (
        "import signal, time\n"
        "for s in range(1, 32):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except OSError: pass\n"
        "while True: time.sleep(1)"
    ),
    "prints without end": "while True: print('x' * 10000)",
    "prints errors without end": "import os\nwhile True: os.write(2, b'x' * 10000)",
    "counts high": "10 ** 10 ** 10",
}


@pytest.fixture(scope="module")
def listeners(tmp_path_factory):
    """Listen on the host as a program's accomplice would."""
    name = uuid.uuid4().hex
    path = str(tmp_path_factory.mktemp("unix") / "s")
    tcp, unix, abstract = socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(1)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp.bind(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp.bind(("127.0.0.1", port))
    unix.bind(path)
    abstract.bind("\0" + name)
    for one in (tcp, unix, abstract):
        one.listen()
    sockets = (tcp, unix, abstract, udp)
    for one in sockets:
        one.setblocking(False)
    yield sockets, {"PORT": str(port), "UNIX": path, "ABSTRACT": name}
    for one in sockets:
        one.close()


def run(source: str, limits: Limits = LIMITS, stdin: bytes = b""):
    return Sandbox(limits).run(python_command(source), stdin)


@pytest.mark.parametrize("what", MUST_FAIL)
def test_hostile_programs_fail_within_their_time(what, listeners):
    sockets, names = listeners
    source = MUST_FAIL[what]
    for name, value in names.items():
        source = source.replace(name, value)
    started = time.monotonic()
    ran = run(source)
    assert time.monotonic() - started < 5
    assert ran.status != "ok", ran
    assert len(ran.stdout) + len(ran.stderr) <= LIMITS.output
    for one in sockets:
        with pytest.raises(BlockingIOError):
            one.recv(1) if one.type == socket.SOCK_DGRAM else one.accept()


def processes_with(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


CHILDREN = {
    "children that outlive it": "import os, time\nif os.fork() == 0: time.sleep(60)",
    "children of another session": (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(60)"
    ),
    "children that hold no pipe": (
        "import os, time\nif os.fork() == 0:\n os.setsid(); os.closerange(0, 60); time.sleep(60)"
    ),
    "a fork bomb": ("import os\nwhile True:\n try: os.fork()\n except OSError: pass"),
    "a bomb of threads": (
        "import threading, time\nwhile True:\n"
        " try: threading.Thread(target=time.sleep, args=(60,)).start()\n except RuntimeError: pass"
    ),
    "children that all take memory": (
        "import os, time\nfor _ in range(8):\n"
        " if os.fork() == 0:\n  x = bytearray(b'x') * (60 << 20); time.sleep(60)\ntime.sleep(60)"
    ),
}


@pytest.mark.parametrize("what", CHILDREN)
def test_no_child_is_left(what):
    mark = uuid.uuid4().hex
    started = time.monotonic()
    ran = Sandbox(LIMITS).run(python_command(CHILDREN[what], mark))
    assert time.monotonic() - started < 5
    deadline = time.monotonic() + 2
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_with(mark)
    if "memory" in what:
        assert ran.status == "memory"
    if "bomb" in what:
        assert ran.status in ("timeout", "processes", "failed", "killed")


def test_what_a_program_may_do():
    ran = run(
        "import os, sys\nopen('x', 'w').write('1')\n"
        "print(sys.stdin.read(), os.getcwd(), sorted(os.environ)[:1], os.listdir('.'))",
        stdin=b"hello",
    )
    assert ran.status == "ok", ran
    assert ran.stdout.startswith(b"hello /box ['HOME'] ")


def test_environment_and_descriptors_do_not_reach_it(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hush-" + "hush")
    source = (
        "import glob, os\nprint(dict(os.environ), os.listdir('/proc/self/fd'))\n"
        "for p in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: print(open(p, 'rb').read())\n"
        "    except OSError as e: print(e)"
    )
    ran = run(source)
    assert ran.status == "ok", ran
    assert b"hush-hush" not in ran.stdout
    assert b"SECRET_KEY" not in ran.stdout


def test_it_has_no_privilege_and_cannot_gain_one():
    ran = run("print(open('/proc/self/status').read())")
    status = dict(
        line.split(":\t", 1) for line in ran.stdout.decode().splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "0" not in status["Uid"].split()


def test_project_and_temporary_files_cannot_be_seen(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hush")
    for path in (secret, Path(__file__), Path("/proc/1/root") / secret.relative_to("/")):
        ran = run(f"print(open({str(path)!r}).read())")
        assert ran.status == "failed"
        assert b"FileNotFoundError" in ran.stderr or b"PermissionError" in ran.stderr


def test_runs_do_not_see_each_other():
    assert run("open('x', 'w').write('1')").ok
    assert run("import os; assert not os.path.exists('x')").ok


def test_input_that_is_not_read_and_large_input():
    assert run("pass", stdin=b"x" * 5_000_000).ok
    ran = run("import sys; print(len(sys.stdin.buffer.read()))", stdin=b"x" * 5_000_000)
    assert ran.stdout == b"5000000\n"


def test_stop_ends_a_run():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    ran = Sandbox(LIMITS).run(python_command("while True: pass"), stop=stop)
    assert ran.status == "cancelled"
    assert ran.seconds < 1.5


def test_the_end_of_the_parent_is_the_end_of_the_run(tmp_path):
    mark = uuid.uuid4().hex
    code = (
        "from samplewise.verify.sandbox import *\n"
        f"Sandbox().run(python_command('import time; time.sleep(60)', {mark!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ})
    deadline = time.monotonic() + 10
    while len(processes_with(mark)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_with(mark)


def test_many_at_a_time():
    ran = map_runs(lambda number: run(f"print({number} ** 2)").stdout, range(20))
    assert ran == [f"{number**2}\n".encode() for number in range(20)]


def test_without_bubblewrap_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="apt-get install bubblewrap"):
        Sandbox()
    unsafe = Sandbox(LIMITS, unsafe="process")
    assert unsafe.run(python_command("print(1)")).stdout == b"1\n"
    assert unsafe.run(python_command("while True: pass")).status == "timeout"
    with pytest.raises(UsageError, match="unsafe"):
        Sandbox(unsafe="yes")


def test_limits_are_checked():
    with pytest.raises(UsageError, match="seconds"):
        Limits(seconds=0)
    with pytest.raises(UsageError, match="memory"):
        Limits(memory=-1)


def test_an_environment_below_tmp_does_not_hide_the_rest():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        venv.create(Path(folder) / "venv")
        (Path(folder) / "secret").write_text("told")
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from samplewise.verify.sandbox import *\n"
            "for source in sys.argv[2:]: print(Sandbox().run(python_command(source)))"
        )
        programs = [
            "import tempfile; tempfile.TemporaryFile().write(b'x'); print('fine')",
            f"print(open('{folder}/secret').read())",
            f"open('{folder}/x', 'w')",
        ]
        source = str(Path(__file__).parents[2] / "src")
        ran = subprocess.run(
            [f"{folder}/venv/bin/python", "-c", code, source, *programs],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    fine, read, wrote = ran.stdout.splitlines()
    assert "status='ok'" in fine
    assert "status='ok'" not in read
    assert "status='ok'" not in wrote


# Root becomes another user for this test; whoever is none already is such a user.
PLAIN = {"user": 65533, "group": 65533, "extra_groups": []} if os.geteuid() == 0 else {}


def python_of_all():
    """Find a Python that a user without privileges can start; one in root's home is none."""
    for python in (
        str(Path(sys.executable).resolve()),
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ):
        try:
            subprocess.run([python, "-c", ""], check=True, cwd="/", **PLAIN)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    raise AssertionError("no Python that a user without privileges can start")


def test_a_user_without_privileges_gets_the_same_sandbox(tmp_path):
    source = Path(__file__).parents[2] / "src"
    plain = tmp_path / "src"
    plain.mkdir()
    subprocess.run(["cp", "-r", str(source / "samplewise"), str(plain)], check=True)
    for folder in (tmp_path, *tmp_path.parents):
        if folder in (Path("/"), Path("/tmp")):
            break
        folder.chmod(0o755)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from samplewise.verify.sandbox import *\n"
        "s = Sandbox(Limits(seconds=2, cpu_seconds=2))\n"
        "for source in sys.argv[2:]: print(s.run(python_command(source)))"
    )
    programs = [
        "import os; print(os.getuid())",
        "open('/x', 'w')",
        "open('/etc/passwd')",
        MUST_FAIL["makes a user namespace"],
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
        "open('/proc/1/mem', 'rb').read(1)",
        "print(open('/proc/1/environ').read().count('SECRET'))",
    ]
    ran = subprocess.run(
        [python_of_all(), "-c", code, str(plain), *programs], **PLAIN,
        capture_output=True, text=True, timeout=60, cwd="/", env={"PATH": "/usr/bin:/bin", "SECRET": "1"},
    )  # fmt: skip
    lines = ran.stdout.splitlines()
    assert len(lines) == len(programs), ran.stderr
    assert "status='ok'" in lines[0]
    for line in lines[1:6]:
        assert "status='ok'" not in line
    assert "stdout=b'1" not in lines[6]
