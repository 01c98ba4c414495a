"""What is asked and answered, in OpenAI's form.

Only requests are checked by these models, once. Replies are built as plain dictionaries: their
models here describe them in the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from samplewise.problems import Message, Role
from samplewise.serve.errors import ApiError

__all__ = ["ChatCompletion", "ChatRequest", "ErrorReply", "Health", "ModelList", "describe", "read"]

_UNKEPT = {
    "tools": "tools",
    "functions": "functions",
    "audio": "audio",
    "top_logprobs": "the log-probabilities of tokens that were not drawn",
}
"""What would be answered in another way than asked if it were ignored."""

_CHAT = "ChatRequest"


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(_Asked):
    """A piece of a turn."""

    type: Literal["text"]
    text: str


class Turn(_Asked):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    @property
    def message(self) -> Message:
        """The turn as models take it."""
        role: Role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, list):
            return Message(role, "".join(part.text for part in self.content))
        return Message(role, self.content or "")


class StreamOptions(_Asked):
    """What a stream holds beside the text."""

    include_usage: bool | None = None


class ChatRequest(_Asked):
    """A conversation to be gone on with. Fields that are not named here are ignored."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[Turn] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=128)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    stop: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
        | None
    ) = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    logprobs: bool | None = None
    user: str | None = None

    @property
    def count(self) -> int:
        """Answers that are wanted."""
        return self.n or 1

    @property
    def most(self) -> int | None:
        """The most tokens of one completion."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def turns(self) -> tuple[Message, ...]:
        """The conversation as models take it."""
        return tuple(turn.message for turn in self.messages)


def read(content: Any) -> ChatRequest:
    """Check a request.

    Raises
    ------
    ApiError
        That names the field at fault.
    """
    try:
        asked = ChatRequest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}" if place else str(first["msg"])
        raise ApiError(400, message, param=place or None) from None
    for name, what in _UNKEPT.items():
        if content.get(name):
            raise ApiError(400, f"no model here gives {what}", param=name, code="unsupported_value")
    form = content.get("response_format")
    if form and (not isinstance(form, dict) or form.get("type") != "text"):
        message = "no model here can be held to a format"
        raise ApiError(400, message, param="response_format", code="unsupported_value")
    return asked


class ReplyMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    """Why the strategy gives no answer."""
    reasoning_content: str | None = None


class Choice(BaseModel):
    """One of the answers."""

    index: int
    message: ReplyMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "content_filter"]


class Drawn(BaseModel):
    """What was drawn for the answers."""

    samples: int
    """Completions, hidden ones and those that were cancelled among them."""
    kept_tokens: int
    """Tokens of the answers."""
    sequential_tokens: int
    """Tokens that had to be waited for, one after the other."""
    cancelled: int
    """Completions that were stopped before their end."""


class Usage(BaseModel):
    """Tokens of all that was drawn, hidden samples among them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    samplewise: Drawn


class ChatCompletion(BaseModel):
    """The answers."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """A name that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All names that can be asked for."""

    object: Literal["list"]
    data: list[ModelCard]


class Health(BaseModel):
    """That the server runs."""

    status: Literal["ok"]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """What went wrong, in OpenAI's form."""

    error: ErrorDetail


def describe(app: FastAPI) -> dict[str, Any]:
    """Give the OpenAPI document, with the request's form, which FastAPI does not check."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        form = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = document["components"]["schemas"]
        parts |= form.pop("$defs")
        parts[_CHAT] = form
        app.openapi_schema = document
    return app.openapi_schema
