"""The chat completions format: what is sent for a request, and what is read of a reply."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from samplewise.models.completion import Chunk, Completion, Finish, Request

__all__ = ["BrokenReplyError", "Streamed", "body_of", "completions_of", "encode", "read_json"]

_FINISHES: dict[Any, Finish] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filtered",
    "abort": "failed",
    "error": "failed",
}
_SHARE = 4  # bytes of English that a token stands for, where nobody counted
_PIECE = 16  # bytes that one streamed token may well have


class BrokenReplyError(Exception):
    """A reply that cannot be read, such as broken JSON; another try may mend it."""


def body_of(model: str, request: Request, *, count: int = 1, cap: str = "max_tokens") -> Any:
    """Give the body that asks for `count` completions of a request.

    `cap` is what the server calls the most tokens that may be drawn.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    if request.max_tokens is not None:
        body[cap] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body["seed"] = request.seed
    if request.log_probabilities:
        body["logprobs"] = True
    if request.min_p:
        body["min_p"] = request.min_p
    if count > 1:
        body["n"] = count
    if request.messages[-1].role == "assistant":  # go on with that turn, begin none
        body["add_generation_prompt"] = False
        body["continue_final_message"] = True
    return body


def encode(body: Any) -> bytes:
    """Write a body as JSON."""
    try:
        return orjson.dumps(body)
    except TypeError:  # half a surrogate pair, which only escapes can say
        return json.dumps(body).encode()


def read_json(content: bytes) -> Any:
    """Read a reply's JSON; some servers write log-probabilities as NaN or -Infinity."""
    try:
        return orjson.loads(content)
    except ValueError:
        pass
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenReplyError("sent broken JSON") from error


def completions_of(
    content: Any, requests: Sequence[Request], seconds: float = 0.0
) -> list[Completion]:
    """Read the completions of a reply, at most one a request.

    The tokens of several choices are only known together: they are shared out by length, so that
    the sum is right, and the prompt is put down to the first.
    """
    try:
        choices = sorted(content["choices"], key=lambda choice: choice.get("index") or 0)
        choices = choices[: len(requests)]
        messages = [_texts(choice["message"]) for choice in choices]
        log_probabilities = [_log_probabilities(choice) for choice in choices]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise BrokenReplyError("sent no list of choices") from error
    if not choices:
        raise BrokenReplyError("sent no choice")
    usage = _usage(content)
    counts = _shares(usage, messages)
    return [
        Completion(
            text,
            _finish(choice),
            prompt_tokens=_prompt(usage, requests[0]) if place == 0 else 0,
            tokens=counts[place],
            thinking=thinking,
            thinking_tokens=_thought(usage, counts[place]) if len(choices) == 1 else 0,
            log_probabilities=log_probabilities[place] if requests[0].log_probabilities else None,
            error=_why(choice),
            seconds=seconds,
            counted=usage is not None and len(choices) == 1,
            token_texts=_token_texts(choice) if requests[0].log_probabilities else None,
        )
        for place, (choice, (text, thinking)) in enumerate(zip(choices, messages, strict=True))
    ]


class Streamed:
    """Puts a completion together from the bytes of a stream."""

    def __init__(self, request: Request) -> None:
        self.ended = False
        """Whether the server said that nothing follows."""
        self._request = request
        self._begun = time.perf_counter()
        self._rest = b""
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._told = 0
        self._log_probabilities: list[float] = []
        self._token_texts: list[str] = []
        self._last: Mapping[str, Any] = {}
        self._usage: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the completion is whole."""
        return self.ended or bool(self._last)

    def feed(self, block: bytes) -> Iterator[Chunk]:
        """Read some bytes of the stream, and give the pieces that they hold."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.ended = True
                return
            piece = self._event(read_json(data))
            if piece:
                yield piece

    def _event(self, event: Any) -> Chunk | None:
        if not isinstance(event, dict):
            raise BrokenReplyError("streamed something that is no piece")
        if event.get("error"):
            raise BrokenReplyError(f"streamed an error: {error_text(event)}")
        self._usage = _usage(event) or self._usage
        choices = event.get("choices")
        if not choices:
            return None
        try:
            choice = choices[0]
            text, thinking = _texts(choice.get("delta") or {})
            known = _log_probabilities(choice) or ()
            self._token_texts += _token_texts(choice) or ()
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise BrokenReplyError("streamed something that is no piece") from error
        if choice.get("finish_reason"):
            self._last = choice
        if not text and not thinking:
            return None
        return self._piece(text, thinking, known, event)

    def _piece(self, text: str, thinking: str, known: Sequence[float], event: Any) -> Chunk:
        self._texts.append(text)
        self._thoughts.append(thinking)
        self._log_probabilities += known
        running = _usage(event)
        if running and isinstance(running.get("completion_tokens"), int):
            count = max(0, running["completion_tokens"] - self._told)
        else:  # mostly one token a piece, though some servers send several together
            count = len(known) or -(-len((text + thinking).encode()) // _PIECE)
        self._told += count
        return Chunk(text, thinking, count)

    def completion(self, error: str = "") -> Completion:
        """Give what has come; with an `error`, as one that failed."""
        usage = None if error else self._usage
        tokens = usage["completion_tokens"] if usage else self._told
        wanted = self._request.log_probabilities
        return Completion(
            "".join(self._texts),
            "failed" if error else _finish(self._last),
            prompt_tokens=_prompt(usage, self._request),
            tokens=tokens,
            thinking="".join(self._thoughts),
            thinking_tokens=_thought(usage, tokens),
            log_probabilities=tuple(self._log_probabilities) or None if wanted else None,
            error=error or _why(self._last),
            seconds=time.perf_counter() - self._begun,
            counted=usage is not None,
            token_texts=tuple(self._token_texts) or None if wanted else None,
        )


def estimate(text: str) -> int:
    """Guess how many tokens a text has."""
    return -(-len(text.encode("utf-8", "replace")) // _SHARE)


def prompt_estimate(request: Request) -> int:
    """Guess how many tokens a request's messages have."""
    return sum(estimate(turn.content) + 4 for turn in request.messages)


def error_text(content: Any) -> str:
    """Find the message in an error that a server sent; empty where it has none."""
    if not isinstance(content, dict):
        return ""
    error = content.get("error", content)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or ""
    return error if isinstance(error, str) else ""


def _texts(message: Mapping[str, Any]) -> tuple[str, str]:
    """Give the text and the thinking; servers name the latter in two ways."""
    text = message.get("content") or ""
    thinking = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(text, str) or not isinstance(thinking, str):
        raise ValueError("no text")
    return text, thinking


def _log_probabilities(choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    content = (choice.get("logprobs") or {}).get("content")
    return tuple(float(token["logprob"]) for token in content) if content else None


def _token_texts(choice: Mapping[str, Any]) -> tuple[str, ...] | None:
    content = (choice.get("logprobs") or {}).get("content")
    return tuple(str(token.get("token", "")) for token in content) if content else None


def _finish(choice: Mapping[str, Any]) -> Finish:
    return _FINISHES.get(choice.get("finish_reason"), "stop")


def _why(choice: Mapping[str, Any]) -> str:
    failed = _finish(choice) == "failed"
    return f"the server ended it: {choice['finish_reason']}" if failed else ""


def _usage(content: Any) -> Mapping[str, Any] | None:
    usage = content.get("usage")
    counted = isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int)
    return usage if counted else None


def _prompt(usage: Mapping[str, Any] | None, request: Request) -> int:
    count = usage.get("prompt_tokens") if usage else None
    return count if isinstance(count, int) else prompt_estimate(request)


def _thought(usage: Mapping[str, Any] | None, tokens: int) -> int:
    details = usage.get("completion_tokens_details") if usage else None
    count = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return min(count, tokens) if isinstance(count, int) else 0


def _shares(usage: Mapping[str, Any] | None, messages: Sequence[tuple[str, str]]) -> list[int]:
    guesses = [estimate(text) + estimate(thinking) for text, thinking in messages]
    if usage is None:
        return guesses
    total, guessed = usage["completion_tokens"], max(sum(guesses), 1)
    shares = [total * guess // guessed for guess in guesses]
    shares[0] += total - sum(shares)  # what rounding left
    return shares
