"""POST /classify/video and /explain/video: streamed answers, limits, and temporary files."""

import asyncio
import csv
import errno
import io
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from structlog.testing import capture_logs

from service import footage
from service.contract import schemas
from service.engine import Engine
from service.records import Picture
from service.video import Frame, Video
from tests import processes
from tests.api import check_problem, rejected, serving
from tests.fakes import POISON
from tests.pictures import large_and_small
from tests.served import served
from tests.videos import counted, counting, damaged, encode, grey, moving_portrait
from tests.waiting import LIMIT, settle, until

MP4 = {"Content-Type": "video/mp4"}


@pytest.fixture(scope="module")
def short_video() -> bytes:
    return encode(counting(25))


def post(
    client: TestClient,
    body: bytes,
    kind: str = "video/mp4",
    accept: str = "*/*",
    **query: Any,  # noqa: ANN401  # any value of a query
) -> Response:
    headers = {"Content-Type": kind, "Accept": accept}
    params = {"faces": "whole", **query}
    return client.post("/classify/video", content=body, headers=headers, params=params)


def lines(response: Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_answer_has_a_head_line_a_line_per_frame_and_a_summary(
    client: TestClient, short_video: bytes
) -> None:
    head, *moments, tail = lines(post(client, short_video))
    assert head == {
        "video": {
            "width": 64,
            "height": 48,
            "fps": 25.0,
            "duration": 1.0,
            "frames": 25,
            "sampled_frames": 25,
        }
    }
    assert [moment["frame"] for moment in moments] == list(range(25))
    assert [moment["time"] for moment in moments] == [index / 25 for index in range(25)]
    for index, moment in enumerate(moments):
        (face,) = moment["faces"]
        schemas.FollowedFaceModel.model_validate(face, strict=True)
        assert face["track"] == 1
        assert face["scores"]["happiness"] == pytest.approx(grey(index), abs=1)  # the fake's answer
    assert moments[-1]["faces"][0]["smoothed"]["happiness"] < grey(24) - 10
    (track,) = tail["summary"].pop("tracks")
    assert tail == {"summary": {"frames": 25, "faces": 25}}
    assert track.pop("scores")["happiness"] == pytest.approx(grey(12), abs=1)
    assert track == {
        "track": 1,
        "first_time": 0,
        "last_time": 0.96,
        "frames": 25,
        "emotion": "happiness",
    }


def test_times_are_rounded_to_microseconds(client: TestClient) -> None:
    head, *moments, tail = lines(post(client, encode(counting(3), rate=7)))
    assert head["video"]["duration"] == 0.428571
    assert [moment["time"] for moment in moments] == [0, 0.142857, 0.285714]
    (track,) = tail["summary"]["tracks"]
    assert (track["first_time"], track["last_time"]) == (0, 0.285714)


def test_only_the_selected_frames_are_answered(client: TestClient, short_video: bytes) -> None:
    query: dict[str, Any] = {"start": 0.2, "end": 0.8, "every": 4, "track": False}
    _, *moments, tail = lines(post(client, short_video, **query))
    assert [moment["frame"] for moment in moments] == [5, 9, 13, 17]
    assert "track" not in moments[0]["faces"][0]
    assert tail["summary"] == {"frames": 4, "faces": 4, "tracks": []}


def test_a_form_upload_gets_the_same_answer_as_a_raw_body(
    client: TestClient, short_video: bytes
) -> None:
    form = client.post(
        "/classify/video?faces=whole", files={"other": ("a", b"?"), "file": ("me.mp4", short_video)}
    )
    assert form.text == post(client, short_video).text


def test_a_moving_face_is_detected_and_tracked(client: TestClient) -> None:
    video = encode(moving_portrait(24), "webm")
    _, *moments, tail = lines(post(client, video, "video/webm", faces="detect", every=6))
    boxes = [face["box"] for moment in moments for face in moment["faces"]]
    assert len(boxes) == 4
    assert all(before["x"] < after["x"] for before, after in pairwise(boxes))
    assert len(tail["summary"]["tracks"]) == 1


def test_csv_has_one_row_per_face(client: TestClient, short_video: bytes) -> None:
    response = post(client, short_video, accept="text/csv", every=10)
    assert response.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert ",".join(rows[0]) == (
        "frame,time,track,x,y,width,height,detection_score,emotion,confidence,"
        "happiness,surprise,sadness,anger,disgust,fear"
    )
    assert [row["frame"] for row in rows] == ["0", "10", "20"]
    assert [row["time"] for row in rows] == ["0.0", "0.4", "0.8"]
    assert rows[0]["detection_score"] == ""
    assert rows[0]["width"] == "64"


def test_a_truncated_video_gets_its_readable_frames_and_then_a_problem(client: TestClient) -> None:
    whole = encode(counting(25), "mkv")
    with capture_logs() as log:
        response = post(client, whole[: len(whole) * 7 // 10], "video/x-matroska")
    (told,) = [line for line in log if line["log_level"] == "warning"]
    assert told["event"] == "video broke off"
    assert told["id"] == response.headers["X-Request-ID"]
    _, *moments, tail = lines(response)
    assert 5 < len(moments) < 25
    assert tail["problem"]["request_id"] == response.headers["X-Request-ID"]
    assert tail["problem"]["type"] == "urn:gimefive:not-a-video"
    assert tail["problem"]["status"] == 400


@pytest.fixture
def poisoned() -> bytes:
    """A video of seven frames; the fake model fails for the fourth."""
    return encode([*counting(3), next(counting(1)) * 0 + POISON, *counting(3)], "mkv")


def test_a_model_failure_on_one_frame_fails_only_that_frame(poisoned: bytes) -> None:
    with serving(processes.raises) as client:
        _, *moments, tail = lines(post(client, poisoned, "video/x-matroska"))
        table = post(client, poisoned, "video/x-matroska", accept="text/csv")
    assert [moment["frame"] for moment in moments] == list(range(7))
    bad = moments.pop(3)
    assert set(bad) == {"frame", "time", "problem"}
    assert bad["problem"]["type"] == "urn:gimefive:model-failure"
    assert bad["problem"]["request_id"]
    assert {face["track"] for moment in moments for face in moment["faces"]} == {1}
    assert (tail["summary"]["frames"], tail["summary"]["faces"]) == (7, 6)
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["frame"] for row in rows] == list("0123456")
    assert set(list(rows[3].values())[2:]) == {""}


def test_damaged_frames_get_one_problem_line_and_the_others_are_classified(
    client: TestClient,
) -> None:
    film = damaged(encode(counting(25), independent=True), 7, 8, 9)
    _, *moments, tail = lines(post(client, film))
    assert [moment["frame"] for moment in moments] == [*range(8), *range(10, 25)]
    problem = moments[7]["problem"]
    assert problem["type"] == "urn:gimefive:not-a-video"
    assert problem["detail"] == "the video is damaged: 3 frames from here on cannot be decoded"
    assert "faces" not in moments[7]
    assert tail["summary"]["faces"] == 22


def test_an_explained_video_omits_damaged_frames(client: TestClient) -> None:
    film = damaged(encode(counting(25), independent=True), 7, 8, 9)
    response = explain(client, film)
    assert response.headers["X-Failed-Frames"] == "1"
    with av.open(io.BytesIO(response.content), "r") as drawn:
        times = [frame.time for frame in drawn.decode(video=0)]
    expected = [index / 25 for index in range(25) if index not in {7, 8, 9}]
    assert times == pytest.approx(expected, abs=0.001)


def test_a_frame_that_fails_to_be_explained_is_left_unchanged_and_counted(
    poisoned: bytes,
) -> None:
    with serving(processes.raises) as client:
        response = explain(client, poisoned, "video/x-matroska")
    pictures, *_ = decoded(response)
    assert response.headers["X-Failed-Frames"] == "1"
    assert len(pictures) == 7
    assert pictures[3].min() > POISON - 8


@pytest.mark.parametrize("body", [b"", b"hello", b"\0\0\0\x20ftypisom" + b"\0" * 100])
def test_a_body_that_is_not_a_video_gets_400(client: TestClient, body: bytes) -> None:
    check_problem(post(client, body), 400, "not-a-video")


def test_a_truncated_mov_file_is_reported_as_cut_short(client: TestClient) -> None:
    whole = encode(counting(25), "mov")
    refused = post(client, whole[: len(whole) // 2], "video/quicktime")
    assert "cut short" in check_problem(refused, 400, "not-a-video")


@pytest.mark.anyio
async def test_a_disconnect_releases_the_slot_only_after_the_video_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    decoding, disconnected = threading.Event(), threading.Event()

    class WatchedVideo(Video):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                decoding.set()
                yield frame
                disconnected.wait(LIMIT)

        def close(self) -> None:
            super().close()
            events.append("closed")

    @asynccontextmanager
    async def reserve(self: Engine) -> AsyncIterator[None]:  # noqa: ARG001  # the method's signature
        try:
            yield
        finally:
            events.append("free")

    monkeypatch.setattr(footage, "Video", WatchedVideo)
    monkeypatch.setattr(Engine, "reserve_video", reserve)
    async with served() as (server, url), httpx.AsyncClient(timeout=LIMIT) as client:
        sent = client.stream(
            "POST", f"{url}/classify/video?faces=whole", content=encode(counting(20)), headers=MP4
        )
        async with sent as response:
            lines = response.aiter_lines()  # exhausting it would close the response
            await anext(lines)
            assert await asyncio.to_thread(decoding.wait, 60)
        await until(lambda: not server.server_state.connections)
        await settle()
        disconnected.set()
        await until(lambda: "free" in events)
    assert events == ["closed", "free"]


def test_an_unsupported_content_type_gets_415_naming_the_supported_ones(
    client: TestClient, short_video: bytes
) -> None:
    detail = check_problem(post(client, short_video, "image/png"), 415, "unsupported-media")
    assert "video/mp4" in detail
    form = client.post("/classify/video", files={"video": ("me.mp4", short_video)})
    assert "'file'" in check_problem(form, 400, "bad-input")
    assert post(client, short_video, "application/mp4").status_code == 200


def test_an_empty_video_gets_400(client: TestClient) -> None:
    assert "no bytes" in check_problem(post(client, b""), 400, "not-a-video")
    form = client.post("/classify/video", files={"file": ("me.mp4", b"")})
    assert "no bytes" in check_problem(form, 400, "not-a-video")


def test_an_image_only_view_is_rejected_for_videos(client: TestClient, short_video: bytes) -> None:
    detail = check_problem(explain(client, short_video, view="panel"), 422, "bad-parameter")
    assert "overlay" in detail
    decoded(explain(client, short_video, view="overlay", face=0, end=0.1))


@pytest.mark.parametrize(
    "query",
    [
        {"every": 0},
        {"fps": 0},
        {"fps": "nan"},
        {"start": -1},
        {"start": 1, "end": 0.5},
        {"fps": 1, "every": 2},
        {"start": 5},
        {"faces": "some"},
    ],
    ids=str,
)
def test_an_invalid_parameter_gets_422(
    client: TestClient, short_video: bytes, query: dict[str, Any]
) -> None:
    check_problem(post(client, short_video, **query), 422, "bad-parameter")


def test_a_video_over_a_limit_gets_413(short_video: bytes) -> None:
    with serving(max_video_bytes=len(short_video), max_video_seconds=0.9) as client:
        check_problem(post(client, short_video), 413, "too-large")
        assert len(lines(post(client, short_video, end=0.8))) == 22
        check_problem(post(client, short_video + b"\0", end=0.8), 413, "too-large")
    with serving(max_pixels=64 * 47) as client:
        check_problem(post(client, short_video), 413, "too-large")


def test_a_video_over_the_concurrency_limit_gets_503(short_video: bytes) -> None:
    with serving(max_videos=1) as client:
        reserve = client.app_state["engine"].reserve_video()
        assert client.portal is not None
        with client.portal.wrap_async_context_manager(reserve):
            response = post(client, short_video)
            check_problem(response, 503, "overloaded")
            assert int(response.headers["Retry-After"]) >= 1
        assert rejected(client) == {"videos_full": 1}
        assert post(client, short_video).status_code == 200
        assert post(client, b"no video").status_code == 400
        assert post(client, short_video).status_code == 200


class _FullDisk(io.RawIOBase):
    """A file on a full disk."""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:  # noqa: ARG002  # the signature of files
        return 0

    def write(self, data: Any, /) -> int:  # noqa: ANN401, ARG002  # likewise
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("path", ["/classify/video", "/explain/video"])
def test_a_full_disk_gets_503(
    path: str, short_video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as client:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: io.BufferedRandom(_FullDisk()))  # noqa: A006, ARG005  # the signature of TemporaryFile
        headers = {"Content-Type": "video/mp4"}
        refused = client.post(path, content=short_video, headers=headers)
        assert "no room" in check_problem(refused, 503, "overloaded")


@pytest.mark.parametrize("path", ["/classify/video", "/explain/video"])
def test_a_missing_temporary_folder_gets_500(path: str, short_video: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with serving(temp_dir=folder) as client:
        folder.rmdir()
        headers = {"Content-Type": "video/mp4"}
        check_problem(client.post(path, content=short_video, headers=headers), 500, "internal")


def test_a_frame_with_more_faces_than_the_queue_holds_fails_alone() -> None:
    crowd = np.tile(np.asarray(next(moving_portrait(1))), (1, 2, 1))
    empty = np.zeros_like(crowd)
    with serving(queue_items=1, max_frames=1) as client:
        told = lines(post(client, encode([empty, crowd, empty]), faces="detect"))
        assert [line.get("problem", {}).get("status") for line in told[1:4]] == [None, 413, None]
        drawn = explain(client, encode([empty, crowd, empty]), faces="detect")
        assert drawn.headers["X-Failed-Frames"] == "1"


def test_frames_to_explain_wait_for_room_in_a_queue_for_one_face(short_video: bytes) -> None:
    with serving(queue_items=1, max_frames=1) as client:
        assert explain(client, short_video).headers["X-Failed-Frames"] == "0"


def test_no_temporary_file_is_left_behind(short_video: bytes, tmp_path: Path) -> None:
    with serving(temp_dir=tmp_path) as client:
        assert post(client, short_video).status_code == 200
        assert post(client, b"no video").status_code == 400
    assert list(tmp_path.iterdir()) == []


def explain(client: TestClient, body: bytes, kind: str = "video/mp4", **query: Any) -> Response:  # noqa: ANN401  # any value of a query
    headers = {"Content-Type": kind}
    params = {"faces": "whole", **query}
    return client.post("/explain/video", content=body, headers=headers, params=params)


def decoded(response: Response) -> tuple[list[Picture], list[float], set[str]]:
    """The frames, their times, and the codecs of a video response."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "video/mp4"
    data = response.content
    assert data.index(b"moov") < data.index(b"mdat"), "a browser plays it before it has it all"
    with av.open(io.BytesIO(data), "r") as video:
        codecs = {stream.codec_context.name for stream in video.streams}
        assert video.streams.video[0].pix_fmt == "yuv420p"
        frames = list(video.decode(video=0))
    pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    return pictures, [frame.time for frame in frames], codecs


def test_an_explained_video_keeps_size_and_times_and_marks_the_face(
    client: TestClient,
) -> None:
    times = [0, 0.04, 0.1, 0.5, 0.52]
    video = encode(moving_portrait(5, (318, 238)), times=times)
    pictures, shown, codecs = decoded(explain(client, video, faces="detect"))
    assert codecs == {"h264"}
    assert shown == pytest.approx(times, abs=0.001)
    assert pictures[0].shape == (238, 318, 3)
    for before, after in zip(moving_portrait(5, (318, 238)), pictures, strict=True):
        changed = np.abs(after.astype(int) - before).max(axis=2) > 60
        assert changed.mean() > 0.02, "a box, a label and heat"
        assert not changed[-6:].any(), "and nothing else"


def test_each_of_several_faces_in_a_frame_gets_its_own_heat(client: TestClient) -> None:
    picture = large_and_small().copy()
    picture[50:90, 150:190] = 0  # where the crop of the large face begins: its map is empty
    video = encode([picture])
    plain, drawn = (
        decoded(explain(client, video, faces="detect", alpha=alpha))[0][0].astype(int)
        for alpha in (0, 1)
    )
    heated = np.abs(drawn - plain).max(axis=2) > 60
    assert heated[:, 300:].any()
    assert not heated[:, :300].any()


def test_skipped_frames_repeat_the_last_drawing(client: TestClient) -> None:
    wall = np.full((240, 320, 3), 110, dtype=np.uint8)
    first, *_ = moving_portrait(1)
    video = encode([first, wall, wall, wall])
    pictures, *_ = decoded(explain(client, video, faces="detect", every=2, track=False))
    plain = np.abs(wall.astype(int) - 110).max()
    drawn = [np.abs(picture.astype(int) - 110).max() - plain > 60 for picture in pictures]
    assert drawn == [True, True, False, False]


@pytest.mark.parametrize(("kind", "sound"), [("mp4", "aac"), ("mkv", "pcm_s16le")])
def test_audio_is_kept_and_cut_to_the_selected_part(
    client: TestClient, kind: str, sound: str
) -> None:
    video = encode(counting(25, (320, 240)), kind, sound=sound)
    response = explain(client, video, start=0.2, end=0.8, alpha=0)
    pictures, times, codecs = decoded(response)
    assert codecs == {"h264", "aac"}
    assert [counted(picture[190:220, 250:300]) for picture in pictures] == pytest.approx(
        list(range(5, 20)), abs=1
    )
    assert times[0] == 0
    with av.open(io.BytesIO(response.content), "r") as opened:
        heard = [(frame.time or 0) + frame.samples / 48_000 for frame in opened.decode(audio=0)]
    assert heard[-1] == pytest.approx(0.6, abs=0.08)


def test_an_explained_video_over_the_size_limit_gets_413(client: TestClient) -> None:
    video = encode(moving_portrait(25, (640, 480)), "webm", groups={"b": "20k"})
    drawn = len(explain(client, video).content)
    assert drawn > len(video)
    for limit in (len(video), drawn - 1):
        with serving(max_video_bytes=limit) as narrow:
            refused = explain(narrow, video)
            assert "by start and end" in check_problem(refused, 413, "too-large")
            assert explain(narrow, video, end=0.05).status_code == 200


def test_a_failed_explanation_gets_a_problem_and_leaves_no_file(
    tmp_path: Path, short_video: bytes
) -> None:
    whole = encode(counting(25), "mkv")
    with serving(temp_dir=tmp_path, max_videos=1) as client:
        broken = explain(client, whole[: len(whole) * 7 // 10], "video/x-matroska")
        check_problem(broken, 400, "not-a-video")
        check_problem(explain(client, b"hello"), 400, "not-a-video")
        check_problem(explain(client, short_video, method="magic"), 422, "bad-parameter")
        check_problem(explain(client, short_video, alpha=2), 422, "bad-parameter")
        decoded(explain(client, short_video, end=0.2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "full"), [("/classify/video", 0), ("/explain/video", 0), ("/explain/video", 1)]
)
def test_a_video_for_which_the_disk_has_no_room_is_counted_as_refused(
    path: str, full: int, short_video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, made = tempfile.TemporaryFile, count()

    def temporary_or_full(dir: Path | None) -> BinaryIO:  # noqa: A002  # its signature
        return Path("/dev/full").open("r+b") if next(made) == full else temporary(dir=dir)

    with serving() as client:
        monkeypatch.setattr(tempfile, "TemporaryFile", temporary_or_full)
        refused = client.post(path, content=short_video, headers=MP4, params={"faces": "whole"})
        check_problem(refused, 503, "overloaded")
        assert rejected(client) == {"disk_full": 1}
