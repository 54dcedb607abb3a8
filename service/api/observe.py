"""Around every request: its id, timings, metrics, log line, and a last resort for errors."""

import re
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from typing import Any

import structlog
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.state import Operated
from service.timings import Timings

log = structlog.get_logger(__name__)

SANE_ID = re.compile(rb"[\w.:/+=-]{1,128}")
QUIET = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
"""Routes that machines poll: their requests are logged at debug level only."""

UNMATCHED = "unmatched"
"""What requests to no route are counted as."""

NOTHING = Timings()


class Observe:
    """Pure ASGI middleware: it neither buffers nor hides a disconnect."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        """Surround `app`.

        Args:
            app: what answers.
            paths: of its routes; requests that are refused before they reach one are counted by
                these.
        """
        self._app = app
        self._paths = paths
        self._patterns = [(compile_path(path)[0], path) for path in paths if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        if scope["type"] == "websocket":
            opened = _Opened(scope, self._named(scope["path"]), send)
            await self._app(scope, receive, opened.send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET"}
        path = self._named(scope["path"])
        request = _Observed(scope, method, path, send)
        try:
            await self._app(scope, receive, request.send)
        except Exception:
            log.exception("unexpected error", id=request.id)
            if request.status is None:
                await problems.unexpected(request.id)(scope, receive, request.send)
            elif not request.complete:
                raise
        finally:
            request.finish()

    def _named(self, path: str) -> str:
        if path in self._paths:
            return path
        return next((route for pattern, route in self._patterns if pattern.match(path)), UNMATCHED)


class _Observed:
    """One request in progress."""

    def __init__(self, scope: Scope, method: str, path: str, send: Send) -> None:
        self.id = request_id(scope["headers"], scope["state"])
        self.status: int | None = None
        self.complete = False
        self._scope = scope
        self._method = method
        self._path = path
        self._send = send
        self._start = time.perf_counter()
        self._timings = scope["state"]["timings"] = Timings()

    async def send(self, message: Message) -> None:
        """Send, with the headers that every response carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *headers(self.id, self._timings)]
        await self._send(message)
        self.complete = message["type"] == "http.response.body" and not message.get("more_body")

    def finish(self) -> None:
        """Count and log the request."""
        seconds = time.perf_counter() - self._start
        state = self._scope["state"]
        engine: Operated = state["engine"]
        route = getattr(self._scope.get("route"), "path", self._path)
        status = self.status or state.get("status", 499)  # the connection's, or the client has gone
        known = {name: state[name] for name in ("key", "trace") if name in state}
        fields = {"id": self.id, **known, **state.get("log_fields", {})}
        record(engine, self._method, route, status, fields, seconds, self._timings)


class _Opened:
    """A camera's connection, until it is open or refused."""

    def __init__(self, scope: Scope, path: str, send: Send) -> None:
        self._id = request_id(scope["headers"], scope["state"])
        self._scope = scope
        self._path = path
        self._send = send
        self._start = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send; what opens or refuses it carries what every response does, and is counted."""
        if message["type"] in {"websocket.accept", "websocket.http.response.start"}:
            message["headers"] = [*message.get("headers", ()), *headers(self._id, NOTHING)]
            engine: Operated = self._scope["state"]["engine"]
            seconds = time.perf_counter() - self._start
            engine.metrics.answered(self._path, "GET", message.get("status", 101), seconds)
        await self._send(message)


def record(
    engine: Operated,
    method: str,
    route: str,
    status: int,
    fields: Mapping[str, object],
    seconds: float = 0.0,
    spent: Timings = NOTHING,
) -> None:
    """Count and log a request; its line begins with `fields`."""
    engine.metrics.answered(route, method, status, seconds)
    (log.debug if route in QUIET else log.info)(
        "request",
        **fields,
        method=method,
        route=route,
        status=status,
        ms=round(seconds * 1000, 2),
        decode_ms=round(spent.decode * 1000, 2),
        detect_ms=round(spent.detect * 1000, 2),
        queue_ms=round(spent.queue * 1000, 2),
        inference_ms=round(spent.inference * 1000, 2),
    )


def headers(request_id: str, spent: Timings) -> list[tuple[bytes, bytes]]:
    """Headers of every response: its id, and where the time went."""
    timing = (
        f"decode;dur={spent.decode * 1000:.2f}, detect;dur={spent.detect * 1000:.2f}, "
        f"queue;dur={spent.queue * 1000:.2f}, inference;dur={spent.inference * 1000:.2f}"
    )
    return [(b"x-request-id", request_id.encode()), (b"server-timing", timing.encode())]


def request_id(headers: Iterable[tuple[bytes, bytes]], state: MutableMapping[str, Any]) -> str:
    """The request's id, kept in its state: the client's, if it sent a sane one."""
    if "request_id" not in state:
        sent = (value for name, value in headers if name == b"x-request-id")
        sane = next(filter(SANE_ID.fullmatch, sent), None)
        state["request_id"] = sane.decode() if sane else secrets.token_hex(8)
    known: str = state["request_id"]
    return known
