"""Errors as OpenAI words them; what a client must not see stays here."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from samplewise.models.completion import Completion
from samplewise.models.endpoint import EndpointError

__all__ = ["ApiError", "install", "log", "of_refusal", "of_upstream"]

log = logging.getLogger("samplewise.serve")

_LONGEST_WAIT = 3600  # seconds that a client is told to wait, whatever the upstream asks for


class ApiError(Exception):
    """What the client is told.

    Parameters
    ----------
    status : int
        The HTTP status.
    message : str
    code : str, optional
        OpenAI's word for it, such as ``"model_not_found"``.
    param : str, optional
        The field at fault.
    kind : str
        OpenAI's type of error.
    headers : mapping
        Sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.content = {
            "error": {"message": message, "type": kind, "param": param, "code": code},
        }

    def response(self) -> Response:
        """Give the response that says so."""
        return Response(
            orjson.dumps(self.content), self.status, self.headers, media_type="application/json"
        )


def internal() -> ApiError:
    """Give the error that says nothing of what went wrong."""
    return ApiError(500, "the server failed; its log says why", kind="server_error")


def of_upstream(failed: Completion) -> ApiError:
    """Word an upstream's failure: its status, and its message where the client is at fault."""
    status = failed.status
    if status == 429:
        wait = math.ceil(min(failed.retry_after, _LONGEST_WAIT)) or 1
        return ApiError(
            429,
            "the upstream takes no more requests for now",
            code="rate_limit_exceeded",
            kind="upstream_error",
            headers={"Retry-After": str(wait)},
        )
    if 400 <= status < 500:
        before, _, after = failed.error.partition(f"status {status}: ")
        said = after or before
        return ApiError(
            status,
            said or "the upstream refused the request",
            code="upstream_refused",
            kind="upstream_error",
        )
    return ApiError(502, "the upstream failed", code="upstream_failed", kind="upstream_error")


def of_refusal(error: EndpointError, model: str) -> ApiError:
    """Word that the upstream knows no such model, or does not know us."""
    if error.status == 404:
        return ApiError(
            404, f"the upstream has no model {model!r}", code="model_not_found", param="model"
        )
    if error.status in (401, 403):
        log.error("%s", error)
        return ApiError(
            error.status,
            "the upstream refused the key of this server",
            code="upstream_refused_key",
            kind="upstream_error",
        )
    log.error("%s", error)
    return ApiError(502, "the upstream failed", code="upstream_failed", kind="upstream_error")


def install(app: FastAPI) -> None:
    """Make every error of an app one of these."""

    async def ours(request: Request, error: Any) -> Response:
        return error.response()  # type: ignore[no-any-return]

    async def of_http(request: Request, error: Any) -> Response:
        messages = {404: "there is no such address", 405: "no such method at this address"}
        message = messages.get(error.status_code, "the request makes no sense")
        return ApiError(error.status_code, message, headers=error.headers).response()

    async def unforeseen(request: Request, error: Exception) -> Response:
        return internal().response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, unforeseen)
