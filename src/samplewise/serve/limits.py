"""Who may ask, and for how much: keys, sizes, requests at work, tokens."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from samplewise.errors import UsageError
from samplewise.serve.errors import ApiError

__all__ = ["Account", "Allowance", "Keys", "Limits", "is_loopback", "read_body", "read_keys"]


@dataclass(frozen=True)
class Limits:
    """What one request, and one key, may take.

    Parameters
    ----------
    tokens_per_request : int, optional
        Tokens that may be drawn for a request, hidden samples among them.
    tokens_per_key : int, optional
        Tokens that a key may use, read and drawn, since the start. Needs `tokens_per_request`: a
        request's worst must be known before it begins.
    seconds : float
        From a request to the end of its reply.
    at_work : int
        Requests that are answered at a time.
    samples : int
        Completions that a request may ask for by name and ``n``.
    body_bytes : int
    depth : int
        Brackets within brackets of a request.

    Raises
    ------
    UsageError
        If a limit is not above 0, or `tokens_per_request` is missing.
    """

    tokens_per_request: int | None = None
    tokens_per_key: int | None = None
    seconds: float = 600.0
    at_work: int = 256
    samples: int = 256
    body_bytes: int = 4 * 2**20
    depth: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise UsageError(f"limit {name} is {value}", mend="give more than 0")
        if self.tokens_per_key is not None and self.tokens_per_request is None:
            raise UsageError(
                "tokens for a key need to know what one request can cost",
                mend="give --max-tokens-per-request too",
            )


class Account:
    """What one key has used, and what its requests at work may still use."""

    def __init__(self, limits: Limits) -> None:
        self.used = 0
        self._held = 0
        self._limits = limits

    def allow(self, most: int | None) -> Allowance:
        """Set tokens aside for a request that draws at most so many.

        Raises
        ------
        ApiError
            429 if nothing is left, for good or for now.
        """
        granted = _least(most, self._limits.tokens_per_request)
        total = self._limits.tokens_per_key
        if total is None or granted is None:
            return Allowance(self, granted)
        if self.used >= total:
            raise ApiError(
                429,
                "the tokens of this key are used up",
                code="insufficient_quota",
                kind="insufficient_quota",
            )
        granted = min(granted, total - self.used - self._held)
        if granted < 1:
            raise ApiError(
                429,
                "other requests of this key hold what is left of its tokens",
                code="rate_limit_exceeded",
                kind="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )
        self._held += granted
        return Allowance(self, granted, granted)

    def settle(self, held: int, used: int) -> None:
        """Take what was used instead of what was set aside."""
        self._held -= held
        self.used += used


@dataclass
class Allowance:
    """Tokens that one request may draw.

    Attributes
    ----------
    tokens : int, optional
        How many; None where nothing bounds them.
    """

    account: Account
    tokens: int | None
    held: int = 0

    def settle(self, used: int, *, cut: bool) -> None:
        """Say what was used; who is cut off pays for all, as nobody can say what was drawn."""
        self.account.settle(self.held, max(used, self.held) if cut else used)


class Keys:
    """The keys that may ask, as digests; without any, everybody may who reaches the server.

    Parameters
    ----------
    keys : sequence of str
    limits : Limits
    anywhere : bool
        Whether, without keys, the server may be reached by another name than this machine's own. A
        web page could else ask it in the name of whoever looks at the page.
    """

    def __init__(
        self, keys: Sequence[str], limits: Limits | None = None, *, anywhere: bool = False
    ) -> None:
        limits = limits or Limits()
        if limits.tokens_per_key is not None and not keys:
            raise UsageError("tokens for a key need keys", mend="give --keys-env")
        self._digests = [_digest(key.encode()) for key in keys]
        self._accounts = [Account(limits) for _ in keys] or [Account(limits)]
        self._anywhere = anywhere

    def check(self, request: Request) -> Account:
        """Find the account of a request.

        Raises
        ------
        ApiError
            401 without a right key; 403 where no keys are asked for and the server is called by a
            name that is not this machine's own.
        """
        if not self._digests:
            if not self._anywhere and not is_loopback(_host(request)):
                raise ApiError(403, "this server answers to localhost only")
            return self._accounts[0]
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        given = _digest(key.strip().encode())
        found = None
        for place, known in enumerate(self._digests):  # all of them, so that time tells nothing
            if hmac.compare_digest(given, known):
                found = self._accounts[place]
        if found is None or kind.lower() != "bearer":
            raise ApiError(
                401,
                "the key is missing or wrong: send Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found


def read_keys(variable: str | None) -> list[str]:
    """Read the keys of an environment variable, separated by commas.

    Raises
    ------
    UsageError
        If a variable is named, and holds no key.
    """
    if variable is None:
        return []
    keys = [key.strip() for key in os.environ.get(variable, "").split(",") if key.strip()]
    if not keys:
        raise UsageError(f"{variable} holds no key", mend="set it to KEY or KEY,KEY")
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise UsageError(f"a key in {variable} holds odd characters")
    return keys


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, as itself alone can reach it.

    Examples
    --------
    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1")
    (True, True, True)
    >>> is_loopback("0.0.0.0"), is_loopback("example.com")
    (False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def read_body(request: Request, limits: Limits) -> Any:
    """Read a request's JSON.

    Raises
    ------
    ApiError
        415 if it is not said to be JSON, 413 if it is too long, 400 if it is none or too deep.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # what a web page can send elsewhere unasked is never this
        raise ApiError(415, "send Content-Type: application/json")
    too_long = ApiError(413, f"a request has at most {limits.body_bytes:,} bytes")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limits.body_bytes:
        raise too_long
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > limits.body_bytes:
            raise too_long
    try:
        content = orjson.loads(body)
    except ValueError:
        raise ApiError(400, "the request is no JSON") from None
    if _deeper(content, limits.depth):
        raise ApiError(400, f"the request is nested more than {limits.depth} deep")
    return content


def _deeper(content: Any, depth: int) -> bool:
    """Say whether there are more brackets within brackets than `depth`, level by level."""
    level = [content] if isinstance(content, (dict, list)) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def _host(request: Request) -> str:
    """Give the name that the server was called by, without the port."""
    called = request.headers.get("host", "")
    return called[1:].partition("]")[0] if called.startswith("[") else called.partition(":")[0]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _least(*amounts: int | None) -> int | None:
    return min((amount for amount in amounts if amount is not None), default=None)
