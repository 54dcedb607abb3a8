"""Camera connections to a real server over a fake model."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from service.camera import Camera
from service.engine import Engine
from service.explanation import LiveResult
from service.records import Classification
from service.server import DrainingServer
from service.tracks import Tracker
from tests.served import served

Look = Callable[[bytes], Any]
NOTHING = LiveResult(Classification(1, 1, ()))


@asynccontextmanager
async def live(**changes: object) -> AsyncIterator[tuple[DrainingServer, str]]:
    """A server and the URL of its camera endpoint."""
    async with served(**changes) as (server, url):
        yield server, f"ws{url.removeprefix('http')}/live"


async def exchange(client: ClientConnection, frame: bytes | str) -> dict[str, Any]:
    await client.send(frame)
    answer: dict[str, Any] = json.loads(await client.recv())
    return answer


def look_with(monkeypatch: pytest.MonkeyPatch, looks: Callable[[], Look]) -> None:
    """Give each camera its own `look` function."""

    def camera(*_: object) -> nullcontext[Camera]:
        return nullcontext(Camera(looks(), Tracker()))

    monkeypatch.setattr(Engine, "camera", camera)


async def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason with which the server closes the connection."""
    with pytest.raises(ConnectionClosed) as ended:
        await client.recv()
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason
