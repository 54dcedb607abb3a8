"""The deadlines of requests, and how they end."""

import asyncio
import json
import time

import httpx
import pytest
from starlette.types import Message

from service.deadlines import Cutoff, within
from service.errors import NotReady
from tests import processes
from tests.api import check_problem, png, said, serving
from tests.fakes import POISON
from tests.served import served
from tests.videos import counting, encode
from tests.waiting import LIMIT

FORM = "multipart/form-data; boundary=x"
RAW = "application/octet-stream"


def test_an_answer_past_its_deadline_gets_504() -> None:
    with serving(processes.hangs) as client:
        headers = {"Content-Type": "image/png", "X-Deadline-Ms": "50"}
        response = client.post("/classify?faces=whole", content=png(POISON), headers=headers)
        assert "within 50 ms" in check_problem(response, 504, "deadline-exceeded")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/classify", RAW),
        ("/classify/frames", FORM),
        ("/explain", RAW),
        ("/classify/video", RAW),
        ("/explain/video", RAW),
    ],
)
def test_a_body_that_never_arrives_gets_504(path: str, kind: str) -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with serving() as client:
        start, body = said(client, path, {"X-Deadline-Ms": "20", "Content-Type": kind}, receive)
    assert start["status"] == 504
    assert json.loads(body["body"])["type"] == "urn:gimefive:deadline-exceeded"


@pytest.mark.anyio
async def test_a_video_past_its_deadline_ends_with_a_deadline_exceeded_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = encode([next(counting(1)), next(counting(1)) * 0 + POISON], "mkv")
    headers = {"Content-Type": "video/x-matroska", "X-Deadline-Ms": "20000"}
    loop = asyncio.get_running_loop()
    async with (
        served(processes.argv(processes.hangs)) as (_, url),
        httpx.AsyncClient(base_url=url, headers=headers, timeout=LIMIT) as client,
        client.stream("POST", "/classify/video?faces=whole", content=film) as answer,
    ):
        lines = answer.aiter_lines()
        assert "video" in json.loads(await anext(lines))
        monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 21)
        *_, last = [json.loads(line) async for line in lines]
    assert last["problem"]["type"] == "urn:gimefive:deadline-exceeded"


@pytest.mark.anyio
async def test_a_timeout_error_raised_inside_within_is_not_converted() -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        async with within(60):
            raise TimeoutError("of its own")


@pytest.mark.anyio
async def test_a_cutoff_reaches_all_holders_although_some_are_slow_to_end() -> None:
    ended_early: list[None] = []
    cutoff, begun = Cutoff(lambda: ended_early.append(None)), 0

    async def hold(*, slow_to_end: bool, seconds: float | None) -> None:
        nonlocal begun
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        async with cutoff.enforced(deadline):
            begun += 1
            try:
                await asyncio.Event().wait()
            finally:
                if slow_to_end:
                    await asyncio.sleep(0.01)

    held = [
        asyncio.create_task(hold(slow_to_end=slow, seconds=seconds))
        for slow in (True, False)
        for seconds in (None, 2 * LIMIT)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert begun == len(held)
    cutoff.reach()
    for _ in range(3):
        await asyncio.sleep(0)
    cutoff.reach()
    ended = await asyncio.wait_for(asyncio.gather(*held, return_exceptions=True), LIMIT)
    assert [type(each) for each in ended] == [NotReady] * 4
    assert len(ended_early) == 4
