"""Errors as ``application/problem+json`` (RFC 9457): THE table from error to status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service import errors
from service.api.json_response import JsonResponse

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What is said of a kind of error.

    Attributes:
        status: the HTTP status.
        slug: the last part of the problem's type.
        title: the same for every occurrence.
    """

    status: int
    slug: str
    title: str


TABLE: dict[type[Exception], ProblemKind] = {
    errors.NotAnImage: ProblemKind(400, "not-an-image", "Not a readable image"),
    errors.NotAVideo: ProblemKind(400, "not-a-video", "Not a readable video"),
    errors.UnsupportedMedia: ProblemKind(415, "unsupported-media", "Unsupported content type"),
    errors.TooLarge: ProblemKind(413, "too-large", "Over a size limit"),
    errors.NoFace: ProblemKind(422, "no-face", "No face in the picture"),
    errors.BadParameter: ProblemKind(422, "bad-parameter", "A parameter cannot be used"),
    errors.BadInput: ProblemKind(400, "bad-input", "The request cannot be used"),
    errors.SlowClient: ProblemKind(408, "slow-client", "The body came too slowly"),
    errors.Unauthorised: ProblemKind(401, "unauthorized", "A key is needed"),
    errors.ForeignOrigin: ProblemKind(403, "foreign-origin", "Another site's page"),
    errors.NoWebSocket: ProblemKind(426, "no-websocket", "A WebSocket is needed"),
    errors.RateLimited: ProblemKind(429, "rate-limited", "Too many requests with this key"),
    errors.NotFound: ProblemKind(404, "not-found", "Not Found"),
    errors.Overloaded: ProblemKind(503, "overloaded", "Too much is waiting"),
    errors.NotReady: ProblemKind(503, "not-ready", "Starting or draining"),
    errors.DeadlineExceeded: ProblemKind(504, "deadline-exceeded", "The deadline passed"),
    errors.ModelFailure: ProblemKind(500, "model-failure", "The model could not answer"),
    errors.ServiceError: ProblemKind(500, "internal", "The service failed"),
}
"""Looked up along an error's ancestors, nearest first."""

MEDIA_TYPE = "application/problem+json"
SCHEMA = {"$ref": "#/components/schemas/Problem"}


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    type: str = Field(description="A stable name of the kind of problem.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened here, and what to do.")
    request_id: str = Field(description="The value of X-Request-ID.")


class ProblemResponse(JsonResponse):
    """A problem whose kind is logged, too, and what it says where the service failed."""

    media_type = MEDIA_TYPE

    def __init__(
        self, problem: Mapping[str, Any], status: int, headers: dict[str, str] | None
    ) -> None:
        super().__init__(problem, status, headers)
        self._log_fields = {"problem": problem["type"]}
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._log_fields["detail"] = problem["detail"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI says."""
        scope["state"]["log_fields"] = self._log_fields
        await super().__call__(scope, receive, send)


def kind_of(error: Exception) -> ProblemKind:
    """The table's row for an error."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def install(app: FastAPI) -> None:
    """Make every error that leaves `app` a problem."""

    @app.exception_handler(errors.ServiceError)
    async def service_error(request: Request, error: errors.ServiceError) -> JsonResponse:
        return refusal(error, request.state.request_id)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, _: Exception) -> JsonResponse:
        return unexpected(request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JsonResponse:
        return _response(request, TABLE[errors.BadParameter], first_fault(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JsonResponse:
        title = HTTPStatus(error.status_code).phrase
        kind = ProblemKind(error.status_code, title.lower().replace(" ", "-"), title)
        detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
        return _response(request, kind, detail, dict(error.headers or {}))


def content(error: errors.ServiceError, request_id: str) -> dict[str, Any]:
    """A `Problem`, for an answer that holds more."""
    return _content(kind_of(error), str(error), request_id)


def refusal(error: errors.ServiceError, request_id: str) -> JsonResponse:
    """What a client is told of an error, with the headers that go with it."""
    if kind_of(error) is TABLE[errors.ServiceError]:
        log.error("the service is at fault", id=request_id, error=str(error))
        return unexpected(request_id)
    headers = {}
    if isinstance(error, errors.RetryLater):
        headers["Retry-After"] = str(ceil(error.retry_after))
    if isinstance(error, errors.Unauthorised):
        headers["WWW-Authenticate"] = 'Bearer realm="gimefive"'
    if isinstance(error, errors.NoWebSocket):
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
    if isinstance(error, errors.SlowClient):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    return _problem(kind_of(error), str(error), request_id, headers)


def first_fault(faults: Sequence[Any]) -> str:
    """What is wrong with the first of the parameters that FastAPI refuses, in words."""
    fault = faults[0]
    name = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    return f"{name}: {fault['msg']}"


def unexpected(request_id: str) -> JsonResponse:
    """What a client is told of an error that nobody foresaw."""
    detail = "an unexpected error; it stands in the service's log under this request id"
    return _problem(TABLE[errors.ServiceError], detail, request_id)


def responses(
    *kinds: type[errors.ServiceError], among: dict[str, Any] | None = None
) -> dict[int | str, Any]:
    """The OpenAPI entries of a route that may fail in these ways, added to those `among` it has."""
    entries: dict[Any, Any] = {} if among is None else among
    for kind in kinds:
        row = TABLE[kind]
        entry = entries.setdefault(str(row.status), {"description": "", "content": {}})
        entry["description"] = f"{entry['description']} {row.title}.".lstrip()
        content = entry["content"].setdefault(MEDIA_TYPE, {"schema": SCHEMA, "examples": {}})
        content["examples"][row.slug] = {"$ref": f"#/components/examples/{row.slug}"}
        if issubclass(kind, errors.RetryLater):
            entry["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return entries


def _response(
    request: Request, kind: ProblemKind, detail: str, headers: dict[str, str] | None = None
) -> JsonResponse:
    return _problem(kind, detail, request.state.request_id, headers)


def _problem(
    kind: ProblemKind, detail: str, request_id: str, headers: dict[str, str] | None = None
) -> JsonResponse:
    return ProblemResponse(_content(kind, detail, request_id), kind.status, headers)


def _content(kind: ProblemKind, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:gimefive:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": request_id,
    }
