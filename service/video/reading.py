"""Videos read lazily by PyAV: one frame at a time, upright, with the time it is shown."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import BinaryIO, Self

import numpy as np
from av.video.frame import VideoFrame

from service.errors import BadParameter, NotAVideo, TooLarge
from service.records import Picture, VideoInfo
from service.video.decoding import Gap, decode, decoding_delay
from service.video.demuxing import Demuxer
from service.video.orientation import is_turned, upright
from service.video.sampling import LATEST, Sampler, Sampling

_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame, or the first of some that are damaged.

    Attributes:
        index: its number in the video, from 0.
        time: when it is shown, in seconds from the video's start.
        sampled: whether it is to be looked at.
        decoded: as the decoder gave it; or why it gave none.
        size: width and height of the video's pictures before they are turned upright.
    """

    index: int
    time: float
    sampled: bool
    decoded: VideoFrame | NotAVideo
    size: tuple[int, int]

    @property
    def damaged(self) -> bool:
        """Whether there is no picture."""
        return isinstance(self.decoded, NotAVideo)

    def picture(self) -> Picture:
        """The upright RGB picture with square pixels; any thread may ask.

        Where the size of frames changes, it is that of the first one.

        Raises:
            NotAVideo: it is damaged.
        """
        if isinstance(self.decoded, NotAVideo):
            raise self.decoded
        width, height = self.size
        rgb = self.decoded.reformat(width=width, height=height, format="rgb24", threads=1)
        return upright(rgb.to_ndarray().astype(np.uint8, copy=False), self.decoded)


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
        self._closed = False
        self._demuxer = Demuxer(file)
        self._decoded: Generator[VideoFrame | Gap] = decode(iter(()))
        try:
            stream = self._demuxer.stream
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(threads, _MOST_THREADS)
            ratio = stream.sample_aspect_ratio or Fraction(1)
            self._ratio = ratio if Fraction(1, 4) < ratio < 4 else Fraction(1)
            self._check_pixels(stream.width, stream.height)
            self._check_length()
            delay = None
            if self._demuxer.by_dts:
                delay = decoding_delay(self._demuxer.packets())
                self._demuxer.rewind()
            self._first_index = self._demuxer.seek(sampling) if sampling.start else 0
            self._decoded = decode(self._demuxer.packets(), delay, self._is_wanted)
            self._lost_at_first: list[Gap] = []
            self._first = self._find_first()
            self._size = (round(self._first.width * self._ratio), self._first.height)
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
        self._closed = True
        self._decoded.close()
        self._demuxer.close()

    @property
    def span(self) -> tuple[float, float | None]:
        """Where the first wanted frame and the end lie, in seconds on the file's own clock."""
        origin, end = self._demuxer.origin, self._sampling.end
        return origin + self._time(self._first, 0.0), None if end is None else origin + end

    def frames(self) -> Iterator[Frame]:
        """The frames from start to end, in the order in which they are shown.

        In the place of frames between others that are damaged comes one without a picture.

        Raises:
            NotAVideo: it breaks off; the frames before that were given.
            TooLarge: it goes on for longer than allowed, or its frames grow.
        """
        sampler = Sampler(self._sampling)
        index, time = self._first_index, 0.0
        for each in chain(self._lost_at_first, [self._first], self._decoded):
            time = max(time, self._time(each, time))
            if self._sampling.ends(time):
                return
            if isinstance(each, Gap):
                yield Frame(index, time, sampled=True, decoded=each.problem(), size=self._size)
                sampler.pass_over(each.packets)
                index += each.packets
                continue
            self._check_pixels(each.width, each.height)
            if time - self._sampling.start > self._max_seconds:
                raise self._too_long()
            yield Frame(index, time, sampler.takes(time), each, self._size)
            index += 1
        if not self._closed:
            self._demuxer.check_complete(time)

    def _check_length(self) -> None:
        length = min(self._demuxer.duration or 0.0, self._sampling.end or LATEST)
        if length - self._sampling.start > self._max_seconds:
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
        for frame in self._decoded:
            if isinstance(frame, Gap):
                self._lost_at_first.append(frame)
                continue
            self._check_pixels(frame.width, frame.height)
            time = self._time(frame, 0.0)
            if self._sampling.ends(time):
                raise BadParameter(f"no frame is shown from {start} s to {self._sampling.end} s")
            if self._sampling.begins(time):
                return frame
        if start > 0:
            duration = self._demuxer.duration
            lasts = "" if duration is None else f", which lasts {duration:.2f} s"
            raise BadParameter(f"start is at {start} s, after the last frame of the video{lasts}")
        raise NotAVideo("the video holds no frame that can be decoded; send the whole file")

    def _is_wanted(self, pts: int) -> bool:
        return self._sampling.begins(self._demuxer.time(pts))

    def _time(self, frame: VideoFrame | Gap, before: float) -> float:
        if frame.pts is None:
            return before + 1 / (self._demuxer.fps or 25)
        return max(0.0, self._demuxer.time(frame.pts))

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        width, height = reversed(self._size) if is_turned(frame) else self._size
        demuxer = self._demuxer
        return VideoInfo(
            width=width,
            height=height,
            fps=demuxer.fps,
            duration=demuxer.duration,
            frames=demuxer.frames,
            sampled_frames=self._sampling.expected(demuxer.fps, demuxer.duration),
        )

    def _too_long(self) -> TooLarge:
        return TooLarge(
            f"the video lasts longer than {self._max_seconds:g} s: send a part of it, "
            "or name one with start and end"
        )
