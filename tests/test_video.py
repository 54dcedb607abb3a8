"""Videos of every kind, whole and broken, read frame by frame."""

import io
import struct
import tempfile
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadParameter, NotAVideo, TooLarge
from service.video import Frame, Movie, Sampling, Sound, Video
from service.video.sampling import Sampler
from tests.videos import (
    CONTAINERS,
    counted,
    counting,
    damaged,
    encode,
    moving_portrait,
    opened,
    sampled,
    sound_alone,
    trimmed,
)


@pytest.fixture(scope="module", params=CONTAINERS)
def second(request: pytest.FixtureRequest) -> bytes:
    """A second of 25 frames in each container and codec."""
    return encode(counting(25), request.param)


def test_every_frame_comes_in_order_with_its_time(second: bytes) -> None:
    frames = sampled(second)
    assert [counted(frame.picture()) for frame in frames] == list(range(25))
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(25) / 25, abs=0.001)


def test_a_video_says_what_it_is(second: bytes) -> None:
    with opened(second, every=4) as video:
        assert (video.info.width, video.info.height) == (64, 48)
        assert video.info.fps == pytest.approx(25)
        assert video.info.duration == pytest.approx(1, abs=0.01)
        assert video.info.frames in {25, None}
        assert video.info.sampled_frames == 7


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"every": 10}, [0, 10, 20]),
        ({"fps": 5}, [0, 5, 10, 15, 20]),
        ({"fps": 100}, list(range(25))),
        ({"start": 0.4}, list(range(10, 25))),
        ({"end": 0.2}, [0, 1, 2, 3, 4]),
        ({"start": 0.4, "end": 0.8, "every": 3}, [10, 13, 16, 19]),
        ({"start": 0.4, "fps": 10}, [10, 13, 15, 18, 20, 23]),
    ],
    ids=str,
)
def test_the_frames_that_are_wanted_are_looked_at(
    second: bytes, wanted: dict[str, Any], expected: list[int]
) -> None:
    frames = sampled(second, **wanted)
    assert [counted(frame.picture()) for frame in frames] == expected
    assert [frame.index for frame in frames] == expected
    with opened(second, **wanted) as video:
        assert video.info.sampled_frames == pytest.approx(len(expected), abs=1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"fps": 5, "end": 2.2}, 11),
        ({"fps": 5, "start": 2.99999}, 1),
        ({"end": 9}, 75),
        ({"fps": 5, "start": 1, "end": 9}, 10),
        ({"fps": 50}, 75),
        ({"every": 2}, 38),
    ],
)
def test_of_three_seconds_it_is_known_how_many_frames_are_looked_at(
    wanted: dict[str, Any], expected: int
) -> None:
    assert Sampling(**wanted).expected(25.0, 3.0) == expected


def test_timestamps_of_a_variable_frame_rate_are_true() -> None:
    times = [0, 0.04, 0.05, 0.5, 0.51, 1.3]
    for kind in ("mp4", "mkv"):
        frames = sampled(encode(counting(6), kind, times=times))
        assert [frame.time for frame in frames] == pytest.approx(times, abs=0.001)
        assert [counted(frame.picture()) for frame in frames] == list(range(6))


def test_of_a_variable_frame_rate_so_many_frames_a_second_are_looked_at() -> None:
    times = [0, 0.1, 0.2, 0.3, 0.9, 1.0, 1.1, 2.5, 2.6]
    frames = sampled(encode(counting(9), times=times), fps=2)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.9, 1.0, 2.5], abs=0.001)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1)), (0, (0, 0))]
)
def test_a_turned_video_is_upright(rotation: int, corner: tuple[int, int]) -> None:
    picture = np.full((48, 64, 3), 40, dtype=np.uint8)
    picture[:24, :32] = 220  # bright where the stored picture begins
    for kind in ("mov", "mp4"):
        data = encode([picture] * 3, kind, rotation=rotation)
        shown = sampled(data)[0].picture()
        assert shown.shape == ((64, 48, 3) if rotation % 180 else (48, 64, 3))
        assert shown[corner][0] > 180
        with opened(data) as video:
            assert (video.info.height, video.info.width) == shown.shape[:2]


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((-1, 0, 0, 1), (0, -1)),
        ((1, 0, 0, -1), (-1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (-1, -1)),
    ],
)
def test_a_mirrored_video_is_shown_as_players_do(
    matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    picture = np.full((48, 64, 3), 40, dtype=np.uint8)
    picture[:24, :32] = 220
    data = bytearray(encode([picture] * 3))
    a, b, c, d = (value << 16 for value in matrix)
    begin = data.index(b"tkhd") + 44
    data[begin : begin + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    shown = sampled(bytes(data))[0].picture()
    assert shown.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
    assert shown[corner][0] > 180
    assert (shown[::47, ::47, 0] > 180).sum() == 1


@pytest.mark.parametrize(
    "wanted", [{"end": 0.01}, {"fps": 1e-9}, {"start": 0.92, "end": 0.93}], ids=str
)
def test_a_single_frame_is_expected_where_one_is_looked_at(wanted: dict[str, Any]) -> None:
    with opened(encode(counting(25)), **wanted) as video:
        assert video.info.sampled_frames == 1
        assert sum(frame.sampled for frame in video.frames()) == 1


def test_pixels_that_are_not_square_are_made_so() -> None:
    data = encode(counting(3), ratio=Fraction(4, 3))
    assert sampled(data)[0].picture().shape == (48, 85, 3)


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_a_video_whose_time_begins_late_is_whole(kind: str) -> None:
    data = encode(counting(25), kind, times=[5 + index / 25 for index in range(25)])
    with opened(data) as video:
        assert video.info.duration == pytest.approx(1, abs=0.1)
        assert [round(frame.time * 25) for frame in video.frames()] == list(range(25))


@pytest.mark.parametrize("wanted", [{}, {"start": 0.4, "end": 0.8}], ids=str)
def test_of_a_video_whose_time_begins_late_parts_lie_where_they_are_asked_for(
    wanted: dict[str, Any],
) -> None:
    data = encode(counting(25), "mkv", times=[5 + index / 25 for index in range(25)])
    with opened(data, **wanted) as video:
        span = video.span
        frames = list(video.frames())
    begin, end = (10, 20) if wanted else (0, 25)
    assert [frame.index for frame in frames] == list(range(begin, end))
    assert [counted(frame.picture()) for frame in frames] == list(range(begin, end))
    assert span[0] == pytest.approx(5 + begin / 25), "on the file's clock, by which its sound goes"
    assert span[1] == (pytest.approx(5.8) if wanted else None)


def test_frames_of_a_video_whose_time_begins_late_have_their_numbers_whatever_their_rate() -> None:
    times = [5, 5.04, 5.05, *(5.5 + index / 10 for index in range(9))]
    frames = sampled(encode(counting(12), "mkv", times=times), start=1)
    assert [frame.index for frame in frames] == [8, 9, 10, 11]
    assert [frame.time for frame in frames] == pytest.approx([1, 1.1, 1.2, 1.3], abs=0.001)


def pictures_shown_at(kind: str, moments: Sequence[int]) -> bytes:
    """A video of pictures, none of which needs another, at these 25ths of a second."""
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=kind, options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        codec: Any = av.CodecContext.create("mjpeg", "w")
        codec.width, codec.height, codec.pix_fmt = 64, 48, "yuvj420p"
        codec.time_base = Fraction(1, 25)
        for number, (moment, picture) in enumerate(
            zip(moments, counting(len(moments)), strict=True)
        ):
            (packet,) = codec.encode(VideoFrame.from_ndarray(picture).reformat(format="yuvj420p"))
            packet.pts, packet.dts = moment, number - len(moments)
            packet.time_base, packet.stream = Fraction(1, 25), stream
            out.mux(packet)
        out.close()
        return file.read()


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
@pytest.mark.parametrize(
    ("moments", "shown", "sampled_at_25"),
    [
        ([0, 1, 1, 2, 3], [0, 1, 1, 2, 3], [0, 1, 3, 4]),
        ([0, 2, 1, 3, 4], [0, 2, 2, 3, 4], [0, 1, 3, 4]),
    ],
    ids=["stands still", "goes back"],
)
def test_time_that_does_not_go_on_never_goes_back(
    kind: str, moments: list[int], shown: list[int], sampled_at_25: list[int]
) -> None:
    data = pictures_shown_at(kind, moments)
    frames = sampled(data)
    assert [round(frame.time * 25) for frame in frames] == shown
    assert [counted(frame.picture()) for frame in frames] == list(range(5))
    assert [frame.index for frame in sampled(data, fps=25)] == sampled_at_25


@pytest.mark.parametrize("start", [0, 0.2, 0.4])
def test_frames_that_are_cut_off_at_the_start_are_not_shown_and_not_counted(start: float) -> None:
    data = trimmed(encode(counting(25), groups={"g": "12"}), 5)
    with opened(data, start=start) as video:
        assert video.info.duration == pytest.approx(0.8)
        frames = list(video.frames())
    expected = list(range(round(start * 25), 20))
    assert [frame.index for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in expected])
    assert [counted(frame.picture()) for frame in frames] == [number + 5 for number in expected]


def test_of_a_file_that_ends_within_a_frame_the_whole_ones_are_given() -> None:
    """Some decoders make a picture of a part of one, with the rest in grey."""
    whole = pictures_shown_at("mp4", range(25))
    with av.open(io.BytesIO(whole), "r") as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    for number in (10, 24):
        at, size = places[number]
        frames = given_before_the_problem(whole[: at + size * 9 // 10])
        assert [frame.index for frame in frames] == list(range(number))


def test_a_video_whose_end_is_cut_off_by_an_edit_list_does_not_break_off() -> None:
    data = bytearray(trimmed(encode(counting(25)), 5))
    length = data.index(b"elst") + 12  # in milliseconds
    assert data[length : length + 4] == struct.pack(">I", 800)
    data[length : length + 4] = struct.pack(">I", 400)
    frames = sampled(bytes(data))
    assert [counted(frame.picture()) for frame in frames] == list(range(5, 15))


def test_an_avi_of_which_frames_were_dropped_while_it_was_recorded_is_whole() -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25, width=64, height=48)
        for index, picture in enumerate(counting(20)):
            frame = VideoFrame.from_ndarray(picture)
            frame.pts = index + index // 2
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with opened(data.getvalue()) as video:
        assert len(list(video.frames())) == 20


@pytest.mark.parametrize("lost", [[7], [0], [0, 1, 2], [7, 8, 9, 15]])
def test_frames_that_are_damaged_are_told_and_the_others_keep_their_numbers(
    lost: list[int],
) -> None:
    data = damaged(encode(counting(25), independent=True), *lost)
    with opened(data) as video:
        frames = list(video.frames())
    sound = [frame for frame in frames if not frame.damaged]
    assert [frame.index for frame in sound] == [n for n in range(25) if n not in lost]
    assert [counted(frame.picture()) for frame in sound] == [frame.index for frame in sound]
    gaps = [frame for frame in frames if frame.damaged]
    begun = [n for n in lost if n - 1 not in lost]
    assert [(frame.index, frame.time) for frame in gaps] == [(n, n / 25) for n in begun]
    for gap in gaps:
        with pytest.raises(NotAVideo, match=r"damaged: (a frame|3 frames) from here on"):
            gap.picture()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"every": 5}, [0, 5, 7, 10, 15, 20]),
        ({"fps": 5}, [0, 5, 7, 10, 15, 20]),
        ({"start": 0.4}, list(range(10, 25))),
        ({"end": 0.2}, list(range(5))),
    ],
)
def test_damage_moves_no_frame_that_is_looked_at(
    wanted: dict[str, Any], expected: list[int]
) -> None:
    data = damaged(encode(counting(25), independent=True), 7, 8)
    assert [frame.index for frame in sampled(data, **wanted)] == expected


def test_a_video_whose_last_frames_are_damaged_breaks_off() -> None:
    data = damaged(encode(counting(25), independent=True), 22, 23, 24)
    assert [frame.index for frame in given_before_the_problem(data)] == list(range(22))


def test_no_wrong_byte_ends_a_video_as_if_it_were_whole() -> None:
    """Some decoders give no more frames then, and no error either."""
    whole = encode(moving_portrait(60), "hevc")
    broken_off = 0
    for at in range(len(whole) // 8, len(whole) * 7 // 8, 211):
        data = bytearray(whole)
        data[at] ^= 0xFF
        frames: list[Frame] = []
        try:
            with opened(bytes(data)) as video:
                frames.extend(video.frames())
        except NotAVideo:
            broken_off += 1
        else:
            assert frames[-1].time == pytest.approx(59 / 25, abs=0.2)
    assert broken_off


def given_before_the_problem(data: bytes) -> Sequence[Frame]:
    frames: list[Frame] = []
    with opened(data) as video, pytest.raises(NotAVideo, match="breaks off"):
        frames.extend(video.frames())  # those before the error stay
    return frames


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_of_a_broken_video_the_frames_before_the_damage_are_given(kind: str, damage: str) -> None:
    rng = np.random.default_rng(7)
    noise = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60)]
    whole = encode(noise, kind, options={"movflags": "faststart"})
    keep = len(whole) * 6 // 10
    lost = b"" if damage == "cut" else rng.bytes(len(whole) - keep)
    frames = given_before_the_problem(whole[:keep] + lost)
    assert 5 < len(frames) < 50
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("open_groups", [0, 1])
@pytest.mark.parametrize("cut_off", [0, 3])
@pytest.mark.parametrize("start", [0.3, 1.0, 1.6, 2.2])
def test_frames_after_a_jump_have_their_numbers_whatever_their_rate(
    kind: str, open_groups: int, cut_off: int, start: float
) -> None:
    """Also where the first frames were cut off by an edit list: they are there, but never shown."""
    times = [*np.arange(12) / 25 - cut_off / 25, *np.arange(12) / 5 + 0.5]
    others = f"open-gop={open_groups}:scenecut=0:bframes=3:b-adapt=0"
    groups = {"g": "6", "x264-params": others}
    frames = sampled(encode(counting(24), kind, times=times, groups=groups), start=start)
    expected = [index for index, time in enumerate(times) if time >= start - 1e-4]
    assert [frame.index for frame in frames] == [index - cut_off for index in expected]
    assert [counted(frame.picture()) for frame in frames] == expected


@pytest.mark.parametrize("start", np.arange(1, 25) / 25 - 0.01)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_no_frame_before_a_keyframe_is_lost_by_a_jump(kind: str, start: float) -> None:
    groups = {"g": "6", "x264-params": "open-gop=1:scenecut=0:bframes=3:b-adapt=0"}
    frames = sampled(encode(counting(25), kind, groups=groups), start=start)
    assert [counted(frame.picture()) for frame in frames] == list(
        range(round(start * 25 + 0.25), 25)
    )


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x00" * 5000, b"RIFF\0\0\0\0AVI LIST", b"GIF89a"]
)
def test_what_is_no_video_is_refused(data: bytes) -> None:
    with pytest.raises(NotAVideo, match="MP4"):
        opened(data)


def test_a_playlist_opens_nothing() -> None:
    for text in ("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n"):
        with pytest.raises(NotAVideo):
            opened(text.encode())


def test_sound_alone_is_no_video() -> None:
    with pytest.raises(NotAVideo, match="no video"):
        opened(sound_alone())


def test_limits_are_checked_before_anything_is_decoded() -> None:
    data = encode(counting(25))
    with pytest.raises(TooLarge, match="64 x 48"):
        opened(data, max_pixels=64 * 48 - 1)
    with pytest.raises(TooLarge, match=r"0\.5 s"):
        opened(data, max_seconds=0.5)
    assert len(sampled(data, max_seconds=0.5, start=0.2, end=0.6)) == 10


def test_a_duration_that_is_not_told_is_limited_all_the_same() -> None:
    data = encode(counting(25), "mkv", options={"live": "1"})
    with opened(data, max_seconds=0.5) as video:
        assert video.info.duration is None
        frames: list[Frame] = []
        with pytest.raises(TooLarge):
            frames.extend(video.frames())
        assert 0.4 < frames[-1].time <= 0.5


@pytest.mark.parametrize("length", [b"00:00:nan", b"00:00:inf"])
def test_a_duration_that_is_no_number_is_not_told(length: bytes) -> None:
    data, tag = encode(counting(25), "mkv"), b"00:00:01.000000000"
    assert data.count(tag) == 1
    with opened(data.replace(tag, length.ljust(len(tag)))) as video:
        assert video.info.duration == pytest.approx(1)  # the container's own word
    late = encode(counting(25), "mkv", times=[5 + index / 25 for index in range(25)])
    begun, cut = late.split(b"00:00:0")
    with opened(begun + length.ljust(7) + cut) as video:
        assert video.info.duration == pytest.approx(1, abs=0.1)


def test_to_begin_behind_the_end_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"1\.00 s"):
        opened(encode(counting(25)), start=3)
    with pytest.raises(BadParameter, match="last frame"):
        opened(encode(counting(25), "mkv", options={"live": "1"}), start=3)


def test_a_part_in_which_no_frame_is_shown_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"from 0\.05 s to 0\.07 s"):
        opened(encode(counting(25)), start=0.05, end=0.07)


def test_a_video_that_is_closed_gives_no_more_frames(second: bytes) -> None:
    video = opened(second)
    frames = video.frames()
    next(frames)
    video.close()
    assert next(frames, None) is None


@pytest.mark.parametrize(
    "wanted",
    [
        {"fps": 2, "every": 2},
        {"fps": 0},
        {"fps": 1e308},
        {"every": 0},
        {"start": -1},
        {"start": 1e17},
        {"start": 2, "end": 2},
        {"end": 1e308},
    ],
    ids=str,
)
def test_a_sampling_that_cannot_be_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        Sampling(**wanted)


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 2), min_size=1, max_size=60),
    fps=st.floats(0.2, 60),
    start=st.floats(0, 5),
)
def test_no_period_of_the_sampling_rate_has_two_frames_and_none_with_a_frame_has_none(
    gaps: list[float], fps: float, start: float
) -> None:
    times = start + np.cumsum(gaps)
    sampler = Sampler(Sampling(fps=fps, start=start))
    taken = [time for time in times if sampler.takes(float(time))]
    periods = np.floor((np.array(taken) - start + 1e-4) * fps)
    assert len(set(periods)) == len(taken)
    assert set(periods) == set(np.floor((times - start + 1e-4) * fps))


def heard(data: bytes) -> list[AudioFrame]:
    """The sound of a film, taken along into a movie of a second."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as file:
        source.write(data)
        with closing(Sound(source, start=0, end=None)) as sound:
            movie = Movie(file, fps=25, sound=sound)
            for index, picture in enumerate(counting(25)):
                movie.write(picture, index / 25)
            movie.finish()
        with av.open(file, "r") as made:
            return list(made.decode(audio=0))


@pytest.mark.parametrize(("codec", "rate"), [("pcm_s16le", 5512), ("libmp3lame", 8000)])
def test_sound_at_a_rate_that_mp4_lacks_is_taken_along_at_another(codec: str, rate: int) -> None:
    frames = heard(encode(counting(20), "avi", sound=codec, sound_rate=rate))
    assert (frames[-1].time or 0) + frames[-1].samples / frames[-1].rate >= 0.76


def test_sound_whose_header_is_lost_is_taken_along() -> None:
    whole = encode(counting(25), "webm", sound="libopus")
    at = whole.index(b"OpusHead") - 3
    assert whole[at : at + 2] == b"\x63\xa2", "the element CodecPrivate"
    frames = heard(whole[:at] + b"\x63\xa3" + whole[at + 2 :])
    assert (frames[-1].time or 0) > 0.9


def test_sound_whose_clock_is_wrong_does_not_end_the_video() -> None:
    data = bytearray(encode(counting(25), "mov", sound="pcm_s16le"))
    clock = data.rindex(b"mdhd") + 16
    assert data[clock : clock + 4] == struct.pack(">I", 48_000)
    data[clock : clock + 4] = struct.pack(">I", 4_800_000)
    assert heard(bytes(data))


def test_sound_ends_where_it_becomes_mono() -> None:
    data = bytearray(encode(counting(25), "mkv", sound="mp2"))
    with av.open(io.BytesIO(data), "r") as container:
        places = [packet.pos or 0 for packet in container.demux(audio=0) if packet.size]
    for place in places[len(places) // 2 :]:
        data[place + 4 + 3] |= 0xC0  # after the block's head: the mode in the frame's
    assert 0.4 < (heard(bytes(data))[-1].time or 0) < 0.6


def test_sound_goes_on_after_a_damaged_place() -> None:
    whole = encode(counting(25), "mkv", sound="mp2")
    with av.open(io.BytesIO(whole), "r") as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size > 40]
    lost = packets[len(packets) // 3]
    broken = whole.replace(lost, b"\xff" * len(lost))
    assert broken != whole
    late = [frame.to_ndarray() for frame in heard(broken) if frame.time and frame.time > 0.7]
    assert np.abs(np.concatenate(late, axis=-1)).mean() > 0.05


def test_a_movie_may_have_a_frame_an_hour() -> None:
    with tempfile.TemporaryFile() as file:
        movie = Movie(file, fps=1 / 3600, sound=None)
        for index, picture in enumerate(counting(3)):
            movie.write(picture, 3600 * index)
        movie.finish()
        with Video(file, Sampling(), max_pixels=10**4, max_seconds=10**5) as video:
            assert [frame.time for frame in video.frames()] == pytest.approx([0, 3600, 7200])


def test_a_movie_of_an_odd_size_repeats_its_last_row_and_column() -> None:
    picture = np.full((47, 63, 3), 60, dtype=np.uint8)
    picture[-1], picture[:, -1] = 200, 200
    with tempfile.TemporaryFile() as file:
        movie = Movie(file, fps=25, sound=None)
        for index in range(3):
            movie.write(picture, 5 + index / 25)
        movie.finish()
        with Video(file, Sampling(), max_pixels=10**4, max_seconds=9) as video:
            frames = list(video.frames())
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.08], abs=0.001)
    shown = frames[0].picture()
    assert shown.shape == (48, 64, 3)
    assert shown[20, -1].mean() > 150
    assert abs(shown[20, 20].mean() - 60) < 10


def test_the_shape_of_pixels_counts_in_the_limit_and_an_absurd_one_does_not() -> None:
    with pytest.raises(TooLarge):
        opened(encode(counting(3), ratio=Fraction(3)), max_pixels=2 * 64 * 48)
    for ratio in (Fraction(10), Fraction(1, 10)):
        data = encode(counting(3), "mkv", ratio=ratio)
        assert sampled(data)[0].picture().shape == (48, 64, 3)


def test_an_absurd_rate_is_as_good_as_none() -> None:
    with opened(encode(counting(3), "mkv", rate=1000)) as video:
        assert video.info.fps is None


def in_sizes(*sizes: tuple[int, int]) -> bytes:
    """A video whose size changes: three frames of each."""
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        for number, (width, height) in enumerate(size for size in sizes for _ in range(3)):
            codec: Any = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
            codec.time_base = Fraction(1, 25)
            picture = VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8))
            (packet,) = codec.encode(picture.reformat(format="yuvj420p"))
            packet.pts = packet.dts = number
            packet.stream = stream
            out.mux(packet)
    return data.getvalue()


def test_frames_that_grow_beyond_the_limit_are_refused() -> None:
    data = in_sizes((64, 48), (640, 480))
    with opened(data, max_pixels=64 * 48) as video, pytest.raises(TooLarge, match="640 x 480"):
        list(video.frames())


def test_where_the_size_of_frames_changes_pictures_keep_that_of_the_first() -> None:
    with opened(in_sizes((64, 48), (128, 96), (32, 24))) as video:
        shapes = [frame.picture().shape for frame in video.frames()]
        assert (video.info.width, video.info.height) == (64, 48)
    assert shapes == [(48, 64, 3)] * 9


def test_colours_are_written_as_players_read_them() -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    with tempfile.TemporaryFile() as file:
        movie = Movie(file, fps=25, sound=None)
        movie.write(red, 0.0)
        movie.finish()
        with av.open(file, "r") as made:
            codec = made.streams.video[0].codec_context
            assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1), "BT.709"
            shown = next(made.decode(video=0))
            rgb = shown.reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray()
    assert np.abs(rgb.astype(int) - red).mean(axis=(0, 1)).max() < 5
