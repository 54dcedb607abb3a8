"""One frame of a video: its number, its time, and its picture on demand."""

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame

from service.errors import NotAVideo
from service.records import Picture
from service.video.orientation import Orientation


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame, or the first of a run of damaged ones.

    Attributes:
        index: its number in the video, from 0.
        time: when it is shown, in seconds from the start of the video.
        sampled: whether it is to be analysed.
        decoded: the decoder's output, or why there is none.
        size: width and height of the video in square pixels, before rotation.
        orientation: of the video.
    """

    index: int
    time: float
    sampled: bool
    decoded: VideoFrame | NotAVideo
    size: tuple[int, int]
    orientation: Orientation

    @property
    def damaged(self) -> bool:
        """Whether there is no picture."""
        return isinstance(self.decoded, NotAVideo)

    def picture(self) -> Picture:
        """The upright RGB picture in the size of the video; safe to call from any thread.

        Raises:
            NotAVideo: the frame is damaged.
        """
        if isinstance(self.decoded, NotAVideo):
            raise self.decoded
        width, height = self.size
        rgb = self.decoded.reformat(width=width, height=height, format="rgb24", threads=1)
        return self.orientation.upright(rgb.to_ndarray().astype(np.uint8, copy=False))
