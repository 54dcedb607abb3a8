"""A closed loop by wrk, which is compiled and costs the cores 10 microseconds a request."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
GRACE = 30
"""Seconds after which a wrk that should have ended is given up."""


@dataclass(frozen=True)
class Request:
    """A request that is sent again and again.

    Attributes:
        path: with its query.
        body: what is posted.
        kind: its content type.
        headers: beside that.
    """

    path: str
    body: bytes
    kind: str = "image/jpeg"
    headers: tuple[tuple[str, str], ...] = ()

    def pack(self) -> bytes:
        """The request as it travels."""
        headers = [("Host", "localhost"), ("Content-Type", self.kind), *self.headers]
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body

    @classmethod
    def form(cls, path: str, field: str, files: list[bytes]) -> "Request":
        """A form with `files` in `field`."""
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
class Seen:
    """What a closed loop saw.

    Attributes:
        seconds: it lasted.
        requests: were answered, with whatever status.
        refused: those of them with a status over 399.
        lost: connections that broke, or answers that did not come in time.
        p50: milliseconds.
        p99: milliseconds.
    """

    seconds: float
    requests: int
    refused: int
    lost: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.requests - self.refused) / self.seconds


def closed_loop(port: int, request: Request, connections: int, seconds: int) -> Seen:
    """Keep so many connections busy, each sending its next request when it has its answer.

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
    return Seen(**json.loads(ran.stdout.splitlines()[-1]))
