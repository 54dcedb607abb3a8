"""Answers that are sent while they are made."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import ServiceError

log = structlog.get_logger(__name__)


class HeldStream(StreamingResponse):
    """A streamed answer with what it needs, which is let go however the answer ends."""

    def __init__(
        self,
        content: AsyncIterator[str] | AsyncIterator[bytes],
        held: AsyncExitStack,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status_code: int = 200,  # FastAPI's document takes the default status from here
    ) -> None:
        super().__init__(content, status_code, headers, media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """Send it, as ASGI says; `api.disconnects` ends it when the client goes away.

        An answer that breaks off is never completed, so that the client sees the transfer fail.
        """
        async with self._held:
            try:
                await self.stream_response(send)
            except ServiceError as error:
                log.warning("answer cut short", id=scope["state"]["request_id"], error=str(error))
