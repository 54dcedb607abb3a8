"""Servers in separate processes, started as users start them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx

from tests.waiting import LIMIT, wait_until

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Server:
    """A server in a separate process.

    Attributes:
        ops_port: where it serves probes and metrics without a key, if it does.
        log: the lines written so far; complete once the process has ended.
    """

    process: subprocess.Popen[str]
    url: str
    ops_port: int | None
    log: list[str]

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
    settings = {"port": 0, "deadline_ms": 1000 * LIMIT, **settings}
    changes = {f"GIMEFIVE_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        start or command("serve"),
        env={**os.environ, **changes},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if '"ready"' in line:
                break
        else:
            raise AssertionError("it ended before it was ready:\n" + "".join(said))
        ready = json.loads(said[-1])
        url = f"{scheme}://127.0.0.1:{httpx.URL(ready['url']).port}"
        wait_until(lambda: listens(url))
        # A full stderr pipe would block the server.
        drain = Thread(target=said.extend, args=(process.stderr,))
        drain.start()
        try:
            yield Server(process, url, ready["ops_port"], said)
        finally:
            process.kill()
            drain.join()
    finally:
        process.kill()
        process.communicate()


def listens(url: str) -> bool:
    """Whether the server is ready; tests of their own verify certificates."""
    with httpx.Client(transport=httpx.HTTPTransport(verify=False), timeout=LIMIT) as client:
        try:
            return client.get(f"{url}/readyz").is_success
        except httpx.TransportError:
            return False


def ended(pid: int) -> bool:
    """Whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading
        return True


def wait_for_the_end_of(pids: list[int]) -> None:
    wait_until(lambda: all(ended(pid) for pid in pids))
