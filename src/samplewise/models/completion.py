"""What every model that answers can do: complete requests, and stream a completion.

Behind the protocol may stand the built-in model, a folder of weights or a server. A strategy sees
none of that: it asks for completions, and stops a stream by closing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, TypeAlias

from samplewise.errors import UsageError
from samplewise.problems import Message
from samplewise.progress import Progress

__all__ = [
    "Chunk",
    "Completion",
    "Enough",
    "Finish",
    "Model",
    "Price",
    "Request",
    "Seen",
    "make_model",
]

Finish: TypeAlias = Literal["stop", "length", "filtered", "cancelled", "failed"]
"""Why a completion ended: the model ended it (or a stop string did), its tokens were used up, the
server held it back, whoever asked did not wait for the end, or there is none."""

Seen: TypeAlias = "Callable[[int, Completion], None]"
"""Told of each completion when it comes: its place among the requests, and the completion."""

Enough: TypeAlias = "Callable[[Sequence[Completion]], bool]"
"""Whether the completions that have ended in a race are enough to stop it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    Parameters
    ----------
    messages : tuple of Message
        The conversation so far. Where its last turn is the assistant's, the completion goes on with
        that turn.
    temperature : float
        0 takes the likeliest token each time.
    top_p : float
        Tokens are drawn from the likeliest that together have this probability.
    max_tokens : int, optional
        The most tokens to draw; None leaves it to the model: its whole context, or a server's own
        rule.
    stop : tuple of str
        Texts that end the completion; they are not part of it.
    seed : int, optional
        The same seed gives the same completion, where the backend can promise that.
    log_probabilities : bool
        Whether the log-probability of each token drawn is wanted.
    min_p : float
        Only tokens with this share of the likeliest one's probability, or more, are drawn; 0 lets
        all through. Not every server knows it, and it is sent only where it is not 0.

    Examples
    --------
    >>> Request.ask("What is 2 + 3?", temperature=0.0, max_tokens=8).temperature
    0.0
    """

    messages: tuple[Message, ...]
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    log_probabilities: bool = False
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not self.messages:
            raise UsageError("a request has no message", mend="ask something")
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}", mend="give 0 or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}", mend="give more than 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise UsageError(f"min_p is {self.min_p}", mend="give 0 to 1")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"max_tokens is {self.max_tokens}", mend="give 1 or more, or None")

    @classmethod
    def ask(cls, question: str, **settings: object) -> Request:
        """Make a request of one question."""
        return cls((Message("user", question),), **settings)  # type: ignore[arg-type]

    def with_seed(self, seed: int | None) -> Request:
        """Give the same request with another seed."""
        return dataclasses.replace(self, seed=seed)


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back of a request.

    Attributes
    ----------
    text : str
        The answer, without what the model thought to itself.
    finish : {'stop', 'length', 'filtered', 'cancelled', 'failed'}
        Why it ended.
    prompt_tokens, tokens : int
        Tokens read and tokens drawn, those of thinking among them.
    thinking : str
        What a reasoning model thought to itself, where the backend shows it.
    thinking_tokens : int
        How many of `tokens` that took, where the backend says.
    log_probabilities : tuple of float, optional
        Of each token drawn, in nats, where asked for and known.
    error : str
        Why there is none, where it failed.
    seconds : float
        From asking to the end.
    counted : bool
        Whether the token counts are the backend's; if not, they are estimates.
    token_texts : tuple of str, optional
        The text of each token drawn, where log-probabilities are.
    status : int
        The HTTP status it failed with, where a server said one; 400 where a model of this machine
        cannot read the request; else 0.
    retry_after : float
        Seconds after which the server that said so wants to be asked again.
    """

    text: str
    finish: Finish = "stop"
    prompt_tokens: int = 0
    tokens: int = 0
    thinking: str = ""
    thinking_tokens: int = 0
    log_probabilities: tuple[float, ...] | None = None
    error: str = ""
    seconds: float = 0.0
    counted: bool = True
    token_texts: tuple[str, ...] | None = None
    status: int = 0
    retry_after: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether the model came to an end of its own."""
        return self.finish == "stop"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream; the last one carries the whole completion."""

    text: str = ""
    thinking: str = ""
    tokens: int = 0
    """Tokens in this piece, those of thinking among them."""
    completion: Completion | None = field(default=None, repr=False)


class Price(NamedTuple):
    """Dollars a million tokens, read and drawn."""

    prompt: float
    completion: float

    def of(self, completion: Completion) -> float:
        """Give what a completion cost, in dollars."""
        return (self.prompt * completion.prompt_tokens + self.completion * completion.tokens) / 1e6


class _Runner:
    """One draw of a race, and what it has come to."""

    def __init__(self, stream: AsyncGenerator[Chunk, None]) -> None:
        self._stream = stream
        self._begun = time.perf_counter()
        self._pieces: list[Chunk] = []
        self._completion: Completion | None = None

    async def run(self) -> Completion:
        """Draw to the end; cancelling this cancels the draw."""
        async with contextlib.aclosing(self._stream) as pieces:
            async for piece in pieces:
                self._pieces.append(piece)
                self._completion = piece.completion or self._completion
        return self.completion

    @property
    def completion(self) -> Completion:
        """What was drawn: whole, or up to where it was cancelled."""
        return self._completion or Completion(
            "".join(piece.text for piece in self._pieces),
            "cancelled",
            tokens=sum(piece.tokens for piece in self._pieces),
            thinking="".join(piece.thinking for piece in self._pieces),
            seconds=time.perf_counter() - self._begun,
            counted=False,
        )


class Model(ABC):
    """Something that completes requests; an asynchronous context manager that closes it.

    Attributes
    ----------
    name : str
        What it was made from, such as ``"builtin"``; goes into run folders, so it holds no secret.
    """

    name: str

    @abstractmethod
    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Complete requests, as many at a time as the backend takes.

        `seen` is called with the place of a request and its completion as soon as that is there.
        A request that fails for good gives a completion whose `finish` is ``"failed"``; what no
        request can mend, such as a refused key, raises a `UsageError`. Cancelling the call cancels
        the draws.
        """

    @abstractmethod
    def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Complete one request piece by piece; closing the generator cancels the draw."""

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Complete requests side by side until those that have ended are enough.

        Parameters
        ----------
        requests : sequence of Request
        enough : callable
            Called with the completions that have ended so far, in the order they did, each time
            one ends. When it says yes, the draws that still run are cancelled at once.

        Returns
        -------
        list of Completion
            One a request, in their order; that of a cancelled draw holds what it had drawn.
        """
        runners = [_Runner(self.stream(request)) for request in requests]
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        ended: list[Completion] = []
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                ended += [task.result() for task in sorted(done, key=tasks.index)]
                if enough(ended):
                    break
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return [runner.completion for runner in runners]

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of connections and threads."""

    async def __aenter__(self) -> Model:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def make_model(spec: str = "builtin", *, progress: Progress | None = None) -> Model:
    """Make a model from its name.

    Parameters
    ----------
    spec : str
        ``"builtin"``, a folder of weights, or ``"endpoint:NAME@URL"``: what a server calls its
        model, and where it is.
    progress : Progress, optional

    Returns
    -------
    Model

    Raises
    ------
    UsageError
        If there is no such model, or a package is missing.
    """
    if spec.startswith("endpoint:"):
        name, _, url = spec.removeprefix("endpoint:").partition("@")
        if not name or not url:
            raise UsageError(f"model {spec!r}", mend="write endpoint:NAME@http://host:port/v1")
        from samplewise.models.endpoint import EndpointModel

        return EndpointModel(name, url)
    from samplewise.models.base import load
    from samplewise.models.local import LocalModel

    return LocalModel(load(spec, progress=progress))
