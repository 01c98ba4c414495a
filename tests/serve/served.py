"""A served model for the tests: the app over real sockets, with the stub server as its upstream."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import openai
import uvicorn

from samplewise.models.completion import Model
from samplewise.models.endpoint import EndpointModel
from samplewise.serve.app import create_app
from samplewise.serve.limits import Keys, Limits
from samplewise.verify import Verifier, make_verifier
from stub_server import Plan, StubServer

ASK = [{"role": "user", "content": "What is 2 + 3?"}]
TEXT = "The answer is 5."

Planned = Plan | Callable[[int, dict[str, Any]], Plan]


class Served:
    """A running server; its methods are called from the test's thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stub: StubServer
        self.port = 0
        self._before = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def until(self, true: Callable[[StubServer], bool]) -> None:
        self.wait(self.stub.until(true))

    def open_gate(self, gate: asyncio.Event) -> None:
        self.loop.call_soon_threadsafe(gate.set)

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def send(
        self,
        content: Any = None,
        *,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a raw request; `content` is bytes, or something to write as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = content if isinstance(content, bytes) or content is None else json.dumps(content)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json"} | named)
            response = connection.getresponse()
            known = {name.lower(): value for name, value in response.getheaders()}
            return response.status, known, response.read()

    def ask(self, model: str = "stub", **more: Any) -> tuple[int, Any]:
        """Send a chat request, and read the JSON that comes back."""
        status, _, content = self.send({"model": model, "messages": ASK, **more})
        return status, json.loads(content)

    def hang_up(self, content: Any, key: str = "", *, when: Callable[[StubServer], bool]) -> bytes:
        """Send a chat request, close the connection when something is true; give what came."""
        body = json.dumps({"messages": ASK, **content}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(head.encode() + body)
            self.until(when)
            connection.setblocking(False)
            try:
                return connection.recv(100_000)
            except BlockingIOError:
                return b""

    def metric(self, line: str) -> float:
        """Read by how much one value of /metrics has grown in this test."""
        return self._value(line) - _value_of(self._before, line)

    def _value(self, line: str) -> float:
        return _value_of(self._metrics(), line)

    def _metrics(self) -> str:
        return self.send(method="GET", path="/metrics")[2].decode()

    def renew(self, plan: Planned | None) -> None:
        """Forget what earlier tests did."""
        self.stub.plan = plan or Plan()
        self.stub.seen.clear()
        self.stub.requests = 0
        self._before = self._metrics()


def _value_of(metrics: str, line: str) -> float:
    values = [one.rpartition(" ")[2] for one in metrics.splitlines() if one.startswith(line)]
    return float(values[0]) if values else 0.0


_kept = contextlib.ExitStack()
_plain: list[Served] = []


def close_kept() -> None:
    """End the server that tests share."""
    _plain.clear()
    _kept.close()


@contextlib.contextmanager
def serving(plan: Planned | None = None, **settings: Any) -> Iterator[Served]:
    """Give a server before a stub; tests that set nothing share one, as starting takes time."""
    if settings:
        with _serving(plan, **settings) as served:
            yield served
        return
    if not _plain:
        _plain.append(_kept.enter_context(_serving()))
    _plain[0].renew(plan)
    yield _plain[0]


@contextlib.contextmanager
def _serving(
    plan: Planned | None = None,
    *,
    keys: tuple[str, ...] = (),
    verifier: Verifier | str = "math",
    anywhere: bool = False,
    made: Model | None = None,
    **limits: Any,
) -> Iterator[Served]:
    """Run a stub and a server before it in a thread of their own."""
    served, ready = Served(), threading.Event()
    served.stub = StubServer(plan)
    bounds = Limits(**limits)
    judge = make_verifier(verifier) if isinstance(verifier, str) else verifier

    async def main() -> None:
        async with served.stub:
            model = made or EndpointModel("stub", served.stub.url, retries=0)
            known = Keys(keys, bounds, anywhere=anywhere)
            app = create_app(model, judge, keys=known, limits=bounds)
            config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                served.port = listener.getsockname()[1]
                running = asyncio.create_task(server.serve(sockets=[listener]))
                while not server.started:
                    await asyncio.sleep(0.005)
                ready.set()
                await stop.wait()
                server.should_exit = True
                await running

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: served.loop.run_until_complete(main()))
    thread.start()
    try:
        assert ready.wait(60)
        yield served
    finally:
        served.loop.call_soon_threadsafe(stop.set)
        thread.join()
        served.loop.close()
