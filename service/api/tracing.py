"""Traces each request from its first byte to its last, if traces are on."""

from collections import defaultdict
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.observe import QUIET

if TYPE_CHECKING:
    from service.traces import Traces

SWITCHING = 101
"""Status of an accepted WebSocket."""
ANSWERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
"""First messages of an answer; the last one refuses a WebSocket."""


class TraceRequests:
    """Pure ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, traces: "Traces") -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        if scope["type"] == "lifespan" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        status = 0  # until an answer begins

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in ANSWERS:
                status = message.get("status", SWITCHING)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"traceresponse", traced.parent.encode()),
                ]
            await send(message)

        method, state = scope.get("method", "GET"), scope["state"]
        facts = {
            "http.request.method": method,
            "url.scheme": scope["scheme"],
            "url.path": scope["path"],
        }
        with self._traces.request(method, facts, _headers(scope)) as traced:
            state["trace"] = traced.trace_id
            try:
                await self._app(scope, receive, answer)
            finally:
                route = getattr(scope.get("route"), "path", None)
                ended = status or state.get("status", 499)  # as `observe` has it
                traced.answered(method, route, ended, state.get("request_id"))


def _headers(scope: Scope) -> dict[str, list[str]]:
    headers = defaultdict(list)
    for name, value in scope["headers"]:
        headers[name.decode("latin-1")].append(value.decode("latin-1"))
    return headers
