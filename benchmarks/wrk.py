"""Closed-loop load by wrk, which costs about 10 microseconds of CPU per request."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
GRACE = 30
"""Seconds past its duration after which wrk is given up."""


@dataclass(frozen=True)
class Request:
    """A request to send repeatedly.

    Attributes:
        path: with the query.
        body: to POST.
        kind: the content type.
        headers: other headers.
    """

    path: str
    body: bytes
    kind: str = "image/jpeg"
    headers: tuple[tuple[str, str], ...] = ()

    def pack(self) -> bytes:
        """The request as sent."""
        headers = [("Host", "localhost"), ("Content-Type", self.kind), *self.headers]
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body

    @classmethod
    def form(cls, path: str, field: str, files: list[bytes]) -> "Request":
        """A multipart form with `files` in `field`."""
        boundary = "gimefive-benchmark"
        parts = [
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{field}"; filename="{index}.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode()
            + file
            + b"\r\n"
            for index, file in enumerate(files)
        ]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        return cls(path, body, f"multipart/form-data; boundary={boundary}")


@dataclass(frozen=True)
class LoadResult:
    """The result of a closed loop.

    Attributes:
        seconds: its duration.
        requests: number answered, with any status.
        refused: number of these with a status over 399.
        lost: number of broken connections and time-outs.
        p50: median latency in milliseconds.
        p99: 99th percentile in milliseconds.
    """

    seconds: float
    requests: int
    refused: int
    lost: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Successful answers per second."""
        return (self.requests - self.refused) / self.seconds


def closed_loop(port: int, request: Request, connections: int, seconds: int) -> LoadResult:
    """Keep `connections` busy, each sending its next request when the last one is answered.

    Raises:
        subprocess.SubprocessError: wrk failed or did not end.
    """
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        command = ["wrk", "--threads", "1", "--connections", str(connections)]
        command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(SCRIPT)]
        for name, value in request.headers:
            command += ["--header", f"{name}: {value}"]
        command += [f"http://127.0.0.1:{port}{request.path}", "--", body.name, request.kind]
        ran = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + GRACE
        )
    return LoadResult(**json.loads(ran.stdout.splitlines()[-1]))
