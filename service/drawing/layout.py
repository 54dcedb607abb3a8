"""Search for free space in a picture, and geometry of boxes."""

from collections.abc import Iterable, Iterator, Sequence
from math import hypot, inf
from typing import TypeAlias

from service.records import Box

Side: TypeAlias = str
"""A position beside a face, or in a corner of the picture."""


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def distance(one: Box, other: Box) -> float:
    """The distance between two boxes, in pixels; 0 if they touch or overlap."""
    across = max(one.x - other.x - other.width, other.x - one.x - one.width, 0)
    down = max(one.y - other.y - other.height, other.y - one.y - one.height, 0)
    return hypot(across, down)


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box that contains all of them."""
    held = list(boxes)
    left, top = min(box.x for box in held), min(box.y for box in held)
    right = max(box.x + box.width for box in held)
    bottom = max(box.y + box.height for box in held)
    return Box(left, top, right - left, bottom - top)


def clip(box: Box, room: Box, margin: float) -> Box:
    """The part of a box that lies in `room`, `margin` pixels or more from its border."""
    left, top = max(box.x, room.x + margin), max(box.y, room.y + margin)
    right = min(box.x + box.width, room.x + room.width - margin)
    bottom = min(box.y + box.height, room.y + room.height - margin)
    return Box(left, top, max(right - left, 0), max(bottom - top, 0))


def place(
    size: tuple[int, int],
    beside: Box,
    room: tuple[int, int],
    taken: Sequence[Box],
    rivals: Sequence[Box],
    gap: float,
    only: Side | None = None,
) -> tuple[Side, Box] | None:
    """Find a position for a label beside a face.

    Args:
        size: its width and height, in pixels.
        beside: the face.
        room: the picture's width and height.
        taken: boxes that it must not cover.
        rivals: other faces; it may be nearer to one of them only if it is adjacent to its own.
        gap: the distance to keep from the face and from the picture's border.
        only: the only side to consider; None for all.

    Returns:
        The side and the box, or None if it fits nowhere: right or left of the face, whichever has
        more room, else below, above, or in a corner of the picture.
    """
    width, height = size
    free = Box(gap, gap, room[0] - 2 * gap, room[1] - 2 * gap)
    for side, x, y in _candidates(size, beside, free, gap):
        box = Box(round(x), round(y), width, height)
        if only not in {None, side} or any(overlap(box, other) for other in taken):
            continue
        nearest = min((distance(box, rival) for rival in rivals), default=inf)
        if distance(box, beside) <= max(gap + 1, nearest):
            return side, box
    return None


def _candidates(
    size: tuple[int, int], beside: Box, free: Box, gap: float
) -> Iterator[tuple[Side, float, float]]:
    """Sides and top left corners inside `free`, in order of preference."""
    width, height = size
    right, bottom = free.x + free.width - width, free.y + free.height - height
    if right < free.x or bottom < free.y:
        return
    centre_x, centre_y = beside.x + beside.width / 2, beside.y + beside.height / 2
    x = min(max(centre_x - width / 2, free.x), right)
    y = min(max(centre_y - height / 2, free.y), bottom)
    sides: list[tuple[Side, float, float]] = [
        ("right", beside.x + beside.width + gap, y),
        ("left", beside.x - gap - width, y),
    ]
    if centre_x > free.x + free.width / 2:
        sides.reverse()
    sides += [("below", x, beside.y + beside.height + gap), ("above", x, beside.y - gap - height)]
    sides += [("top right", right, free.y), ("top left", free.x, free.y)]
    sides += [("bottom right", right, bottom), ("bottom left", free.x, bottom)]
    for side, left, top in sides:
        if free.x <= left <= right and free.y <= top <= bottom:
            yield side, left, top
