"""The typed client against the real server and against scripted responses."""

import asyncio
import fcntl
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, nullcontext
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
from tests.waiting import LIMIT, until

PORTRAIT = Path(__file__).parent.parent / "examples" / "eileen-collins.jpg"


@pytest.mark.anyio
async def test_both_clients_return_typed_answers_from_every_endpoint(tmp_path: Path) -> None:
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
        told = await asyncio.to_thread(csv_of_service, url, film, faces="whole")
    assert len(told.splitlines()) == 5
    assert (tmp_path / "film.csv").read_text() == (tmp_path / "2.csv").read_text() == told


def csv_of_service(url: str, film: Path, **query: str | int) -> str:
    """The service's own CSV of a video."""
    headers = {"Accept": "text/csv", "Content-Type": "video/mp4"}
    asked, body = f"{url}/classify/video", film.read_bytes()
    return httpx.post(asked, content=body, headers=headers, params=query, timeout=LIMIT).text


@pytest.mark.anyio
async def test_problem_responses_raise_the_matching_error() -> None:
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
async def test_the_client_deadline_is_sent_and_raises_deadline_exceeded() -> None:
    poison = png(POISON)
    async with served(processes.argv(processes.hangs)) as (_, url):
        async with AsyncClient(url, deadline=0.05) as client:
            with pytest.raises(errors.DeadlineExceeded, match="50 ms"):
                await client.classify(poison, faces="whole")
        with Client(url, deadline=0.05) as plain, pytest.raises(errors.DeadlineExceeded):
            await asyncio.to_thread(plain.classify, poison, faces="whole")


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_an_invalid_deadline_is_rejected_by_the_constructor(deadline: float) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(errors.BadParameter, match="positive"):
            client("http://service", deadline=deadline)


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    content = {"type": f"urn:gimefive:{slug}", "detail": slug, "request_id": "7"}
    return httpx.Response(status, json=content, headers=headers)


def no_faces() -> httpx.Response:
    model = {"name": "gimefive", "version": "1", "precision": "int8"}
    return httpx.Response(
        200, json={"model": model, "image": {"width": 1, "height": 1}, "faces": []}
    )


class Script:
    """A service that gives scripted answers, and clients of it whose retry delays are recorded."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = iter(answers)
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.delays: list[float] = []

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
            sleep=self.delays.append,
        ) as client:
            client.classify(PORTRAIT)

    def asynchronous(self, retries: Retries) -> None:
        async def sleep(seconds: float) -> None:
            self.delays.append(seconds)

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
both_clients = pytest.mark.parametrize("run", [Script.plain, Script.asynchronous])


@both_clients
def test_retries_honour_retry_after_and_resend_the_whole_body(run: Run) -> None:
    busy = problem(503, "overloaded", **{"Retry-After": "3"})
    script = Script(busy, httpx.ConnectError("refused"), no_faces())
    run(script, Retries())
    assert script.delays == [3, 0.5]
    assert script.bodies == [PORTRAIT.read_bytes()] * 3


@both_clients
def test_the_api_key_is_sent_with_every_attempt(run: Run) -> None:
    script = Script(httpx.ConnectError("refused"), no_faces())
    run(script, Retries())
    assert script.keys == ["secret"] * 2


@both_clients
def test_retries_end_after_the_given_attempts(run: Run) -> None:
    script = Script(*(problem(503, "overloaded", **{"Retry-After": "1"}) for _ in range(9)))
    with pytest.raises(errors.Overloaded):
        run(script, Retries(attempts=3))
    assert script.delays == [1, 1]


@both_clients
def test_without_retries_on_refusal_the_first_503_is_raised(run: Run) -> None:
    script = Script(problem(503, "overloaded", **{"Retry-After": "1"}))
    with pytest.raises(errors.Overloaded):
        run(script, Retries(refusals=0))
    assert script.delays == []


@both_clients
def test_a_retry_after_beyond_the_limit_raises_at_once(run: Run) -> None:
    answers = (problem(503, "overloaded", **{"Retry-After": wait}) for wait in ("60", "61"))
    script = Script(*answers)
    with pytest.raises(errors.Overloaded) as refused:
        run(script, Retries(longest=60))
    assert refused.value.retry_after == 61
    assert script.delays == [60]


@both_clients
def test_an_error_that_is_not_temporary_is_not_retried(run: Run) -> None:
    script = Script(problem(413, "too-large"))
    with pytest.raises(errors.TooLarge):
        run(script, Retries())
    assert script.delays == []


@both_clients
def test_connection_errors_raise_unreachable_after_the_last_attempt(run: Run) -> None:
    script = Script(*(httpx.ConnectError("refused") for _ in range(3)))
    with pytest.raises(Unreachable, match="http://service"):
        run(script, Retries(attempts=3, first=1))
    assert script.delays == [1, 2]


@both_clients
def test_a_foreign_error_response_is_reported_by_its_status(run: Run) -> None:
    for text in ("<html>", "[]"):
        with pytest.raises(errors.ServiceError, match="status 413"):
            run(Script(httpx.Response(413, text=text)), Retries())


@both_clients
def test_a_proxy_without_its_service_is_asked_again(run: Run) -> None:
    script = Script(*(httpx.Response(status, text="<html>") for status in (502, 503)), no_faces())
    run(script, Retries(first=1))
    assert script.delays == [1, 2]


@both_clients
@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [(308, {"Location": "https://service/classify"}, "to https://service/"), (404, {}, "404$")],
)
def test_a_wrong_url_raises_unreachable(
    run: Run, status: int, headers: dict[str, str], told: str
) -> None:
    answer = httpx.Response(status, headers=headers, text="<html>")
    with pytest.raises(Unreachable, match=told):
        run(Script(answer), Retries(attempts=1))


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
def test_a_foreign_200_response_raises_unreachable(
    ask: Callable[[Client, Path], object], page: str, tmp_path: Path
) -> None:
    with (
        client_of(httpx.Response(200, text=page)) as client,
        pytest.raises(Unreachable, match="not a GiMeFive service"),
    ):
        ask(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_are_sent_as_query_parameters() -> None:
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


def test_client_options_match_the_query_parameters_in_the_openapi_document() -> None:
    with serving() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, kinds in KINDS.items():
        asked = paths[path]["post"]["parameters"]
        options = {each["name"] for each in asked if each["in"] == "query"}
        assert [set(kind.__annotations__) for kind in kinds] == [options], path
    live = {each["name"] for each in paths["/live"]["get"]["parameters"] if each["in"] == "query"}
    assert set(LiveQuery.__annotations__) == live
    assert set(NumbersQuery.__annotations__) < set(ExplainQuery.__annotations__)


def test_an_unknown_option_raises_before_any_request_is_sent(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "ask", [lambda client, name: client.classify(name), lambda client, name: client.frames([name])]
)
def test_a_file_name_given_as_str_raises_type_error(ask: Callable[[Client, str], object]) -> None:
    with (
        Client("http://service", transport=httpx.MockTransport(Script())) as client,
        pytest.raises(TypeError, match=r"bytes, or the Path of a file, not '.*collins\.jpg'"),
    ):
        ask(client, str(PORTRAIT))


def test_retry_delays_grow_up_to_the_longest() -> None:
    retries = Retries(attempts=20, longest=30)
    pauses = [retries.pause(Unreachable("nobody"), attempt) or 0 for attempt in range(1, 16)]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] == 30


def test_video_requests_have_no_read_timeout() -> None:
    """The first byte of an explained video arrives only when all of it is drawn."""
    waited: dict[str, object] = {}

    def record_timeout(request: httpx.Request) -> httpx.Response:
        waited[request.url.path] = request.extensions["timeout"]["read"]
        return httpx.Response(413, json={})

    with Client("http://service", transport=httpx.MockTransport(record_timeout)) as client:
        with pytest.raises(errors.ServiceError):
            client.explain_video(PORTRAIT, Path("unused.mp4"))
        with pytest.raises(errors.ServiceError):
            next(client.video(PORTRAIT))
        with pytest.raises(errors.ServiceError):
            client.classify(PORTRAIT)
    assert waited["/explain/video"] is None
    assert waited["/classify/video"] is None
    assert waited["/classify"] == 60


def test_a_problem_in_the_middle_of_a_video_is_raised() -> None:
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


class EndlessLines(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An endless stream of video lines that records when it is closed."""

    def __init__(self) -> None:
        self.open = True

    def __iter__(self) -> Iterator[bytes]:
        frame = {"frame": 0, "time": 0, "faces": []}
        while True:
            yield f"{json.dumps(frame)}\n".encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self:
            yield line

    def close(self) -> None:
        self.open = False

    async def aclose(self) -> None:
        self.open = False


@pytest.mark.anyio
async def test_leaving_a_video_early_closes_the_response() -> None:
    lines = EndlessLines()
    with client_of(httpx.Response(200, stream=lines)) as client:
        for _ in client.video(b"film"):
            assert lines.open
            break
        assert not lines.open
    lines = EndlessLines()
    transport = httpx.MockTransport(Script(httpx.Response(200, stream=lines)))
    async with AsyncClient("http://service", transport=transport) as client_too:
        async with aclosing(client_too.video(b"film")) as answers:
            await anext(answers)
            assert lines.open
        assert not lines.open


def test_a_failed_frame_is_returned_with_its_problem() -> None:
    problem = {"type": "urn:gimefive:model-failure", "title": "", "status": 500, "detail": "no"}
    line = {"frame": 1, "time": 0.5, "problem": {**problem, "request_id": "7"}}
    last = {"summary": {"frames": 1, "faces": 0, "tracks": []}}
    text = f"{json.dumps(line)}\n{json.dumps(last)}\n"
    with client_of(httpx.Response(200, text=text)) as client:
        frame, _ = client.video(b"film")
    assert isinstance(frame, VideoFrame)
    assert frame.faces == []
    assert frame.problem is not None
    assert frame.problem.detail == "no"


def test_a_partial_download_is_deleted(tmp_path: Path) -> None:
    def truncated() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("gone")

    with client_of(httpx.Response(200, content=truncated())) as client, pytest.raises(Unreachable):
        client.explain_video(b"film", tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_the_command_line_classifies_and_explains_through_a_service(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli"]
    async with served() as (_, url):
        classified = await _run(*command, "classify", str(PORTRAIT), "--json", "--url", url)
        why = tmp_path / "why.png"
        await _run(*command, "explain", str(PORTRAIT), "-o", str(why), "--url", url)
    assert json.loads(classified)["faces"][0]["emotion"] == "happiness"
    assert why.read_bytes().startswith(b"\x89PNG")


@pytest.mark.anyio
async def test_the_command_line_explains_a_video_through_a_service(tmp_path: Path) -> None:
    film, movie, table = (tmp_path / name for name in ("film.mp4", "out.mp4", "out.csv"))
    film.write_bytes(videos.encode(videos.moving_portrait(9), sound="aac"))
    files = ("-o", str(movie), "--csv", str(table))
    command = [sys.executable, "-m", "service.cli", "video", str(film), *files, "--every", "4"]
    async with served() as (_, url):
        told = await _run(*command, "--url", url)
        assert table.read_text() == await asyncio.to_thread(csv_of_service, url, film, every=4)
    assert b"3 faces in 3 frames" in told
    with av.open(str(movie), "r") as video:
        assert {stream.type for stream in video.streams} == {"video", "audio"}
        assert len(list(video.decode(video=0))) == 9


@pytest.mark.anyio
async def test_a_video_is_uploaded_once_when_only_the_drawing_is_requested(
    tmp_path: Path,
) -> None:
    film, movie = tmp_path / "film.mp4", tmp_path / "out.mp4"
    film.write_bytes(videos.encode(videos.counting(4)))
    command = [sys.executable, "-m", "service.cli", "video", str(film), "-o", str(movie)]
    async with served() as (_, url), httpx.AsyncClient(base_url=url, timeout=LIMIT) as other:
        assert await _run(*command, "--faces", "whole", "--url", url) == b""
        metrics = (await other.get("/metrics")).text
    assert 'requests_total{method="POST",route="/explain/video",status="200"} 1.0' in metrics
    assert "/classify/video" not in metrics
    assert movie.exists()


@pytest.mark.anyio
async def test_a_video_is_uploaded_from_disk_in_chunks(tmp_path: Path) -> None:
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
async def test_failed_frames_of_an_explained_video_are_counted(tmp_path: Path) -> None:
    film, movie = tmp_path / "film.mp4", tmp_path / "out.mp4"
    film.write_bytes(videos.encode([np.full((48, 64, 3), POISON, np.uint8), *videos.counting(2)]))
    command = [sys.executable, "-m", "service.cli", "video", str(film), "-o", str(movie)]
    async with served(processes.argv(processes.raises)) as (_, url), AsyncClient(url) as client:
        assert (await client.explain_video(film, movie, faces="whole")).failed_frames == 1
        with Client(url) as plain:
            drawn = await asyncio.to_thread(plain.explain_video, film, movie, faces="whole")
        assert drawn.failed_frames == 1
        status, said = await _run_with_stderr(*command, "--faces", "whole", "--url", url)
    assert status == 1
    assert b"failed by the model: 1" in said


@pytest.mark.anyio
async def test_a_csv_of_a_truncated_video_is_reported_as_incomplete(
    truncated_video: Path, tmp_path: Path
) -> None:
    table, theirs, movie = (tmp_path / name for name in ("out.csv", "theirs.csv", "out.mp4"))
    files = ("-o", str(movie), "--csv", str(table), "--faces", "whole")
    async with served() as (_, url), AsyncClient(url) as client:
        command = [
            sys.executable,
            "-m",
            "service.cli",
            "video",
            str(truncated_video),
            *files,
            "--url",
            url,
        ]
        status, said = await _run_with_stderr(*command)
        with pytest.raises(errors.NotAVideo, match="breaks off"):
            await client.video_csv(truncated_video, theirs, faces="whole")
        with pytest.raises(httpx.RemoteProtocolError), capture_logs() as logged:
            await asyncio.to_thread(csv_of_service, url, truncated_video, faces="whole")
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
async def test_ctrl_c_during_a_remote_request_leaves_no_file(tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "gate.log"
    gate.touch()
    log.touch()
    film = tmp_path / "film.mp4"
    film.write_bytes(videos.encode(videos.moving_portrait(9)))
    before = file_names(tmp_path)
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
    assert file_names(tmp_path) == before


@pytest.fixture
def truncated_video(tmp_path: Path) -> Path:
    """A video of 25 frames that is truncated to 70 percent of its bytes."""
    whole = videos.encode(videos.counting(25), "mkv")
    film = tmp_path / "film.mkv"
    film.write_bytes(whole[: len(whole) * 7 // 10])
    return film


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def _run_with_stderr(*command: str) -> tuple[int | None, bytes]:
    """The exit status and the stderr output."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode, said


@pytest.mark.parametrize("url", ["http://", "http://localhost:port", "http://localhost:99999"])
def test_a_url_without_a_host_or_with_an_impossible_port_is_rejected(url: str) -> None:
    with pytest.raises(errors.BadParameter, match="is not a URL"):
        Client(url)
    with pytest.raises(errors.BadParameter, match="is not a URL"):
        AsyncClient(url)


def change_when_opened(file: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file hold this content from the moment that it is opened."""
    opened = Path.open

    def changed(path: Path, mode: str) -> Any:  # noqa: ANN401  # as Path.open
        monkeypatch.setattr(Path, "open", opened)
        file.write_bytes(content)
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", changed)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("later", "told"),
    [(png(1) + b"more", None), (png(1)[:-1], r"became shorter.*a\.png")],
    ids=["grows", "shrinks"],
)
async def test_a_file_that_grows_is_sent_as_long_as_it_was_and_one_that_shrinks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: bytes, told: str | None
) -> None:
    file = tmp_path / "a.png"
    async with served() as (_, url), AsyncClient(url) as client:
        with Client(url) as plain:
            for ask in (client.classify, lambda file: asyncio.to_thread(plain.classify, file)):
                file.write_bytes(png(1))
                change_when_opened(file, later, monkeypatch)
                with pytest.raises(OSError, match=told) if told else nullcontext():
                    assert (await ask(file)).image.width == 64


def test_a_url_without_scheme_and_an_empty_batch_are_rejected() -> None:
    with pytest.raises(errors.BadParameter, match="http://127"):
        Client("127.0.0.1:8934")
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(errors.BadInput, match="at least one"),
    ):
        client.frames([])
