"""How much of a bare forwarder's speed our server keeps, where a request is only passed on.

The upstream is a stub, and each server runs in a process of its own. The forwarder is the least
that FastAPI and aiohttp can do: it reads the request's JSON, posts it on, and gives back the bytes.
Ours checks, counts, bounds and watches for a client that hangs up. ``--long`` puts 200 clients
before our server for a minute, half of them streaming, and takes its memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

import harness

STUB = Path(__file__).resolve().parents[1] / "tests" / "stub_server.py"
AT_ONCE = 64
REQUESTS = 3_000
CLIENTS = 200
SECONDS = 60.0
DELAY = 0.05  # of the stub, in the long run
QUESTION = "What is 2 + 3? Think step by step, and end with the answer in a box."

# Nobody serves here: the settings of the environment must not send the requests elsewhere.
os.environ["OPENAI_API_KEY"] = "stub"
os.environ["NO_PROXY"] = "127.0.0.1"


@contextlib.contextmanager
def running(*command: str) -> Iterator[tuple[str, int]]:
    """Run a server in a process of its own; give its address, the last word it prints, and id."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[-1], process.pid
        finally:
            process.terminate()


def stub(delay: float) -> contextlib.AbstractContextManager[tuple[str, int]]:
    return running(str(STUB), "--delay", str(delay))


def ours(upstream: str) -> contextlib.AbstractContextManager[tuple[str, int]]:
    model = f"endpoint:stub@{upstream}"
    return running("-m", "samplewise", "serve", "--model", model, "--port", "0")


def bare(upstream: str) -> contextlib.AbstractContextManager[tuple[str, int]]:
    return running(str(Path(__file__).resolve()), "--forward-to", upstream)


def forward(upstream: str) -> None:
    """Be the bare forwarder."""
    import uvicorn
    from fastapi import FastAPI, Request, Response

    sessions: list[aiohttp.ClientSession] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            sessions.append(session)
            yield

    app = FastAPI(lifespan=lifespan)

    async def chat(request: Request) -> Response:
        body = await request.json()
        async with sessions[0].post(f"{upstream}/chat/completions", json=body) as reply:
            content = await reply.read()
        return Response(content, reply.status, media_type="application/json")

    app.post("/v1/chat/completions", response_model=None)(
        _with_types(chat, {"request": Request, "return": Response})
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


def _with_types(function: Any, types: dict[str, Any]) -> Any:
    """Put types in the place of their names, which FastAPI cannot find within a function."""
    function.__annotations__ = types
    return function


def ask_all(url: str, server: int, count: int) -> dict[str, float]:
    """Ask so often, `AT_ONCE` at a time; give what that cost the server."""

    async def main() -> float:
        numbers = iter(range(count))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> None:
                for number in numbers:
                    async with session.post(f"{url}/chat/completions", json=body(number)) as reply:
                        content = await reply.json()
                        if content["choices"][0]["message"]["content"] != "The answer is 5.":
                            raise ValueError(content)

            begun = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            return time.perf_counter() - begun

    before = cpu_seconds(server)
    seconds = asyncio.run(main())
    used = cpu_seconds(server) - before
    return {"requests_per_second": count / seconds, "server_cpu_ms": 1e3 * used / count}


def body(number: int, *, stream: bool = False) -> dict[str, Any]:
    asked = [{"role": "user", "content": f"{QUESTION} {number}"}]
    return {"model": "stub", "messages": asked, "seed": number, "stream": stream}


def cpu_seconds(process: int) -> float:
    """Give the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def long(url: str, server: int, clients: int, seconds: float) -> dict[str, Any]:
    """Keep a server busy for a while; give its memory on the way, and what was not right."""
    wrong: Counter[str] = Counter()
    memory: dict[str, float] = {}
    done = [0]

    async def main() -> None:
        numbers = itertools.count()
        end = time.perf_counter() + seconds
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work(streamed: bool) -> None:
                while time.perf_counter() < end:
                    asked = body(next(numbers), stream=streamed)
                    try:
                        async with session.post(f"{url}/chat/completions", json=asked) as reply:
                            content = await reply.read()
                    except aiohttp.ClientError as error:
                        wrong[type(error).__name__] += 1
                        continue
                    good = content.endswith(b"[DONE]\n\n") if streamed else b"answer" in content
                    if reply.status != 200 or not good:
                        wrong[str(reply.status)] += 1
                    done[0] += 1

            async def watch() -> None:
                for tenth in range(1, 11):
                    await asyncio.sleep(seconds / 10)
                    memory[f"rss_mb_at_{seconds * tenth / 10:g}_s"] = resident_mb(server)

            await asyncio.gather(watch(), *(work(number % 2 == 0) for number in range(clients)))

    asyncio.run(main())
    return {
        "clients": clients,
        "seconds": seconds,
        "requests": done[0],
        "errors": sum(wrong.values()),
        "kinds_of_errors": dict(wrong),
        **memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{CLIENTS} clients, and the memory")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="of --long")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of --long")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    parser.add_argument("--forward-to", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.forward_to:
        forward(given.forward_to)
        return
    kept = harness.RESULTS / "serve.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    results = None if given.dry else harness.RESULTS
    if given.long:  # its figures stand beside the others
        with stub(DELAY) as (upstream, _), ours(upstream) as (url, server):
            known["long"] = long(url, server, given.clients, given.seconds)
        print(known["long"])
        harness.record("serve", known, results)
        return
    with stub(0.0) as (upstream, _), ours(upstream) as our_place, bare(upstream) as bare_place:
        report = harness.compare(
            "serve",
            {
                "ours": functools.partial(ask_all, *our_place, given.requests),
                "bare forwarder": functools.partial(ask_all, *bare_place, given.requests),
            },
            repeats=given.repeats,
            setting={"requests": given.requests, "concurrency": AT_ONCE, "server_seconds": 0.0},
            packages=["aiohttp", "fastapi", "uvicorn"],
            results=None,
        )
    speeds = {
        name: one["returned"]["requests_per_second"] for name, one in report["contestants"].items()
    }
    report["share_of_the_forwarders_speed"] = report["contestants"]["bare forwarder"]["ratio"]
    print(speeds, report["share_of_the_forwarders_speed"])
    if "long" in known:
        report["long"] = known["long"]
    harness.record("serve", {k: v for k, v in report.items() if k != "name"}, results)


if __name__ == "__main__":
    main()
