"""One chat request from its arrival to the end of its reply."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from samplewise.answer.draws import Sampling
from samplewise.errors import SamplewiseError
from samplewise.models.completion import Model, Request
from samplewise.models.endpoint import EndpointError, EndpointModel
from samplewise.serve.errors import ApiError, log, of_refusal
from samplewise.serve.limits import Account, Allowance, Keys, Limits, read_body
from samplewise.serve.metrics import Metrics
from samplewise.serve.replies import EventStream, Form, GoneError, in_time, unless_gone
from samplewise.serve.routing import Route, Router
from samplewise.serve.schemas import ChatRequest, read
from samplewise.serve.solving import Metered, Reply, Workshop, merged, solve, together
from samplewise.verify.base import Verifier

__all__ = ["Chat"]

KEEP_ALIVE = 10.0  # seconds of silence of a stream, after which a comment is sent


@dataclass
class _Visit:
    """What one request holds until its reply has ended."""

    account: Account
    deadline: float
    begun: float = field(default_factory=time.perf_counter)
    strategy: str = "none"
    allowance: Allowance | None = None
    model: Metered | None = None
    cut: bool = False
    """Whether draws were stopped that nobody has counted."""


class _Job(NamedTuple):
    """A request that can be answered."""

    asked: ChatRequest
    route: Route
    model: Metered
    tokens: int | None
    """That may be drawn for each of its answers."""


class Chat:
    """Answers chat requests.

    Parameters
    ----------
    model : Model
    verifier : Verifier
        What strategies may ask.
    keys : Keys
    limits : Limits
    """

    def __init__(self, model: Model, verifier: Verifier, keys: Keys, limits: Limits) -> None:
        self.keys = keys
        self.metrics = Metrics()
        self.workshop: Workshop | None = None
        others = isinstance(model, EndpointModel)
        name = model.model if isinstance(model, EndpointModel) else PurePath(model.name).name
        self.router = Router(name, verifier, others=others, samples=limits.samples)
        self._model = model
        self._verifier = verifier
        self._limits = limits
        self._at_work = 0
        self._sibling = functools.lru_cache(maxsize=64)(self._make_sibling)

    async def reply(self, request: HttpRequest) -> Response:
        """Answer a request.

        Raises
        ------
        ApiError
            If it cannot be answered.
        """
        visit = self._enter(self.keys.check(request))
        try:
            async with in_time(visit.deadline):
                job = self._job(await read_body(request, self._limits), visit)
                if job.asked.stream:
                    events = self._passed_on(job) if job.route.strategy is None else None
                    return EventStream(
                        events or self._worked_out(job, visit),
                        visit.deadline,
                        functools.partial(self._leave, visit),
                    )
                content = await unless_gone(request.receive, self._whole(job, visit))
        except ClientDisconnect:
            self._leave(visit, 499)
            raise GoneError from None
        except BaseException as error:
            self._leave(visit, error.status if isinstance(error, ApiError) else 500)
            raise
        self._leave(visit, 200)
        return Response(content, media_type="application/json")

    def _enter(self, account: Account) -> _Visit:
        if self._at_work >= self._limits.at_work:
            raise ApiError(
                503,
                "the server has enough to do; try again soon",
                code="overloaded",
                kind="server_error",
                headers={"Retry-After": "1"},
            )
        self._at_work += 1
        self.metrics.at_work.inc()
        return _Visit(account, asyncio.get_running_loop().time() + self._limits.seconds)

    def _leave(self, visit: _Visit, status: int) -> None:
        self._at_work -= 1
        self.metrics.at_work.dec()
        tally = visit.model.tally if visit.model else None
        if visit.allowance:
            visit.allowance.settle(tally.total if tally else 0, cut=visit.cut)
        self.metrics.note(
            visit.strategy,
            status,
            time.perf_counter() - visit.begun,
            tally.samples if tally else 0,
            tally.prompt_tokens if tally else 0,
            tally.tokens if tally else 0,
        )

    def _job(self, content: Any, visit: _Visit) -> _Job:
        """Check a request, and set aside what it may draw."""
        asked = read(content)
        route = self.router.route(asked.model)
        visit.strategy = route.name
        if asked.count * route.samples > self._limits.samples:
            raise ApiError(400, f"at most {self._limits.samples} samples a request", param="n")
        if asked.logprobs and route.strategy is not None:
            raise ApiError(
                400,
                f"{route.name} gives no log-probabilities: ask {route.model!r} itself",
                param="logprobs",
                code="unsupported_value",
            )
        most = asked.count * asked.most if asked.most and route.strategy is None else None
        visit.allowance = allowance = visit.account.allow(most)
        tokens = allowance.tokens
        if tokens is not None and tokens < asked.count:
            raise ApiError(400, f"{tokens} tokens are left for {asked.count} answers", param="n")
        named = self._model if route.model == self.router.model else self._sibling(route.model)
        visit.model = Metered(named)
        share = None if tokens is None else tokens // asked.count
        return _Job(asked, route, visit.model, share)

    async def _whole(self, job: _Job, visit: _Visit) -> bytes:
        if job.route.strategy is None:
            try:
                with _telling(job.route):
                    drawn = await job.model.complete(_requests(job))
            except asyncio.CancelledError:
                visit.cut = True
                raise
            replies = [Reply.of(completion) for completion in drawn]
        else:
            replies = await self._solve(job, visit)
        return Form(job.asked.model).whole(replies, job.model.tally)

    async def _passed_on(self, job: _Job) -> AsyncGenerator[bytes, None]:
        """Pass tokens on as they come."""
        form = Form(job.asked.model)
        streams = [job.model.stream(request) for request in _requests(job)]
        replies: list[Reply] = []
        with _telling(job.route):
            async with contextlib.aclosing(merged(streams)) as pieces:
                async for place, piece in pieces:
                    reply = Reply.of(piece.completion) if piece.completion else None
                    if piece.text or piece.thinking:
                        yield form.piece(place, piece.text, piece.thinking)
                    if reply:
                        replies.append(reply)
                        yield form.last(place, reply)
        yield form.end(replies, job.model.tally, with_usage=_wants_usage(job.asked))

    async def _worked_out(self, job: _Job, visit: _Visit) -> AsyncGenerator[bytes, None]:
        """Give the kept answer when it is there; comments until then."""
        form = Form(job.asked.model)
        work = asyncio.create_task(self._solve(job, visit))
        try:
            while not (await asyncio.wait({work}, timeout=KEEP_ALIVE))[0]:
                yield b": at work\n\n"
            replies = work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        for place, reply in enumerate(replies):
            yield form.piece(place, reply.text or "", reply.thinking, reply.refusal)
            yield form.last(place, reply)
        yield form.end(replies, job.model.tally, with_usage=_wants_usage(job.asked))

    async def _solve(self, job: _Job, visit: _Visit) -> list[Reply]:
        """Answer by a strategy, in the workshop."""
        asked, strategy = job.asked, job.route.strategy
        assert self.workshop is not None
        assert strategy is not None
        most = asked.most
        if most is None and job.tokens is not None:  # so that one sample cannot take all
            most = max(1, job.tokens // job.route.samples)
        temperature, top_p = _sampling(asked)
        seed = secrets.randbits(31) if asked.seed is None else asked.seed
        work = together(
            [
                solve(
                    strategy,
                    job.model,
                    self._verifier,
                    asked.turns,
                    Sampling(temperature, top_p, most),
                    seed=seed + place,
                    limit=job.tokens,
                    stop=asked.stops,
                )
                for place in range(asked.count)
            ]
        )
        try:
            with _telling(job.route):
                return await self.workshop.do(work)
        except asyncio.CancelledError:
            visit.cut = True
            raise

    def _make_sibling(self, name: str) -> Model:
        assert isinstance(self._model, EndpointModel)
        return self._model.sibling(name)


def _requests(job: _Job) -> list[Request]:
    """Give the requests of what is passed on."""
    asked, most = job.asked, job.asked.most
    if job.tokens is not None:
        most = min(most or job.tokens, job.tokens)
    turns, sampling, stops = asked.turns, _sampling(asked), asked.stops
    seeds = [
        None if asked.seed is None else (asked.seed + place) % 2**63 for place in range(asked.count)
    ]
    return [
        Request(turns, *sampling, most, stops, seed, log_probabilities=bool(asked.logprobs))
        for seed in seeds
    ]


def _sampling(asked: ChatRequest) -> tuple[float, float]:
    """Give temperature and top_p; by default OpenAI's."""
    temperature = 1.0 if asked.temperature is None else asked.temperature
    return temperature, 1.0 if asked.top_p is None else asked.top_p


def _wants_usage(asked: ChatRequest) -> bool:
    return bool(asked.stream_options and asked.stream_options.include_usage)


@contextlib.contextmanager
def _telling(route: Route) -> Iterator[None]:
    """Word what the model or the strategy refuses."""
    try:
        yield
    except EndpointError as error:
        raise of_refusal(error, route.model) from None
    except SamplewiseError as error:
        log.error("%s: %s", route.name, error)
        raise ApiError(
            400,
            f"{route.name} cannot answer with this model and verifier",
            code="strategy_failed",
            param="model",
        ) from None
