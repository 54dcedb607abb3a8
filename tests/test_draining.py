"""Videos that outlast the draining: their clients get the problem, and no file is left."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.api import connections
from service.deadlines import Cutoff
from service.errors import NotReady
from service.server import ACCEPT_GRACE, DrainingServer
from tests import processes, videos
from tests.processes import shut
from tests.served import open_files, served
from tests.waiting import LIMIT, until

pytestmark = pytest.mark.anyio

FILM = videos.encode(videos.counting(5))
MP4 = {"Content-Type": "video/mp4"}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A gate that stays shut, so that the model does not answer before the test ends."""
    path = tmp_path / "gate"
    with shut(path):
        yield path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
async def server(gate: Path, folder: Path) -> AsyncIterator[tuple[DrainingServer, str]]:
    argv = processes.argv(processes.gated, str(gate))
    async with served(argv, drain_timeout=LIMIT, temp_dir=folder) as running:
        yield running


async def reach_the_cutoff(running: DrainingServer) -> None:
    """Have the server drain until it cuts off videos, without waiting for that."""
    running.drain_or_end(signal.SIGTERM)
    await until(lambda: running.should_exit)
    running.engine.cutoff.reach()


@pytest.mark.parametrize(("drain_timeout", "left"), [(30, 25), (4, 2)])
async def test_videos_are_cut_off_five_seconds_or_half_of_the_time_before_the_end(
    drain_timeout: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = []

    def pass_time(seconds: float, then: Callable[[], None]) -> None:
        passed.append(seconds)
        then()

    async with served(drain_timeout=drain_timeout) as (running, _):
        with monkeypatch.context() as now:
            now.setattr(asyncio.get_running_loop(), "call_later", pass_time)
            running.stop()
        assert passed == [ACCEPT_GRACE, left]
        with pytest.raises(NotReady):
            async with running.engine.cutoff.enforced():
                await asyncio.Event().wait()


def check(problem: dict[str, object]) -> None:
    assert problem["type"] == "urn:gimefive:not-ready"
    assert "shutting down" in str(problem["detail"])


async def test_a_stream_ends_with_a_not_ready_problem_as_its_last_line(
    server: tuple[DrainingServer, str], folder: Path
) -> None:
    running, url = server
    async with (
        httpx.AsyncClient(base_url=url, headers=MP4, timeout=LIMIT) as client,
        client.stream("POST", "/classify/video?faces=whole", content=FILM) as response,
    ):
        lines = response.aiter_lines()
        assert "video" in json.loads(await anext(lines))
        assert open_files(folder) != []
        await reach_the_cutoff(running)
        *_, last = [json.loads(line) async for line in lines]
    check(last["problem"])
    await until(lambda: open_files(folder) == [])  # the last line is sent before the file is closed


async def test_a_video_being_explained_gets_503(
    server: tuple[DrainingServer, str], folder: Path
) -> None:
    running, url = server
    async with httpx.AsyncClient(base_url=url, headers=MP4, timeout=LIMIT) as client:
        asking = asyncio.create_task(client.post("/explain/video?faces=whole", content=FILM))
        await until(lambda: len(open_files(folder)) == 2)
        await reach_the_cutoff(running)
        response = await asking
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    check(response.json())
    assert open_files(folder) == []


@pytest.mark.parametrize("path", ["/classify/video", "/explain/video"])
async def test_an_incomplete_upload_gets_503(
    server: tuple[DrainingServer, str], folder: Path, path: str
) -> None:
    running, url = server
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
    writer.write(f"{head}Content-Length: {len(FILM)}\r\n\r\n".encode() + FILM[:-1])
    await until(lambda: open_files(folder))
    await reach_the_cutoff(running)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    check(json.loads(answer.partition(b"\r\n\r\n")[2]))
    assert open_files(folder) == []


async def test_a_connection_that_has_sent_no_request_yet_is_still_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_GRACE", 60)
    async with served() as (running, url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        running.drain_or_end(signal.SIGTERM)
        await until(lambda: not running.servers[0].is_serving())
        writer.write(b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()


async def test_a_cutoff_passes_other_errors_through_and_raises_not_ready_once_reached() -> None:
    cutoff = Cutoff(lambda: None)
    with pytest.raises(TimeoutError):
        async with cutoff.enforced():
            raise TimeoutError
    async with cutoff.enforced():
        pass
    cutoff.reach()
    with pytest.raises(NotReady):
        async with cutoff.enforced():
            await asyncio.Event().wait()


async def test_a_drain_timeout_below_a_second_is_rounded_up_to_one() -> None:
    async with served(drain_timeout=0.3) as (server, _):
        assert server.config.timeout_graceful_shutdown == 1


async def test_a_video_that_draining_ends_is_counted_as_refused(
    server: tuple[DrainingServer, str],
) -> None:
    running, url = server
    async with httpx.AsyncClient(base_url=url, headers=MP4, timeout=LIMIT) as client:
        asking = asyncio.create_task(client.post("/explain/video?faces=whole", content=FILM))
        await until(lambda: running.engine.metrics.text().count(b'kind="video"} 1.0'))
        await reach_the_cutoff(running)
        assert (await asking).status_code == 503
    counted = running.engine.metrics.text().decode()
    assert 'gimefive_rejected_total{reason="not_ready"} 1.0' in counted
