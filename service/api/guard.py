"""Before every route: keys, origins, rates, security headers, time limits for slow bodies."""

import asyncio
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.security import Keys
from service.engine import Engine
from service.errors import ForeignOrigin, NotFound, RateLimited, ServiceError, SlowClient
from service.settings import Settings

log = structlog.get_logger(__name__)

OPEN = frozenset({"/", "/docs", "/livez", "/openapi.json", "/readyz", "/startupz"})
"""Paths without a key: the probes, and the pages, which ask for the key themselves."""
PAGE_FILES = ("/web/", "/docs/")
LIVE = "/live"
SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
LEAST_RATE = 16 * 1024
"""Bytes per second that a body has to bring on average, once its grace is used up."""
MOST_CREDIT = 3
"""Times its grace that a body may pause for, however fast it came before."""


def open_paths(settings: Settings) -> frozenset[str]:
    """Paths that never need a key."""
    return OPEN | {"/metrics"} if settings.metrics_open else OPEN


class Guard:
    """Pure ASGI middleware; without a file of keys no key is needed."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys | None) -> None:
        self._app = app
        self._grace = settings.client_timeout
        self._keys = keys
        self._origins = settings.origins
        self._open = open_paths(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        engine: Engine = scope["state"]["engine"]
        guarded = _Headers(engine, send)
        try:
            await self._admit(scope, engine)
        except ServiceError as error:
            if isinstance(error, RateLimited):
                engine.metrics.rejected("rate_limited")
            state = scope["state"]
            refusal = problems.refusal(error, state["request_id"])
            if scope["type"] == "websocket":  # which has no "request" line
                key = {"key": state["key"]} if "key" in state else {}
                status = refusal.status_code
                log.info("camera refused", id=state["request_id"], status=status, **key)
            await refusal(scope, receive, guarded.send)
            return
        if scope["type"] == "http":
            receive = SlowBodyGuard(receive, self._grace).receive
        await self._app(scope, receive, guarded.send)

    async def _admit(self, scope: Scope, engine: Engine) -> None:
        path = scope["path"]
        if scope["type"] == "websocket":
            if path != LIVE:
                raise NotFound(f"there is no WebSocket at {path}: connect to {LIVE}")
            self._check_origin(Headers(scope=scope))
        if not self._keys or path in self._open or path.startswith(PAGE_FILES):
            return
        name = self._keys.authenticate(scope)
        scope["state"]["key"] = name
        await engine.take_token(name)

    def _check_origin(self, headers: Headers) -> None:
        """Browsers let any page open a WebSocket: the server has to check whose it is."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise ForeignOrigin(
                f"pages from {origin} may not connect: "
                "the operator can allow them in GIMEFIVE_CORS_ORIGINS"
            )


class _Headers:
    """Adds the headers that every response has."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self._engine = engine
        self._send = send

    async def send(self, message: Message) -> None:
        """Send; while draining, ask the client not to come back on this connection."""
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            given = dict(message.get("headers", ()))
            added = [(name, value) for name, value in SAFE_HEADERS if name not in given]
            if self._engine.draining:
                added.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *added]
        await self._send(message)


class SlowBodyGuard:
    """Receives a body as long as it comes fast enough; only time spent waiting for it counts."""

    def __init__(
        self, receive: Receive, grace: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._receive = receive
        self._left = grace
        self._most = MOST_CREDIT * grace
        self._clock = clock
        self._whole = False

    async def receive(self) -> Message:
        """Receive the next piece.

        Raises:
            SlowClient: the body brought fewer bytes than `LEAST_RATE`, with its grace used up.
        """
        if self._whole:
            return await self._receive()
        start = self._clock()
        try:
            async with asyncio.timeout(max(0.0, self._left)):
                message = await self._receive()
        except TimeoutError as error:
            raise SlowClient(
                f"the body came at less than {LEAST_RATE // 1024} KiB/s: send it again, faster"
            ) from error
        size = len(message.get("body", b""))
        left = self._left + size / LEAST_RATE - (self._clock() - start)
        self._left = min(left, self._most)
        self._whole = not message.get("more_body", False)
        return message
