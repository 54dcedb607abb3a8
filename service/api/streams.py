"""Answers that are sent while they are computed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import orjson
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.contract import lines
from service.contract.problems import problem_of
from service.csv_text import csv_text
from service.errors import ServiceError
from service.records import FrameResult

log = structlog.get_logger(__name__)


class HeldStream(StreamingResponse):
    """A streamed answer and the resources it needs, released however it ends."""

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


async def ndjson(
    first: lines.Answer, others: AsyncIterator[lines.Answer], threshold: float, request_id: str
) -> AsyncIterator[str]:
    """A line of JSON for each answer; if they break off, the last line is the problem."""
    yield _line(lines.content(first, threshold, request_id))
    try:
        async for answer in others:
            yield _line(lines.content(answer, threshold, request_id))
    except ServiceError as error:
        log.warning("video broke off", id=request_id, error=str(error))
        yield _line({"problem": problem_of(error, request_id)})


async def table(answers: AsyncIterator[lines.Answer]) -> AsyncIterator[str]:
    """CSV with a row per face; a frame with a problem has a row with empty cells.

    Raises:
        ServiceError: the answers break off; the transfer, cut short, tells the client.
    """
    yield csv_text([lines.COLUMNS])
    async for answer in answers:
        if isinstance(answer, FrameResult) and (written := lines.rows(lines.content(answer))):
            yield csv_text(written)


def _line(value: dict[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()
