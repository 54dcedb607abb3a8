"""The balancer of the compose file: camera streams, large uploads and timeouts."""

import asyncio
import json
import re
import socket
import struct
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.api import png
from tests.deploy.conftest import ROOT, tool
from tests.served import served
from tests.videos import counting, encode
from tests.waiting import LIMIT, until

pytestmark = pytest.mark.anyio

MB = 2**20
UPLOAD = 200 * MB


@dataclass(frozen=True)
class Balancer:
    """A running HAProxy.

    Attributes:
        pid: its process ID.
        port: the port that it listens on.
        folder: the folder where the replicas store uploads.
    """

    pid: int
    port: int
    folder: Path

    def memory(self) -> int:
        """The bytes of its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def written(self) -> int:
        """The bytes that it has written to disk."""
        told = Path(f"/proc/{self.pid}/io").read_text()
        return int(told.partition("\nwrite_bytes:")[2].split()[0])

    def arrived(self) -> int:
        """The bytes of uploads that the replicas, which run in this process, have received."""
        size = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # it may just have been closed
                if str(descriptor.readlink()).startswith(str(self.folder)):
                    size += descriptor.stat().st_size
        return size


def configuration(
    listening: socket.socket, replicas: list[str], server_timeout: str | None = None
) -> str:
    """The deployed configuration with local addresses and, if given, another timeout."""
    folder = ROOT / "deploy" / "haproxy"
    text = (folder / "haproxy.cfg").read_text()
    servers = [f"    server {n} {url.partition('//')[2]}" for n, url in enumerate(replicas)]
    for old, new in {
        "/usr/local/etc/haproxy": str(folder),
        "bind :8080": f"bind fd@{listening.fileno()}",
        " resolvers docker init-addr none": "",
        "    server-template replica 10 replicas:8000": "\n".join(servers),
    }.items():
        assert old in text
        text = text.replace(old, new)
    if server_timeout:
        text, found = re.subn(r"(\n    timeout server) .*", rf"\1 {server_timeout}", text)
        assert found == 1
    return text


@asynccontextmanager
async def balancer_for(
    replicas: list[str], folder: Path, server_timeout: str | None = None
) -> AsyncIterator[Balancer]:
    """A balancer in front of these replicas."""
    haproxy = tool("haproxy")
    file = folder / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        file.write_text(configuration(listening, replicas, server_timeout))
        process = await asyncio.create_subprocess_exec(
            *(haproxy, "-db", "-f", file), stdout=DEVNULL, pass_fds=[listening.fileno()]
        )
        port = listening.getsockname()[1]
    try:
        async with httpx.AsyncClient(timeout=LIMIT) as client, asyncio.timeout(LIMIT):
            while not (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success:
                pass  # a replica, which runs in this process, may be late
        yield Balancer(process.pid, port, folder)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def balanced(folder: Path) -> AsyncIterator[Balancer]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(served(temp_dir=folder)) for _ in range(2)]
        yield await stack.enter_async_context(balancer_for([url for _, url in opened], folder))


async def test_cameras_are_answered_through_the_balancer(tmp_path: Path) -> None:
    async with balanced(tmp_path) as balancer:
        url = f"ws://127.0.0.1:{balancer.port}/live?faces=whole"
        async with connect(url) as one, connect(url) as other:
            for camera in (one, other, one):
                await camera.send(png(1))
                answer = json.loads(await camera.recv())
                assert [face["emotion"] for face in answer["faces"]] == ["happiness"]


async def send_zeros(writer: asyncio.StreamWriter, size: int, balancer: Balancer) -> int:
    """Send `size` zeros; return the peak memory of the balancer meanwhile."""
    most = 0
    for piece in [MB] * (size // MB) + [size % MB]:
        writer.write(bytes(piece))
        await writer.drain()
        most = max(most, balancer.memory())
    return most


async def test_a_large_upload_is_streamed_to_a_replica_without_buffering(tmp_path: Path) -> None:
    video = encode(counting(5))
    padding = UPLOAD - len(video)  # in a box that decoders skip
    head = (
        "POST /classify/video?faces=whole HTTP/1.1\r\nHost: me\r\nContent-Type: video/mp4\r\n"
        f"Content-Length: {UPLOAD}\r\nConnection: close\r\n\r\n"
    )
    async with balanced(tmp_path) as balancer:
        memory, written = balancer.memory(), balancer.written()
        reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
        writer.write(head.encode() + video + struct.pack(">I4s", padding, b"free"))
        first = await send_zeros(writer, UPLOAD // 2, balancer)
        await until(lambda: balancer.arrived() >= UPLOAD // 4)
        second = await send_zeros(writer, padding - 8 - UPLOAD // 2, balancer)
        answer = await reader.read()
        writer.close()
        assert max(first, second) - memory < 16 * MB
        assert balancer.written() == written
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b'"frame":') == 5


@asynccontextmanager
async def slow_replica(free: asyncio.Event) -> AsyncIterator[str]:
    """A replica that answers readiness probes, and other requests only once `free` is set."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # closed by the balancer
            head = await reader.readuntil(b"\r\n\r\n")
            if b" /readyz " not in head:
                await free.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())


async def test_explain_video_may_take_longer_than_the_server_timeout(tmp_path: Path) -> None:
    free = asyncio.Event()
    async with (
        slow_replica(free) as replica,
        balancer_for([replica], tmp_path, server_timeout="500ms") as balancer,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{balancer.port}", timeout=LIMIT) as client,
        asyncio.TaskGroup() as asking,
    ):
        drawn = asking.create_task(client.post("/explain/video", content=b"a video"))
        late = await client.post("/explain", content=b"a picture")
        assert late.status_code == 504
        assert late.json()["type"] == "urn:gimefive:deadline-exceeded"
        assert not drawn.done()
        free.set()
        assert (await drawn).text == "ok"
