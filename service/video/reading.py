"""Videos read lazily by PyAV: one frame at a time, upright, with the time it is shown."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import isfinite
from typing import BinaryIO, Self

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import BadParameter, NotAVideo, TooLarge
from service.records import Picture, VideoInfo
from service.video.container import open_container
from service.video.decoding import Gap, decode
from service.video.orientation import is_turned, upright
from service.video.sampling import Sampler, Sampling

_MOST_LEADING = 16
"""Most frames shown before a keyframe though they come after it: a jump there loses them."""
_MOST_THREADS = 4
_MOST_FPS = 500  # More is a clock's rate that a recorder wrote in its place.
_MISSING_FRAMES, _MISSING_SHARE = 4, 0.05  # What may lack at a sound file's end.


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame, or the first of some that are damaged.

    Attributes:
        index: its number in the video, from 0; after a jump to `start`, from the file's index or
            the time.
        time: when it is shown, in seconds from the video's start.
        sampled: whether it is to be looked at.
        decoded: as the decoder gave it; or why it gave none.
        ratio: width over height of its pixels.
    """

    index: int
    time: float
    sampled: bool
    decoded: VideoFrame | NotAVideo
    ratio: Fraction

    @property
    def damaged(self) -> bool:
        """Whether there is no picture."""
        return isinstance(self.decoded, NotAVideo)

    def picture(self) -> Picture:
        """The upright RGB picture with square pixels; any thread may ask.

        Raises:
            NotAVideo: it is damaged.
        """
        if isinstance(self.decoded, NotAVideo):
            raise self.decoded
        width = round(self.decoded.width * self.ratio)
        rgb = self.decoded.reformat(width=width, format="rgb24", threads=1).to_ndarray()
        return upright(rgb.astype(np.uint8, copy=False), self.decoded)


class Video:
    """A video file that is open for reading; one thread at a time may use it.

    Args:
        file: seekable.
        sampling: which frames are wanted.
        max_pixels: of one frame.
        max_seconds: of the video, as far as it is wanted.
        threads: that decode, at most.

    Raises:
        NotAVideo: no video in a known format, or broken from its first frame on.
        TooLarge: over a limit.
        BadParameter: it ends before the start that is wanted.
    """

    def __init__(
        self,
        file: BinaryIO,
        sampling: Sampling,
        *,
        max_pixels: int,
        max_seconds: float,
        threads: int = 1,
    ) -> None:
        self._sampling = sampling
        self._max_pixels = max_pixels
        self._max_seconds = max_seconds
        self._container = open_container(file)
        self._decoded = decode(self._packets())
        self._lost_at_first: list[Gap] = []
        self._begun_at: tuple[int, int] | None = None  # times of the first packet: shown, decoded
        self._passed_over = 0
        self._reached = 0.0
        try:
            self._stream = self._prepare(threads)
            self._first = self._find_first()
            self.info = self._describe(self._first)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go, which is not closed; there are no more frames."""
        self._decoded.close()
        self._container.close()

    @property
    def span(self) -> tuple[float, float | None]:
        """Where the first wanted frame and the end lie, in seconds on the file's own clock."""
        end = self._sampling.end
        first = self._time(self._first, 0.0)
        return self._origin + first, None if end is None else self._origin + end

    def frames(self) -> Iterator[Frame]:
        """The frames from start to end, in the order in which they are shown.

        In the place of frames between others that are damaged comes one without a picture.

        Raises:
            NotAVideo: it breaks off; the frames before that were given.
            TooLarge: it goes on for longer than allowed, or its frames grow.
        """
        sampler = Sampler(self._sampling)
        index, time = self._index_of_first(), 0.0
        for each in chain(self._lost_at_first, [self._first], self._decoded):
            time = max(time, self._time(each, time))
            if self._sampling.ends(time):
                return
            if isinstance(each, Gap):
                yield Frame(index, time, sampled=True, decoded=each.problem(), ratio=self._ratio)
                sampler.pass_over(each.packets)
                index += each.packets
                continue
            self._check_pixels(each.width, each.height)
            if time - self._sampling.start > self._max_seconds:
                raise self._too_long()
            yield Frame(index, time, sampler.takes(time), each, self._ratio)
            index += 1
        self._check_complete(index, time)

    def _prepare(self, threads: int) -> VideoStream:
        if not self._container.streams.video:
            raise NotAVideo("the file holds no video: send one with a picture")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise NotAVideo("the video's codec is not known: send H.264, HEVC, VP8, VP9 or AV1")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(threads, _MOST_THREADS)
        self._origin = float((stream.start_time or 0) * (stream.time_base or 0))
        ratio = stream.sample_aspect_ratio or Fraction(1)
        self._ratio = ratio if Fraction(1, 4) < ratio < 4 else Fraction(1)
        self._check_pixels(stream.width, stream.height)
        rate = stream.average_rate
        self._fps = float(rate) if rate and rate <= _MOST_FPS else None
        self._duration = self._stated_duration(stream)
        self._check_range()
        return stream

    def _stated_duration(self, stream: VideoStream) -> float | None:
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        # Matroska tells the moment of the end, by a tag, as far as that is well written
        with suppress(KeyError, ValueError, OverflowError):
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            stated = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            if isfinite(stated):
                return stated - self._origin
        length = self._container.duration
        return None if length is None else length / av.time_base - self._origin

    def _check_range(self) -> None:
        start, end, duration = self._sampling.start, self._sampling.end, self._duration
        if duration is None:
            return
        if start > 0 and start >= duration:
            raise BadParameter(f"start is at {start} s, but the video lasts {duration:.2f} s")
        if min(duration, end or duration) - start > self._max_seconds:
            raise self._too_long()

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height * max(float(self._ratio), 1.0) > self._max_pixels:
            raise TooLarge(
                f"a frame of {width} x {height} has more than the {self._max_pixels:,} pixels that "
                "are allowed; send the video scaled down"
            )

    def _find_first(self) -> VideoFrame:
        """The first frame that is wanted."""
        start = self._sampling.start
        early = start - _MOST_LEADING / (self._fps or 25)
        if early > 0 and self._stream.time_base is not None:
            self._seek(int((early + self._origin) / self._stream.time_base))
        for frame in self._decoded:
            if isinstance(frame, Gap):
                self._lost_at_first += [] if start else [frame]
                self._passed_over += frame.packets
                continue
            self._check_pixels(frame.width, frame.height)
            time = self._time(frame, 0.0)
            if self._sampling.ends(time):
                raise BadParameter(f"no frame is shown from {start} s to {self._sampling.end} s")
            if self._sampling.begins(time):
                return frame
            self._passed_over += not self._is_leading(frame)
        if start > 0:
            raise BadParameter(f"start is at {start} s, where the video has ended")
        raise NotAVideo("the video holds no frame that can be decoded; send the whole file")

    def _seek(self, offset: int) -> None:
        with suppress(av.FFmpegError):  # what cannot jump is read from its start
            self._container.seek(offset, stream=self._stream)

    def _packets(self) -> "Iterator[Packet[VideoStream]]":  # one class at run time
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and not packet.is_discard:
                    self._reached = max(self._reached, float(packet.pts * packet.time_base))
                    self._count_leading(packet)
                yield packet
        except av.FFmpegError as error:
            raise NotAVideo("the video breaks off: it cannot be read from there on") from error

    def _time(self, frame: VideoFrame | Gap, before: float) -> float:
        if frame.pts is None:
            return before + 1 / (self._fps or 25)
        return max(0.0, frame.time - self._origin)

    def _count_leading(self, packet: "Packet[VideoStream]") -> None:
        """Count what is shown before the frame that reading began at, though it comes later.

        A decoder may leave such frames out, for they need others that were not read.
        """
        if self._begun_at is None and packet.pts is not None and packet.dts is not None:
            self._begun_at = packet.pts, packet.dts
        self._passed_over += self._is_leading(packet)

    def _is_leading(self, each: "Packet[VideoStream] | VideoFrame") -> bool:
        return bool(self._begun_at and each.pts is not None and each.pts < self._begun_at[0])

    def _index_of_first(self) -> int:
        """The number of the first wanted frame; a guess where no index lists what is before it."""
        if not self._sampling.start:
            return 0
        if self._begun_at is not None:
            shown, decoded = self._begun_at
            if shown <= (self._stream.start_time or 0):
                return self._passed_over
            index = self._stream.index_entries
            if len(index) == self._stream.frames:
                before = index[: index.search_timestamp(decoded, any_frame=True)]
                shown_before = sum(bool(each.size) and not each.is_discard for each in before)
                return shown_before + self._passed_over
        return round(self._time(self._first, 0.0) * (self._fps or 0))

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        width, height = round(frame.width * self._ratio), frame.height
        if is_turned(frame):
            width, height = height, width
        return VideoInfo(
            width=width,
            height=height,
            fps=self._fps,
            duration=self._duration,
            frames=self._stream.frames or None,
            sampled_frames=self._sampling.expected(self._fps, self._duration),
        )

    def _check_complete(self, frames: int, time: float) -> None:
        """Whether the file ended where it said, and what was read of it was shown."""
        duration, stated = self._duration, self._stream.frames
        lacking = max(_MISSING_FRAMES / (self._fps or 1), _MISSING_SHARE * (duration or 0))
        if time < self._reached - self._origin - lacking:
            raise NotAVideo(f"the video breaks off at {time:.2f} s: it is damaged from there on")
        if self._container.format.name.startswith("mov"):  # its index tells of each frame
            return
        too_few = stated and frames < (1 - _MISSING_SHARE) * stated - _MISSING_FRAMES
        if too_few if duration is None else time < duration - lacking:
            raise NotAVideo(f"the video breaks off at {time:.2f} s: the file is cut short")

    def _too_long(self) -> TooLarge:
        return TooLarge(
            f"the video lasts longer than {self._max_seconds:g} s: send a part of it, "
            "or name one with start and end"
        )
