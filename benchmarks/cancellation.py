"""How soon a server sees that the losers of a race are cancelled, and whether their tokens count.

A stub streams eight answers to every problem, over real sockets from a thread of its own. The time
is from the winner's last byte, as the server sent it, to the moment at which the server saw each
loser's connection closed. Between the two, our side reads the end, decides, and hangs up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from harness import record

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from samplewise.answer import answer_async
from samplewise.ledger import Ledger
from samplewise.models.endpoint import EndpointModel
from samplewise.problems import Problem
from stub_server import Plan, Seen, StubServer

RACES, STREAMS = 100, 8
WINNER = Plan(tokens=("The answer", " is", " 5"), token_delay=0.05)
LOSER = Plan(tokens=tuple(" so" for _ in range(10_000)), token_delay=0.01)

os.environ["NO_PROXY"] = "127.0.0.1"


def serve(known: dict[str, Any], ready: threading.Event) -> None:
    """Serve until told to end."""

    async def inside() -> None:
        known["loop"], known["end"] = asyncio.get_running_loop(), asyncio.Event()
        plan = lambda number, body: WINNER if number % STREAMS == STREAMS // 2 else LOSER  # noqa: E731
        async with StubServer(plan) as known["server"]:
            ready.set()
            await known["end"].wait()

    asyncio.run(inside())


async def race(url: str, seen: list[Seen], ledger: Ledger) -> list[tuple[float, int, int]]:
    """Race again and again; for each loser: seconds, tokens sent and tokens counted."""
    found = []
    async with EndpointModel("stub", url) as model:
        for number in range(RACES):
            first = len(seen)
            problem = Problem.ask("What is 2 + 3?", id=str(number), answer="5")
            answers = await answer_async(
                [problem],
                model,
                "first-finish",
                samples=STREAMS,
                verifier="regex:(\\d+)",
                ledger=ledger,
                rng=number,
            )
            await asyncio.sleep(0.3)  # for the server to see it, were it late
            these = seen[first:]
            [winner] = [one for one in these if one.ended]
            losers = [one for one in these if one.hung_up]
            assert len(losers) == STREAMS - 1, f"{len(losers)} losers were cancelled"
            drawn = [done for done in answers.answers[0].completions if done.finish == "cancelled"]
            for one, done in zip(
                sorted(losers, key=lambda one: one.tokens),
                sorted(drawn, key=lambda one: one.tokens),
                strict=True,
            ):
                found.append((one.hung_up - winner.ended, one.tokens, done.tokens))
    return found


def main() -> None:
    known: dict[str, Any] = {}
    ready = threading.Event()
    load = os.getloadavg()[0]
    thread = threading.Thread(target=serve, args=(known, ready))
    thread.start()
    ready.wait()
    server: StubServer = known["server"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with Ledger(path) as ledger:
            found = np.array(asyncio.run(race(server.url, server.seen, ledger)))
        with Ledger(path) as ledger:
            written = sum(content is not None for *_, content in ledger.completions())
    known["loop"].call_soon_threadsafe(known["end"].set)
    thread.join()
    seconds, sent, counted = found.T
    figures = {
        "setting": {"races": RACES, "streams": STREAMS, "losers": len(found)},
        "load_before": load,
        "seconds_to_cancel": {
            "median": float(np.median(seconds)),
            "p99": float(np.quantile(seconds, 0.99)),
            "largest": float(seconds.max()),
        },
        "losers_tokens": {"sent": int(sent.sum()), "counted": int(counted.sum())},
        "completions_in_the_ledger": written,
    }
    print(figures)
    record("cancellation", figures)


if __name__ == "__main__":
    main()
