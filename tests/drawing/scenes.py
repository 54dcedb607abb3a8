"""Synthetic images, faces and heat maps, and pixel masks to check what was drawn."""

import numpy as np
from numpy.typing import NDArray

from service.drawing import (
    Affine,
    Style,
    Subject,
)
from service.explanation import Explanation, Features, HeatMap, Question
from service.records import Box, Face, Picture, Prediction

HEAT = np.array([[0, 1, 0, 0], [2, 9, 8, 1], [1, 5, 3, 0], [0, 6, 0, 0]], dtype=np.float32)
SCORES = np.array([0.62, 0.2, 0.1, 0.05, 0.02, 0.01], dtype=np.float32)


def noise(width: int, height: int) -> Picture:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def crop_matrix(box: Box, angle: float = 0.0) -> Affine:
    """The matrix of a square crop of the box's height and centre, rotated by degrees."""
    scale = box.height / 64
    turn = scale * np.array(
        [
            [np.cos(np.radians(angle)), -np.sin(np.radians(angle))],
            [np.sin(np.radians(angle)), np.cos(np.radians(angle))],
        ]
    )
    centre = np.array([box.x + box.width / 2, box.y + box.height / 2]) - 0.5
    return np.column_stack([turn, centre - turn @ np.array([31.5, 31.5])])


def explanation(heat: HeatMap = HEAT, method: str = "gradcam", target: int = 0) -> Explanation:
    features = None
    if method == "activations":
        maps = np.random.default_rng(6).random((16, 4, 4), dtype=np.float32)
        features = Features(maps, np.arange(16), 1024)
    question = Question(method, "conv5", target)
    return Explanation(question, target, np.zeros(6, np.float32), heat, features)


def subject(box: Box, angle: float = 0.0, heat: HeatMap = HEAT) -> Subject:
    points = tuple((box.x + a * box.width, box.y + b * box.height) for a, b in POINTS)
    prediction = Prediction(Face(box, points, 0.9), SCORES)
    return Subject(prediction, crop_matrix(box, angle), explanation(heat))


POINTS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))
PLAIN = Style(alpha=0)


Mask = NDArray[np.bool_]


def box_mask(box: Box, shape: tuple[int, ...]) -> Mask:
    """The pixels of an image that a bounding box touches."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    rows = (y + 1 > box.y) & (y < box.y + box.height)
    mask: Mask = rows & (x + 1 > box.x) & (x < box.x + box.width)
    return mask


def outline_mask(box: Box, shape: tuple[int, ...]) -> Mask:
    """The pixels inside the image that the outline of a box and its rounded corners may change."""
    left, top = max(box.x, 0), max(box.y, 0)
    right, bottom = min(box.x + box.width, shape[1]), min(box.y + box.height, shape[0])
    box, reach = Box(left, top, right - left, bottom - top), 5 + 0.03 * box.height
    outer = Box(box.x - reach, box.y - reach, box.width + 2 * reach, box.height + 2 * reach)
    inner = Box(box.x + reach, box.y + reach, box.width - 2 * reach, box.height - 2 * reach)
    return box_mask(outer, shape) & ~box_mask(inner, shape)


def bounding_box(mask: Mask) -> Box:
    """The bounding box of the set pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


SCENES = [
    (64, 64, Box(0, 0, 64, 64)),
    (64, 64, Box(20, 12, 24, 32)),
    (200, 150, Box(60, 30, 66, 88)),
    (512, 512, Box(183, 59, 88, 114)),
    (512, 512, Box(0, 0, 512, 512)),
    (300, 900, Box(40, 100, 200, 260)),
    (1200, 260, Box(500, 10, 180, 240)),
    (1920, 1080, Box(-30, 200, 300, 400)),
    (4000, 3000, Box(1400, 700, 1300, 1700)),
]
