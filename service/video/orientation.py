"""Rotation and mirroring by the display matrix of the track (ISO/IEC 14496-12, 8.3.2)."""

from collections.abc import Mapping
from typing import cast

import numpy as np
from av.video.frame import VideoFrame

from service.records import Picture


def is_turned(frame: VideoFrame) -> bool:
    """Whether rotation swaps width and height."""
    (a, b), (c, d) = _matrix(frame)
    return abs(b) + abs(c) > abs(a) + abs(d)


def upright(picture: Picture, frame: VideoFrame) -> Picture:
    """The picture as players show it, rotated to the nearest quarter turn.

    The matrix maps a point (x, y) of the picture to (ax + cy, bx + dy).
    """
    (a, b), (c, d) = _matrix(frame)
    across, down = a, d
    if is_turned(frame):
        picture = picture.swapaxes(0, 1)
        across, down = c, b
    picture = picture[:, ::-1] if across < 0 else picture
    picture = picture[::-1] if down < 0 else picture
    return np.ascontiguousarray(picture)


def _matrix(frame: VideoFrame) -> list[list[int]]:
    """The matrix ``[[a, b], [c, d]]``, in units of 1/65536."""
    side_data = cast("Mapping[str, bytes]", frame.side_data)  # PyAV's stub has motion vectors only
    if "DISPLAYMATRIX" not in side_data:
        return [[1, 0], [0, 1]]
    matrix = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32).reshape(3, 3)
    return [[int(value) for value in row] for row in matrix[:2, :2]]
