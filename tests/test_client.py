"""The typed client, against the real server, and against one that fails as it is told."""

import asyncio
import fcntl
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs

from service import errors
from service.client import (
    AsyncClient,
    Client,
    Retries,
    Unreachable,
    VideoFrame,
    VideoHead,
    VideoSummary,
)
from service.client.calls import CHUNK
from service.client.queries import (
    DrawnVideoQuery,
    ExplainQuery,
    LiveQuery,
    NumbersQuery,
    VideoQuery,
)
from tests import processes, videos
from tests.api import png, serving
from tests.fakes import POISON
from tests.served import served
from tests.waiting import until

PORTRAIT = Path(__file__).parent.parent / "examples" / "eileen-collins.jpg"


@pytest.mark.anyio
async def test_both_clients_get_every_answer_typed(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(videos.encode(videos.counting(4)))
    async with served() as (_, url), AsyncClient(url) as client:
        answer = await client.classify(png(1), faces="whole", threshold=1)
        with Client(url) as plain:
            assert await asyncio.to_thread(plain.classify, png(1), faces="whole") == answer
        assert answer.faces[0].emotion == "happiness"
        assert (await client.classify(PORTRAIT)).image.width == 512
        batch = await client.frames([png(1), b"broken", PORTRAIT], faces="whole")
        assert [frame.status for frame in batch.frames] == ["ok", "error", "ok"]
        assert [frame.name for frame in batch.frames] == ["000000", "000001", PORTRAIT.name]
        drawn = await client.explain(png(9), faces="whole", view="map", target="fear")
        assert drawn.png.startswith(b"\x89PNG")
        assert (drawn.target, drawn.map_max, drawn.empty) == ("fear", 9, False)
        numbers = await client.explain_numbers(png(9), faces="whole", method="layercam")
        assert numbers.explanation.map[0] == [9, 0, 0, 0]
        lines = [line async for line in client.video(film, faces="whole", every=2)]
        assert [type(line) for line in lines] == [VideoHead, VideoFrame, VideoFrame, VideoSummary]
        await client.video_csv(film, tmp_path / "film.csv", faces="whole")
        with Client(url) as plain:
            await asyncio.to_thread(plain.video_csv, film, tmp_path / "2.csv", faces="whole")
        told = await asyncio.to_thread(rows, url, film, faces="whole")
    assert len(told.splitlines()) == 5
    assert (tmp_path / "film.csv").read_text() == (tmp_path / "2.csv").read_text() == told


def rows(url: str, film: Path, **query: str | int) -> str:
    """The service's own CSV of a video."""
    headers = {"Accept": "text/csv", "Content-Type": "video/mp4"}
    asked, body = f"{url}/classify/video", film.read_bytes()
    return httpx.post(asked, content=body, headers=headers, params=query, timeout=60).text


@pytest.mark.anyio
async def test_the_services_errors_are_raised_as_what_they_were() -> None:
    async with served() as (_, url), AsyncClient(url) as client:
        with pytest.raises(errors.NotAnImage) as broken:
            await client.classify(b"no picture")
        assert "send a JPEG" in str(broken.value)
        assert broken.value.__notes__[0].startswith("request id: ")
        with pytest.raises(errors.NoFace):
            await client.explain(png())
        with pytest.raises(errors.BadInput):
            await anext(client.video(b"no video"))


@pytest.mark.anyio
async def test_the_service_gives_up_what_a_client_no_longer_waits_for() -> None:
    poison = png(POISON)
    async with served(processes.argv(processes.hangs)) as (_, url):
        async with AsyncClient(url, deadline=0.05) as client:
            with pytest.raises(errors.DeadlineExceeded, match="50 ms"):
                await client.classify(poison, faces="whole")
        with Client(url, deadline=0.05) as plain, pytest.raises(errors.DeadlineExceeded):
            await asyncio.to_thread(plain.classify, poison, faces="whole")


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_cannot_be_is_told_at_once(deadline: float) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(errors.BadParameter, match="positive"):
            client("http://service", deadline=deadline)


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    content = {"type": f"urn:gimefive:{slug}", "detail": slug, "request_id": "7"}
    return httpx.Response(status, json=content, headers=headers)


def nothing_found() -> httpx.Response:
    model = {"name": "gimefive", "version": "1", "precision": "int8"}
    return httpx.Response(
        200, json={"model": model, "image": {"width": 1, "height": 1}, "faces": []}
    )


class Script:
    """A service that answers as it is told, and clients of it that note how long they sleep."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = iter(answers)
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.naps: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read())
        self.keys.append(request.headers.get("X-API-Key"))
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def plain(self, retries: Retries) -> None:
        transport = httpx.MockTransport(self)
        with Client(
            "http://service",
            key="secret",
            retries=retries,
            transport=transport,
            sleep=self.naps.append,
        ) as client:
            client.classify(PORTRAIT)

    def asynchronous(self, retries: Retries) -> None:
        async def sleep(seconds: float) -> None:
            self.naps.append(seconds)

        async def answer(request: httpx.Request) -> httpx.Response:
            await request.aread()
            return self(request)

        async def run() -> None:
            transport = httpx.MockTransport(answer)
            async with AsyncClient(
                "http://service", key="secret", retries=retries, transport=transport, sleep=sleep
            ) as client:
                await client.classify(PORTRAIT)

        asyncio.run(run())


Run = Callable[[Script, Retries], None]
both = pytest.mark.parametrize("run", [Script.plain, Script.asynchronous])


@both
def test_who_is_told_when_to_come_again_comes_then_with_the_whole_body(run: Run) -> None:
    busy = problem(503, "overloaded", **{"Retry-After": "3"})
    script = Script(busy, httpx.ConnectError("refused"), nothing_found())
    run(script, Retries())
    assert script.naps == [3, 0.5]
    assert script.bodies == [PORTRAIT.read_bytes()] * 3


@both
def test_the_key_goes_with_every_attempt(run: Run) -> None:
    script = Script(httpx.ConnectError("refused"), nothing_found())
    run(script, Retries())
    assert script.keys == ["secret"] * 2


@both
def test_patience_ends(run: Run) -> None:
    script = Script(*(problem(503, "overloaded", **{"Retry-After": "1"}) for _ in range(9)))
    with pytest.raises(errors.Overloaded):
        run(script, Retries(attempts=3))
    assert script.naps == [1, 1]


@both
def test_who_wants_no_second_try_gets_the_first_refusal(run: Run) -> None:
    script = Script(problem(503, "overloaded", **{"Retry-After": "1"}))
    with pytest.raises(errors.Overloaded):
        run(script, Retries(refusals=0))
    assert script.naps == []


@both
def test_who_should_wait_too_long_gets_the_error_at_once(run: Run) -> None:
    answers = (problem(503, "overloaded", **{"Retry-After": wait}) for wait in ("60", "61"))
    script = Script(*answers)
    with pytest.raises(errors.Overloaded) as refused:
        run(script, Retries(longest=60))
    assert refused.value.retry_after == 61
    assert script.naps == [60]


@both
def test_what_will_not_get_better_is_not_tried_again(run: Run) -> None:
    script = Script(problem(413, "too-large"))
    with pytest.raises(errors.TooLarge):
        run(script, Retries())
    assert script.naps == []


@both
def test_nobody_there_is_an_error_of_its_own(run: Run) -> None:
    script = Script(*(httpx.ConnectError("refused") for _ in range(3)))
    with pytest.raises(Unreachable, match="http://service"):
        run(script, Retries(attempts=3, first=1))
    assert script.naps == [1, 2]


@both
def test_an_answer_of_somebody_else_is_told_by_its_status(run: Run) -> None:
    for text in ("<html>", "[]"):
        with pytest.raises(errors.ServiceError, match="status 502"):
            run(Script(httpx.Response(502, text=text)), Retries())


def client_of(answer: httpx.Response) -> Client:
    return Client("http://service", transport=httpx.MockTransport(Script(answer)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.classify(b"picture"),
        lambda client, _: client.frames([b"picture"]),
        lambda client, _: client.explain(b"picture"),
        lambda client, _: client.explain_numbers(b"picture"),
        lambda client, _: list(client.video(b"film")),
        lambda client, folder: client.explain_video(b"film", folder / "out.mp4"),
    ],
)
@pytest.mark.parametrize("page", ["<h1>Welcome</h1>", "7", "{}"])
def test_a_page_of_somebody_else_is_no_answer(
    ask: Callable[[Client, Path], object], page: str, tmp_path: Path
) -> None:
    with (
        client_of(httpx.Response(200, text=page)) as client,
        pytest.raises(Unreachable, match="not a GiMeFive service"),
    ):
        ask(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_are_asked_for_in_the_services_own_words() -> None:
    asked: list[dict[str, str]] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(413, json={})

    with Client("http://service", transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(errors.ServiceError):
            client.classify(PORTRAIT, faces="whole", threshold=0.25)
        with pytest.raises(errors.ServiceError):
            client.frames([PORTRAIT], faces="whole", threshold=0.25, track=True)
    options = {"faces": "whole", "threshold": "0.25"}
    assert asked == [options, options | {"track": "true"}]


KINDS: dict[str, list[type[Mapping[str, object]]]] = {
    "/explain": [ExplainQuery],
    "/classify/video": [VideoQuery],
    "/explain/video": [DrawnVideoQuery],
}


def test_the_client_knows_the_services_options_and_no_other() -> None:
    with serving() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, kinds in KINDS.items():
        asked = paths[path]["post"]["parameters"]
        options = {each["name"] for each in asked if each["in"] == "query"}
        assert [set(kind.__annotations__) for kind in kinds] == [options], path
    live = {each["name"] for each in paths["/live"]["get"]["parameters"] if each["in"] == "query"}
    assert set(LiveQuery.__annotations__) == live
    assert set(NumbersQuery.__annotations__) < set(ExplainQuery.__annotations__)


def test_an_option_that_there_is_not_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    misspelled: dict[str, Any] = {"treshold": 0.5}
    with Client("http://service", transport=httpx.MockTransport(Script())) as client:
        for call in (
            lambda: client.explain(PORTRAIT, **misspelled),
            lambda: client.explain_numbers(PORTRAIT, **misspelled),
            lambda: list(client.video(PORTRAIT, **misspelled)),
            lambda: client.video_csv(PORTRAIT, tmp_path / "out.csv", **misspelled),
            lambda: client.explain_video(PORTRAIT, tmp_path / "out.mp4", **misspelled),
        ):
            with pytest.raises(TypeError, match=r"unknown option .treshold.: use .*faces"):
                call()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_named_by_a_path() -> None:
    name: Any = str(PORTRAIT)
    with (
        Client("http://service", transport=httpx.MockTransport(Script())) as client,
        pytest.raises(TypeError, match=r"bytes, or the Path of a file, not '.*collins\.jpg'"),
    ):
        client.classify(name)


def test_pauses_grow_up_to_the_longest() -> None:
    retries = Retries(attempts=20, longest=30)
    pauses = [retries.pause(Unreachable("nobody"), attempt) or 0 for attempt in range(1, 16)]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] == 30


def test_a_video_is_waited_for_however_long_it_takes() -> None:
    """The first byte of one that is drawn on comes when all of it is drawn."""
    waited: dict[str, object] = {}

    def note(request: httpx.Request) -> httpx.Response:
        waited[request.url.path] = request.extensions["timeout"]["read"]
        return httpx.Response(413, json={})

    with Client("http://service", transport=httpx.MockTransport(note)) as client:
        with pytest.raises(errors.ServiceError):
            client.explain_video(PORTRAIT, Path("unused.mp4"))
        with pytest.raises(errors.ServiceError):
            next(client.video(PORTRAIT))
        with pytest.raises(errors.ServiceError):
            client.classify(PORTRAIT)
    assert waited["/explain/video"] is None
    assert waited["/classify/video"] is None
    assert waited["/classify"] == 60


def test_a_video_that_breaks_off_raises_what_broke_it() -> None:
    head = dict.fromkeys(("fps", "duration", "frames", "sampled_frames"))
    lines = [
        {"video": {"width": 1, "height": 1, **head}},
        {"problem": {"type": "urn:gimefive:too-large", "detail": "too long"}},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    with client_of(httpx.Response(200, text=text)) as client:
        answers = client.video(b"film")
        assert isinstance(next(answers), VideoHead)
        with pytest.raises(errors.TooLarge, match="too long"):
            next(answers)


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Lines of a video that never ends, and whether they are still wanted."""

    def __init__(self) -> None:
        self.wanted = True

    def __iter__(self) -> Iterator[bytes]:
        frame = {"frame": 0, "time": 0, "faces": []}
        while True:
            yield f"{json.dumps(frame)}\n".encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self:
            yield line

    def close(self) -> None:
        self.wanted = False

    async def aclose(self) -> None:
        self.wanted = False


@pytest.mark.anyio
async def test_who_has_seen_enough_of_a_video_lets_the_service_go() -> None:
    lines = Endless()
    with client_of(httpx.Response(200, stream=lines)) as client:
        for _ in client.video(b"film"):
            assert lines.wanted
            break
        assert not lines.wanted
    lines = Endless()
    transport = httpx.MockTransport(Script(httpx.Response(200, stream=lines)))
    async with AsyncClient("http://service", transport=transport) as client_too:
        async with aclosing(client_too.video(b"film")) as answers:
            await anext(answers)
            assert lines.wanted
        assert not lines.wanted


def test_a_frame_without_an_answer_does_not_end_a_video() -> None:
    problem = {"type": "urn:gimefive:model-failure", "title": "", "status": 500, "detail": "no"}
    line = {"frame": 1, "time": 0.5, "problem": {**problem, "request_id": "7"}}
    with client_of(httpx.Response(200, text=json.dumps(line))) as client:
        (frame,) = client.video(b"film")
    assert isinstance(frame, VideoFrame)
    assert frame.faces == []
    assert frame.problem is not None
    assert frame.problem.detail == "no"


def test_a_file_that_does_not_come_whole_is_not_kept(tmp_path: Path) -> None:
    def half() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("gone")

    with client_of(httpx.Response(200, content=half())) as client, pytest.raises(Unreachable):
        client.explain_video(b"film", tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_the_command_line_asks_a_running_service(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli"]
    async with served() as (_, url):
        classified = await _run(*command, "classify", str(PORTRAIT), "--json", "--url", url)
        why = tmp_path / "why.png"
        await _run(*command, "explain", str(PORTRAIT), "-o", str(why), "--url", url)
    assert json.loads(classified)["faces"][0]["emotion"] == "happiness"
    assert why.read_bytes().startswith(b"\x89PNG")


@pytest.mark.anyio
async def test_the_command_line_has_a_running_service_draw_a_video(tmp_path: Path) -> None:
    film, movie, table = (tmp_path / name for name in ("film.mp4", "out.mp4", "out.csv"))
    film.write_bytes(videos.encode(videos.moving_portrait(9), sound="aac"))
    files = ("-o", str(movie), "--csv", str(table))
    command = [sys.executable, "-m", "service.cli", "video", str(film), *files, "--every", "4"]
    async with served() as (_, url):
        told = await _run(*command, "--url", url)
        assert table.read_text() == await asyncio.to_thread(rows, url, film, every=4)
    assert b"3 faces in 3 frames" in told
    with av.open(str(movie), "r") as video:
        assert {stream.type for stream in video.streams} == {"video", "audio"}
        assert len(list(video.decode(video=0))) == 9


@pytest.mark.anyio
async def test_a_service_is_sent_a_film_once_where_nothing_but_the_drawing_is_wanted(
    tmp_path: Path,
) -> None:
    film, movie = tmp_path / "film.mp4", tmp_path / "out.mp4"
    film.write_bytes(videos.encode(videos.counting(4)))
    command = [sys.executable, "-m", "service.cli", "video", str(film), "-o", str(movie)]
    async with served() as (_, url), httpx.AsyncClient(base_url=url) as other:
        assert await _run(*command, "--faces", "whole", "--url", url) == b""
        metrics = (await other.get("/metrics")).text
    assert 'requests_total{method="POST",route="/explain/video",status="200"} 1.0' in metrics
    assert "/classify/video" not in metrics
    assert movie.exists()


@pytest.mark.anyio
async def test_a_film_is_sent_from_disk_piece_by_piece(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.truncate(3 * CHUNK + 1)
    pieces: list[int] = []

    class Counting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            pieces.extend([len(piece) async for piece in request.stream])
            return httpx.Response(200, headers={"X-Failed-Frames": "0"})

    async with AsyncClient("http://service", transport=Counting()) as client:
        await client.explain_video(film, tmp_path / "out.mp4")
    assert pieces == [CHUNK, CHUNK, CHUNK, 1]


@pytest.mark.anyio
async def test_frames_that_show_nothing_are_counted(tmp_path: Path) -> None:
    film, movie = tmp_path / "film.mp4", tmp_path / "out.mp4"
    film.write_bytes(videos.encode([np.full((48, 64, 3), POISON, np.uint8), *videos.counting(2)]))
    command = [sys.executable, "-m", "service.cli", "video", str(film), "-o", str(movie)]
    async with served(processes.argv(processes.raises)) as (_, url), AsyncClient(url) as client:
        assert (await client.explain_video(film, movie, faces="whole")).failed_frames == 1
        with Client(url) as plain:
            drawn = await asyncio.to_thread(plain.explain_video, film, movie, faces="whole")
        assert drawn.failed_frames == 1
        status, said = await _told(*command, "--faces", "whole", "--url", url)
    assert status == 1
    assert b"failed by the model: 1" in said


@pytest.mark.anyio
async def test_csv_of_a_film_that_breaks_off_never_looks_whole(cut: Path, tmp_path: Path) -> None:
    table, theirs, movie = (tmp_path / name for name in ("out.csv", "theirs.csv", "out.mp4"))
    files = ("-o", str(movie), "--csv", str(table), "--faces", "whole")
    async with served() as (_, url), AsyncClient(url) as client:
        command = [sys.executable, "-m", "service.cli", "video", str(cut), *files, "--url", url]
        status, said = await _told(*command)
        with pytest.raises(errors.NotAVideo, match="breaks off"):
            await client.video_csv(cut, theirs, faces="whole")
        with pytest.raises(httpx.RemoteProtocolError), capture_logs() as logged:
            await asyncio.to_thread(rows, url, cut, faces="whole")
    assert [(line["event"], line["log_level"]) for line in logged if "error" in line] == [
        ("answer cut short", "warning")
    ]
    assert status == 1
    assert b"breaks off" in said
    assert b"out.csv has the rows" in said
    assert 5 < len(table.read_text().splitlines()) < 25
    assert not movie.exists()
    assert not theirs.exists()


@pytest.mark.anyio
async def test_ctrl_c_leaves_no_file_of_what_a_service_was_asked(tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "gate.log"
    gate.touch()
    log.touch()
    film = tmp_path / "film.mp4"
    film.write_bytes(videos.encode(videos.moving_portrait(9)))
    before = names(tmp_path)
    files = ("-o", str(tmp_path / "out.mp4"), "--csv", str(tmp_path / "out.csv"))
    command = [sys.executable, "-m", "service.cli", "video", str(film), *files]
    with gate.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with served(processes.argv(processes.gated, str(gate))) as (_, url):
            process = await asyncio.create_subprocess_exec(*command, "--url", url)
            await until(log.read_text)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            fcntl.flock(held, fcntl.LOCK_UN)
    assert names(tmp_path) == before


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A film of 25 frames whose last third is missing."""
    whole = videos.encode(videos.counting(25), "mkv")
    film = tmp_path / "film.mkv"
    film.write_bytes(whole[: len(whole) * 7 // 10])
    return film


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def _told(*command: str) -> tuple[int | None, bytes]:
    """The exit status, and what was said on stderr."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode, said


def test_what_cannot_be_asked_is_told_at_once() -> None:
    with pytest.raises(errors.BadParameter, match="http://127"):
        Client("127.0.0.1:8934")
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(errors.BadInput, match="at least one"),
    ):
        client.frames([])
