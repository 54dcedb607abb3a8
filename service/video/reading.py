"""Videos read lazily, one frame at a time, within limits."""

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from typing import BinaryIO, Self

from av.video.frame import VideoFrame

from service.errors import BadParameter, NotAVideo, TooLarge
from service.records import VideoInfo
from service.video.clock import Clock
from service.video.decoding import Gap, decode, decoding_delay
from service.video.demuxing import Demuxer
from service.video.frame import Frame
from service.video.orientation import Orientation
from service.video.sampling import Sampler, Sampling

_MOST_THREADS = 4


class Video:
    """A video file that is open for reading; one thread at a time may use it.

    Args:
        file: seekable.
        sampling: which frames are wanted.
        max_pixels: limit for one frame.
        max_seconds: limit for the wanted part.
        threads: most threads that decode.

    Attributes:
        info: what the file says of the video.

    Raises:
        NotAVideo: no video in a known format, no frame can be decoded, or the file is cut short
            before the start.
        TooLarge: over a limit.
        BadParameter: no frame lies in the wanted part.
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
        self._decoded = decode(iter(()))
        try:
            stream = self._demuxer.stream
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(threads, _MOST_THREADS)
            ratio = stream.sample_aspect_ratio or Fraction(1)
            self._ratio = ratio if Fraction(1, 4) < ratio < 4 else Fraction(1)
            self._check_pixels(stream.width, stream.height)
            self._check_duration()
            self._first_index, self._decoded = self._seek()
            self._lost_first, self._first = self._find_first()
            self._size = (round(self._first.width * self._ratio), self._first.height)
            self._orientation = Orientation.of(self._first)
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; the file object stays open."""
        self._closed = True
        self._decoded.close()
        self._demuxer.close()

    @property
    def span(self) -> tuple[float, float | None]:
        """The times of the first wanted frame and of the end, on the file's own clock."""
        origin, end = self._demuxer.origin, self._sampling.end
        return origin + (self._stated(self._first) or 0.0), None if end is None else origin + end

    def frames(self) -> Iterator[Frame]:
        """The wanted frames, in the order in which they are shown.

        A run of damaged frames is one frame without a picture.

        Raises:
            NotAVideo: the file breaks off; the frames before that were given.
            TooLarge: the video is longer than allowed, or its frames grow too large.
        """
        sampler = Sampler(self._sampling)
        clock = Clock(1 / (self._demuxer.fps or 25))
        index, time = self._first_index, 0.0
        for each in chain(self._lost_first, [self._first], self._decoded):
            time = clock.time(self._stated(each))
            if self._sampling.ends(time):
                return
            if isinstance(each, Gap):
                yield self._frame(index, time, each.problem(), sampled=True)
                sampler.pass_over(each.packets)
                index += each.packets
                continue
            self._check_pixels(each.width, each.height)
            if time - self._sampling.start > self._max_seconds:
                raise self._too_long()
            yield self._frame(index, time, each, sampled=sampler.takes(time))
            index += 1
        if not self._closed:
            self._demuxer.check_complete(time)

    def _frame(
        self, index: int, time: float, decoded: VideoFrame | NotAVideo, *, sampled: bool
    ) -> Frame:
        return Frame(index, time, sampled, decoded, self._size, self._orientation)

    def _seek(self) -> tuple[int, Generator[VideoFrame | Gap]]:
        """Go to the start: the number of the first wanted frame, and all frames from there on."""
        demuxer, sampling, delay = self._demuxer, self._sampling, None
        if demuxer.by_dts:
            delay = decoding_delay(demuxer.packets())
            demuxer.rewind()
        index = demuxer.seek(sampling.earliest) if sampling.start else 0
        return index, decode(
            demuxer.packets(), delay, wanted=lambda pts: sampling.begins(demuxer.time(pts))
        )

    def _find_first(self) -> tuple[list[Gap], VideoFrame]:
        """The first wanted frame, and what is lost before it."""
        start, lost = self._sampling.start, []
        for frame in self._decoded:
            if isinstance(frame, Gap):
                lost.append(frame)
                continue
            self._check_pixels(frame.width, frame.height)
            time = self._stated(frame) or 0.0
            if self._sampling.ends(time):
                raise BadParameter(f"no frame is shown from {start} s to {self._sampling.end} s")
            if self._sampling.begins(time):
                return lost, frame
        if not start:
            raise NotAVideo("the video holds no frame that can be decoded; send the whole file")
        if self._demuxer.is_cut():
            raise NotAVideo(f"start is at {start} s, but the file is cut short before that")
        duration = self._demuxer.duration
        lasts = "" if duration is None else f", which lasts {duration:.2f} s"
        raise BadParameter(f"start is at {start} s, after the last frame of the video{lasts}")

    def _stated(self, frame: VideoFrame | Gap) -> float | None:
        """When the file says that a frame is shown, if it does."""
        return None if frame.pts is None else max(0.0, self._demuxer.time(frame.pts))

    def _describe(self) -> VideoInfo:
        width, height = reversed(self._size) if self._orientation.turned else self._size
        fps, duration = self._demuxer.fps, self._demuxer.duration
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            duration=duration,
            frames=self._demuxer.frames,
            sampled_frames=self._sampling.expected(fps, duration),
        )

    def _check_duration(self) -> None:
        end, duration = self._sampling.end, self._demuxer.duration
        if duration is not None:
            end = duration if end is None else min(end, duration)
            if end - self._sampling.start > self._max_seconds:
                raise self._too_long()

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height * max(float(self._ratio), 1.0) > self._max_pixels:
            raise TooLarge(
                f"a frame of {width} x {height} has more than the {self._max_pixels:,} pixels that "
                "are allowed; send the video scaled down"
            )

    def _too_long(self) -> TooLarge:
        return TooLarge(
            f"the video lasts longer than {self._max_seconds:g} s: send a part of it, "
            "or name one with start and end"
        )
