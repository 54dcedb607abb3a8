"""Stream selection, which packets count as frames, and detection of truncated files."""

import io
import struct
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame

from service.errors import NotAVideo
from service.records import Picture
from service.video import Frame
from tests.videos import (
    counted,
    counting,
    damaged,
    encode,
    hide_leading_frames,
    open_video,
    sampled_frames,
)

REORDERED = {"g": "6", "x264-params": "open-gop=1:scenecut=0:bframes=3:b-adapt=0"}
"""Codec options for open GOPs: some frames are shown before, but decoded after, their keyframe."""

VARYING = [*np.arange(12) / 25, *np.arange(13) / 5 + 0.5]
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def remuxed(
    data: bytes, kind: str, keep: Callable[[int], bool] = lambda _: True, *hidden: int
) -> bytes:
    """Remux the packets to keep; VP8 packets in `hidden` become references that are never shown."""
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(io.BytesIO(data), "r") as source,
        av.open(file.name, "w", format=kind) as out,
    ):
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size and keep(number):
                content = bytearray(bytes(packet))
                content[0] &= 0xEF if number in hidden else 0xFF
                packet.update(bytes(content))
                packet.stream = copy
                out.mux(packet)
        out.close()
        return file.read()


def remuxed_with_audio(
    data: bytes, keep: Callable[[Any], bool] = lambda _: True, *, sound_first: bool = False
) -> bytes:
    """Remux the packets to keep into an MKV."""
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(io.BytesIO(data), "r") as source,
        av.open(file.name, "w", format="matroska") as out,
    ):
        order = sorted(source.streams, key=lambda each: each.type, reverse=not sound_first)
        copies = {each.index: out.add_stream_from_template(each) for each in order}
        for packet in source.demux():
            if packet.size and keep(packet):
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
        out.close()
        return file.read()


def indexes_and_content(frames: Iterable[Frame]) -> list[tuple[int, int]]:
    """The index of each frame, and the frame number that its grey level encodes."""
    return [(frame.index, counted(frame.picture())) for frame in frames]


@pytest.mark.parametrize("start", [0.03, 0.3, 1.0, 1.6, 2.2, 2.85])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mp4", {}),
        ("mp4", FRAGMENTS),
        ("mkv", {}),
        ("mkv", {"live": "1"}),
        ("webm", {}),
        ("vp9", {}),
    ],
)
def test_variable_rate_video_keeps_frame_indexes_after_seek(
    kind: str, options: dict[str, str], start: float
) -> None:
    groups = REORDERED if kind in {"mp4", "mkv"} else {"g": "6"}
    data = encode(counting(25), kind, times=VARYING, groups=groups, options=options)
    frames = sampled_frames(data, start=start)
    expected = [index for index, time in enumerate(VARYING) if time >= start]
    assert indexes_and_content(frames) == [(index, index) for index in expected]
    assert [frame.time for frame in frames] == pytest.approx(VARYING[expected[0] :], abs=0.001)


@pytest.mark.parametrize("start", [0, 0.3, 0.9, 0.95])
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("kind", ["avi", "h264 in avi"])
def test_reordered_avi_frames_get_evenly_spaced_timestamps(
    kind: str, indexed: bool, start: float
) -> None:
    groups = {"bf": "2", "g": "6"} if kind == "avi" else REORDERED
    data = encode(counting(25), kind, groups=groups)
    data = data if indexed else data[: data.index(b"idx1")]
    frames = sampled_frames(data, start=start)
    expected = [index for index in range(25) if index / 25 >= start]
    assert [frame.index for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in expected])
    assert counted(frames[-1].picture()) == 24


@pytest.mark.parametrize("start", [0.3, 0.8])
def test_dropped_avi_frames_are_not_counted(start: float) -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25, width=64, height=48, options={"g": "6"})
        for index, picture in enumerate(counting(20)):
            frame = VideoFrame.from_ndarray(picture)
            frame.pts = index + index // 2
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with open_video(data.getvalue(), start=start) as video:
        assert video.info.frames == 20
        frames = list(video.frames())
    expected = [index for index in range(20) if (index + index // 2) / 25 >= start]
    assert indexes_and_content(frames) == [(index, index) for index in expected]


def test_vp8_frames_that_are_never_shown_are_not_counted() -> None:
    data = remuxed(encode(counting(25), "webm", groups={"g": "6"}), "webm", lambda _: True, 3, 9)
    every = indexes_and_content(sampled_frames(data))
    assert [index for index, _ in every] == list(range(23))
    assert indexes_and_content(sampled_frames(data, start=0.6)) == every[13:]


def test_leading_frames_without_their_reference_are_not_counted() -> None:
    whole = encode(counting(25), "mkv", groups=REORDERED)
    with av.open(io.BytesIO(whole), "r") as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    data = remuxed(whole, "matroska", lambda number: number >= keys[1])
    every = indexes_and_content(sampled_frames(data))
    assert every[0] == (0, 6)
    assert indexes_and_content(sampled_frames(data, start=0.3)) == every[8:]


def test_damaged_frame_at_the_start_is_reported_and_counted() -> None:
    data = damaged(encode(counting(25), independent=True), 7, 8)
    with open_video(data, start=0.3) as video:
        frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(8, 25))
    assert [frame.damaged for frame in frames[:2]] == [True, False]
    assert frames[0].time == pytest.approx(0.32)


def test_frames_hidden_by_an_edit_list_are_not_counted() -> None:
    data = hide_leading_frames(encode(counting(25), groups={"g": "12"}), 5)
    with open_video(data) as video:
        assert video.info.frames == len(list(video.frames())) == 20


def with_edit_list(data: bytes, *parts: tuple[float, float]) -> bytes:
    """Replace the edit list of an MP4 by parts, each given as its duration and its start."""
    edits = [(round(length * 1000), round(begin * 12_800), 1 << 16) for length, begin in parts]
    body = b"elst" + struct.pack(">II", 0, len(edits))
    body += b"".join(struct.pack(">IiI", *edit) for edit in edits)
    file = bytearray(data)
    at = file.index(b"elst") - 4
    (size,) = struct.unpack_from(">I", file, at)
    file[at : at + size] = struct.pack(">I", len(body) + 4) + body
    for box in (b"edts", b"trak", b"moov"):
        place = file.index(box) - 4
        (before,) = struct.unpack_from(">I", file, place)
        struct.pack_into(">I", file, place, before + len(body) + 4 - size)
    return bytes(file)


@pytest.mark.parametrize("start", [0, 0.3, 0.41, 0.6])
def test_frames_of_an_edit_list_with_several_parts_are_indexed_as_shown(
    start: float,
) -> None:
    data = with_edit_list(encode(counting(25), groups={"g": "6"}), (0.4, 0.4), (0.4, 0.12))
    with open_video(data, start=start) as video:
        assert video.info.frames == 20
        shown = indexes_and_content(video.frames())
    expected = list(enumerate([*range(10, 20), *range(3, 13)]))
    assert shown == [each for each in expected if each[0] / 25 >= start]


def test_mp4_with_an_empty_last_frame_is_not_reported_as_truncated() -> None:
    data = bytearray(encode(counting(25)))
    last = data.index(b"stsz") + 16 + 4 * 24
    data[last : last + 4] = bytes(4)
    assert [frame.index for frame in sampled_frames(bytes(data))] == list(range(24))


@pytest.mark.parametrize(("count", "start"), [(1, 0), (3, 0), (3, 0.02), (8, 0), (8, 0.02)])
def test_few_reordered_frames_with_late_first_timestamp_start_at_zero(
    count: int, start: float
) -> None:
    times = [5 + index / 25 for index in range(count)]
    data = encode(counting(count), "mkv", times=times, groups=REORDERED)
    with open_video(data, start=start) as video:
        assert video.info.duration == pytest.approx(count / 25, abs=0.001)
        shown = [frame.time for frame in video.frames()]
    expected = [index / 25 for index in range(count) if index / 25 >= start]
    assert shown == pytest.approx(expected)


def test_frame_after_the_stated_duration_is_read() -> None:
    data = encode(counting(25), times=VARYING, groups=REORDERED)
    with open_video(data, start=2.85) as video:
        assert video.info.duration is not None
        assert video.info.duration < 2.85
        assert [frame.index for frame in video.frames()] == [24]


def multi_stream_file(kind: str, *dispositions: Disposition) -> bytes:
    """A file with several video streams; frames of the n-th are 32 n pixels wide and high."""
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", format=kind) as out:
        streams: list[Any] = []
        for number, disposition in enumerate(dispositions, 1):
            cover = disposition & Disposition.attached_pic
            codec, pixels = ("mjpeg", "yuvj420p") if cover else ("mpeg4", "yuv420p")
            stream: Any = out.add_stream(codec, rate=25)
            stream.width = stream.height = 32 * number
            stream.pix_fmt, stream.disposition = pixels, disposition
            streams.append(stream)
        for number, stream in enumerate(streams, 1):
            cover = stream.disposition & Disposition.attached_pic
            for picture in counting(1 if cover else 5, (32 * number, 32 * number)):
                out.mux(stream.encode(VideoFrame.from_ndarray(picture)))
            out.mux(stream.encode())
        out.close()
        return file.read()


NONE, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic


@pytest.mark.parametrize(
    ("kind", "dispositions", "width"),
    [
        ("matroska", (NONE, DEFAULT), 64),
        ("matroska", (DEFAULT, DEFAULT), 32),
        ("matroska", (NONE, NONE), 32),
        ("mp4", (COVER, DEFAULT), 64),
    ],
)
def test_default_video_stream_is_read_or_else_the_first(
    kind: str, dispositions: tuple[Disposition, ...], width: int
) -> None:
    with open_video(multi_stream_file(kind, *dispositions)) as video:
        assert video.info.width == width
        assert len(list(video.frames())) == 5


def test_cover_art_is_not_a_video() -> None:
    with pytest.raises(NotAVideo, match="no video"):
        open_video(multi_stream_file("mp4", COVER))


def noise_frames(count: int) -> Iterable[Picture]:
    rng = np.random.default_rng(7)
    return (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count))


@pytest.mark.parametrize("options", [{"movflags": "faststart"}, FRAGMENTS])
@pytest.mark.parametrize("sound", [None, "aac"])
def test_mp4_without_its_last_frame_is_reported_as_cut_short(
    options: dict[str, str], sound: str | None
) -> None:
    whole = encode(counting(25), options=options, groups={"g": "6"}, sound=sound)
    with av.open(io.BytesIO(whole), "r") as container:
        places = [packet.pos or 0 for packet in container.demux(video=0) if packet.size]
    with open_video(whole[: places[24]]) as video, pytest.raises(NotAVideo, match="cut short"):
        list(video.frames())


@pytest.mark.parametrize(
    ("kind", "sound"),
    [("mkv", "aac"), ("webm", "libopus"), ("avi", "libmp3lame"), ("avi", None), ("mkv", None)],
)
def test_file_without_its_end_is_reported_as_truncated(kind: str, sound: str | None) -> None:
    whole = encode(noise_frames(150), kind, groups={"g": "12"}, sound=sound)
    with av.open(io.BytesIO(whole), "r") as container:
        places = sorted(packet.pos for packet in container.demux() if packet.size and packet.pos)
    head = 8 if kind == "avi" else 0  # bytes of the chunk header before the packet
    for share in (0.5, 0.8, 0.94):
        within = round(len(whole) * share)
        between = max(place for place in places if place < within) - head
        for length in (within, between):
            with open_video(whole[:length]) as video, pytest.raises(NotAVideo, match="breaks off"):
                list(video.frames())
    with open_video(whole) as video:
        assert len(list(video.frames())) == 150


def test_video_that_ends_before_its_audio_is_not_reported_as_truncated() -> None:
    whole = encode(counting(5), "mkv", sound="aac")
    short = remuxed_with_audio(
        whole, lambda packet: packet.stream.type == "audio" or not packet.pts
    )
    assert len(sampled_frames(short.replace(b"DURATION", b"DURATIOM"))) == 1


def test_video_with_the_audio_stream_first_is_read_completely() -> None:
    whole = encode(counting(25), "mkv", sound="aac", groups=REORDERED)
    assert indexes_and_content(sampled_frames(remuxed_with_audio(whole, sound_first=True))) == [
        (index, index) for index in range(25)
    ]


@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_file_without_frames_is_rejected(kind: str) -> None:
    if kind == "mp4":
        whole = encode(counting(5), options=FRAGMENTS)
        empty = whole[: whole.index(b"moof") - 4]
    else:
        empty = encode(counting(5), "avi").replace(b"00dc", b"JUNK")
    with pytest.raises(NotAVideo, match="holds no frame"):
        open_video(empty)
