import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests import videos
from tests.e2e.browser import chromium, playing, watched_page

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


def command(*arguments: str) -> list[str]:
    """The command `gimefive`, run from this checkout."""
    return [sys.executable, "-m", "service.cli", *arguments]


@contextmanager
def running_server(
    scheme: str = "http", start: Sequence[str] = (), **settings: object
) -> Iterator[Server]:
    """A server on a free port, started by `gimefive serve` or another command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"start_timeout": 300, "port": port, **settings}  # a busy machine is slow
    changes = {f"GIMEFIVE_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        start or command("serve"),
        env={**os.environ, **changes},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if '"ready"' in line:
                break
        url = f"{scheme}://127.0.0.1:{port}"
        # Only waits until it listens; who it is, tests of TLS look at.
        with httpx.Client(transport=httpx.HTTPTransport(verify=False, retries=5)) as client:
            client.get(f"{url}/readyz").raise_for_status()
        # Nobody reads the log, but a full pipe would stop the server.
        drain = Thread(target=deque, args=(process.stderr, 0))
        drain.start()
        try:
            yield Server(process, url)
        finally:
            process.kill()
            drain.join()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The service as `gimefive serve` starts it, with the embedded model."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """NASA's portrait of Eileen Collins, smiling."""
    return (ROOT / "examples" / "eileen-collins.jpg").read_bytes()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with playing() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, server.url) as page:
        yield page


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of video in which the portrait wanders from left to right."""
    path = tmp_path_factory.mktemp("video") / "walk.webm"
    path.write_bytes(videos.encode(videos.moving_portrait(24, (480, 360), 320), "webm", rate=8))
    return path
