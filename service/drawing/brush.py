"""Anti-aliased boxes, dots and text on an RGB picture, in place.

Positions are continuous: the top left pixel extends from (0, 0) to (1, 1), as in `Box`.
"""

from functools import lru_cache
from importlib.resources import files
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.drawing.palette import Colour
from service.records import Box, Picture

MEDIUM = "Inter-Medium.ttf"
BOLD = "Inter-SemiBold.ttf"

FINENESS = 4
"""Supersampling factor of text, which keeps letter spacing even at any size."""

Coverage = NDArray[np.floating]


def fill(
    picture: Picture, box: Box, colour: Colour, opacity: float = 1.0, radius: float = 0.0
) -> None:
    """Fill a box with rounded corners."""
    columns, rows = _pixels(picture, box)
    _paint(picture, columns, rows, _coverage(box, radius, columns, rows) * opacity, colour)


def outline(
    picture: Picture,
    box: Box,
    colour: Colour,
    thickness: float,
    radius: float,
    opacity: float = 1.0,
) -> None:
    """Draw the edge of a box with rounded corners; the line is centred on the edge."""
    outer, inner = grow(box, thickness / 2), grow(box, -thickness / 2)
    for columns, rows in _edge(picture, outer, int(np.ceil(thickness + radius)) + 1):
        ring = _coverage(outer, radius + thickness / 2, columns, rows)
        ring = ring - _coverage(inner, max(radius - thickness / 2, 0), columns, rows)
        _paint(picture, columns, rows, ring * opacity, colour)


def dot(picture: Picture, x: float, y: float, radius: float, colour: Colour) -> None:
    """Fill a circle."""
    fill(picture, Box(x - radius, y - radius, 2 * radius, 2 * radius), colour, radius=radius)


def write(
    picture: Picture, x: float, baseline: float, text: str, size: float, face: str, colour: Colour
) -> None:
    """Draw a line of text that starts at `x`, on `baseline`."""
    left, top, ink = _set(text, size, face)
    left, top = left + round(x), top + round(baseline)
    height, width = picture.shape[:2]
    columns = _within(range(left, left + ink.shape[1]), width)
    rows = _within(range(top, top + ink.shape[0]), height)
    seen = ink[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    _paint(picture, columns, rows, seen / np.float32(255), colour)


def text_width(text: str, size: float, face: str) -> float:
    """The advance width of a line of text, in pixels."""
    return _font(face, FINENESS * size).getlength(text) / FINENESS


def grow(box: Box, margin: float) -> Box:
    """The box, larger by `margin` on every side."""
    return Box(box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin)


def _pixels(picture: Picture, box: Box) -> tuple[range, range]:
    """Columns and rows of the picture that a box touches."""
    height, width = picture.shape[:2]
    columns, rows = _touched(box.x, box.width), _touched(box.y, box.height)
    return _within(columns, width), _within(rows, height)


def _edge(picture: Picture, box: Box, depth: int) -> list[tuple[range, range]]:
    """Columns and rows of four disjoint bands, `depth` wide, that contain a box's edge."""
    columns, rows = _touched(box.x, box.width), _touched(box.y, box.height)
    depth = min(depth, (len(columns) + 1) // 2, (len(rows) + 1) // 2)
    middle = rows[depth : len(rows) - depth]
    bands = (
        (columns, rows[:depth]),
        (columns, rows[max(depth, len(rows) - depth) :]),
        (columns[:depth], middle),
        (columns[max(depth, len(columns) - depth) :], middle),
    )
    height, width = picture.shape[:2]
    return [(_within(each, width), _within(other, height)) for each, other in bands]


def _touched(start: float, length: float) -> range:
    return range(int(np.floor(start)), int(np.ceil(start + length)))


def _within(pixels: range, size: int) -> range:
    return range(max(pixels.start, 0), min(pixels.stop, size))


def _coverage(box: Box, radius: float, columns: range, rows: range) -> Coverage:
    """The share of each pixel that a rounded box covers, computed from its distance to the edge."""
    radius = min(radius, box.width / 2, box.height / 2)
    half_width, half_height = box.width / 2, box.height / 2
    x = np.abs(np.array(columns, dtype=np.float32) + 0.5 - (box.x + half_width))
    y = np.abs(np.array(rows, dtype=np.float32) + 0.5 - (box.y + half_height))
    x, y = x - half_width + radius, (y - half_height + radius)[:, None]
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    distance = outside + np.minimum(np.maximum(x, y), 0) - radius
    return np.asarray((0.5 - distance).clip(0, 1), dtype=np.float32)


def _paint(
    picture: Picture, columns: range, rows: range, coverage: Coverage, colour: Colour
) -> None:
    if columns and rows:
        region = picture[rows.start : rows.stop, columns.start : columns.stop]
        ink = np.frombuffer(bytes(colour) * coverage.size, dtype=np.uint8).reshape(region.shape)
        region[:] = cv2.blendLinear(region, ink, 1 - coverage, coverage)


@lru_cache(maxsize=256)
def _set(text: str, size: float, face: str) -> tuple[int, int, NDArray[np.uint8]]:
    """The offset of a line's bitmap from the start of its baseline, and the bitmap."""
    font = _font(face, FINENESS * size)
    edges = np.array(font.getbbox(text, anchor="ls")) / FINENESS
    left, top = (int(edge) for edge in np.floor(edges[:2]))
    right, bottom = (int(edge) for edge in np.ceil(edges[2:]))
    ink = Image.new("L", (FINENESS * (right - left), FINENESS * (bottom - top)))
    start = (-FINENESS * left, -FINENESS * top)
    ImageDraw.Draw(ink).text(start, text, fill=255, font=font, anchor="ls")
    return left, top, np.asarray(ink.reduce(FINENESS))


@lru_cache(maxsize=64)
def _font(face: str, size: float) -> ImageFont.FreeTypeFont:
    data = (files("service") / "fonts" / face).read_bytes()
    return ImageFont.truetype(BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)
