"""Live streams of the typed client, against the real server with a fake model."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import pytest
from websockets.asyncio.server import ServerConnection, serve

from service import errors
from service.client import AsyncClient, LiveAnswer, Retries, Unreachable
from service.client.queries import LiveQuery
from service.explanation import LiveResult
from tests import videos
from tests.api import png
from tests.cameras import NOTHING, look_with
from tests.served import served
from tests.waiting import settle

pytestmark = pytest.mark.anyio


async def one_by_one(answered: asyncio.Semaphore, *frames: bytes) -> AsyncIterator[bytes]:
    """Yield each frame after the answer to the previous one."""
    for frame in frames:
        yield frame
        await answered.acquire()


async def answers_to(
    client: AsyncClient, *frames: bytes, **query: Unpack[LiveQuery]
) -> list[LiveAnswer]:
    answered = asyncio.Semaphore(0)
    answers = []
    query.setdefault("faces", "whole")
    async for answer in client.live(one_by_one(answered, *frames), **query):
        answers.append(answer)
        answered.release()
    return answers


async def test_each_frame_gets_a_typed_answer() -> None:
    async with served() as (_, url), AsyncClient(url) as client:
        first, bad, second = await answers_to(
            client, png(1), b"broken", png(9), threshold=1, explain="gradcam"
        )
    assert [first.seq, bad.seq, second.seq] == [0, 1, 2]
    assert first.image is not None
    assert first.image.width == 64
    assert first.faces is not None
    assert first.faces[0].track == 1
    assert first.faces[0].map is not None
    assert first.faces[0].map[0] == [1, 0, 0, 0]
    assert first.faces[0].abstained
    assert bad.faces is None
    assert bad.problem is not None
    assert bad.problem.type == "urn:gimefive:not-an-image"
    assert second.problem is None


async def test_a_frame_of_the_wrong_type_raises_type_error() -> None:
    async def frames() -> AsyncGenerator[bytes]:
        yield 42  # type: ignore[misc]  # the mistake under test

    async with served() as (_, url), AsyncClient(url) as client:
        with pytest.raises(TypeError):
            async for _ in client.live(frames(), faces="whole"):
                pass


@dataclass
class GatedLook:
    """Answers frames once its gate is open, and records them."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[bytes] = field(default_factory=list)

    async def __call__(self, frame: bytes) -> LiveResult:
        self.seen.append(frame)
        self.called.set()
        await self.gate.wait()
        return NOTHING


async def test_of_waiting_frames_only_the_newest_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = GatedLook()

    async def frames() -> AsyncGenerator[bytes]:
        yield b"0"
        await look.called.wait()
        for frame in (b"1", b"2", b"3", b"4"):
            yield frame  # without giving the event loop a turn
        look.gate.set()

    look_with(monkeypatch, lambda: look)
    async with served() as (_, url), AsyncClient(url) as client:
        answers = [answer async for answer in client.live(frames())]
    assert look.seen == [b"0", b"4"]
    assert [(answer.seq, answer.dropped) for answer in answers] == [(0, 0), (4, 3)]


async def test_one_frame_is_sent_ahead_of_the_one_being_processed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = GatedLook()

    async def frames() -> AsyncGenerator[bytes]:
        yield b"0"
        await look.called.wait()
        for frame in (b"1", b"2", b"3"):
            yield frame
            await settle()
        look.gate.set()

    look_with(monkeypatch, lambda: look)
    async with served() as (_, url), AsyncClient(url) as client:
        answers = [answer async for answer in client.live(frames())]
    assert look.seen == [b"0", b"1", b"3"], (
        "the second was out already; of the others the newest goes"
    )
    assert [(answer.seq, answer.dropped) for answer in answers] == [(0, 0), (1, 0), (3, 1)]


async def closes(connection: ServerConnection) -> None:
    await connection.close()


async def closes_with_4000(connection: ServerConnection) -> None:
    await connection.close(4000)


async def aborts(connection: ServerConnection) -> None:
    connection.transport.abort()


@pytest.mark.parametrize(
    ("end", "error", "told"),
    [
        (closes, Unreachable, "the stream was closed"),
        (closes_with_4000, errors.ServiceError, "closed with code 4000"),
        (aborts, Unreachable, "the stream broke"),
    ],
)
async def test_a_stream_that_ends_early_raises_an_error(
    end: Callable[[ServerConnection], Awaitable[None]],
    error: type[errors.ServiceError],
    told: str,
) -> None:
    async def receive_one(connection: ServerConnection) -> None:
        await connection.recv()
        await end(connection)

    async with serve(receive_one, "127.0.0.1", 0) as server:
        (listener,) = server.sockets
        async with AsyncClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            with pytest.raises(error, match=told) as raised:
                await anext(client.live(one_frame_then_wait()))
    assert type(raised.value) is error


async def test_an_exception_of_the_frame_source_is_propagated() -> None:
    async def frames() -> AsyncGenerator[bytes]:
        yield png(1)
        raise ZeroDivisionError

    async with served() as (_, url), AsyncClient(url) as client:
        with pytest.raises(ZeroDivisionError):
            async for _ in client.live(frames(), faces="whole"):
                pass


async def one_frame_then_wait() -> AsyncGenerator[bytes]:
    yield png(1)
    await asyncio.Event().wait()


async def test_closing_the_stream_releases_the_camera_slot() -> None:
    async with served(max_cameras=1) as (_, url), AsyncClient(url) as client:
        for _ in range(2):
            async with aclosing(client.live(one_frame_then_wait(), faces="whole")) as answers:
                assert (await anext(answers)).seq == 0


async def test_close_codes_raise_the_matching_error_and_unknown_options_type_error() -> None:
    async with (
        served(max_cameras=1, max_live_bytes=999) as (server, url),
        AsyncClient(url) as client,
    ):
        unknown: Any = "magic"
        with pytest.raises(errors.BadParameter, match=r"explain: .*gradcam"):
            await answers_to(client, png(1), explain=unknown)
        misspelled: dict[str, Any] = {"treshold": 1}
        with pytest.raises(TypeError, match="unknown option 'treshold'"):
            await answers_to(client, png(1), **misspelled)
        with pytest.raises(errors.TooLarge):
            await answers_to(client, bytes(2 * 999 + 1))
        async with aclosing(client.live(one_frame_then_wait(), faces="whole")) as first:
            assert (await anext(first)).seq == 0
            with pytest.raises(errors.Overloaded, match="try again"):
                await answers_to(client, png(1))
            server.drain_or_end(signal.SIGTERM)
            with pytest.raises(errors.NotReady, match="connect again"):
                await anext(first)


async def test_the_api_key_is_sent_and_a_missing_one_raises_unauthorised(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"camera:{hashlib.sha256(b'secret').hexdigest()}\n")
    async with served(keys_file=keys) as (_, url):
        async with AsyncClient(url, key="secret") as client:
            assert len(await answers_to(client, png(1))) == 1
        async with AsyncClient(url) as stranger:
            with pytest.raises(errors.Unauthorised, match="an API key is required"):
                await answers_to(stranger, png(1))


async def test_an_unreachable_service_is_retried_and_then_reported() -> None:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    async with AsyncClient(
        "http://127.0.0.1:9", retries=Retries(attempts=3, first=1), sleep=sleep
    ) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            await answers_to(client, png(1))
    assert delays == [1, 2]


async def test_the_live_example_prints_the_emotions_of_a_video(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(videos.encode(list(videos.moving_portrait(1)) * 5))
    example = Path(__file__).parent.parent / "examples" / "live.py"
    async with served() as (_, url):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(example), str(film), "--url", url),
            env={**os.environ, "PYTHONPATH": str(example.parent.parent)},
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines()[-1].startswith("frame 4: #1 happiness")
