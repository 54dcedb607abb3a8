"""Helpers for the Docker CLI, and a load generator that records every lost request."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent.parent
PHOTOGRAPH = (ROOT / "examples" / "eileen-collins.jpg").read_bytes()
JPEG = {"Content-Type": "image/jpeg"}


def sh(*command: object, timeout: float = 600, given: str | None = None) -> str:
    """The output of a command that must succeed."""
    ended = subprocess.run(
        [str(part) for part in command],
        input=given,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=timeout,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.strip()


def docker(*arguments: object, timeout: float = 600) -> str:
    return sh("docker", *arguments, timeout=timeout)


def inspect(thing: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", thing))
    assert isinstance(found, dict)
    return found


def address(container: str) -> str:
    """The container's own address, because published ports accept even if it is down."""
    (network,) = inspect(container)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def build_arguments() -> list[str]:
    """The build arguments in DEPLOY_BUILD_ARGS, as in ``BUILD_BASE=wheels TORCH_INDEX=URL``."""
    given = os.environ.get("DEPLOY_BUILD_ARGS", "").split()
    return [part for argument in given for part in ("--build-arg", argument)]


@contextmanager
def patience(seconds: float, what: str) -> Iterator[Iterator[None]]:
    """Yield an iterator to poll with; it raises after `seconds`."""

    def tries() -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield
            time.sleep(0.5)  # polling: other programs send no event
        raise AssertionError(f"waited {seconds} s for {what}")

    yield tries()


def wait_healthy(container: str, seconds: float = 300) -> float:
    """Wait until the container is healthy; return the seconds that it took."""
    start = time.monotonic()
    with patience(seconds, f"{container} to be healthy") as tries:
        for _ in tries:
            state = inspect(container)["State"]
            assert state["Running"], docker("logs", container)
            if state["Health"]["Status"] == "healthy":
                break
    return time.monotonic() - start


@dataclass
class Load:
    """The results of a continuous load.

    Attributes:
        statuses: the number of responses per status.
        lost: the errors of requests that were sent and not answered.
        refused: the number of connection failures, where nothing was sent.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def answered(self) -> int:
        return self.statuses.total()


@contextmanager
def load(url: str, connections: int = 3, key: str = "") -> Iterator[Load]:
    """Send photographs over `connections` until the block ends and all are answered."""
    seen = Load()
    stop = threading.Event()
    headers = {**JPEG, "X-API-Key": key}

    async def connection(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            try:
                response = await client.post(f"{url}/classify", content=PHOTOGRAPH)
                seen.statuses[response.status_code] += 1
            except httpx.ConnectError:
                seen.refused += 1
                await asyncio.sleep(0.1)
            except httpx.HTTPError as error:
                seen.lost.append(repr(error))

    async def run_connections() -> None:
        async with (
            httpx.AsyncClient(timeout=120, headers=headers) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(connections):
                group.create_task(connection(client))

    thread = threading.Thread(target=asyncio.run, args=(run_connections(),))
    thread.start()
    try:
        with patience(120, "the first answer") as tries:
            for _ in tries:
                if seen.answered:
                    break
        yield seen
    finally:
        stop.set()
        thread.join()


def figure(name: str, value: object) -> None:
    """Print a figure for the documentation."""
    print(f"\nFIGURE {name}: {value}")  # noqa: T201  # part of the output of `make deploy-test`
