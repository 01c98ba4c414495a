"""Vectors from any server that speaks the OpenAI embeddings API (vLLM, llama.cpp, Ollama, cloud).

Use it where a better model than this machine can hold runs elsewhere. Cost: one request a
`batch_size` texts, `concurrency` at a time.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from samplewise.embed.base import Vectors
from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.models.http import (
    LONGEST_WAIT,
    asked_wait,
    check_address,
    is_passing,
    jitter,
    read_key,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["EndpointEmbedder"]


@dataclass(frozen=True)
class EndpointEmbedder:
    """Embed over HTTP: ``POST {url}/embeddings``.

    The key is read from the environment for each call: it is in no attribute, `id`, pickle or
    error.

    Parameters
    ----------
    model : str
        What the server calls the model.
    url : str
        Such as ``"http://localhost:8000/v1"``.
    batch_size : int
        Texts a request.
    key_variable : str
        Environment variable that holds the key; without it no key is sent.
    timeout : float
        Seconds a request may take.
    concurrency : int
        Requests in flight.
    retries : int
        Further tries after a time-out, a lost connection, a 429 or a 5xx.

    Raises
    ------
    UsageError
        If httpx is missing, or the server refuses the key, the model or the request.
    InputError
        If what the server sends is not one finite vector of the same length a text.

    Examples
    --------
    >>> EndpointEmbedder("bge-m3", "http://localhost:8000/v1/").id
    'endpoint:http://localhost:8000/v1:bge-m3'
    """

    model: str
    url: str
    batch_size: int = 128
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    concurrency: int = 4
    retries: int = 5

    def __post_init__(self) -> None:
        check_address(self.url, self.key_variable)
        for name in ("batch_size", "concurrency", "timeout"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}", mend="give more than 0")
        if self.retries < 0:
            raise UsageError(f"retries is {self.retries}", mend="give 0 or more")

    @property
    def id(self) -> str:
        """Name the server and the model."""
        return f"endpoint:{self.url.rstrip('/')}:{self.model}"

    def embed(self, texts: list[str]) -> Vectors:
        """Give one vector a text, shape (len(texts), dimensions), as the server sent it."""
        if not texts:
            return np.empty((0, 0), np.float32)
        batches = [
            texts[start : start + self.batch_size]
            for start in range(0, len(texts), self.batch_size)
        ]
        with self._client() as client, ThreadPoolExecutor(self.concurrency) as threads:
            waiting = [threads.submit(self._embed_batch, client, batch) for batch in batches]
            try:
                blocks = [future.result() for future in waiting]
            finally:  # after an error, what has not begun need not begin
                for future in waiting:
                    future.cancel()
        if len({block.shape[1] for block in blocks}) > 1:
            raise InputError("sent vectors of unequal length", file=self._address)
        return np.concatenate(blocks)

    @property
    def _address(self) -> str:
        return f"{self.url.rstrip('/')}/embeddings"

    def _client(self) -> httpx.Client:
        library = need("httpx", "endpoint", "an endpoint")
        key = read_key(self.key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client: httpx.Client = library.Client(headers=headers, timeout=self.timeout)
        return client

    def _embed_batch(self, client: httpx.Client, texts: list[str]) -> Vectors:
        reply = self._post(client, {"model": self.model, "input": texts})
        try:
            content = reply.json()
        except (ValueError, RecursionError) as error:
            raise InputError(f"sent no JSON: {reply.text[:80]!r}", file=self._address) from error
        return _vectors_of(content, len(texts), self._address)

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
        """Send a request until it is answered, or the tries are spent."""
        import httpx

        trouble = ""
        for attempt in range(self.retries + 1):
            wait = jitter(0.5, 1.0) * 0.5 * 2**attempt
            try:
                reply = client.post(self._address, json=body)
            except httpx.TimeoutException:
                trouble = f"no answer in {self.timeout:g} s"
            except httpx.InvalidURL as error:
                raise UsageError(f"{self._address} is no address: {error}") from error
            except httpx.TransportError as error:
                trouble = f"no connection: {error}"
            else:
                if reply.status_code < 300:
                    return reply
                if not is_passing(reply.status_code):
                    raise self._refusal(reply.status_code)
                trouble = f"status {reply.status_code}"
                wait = max(wait, asked_wait(reply.headers.get("Retry-After", "")))
            if attempt < self.retries:
                time.sleep(min(wait, LONGEST_WAIT))
        raise InputError(
            f"failed {self.retries + 1} times; the last time: {trouble}",
            file=self._address,
            mend="see that the server runs, or raise timeout or retries",
        )

    def _refusal(self, status: int) -> UsageError:
        # The reply's text is not shown: some servers repeat the key in it.
        if status in (401, 403):
            return UsageError(
                f"{self._address} refused the key (status {status})",
                mend=f"set the environment variable {self.key_variable} to a valid key",
            )
        return UsageError(
            f"{self._address} refused the request (status {status})",
            mend=f"check the address, the model {self.model!r}, and that no text is too long",
        )


def _vectors_of(content: Any, count: int, address: str) -> Vectors:
    """Check a reply, and put its vectors in the order of the texts."""
    try:
        found = {int(item["index"]): item["embedding"] for item in content["data"]}
        total = len(content["data"])
    except (TypeError, KeyError, ValueError) as error:
        raise InputError("sent no list of embeddings", file=address) from error
    if total != count or sorted(found) != list(range(count)):
        raise InputError(f"sent {total} vectors for {count} texts, or not one each", file=address)
    try:
        with np.errstate(over="ignore"):
            vectors = np.array([found[i] for i in range(count)], dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            "sent vectors of unequal length, or that hold no numbers", file=address
        ) from error
    if vectors.ndim != 2 or not vectors.size:
        raise InputError("sent embeddings that are no vectors", file=address)
    if not np.isfinite(vectors).all():
        raise InputError("sent a vector that is not finite", file=address)
    return vectors
