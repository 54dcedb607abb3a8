"""WebSocket /live: a camera's frames in, what they show out; the newest frame wins."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Depends, FastAPI, Query, WebSocket
from fastapi.exceptions import WebSocketRequestValidationError
from starlette.websockets import WebSocketDisconnect

from service import errors
from service.api import forms, problems
from service.api.parameters import Faces, LayerQuery, SpelledMethod, Threshold, known_alone
from service.api.security import subprotocol
from service.api.state import EngineOf
from service.camera import Camera
from service.contract import schemas
from service.contract.problems import problem_of
from service.errors import BadParameter, NotReady, Overloaded, ServiceError, UnsupportedMedia
from service.explanation import Question
from service.mailbox import Mailbox

log = structlog.get_logger(__name__)

router = APIRouter(tags=["live"])

ENDING = 1012, "the service is shutting down: connect again"
POLICY = 1008
FAILED = 1011, "internal error: see the service's log"
TRY_AGAIN = 1013
LONGEST_REASON = 123
"""Bytes that a close frame has for words."""


def install(app: FastAPI) -> None:
    """Have a WebSocket with an invalid query opened, and closed with the reason."""

    @app.exception_handler(WebSocketRequestValidationError)
    async def invalid(socket: WebSocket, error: WebSocketRequestValidationError) -> None:
        await socket.accept(subprotocol(socket.scope))
        await _close(socket, POLICY, problems.first_fault(error.errors()))


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a camera may say."""

    faces: Faces = "detect"
    threshold: Threshold = None
    explain: Annotated[
        SpelledMethod | None, Query(description="Add each face's raw map, by this method.")
    ] = None
    layer: LayerQuery = "conv5"


@router.get(
    "/live",
    name="live",
    status_code=101,
    response_description="A text message for each frame that is processed.",
    responses={
        101: {
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/LiveAnswer"}}}
        },
        **problems.responses(errors.ForeignOrigin, errors.BadParameter, errors.NoWebSocket),
    },
    dependencies=[Depends(Parameters)],
)
async def upgrade() -> None:
    """Open a WebSocket that classifies a camera's frames.

    Send each frame as a binary message, an image encoded as for `/classify`. Of the frames that
    arrive while one is processed, only the newest is kept. The API key may also be sent as the
    subprotocol `gimefive.key.KEY`. The service closes with 1007 if a text message is not UTF-8,
    1008 if the query is invalid, 1009 if a frame is over twice the size limit, 1012 when it shuts
    down and 1013 when there are too many cameras; the close reason says why.
    """
    raise errors.NoWebSocket(
        "/live is a WebSocket, and this request does not open one: "
        "connect a WebSocket client to ws:// or wss://"
    )


@router.websocket("/live")
async def live(
    socket: WebSocket, engine: EngineOf, asked: Annotated[Parameters, Depends()]
) -> None:
    """Answer the newest frame, again and again; those that come meanwhile are dropped."""
    await socket.accept(subprotocol(socket.scope))
    question = None if asked.explain is None else Question(asked.explain, asked.layer)
    limit = engine.threshold(asked.threshold)
    try:
        await known_alone(socket)
        async with engine.camera(asked.faces, question) as camera:
            await _Stream(socket, camera, limit, engine.settings.max_live_bytes).run(engine.closing)
    except Overloaded as error:
        await _close(socket, TRY_AGAIN, str(error))
    except BadParameter as error:
        await _close(socket, POLICY, str(error))
    except NotReady:
        await _close(socket, *ENDING)


class _Stream:
    """One connection, with as much of it in memory as two frames."""

    def __init__(self, socket: WebSocket, camera: Camera, threshold: float, max_bytes: int) -> None:
        self._id = socket.state.request_id
        self._socket = socket
        self._camera = camera
        self._threshold = threshold
        self._max_bytes = max_bytes
        self._mailbox: Mailbox[bytes | str] = Mailbox()
        self._answered = 0
        self._dropped = 0

    async def run(self, closing: asyncio.Event) -> None:
        """Until the client has gone or the service shuts down."""
        ending = asyncio.create_task(closing.wait())
        work = [asyncio.create_task(self._receive()), asyncio.create_task(self._answer())]
        try:
            done, _ = await asyncio.wait([ending, *work], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if ending in done:
                await _close(self._socket, *ENDING)
        except WebSocketDisconnect:
            pass
        except Exception:
            log.exception("unexpected error", id=self._id)
            await _close(self._socket, *FAILED)
        finally:
            for task in (ending, *work):
                task.cancel()
            await asyncio.gather(ending, *work, return_exceptions=True)
            log.info("stream", id=self._id, answered=self._answered, dropped=self._dropped)

    async def _receive(self) -> None:
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            frame = message.get("bytes")
            self._mailbox.put(message.get("text", "") if frame is None else frame)

    async def _answer(self) -> None:
        while True:
            letter = await self._mailbox.take()
            content = await self._see(letter.content, letter.time)
            self._answered += 1
            self._dropped += letter.dropped
            answer = {"seq": letter.seq, "dropped": letter.dropped, **content}
            await self._socket.send_text(orjson.dumps(answer).decode())

    async def _see(self, frame: bytes | str, time: float) -> dict[str, Any]:
        try:
            if isinstance(frame, str):
                raise UnsupportedMedia("this is a text message: send each frame as a binary one")
            if len(frame) > self._max_bytes:
                raise forms.too_large("frame", self._max_bytes)
            return schemas.live_result(await self._camera.process(frame, time), self._threshold)
        except ServiceError as error:
            return {"problem": problem_of(error, self._id)}


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a word, unless the client has gone."""
    try:
        await socket.close(code, reason.encode()[:LONGEST_REASON].decode(errors="ignore"))
    except (WebSocketDisconnect, RuntimeError):
        log.debug("the client had gone before it could be told", code=code)
