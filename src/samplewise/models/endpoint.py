"""A model behind any server that speaks the chat completions API (vLLM, llama.cpp, cloud).

Use it where a model runs elsewhere. Cost: a connection for each request in flight; what fails for a
moment is tried again, and what the server no longer needs to draw is cancelled by hanging up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from samplewise.errors import UsageError
from samplewise.extras import need
from samplewise.models.chat import (
    BrokenReplyError,
    Streamed,
    body_of,
    completions_of,
    encode,
    error_text,
    prompt_estimate,
    read_json,
)
from samplewise.models.completion import Chunk, Completion, Model, Request, Seen
from samplewise.models.http import (
    LONGEST_WAIT,
    asked_wait,
    check_address,
    is_passing,
    jitter,
    proxy_for,
    read_key,
)

__all__ = ["EndpointError", "EndpointModel"]

T = TypeVar("T")

_FIRST_WAIT = 0.5  # seconds at most before the second try; each later wait may be twice as long
_GRACE = 1.0  # seconds for the end of a stream that is done, to use its connection again
_sleep = asyncio.sleep  # tests put another in its place


class EndpointError(UsageError):
    """The server refuses the key, or has no such model or address: no request can mend that.

    Parameters
    ----------
    message, mend : str
        As `UsageError` takes them.
    status : int
        What the server said.
    """

    def __init__(self, message: str, *, mend: str, status: int) -> None:
        super().__init__(message, mend=mend)
        self.status = status


class EndpointModel(Model):
    """Complete over HTTP: ``POST {url}/chat/completions``.

    The key is read from the environment for each request: it is in no attribute, pickle or error.

    Parameters
    ----------
    model : str
        What the server calls the model.
    url : str
        Such as ``"http://localhost:8000/v1"``.
    key_variable : str
        Environment variable that holds the key; without it no key is sent.
    concurrency : int
        Requests in flight.
    timeout : float
        Seconds that one try of a request may take.
    retries : int
        Further tries after a time-out, a lost connection, broken JSON, a 408, 409, 425, 429 or 5xx.
    requests_per_minute, tokens_per_minute : float, optional
        What the server allows; requests are spread evenly to stay below. Tokens are those read and
        drawn.
    draws_at_once : int
        Requests that differ in their seed alone are sent as one with ``n``, up to so many: the
        server reads the prompt once. The seed sent is that of the first. Servers that do not know
        ``n`` are noticed.

    Raises
    ------
    UsageError
        If aiohttp is missing, or the server refuses the key or knows no such model or address.

    Examples
    --------
    >>> EndpointModel("qwen", "http://localhost:8000/v1/").name
    'endpoint:qwen@http://localhost:8000/v1'
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 600.0,
        retries: int = 5,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        draws_at_once: int = 1,
    ) -> None:
        check_address(url, key_variable)
        self.model = model
        self.url = url.rstrip("/")
        self.key_variable = key_variable
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.draws_at_once = draws_at_once
        self._check()
        self.name = f"endpoint:{model}@{self.url}"
        self._settings = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name != "name"
        }
        self._wires: dict[asyncio.AbstractEventLoop, _Wire] = {}
        self._takes_n = True
        self._cap = "max_tokens"
        self._tells_usage = True

    def sibling(self, model: str) -> EndpointModel:
        """Give another model of the same server, over the same connections.

        They are closed with this one.
        """
        other = object.__new__(EndpointModel)
        vars(other).update(vars(self))
        other.model, other.name = model, f"endpoint:{model}@{self.url}"
        other._settings = self._settings | {"model": model}
        return other

    def _check(self) -> None:
        for name in ("concurrency", "timeout", "draws_at_once"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}", mend="give more than 0")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} is {value}", mend="give more than 0, or None")
        if self.retries < 0:
            raise UsageError(f"retries is {self.retries}", mend="give 0 or more")

    def __repr__(self) -> str:
        return f"EndpointModel({self.model!r}, {self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self._settings,)  # connections stay behind

    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Complete requests, `concurrency` at a time; see `Model.complete`."""
        found: dict[int, Completion] = {}

        def keep(place: int, completion: Completion) -> None:
            found[place] = completion
            if seen:
                seen(place, completion)

        groups = self._groups(requests)
        waiting = iter(groups)

        async def work() -> None:
            for places in waiting:
                await self._draw(places, [requests[place] for place in places], keep)

        # as many workers as can be in flight: a task for each request would cost memory
        await _together(work() for _ in range(min(self.concurrency, len(groups))))
        return [found[place] for place in range(len(requests))]

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Complete one request piece by piece; closing the generator hangs up at once."""
        wire = await self._wire()
        streamed = Streamed(request)
        response, error, cause = None, "", None
        async with wire.places:
            guess = await wire.pace([request])
            try:
                response = await self._send(wire, [request], self._open, stream=True)
                async for block in response.content.iter_any():
                    for piece in streamed.feed(block):
                        yield piece
                    if streamed.ended:
                        await _read_end(response)
                        break
                error = "" if streamed.finished else "the stream broke off"
            except (_GivenUpError, BrokenReplyError) as problem:
                error, cause = self._hide(str(problem)), problem
            except TimeoutError:
                error = f"no end in {self.timeout:g} s"
            except wire.lost as problem:
                error = self._hide(f"the stream broke off: {problem}")
            finally:
                if response is not None:
                    response.close()  # one that was read to its end has let its connection go
                completion = _told(streamed.completion(error), cause)
                wire.settle(guess, [completion])
        yield Chunk(completion=completion)

    async def close(self) -> None:
        """Close the connections."""
        wires, self._wires = self._wires, {}
        here = asyncio.get_running_loop()
        for loop, wire in wires.items():
            if loop is here or not loop.is_running():
                await wire.session.close()
            else:  # another thread's
                closing = asyncio.run_coroutine_threadsafe(wire.session.close(), loop)
                await asyncio.wrap_future(closing)

    async def _wire(self) -> _Wire:
        """Give what belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        wire = self._wires.get(loop)
        if wire is None:
            wire = self._wires[loop] = _Wire(self)
            for other in [other for other in self._wires if other.is_closed()]:
                await self._wires.pop(other).session.close()
        return wire

    def _groups(self, requests: Sequence[Request]) -> list[list[int]]:
        """Put together the places of requests that are sent as one."""
        size = self.draws_at_once if self._takes_n else 1
        if size == 1:
            return [[place] for place in range(len(requests))]
        alike: dict[Request, list[int]] = {}
        for place, request in enumerate(requests):
            alike.setdefault(request.with_seed(None), []).append(place)
        return [
            places[first : first + size]
            for places in alike.values()
            for first in range(0, len(places), size)
        ]

    async def _draw(self, places: Sequence[int], requests: Sequence[Request], keep: Seen) -> None:
        """Complete requests that differ in their seed alone, as one if the server lets us."""
        refused = len(places) > 1 and not self._takes_n
        drawn: list[Completion] = []
        if not refused:
            try:
                drawn = await self._draw_at_once(requests)
            except _RefusedError:
                refused = True
        for place, completion in zip(places, drawn, strict=False):
            keep(place, completion)
        rest = list(zip(places[len(drawn) :], requests[len(drawn) :], strict=True))
        if not rest:
            return
        if not refused:
            self._takes_n = False  # it gave fewer than asked for
        elif self._takes_n:  # was it refused for its n? If so, one alone is taken
            [first] = await self._draw_at_once(requests[:1])
            keep(rest.pop(0)[0], first)
            self._takes_n = first.finish == "failed"
        await _together(self._draw([place], [request], keep) for place, request in rest)

    async def _draw_at_once(self, requests: Sequence[Request]) -> list[Completion]:
        """Send one request for all; a refusal of more than one is raised."""
        wire = await self._wire()
        async with wire.places:
            begun = time.perf_counter()
            guess = await wire.pace(requests)
            drawn: list[Completion] = []
            try:
                drawn = await self._send(wire, requests, functools.partial(self._read, begun))
            except _GivenUpError as error:
                if len(requests) > 1 and isinstance(error, _RefusedError):
                    raise
                seconds = time.perf_counter() - begun
                failed = Completion("", "failed", error=self._hide(str(error)), seconds=seconds)
                drawn = [_told(failed, error)] * len(requests)
            finally:
                wire.settle(guess, drawn)
        return drawn

    async def _send(
        self,
        wire: _Wire,
        requests: Sequence[Request],
        once: Callable[[_Wire, bytes, Sequence[Request]], Awaitable[T]],
        *,
        stream: bool = False,
    ) -> T:
        """Send a request, in the way that this server wants it."""
        while True:
            body = body_of(self.model, requests[0], count=len(requests), cap=self._cap)
            if stream:
                body["stream"] = True
                if self._tells_usage:
                    body["stream_options"] = {"include_usage": True}
            data = encode(body)
            try:
                return await self._persist(wire, functools.partial(once, wire, data, requests))
            except _RefusedError as error:
                if not self._learn(str(error), body):
                    raise

    def _learn(self, said: str, body: dict[str, Any]) -> bool:
        """Note how the server wants to be asked; whether it is worth asking again."""
        if "max_tokens" in body and "max_completion_tokens" in said:
            self._cap = "max_completion_tokens"
            return True
        if "stream_options" in body and "stream_options" in said:
            self._tells_usage = False
            return True
        return False

    async def _persist(self, wire: _Wire, once: Callable[[], Awaitable[T]]) -> T:
        """Try until it works, or the tries are spent."""
        trouble, status, asked = "", 0, 0.0
        for attempt in range(self.retries + 1):
            status, asked = 0, 0.0
            await wire.pace_request()
            try:
                return await once()
            except wire.unusable:
                raise UsageError(f"{self._address} is no address") from None
            except _PassingError as error:
                trouble, status, asked = str(error), error.status, error.wait
            except BrokenReplyError as error:
                trouble = str(error)
            except TimeoutError:
                trouble = f"no answer in {self.timeout:g} s"
            except wire.lost as error:
                trouble = f"no connection: {error}"
            if attempt < self.retries:
                wait = asked + jitter(0, _FIRST_WAIT * 2**attempt)
                await _sleep(min(wait, LONGEST_WAIT))
        text = f"failed {self.retries + 1} times; the last time: {trouble}"
        raise _GivenUpError(text, status, asked)

    async def _read(
        self, begun: float, wire: _Wire, data: bytes, requests: Sequence[Request]
    ) -> list[Completion]:
        """Ask once, and read the whole reply."""
        async with wire.session.post(wire.url, data=data, headers=self._headers()) as response:
            content = await response.read()
        if response.status >= 300:
            raise self._trouble(response.status, response.headers, content)
        reply = read_json(content)
        if isinstance(reply, dict) and reply.get("error"):
            raise self._trouble(_code(reply), response.headers, content)
        return completions_of(reply, requests, time.perf_counter() - begun)

    async def _open(self, wire: _Wire, data: bytes, requests: Sequence[Request]) -> Any:
        """Ask once for a stream, and give it as soon as it begins."""
        response = await wire.session.post(wire.url, data=data, headers=self._headers())
        if response.status < 300:
            return response
        async with response:
            content = await response.read()
        raise self._trouble(response.status, response.headers, content)

    @property
    def _address(self) -> str:
        return f"{self.url}/chat/completions"

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        key = read_key(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def _trouble(self, status: int, headers: Any, content: bytes) -> Exception:
        """Say what a reply that is no completion means."""
        if status in (401, 403):
            return EndpointError(
                f"{self._address} refused the key (status {status})",
                mend=f"set the environment variable {self.key_variable} to a valid key",
                status=status,
            )
        if status == 404 or 300 <= status < 400:
            return EndpointError(
                f"{self._address} is not there, or has no model {self.model!r} (status {status})",
                mend="check the address, which mostly ends in /v1, and the model's name",
                status=status,
            )
        # Of other texts than a message we cannot say whether they hold the key in some disguise.
        with contextlib.suppress(BrokenReplyError):
            content = read_json(content)
        said = error_text(content)
        text = f"status {status}: {said}" if said else f"status {status}"
        if is_passing(status):
            return _PassingError(text, status, asked_wait(headers.get("Retry-After", "")))
        return _RefusedError(text, status)

    def _hide(self, text: str) -> str:
        """Take the key out of a text that a server may have written."""
        key = read_key(self.key_variable)
        return (text.replace(key, "***") if key else text)[:300]


class _Wire:
    """What one event loop needs: its connections, places for requests, and paces."""

    def __init__(self, model: EndpointModel) -> None:
        aiohttp = need("aiohttp", "endpoint", "an endpoint")
        from yarl import URL

        self.url = URL(model._address)
        self.unusable = (aiohttp.InvalidURL,)
        self.lost = (aiohttp.ClientError, OSError)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # `places` is the bound
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=model.timeout),
            proxy=proxy_for(model.url),
        )
        self.places = asyncio.Semaphore(model.concurrency)
        self._requests = _Pace(model.requests_per_minute)
        self._tokens = _Pace(model.tokens_per_minute)

    async def pace_request(self) -> None:
        """Wait until one more request may be sent."""
        await self._requests.take(1)

    async def pace(self, requests: Sequence[Request]) -> float:
        """Wait until the tokens of requests may be used; give how many that may be."""
        if not self._tokens.each:
            return 0.0
        drawn = sum(request.max_tokens or 0 for request in requests)
        guess = prompt_estimate(requests[0]) + drawn
        await self._tokens.take(guess)
        return guess

    def settle(self, guess: float, drawn: Sequence[Completion]) -> None:
        """Take what was used instead of what was guessed."""
        used = sum(completion.prompt_tokens + completion.tokens for completion in drawn)
        self._tokens.give_back(guess - used)


class _Pace:
    """Spreads requests or tokens evenly over the minute."""

    def __init__(self, per_minute: float | None) -> None:
        self.each = 60 / per_minute if per_minute else 0.0
        self._free = 0.0

    async def take(self, amount: float) -> None:
        if not self.each:
            return
        now = time.monotonic()
        begin = max(now, self._free)
        self._free = begin + amount * self.each
        if begin > now:
            await _sleep(begin - now)

    def give_back(self, amount: float) -> None:
        self._free += -amount * self.each


class _PassingError(Exception):
    """What may go away by itself."""

    def __init__(self, text: str, status: int, wait: float) -> None:
        super().__init__(text)
        self.status, self.wait = status, wait


class _GivenUpError(Exception):
    """There will be no completion."""

    def __init__(self, text: str, status: int, wait: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.wait = status, wait


class _RefusedError(_GivenUpError):
    """The server will not answer such a request, however often it is asked."""


def _told(completion: Completion, cause: Exception | None) -> Completion:
    """Add what the server said of why there is no completion."""
    if not isinstance(cause, _GivenUpError):
        return completion
    return dataclasses.replace(completion, status=cause.status, retry_after=cause.wait)


async def _read_end(response: Any) -> None:
    """Read the end of a stream that is done: its connection can then be used again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            await response.content.read()


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all side by side; the first error ends all, and is raised as it is."""
    coroutines = list(work)
    if len(coroutines) == 1:
        await coroutines[0]
        return
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _code(reply: dict[str, Any]) -> int:
    """Give the status that an error sent with status 200 stands for."""
    error = reply["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _make(settings: dict[str, Any]) -> EndpointModel:
    return EndpointModel(**settings)
