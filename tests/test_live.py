"""WebSocket /live: a real server and a real client, over a fake model."""

import asyncio
import base64
import json
import signal
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from service.core import Core
from service.errors import NotReady
from service.explanation import LiveResult
from tests.api import png
from tests.cameras import NOTHING, Look, closed, exchange, live, look_with
from tests.pictures import encode, large_and_small
from tests.waiting import LIMIT

pytestmark = pytest.mark.anyio


async def test_a_frame_gets_the_documented_answer() -> None:
    async with live() as (_, url), connect(f"{url}?faces=whole&threshold=1") as client:
        first = await exchange(client, png(1))
        second = await exchange(client, png(1))
    assert list(first) == ["seq", "dropped", "image", "faces"]
    assert (first["seq"], first["dropped"], second["seq"]) == (0, 0, 1)
    assert first["image"] == {"width": 64, "height": 64}
    (face,) = first["faces"]
    assert face["emotion"] == "happiness"
    assert face["abstained"] is False
    assert face["track"] == second["faces"][0]["track"] == 1
    assert face["smoothed"]["happiness"] == pytest.approx(1)
    assert "map" not in face


@pytest.mark.parametrize(("threshold", "abstained"), [(0, False), (1, True)])
async def test_a_face_below_the_requested_threshold_abstains(
    threshold: float, abstained: bool
) -> None:
    query = f"faces=whole&threshold={threshold}"
    async with live() as (_, url), connect(f"{url}?{query}") as client:
        (face,) = (await exchange(client, png(0)))["faces"]
    assert face["abstained"] is abstained


async def test_only_same_origin_and_listed_origins_may_connect() -> None:
    async with live(cors_origins="https://friend.example, https://other.example") as (_, url):
        here = url.replace("ws:", "http:").removesuffix("/live")
        for origin in (here, here.replace("http:", "https:"), "https://friend.example"):
            headers = {"Origin": origin}
            async with connect(f"{url}?faces=whole", additional_headers=headers) as client:
                assert (await exchange(client, png(1)))["seq"] == 0
        for origin in (
            "https://elsewhere.example",
            f"{here}.elsewhere.example",
            "null",
            "http://[",
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers={"Origin": origin})
            assert refused.value.response.status_code == 403
            problem = json.loads(refused.value.response.body)
            assert problem["type"] == "urn:gimefive:foreign-origin"
            assert "GIMEFIVE_CORS_ORIGINS" in problem["detail"]


async def test_a_wildcard_origin_setting_allows_every_origin() -> None:
    async with (
        live(cors_origins="*") as (_, url),
        connect(f"{url}?faces=whole", origin=Origin("https://elsewhere.example")) as client,
    ):
        assert (await exchange(client, png(1)))["seq"] == 0


async def test_with_explain_each_face_has_its_raw_map_and_its_placement() -> None:
    async with live() as (_, url), connect(f"{url}?faces=whole&explain=gradcam") as client:
        (face,) = (await exchange(client, png(9, (128, 128))))["faces"]
    assert face["map"][0] == [9, 0, 0, 0]
    assert face["place"][0] == [2, 0, 0.5]
    assert face["emotion"] == "happiness"
    assert face["track"] == 1


async def test_with_explain_each_of_several_faces_has_its_own_map_and_placement() -> None:
    picture = large_and_small()
    height, width = picture.shape[:2]
    async with live() as (_, url), connect(f"{url}?explain=gradcam") as client:
        answer = await exchange(client, encode(picture, "PNG"))
    assert answer["image"] == {"width": width, "height": height}
    large, small = answer["faces"]
    assert large["map"][0][0] > 2 * small["map"][0][0] > 0
    for face in (large, small):
        box = face["box"]
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        placed = np.array(face["place"]) @ [31.5, 31.5, 1]
        assert placed == pytest.approx(middle, abs=0.3 * box["width"])


@pytest.mark.parametrize(
    ("frame", "slug"), [(b"no picture", "not-an-image"), ("text", "unsupported-media")]
)
async def test_a_bad_frame_gets_a_problem_and_the_stream_continues(
    frame: bytes | str, slug: str
) -> None:
    async with live() as (_, url), connect(f"{url}?faces=whole") as client:
        bad = await exchange(client, frame)
        good = await exchange(client, png(1))
    assert bad["seq"] == 0
    assert bad["problem"]["type"] == f"urn:gimefive:{slug}"
    assert good["seq"] == 1
    assert len(good["faces"]) == 1


async def test_text_that_is_not_utf8_closes_the_stream_with_1007_and_the_reason() -> None:
    async with live() as (_, url), connect(url) as client:
        with capture_logs() as log:
            await client.send(b"\xff", text=True)
            code, reason = await closed(client)
    assert (code, "binary message" in reason) == (1007, True)
    assert [line["event"] for line in log if line["log_level"] != "info"] == []


async def test_a_frame_in_tiny_pieces_takes_no_more_memory_than_a_whole_one() -> None:
    size, peaks = 20_000, []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"
            await asyncio.sleep(0)  # the service reads it

    async with live() as (_, url), connect(url) as client:
        for frame in (bytes(size), bytes(size), pieces()):  # the first warms up
            tracemalloc.start()
            await client.send(frame)
            assert "problem" in json.loads(await client.recv())
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[2] - peaks[1] < 10 * size, peaks


async def test_while_a_frame_is_processed_older_waiting_frames_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, looked = asyncio.Event(), asyncio.Event()

    async def look(_: bytes) -> LiveResult:
        looked.set()
        await gate.wait()
        return NOTHING

    look_with(monkeypatch, lambda: look)
    async with live() as (_, url), connect(url) as client:
        await client.send(b"0")
        await looked.wait()
        for frame in (b"1", b"2", b"3", b"4"):
            await client.send(frame)
        await (await client.ping())  # the server has received all frames
        gate.set()
        answers = [json.loads(await client.recv())]
        while answers[-1]["seq"] < 4:
            answers.append(json.loads(await client.recv()))
    assert [answer["seq"] for answer in answers][:: len(answers) - 1] == [0, 4]
    assert len(answers) + sum(answer["dropped"] for answer in answers) == 5
    assert len(answers) < 5


async def test_a_slow_camera_does_not_delay_nine_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = asyncio.Event()
    slow = iter((True,) + (False,) * 9)

    def looks() -> Look:
        mine = next(slow)

        async def look(_: bytes) -> LiveResult:
            if mine:
                await gate.wait()
            return NOTHING

        return look

    look_with(monkeypatch, looks)
    async with live() as (_, url), connect(url) as held, asyncio.timeout(LIMIT):
        await held.send(b"0")

        async def camera() -> list[int]:
            async with connect(url) as client:
                return [(await exchange(client, b"x"))["seq"] for _ in range(5)]

        assert await asyncio.gather(*(camera() for _ in range(9))) == [[0, 1, 2, 3, 4]] * 9
        gate.set()
        assert json.loads(await held.recv())["seq"] == 0


async def test_a_method_with_pluses_is_accepted_literally() -> None:
    async with live() as (_, url), connect(f"{url}?faces=whole&explain=gradcam++") as client:
        assert "map" in (await exchange(client, png(9)))["faces"][0]


async def test_an_unknown_websocket_path_gets_404() -> None:
    async with live() as (_, url):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/")
    assert refused.value.response.status_code == 404
    assert b"urn:gimefive:not-found" in refused.value.response.body


async def test_an_invalid_parameter_closes_the_stream_with_1008_and_the_reason() -> None:
    async with live() as (_, url), connect(f"{url}?explain=magic") as client:
        code, reason = await closed(client)
    assert code == 1008
    assert reason.startswith("explain: ")
    assert "gradcam" in reason


async def test_a_misspelled_parameter_closes_the_stream_with_a_suggestion() -> None:
    async with live() as (_, url), connect(f"{url}?treshold=1") as client:
        assert await closed(client) == (
            1008,
            "unknown parameter 'treshold': did you mean threshold?",
        )


async def test_a_camera_over_the_limit_is_closed_with_1013_until_another_disconnects() -> None:
    async with live(max_cameras=1) as (server, url):
        async with connect(f"{url}?faces=whole") as first:
            await exchange(first, png(1))
            async with connect(url) as second:
                code, reason = await closed(second)
        assert code == 1013
        assert "try again" in reason
        async with connect(f"{url}?faces=whole") as third:
            assert len((await exchange(third, png(1)))["faces"]) == 1
            counted = await server.engine.render_metrics()
    assert b'rejected_total{reason="cameras_full"} 1.0' in counted
    assert b'gimefive_in_progress{kind="camera"} 1.0' in counted
    assert b'gimefive_in_progress{kind="video"} 0.0' in counted


async def test_a_frame_over_the_limit_gets_a_problem_and_twice_the_limit_closes_the_stream() -> (
    None
):
    most = len(png(1))
    async with live(max_live_bytes=most) as (_, url), connect(f"{url}?faces=whole") as client:
        problem = (await exchange(client, b"x" * (most + 1)))["problem"]
        assert problem["type"] == "urn:gimefive:too-large"
        assert f"{most} bytes" in problem["detail"]
        assert len((await exchange(client, png(1)))["faces"]) == 1
        await client.send(b"x" * (2 * most + 1))
        assert (await closed(client))[0] == 1009


async def test_handshake_responses_carry_the_common_headers_and_are_counted() -> None:
    async with live() as (server, url):
        async with connect(url, additional_headers={"X-Request-ID": "camera-1"}) as client:
            assert client.response is not None
            assert client.response.headers["X-Request-ID"] == "camera-1"
            assert "inference;dur=" in client.response.headers["Server-Timing"]
        with pytest.raises(InvalidStatus):
            await connect(url, origin=Origin("https://evil.example"))
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/nowhere")
        assert refused.value.response.headers["X-Request-ID"]
        assert "inference;dur=" in refused.value.response.headers["Server-Timing"]
        counted = await server.engine.render_metrics()
    assert b'requests_total{method="GET",route="/live",status="101"} 1.0' in counted
    assert b'requests_total{method="GET",route="/live",status="403"} 1.0' in counted
    assert b'requests_total{method="GET",route="unmatched",status="404"} 1.0' in counted


async def test_shutdown_closes_the_stream_with_1012() -> None:
    async with live() as (server, url), connect(f"{url}?faces=whole") as client:
        await exchange(client, png(1))
        server.drain_or_end(signal.SIGTERM)
        assert await closed(client) == (1012, "the service is shutting down: connect again")


async def test_an_unexpected_error_closes_the_stream_with_1011_and_is_only_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def look(_: bytes) -> LiveResult:
        raise ZeroDivisionError("secret")

    look_with(monkeypatch, lambda: look)
    async with live() as (_, url), connect(url) as client:
        with capture_logs() as log:
            await client.send(b"0")
            assert await closed(client) == (1011, "internal error: see the service's log")
    assert [line["exc_info"] for line in log if line["log_level"] == "error"] == [True]


async def test_a_model_process_that_has_ended_closes_the_stream_with_1012(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def fail_with_not_ready(*_: object) -> AsyncIterator[None]:
        raise NotReady("the process that was asked has ended: try again")
        yield

    monkeypatch.setattr(Core, "reserve", fail_with_not_ready)
    async with live() as (_, url), connect(url) as client:
        assert (await closed(client))[0] == 1012


async def test_the_api_key_subprotocol_is_echoed_in_the_handshake() -> None:
    async with live() as (_, url), connect(url, subprotocols=["gimefive.key.abc"]) as client:  # type: ignore[list-item]  # a plain string
        assert client.subprotocol == "gimefive.key.abc"


async def test_a_camera_that_does_not_answer_pings_is_closed_with_1011() -> None:
    async with live(ping_seconds=0.05) as (_, url):
        port = int(url.split(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(bytes(16)).decode()
        lines = ["GET /live HTTP/1.1", "Host: localhost", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        ping = await reader.readexactly(6)
        assert ping[0] & 0x0F == 9
        head, length = await reader.readexactly(2)
        close = await reader.readexactly(length)
        assert head & 0x0F == 8
        assert int.from_bytes(close[:2]) == 1011
        writer.close()
