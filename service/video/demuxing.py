"""The video stream of a file before decoding: its packets, its timestamps, its index."""

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
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._read_until = max(self._read_until, end - self.origin)
                if packet.stream is self.stream:  # the empty ones have stream_index 0
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
        """Go to a keyframe from which every frame after the sampling's start can be decoded.

        Returns:
            The number of frames before the start: from the index if that is complete, else by
            reading all packets up to there.

        Raises:
            NotAVideo: the file cannot be read that far, or not be searched.
        """
        early = sampling.start - _REORDERING / (self.fps or 25)
        if self.by_dts:  # AVI cannot seek to before 0
            early = max(early, 0.0)
        index = self.stream.index_entries
        # An edit list with several parts leaves an index that is not sorted
        searched = self._indexed and (self.by_dts or len(index) == self.stream.frames)
        if searched:
            self._seek(early)
        first_dts, count = self._count_before(sampling)
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
        if first is None:  # FFmpeg needs more packets than a very short file has
            packets = islice(self._container.demux(self.stream), _REORDERING + 1)
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

    def _count_before(self, sampling: Sampling) -> tuple[int | None, int]:
        """The dts of the next packet, and the number of frames from there to the start."""
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
        """Record the latest timestamps, for `check_complete`."""
        if packet.dts is not None:
            self._last_dts = packet.dts
        shown = self._shown_at(packet)
        if shown is not None and not packet.is_discard:
            self._last_shown = max(self._last_shown, shown)

    def _shown_at(self, packet: "Packet[VideoStream]") -> float | None:
        """When the packet's frame is shown, in seconds from the first frame."""
        timestamp = packet.dts if self.by_dts else packet.pts
        return None if timestamp is None else self.time(timestamp)

    def _is_shown(self, packet: "Packet[VideoStream]") -> bool:
        """Whether the packet yields a frame: not if an edit list or VP8 itself hides it."""
        if not packet.size or packet.is_discard:
            return False
        return self.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _shown_stream(streams: tuple[VideoStream, ...]) -> VideoStream:
    """The stream that players show: the first default one; never cover art."""
    films = [each for each in streams if not each.disposition & Disposition.attached_pic]
    if not films:
        raise NotAVideo("the file holds no video: send one with a picture")
    stream = next((each for each in films if each.disposition & Disposition.default), films[0])
    if stream.codec_context is None:
        raise NotAVideo("the video's codec is not known: send H.264, HEVC, VP8, VP9 or AV1")
    return stream


def _count_shown(index: Iterable[IndexEntry]) -> int:
    """The number of frames in an index that no edit list hides."""
    return sum(bool(entry.size) and not entry.is_discard for entry in index)
