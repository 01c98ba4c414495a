"""How much of a server's speed our client keeps: against bare asyncio loops around other clients.

The server is a stub in a process of its own that takes 50 ms a request. Ours does all that a run
does: it checks, counts, and writes every completion to a ledger. ``--long`` asks for 100,000
completions instead, and takes the memory at every tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import harness
from samplewise.answer import Meter
from samplewise.ledger import Ledger
from samplewise.models.completion import Request
from samplewise.models.endpoint import EndpointModel
from samplewise.problems import Problem

STUB = Path(__file__).resolve().parents[1] / "tests" / "stub_server.py"
DELAY = 0.05
AT_ONCE = 64
REQUESTS = 2_000
LONG = 100_000
QUESTION = "What is 2 + 3? Think step by step, and end with the answer in a box."

# Nobody serves here: the settings of the environment must not send the requests elsewhere.
os.environ["OPENAI_API_KEY"] = "stub"
os.environ["NO_PROXY"] = "127.0.0.1"


@contextlib.contextmanager
def stub(delay: float) -> Iterator[str]:
    """Run the stub in a process of its own, and give its address."""
    command = [sys.executable, str(STUB), "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def spread(count: int, ask: Callable[[int], Awaitable[None]]) -> None:
    """Ask so often, `AT_ONCE` at a time: the bare loop."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await ask(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def body(number: int) -> dict[str, Any]:
    return {
        "model": "stub",
        "messages": [{"role": "user", "content": f"{QUESTION} {number}"}],
        "temperature": 0.6,
        "top_p": 0.95,
        "seed": number,
    }


def ours(url: str, count: int = REQUESTS) -> float:
    """Complete problems by a meter with a ledger, as `answer` does."""

    async def main(folder: str) -> float:
        problems = [Problem.ask(f"{QUESTION} {number}", id=str(number)) for number in range(count)]
        tokens = 0
        async with EndpointModel("stub", url, concurrency=AT_ONCE) as model:
            with Ledger(Path(folder) / "ledger.sqlite") as ledger:
                meter = Meter(model, ledger=ledger)
                numbers = iter(problems)

                async def work() -> None:
                    nonlocal tokens
                    for problem in numbers:
                        draws = meter.of(problem)
                        [completion] = await draws.complete(draws.requests(1))
                        tokens += completion.tokens

                # `answer` works at 256 problems at once, so that the server always has enough
                await asyncio.gather(*(work() for _ in range(4 * AT_ONCE)))
                await meter.close()
        return tokens / count

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(folder))


def ours_alone(url: str, count: int = REQUESTS) -> float:
    """Complete requests in one call, without a ledger."""

    async def main() -> float:
        requests = [Request.ask(f"{QUESTION} {number}", seed=number) for number in range(count)]
        async with EndpointModel("stub", url, concurrency=AT_ONCE) as model:
            drawn = await model.complete(requests)
        return sum(completion.tokens for completion in drawn) / count

    return asyncio.run(main())


def bare_aiohttp(url: str, count: int = REQUESTS) -> None:
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(number: int) -> None:
                async with session.post(f"{url}/chat/completions", json=body(number)) as response:
                    (await response.json())["choices"][0]["message"]["content"]

            await spread(count, ask)

    asyncio.run(main())


def bare_httpx(url: str, count: int = REQUESTS) -> None:
    import httpx

    async def main() -> None:
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        async with httpx.AsyncClient(limits=limits, timeout=600) as client:

            async def ask(number: int) -> None:
                response = await client.post(f"{url}/chat/completions", json=body(number))
                response.json()["choices"][0]["message"]["content"]

            await spread(count, ask)

    asyncio.run(main())


def bare_openai(url: str, count: int = REQUESTS) -> None:
    import openai

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=url, timeout=600) as client:

            async def ask(number: int) -> None:
                reply = await client.chat.completions.create(**body(number))
                reply.choices[0].message.content  # noqa: B018 - read, as the others do

            await spread(count, ask)

    asyncio.run(main())


def long(url: str, count: int) -> dict[str, float]:
    """Draw for many problems, as a run does, and take the resident memory on the way."""
    memory: dict[str, float] = {}

    async def main(folder: str) -> None:
        numbers = iter(range(count))
        async with EndpointModel("stub", url, concurrency=AT_ONCE) as model:
            with Ledger(Path(folder) / "ledger.sqlite") as ledger:
                meter = Meter(model, ledger=ledger)

                async def work() -> None:
                    for number in numbers:
                        draws = meter.of(Problem.ask(f"{QUESTION} {number}", id=str(number)))
                        await draws.complete(draws.requests(1))
                        if (number + 1) % (count // 10) == 0:
                            memory[f"rss_mb_at_{number + 1}"] = resident_mb()

                await asyncio.gather(*(work() for _ in range(4 * AT_ONCE)))
                await meter.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))
    return memory


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG:,} requests, and their memory")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slow-repeats", type=int, default=3, help="of httpx and openai")
    given = parser.parse_args()
    kept = harness.RESULTS / "endpoint_client.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if given.long:  # its figures stand beside the others
        with stub(0.0) as url:
            known["long"] = harness.in_a_fresh_process(functools.partial(long, url, LONG))
        print(known["long"])
        harness.record("endpoint_client", known)
        return
    with stub(DELAY) as url:
        fast = {"ours, with ledger": ours, "ours, without": ours_alone, "aiohttp": bare_aiohttp}
        report = against(url, fast, given.repeats)
        slow = {"ours, with ledger": ours, "httpx": bare_httpx, "openai": bare_openai}
        other = against(url, slow, given.slow_repeats)
    report = {key: value for key, value in report.items() if key != "name"}
    report["slow"] = {"repeats": other["repeats"], "contestants": other["contestants"]}
    report["speed_of_ours_over_bare"] = {
        name: one["ratio"]
        for rounds in (report, report["slow"])
        for name, one in rounds["contestants"].items()
        if not name.startswith("ours")
    }
    print(report["speed_of_ours_over_bare"])
    if "long" in known:
        report["long"] = known["long"]
    harness.record("endpoint_client", report)


def against(url: str, functions: dict[str, Callable[[str], Any]], repeats: int) -> dict[str, Any]:
    """Measure ours and others in turn; the ratio is their time over ours."""
    return harness.compare(
        "endpoint_client",
        {name: functools.partial(function, url) for name, function in functions.items()},
        repeats=repeats,
        setting={"requests": REQUESTS, "concurrency": AT_ONCE, "server_seconds": DELAY},
        packages=["aiohttp", "httpx", "openai"],
        results=None,
    )


if __name__ == "__main__":
    main()
