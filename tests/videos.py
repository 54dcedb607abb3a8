"""Videos generated with PyAV: grey levels that encode frame numbers, or a moving portrait."""

import io
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from service import imaging
from service.records import Picture
from service.video import Frame, Sampling, Video

CLOCK = Fraction(1, 90_000)
PORTRAIT = Path(__file__).parent.parent / "examples" / "eileen-collins.jpg"

CONTAINERS = {
    "mp4": ("mp4", "libx264"),
    "hevc": ("mp4", "libx265"),
    "mov": ("mov", "libx264"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "vp9": ("webm", "libvpx-vp9"),
    "avi": ("avi", "mpeg4"),
    "h264 in avi": ("avi", "libx264"),
}
"""Container and codec by a short name."""

FAST = {
    "libx264": {"preset": "ultrafast", "crf": "16"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "-8"},  # above 0, the load decides the bytes
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def grey(index: int) -> int:
    """The grey level of a frame in a counting video."""
    return 20 + 8 * index


def counting(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[Picture]:
    """Up to 25 frames whose grey level encodes the frame number and survives any codec."""
    for index in range(count):
        yield np.full((size[1], size[0], 3), grey(index), dtype=np.uint8)


def counted(picture: Picture) -> int:
    """The frame number encoded in a frame of a counting video."""
    return round((float(picture.mean()) - 20) / 8)


def moving_portrait(
    count: int, size: tuple[int, int] = (320, 240), side: int = 180
) -> Iterator[Picture]:
    """Frames of the portrait moving from left to right over a grey background."""
    picture = imaging.decode(PORTRAIT.read_bytes(), 10**7)
    portrait = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    width, height = size
    for index in range(count):
        frame = np.full((height, width, 3), 110, dtype=np.uint8)
        x = round((width - side) * index / max(1, count - 1))
        y = (height - side) // 2
        frame[y : y + side, x : x + side] = portrait
        yield frame


def encode(
    frames: Iterable[Picture],
    kind: str = "mp4",
    *,
    times: Iterable[float] | None = None,
    rate: int = 25,
    rotation: int = 0,
    ratio: Fraction | None = None,
    sound: str | None = None,
    sound_rate: int = 48_000,
    sound_begin: float = 0,
    options: dict[str, str] | None = None,
    independent: bool = False,
    groups: dict[str, str] | None = None,
) -> bytes:
    """Encode a video file.

    Args:
        frames: all of the same size.
        kind: one of `CONTAINERS`.
        times: timestamp of each frame, in seconds; evenly spaced if None.
        rate: frames per second.
        rotation: display rotation, in degrees counterclockwise.
        ratio: pixel aspect ratio, width over height.
        sound: codec of an audio track with a tone; no audio if None.
        sound_rate: audio samples per second.
        sound_begin: when the tone begins, in seconds.
        options: options of the container.
        independent: whether every frame is a keyframe.
        groups: options of the codec, for example its keyframe interval.
    """
    container, codec = CONTAINERS[kind]
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as out,
    ):
        stream: Any = out.add_stream(
            codec, rate=rate, options={**FAST.get(codec, {}), **(groups or {})}
        )
        if independent:
            stream.gop_size = 1
        tone: Any = out.add_stream(sound, rate=sound_rate) if sound else None
        moments = iter(times) if times is not None else (index / rate for index in range(10**6))
        for picture, time in zip(frames, moments, strict=False):
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                if times is not None:
                    stream.codec_context.time_base = CLOCK
                if rotation:
                    stream.set_display_rotation(rotation)
                if ratio:
                    stream.sample_aspect_ratio = ratio
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(time / CLOCK), CLOCK
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if tone is not None:
            for each in _tone(sound_begin, time, sound_rate):
                out.mux(tone.encode(each))
            out.mux(tone.encode())
        out.close()
        return file.read()


def hide_leading_frames(data: bytes, frames: int) -> bytes:
    """An MP4 whose first `frames` frames are hidden by an edit list but needed for decoding."""
    out = io.BytesIO()
    options = {"avoid_negative_ts": "disabled"}
    with av.open(io.BytesIO(data), "r") as whole, av.open(out, "w", "mp4", options=options) as part:
        stream = whole.streams.video[0]
        copy = part.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                moved = int(frames / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - moved, packet.dts - moved
                packet.stream = copy
                part.mux(packet)
    return out.getvalue()


def damaged(data: bytes, *numbers: int) -> bytes:
    """An MP4 in which the frames with these indexes cannot be decoded."""
    broken = bytearray(data)
    with av.open(io.BytesIO(data), "r") as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    for at, size in (places[number] for number in numbers):
        broken[at : at + size] = b"\xff" * size
    return bytes(broken)


def open_video(
    data: bytes,
    max_pixels: int = 10**6,
    max_seconds: float = 60,
    **wanted: Any,  # noqa: ANN401  # any field of Sampling
) -> Video:
    """A video opened for reading."""
    sampling = Sampling(**wanted)
    return Video(io.BytesIO(data), sampling, max_pixels=max_pixels, max_seconds=max_seconds)


def sampled_frames(data: bytes, **wanted: Any) -> list[Frame]:  # noqa: ANN401  # any field of Sampling
    """The sampled frames of a video."""
    with open_video(data, **wanted) as video:
        return [frame for frame in video.frames() if frame.sampled]


def audio_only_file() -> bytes:
    """A file with an audio stream and no video stream."""
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", format="mp4") as out:
        stream: Any = out.add_stream("aac", rate=48_000)
        for each in _tone(0, 0.5):
            out.mux(stream.encode(each))
        out.mux(stream.encode())
        out.close()
        return file.read()


def _tone(begin: float, end: float, rate: int = 48_000, size: int = 960) -> Iterator[AudioFrame]:
    for start in range(round(begin * rate), round(end * rate), size):
        wave = np.sin(2 * np.pi * 440 * np.arange(start, start + size) / rate)
        samples = (wave * 8000).astype(np.int16)[None]
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        yield frame
