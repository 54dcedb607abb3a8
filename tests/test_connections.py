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
from service.explanation import LiveResult
from service.tracks import Tracker
from tests import videos
from tests.api import png
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

    async def look(_: bytes) -> LiveResult:
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


PICTURE = b"Content-Type: image/png\r\n"


async def answers_to(url: str, sent: bytes, count: int = 1) -> list[httpx.Response]:
    """What a real client would read of so many answers on one connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answers = []
    async with asyncio.timeout(30):
        for _ in range(count):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            body = await reader.readexactly(int(httpx.Headers(headers)["Content-Length"]))
            answers.append(httpx.Response(int(head[0].split()[1]), headers=headers, content=body))
    writer.close()
    return answers


@pytest.mark.anyio
@pytest.mark.parametrize("offer", [b"h2c", b"TLS/1.2", b"websocket"])
async def test_a_protocol_that_nobody_speaks_here_is_passed_over(offer: bytes) -> None:
    """Java's client offers h2c with each request, unless told otherwise."""
    body = png(1)
    request = (
        b"POST /classify?faces=whole HTTP/1.1\r\nHost: x\r\nUpgrade: " + offer + b"\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\n" + PICTURE
    )
    request += b"Content-Length: %d\r\n\r\n" % len(body)
    whole = request + body + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served() as (_, url):
        first, second = await answers_to(url, whole, 2)
    assert len(first.json()["faces"]) == 1
    assert second.json() == {"live": True}


@pytest.mark.anyio
async def test_what_is_no_http_is_a_problem_too() -> None:
    async with served() as (_, url):
        (answer,) = await answers_to(url, b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert "inference;dur=" in answer.headers["Server-Timing"]


@pytest.mark.anyio
async def test_after_a_body_over_the_limit_the_connection_serves_on() -> None:
    head = b"POST /classify?faces=whole HTTP/1.1\r\nHost: x\r\n" + PICTURE
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    large = head + b"Transfer-Encoding: chunked\r\n\r\n" + 8 * chunk + b"0\r\n\r\n"
    small = head + b"Content-Length: %d\r\n\r\n" % len(png(1)) + png(1)
    async with served(max_body_bytes=1000) as (_, url):
        refused, answered = await answers_to(url, large + small, 2)
    assert refused.status_code == 413
    assert answered.status_code == 200
