"""Replies in OpenAI's form: whole, or as the events of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from samplewise.serve.errors import ApiError, internal, log
from samplewise.serve.solving import Reply, Tally

__all__ = ["EventStream", "Form", "GoneError", "event", "in_time", "unless_gone"]

T = TypeVar("T")

_FINISHES = {"length": "length", "cancelled": "length", "filtered": "content_filter"}
_PATIENCE = 1.0  # seconds that a client has to take the last words of a stream
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class GoneError(ApiError):
    """The client has hung up; nobody reads this."""

    def __init__(self) -> None:
        super().__init__(499, "the client has hung up")


class Form:
    """What all parts of one reply share.

    Parameters
    ----------
    model : str
        As it was asked for.
    """

    def __init__(self, model: str) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
        }
        self._begun: set[int] = set()

    def whole(self, replies: Sequence[Reply], tally: Tally) -> bytes:
        """Write a whole reply."""
        choices = [
            {
                "index": place,
                "message": {
                    "role": "assistant",
                    "content": reply.text,
                    "refusal": reply.refusal,
                    **({"reasoning_content": reply.thinking} if reply.thinking else {}),
                },
                "logprobs": _log_probabilities(reply),
                "finish_reason": _finish(reply),
            }
            for place, reply in enumerate(replies)
        ]
        return orjson.dumps({**self._head, "choices": choices, "usage": usage(replies, tally)})

    def piece(self, place: int, text: str, thinking: str = "", refusal: str | None = None) -> bytes:
        """Write an event with some of an answer."""
        delta: dict[str, Any] = {"content": text} if text else {}
        if thinking:
            delta["reasoning_content"] = thinking
        if refusal:
            delta["refusal"] = refusal
        delta = self._role(place) | delta
        choice = {"index": place, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._event([choice])

    def last(self, place: int, reply: Reply) -> bytes:
        """Write the event that ends an answer."""
        choice = {
            "index": place,
            "delta": self._role(place),
            "logprobs": _log_probabilities(reply),
            "finish_reason": _finish(reply),
        }
        return self._event([choice])

    def end(self, replies: Sequence[Reply], tally: Tally, *, with_usage: bool) -> bytes:
        """Write the end of the stream."""
        told = self._event([], usage=usage(replies, tally)) if with_usage else b""
        return told + b"data: [DONE]\n\n"

    def _role(self, place: int) -> dict[str, Any]:
        """Give what only the first event of an answer says."""
        if place in self._begun:
            return {}
        self._begun.add(place)
        return {"role": "assistant", "content": ""}

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event({**self._head, "object": "chat.completion.chunk", "choices": choices, **more})


def event(content: Any) -> bytes:
    """Write one event of a stream."""
    return b"data: " + orjson.dumps(content) + b"\n\n"


def usage(replies: Sequence[Reply], tally: Tally) -> dict[str, Any]:
    """Give the tokens of all that was drawn, and how they were spent."""
    return {
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.tokens,
        "total_tokens": tally.total,
        "samplewise": {
            "samples": tally.samples,
            "kept_tokens": sum(reply.tokens for reply in replies),
            "sequential_tokens": max(reply.sequential_tokens for reply in replies),
            "cancelled": tally.cancelled,
        },
    }


class EventStream(Response):
    """Events as they come; a client that hangs up ends them at once.

    An error before the first event is a plain response; later it is an event.

    Parameters
    ----------
    events : async generator of bytes
    deadline : float
        When, by the event loop's clock, there must be an end.
    done : callable
        Told of the status when it is over.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        deadline: float,
        done: Callable[[int], None],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = list(_STREAM)
        self._events = events
        self._deadline = deadline
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they or the client end."""
        status = 500
        try:
            status = await unless_gone(receive, self._write(send))
        except ApiError as error:
            status = error.status
            if not isinstance(error, GoneError):
                raise
        finally:
            self._done(status)

    async def _write(self, send: Send) -> int:
        begun, status = False, 200
        last = b""
        try:
            async with in_time(self._deadline), contextlib.aclosing(self._events) as events:
                async for one in events:
                    if not begun:
                        begun = True
                        await send(
                            {
                                "type": "http.response.start",
                                "status": 200,
                                "headers": self.raw_headers,
                            }
                        )
                    await send({"type": "http.response.body", "body": one, "more_body": True})
        except Exception as error:
            if not begun:
                raise
            told = error if isinstance(error, ApiError) else internal()
            if told is not error:
                log.exception("a stream broke")
            status, last = told.status, event(told.content)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": last, "more_body": False})
        return status


async def unless_gone(receive: Callable[[], Awaitable[Any]], work: Awaitable[T]) -> T:
    """Do some work, unless the client hangs up before it is done: then it is cancelled.

    Raises
    ------
    GoneError
        If the client has hung up.
    """
    here = asyncio.current_task()
    assert here is not None
    gone = False

    def stop(watch: asyncio.Task[None]) -> None:
        nonlocal gone
        gone = not watch.cancelled()
        if gone:
            here.cancel()

    watch = asyncio.create_task(_hung_up(receive))
    watch.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        here.uncancel()
        raise GoneError from None
    finally:
        watch.remove_done_callback(stop)
        watch.cancel()


async def _hung_up(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def in_time(deadline: float) -> AsyncGenerator[None, None]:
    """Cancel what is not done in time.

    Raises
    ------
    ApiError
        504 if it was not.
    """
    try:
        async with asyncio.timeout_at(deadline) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ApiError(504, "there was no answer in time", code="timeout", kind="timeout") from None


def _finish(reply: Reply) -> str:
    return _FINISHES.get(reply.finish, "stop")


def _log_probabilities(reply: Reply) -> dict[str, Any] | None:
    if reply.log_probabilities is None:
        return None
    texts = reply.token_texts or [""] * len(reply.log_probabilities)
    content = [
        {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
        for text, value in zip(texts, reply.log_probabilities, strict=True)
    ]
    return {"content": content, "refusal": None}
