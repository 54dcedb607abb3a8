"""Packets to frames; decoding goes on after damaged packets."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import NotAVideo


@dataclass(slots=True)
class Gap:
    """A run of packets that cannot be decoded.

    Attributes:
        pts: timestamp of the first one, if it has one.
        packets: their number.
    """

    pts: int | None
    packets: int = 0

    def is_before(self, frame: VideoFrame) -> bool:
        """Whether the run begins before a frame is shown."""
        return self.pts is None or frame.pts is None or self.pts < frame.pts

    def problem(self) -> NotAVideo:
        """The error that stands for them."""
        frames = "a frame" if self.packets == 1 else f"{self.packets} frames"
        return NotAVideo(f"the video is damaged: {frames} from here on cannot be decoded")


def decode(
    packets: "Iterator[Packet[VideoStream]]",
    delay: int | None = None,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Generator[VideoFrame | Gap]:
    """Decode packets; a gap is given before the first frame that follows it.

    Args:
        packets: in decoding order.
        delay: `decoding_delay` of packets that have decoding timestamps only, else None.
        wanted: whether a gap at this timestamp matters.

    Raises:
        NotAVideo: no frame comes after a gap.
    """
    gap: Gap | None = None
    last = -1
    for packet in packets:
        frames = _decoded(packet)
        pts = packet.pts if delay is None else packet.dts
        if frames is None and (pts is None or wanted(pts)):
            gap = gap or Gap(pts)
            gap.packets += 1
        for frame in frames or ():
            if delay is not None:  # the last frames, held back to the end, have no dts
                frame.pts = last = last + 1 if frame.dts is None else frame.dts - delay
            if gap is not None and gap.is_before(frame):
                yield gap
                gap = None
            yield frame
    if gap is not None:
        raise NotAVideo("the video breaks off: the file is cut short or damaged there")


def decoding_delay(packets: "Iterator[Packet[VideoStream]]") -> int:
    """The number of packets that the decoder holds back to reorder frames.

    Args:
        packets: from the start of the file.
    """
    start: int | None = None
    for packet in packets:
        frames = _decoded(packet)
        if start is None and frames is not None:
            start = packet.dts
        if frames and start is not None:
            return (start if frames[0].dts is None else frames[0].dts) - start
    return 0


def _decoded(packet: "Packet[VideoStream]") -> list[VideoFrame] | None:
    """The frames that the decoder gives for a packet; None if it is damaged."""
    if packet.is_corrupt:
        return None
    try:
        return packet.decode()
    except av.FFmpegError:
        return None
