"""A closed-loop load over plain sockets, cheap enough per request to leave the cores alone."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Call:
    """A request that is sent again and again.

    Attributes:
        path: with its query.
        body: the image.
        headers: beside length and host.
    """

    path: str
    body: bytes
    headers: Sequence[tuple[str, str]] = (("Content-Type", "image/png"),)

    def pack(self) -> bytes:
        """The request as it travels."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass
class Seen:
    """What a load saw.

    Attributes:
        seconds: it lasted.
        latencies: of every answered request, in seconds.
        statuses: how often each status came.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests answered with 200, a second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, share: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        return float(np.percentile(self.latencies, share)) * 1000


async def closed_loop(port: int, call: Call, connections: int, seconds: float) -> Seen:
    """Keep so many connections busy, each sending its next request when it has its answer."""
    seen = Seen()
    start = time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(_connection(port, call.pack(), end, seen) for _ in range(connections)))
    seen.seconds = time.perf_counter() - start
    return seen


async def _connection(port: int, request: bytes, end: float, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (sent := time.perf_counter()) < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        seen.latencies.append(time.perf_counter() - sent)
        status = int(head.split(b" ", 2)[1])
        seen.statuses[status] = seen.statuses.get(status, 0) + 1
    writer.close()
    await writer.wait_closed()
