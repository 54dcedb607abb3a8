"""A video's packets decoded, over damaged ones, too."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import NotAVideo


@dataclass(slots=True)
class Gap:
    """Packets that could not be decoded.

    Attributes:
        pts: time stamp of the first, in units of `time_base`, if it has one.
        time_base: in seconds.
        packets: how many they are.
    """

    pts: int | None
    time_base: Fraction
    packets: int = 0

    @property
    def time(self) -> float:
        """Seconds on the file's own clock."""
        return float((self.pts or 0) * self.time_base)

    def is_before(self, frame: VideoFrame) -> bool:
        """Whether a frame is shown after the first of them."""
        return self.pts is None or frame.pts is None or self.pts < frame.pts

    def problem(self) -> NotAVideo:
        """What is told in their place."""
        frames = "a frame" if self.packets == 1 else f"{self.packets} frames"
        return NotAVideo(f"the video is damaged: {frames} from here on cannot be decoded")


def decode(packets: "Iterator[Packet[VideoStream]]") -> Generator[VideoFrame | Gap]:
    """The frames of packets, and gaps between them.

    Raises:
        NotAVideo: no frame comes after a gap.
    """
    gap: Gap | None = None
    for packet in packets:
        frames = _decoded(packet)
        if frames is None:
            gap = gap or Gap(packet.pts, packet.time_base)
            gap.packets += 1
        for frame in frames or ():
            if gap is not None and gap.is_before(frame):
                yield gap
                gap = None
            yield frame
    if gap is not None:
        raise NotAVideo("the video breaks off: the file is cut short or damaged there")


def _decoded(packet: "Packet[VideoStream]") -> list[VideoFrame] | None:
    """The frames that come with a packet; none if it is damaged."""
    if packet.is_corrupt:
        return None
    try:
        return packet.decode()
    except av.FFmpegError:
        return None
