"""Clients that stop reading: let go, while those that read slowly are not."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.api import connections
from service.api.connections import StallWatch
from service.camera import Camera
from service.engine import Engine
from service.errors import BadInput
from service.explanation import Glance
from service.tracks import Tracker
from tests import videos
from tests.served import open_files, served
from tests.virtual import VirtualLoop


def test_who_reads_slowly_is_not_let_go_and_who_stops_is() -> None:
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        ended: list[float] = []
        watch = StallWatch(
            20, lambda: max(100 - round(loop.time()), 40), lambda: ended.append(loop.time())
        )
        watch.start()
        await asyncio.sleep(1000)
        return ended

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(run()) == [80]


def test_who_has_read_all_is_not_let_go() -> None:
    async def run() -> None:
        watch = StallWatch(20, lambda: 1, lambda: pytest.fail("let go"))
        watch.start()
        await asyncio.sleep(19)
        watch.stop()
        await asyncio.sleep(1000)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


@pytest.mark.anyio
@pytest.mark.parametrize("piece", [b"x-a: " + b"b" * 10_000 + b"\r\n", b"b" * 10_000])
async def test_a_head_without_an_end_is_not_taken_in(piece: bytes) -> None:
    async with served(client_timeout=600) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nx-b: ")

        async def send_for_ever() -> None:
            while True:
                writer.write(piece)
                await writer.drain()

        sending = asyncio.create_task(send_for_ever())
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        sending.cancel()
        await asyncio.wait([sending])
        writer.close()


class Lines:
    """A log that is told of events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, **_: object) -> None:
        self.events.append(event)


def deaf(url: str, path: str, video: bytes) -> socket.socket:
    """A client that has sent a video and reads nothing, with room for little."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
    client.sendall(f"{head}Content-Length: {len(video)}\r\n\r\n".encode() + video)
    return client


def told() -> bytes:
    """A video of which there is much to tell."""
    return videos.encode(list(videos.counting(25)) * 40)


def drawn() -> bytes:
    """A video that is large, however it is drawn on."""
    noise = np.random.default_rng(1).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    return videos.encode(noise)


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "film"), [("/classify/video", told), ("/explain/video", drawn)])
async def test_a_client_that_stops_reading_frees_the_place_and_the_file_of_its_video(
    path: str, film: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Lines()
    monkeypatch.setattr(connections, "log", log)
    settings: dict[str, Any] = {"max_videos": 1, "client_timeout": 0.5, "temp_dir": tmp_path}
    async with served(**settings) as (_, url), httpx.AsyncClient(base_url=url) as other:

        async def busy() -> bool:
            headers = {"Content-Type": "video/mp4"}
            return (await other.post(path, content=b"?", headers=headers)).status_code == 503

        with await asyncio.to_thread(deaf, url, f"{path}?faces=whole", film()):
            while not await busy():
                pass
            assert open_files(tmp_path) != []
            while await busy():
                pass
            assert open_files(tmp_path) == []
    assert log.events == ["the client reads no longer"]


@pytest.mark.anyio
async def test_a_camera_that_sends_and_never_reads_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Lines()
    monkeypatch.setattr(connections, "log", log)
    long = BadInput("x" * 100_000)

    async def look(_: bytes) -> Glance:
        raise long

    def camera(*_: object) -> nullcontext[Camera]:
        return nullcontext(Camera(look, Tracker()))

    monkeypatch.setattr(Engine, "camera", camera)
    async with served(client_timeout=0.5) as (_, url):
        live = f"ws{url.removeprefix('http')}/live"
        async with asyncio.timeout(60), connect(live, max_queue=1) as client:

            async def send_for_ever() -> None:
                while True:
                    await client.send(b"a frame")
                    await asyncio.sleep(0)

            with pytest.raises(ConnectionClosed):
                await send_for_ever()
    assert log.events == ["the client reads no longer"]
