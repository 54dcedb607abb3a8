"""Writing H.264 in MP4 with the index in front, so that browsers can play while they load."""

from contextlib import suppress
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from service.records import Picture
from service.video.files import FileView, Sink
from service.video.sound import Sound

_CLOCK = Fraction(1, 90_000)
_QUALITY = {
    "preset": "veryfast",
    "crf": "20",
    "x264-params": "rc-lookahead=2:sync-lookahead=0:bframes=0",  # holds few frames in memory
}
_BT709 = 1  # Its code in H.264.


class Movie:
    """A video that is being written; one thread at a time may use it.

    Args:
        file: open for reading and writing, empty.
        fps: approximate frame rate, for rate control.
        sound: of the same part of the video; None for no sound.
        threads: most threads that encode.
    """

    def __init__(
        self, file: BinaryIO, *, fps: float | None, sound: Sound | None, threads: int = 1
    ) -> None:
        self._fps = max(Fraction(fps or 25).limit_denominator(1001), Fraction(1, 1001))
        self._sound = sound
        self._threads = threads
        self._last = -1
        self._stream: VideoStream | None = None
        self._out = Sink(file)
        self._container: OutputContainer = av.open(
            self._out,
            "w",
            format="mp4",
            options={"movflags": "+faststart"},
            io_open=lambda *_: FileView(file),  # to bring the index to the front
        )

    def write(self, picture: Picture, time: float) -> None:
        """Write the next frame.

        Args:
            picture: RGB, in the size of the first one.
            time: when it is shown, in seconds, after the last one.

        Raises:
            OSError: the file cannot be written.
        """
        even = np.pad(picture, _to_even(picture), mode="edge")
        if self._stream is None:
            self._stream, self._start = self._begin(even), time
        time -= self._start
        frame = VideoFrame.from_ndarray(even, format="rgb24").reformat(
            width=self._stream.width,
            height=self._stream.height,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            threads=1,
        )
        self._last = max(self._last + 1, round(time / _CLOCK))
        frame.pts, frame.time_base = self._last, _CLOCK
        if self._sound is not None:
            self._sound.play_until(time)
        self._container.mux(self._stream.encode(frame))
        self._out.check()

    def finish(self) -> None:
        """Complete the file.

        Raises:
            OSError: the file cannot be written.
        """
        if self._stream is not None:
            self._container.mux(self._stream.encode())
            if self._sound is not None:
                self._sound.play_until(float(self._last * _CLOCK + 1 / self._fps))
        self._container.close()
        self._out.check()

    def close(self) -> None:
        """Stop writing, whether the file is complete or not."""
        with suppress(av.FFmpegError, OSError):  # an incomplete file may be invalid
            self._container.close()

    def _begin(self, picture: Picture) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps, options=_QUALITY)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base, codec.thread_count = _CLOCK, self._threads
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        if self._sound is not None:
            self._sound.join(self._container)
        return stream


def _to_even(picture: Picture) -> tuple[tuple[int, int], ...]:
    """Padding to an even width and height, which H.264 needs."""
    height, width = picture.shape[:2]
    return ((0, height % 2), (0, width % 2), (0, 0))
