"""Cancels the work for clients that have disconnected."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelOnDisconnect:
    """Pure ASGI middleware: cancels a handler if its client disconnects before the answer ends.

    FastAPI does not; what waits in a queue would be computed for nobody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        handler = asyncio.current_task()
        if scope["type"] != "http" or scope["method"] != "POST" or handler is None:
            await self._app(scope, receive, send)
            return
        line = _Line(receive, send, handler)
        try:
            await self._app(scope, line.receive, line.send)
        except asyncio.CancelledError:
            if not line.gone:
                raise
            handler.uncancel()
        finally:
            line.close()


class _Line:
    """The connection of one request."""

    def __init__(self, receive: Receive, send: Send, handler: asyncio.Task[object]) -> None:
        self.gone = False
        self._receive = receive
        self._send = send
        self._handler = handler
        self._complete = False
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Receive; once the body is complete, the end of the connection is watched for."""
        if self._watch:
            await asyncio.wait([self._watch])
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnect()
            await asyncio.sleep(0)  # where the cancellation arrives
        elif not message.get("more_body", False):
            self._watch = asyncio.create_task(self._wait_for_the_end())
        return message

    async def send(self, message: Message) -> None:
        """Send, and notice when the answer is complete."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True
        await self._send(message)

    def close(self) -> None:
        """Watch no longer."""
        if self._watch:
            self._watch.cancel()

    async def _wait_for_the_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._complete:
            self._disconnect()

    def _disconnect(self) -> None:
        self.gone = True
        self._handler.cancel()
