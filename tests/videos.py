"""Generated videos, made by PyAV: a grey that tells the frame, or a portrait that moves."""

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
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def grey(index: int) -> int:
    """The grey of a counting video's frame."""
    return 20 + 8 * index


def counting(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[Picture]:
    """Frames of one grey each, which survives any codec; up to 25."""
    for index in range(count):
        yield np.full((size[1], size[0], 3), grey(index), dtype=np.uint8)


def counted(picture: Picture) -> int:
    """Which frame of a counting video this is."""
    return round((float(picture.mean()) - 20) / 8)


def moving_portrait(
    count: int, size: tuple[int, int] = (320, 240), side: int = 180
) -> Iterator[Picture]:
    """The portrait, which wanders from left to right over a grey wall."""
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
    options: dict[str, str] | None = None,
    independent: bool = False,
    groups: dict[str, str] | None = None,
) -> bytes:
    """A video file.

    Args:
        frames: of one size.
        kind: one of `CONTAINERS`.
        times: when each is shown, in seconds; at an even rate if None.
        rate: frames a second.
        rotation: degrees, counterclockwise, by which a player turns the pictures.
        ratio: width over height of the pixels.
        sound: codec of a tone; none if None.
        sound_rate: its samples a second.
        options: the container's.
        independent: whether no frame needs another.
        groups: the codec's options, of how frames need others.
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
            for each in _tone(seconds=time, rate=sound_rate):
                out.mux(tone.encode(each))
            out.mux(tone.encode())
        out.close()
        return file.read()


def trimmed(data: bytes, frames: int) -> bytes:
    """An MP4 file with so many frames at its start that only help to decode the others."""
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
    """An MP4 file whose frames of these numbers cannot be decoded."""
    broken = bytearray(data)
    with av.open(io.BytesIO(data), "r") as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    for at, size in (places[number] for number in numbers):
        broken[at : at + size] = b"\xff" * size
    return bytes(broken)


def opened(data: bytes, max_pixels: int = 10**6, max_seconds: float = 60, **wanted: Any) -> Video:  # noqa: ANN401  # any value of a sampling
    """A video that is being read."""
    sampling = Sampling(**wanted)
    return Video(io.BytesIO(data), sampling, max_pixels=max_pixels, max_seconds=max_seconds)


def sampled(data: bytes, **wanted: Any) -> list[Frame]:  # noqa: ANN401  # any value of a sampling
    """Its frames that are looked at."""
    with opened(data, **wanted) as video:
        return [frame for frame in video.frames() if frame.sampled]


def sound_alone() -> bytes:
    """A file with a tone and no picture."""
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", format="mp4") as out:
        stream: Any = out.add_stream("aac", rate=48_000)
        for each in _tone(seconds=0.5):
            out.mux(stream.encode(each))
        out.mux(stream.encode())
        out.close()
        return file.read()


def _tone(seconds: float, rate: int = 48_000, size: int = 960) -> Iterator[AudioFrame]:
    for start in range(0, round(seconds * rate), size):
        wave = np.sin(2 * np.pi * 440 * np.arange(start, start + size) / rate)
        samples = (wave * 8000).astype(np.int16)[None]
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        yield frame
