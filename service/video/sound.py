"""The sound of a video for an MP4 file: copied if browsers play it from there, else as AAC."""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, TypeAlias

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer
from av.packet import Packet

from service.video.container import open_container, preferred
from service.video.files import FileView

_PLAYED = frozenset({"aac", "mp3", "opus", "flac", "alac"})
"""Codecs that browsers play from MP4."""

_Timed: TypeAlias = "tuple[float, Packet[Any]]"


class Sound:
    """The sound of a part of a video, of several tracks the one that players choose.

    It is silent where it is damaged or missing.

    Args:
        file: the video.
        start: of the part, in seconds on the file's own clock.
        end: likewise; None for the end of the sound.
    """

    def __init__(self, file: BinaryIO, start: float, end: float | None) -> None:
        self._input = open_container(FileView(file))
        self._start, self._end = start, end
        self._packets: Iterator[_Timed] = iter(())
        self._ahead: _Timed | None = None

    def close(self) -> None:
        """Stop reading; the file object stays open."""
        self._input.close()

    def join(self, output: OutputContainer) -> None:
        """Add the sound, if there is any, as a stream of another file."""
        self._output = output
        tracks = self._input.streams.audio
        track = preferred(tracks) if tracks else None
        if track is None or track.codec_context is None:
            return
        if self._start > 0:
            self._input.seek(int(self._start * av.time_base))
        take = self._copied if _may_be_copied(track) else self._encoded
        self._packets = _until_broken(take(track, output))
        self._ahead = next(self._packets, None)

    def play_until(self, time: float) -> None:
        """Write the sound up to a time, in seconds from the start of the part."""
        while self._ahead is not None and self._ahead[0] <= time:
            with suppress(av.ArgumentError):  # a timestamp that goes back
                self._output.mux(self._ahead[1])
            self._ahead = next(self._packets, None)

    def _copied(self, source: AudioStream, output: OutputContainer) -> Iterator[_Timed]:
        stream = output.add_stream_from_template(source)
        return self._shifted(source, stream)

    def _shifted(self, source: AudioStream, stream: AudioStream) -> Iterator[_Timed]:
        for packet in self._input.demux(source):
            if packet.pts is None or packet.dts is None:
                continue
            time = float(packet.pts * packet.time_base)
            if self._end is not None and time >= self._end:
                return
            if time >= self._start:
                shift = round(self._start / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                yield time - self._start, packet

    def _encoded(self, source: AudioStream, output: OutputContainer) -> Iterator[_Timed]:
        rates = Codec("aac", "w").audio_rates or []
        rate = min(rates, key=lambda each: abs(each - source.codec_context.sample_rate))
        stream = output.add_stream("aac", rate=rate)
        return self._reencoded(source, stream)

    def _heard(self, source: AudioStream) -> Iterator[AudioFrame]:
        for packet in self._input.demux(source):
            with suppress(av.FFmpegError):  # damaged sound is silent
                yield from packet.decode()

    def _reencoded(self, source: AudioStream, stream: AudioStream) -> Iterator[_Timed]:
        for frame in self._heard(source):
            if frame.time is None or frame.time_base is None or frame.time < self._start:
                continue
            if self._end is not None and frame.time >= self._end:
                break
            time = frame.time - self._start
            frame.pts = round(time / frame.time_base)
            for packet in stream.encode(frame):
                yield time, packet
        for packet in stream.encode():
            yield 0.0, packet


def _may_be_copied(stream: AudioStream) -> bool:
    """Whether MP4 takes the sound as it is; some sample rates and lost headers prevent that."""
    if stream.codec_context.codec.canonical_name not in _PLAYED:
        return False
    options = {"movflags": "empty_moov"}  # checks the stream at once
    try:
        with av.open(io.BytesIO(), "w", format="mp4", options=options) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _until_broken(packets: Iterator[_Timed]) -> Iterator[_Timed]:
    try:
        yield from packets
    except (av.FFmpegError, ValueError):  # ValueError: the sample format changes
        return
