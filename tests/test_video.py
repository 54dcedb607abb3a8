"""Reading videos: containers, sampling, seeking, damage and limits; writing movies with audio."""

import gc
import io
import struct
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadParameter, NotAVideo, TooLarge
from service.video import Frame, Movie, Sampling, Sound, Video
from service.video.sampling import Sampler
from tests.videos import (
    CONTAINERS,
    audio_only_file,
    counted,
    counting,
    damaged,
    encode,
    hide_leading_frames,
    moving_portrait,
    open_video,
    sampled_frames,
)


@pytest.fixture(scope="module", params=CONTAINERS)
def one_second_video(request: pytest.FixtureRequest) -> bytes:
    """One second, 25 frames, in each container and codec."""
    return encode(counting(25), request.param)


def test_frames_are_read_in_order_with_index_and_time(one_second_video: bytes) -> None:
    frames = sampled_frames(one_second_video)
    assert [counted(frame.picture()) for frame in frames] == list(range(25))
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(25) / 25, abs=0.001)


def test_video_info_states_size_rate_duration_and_frame_counts(one_second_video: bytes) -> None:
    with open_video(one_second_video, every=4) as video:
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
def test_sampling_selects_the_requested_frames(
    one_second_video: bytes, wanted: dict[str, Any], expected: list[int]
) -> None:
    frames = sampled_frames(one_second_video, **wanted)
    assert [counted(frame.picture()) for frame in frames] == expected
    assert [frame.index for frame in frames] == expected
    with open_video(one_second_video, **wanted) as video:
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
def test_sampled_frame_count_of_three_seconds_is_estimated(
    wanted: dict[str, Any], expected: int
) -> None:
    assert Sampling(**wanted).expected(25.0, 3.0) == expected


def test_variable_frame_rate_timestamps_are_preserved() -> None:
    times = [0, 0.04, 0.05, 0.5, 0.51, 1.3]
    for kind in ("mp4", "mkv"):
        frames = sampled_frames(encode(counting(6), kind, times=times))
        assert [frame.time for frame in frames] == pytest.approx(times, abs=0.001)
        assert [counted(frame.picture()) for frame in frames] == list(range(6))


@pytest.mark.parametrize("kind", ["mkv", "webm"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, range(25)),
        ({"start": 0.5}, range(5, 25)),
        ({"end": 2}, range(20)),
        ({"fps": 5}, range(0, 25, 2)),
    ],
)
def test_times_go_on_in_a_video_that_was_appended_to_another(
    kind: str, wanted: dict[str, Any], expected: range
) -> None:
    both = list(counting(25))
    data = encode(both[:10], kind, rate=10) + encode(both[10:], kind, rate=10)
    frames = sampled_frames(data, **wanted)
    assert [counted(frame.picture()) for frame in frames] == list(expected)
    assert [frame.index for frame in frames] == list(expected)
    assert [frame.time for frame in frames] == pytest.approx([at / 10 for at in expected])


def test_fps_sampling_of_variable_frame_rate_takes_one_frame_per_period() -> None:
    times = [0, 0.1, 0.2, 0.3, 0.9, 1.0, 1.1, 2.5, 2.6]
    frames = sampled_frames(encode(counting(9), times=times), fps=2)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.9, 1.0, 2.5], abs=0.001)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1)), (0, (0, 0))]
)
def test_display_rotation_is_applied(rotation: int, corner: tuple[int, int]) -> None:
    picture = np.full((48, 64, 3), 40, dtype=np.uint8)
    picture[:24, :32] = 220  # the top left quadrant is bright as stored
    for kind in ("mov", "mp4"):
        data = encode([picture] * 3, kind, rotation=rotation)
        shown = sampled_frames(data)[0].picture()
        assert shown.shape == ((64, 48, 3) if rotation % 180 else (48, 64, 3))
        assert shown[corner][0] > 180
        with open_video(data) as video:
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
def test_mirroring_display_matrix_is_applied(
    matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    picture = np.full((48, 64, 3), 40, dtype=np.uint8)
    picture[:24, :32] = 220
    data = bytearray(encode([picture] * 3))
    a, b, c, d = (value << 16 for value in matrix)
    begin = data.index(b"tkhd") + 44
    data[begin : begin + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    shown = sampled_frames(bytes(data))[0].picture()
    assert shown.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
    assert shown[corner][0] > 180
    assert (shown[::47, ::47, 0] > 180).sum() == 1


@pytest.mark.parametrize(
    "wanted", [{"end": 0.01}, {"fps": 1e-9}, {"start": 0.92, "end": 0.93}], ids=str
)
def test_sampled_frame_estimate_is_one_when_one_frame_is_sampled(wanted: dict[str, Any]) -> None:
    with open_video(encode(counting(25)), **wanted) as video:
        assert video.info.sampled_frames == 1
        assert sum(frame.sampled for frame in video.frames()) == 1


def test_frames_are_freed_without_garbage_collection() -> None:
    data = encode(counting(25), rotation=90)
    gc.collect()
    gc.disable()
    try:
        shown = [frame.picture().shape for frame in sampled_frames(data)]
        kept = sum(type(each) is VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert shown == [(64, 48, 3)] * 25
    assert kept <= 1  # the first one, whose display matrix was read


def test_non_square_pixels_are_resampled_to_square() -> None:
    data = encode(counting(3), ratio=Fraction(4, 3))
    assert sampled_frames(data)[0].picture().shape == (48, 85, 3)


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_late_first_timestamp_is_shifted_to_zero(kind: str) -> None:
    data = encode(counting(25), kind, times=[5 + index / 25 for index in range(25)])
    with open_video(data) as video:
        assert video.info.duration == pytest.approx(1, abs=0.1)
        assert [round(frame.time * 25) for frame in video.frames()] == list(range(25))


@pytest.mark.parametrize("wanted", [{}, {"start": 0.4, "end": 0.8}], ids=str)
def test_sampled_range_is_relative_to_a_late_first_timestamp(
    wanted: dict[str, Any],
) -> None:
    data = encode(counting(25), "mkv", times=[5 + index / 25 for index in range(25)])
    with open_video(data, **wanted) as video:
        span = video.span
        frames = list(video.frames())
    begin, end = (10, 20) if wanted else (0, 25)
    assert [frame.index for frame in frames] == list(range(begin, end))
    assert [counted(frame.picture()) for frame in frames] == list(range(begin, end))
    assert span[0] == pytest.approx(5 + begin / 25), "on the file's clock, by which its sound goes"
    assert span[1] == (pytest.approx(5.8) if wanted else None)


def test_variable_rate_video_with_late_first_timestamp_keeps_indexes_after_seek() -> None:
    times = [5, 5.04, 5.05, *(5.5 + index / 10 for index in range(9))]
    frames = sampled_frames(encode(counting(12), "mkv", times=times), start=1)
    assert [frame.index for frame in frames] == [8, 9, 10, 11]
    assert [frame.time for frame in frames] == pytest.approx([1, 1.1, 1.2, 1.3], abs=0.001)


def mjpeg_with_timestamps(kind: str, moments: Sequence[int]) -> bytes:
    """A video of independent frames shown at these moments, in 25ths of a second."""
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
        ([0, 50, 20, 51, 52], [0, 50, 50, 51, 52], [0, 1, 3, 4]),
    ],
    ids=["stands still", "goes back", "goes far back"],
)
def test_repeated_or_decreasing_timestamps_never_go_back(
    kind: str, moments: list[int], shown: list[int], sampled_at_25: list[int]
) -> None:
    data = mjpeg_with_timestamps(kind, moments)
    frames = sampled_frames(data)
    assert [round(frame.time * 25) for frame in frames] == shown
    assert [counted(frame.picture()) for frame in frames] == list(range(5))
    assert [frame.index for frame in sampled_frames(data, fps=25)] == sampled_at_25


@pytest.mark.parametrize("start", [0, 0.2, 0.4])
def test_leading_frames_hidden_by_an_edit_list_are_not_shown_or_counted(start: float) -> None:
    data = hide_leading_frames(encode(counting(25), groups={"g": "12"}), 5)
    with open_video(data, start=start) as video:
        assert video.info.duration == pytest.approx(0.8)
        frames = list(video.frames())
    expected = list(range(round(start * 25), 20))
    assert [frame.index for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in expected])
    assert [counted(frame.picture()) for frame in frames] == [number + 5 for number in expected]


def test_frames_before_a_truncated_frame_are_returned() -> None:
    """Some decoders turn a truncated packet into a frame whose missing part is grey."""
    whole = mjpeg_with_timestamps("mp4", range(25))
    with av.open(io.BytesIO(whole), "r") as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    for number in (10, 24):
        at, size = places[number]
        frames = frames_before_the_error(whole[: at + size * 9 // 10])
        assert [frame.index for frame in frames] == list(range(number))


def test_video_shortened_by_an_edit_list_is_not_reported_as_truncated() -> None:
    data = bytearray(hide_leading_frames(encode(counting(25)), 5))
    length = data.index(b"elst") + 12  # in milliseconds
    assert data[length : length + 4] == struct.pack(">I", 800)
    data[length : length + 4] = struct.pack(">I", 400)
    frames = sampled_frames(bytes(data))
    assert [counted(frame.picture()) for frame in frames] == list(range(5, 15))


def test_avi_with_dropped_frames_is_read_completely() -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25, width=64, height=48)
        for index, picture in enumerate(counting(20)):
            frame = VideoFrame.from_ndarray(picture)
            frame.pts = index + index // 2
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with open_video(data.getvalue()) as video:
        assert len(list(video.frames())) == 20


@pytest.mark.parametrize("lost", [[7], [0], [0, 1, 2], [7, 8, 9, 15]])
def test_damaged_frames_are_reported_and_the_others_keep_their_indexes(
    lost: list[int],
) -> None:
    data = damaged(encode(counting(25), independent=True), *lost)
    with open_video(data) as video:
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
def test_damaged_frames_do_not_shift_the_sampling(
    wanted: dict[str, Any], expected: list[int]
) -> None:
    data = damaged(encode(counting(25), independent=True), 7, 8)
    assert [frame.index for frame in sampled_frames(data, **wanted)] == expected


def test_damaged_last_frames_are_reported_as_truncation() -> None:
    data = damaged(encode(counting(25), independent=True), 22, 23, 24)
    assert [frame.index for frame in frames_before_the_error(data)] == list(range(22))


def test_corrupt_byte_never_ends_a_video_early_without_an_error() -> None:
    """Some decoders stop returning frames there without raising an error."""
    whole = encode(moving_portrait(60), "hevc")
    broken_off = 0
    for at in range(len(whole) // 8, len(whole) * 7 // 8, 211):
        data = bytearray(whole)
        data[at] ^= 0xFF
        frames: list[Frame] = []
        try:
            with open_video(bytes(data)) as video:
                frames.extend(video.frames())
        except NotAVideo:
            broken_off += 1
        else:
            assert frames[-1].time == pytest.approx(59 / 25, abs=0.2)
    assert broken_off


def frames_before_the_error(data: bytes) -> Sequence[Frame]:
    frames: list[Frame] = []
    with open_video(data) as video, pytest.raises(NotAVideo, match="breaks off"):
        frames.extend(video.frames())  # frames before the error are kept
    return frames


def noisy_video(kind: str) -> bytes:
    """60 frames of noise, which make up most of the file, after its index."""
    rng = np.random.default_rng(7)
    noise = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60)]
    return encode(noise, kind, options={"movflags": "faststart"})


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_frames_before_truncation_or_garbage_are_returned(kind: str, damage: str) -> None:
    whole = noisy_video(kind)
    keep = len(whole) * 6 // 10
    lost = b"" if damage == "cut" else np.random.default_rng(7).bytes(len(whole) - keep)
    frames = frames_before_the_error(whole[:keep] + lost)
    assert 5 < len(frames) < 50
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4"])
def test_start_after_a_truncation_is_reported_as_such(kind: str) -> None:
    whole = noisy_video(kind)
    for start in (2, 3):
        with pytest.raises(NotAVideo, match=rf"start is at {start} s.* cut short"):
            open_video(whole[: len(whole) * 6 // 10], start=start)
    with pytest.raises(BadParameter, match="last frame"):
        open_video(whole, start=3)


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("open_groups", [0, 1])
@pytest.mark.parametrize("cut_off", [0, 3])
@pytest.mark.parametrize("start", [0.3, 1.0, 1.6, 2.2])
def test_variable_rate_mp4_keeps_frame_indexes_after_seek(
    kind: str, open_groups: int, cut_off: int, start: float
) -> None:
    """Also with leading frames that an edit list hides: they are stored but never shown."""
    times = [*np.arange(12) / 25 - cut_off / 25, *np.arange(12) / 5 + 0.5]
    others = f"open-gop={open_groups}:scenecut=0:bframes=3:b-adapt=0"
    groups = {"g": "6", "x264-params": others}
    frames = sampled_frames(encode(counting(24), kind, times=times, groups=groups), start=start)
    expected = [index for index, time in enumerate(times) if time >= start - 1e-4]
    assert [frame.index for frame in frames] == [index - cut_off for index in expected]
    assert [counted(frame.picture()) for frame in frames] == expected


@pytest.mark.parametrize("start", np.arange(1, 25) / 25 - 0.01)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_seek_loses_no_frame_shown_before_its_keyframe(kind: str, start: float) -> None:
    groups = {"g": "6", "x264-params": "open-gop=1:scenecut=0:bframes=3:b-adapt=0"}
    frames = sampled_frames(encode(counting(25), kind, groups=groups), start=start)
    assert [counted(frame.picture()) for frame in frames] == list(
        range(round(start * 25 + 0.25), 25)
    )


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x00" * 5000, b"RIFF\0\0\0\0AVI LIST", b"GIF89a"]
)
def test_non_video_data_is_rejected(data: bytes) -> None:
    with pytest.raises(NotAVideo, match="MP4"):
        open_video(data)


def test_playlist_does_not_open_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library alone would open it and read the other file's frames."""
    monkeypatch.chdir(tmp_path)
    Path("other.mp4").write_bytes(encode(counting(5)))
    playlist = b"ffconcat version 1.0\nfile other.mp4\n"
    with av.open(io.BytesIO(playlist), "r") as followed:
        assert len(list(followed.decode(video=0))) == 5
    with pytest.raises(NotAVideo, match="known format"):
        open_video(playlist)


def test_audio_only_file_is_rejected() -> None:
    with pytest.raises(NotAVideo, match="no video"):
        open_video(audio_only_file())


def test_pixel_and_duration_limits_are_checked_when_opening() -> None:
    data = encode(counting(25))
    with pytest.raises(TooLarge, match="64 x 48"):
        open_video(data, max_pixels=64 * 48 - 1)
    with pytest.raises(TooLarge, match=r"0\.5 s"):
        open_video(data, max_seconds=0.5)
    assert len(sampled_frames(data, max_seconds=0.5, start=0.2, end=0.6)) == 10


def test_duration_limit_applies_when_no_duration_is_stated() -> None:
    data = encode(counting(25), "mkv", options={"live": "1"})
    with open_video(data, max_seconds=0.5) as video:
        assert video.info.duration is None
        frames: list[Frame] = []
        with pytest.raises(TooLarge):
            frames.extend(video.frames())
        assert 0.4 < frames[-1].time <= 0.5


@pytest.mark.parametrize("length", [b"00:00:nan", b"00:00:inf"])
def test_non_finite_duration_tag_is_ignored(length: bytes) -> None:
    data, tag = encode(counting(25), "mkv"), b"00:00:01.000000000"
    assert data.count(tag) == 1
    with open_video(data.replace(tag, length.ljust(len(tag)))) as video:
        assert video.info.duration == pytest.approx(1)  # as stated by the container
    late = encode(counting(25), "mkv", times=[5 + index / 25 for index in range(25)])
    begun, cut = late.split(b"00:00:0")
    with open_video(begun + length.ljust(7) + cut) as video:
        assert video.info.duration == pytest.approx(1, abs=0.1)


def test_start_after_the_end_is_rejected() -> None:
    with pytest.raises(BadParameter, match=r"1\.00 s"):
        open_video(encode(counting(25)), start=3)
    with pytest.raises(BadParameter, match="last frame"):
        open_video(encode(counting(25), "mkv", options={"live": "1"}), start=3)


def test_range_without_a_frame_is_rejected() -> None:
    with pytest.raises(BadParameter, match=r"from 0\.05 s to 0\.07 s"):
        open_video(encode(counting(25)), start=0.05, end=0.07)


def test_closed_video_returns_no_more_frames(one_second_video: bytes) -> None:
    video = open_video(one_second_video)
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
def test_invalid_sampling_is_rejected(wanted: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        Sampling(**wanted)


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 2), min_size=1, max_size=60),
    fps=st.floats(0.2, 60),
    start=st.floats(0, 5),
)
def test_fps_sampling_takes_exactly_one_frame_per_non_empty_period(
    gaps: list[float], fps: float, start: float
) -> None:
    times = start + np.cumsum(gaps)
    sampler = Sampler(Sampling(fps=fps, start=start))
    taken = [time for time in times if sampler.takes(float(time))]
    periods = np.floor((np.array(taken) - start + 1e-4) * fps)
    assert len(set(periods)) == len(taken)
    assert set(periods) == set(np.floor((times - start + 1e-4) * fps))


def audio_of_copied_movie(data: bytes) -> list[AudioFrame]:
    """The decoded audio of a one-second movie into which the audio of a file was copied.

    It is checked that the movie has all of its pictures.
    """
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as file:
        source.write(data)
        with closing(Sound(source, start=0, end=None)) as sound:
            movie = Movie(file, fps=25, sound=sound)
            for index, picture in enumerate(counting(25)):
                movie.write(picture, index / 25)
            movie.finish()
        with av.open(file, "r") as made:
            times = [frame.time for frame in made.decode(video=0)]
            made.seek(0)
            heard = list(made.decode(audio=0))
    assert times == pytest.approx(np.arange(25) / 25, abs=0.001)
    return heard


@pytest.mark.parametrize(("codec", "rate"), [("pcm_s16le", 5512), ("libmp3lame", 8000)])
def test_audio_at_a_sample_rate_unsupported_by_mp4_is_kept(codec: str, rate: int) -> None:
    frames = audio_of_copied_movie(encode(counting(20), "avi", sound=codec, sound_rate=rate))
    assert (frames[-1].time or 0) + frames[-1].samples / frames[-1].rate >= 0.76


@pytest.mark.parametrize("codec", ["aac", "mp2"])  # copied, encoded again
def test_audio_that_begins_late_keeps_its_delay(codec: str) -> None:
    whole = encode(counting(25), "mkv", sound=codec, sound_begin=0.48)
    heard = [f.time for f in audio_of_copied_movie(whole) if np.abs(f.to_ndarray()).max() > 0.05]
    assert heard[0] == pytest.approx(0.48, abs=0.05)


def with_tracks(*dispositions: Disposition) -> bytes:
    """A video with audio tracks of which the n-th, from 0, begins after 0.3 n seconds."""
    out = io.BytesIO()
    with ExitStack() as stack:
        made = stack.enter_context(av.open(out, "w", format="matroska"))
        copies: list[tuple[Any, Any]] = []
        for number, disposition in enumerate(dispositions):
            data = encode(counting(25), "mkv", sound="aac", sound_begin=0.3 * number)
            source = stack.enter_context(av.open(io.BytesIO(data), "r"))
            for stream in source.streams if number == 0 else source.streams.audio:
                copy: Any = made.add_stream_from_template(stream)
                copies.append((list(source.demux(stream)), copy))
                source.seek(0)
            copy.disposition = disposition
        for packets, copy in copies:
            for packet in packets:
                if packet.size:
                    packet.stream = copy
                    made.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize(
    ("dispositions", "begin"),
    [
        ((Disposition(0), Disposition.default), 0.3),
        ((Disposition.default, Disposition.default), 0),
        ((Disposition(0), Disposition(0)), 0),
    ],
)
def test_default_audio_track_is_kept_or_else_the_first(
    dispositions: tuple[Disposition, ...], begin: float
) -> None:
    kept = audio_of_copied_movie(with_tracks(*dispositions))
    heard = [frame.time for frame in kept if np.abs(frame.to_ndarray()).max() > 0.05]
    assert heard[0] == pytest.approx(begin, abs=0.05)


def test_audio_without_its_codec_header_is_kept() -> None:
    whole = encode(counting(25), "webm", sound="libopus")
    at = whole.index(b"OpusHead") - 3
    assert whole[at : at + 2] == b"\x63\xa2", "the element CodecPrivate"
    frames = audio_of_copied_movie(whole[:at] + b"\x63\xa3" + whole[at + 2 :])
    assert (frames[-1].time or 0) > 0.9


def test_audio_with_a_wrong_time_base_does_not_fail_the_movie() -> None:
    data = bytearray(encode(counting(25), "mov", sound="pcm_s16le"))
    clock = data.rindex(b"mdhd") + 16
    assert data[clock : clock + 4] == struct.pack(">I", 48_000)
    data[clock : clock + 4] = struct.pack(">I", 4_800_000)
    times = [frame.time or 0 for frame in audio_of_copied_movie(bytes(data))]
    assert times == sorted(set(times))
    assert len(times) > 16, "as many packets come before the first whose time goes back"


def test_audio_ends_where_it_changes_to_mono() -> None:
    data = bytearray(encode(counting(25), "mkv", sound="mp2"))
    with av.open(io.BytesIO(data), "r") as container:
        places = [packet.pos or 0 for packet in container.demux(audio=0) if packet.size]
    for place in places[len(places) // 2 :]:
        data[place + 4 + 3] |= 0xC0  # the mode bits of the frame header, after the block header
    assert 0.4 < (audio_of_copied_movie(bytes(data))[-1].time or 0) < 0.6


def test_audio_continues_after_a_damaged_packet() -> None:
    whole = encode(counting(25), "mkv", sound="mp2")
    with av.open(io.BytesIO(whole), "r") as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size > 40]
    lost = packets[len(packets) // 3]
    broken = whole.replace(lost, b"\xff" * len(lost))
    assert broken != whole
    late = [
        frame.to_ndarray()
        for frame in audio_of_copied_movie(broken)
        if frame.time and frame.time > 0.7
    ]
    assert np.abs(np.concatenate(late, axis=-1)).mean() > 0.05


def test_movie_supports_one_frame_per_hour() -> None:
    with tempfile.TemporaryFile() as file:
        movie = Movie(file, fps=1 / 3600, sound=None)
        for index, picture in enumerate(counting(3)):
            movie.write(picture, 3600 * index)
        movie.finish()
        with Video(file, Sampling(), max_pixels=10**4, max_seconds=10**5) as video:
            assert [frame.time for frame in video.frames()] == pytest.approx([0, 3600, 7200])


def test_movie_of_odd_size_is_padded_by_repeating_the_edge() -> None:
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


def test_pixel_aspect_ratio_counts_toward_the_limit_unless_implausible() -> None:
    with pytest.raises(TooLarge):
        open_video(encode(counting(3), ratio=Fraction(3)), max_pixels=2 * 64 * 48)
    for ratio in (Fraction(10), Fraction(1, 10)):
        data = encode(counting(3), "mkv", ratio=ratio)
        assert sampled_frames(data)[0].picture().shape == (48, 64, 3)


def test_implausible_frame_rate_is_ignored() -> None:
    with open_video(encode(counting(3), "mkv", rate=1000)) as video:
        assert video.info.fps is None


def video_with_changing_size(*sizes: tuple[int, int]) -> bytes:
    """A video whose frame size changes: three frames of each size."""
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


def test_frames_that_grow_beyond_the_pixel_limit_are_rejected() -> None:
    data = video_with_changing_size((64, 48), (640, 480))
    with open_video(data, max_pixels=64 * 48) as video, pytest.raises(TooLarge, match="640 x 480"):
        list(video.frames())


def test_frames_of_another_size_are_scaled_to_the_first() -> None:
    with open_video(video_with_changing_size((64, 48), (128, 96), (32, 24))) as video:
        shapes = [frame.picture().shape for frame in video.frames()]
        assert (video.info.width, video.info.height) == (64, 48)
    assert shapes == [(48, 64, 3)] * 9


def test_movie_colours_are_encoded_and_tagged_as_bt709() -> None:
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
