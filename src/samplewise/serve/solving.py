"""Requests on their way through the model: what is drawn for one, counted, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from samplewise.answer.base import Judge, Kept, Strategy
from samplewise.answer.draws import Draws, Meter, Sampling
from samplewise.errors import BudgetError
from samplewise.models.chat import estimate, prompt_estimate
from samplewise.models.completion import Chunk, Completion, Enough, Finish, Model, Request, Seen
from samplewise.problems import Message, Problem
from samplewise.serve.errors import of_upstream
from samplewise.verify.base import Verifier
from samplewise.verify.calls import Judge as JudgingModel

__all__ = ["Metered", "Reply", "Tally", "Workshop", "merged", "solve", "together"]

T = TypeVar("T")


@dataclass
class Tally:
    """All that was drawn for a request."""

    samples: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """Tokens read and drawn."""
        return self.prompt_tokens + self.tokens

    def add(self, completion: Completion) -> None:
        """Count a completion."""
        self.samples += 1
        self.prompt_tokens += completion.prompt_tokens
        self.tokens += completion.tokens
        self.cancelled += completion.finish == "cancelled"


class Metered(Model):
    """A model for one request, which counts what is drawn, by the verifier too.

    Parameters
    ----------
    model : Model
        The one that draws.
    """

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.tally = Tally()
        self._model = model

    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Complete requests; each counts as soon as it comes."""

        def keep(place: int, completion: Completion) -> None:
            self.tally.add(completion)
            if seen:
                seen(place, completion)

        return await self._model.complete(requests, keep)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Complete a request piece by piece; what had come when it is closed counts."""
        drawn, ended = 0, False
        try:
            async with contextlib.aclosing(self._model.stream(request)) as pieces:
                async for piece in pieces:
                    drawn += piece.tokens
                    if piece.completion:
                        ended = True
                        self.tally.add(piece.completion)
                    yield piece
        finally:
            if not ended:
                prompt = prompt_estimate(request)
                self.tally.add(Completion("", "cancelled", prompt_tokens=prompt, tokens=drawn))

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Race; what was read for those that were cancelled counts as for those that ended."""
        drawn = await self._model.race(requests, enough)
        read = {
            request.messages: completion.prompt_tokens
            for request, completion in zip(requests, drawn, strict=True)
            if completion.prompt_tokens
        }
        for request, completion in zip(requests, drawn, strict=True):
            prompt = completion.prompt_tokens
            if completion.finish == "cancelled" and not prompt:
                prompt = read.get(request.messages) or prompt_estimate(request)
            self.tally.add(dataclasses.replace(completion, prompt_tokens=prompt))
        return drawn


@dataclass(frozen=True)
class Reply:
    """One answer, as it goes out."""

    text: str | None
    finish: Finish = "stop"
    tokens: int = 0
    sequential_tokens: int = 0
    thinking: str = ""
    refusal: str | None = None
    """Why there is none."""
    log_probabilities: Sequence[float] | None = None
    token_texts: Sequence[str] | None = None

    @classmethod
    def of(cls, completion: Completion) -> Reply:
        """Pass a completion on.

        Raises
        ------
        ApiError
            If it failed.
        """
        if completion.finish == "failed":
            raise of_upstream(completion)
        return cls(
            completion.text,
            completion.finish,
            completion.tokens,
            completion.tokens,
            completion.thinking,
            None,
            completion.log_probabilities,
            completion.token_texts,
        )


async def solve(
    strategy: Strategy,
    model: Metered,
    verifier: Verifier,
    turns: tuple[Message, ...],
    sampling: Sampling,
    *,
    seed: int,
    limit: int | None,
    stop: tuple[str, ...],
) -> Reply:
    """Answer one conversation by a strategy.

    Parameters
    ----------
    strategy : Strategy
    model : Metered
    verifier : Verifier
        What the strategy may ask.
    turns : tuple of Message
    sampling : Sampling
    seed : int
    limit : int, optional
        Tokens that may be drawn.
    stop : tuple of str
        Texts that end the answer.

    Raises
    ------
    ApiError
        If every completion failed.
    """
    problem = Problem("1", turns)
    draws = Meter(model, sampling, seed=seed).of(problem, limit)
    if isinstance(verifier, JudgingModel):  # what it draws counts too
        verifier = JudgingModel(model, verifier.prompt, verifier.max_tokens)
    try:
        kept = await strategy.solve(draws, Judge(verifier, problem))
    except BudgetError as error:
        kept = Kept(None, reason=error.message)
    if kept.text is not None:
        return _kept(kept, kept.text, draws, stop)
    if draws.made and all(completion.finish == "failed" for completion in draws.made):
        raise of_upstream(draws.made[0])
    reason = kept.reason or "no answer could be kept"
    return Reply(None, refusal=reason, sequential_tokens=kept.sequential_tokens)


def _kept(kept: Kept, text: str, draws: Draws, stop: tuple[str, ...]) -> Reply:
    cuts = [text.find(one) for one in stop if one in text]
    finish: Finish = "stop"
    if kept.place is None:  # put together of several
        tokens, thinking = min(estimate(text), draws.tokens), ""
    else:
        completion = draws.made[kept.place]
        tokens, thinking = completion.tokens, completion.thinking
        finish = "stop" if cuts else completion.finish
    text = text[: min(cuts)] if cuts else text
    return Reply(text, finish, tokens, kept.sequential_tokens, thinking)


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all side by side; the first error ends all, and is raised as it is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def merged(
    streams: Sequence[AsyncGenerator[Chunk, None]],
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """Give the pieces of several streams as they come, each with its stream's place."""
    if len(streams) == 1:
        async with contextlib.aclosing(streams[0]) as pieces:
            async for piece in pieces:
                yield 0, piece
        return
    come: asyncio.Queue[tuple[int, Chunk] | Exception | None] = asyncio.Queue(2 * len(streams))

    async def run(place: int, stream: AsyncGenerator[Chunk, None]) -> None:
        async with contextlib.aclosing(stream) as pieces:
            async for piece in pieces:
                await come.put((place, piece))

    async def run_all() -> None:
        try:
            await together([run(place, stream) for place, stream in enumerate(streams)])
        except Exception as error:
            await come.put(error)
        else:
            await come.put(None)

    running = asyncio.create_task(run_all())
    try:
        while (one := await come.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Workshop:
    """An event loop of its own for strategies: a vote that compares long holds up no stream."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that is done there; cancelling this cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def close(self) -> None:
        """Cancel what is left, and end the thread."""
        await self.do(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
