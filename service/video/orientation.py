"""Rotation and mirroring by the display matrix of the track (ISO/IEC 14496-12, 8.3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from av.video.frame import VideoFrame

from service.records import Picture


@dataclass(frozen=True, slots=True)
class Orientation:
    """How players rotate and mirror the pictures of a video, to the nearest quarter turn.

    Attributes:
        turned: whether rows become columns, which swaps width and height.
        mirrored: whether left and right are swapped then.
        upended: likewise top and bottom.
    """

    turned: bool
    mirrored: bool
    upended: bool

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """The orientation of a frame, which all frames of a video share.

        PyAV frees a frame that was asked for its side data only with the next garbage collection.
        """
        side_data = cast("Mapping[str, bytes]", frame.side_data)  # PyAV's stub: motion vectors only
        if "DISPLAYMATRIX" not in side_data:
            return cls(turned=False, mirrored=False, upended=False)
        # It maps a point (x, y) of the picture to (ax + cy, bx + dy), in units of 1/65536.
        matrix = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32).reshape(3, 3).tolist()
        (a, b, _), (c, d, _), _ = matrix
        turned = abs(b) + abs(c) > abs(a) + abs(d)
        across, down = (c, b) if turned else (a, d)
        return cls(turned, across < 0, down < 0)

    def upright(self, picture: Picture) -> Picture:
        """The picture as players show it."""
        picture = picture.swapaxes(0, 1) if self.turned else picture
        picture = picture[:, ::-1] if self.mirrored else picture
        picture = picture[::-1] if self.upended else picture
        return np.ascontiguousarray(picture)
