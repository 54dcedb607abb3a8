"""What surrounds every request: its id, timings, metrics, log line, and the last net for errors."""

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.engine import Engine
from service.records import Timings

log = structlog.get_logger(__name__)

SANE_ID = re.compile(r"[\w.:/+=-]{1,128}")
QUIET = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
"""Routes whose requests are logged at debug level only: machines ask them all the time."""


class Observe:
    """Pure ASGI middleware: it neither buffers nor hides that a client has gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Observed(scope, send)
        try:
            await self._app(scope, receive, request.send)
        except Exception:
            log.exception("unexpected error", id=request.id)
            if request.status is None:
                await problems.unexpected(request.id)(scope, receive, request.send)
            else:
                raise
        finally:
            request.finish()


class _Observed:
    """One request under way."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if SANE_ID.fullmatch(given) else secrets.token_hex(8)
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._start = time.perf_counter()
        scope["state"]["request_id"] = self.id

    async def send(self, message: Message) -> None:
        """Send, with the headers that every response carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            headers["Server-Timing"] = ", ".join(
                f"{stage};dur={ms:.2f}" for stage, ms in self._stages().items()
            )
        await self._send(message)

    def finish(self) -> None:
        """Count and log the request."""
        seconds = time.perf_counter() - self._start
        state = self._scope["state"]
        engine: Engine = state["engine"]
        route = getattr(self._scope.get("route"), "path", "unmatched")
        method, status = self._scope["method"], self.status or 499  # the client went away
        engine.metrics.requests.labels(route, method, status).inc()
        engine.metrics.request_seconds.labels(route).observe(seconds)
        (log.debug if route in QUIET else log.info)(
            "request",
            id=self.id,
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            **({"key": state["key"]} if "key" in state else {}),
            **{f"{stage}_ms": round(ms, 2) for stage, ms in self._stages().items() if ms},
        )

    def _stages(self) -> dict[str, float]:
        timings: Timings = self._scope["state"].get("timings", Timings())
        return {
            "decode": timings.decode * 1000,
            "detect": timings.detect * 1000,
            "queue": timings.queue * 1000,
            "inference": timings.inference * 1000,
        }
