"""Problem documents (RFC 9457), and THE table from error to status."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from service import errors


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """How a kind of error is reported.

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
    errors.TooLarge: ProblemKind(413, "too-large", "Size limit exceeded"),
    errors.NoFace: ProblemKind(422, "no-face", "No face in the picture"),
    errors.BadParameter: ProblemKind(422, "bad-parameter", "Invalid parameter"),
    errors.BadInput: ProblemKind(400, "bad-input", "Invalid request"),
    errors.SlowClient: ProblemKind(408, "slow-client", "The body came too slowly"),
    errors.Unauthorised: ProblemKind(401, "unauthorized", "API key required"),
    errors.ForeignOrigin: ProblemKind(403, "foreign-origin", "Origin not allowed"),
    errors.NoWebSocket: ProblemKind(426, "no-websocket", "WebSocket required"),
    errors.RateLimited: ProblemKind(429, "rate-limited", "Rate limit exceeded"),
    errors.NotFound: ProblemKind(404, "not-found", "Not Found"),
    errors.Overloaded: ProblemKind(503, "overloaded", "Overloaded"),
    errors.NotReady: ProblemKind(503, "not-ready", "Starting or draining"),
    errors.DeadlineExceeded: ProblemKind(504, "deadline-exceeded", "Deadline exceeded"),
    errors.ModelFailure: ProblemKind(500, "model-failure", "The model failed"),
    errors.ServiceError: ProblemKind(500, "internal", "Internal error"),
}
"""Looked up along an error's ancestors, nearest first."""


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str = Field(description="A stable identifier of the kind of problem.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened here, and what to do.")
    request_id: str = Field(description="The value of X-Request-ID.")


def kind_of(error: Exception) -> ProblemKind:
    """The table's row for an error."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def problem_of(error: errors.ServiceError, request_id: str) -> dict[str, Any]:
    """A `Problem` as a dictionary."""
    return document(kind_of(error), str(error), request_id)


def document(kind: ProblemKind, detail: str, request_id: str) -> dict[str, Any]:
    """A `Problem` as a dictionary, of a kind that may stand in no table."""
    return {
        "type": f"urn:gimefive:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": request_id,
    }
