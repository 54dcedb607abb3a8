"""Connections: stalled and slow readers, oversized headers, upgrades, and invalid requests."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.api import stalls
from service.api.stalls import StallWatch
from service.camera import Camera
from service.engine import Engine
from service.errors import BadInput
from service.explanation import LiveResult
from service.listeners import listeners
from service.server import operations
from service.tracks import Tracker
from tests import processes, videos
from tests.api import png
from tests.processes import shut
from tests.served import open_files, served
from tests.virtual import VirtualLoop
from tests.waiting import LIMIT, until


def test_a_slow_reader_is_kept_and_a_stalled_one_is_dropped() -> None:
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


def test_a_stopped_watch_does_not_drop_the_client() -> None:
    async def run() -> None:
        watch = StallWatch(20, lambda: 1, lambda: pytest.fail("let go"))
        watch.start()
        await asyncio.sleep(19)
        watch.stop()
        await asyncio.sleep(1000)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
CHUNK = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (HEAD, b"x-a: " + b"b" * 10_000 + b"\r\n"),
        (HEAD + b"x-b: ", b"b" * 10_000),
        (CHUNK + b"\r\na\r\n0\r\n", b"x-a: " + b"b" * 10_000 + b"\r\n"),
        (CHUNK + b"\r\na\r\n0\r\nx-b: ", b"b" * 10_000),
        (CHUNK + b";", b"b" * 10_000),
    ],
    ids=["headers", "header", "trailers", "trailer", "chunk extension"],
)
async def test_what_is_endless_beside_a_body_closes_the_connection(
    begin: bytes, piece: bytes
) -> None:
    async with served(client_timeout=2 * LIMIT) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(begin)

        async def send_forever() -> None:
            while True:
                writer.write(piece)
                await writer.drain()

        sending = asyncio.create_task(send_forever())
        async with asyncio.timeout(LIMIT):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        sending.cancel()
        await asyncio.wait([sending])
        writer.close()


@pytest.mark.anyio
async def test_requests_of_a_client_that_pipelines_and_leaves_are_dropped(tmp_path: Path) -> None:
    gate, body = tmp_path / "gate", png(1)
    request = HEAD.replace(b"classify", b"classify?faces=whole")
    request += b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with served(processes.argv(processes.gated, str(gate))) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with shut(gate), capture_logs() as log:
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(2 * request)
            await until(Path(f"{gate}.log").exists)  # the first has reached the model
            writer.close()
            await until(lambda: log)
    assert [line["status"] for line in log if line["event"] == "request"] == [499]


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


def warnings_in(log: Sequence[EventDict]) -> list[str]:
    return [line["event"] for line in log if line["log_level"] == "warning"]


def never_reading_client(url: str, path: str, video: bytes) -> socket.socket:
    """A client with small buffers that sends a video and never reads."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
    client.sendall(f"{head}Content-Length: {len(video)}\r\n\r\n".encode() + video)
    return client


def many_frames() -> bytes:
    """A video with a large classification answer."""
    return videos.encode(list(videos.counting(25)) * 40)


def noise_video() -> bytes:
    """Video of noise, which stays large when it is encoded again."""
    noise = np.random.default_rng(1).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    return videos.encode(noise)


@pytest.fixture
def _stalls_soon_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop stalled readers after a hundredth of the time; slow senders still have all of it."""

    def soon(seconds: float, left: Callable[[], int], stalled: Callable[[], None]) -> StallWatch:
        return StallWatch(seconds / 100, left, stalled)

    monkeypatch.setattr(stalls, "StallWatch", soon)


@pytest.mark.anyio
@pytest.mark.usefixtures("_stalls_soon_noticed")
@pytest.mark.parametrize(
    ("path", "film"), [("/classify/video", many_frames), ("/explain/video", noise_video)]
)
async def test_a_client_that_stops_reading_releases_its_video_slot_and_file(
    path: str, film: Callable[[], bytes], tmp_path: Path, log: list[EventDict]
) -> None:
    settings: dict[str, Any] = {"max_videos": 1, "client_timeout": 50, "temp_dir": tmp_path}
    async with served(**settings) as (server, url):

        def held() -> bool:
            return b'gimefive_in_progress{kind="video"} 1.0' in server.engine.metrics.text()

        sending = asyncio.create_task(
            asyncio.to_thread(never_reading_client, url, f"{path}?faces=whole", film())
        )
        await until(lambda: held() and open_files(tmp_path))
        with await sending:
            await until(lambda: warnings_in(log) and not held())
            assert open_files(tmp_path) == []
    assert warnings_in(log) == ["the client reads no longer"]


@pytest.mark.anyio
@pytest.mark.usefixtures("_stalls_soon_noticed")
async def test_a_camera_that_sends_but_never_reads_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    long = BadInput("x" * 100_000)

    async def look(_: bytes) -> LiveResult:
        raise long

    def camera(*_: object) -> nullcontext[Camera]:
        return nullcontext(Camera(look, Tracker()))

    monkeypatch.setattr(Engine, "camera", camera)
    async with served(client_timeout=50) as (_, url):
        live = f"ws{url.removeprefix('http')}/live"
        async with asyncio.timeout(LIMIT), connect(live, max_queue=1) as client:

            async def send_forever() -> None:
                while True:
                    await client.send(b"a frame")
                    await asyncio.sleep(0)

            with pytest.raises(ConnectionClosed):
                await send_forever()
    assert warnings_in(log) == ["the client reads no longer"]


IMAGE_HEADER = b"Content-Type: image/png\r\n"


async def responses_to(url: str, sent: bytes, count: int = 1) -> list[httpx.Response]:
    """Send bytes on one connection and parse `count` responses."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answers = []
    async with asyncio.timeout(LIMIT):
        for _ in range(count):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            body = await reader.readexactly(int(httpx.Headers(headers)["Content-Length"]))
            answers.append(httpx.Response(int(head[0].split()[1]), headers=headers, content=body))
    writer.close()
    return answers


@pytest.mark.anyio
@pytest.mark.parametrize("offer", [b"h2c", b"TLS/1.2", b"websocket"])
async def test_an_unsupported_upgrade_offer_is_ignored(offer: bytes) -> None:
    """Java's HTTP client offers h2c with every request by default."""
    body = png(1)
    request = (
        b"POST /classify?faces=whole HTTP/1.1\r\nHost: x\r\nUpgrade: " + offer + b"\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\n" + IMAGE_HEADER
    )
    request += b"Content-Length: %d\r\n\r\n" % len(body)
    whole = request + body + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served() as (_, url):
        first, second = await responses_to(url, whole, 2)
    assert len(first.json()["faces"]) == 1
    assert second.json() == {"live": True}


HANDSHAKE = {
    "Host": "x",
    "X-Request-ID": "camera-1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def handshake(changes: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in {**HANDSHAKE, **changes}.items()]
    return "".join(["GET /live HTTP/1.1\r\n", *lines, "\r\n"]).encode()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    [
        {"Sec-WebSocket-Key": "abc"},
        {"Sec-WebSocket-Version": "8"},
        {"Cookie": "x" * 10_000},
        {f"X-{number}": "x" for number in range(200)},
    ],
    ids=["key", "version", "long header", "many headers"],
)
async def test_an_invalid_websocket_handshake_gets_a_problem_response(
    wrong: dict[str, str],
) -> None:
    async with served() as (_, url):
        with capture_logs() as log:
            (answer,) = await responses_to(url, handshake(wrong))
    assert answer.status_code == 426
    assert answer.json()["type"] == "urn:gimefive:no-websocket"
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "camera-1"
    assert answer.headers["Sec-WebSocket-Version"] == "13"
    (line,) = [line for line in log if line["event"] == "request"]
    assert (line["route"], line["status"]) == ("/live", 426)


@pytest.mark.anyio
async def test_the_operations_port_has_no_websocket_and_says_what_it_has() -> None:
    async with served() as (server, _):
        with listeners("127.0.0.1", 0, 1) as (sockets,):
            url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
            async with operations(server.engine.settings, server.engine, sockets):
                (answer,) = await responses_to(url, handshake({}))
    assert answer.status_code == 404
    assert "has only /livez, /metrics, /readyz, /startupz" in answer.json()["detail"]


@pytest.mark.anyio
async def test_an_invalid_http_request_gets_a_problem_response() -> None:
    async with served() as (_, url):
        with capture_logs() as log:
            (answer,) = await responses_to(url, b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n")
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            counted = (await client.get(f"{url}/metrics")).text
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert "inference;dur=" in answer.headers["Server-Timing"]
    (line,) = [line for line in log if line["event"] == "request"]
    assert line["id"] == answer.headers["X-Request-ID"]
    assert (line["route"], line["status"]) == ("unmatched", 400)
    assert line["problem"] == "urn:gimefive:bad-input"
    assert 'requests_total{method="unknown",route="unmatched",status="400"} 1.0' in counted


@pytest.mark.anyio
async def test_a_request_whose_body_is_not_http_is_refused_and_logged_once() -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n" + IMAGE_HEADER
    async with served() as (_, url):
        with capture_logs() as log:
            body = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nno number\r\n"
            (answer,) = await responses_to(url, head + body)
            await until(lambda: any(line.get("route") == "/classify" for line in log))
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (400, "mine")
    (line,) = [line for line in log if line["event"] == "request"]
    assert (line["id"], line["status"], line["problem"]) == ("mine", 400, "urn:gimefive:bad-input")


@pytest.mark.anyio
async def test_the_connection_is_reused_after_a_413() -> None:
    head = b"POST /classify?faces=whole HTTP/1.1\r\nHost: x\r\n" + IMAGE_HEADER
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    large = head + b"Transfer-Encoding: chunked\r\n\r\n" + 8 * chunk + b"0\r\n\r\n"
    small = head + b"Content-Length: %d\r\n\r\n" % len(png(1)) + png(1)
    async with served(max_body_bytes=1000) as (_, url):
        refused, answered = await responses_to(url, large + small, 2)
    assert refused.status_code == 413
    assert answered.status_code == 200
