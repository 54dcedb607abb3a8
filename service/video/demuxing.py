"""The video stream of a file before decoding: its packets, its timestamps, its index."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from math import ceil, isfinite
from typing import BinaryIO, cast

import av
from av.index import IndexEntry
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from service.errors import NotAVideo
from service.video.container import open_container, preferred

_REORDERING = 16
"""Most frames by which decoding order and display order differ, in H.264 and HEVC."""
_MOST_FPS = 500
"""Some recorders state the rate of a clock, which is higher, as the frame rate."""
_LOST_FRAMES, _LOST_SHARE, _LOST_SECONDS = 4, 0.02, 1.0
"""By how much a complete file may fall short of its stated duration, which is not always exact."""


class Demuxer:
    """Reads the packets of a file's video stream; one thread at a time may use it.

    Attributes:
        stream: the video stream that players show.
        by_dts: whether packets have decoding timestamps only, as in AVI.
        origin: when the first frame is shown, in seconds on the file's own clock.
        fps: the average frame rate; None if the file does not state it.
        duration: in seconds; None if the file does not state it.

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
            self._first = self._first_pts()
            self.origin = float(self._first * self._time_base)
            rate = self.stream.average_rate
            self.fps = float(rate) if rate and rate <= _MOST_FPS else None
            self._few = _LOST_FRAMES / (self.fps or 1)
            self.duration = self._stated_duration()
            self._indexed = self._lists_every_frame()
        except BaseException:
            self.close()
            raise
        self._last_dts: int | None = None
        self._last_shown = self._first
        self._ends: dict[int, int] = {}  # timestamps by stream

    def close(self) -> None:
        """Stop reading; the file object stays open."""
        self._container.close()

    @property
    def frames(self) -> int | None:
        """The number of frames that are shown; None if the file does not state it."""
        if self._indexed:
            return _count_shown(self.stream.index_entries)
        return self.stream.frames or None

    def time(self, timestamp: int) -> float:
        """A timestamp of the stream, converted to seconds from its first frame."""
        return float(timestamp * self._time_base) - self.origin

    def packets(self) -> "Iterator[Packet[VideoStream]]":  # one class at run time
        """The packets from the current position on, in decoding order; the last one is empty.

        Raises:
            NotAVideo: the file cannot be read any further.
        """
        try:
            for packet in self._container.demux():
                stream = packet.stream  # packet.stream_index is 0 for the empty ones
                if packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
                    self._ends[stream.index] = max(end, self._ends.get(stream.index, end))
                if stream is self.stream:
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

    def seek(self, time: float) -> int:
        """Go to a keyframe from which every frame that is shown from a time on can be decoded.

        Args:
            time: in seconds from the first frame.

        Returns:
            The number of frames before that: from the index if it is complete, else by reading all
            packets up to there.

        Raises:
            NotAVideo: the file cannot be read that far, or not be searched.
        """
        early = time - _REORDERING / (self.fps or 25)
        if self.by_dts:  # AVI cannot seek to before 0
            early = max(early, 0.0)
        index = self.stream.index_entries
        # An edit list with several parts leaves an index that is not sorted
        searched = self._indexed and (self.by_dts or len(index) == self.stream.frames)
        if searched:
            self._seek(early)
        first_dts, count = self._count_before(ceil(time / self._time_base) + self._first)
        if searched and first_dts is not None:
            count += _count_shown(index[: index.search_timestamp(first_dts, any_frame=True)])
        self._seek(early)
        return count

    def check_complete(self, time: float) -> None:
        """Check that the file is not cut short, and that the decoder did not stop early.

        Args:
            time: of the last decoded frame.

        Raises:
            NotAVideo: it is, or it did.
        """
        if time < self.time(self._last_shown) - self._few:
            raise NotAVideo(f"the video breaks off at {time:.2f} s: it is damaged from there on")
        if self.is_cut():
            raise NotAVideo(f"the video breaks off at {time:.2f} s: the file is cut short")

    def is_cut(self) -> bool:
        """Whether the file, read to its end, ends before it says that it does."""
        if self._format == "mov":
            stored = (entry.timestamp for entry in self.stream.index_entries if entry.size)
            return self._last_dts != max(stored, default=self._last_dts)
        if self.duration is None:
            return False
        tolerance = max(self._few, min(_LOST_SHARE * self.duration, _LOST_SECONDS))
        return self._read_until() < self.duration - tolerance

    def _read_until(self) -> float:
        """The end of what was read, in seconds from the first frame."""
        if self.by_dts:  # the duration is that of the video alone
            return self.time(self._last_shown)
        streams = self._container.streams
        ends = [end * (streams[index].time_base or 0) for index, end in self._ends.items()]
        return float(max(ends, default=0)) - self.origin

    def _first_pts(self) -> int:
        if self.stream.start_time is not None:
            return self.stream.start_time
        # FFmpeg needs more packets to tell than a very short file has
        packets = islice(self._container.demux(self.stream), _REORDERING + 1)
        first = 0
        with suppress(av.FFmpegError):
            first = min((each.pts for each in packets if each.pts is not None), default=0)
        self.rewind()
        return first

    def _stated_duration(self) -> float | None:
        if self.by_dts:  # FFmpeg shortens the duration of a file that is cut
            return float(self.stream.frames * self._time_base) or None
        length = self._container.duration
        seconds = None if length is None else length / av.time_base
        if self._format == "mov":
            stated = self.stream.duration
            return seconds if stated is None else float(stated * self._time_base)
        # Matroska states the end of the file, and the end of the stream in a tag
        with suppress(KeyError, ValueError, OverflowError):
            hours, minutes, rest = self.stream.metadata["DURATION"].split(":")
            tagged = int(hours) * 3600 + int(minutes) * 60 + float(rest)
            seconds = tagged if isfinite(tagged) else seconds
        return None if seconds is None else seconds - self.origin

    def _lists_every_frame(self) -> bool:
        """Whether the index is complete; that of AVI omits frames dropped while recording."""
        index, stated = self.stream.index_entries, self.stream.frames
        if not stated or not len(index):
            return False
        return not self.by_dts or index[-1].timestamp + 1 == stated

    def _seek(self, time: float) -> None:
        try:
            self._container.seek(int((time + self.origin) / self._time_base), stream=self.stream)
        except av.FFmpegError as error:
            raise NotAVideo("the video cannot be read from there: send it without start") from error

    def _count_before(self, start: int) -> tuple[int | None, int]:
        """The dts of the next packet, and the number of frames from there to the timestamp."""
        first_dts: int | None = None
        count = 0
        for packet in self.packets():
            if packet.dts is not None:
                first_dts = packet.dts if first_dts is None else first_dts
                if not packet.is_discard and packet.dts >= start:
                    break  # what follows is shown later still
            shown = self._shown_at(packet)
            if shown is not None and self._first <= shown < start:
                count += self._is_shown(packet)
        return first_dts, count

    def _note(self, packet: "Packet[VideoStream]") -> None:
        """Record the latest timestamps, for `check_complete`."""
        if packet.dts is not None:
            self._last_dts = packet.dts
        shown = self._shown_at(packet)
        if shown is not None and not packet.is_discard:
            self._last_shown = max(self._last_shown, shown)

    def _shown_at(self, packet: "Packet[VideoStream]") -> int | None:
        """When the packet's frame is shown, as a timestamp."""
        return packet.dts if self.by_dts else packet.pts

    def _is_shown(self, packet: "Packet[VideoStream]") -> bool:
        """Whether the packet yields a frame: not if an edit list or VP8 itself hides it."""
        if not packet.size or packet.is_discard:
            return False
        return self.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _shown_stream(streams: tuple[VideoStream, ...]) -> VideoStream:
    """The stream that players show; never cover art."""
    films = [each for each in streams if not each.disposition & Disposition.attached_pic]
    if not films:
        raise NotAVideo("the file holds no video: send one with a picture")
    stream = preferred(films)
    if stream.codec_context is None:
        raise NotAVideo("the video's codec is not known: send H.264, HEVC, VP8, VP9 or AV1")
    return stream


def _count_shown(index: Iterable[IndexEntry]) -> int:
    """The number of frames in an index that no edit list hides."""
    return sum(bool(entry.size) and not entry.is_discard for entry in index)
