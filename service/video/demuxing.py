"""A file's video stream before it is decoded: its packets, its clock, and what the file states."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from math import isfinite
from typing import BinaryIO, cast

import av
from av.index import IndexEntry
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from service.errors import NotAVideo
from service.video.container import open_container
from service.video.sampling import Sampling

_MOST_REORDERED = 16
"""Most frames that are decoded before a frame though they are shown after it."""
_MOST_FPS = 500
"""A higher rate is that of a clock, which a recorder wrote in its place."""
_LOST_FRAMES, _LOST_SHARE, _LOST_SECONDS = 4, 0.02, 1.0
"""What a complete file may lack of its stated duration, which is not always exact."""


class Demuxer:
    """Reads the packets of a file's video stream; one thread at a time may use it.

    Attributes:
        stream: the video stream that a player shows.
        by_dts: whether packets say when they are decoded, but not when they are shown, as in AVI.
        origin: when the first frame is shown, in seconds on the file's own clock.
        fps: frames a second, on average; None if the file does not say.
        duration: in seconds, as stated; None if the file does not say.

    Raises:
        NotAVideo: no video in a known format.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._container = open_container(file)
        try:
            self.stream = _shown_stream(self._container.streams.video)
            self._format = self._container.format.name.split(",")[0]
            self._time_base = self.stream.time_base or Fraction(1, av.time_base)
            self.by_dts = self._format == "avi"
            self.origin = self._find_origin()
            rate = self.stream.average_rate
            self.fps = float(rate) if rate and rate <= _MOST_FPS else None
            self.duration = self._stated_duration()
            self._indexed = self._lists_every_frame()
        except BaseException:
            self.close()
            raise
        self._last_dts: int | None = None
        self._last_shown = self._read_until = 0.0  # in seconds from the first frame

    def close(self) -> None:
        """Let the file go, which is not closed."""
        self._container.close()

    @property
    def frames(self) -> int | None:
        """How many frames are shown; None if the file does not say."""
        if self._indexed:
            return _count_shown(self.stream.index_entries)
        return self.stream.frames or None

    def time(self, timestamp: int) -> float:
        """A timestamp of the stream in seconds from its first frame."""
        return float(timestamp * self._time_base) - self.origin

    def packets(self) -> "Iterator[Packet[VideoStream]]":  # one class at run time
        """The packets from here on, in the order of decoding; the last one is empty.

        Raises:
            NotAVideo: the file cannot be read any further.
        """
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._read_until = max(self._read_until, end - self.origin)
                if packet.stream is self.stream:  # unlike its index, true of the last one, too
                    of_video = cast("Packet[VideoStream]", packet)
                    self._note(of_video)
                    yield of_video
        except av.FFmpegError as error:
            raise NotAVideo("the video breaks off: it cannot be read from there on") from error

    def rewind(self) -> None:
        """Go back to the first packet.

        Raises:
            NotAVideo: there is none.
        """
        try:
            self._container.seek(0)
        except av.FFmpegError as error:
            raise NotAVideo("the video holds no frame; send the whole file") from error

    def seek(self, sampling: Sampling) -> int:
        """Go to a keyframe from which all frames from the sampling's start on can be decoded.

        Returns:
            How many frames are shown before the start. Unless an index lists every frame, the
            packets up to there are read and counted.

        Raises:
            NotAVideo: the file breaks off before the start, or there is no keyframe.
        """
        early = sampling.start - _MOST_REORDERED / (self.fps or 25)
        if self.by_dts:  # the first packet is decoded at 0; nothing is found before it
            early = max(early, 0.0)
        index = self.stream.index_entries
        # Where an edit list repeats parts, an index cannot be searched
        searched = self._indexed and (self.by_dts or len(index) == self.stream.frames)
        if searched:
            self._seek(early)
        first_dts, count = self._count_before(sampling)
        if searched and first_dts is not None:
            count += _count_shown(index[: index.search_timestamp(first_dts, any_frame=True)])
        self._seek(early)
        return count

    def check_complete(self, time: float) -> None:
        """Whether the file goes on to its end, and all that was read of it was shown.

        Args:
            time: when the last frame was shown.

        Raises:
            NotAVideo: it does not.
        """
        few = _LOST_FRAMES / (self.fps or 1)
        if time < self._last_shown - few:
            raise NotAVideo(f"the video breaks off at {time:.2f} s: it is damaged from there on")
        if self._is_cut(few):
            raise NotAVideo(f"the video breaks off at {time:.2f} s: the file is cut short")

    def _is_cut(self, few: float) -> bool:
        if self._format == "mov":
            stored = (entry.timestamp for entry in self.stream.index_entries if entry.size)
            return self._last_dts != max(stored, default=self._last_dts)
        if self.duration is None:
            return False
        reached = self._last_shown if self.by_dts else self._read_until
        tolerance = max(few, min(_LOST_SHARE * self.duration, _LOST_SECONDS))
        return reached < self.duration - tolerance

    def _find_origin(self) -> float:
        first = self.stream.start_time
        if first is None:  # as for a few frames that are reordered
            packets = islice(self._container.demux(self.stream), _MOST_REORDERED + 1)
            with suppress(av.FFmpegError):
                first = min((each.pts for each in packets if each.pts is not None), default=0)
            self.rewind()
        return float((first or 0) * self._time_base)

    def _stated_duration(self) -> float | None:
        if self.by_dts:  # FFmpeg shortens the duration of a file that is cut
            return float(self.stream.frames * self._time_base) or None
        length = self._container.duration
        seconds = None if length is None else length / av.time_base
        if self._format == "mov":
            stated = self.stream.duration
            return seconds if stated is None else float(stated * self._time_base)
        # Matroska states when the file ends, and tags when the stream does
        with suppress(KeyError, ValueError, OverflowError):
            hours, minutes, rest = self.stream.metadata["DURATION"].split(":")
            tagged = int(hours) * 3600 + int(minutes) * 60 + float(rest)
            seconds = tagged if isfinite(tagged) else seconds
        return None if seconds is None else seconds - self.origin

    def _lists_every_frame(self) -> bool:
        """Whether the index is complete; in AVI it leaves out frames that were never recorded."""
        index, stated = self.stream.index_entries, self.stream.frames
        if not stated or not len(index):
            return False
        return not self.by_dts or index[-1].timestamp + 1 == stated

    def _seek(self, time: float) -> None:
        try:
            self._container.seek(int((time + self.origin) / self._time_base), stream=self.stream)
        except av.FFmpegError as error:
            raise NotAVideo("the video cannot be read from there: send it without start") from error

    def _count_before(self, sampling: Sampling) -> tuple[int | None, int]:
        """The dts of the next packet, and how many from there on are shown before the start."""
        first_dts: int | None = None
        count = 0
        for packet in self.packets():
            if packet.dts is not None:
                first_dts = packet.dts if first_dts is None else first_dts
                if not packet.is_discard and sampling.begins(self.time(packet.dts)):
                    break  # what follows is shown later still
            shown = self._shown_at(packet)
            if shown is not None and self._is_shown(packet):
                count += shown >= 0 and not sampling.begins(shown)
        return first_dts, count

    def _note(self, packet: "Packet[VideoStream]") -> None:
        """Keep the last timestamps of what is read, to compare them with what was expected."""
        if packet.dts is not None:
            self._last_dts = packet.dts
        shown = self._shown_at(packet)
        if shown is not None and not packet.is_discard:
            self._last_shown = max(self._last_shown, shown)

    def _shown_at(self, packet: "Packet[VideoStream]") -> float | None:
        """When its frame is shown, in seconds from the first one."""
        timestamp = packet.dts if self.by_dts else packet.pts
        return None if timestamp is None else self.time(timestamp)

    def _is_shown(self, packet: "Packet[VideoStream]") -> bool:
        """Whether a frame comes of it: not of what an edit list hides, nor of VP8's references."""
        if not packet.size or packet.is_discard:
            return False
        return self.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _shown_stream(streams: tuple[VideoStream, ...]) -> VideoStream:
    """The stream that a player shows: the first that is on by default, and no cover picture."""
    films = [each for each in streams if not each.disposition & Disposition.attached_pic]
    if not films:
        raise NotAVideo("the file holds no video: send one with a picture")
    stream = next((each for each in films if each.disposition & Disposition.default), films[0])
    if stream.codec_context is None:
        raise NotAVideo("the video's codec is not known: send H.264, HEVC, VP8, VP9 or AV1")
    return stream


def _count_shown(index: Iterable[IndexEntry]) -> int:
    """How many frames of an index are shown, and not hidden by an edit list."""
    return sum(bool(entry.size) and not entry.is_discard for entry in index)
