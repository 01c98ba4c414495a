"""A server that speaks the chat completions API over real sockets, and misbehaves when told to.

Within a test, `async with StubServer() as server` runs it in the test's event loop. As a process of
its own, ``python tests/stub_server.py --delay 0.05`` prints its address and serves until it is
ended.
"""

from __future__ import annotations

import argparse
import asyncio
import email.utils
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal["drop", "stall", "json", "half", "no choices"]


@dataclass
class Plan:
    """How one request is answered."""

    tokens: tuple[str, ...] = ("The", " answer", " is", " 5", ".")
    thinking: tuple[str, ...] = ()
    thinking_field: str = "reasoning_content"
    delay: float = 0.0
    token_delay: float = 0.0
    finish: str | None = "stop"
    honours_n: bool = True
    usage: bool = True
    reasoning_tokens: bool = False
    status: int = 200
    error: str = ""
    retry_after: float | None = None
    as_date: bool = False
    fault: Fault | None = None
    gate: asyncio.Event | None = None
    """Nothing is sent before it is set."""
    gate_after: int = 0
    """In a stream, how many tokens are sent before the gate."""


@dataclass
class Seen:
    """One request, and what became of it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    begun: float = field(default_factory=time.perf_counter)
    tokens: int = 0
    ended: float | None = None
    """When the answer was whole."""
    hung_up: float | None = None
    """When the client closed the connection before the answer was whole."""


class StubServer:
    """Answers each request as `plan` says: a `Plan`, or a function of its number and body."""

    def __init__(
        self, plan: Plan | Callable[[int, dict[str, Any]], Plan] | None = None, *, keep: bool = True
    ) -> None:
        self.plan = plan or Plan()
        self.seen: list[Seen] = []
        self.busy = self.most_busy = self.connections = self.requests = 0
        self.changed = asyncio.Event()
        self._keep = keep
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> StubServer:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=1024
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for connection in list(self._open):
            connection.abort()
        await self._server.wait_closed()

    def plan_of(self, number: int, body: dict[str, Any]) -> Plan:
        return self.plan if isinstance(self.plan, Plan) else self.plan(number, body)

    def note(self, seen: Seen) -> int:
        number, self.requests = self.requests, self.requests + 1
        if self._keep:
            self.seen.append(seen)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.changed.set()
        return number

    def end(self, seen: Seen, *, hung_up: bool) -> None:
        self.busy -= 1
        if hung_up:
            seen.hung_up = time.perf_counter()
        else:
            seen.ended = time.perf_counter()
        self.changed.set()

    async def until(self, true: Callable[[StubServer], bool]) -> None:
        """Wait until something is true of this server; the limit only ends a test that hangs."""
        async with asyncio.timeout(30):
            while not true(self):
                self.changed.clear()
                await self.changed.wait()


class _Connection(asyncio.Protocol):
    def __init__(self, server: StubServer) -> None:
        self.server = server
        self.number = server.connections
        server.connections += 1
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.current: Seen | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server._open.discard(self)
        if self.current:
            self.server.end(self.current, hung_up=True)
            self.current = None
        if self.task:
            self.task.cancel()

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        body = json.loads(rest[:length] or b"{}")
        self.current = Seen(first.split()[1], headers, body, self.number)
        number = self.server.note(self.current)
        plan = self.server.plan_of(number, body)
        self.task = asyncio.get_running_loop().create_task(self.answer(self.current, plan))

    async def answer(self, seen: Seen, plan: Plan) -> None:
        if plan.delay:
            await asyncio.sleep(plan.delay)
        streamed = bool(seen.body.get("stream")) and plan.status == 200
        if plan.gate and not (streamed and plan.gate_after):
            await plan.gate.wait()
        if plan.fault == "stall":
            await asyncio.Event().wait()
        if plan.fault == "drop":
            self.done()
            self.transport.abort()
        elif plan.status != 200:
            self.refuse(plan)
        elif streamed:
            await self.stream(seen, plan)
        else:
            self.whole(seen, plan)

    def done(self) -> None:
        if self.current:
            self.server.end(self.current, hung_up=False)
            self.current = None

    def send(self, status: int, content: bytes, headers: str = "") -> None:
        self.done()
        self.transport.write(
            f"HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )

    def refuse(self, plan: Plan) -> None:
        headers = ""
        if plan.retry_after is not None:
            value = f"{plan.retry_after:g}"
            if plan.as_date:
                value = email.utils.formatdate(time.time() + plan.retry_after, usegmt=True)
            headers = f"Retry-After: {value}\r\n"
        self.send(plan.status, json.dumps({"error": {"message": plan.error}}).encode(), headers)

    def whole(self, seen: Seen, plan: Plan) -> None:
        count = seen.body.get("n", 1) if plan.honours_n else 1
        most = _most(seen.body)
        tokens = plan.tokens[:most]
        seen.tokens = (len(tokens) + len(plan.thinking)) * count
        if plan.fault == "half":  # promises more than it sends
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.done()
            self.transport.close()
            return
        if plan.fault == "json":
            self.send(200, b'{"choices": [{"mess')
            return
        finish = "length" if most is not None and most < len(plan.tokens) else plan.finish
        choice: dict[str, Any] = {
            "message": {"role": "assistant", "content": "".join(tokens)},
            "finish_reason": finish,
        }
        if plan.thinking:
            choice["message"][plan.thinking_field] = "".join(plan.thinking)
        if seen.body.get("logprobs"):
            choice["logprobs"] = {"content": [_log_probability(token) for token in tokens]}
        choices = [{"index": place, **choice} for place in range(count)]
        content: dict[str, Any] = {"choices": [] if plan.fault == "no choices" else choices}
        if plan.error:
            content = {"error": {"message": plan.error}}
        if plan.usage:
            content["usage"] = _usage(plan, seen)
        self.send(200, json.dumps(content).encode())

    async def stream(self, seen: Seen, plan: Plan) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        pieces = [(plan.thinking_field, token) for token in plan.thinking]
        pieces += [("content", token) for token in plan.tokens[: _most(seen.body)]]
        for place, (name, token) in enumerate(pieces):
            if plan.gate and place == plan.gate_after:
                await plan.gate.wait()
            if plan.token_delay:
                await asyncio.sleep(plan.token_delay)
            if plan.fault == "json":
                self.event('{"choices": [{"del')
                self.done()
                self.transport.close()
                return
            if plan.fault == "half" and place * 2 >= len(pieces):
                self.done()
                self.transport.abort()
                return
            choice: dict[str, Any] = {"index": 0, "delta": {name: token}, "finish_reason": None}
            if seen.body.get("logprobs"):
                choice["logprobs"] = {"content": [_log_probability(token)]}
            self.event({"choices": [choice]})
            seen.tokens += 1
            self.server.changed.set()
        if plan.error:
            self.event({"error": {"message": plan.error}})
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": plan.finish}]})
        if plan.usage and seen.body.get("stream_options", {}).get("include_usage"):
            self.event({"choices": [], "usage": _usage(plan, seen)})
        self.done()
        self.event("[DONE]")
        self.transport.write(b"0\r\n\r\n")

    def event(self, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        data = f"data: {text}\n\n".encode()
        self.transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _most(body: dict[str, Any]) -> int | None:
    return body.get("max_tokens", body.get("max_completion_tokens"))


def _log_probability(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.25, "bytes": None, "top_logprobs": []}


def _usage(plan: Plan, seen: Seen) -> dict[str, Any]:
    usage: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": seen.tokens}
    if plan.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": len(plan.thinking)}
    return usage


class Served:
    """A stub server in a thread of its own, beside a run that blocks."""

    def __init__(self, plan: Plan | Callable[[int, dict[str, Any]], Plan]) -> None:
        self._plan, self._ready = plan, threading.Event()

    def __enter__(self) -> StubServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait(30)
        return self.server

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with StubServer(self._plan) as self.server:
            self._ready.set()
            await self._end.wait()


async def _serve(plan: Plan) -> None:
    async with StubServer(plan, keep=False) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--token-delay", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(Plan(delay=given.delay, token_delay=given.token_delay)))
