"""Errors as answers: ``application/problem+json`` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service import errors
from service.api.json_response import JsonResponse
from service.contract.problems import TABLE, ProblemKind, document, kind_of

log = structlog.get_logger(__name__)


MEDIA_TYPE = "application/problem+json"
SCHEMA = {"$ref": "#/components/schemas/Problem"}


class ProblemResponse(JsonResponse):
    """A problem whose kind is logged, too, and what it says where the service failed.

    Attributes:
        log_fields: what the request's log line says of it.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        request_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        problem = document(kind, detail, request_id)
        super().__init__(problem, kind.status, headers)
        self.log_fields = {"problem": problem["type"]}
        if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_fields["detail"] = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI says."""
        scope["state"]["log_fields"] = self.log_fields
        await super().__call__(scope, receive, send)


def install(app: FastAPI, guide: str) -> None:
    """Make every error that leaves `app` a problem.

    Args:
        app: what answers.
        guide: says which paths it has, in words that follow those about one that it has not.
    """

    @app.exception_handler(errors.ServiceError)
    async def service_error(request: Request, error: errors.ServiceError) -> JsonResponse:
        return refusal(error, request.state.request_id)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, _: Exception) -> JsonResponse:
        return unexpected(request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JsonResponse:
        fault = first_fault(error.errors())
        return ProblemResponse(TABLE[errors.BadParameter], fault, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JsonResponse:
        title = HTTPStatus(error.status_code).phrase
        kind = ProblemKind(error.status_code, title.lower().replace(" ", "-"), title)
        allowed = (error.headers or {}).get("Allow")
        hint = f"use {allowed}" if allowed else guide
        detail = f"{request.method} {request.url.path}: {error.detail}; {hint}"
        return ProblemResponse(kind, detail, request.state.request_id, error.headers)


def refusal(error: errors.ServiceError, request_id: str) -> ProblemResponse:
    """The response for an error, with its headers."""
    if kind_of(error) is TABLE[errors.ServiceError]:
        log.error("the service is at fault", id=request_id, error=str(error))
        return unexpected(request_id)
    headers = {}
    if isinstance(error, errors.RetryLater):
        headers["Retry-After"] = str(ceil(error.retry_after))
    if isinstance(error, errors.Unauthorised):
        headers["WWW-Authenticate"] = 'Bearer realm="gimefive"'
    if isinstance(error, errors.NoWebSocket):
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    if isinstance(error, errors.SlowClient):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    return ProblemResponse(kind_of(error), str(error), request_id, headers)


def first_fault(faults: Sequence[Any]) -> str:
    """What is wrong with the first of the parameters that FastAPI refuses, in words."""
    fault = faults[0]
    name = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    return f"{name}: {fault['msg']}"


def unexpected(request_id: str) -> ProblemResponse:
    """The response for an unforeseen error."""
    detail = "unexpected error: the service's log has it under this request id"
    return ProblemResponse(TABLE[errors.ServiceError], detail, request_id)


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
