"""The app: its addresses, and what lives as long as it does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from samplewise.models.completion import Model
from samplewise.serve import errors
from samplewise.serve.chat import Chat
from samplewise.serve.limits import Keys, Limits
from samplewise.serve.metrics import CONTENT_TYPE_LATEST
from samplewise.serve.schemas import ChatCompletion, ErrorReply, Health, ModelList, describe
from samplewise.serve.solving import Workshop
from samplewise.verify.base import Verifier

__all__ = ["create_app"]

_ASKED = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}}}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_STREAMED = {"text/event-stream": {"schema": {"type": "string"}}}


def create_app(
    model: Model,
    verifier: Verifier,
    *,
    keys: Keys | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """Make the app that serves a model.

    Parameters
    ----------
    model : Model
        Closed with the app.
    verifier : Verifier
        What strategies may ask; closed with the app.
    keys : Keys, optional
        Without, everybody on this machine may ask.
    limits : Limits, optional

    Returns
    -------
    FastAPI
    """
    import samplewise

    limits = limits or Limits()
    chat = Chat(model, verifier, keys or Keys([], limits), limits)
    begun = int(time.time())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        chat.workshop = Workshop()
        try:
            yield
        finally:
            await model.close()
            await verifier.close()
            await chat.workshop.close()

    app = FastAPI(
        title="Samplewise",
        version=samplewise.__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
    )
    errors.install(app)

    @app.post(
        "/v1/chat/completions",
        response_model=None,
        responses=_answers(ChatCompletion, 400, 401, 403, 404, 413, 415, 429, 502, 503, 504),
        openapi_extra={"requestBody": {"required": True, **_ASKED}},
    )
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation; the model's name chooses the strategy."""
        return await chat.reply(request)

    @app.get("/v1/models", response_model=None, responses=_answers(ModelList, 401, 403))
    async def models(request: Request) -> Response:
        """List the names that can be asked for."""
        chat.keys.check(request)
        cards = [
            {"id": name, "object": "model", "created": begun, "owned_by": "samplewise"}
            for name in chat.router.names()
        ]
        return _json({"object": "list", "data": cards})

    @app.get("/health", response_model=None, responses=_answers(Health))
    async def health() -> Response:
        """Say that the server runs."""
        return _json({"status": "ok"})

    @app.get(
        "/metrics",
        response_class=Response,
        responses=_refusals(401, 403) | {200: {"content": _TEXT}},
    )
    async def metrics(request: Request) -> Response:
        """Tell Prometheus what was done."""
        chat.keys.check(request)
        return Response(chat.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _answers(model: Any, *refusals: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's replies."""
    good: dict[str, Any] = {"model": model}
    if model is ChatCompletion:
        good["content"] = _STREAMED
    return {200: good} | _refusals(*refusals)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorReply} for status in statuses}
