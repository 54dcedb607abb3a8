"""A video's packets decoded, over damaged ones, too."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import NotAVideo


@dataclass(slots=True)
class Gap:
    """Packets that could not be decoded.

    Attributes:
        pts: when the first would be shown, in the stream's time base; None if it does not say.
        packets: how many they are.
    """

    pts: int | None
    packets: int = 0

    def is_before(self, frame: VideoFrame) -> bool:
        """Whether a frame is shown after the first of them."""
        return self.pts is None or frame.pts is None or self.pts < frame.pts

    def problem(self) -> NotAVideo:
        """What is told in their place."""
        frames = "a frame" if self.packets == 1 else f"{self.packets} frames"
        return NotAVideo(f"the video is damaged: {frames} from here on cannot be decoded")


def decode(
    packets: "Iterator[Packet[VideoStream]]",
    delay: int | None = None,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Generator[VideoFrame | Gap]:
    """The frames of packets, and gaps between them.

    Args:
        packets: in the order of decoding.
        delay: as `decoding_delay` says, for packets that say only when they are decoded.
        wanted: whether it matters if a packet with this timestamp cannot be decoded.

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
            if delay is not None:  # at the end of the file come frames without dts
                frame.pts = last = last + 1 if frame.dts is None else frame.dts - delay
            if gap is not None and gap.is_before(frame):
                yield gap
                gap = None
            yield frame
    if gap is not None:
        raise NotAVideo("the video breaks off: the file is cut short or damaged there")


def decoding_delay(packets: "Iterator[Packet[VideoStream]]") -> int:
    """How many packets late frames come out, as a decoder that reorders them holds some back.

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
    """The frames that come with a packet; None if it is damaged."""
    if packet.is_corrupt:
        return None
    try:
        return packet.decode()
    except av.FFmpegError:
        return None
