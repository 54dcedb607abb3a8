"""What a file says of its video, which packets are frames, and whether they are all there."""

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
from tests.videos import counted, counting, damaged, encode, opened, sampled, trimmed

REORDERED = {"g": "6", "x264-params": "open-gop=1:scenecut=0:bframes=3:b-adapt=0"}
"""Groups of frames that begin with some that are decoded after their keyframe."""

VARYING = [*np.arange(12) / 25, *np.arange(13) / 5 + 0.5]
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def copied(
    data: bytes, kind: str, keep: Callable[[int], bool] = lambda _: True, *hidden: int
) -> bytes:
    """A file with packets of another, of VP8 some as references that are never shown."""
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


def copied_with_sound(
    data: bytes, keep: Callable[[Any], bool] = lambda _: True, *, sound_first: bool = False
) -> bytes:
    """An MKV with packets of another."""
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


def numbers(frames: Iterable[Frame]) -> list[tuple[int, int]]:
    """The number and the grey of each frame."""
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
def test_frames_from_start_on_have_their_numbers_whatever_their_rate(
    kind: str, options: dict[str, str], start: float
) -> None:
    groups = REORDERED if kind in {"mp4", "mkv"} else {"g": "6"}
    data = encode(counting(25), kind, times=VARYING, groups=groups, options=options)
    frames = sampled(data, start=start)
    expected = [index for index, time in enumerate(VARYING) if time >= start]
    assert numbers(frames) == [(index, index) for index in expected]
    assert [frame.time for frame in frames] == pytest.approx(VARYING[expected[0] :], abs=0.001)


@pytest.mark.parametrize("start", [0, 0.3, 0.9, 0.95])
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("kind", ["avi", "h264 in avi"])
def test_frames_of_an_avi_that_were_reordered_are_shown_at_an_even_rate(
    kind: str, indexed: bool, start: float
) -> None:
    groups = {"bf": "2", "g": "6"} if kind == "avi" else REORDERED
    data = encode(counting(25), kind, groups=groups)
    data = data if indexed else data[: data.index(b"idx1")]
    frames = sampled(data, start=start)
    expected = [index for index in range(25) if index / 25 >= start]
    assert [frame.index for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in expected])
    assert counted(frames[-1].picture()) == 24


@pytest.mark.parametrize("start", [0.3, 0.8])
def test_of_an_avi_of_which_frames_were_dropped_the_others_are_counted(start: float) -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25, width=64, height=48, options={"g": "6"})
        for index, picture in enumerate(counting(20)):
            frame = VideoFrame.from_ndarray(picture)
            frame.pts = index + index // 2
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with opened(data.getvalue(), start=start) as video:
        assert video.info.frames == 20
        frames = list(video.frames())
    expected = [index for index in range(20) if (index + index // 2) / 25 >= start]
    assert numbers(frames) == [(index, index) for index in expected]


def test_references_of_vp8_that_are_never_shown_have_no_numbers() -> None:
    data = copied(encode(counting(25), "webm", groups={"g": "6"}), "webm", lambda _: True, 3, 9)
    every = numbers(sampled(data))
    assert [index for index, _ in every] == list(range(23))
    assert numbers(sampled(data, start=0.6)) == every[13:]


def test_frames_that_are_cut_off_from_their_reference_have_no_numbers() -> None:
    whole = encode(counting(25), "mkv", groups=REORDERED)
    with av.open(io.BytesIO(whole), "r") as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    data = copied(whole, "matroska", lambda number: number >= keys[1])
    every = numbers(sampled(data))
    assert every[0] == (0, 6)
    assert numbers(sampled(data, start=0.3)) == every[8:]


def test_damage_at_the_start_is_told_and_counted() -> None:
    data = damaged(encode(counting(25), independent=True), 7, 8)
    with opened(data, start=0.3) as video:
        frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(8, 25))
    assert [frame.damaged for frame in frames[:2]] == [True, False]
    assert frames[0].time == pytest.approx(0.32)


def test_frames_that_an_edit_list_hides_are_not_counted() -> None:
    data = trimmed(encode(counting(25), groups={"g": "12"}), 5)
    with opened(data) as video:
        assert video.info.frames == len(list(video.frames())) == 20


def edited(data: bytes, *parts: tuple[float, float]) -> bytes:
    """An MP4 that shows parts of another that has an edit list: how long, and from when on."""
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
def test_frames_of_a_video_that_is_put_together_from_parts_have_their_numbers(
    start: float,
) -> None:
    data = edited(encode(counting(25), groups={"g": "6"}), (0.4, 0.4), (0.4, 0.12))
    with opened(data, start=start) as video:
        assert video.info.frames == 20
        shown = numbers(video.frames())
    expected = list(enumerate([*range(10, 20), *range(3, 13)]))
    assert shown == [each for each in expected if each[0] / 25 >= start]


def test_an_mp4_whose_last_frame_is_empty_is_whole() -> None:
    data = bytearray(encode(counting(25)))
    last = data.index(b"stsz") + 16 + 4 * 24
    data[last : last + 4] = bytes(4)
    assert [frame.index for frame in sampled(bytes(data))] == list(range(24))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_few_reordered_frames_that_begin_late_are_shown_from_0_on(count: int) -> None:
    times = [5 + index / 25 for index in range(count)]
    data = encode(counting(count), "mkv", times=times, groups=REORDERED)
    for start in (0, 0.02):
        frames = sampled(data, start=start) if start < times[-1] - 5 else []
        assert [frame.time for frame in frames] == pytest.approx(
            [time - 5 for time in times if time - 5 >= start] if frames else []
        )
    with opened(data) as video:
        assert video.info.duration == pytest.approx(count / 25, abs=0.001)


def test_a_video_may_go_on_after_its_stated_end() -> None:
    data = encode(counting(25), times=VARYING, groups=REORDERED)
    with opened(data, start=2.85) as video:
        assert video.info.duration is not None
        assert video.info.duration < 2.85
        assert [frame.index for frame in video.frames()] == [24]


def several(kind: str, *dispositions: Disposition) -> bytes:
    """A file with several video streams; of the n-th, frames have a side of 32 n pixels."""
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
def test_of_several_streams_the_one_that_players_show_is_read(
    kind: str, dispositions: tuple[Disposition, ...], width: int
) -> None:
    with opened(several(kind, *dispositions)) as video:
        assert video.info.width == width
        assert len(list(video.frames())) == 5


def test_the_cover_of_a_song_is_no_video() -> None:
    with pytest.raises(NotAVideo, match="no video"):
        opened(several("mp4", COVER))


def noise(count: int) -> Iterable[Picture]:
    rng = np.random.default_rng(7)
    return (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count))


@pytest.mark.parametrize("options", [{"movflags": "faststart"}, FRAGMENTS])
@pytest.mark.parametrize("sound", [None, "aac"])
def test_an_mp4_that_lacks_its_last_frame_is_cut_short(
    options: dict[str, str], sound: str | None
) -> None:
    whole = encode(counting(25), options=options, groups={"g": "6"}, sound=sound)
    with av.open(io.BytesIO(whole), "r") as container:
        places = [packet.pos or 0 for packet in container.demux(video=0) if packet.size]
    with opened(whole[: places[24]]) as video, pytest.raises(NotAVideo, match="cut short"):
        list(video.frames())


@pytest.mark.parametrize(
    ("kind", "sound"),
    [("mkv", "aac"), ("webm", "libopus"), ("avi", "libmp3lame"), ("avi", None), ("mkv", None)],
)
def test_a_file_that_lacks_its_end_is_cut_short(kind: str, sound: str | None) -> None:
    whole = encode(noise(150), kind, groups={"g": "12"}, sound=sound)
    with av.open(io.BytesIO(whole), "r") as container:
        places = sorted(packet.pos for packet in container.demux() if packet.size and packet.pos)
    head = 8 if kind == "avi" else 0  # of a packet's chunk, before its place
    for share in (0.5, 0.8, 0.94):
        within = round(len(whole) * share)
        between = max(place for place in places if place < within) - head
        for length in (within, between):
            with opened(whole[:length]) as video, pytest.raises(NotAVideo, match="breaks off"):
                list(video.frames())
    with opened(whole) as video:
        assert len(list(video.frames())) == 150


def test_a_video_that_ends_before_its_sound_is_whole() -> None:
    whole = encode(counting(5), "mkv", sound="aac")
    short = copied_with_sound(whole, lambda packet: packet.stream.type == "audio" or not packet.pts)
    assert len(sampled(short.replace(b"DURATION", b"DURATIOM"))) == 1


def test_a_video_that_comes_after_its_sound_is_whole() -> None:
    whole = encode(counting(25), "mkv", sound="aac", groups=REORDERED)
    assert numbers(sampled(copied_with_sound(whole, sound_first=True))) == [
        (index, index) for index in range(25)
    ]


@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_a_file_without_a_frame_is_refused(kind: str) -> None:
    if kind == "mp4":
        whole = encode(counting(5), options=FRAGMENTS)
        empty = whole[: whole.index(b"moof") - 4]
    else:
        empty = encode(counting(5), "avi").replace(b"00dc", b"JUNK")
    with pytest.raises(NotAVideo, match="holds no frame"):
        opened(empty)
