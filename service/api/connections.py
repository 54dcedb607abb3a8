"""uvicorn's connections, hardened against what it does not expect of clients.

A client that sends no request head, or reads no answer, is disconnected. One that offers to upgrade
to an unsupported protocol, or opens a WebSocket in a wrong way, is answered in HTTP/1.1.
"""

import asyncio
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from service.api import observe, problems
from service.api.stalls import DropsStalledReaders
from service.errors import BadInput

MOST_HEAD = 2**16
"""Most bytes of a request's head, or of what comes beside its body, such as trailers, at a stretch;
httptools has no limit of its own."""

MOST_PIECES = 1000
"""Pieces of a WebSocket message that are kept apart; each takes 45 bytes more than it brings."""

FIRST_REQUEST_GRACE = 1.0
"""Seconds that a connected client has for its first request while the service stops."""


class _TimeoutWebSocket(DropsStalledReaders, WebSocketsSansIOProtocol):
    """A WebSocket; uvicorn's pings find clients that are silent."""

    def state(self) -> dict[str, Any]:
        return self.scope["state"]

    def handle_cont(self, event: Frame) -> None:
        """Receive a piece of a message; many tiny ones would take far more memory than it may."""
        if len(self.frames) >= MOST_PIECES:
            self.frames = [b"".join(self.frames)]
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Pass on a message, unless it is text that is not UTF-8 (RFC 6455, section 8.1)."""
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.conn.send_close(CloseCode.INVALID_DATA, "no UTF-8: send frames as binary messages")
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()


class _TimeoutHttp(DropsStalledReaders, HttpToolsProtocol):
    """HTTP that disconnects clients which keep it waiting longer than `seconds`.

    That is for a request's head, or with an unread answer.
    """

    _waiting: asyncio.TimerHandle | None = None
    _answered: RequestResponseCycle | None = None
    _head = 0
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        try:
            super().data_received(data)
        except HttpParserUpgrade as upgrade:
            if self._passes_over_upgrade():
                self._go_on(data[upgrade.args[0] :])
            return
        if self._head > MOST_HEAD:
            self.transport.close()
        served = self.transport.get_protocol() is not self  # by a WebSocket's
        if self._idle and not self._waiting and not served:
            self._arm()  # uvicorn's own timer ended with the first byte, whatever it belongs to

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        self._in_body = True
        if not self._passes_over_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self._passes_over_upgrade():
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._answered and not self._answered.response_complete:
            self._answered.disconnected = True  # uvicorn tells only the last of a pipeline
            self._answered.message_event.set()
        super().connection_lost(exc)

    def state(self) -> dict[str, Any]:
        return self._answered.scope["state"] if self._answered else {}

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, with a problem document like everything else."""
        begun = self._in_body and not self._idle  # then `observe` records it when it ends
        sent, state = (self.headers, self.scope["state"]) if begun else ([], {})
        request_id = observe.request_id(sent, state)
        refusal = problems.refusal(BadInput(f"{msg} Send HTTP/1.1."), request_id)
        status, fields = refusal.status_code, refusal.log_fields
        state |= {"status": status, "log_fields": fields}
        if not begun:
            named = {"id": request_id, **fields}
            observe.record(self.app_state["engine"], "unknown", observe.UNMATCHED, status, named)
        headers = [
            *refusal.raw_headers,
            *observe.headers(request_id, observe.NOTHING),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%s: %s\r\n" % each for each in headers)
        self.transport.write(STATUS_LINE[400] + head + b"\r\n" + bytes(refusal.body))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return super()._should_upgrade() and _opens_websocket(self._head_with(self.headers))

    def _unsupported_upgrade_warning(self) -> None:
        """Leave it to `data_received`, which knows what comes after the head."""
        raise cast("HttpParserUpgrade", sys.exception())

    def _passes_over_upgrade(self) -> bool:
        """Whether the client offers an unsupported protocol (RFC 9110, section 7.8)."""
        offers = self.parser.get_method() != b"CONNECT" and self.parser.should_upgrade()
        return offers and not self._should_upgrade()

    def _go_on(self, rest: bytes) -> None:
        """Read the request on without its offer: the parser takes what follows for that protocol.

        Args:
            rest: what came after the head.
        """
        offer = {b"upgrade", b"connection"}
        head = self._head_with(each for each in self.headers if each[0] not in offer)
        self.parser = HttpRequestParser(self)
        self.data_received(head + rest)

    def _head_with(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        line = b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        return line + b"".join(b"%s: %s\r\n" % each for each in headers) + b"\r\n"

    def shutdown(self) -> None:
        """Close once idle; a client whose first request may be on its way gets a moment."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_GRACE, super().shutdown)
        else:
            super().shutdown()

    def _arm(self) -> None:
        self._disarm()
        self._waiting = self.loop.call_later(self.seconds, self._give_up)

    def _disarm(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered, as before the first."""
        return getattr(self.cycle, "response_complete", True)

    def _give_up(self) -> None:
        if self._idle:
            self.transport.close()
        else:
            self._arm()  # a pipelined request waits for the one before it


def _opens_websocket(head: bytes) -> bool:
    """Whether a request's head is a valid handshake, and within the library's limits."""
    trial = ServerProtocol()
    trial.receive_data(head)
    asked = (event for event in trial.events_received() if isinstance(event, Request))
    return any(
        trial.accept(request).status_code == HTTPStatus.SWITCHING_PROTOCOLS for request in asked
    )


def http_protocol(patience: float) -> type[HttpToolsProtocol]:
    """HTTP that waits so many seconds for its clients."""

    class Limited(_TimeoutHttp):
        seconds = patience

    return Limited


def websocket_protocol(patience: float) -> type[WebSocketsSansIOProtocol]:
    """Likewise a WebSocket."""

    class Limited(_TimeoutWebSocket):
        seconds = patience

    return Limited
