"""Explanations drawn in place, on the whole picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from service.drawing.arrangement import (
    GAP,
    Arrangement,
    Placed,
    cards_of,
    first_fit,
    type_size,
)
from service.drawing.brush import dot, outline
from service.drawing.card import Card
from service.drawing.heat import lay_heat
from service.drawing.layout import clip
from service.drawing.palette import SLATE, WHITE
from service.drawing.scene import Style, Subject
from service.errors import BadParameter
from service.records import Box, Picture

LEAST_PICTURE = 240
"""Pictures whose shorter side is less are enlarged, so that text fits beside faces."""

MOST_ENLARGED = 4096
"""The longer side of a picture after enlarging is at most this."""

MOST_MARGIN = 4_000_000
"""Most pixels of a margin, unless the picture itself has more."""


def overlay(picture: Picture, subject: Subject, style: Style) -> Picture:
    """Explain one face in place, with its card beside it.

    A picture whose shorter side is under `LEAST_PICTURE` pixels is first enlarged by a whole
    factor, so that text fits beside the face, unless it is a strip. If no card fits without
    covering the face, the picture gets a dark margin on the right, and its own pixels keep their
    positions.

    Args:
        picture: RGB.
        subject: the face.
        style: how heat is drawn.

    Returns:
        RGB, a copy.

    Raises:
        BadParameter: the picture is a strip, and the margin would be many times its size.
    """
    sides = picture.shape[:2]
    factor = min(-(-LEAST_PICTURE // min(sides)), MOST_ENLARGED // max(sides))
    if factor > 1:
        size = (picture.shape[1] * factor, picture.shape[0] * factor)
        larger = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        picture, subject = np.asarray(larger, dtype=np.uint8), subject.enlarged(factor)
    room = (picture.shape[1], picture.shape[0])
    unit = type_size(room, subject)
    cards = cards_of(subject, style, unit)
    found = first_fit(cards, room, subject, [], subject.neighbours)
    canvas = picture.copy()
    _draw_face(canvas, subject, style, unit)
    if found is None:
        found = cards[0], "margin", _in_margin(picture, subject, cards[0])
        canvas = _with_margin(canvas, cards[0])
    label, _, spot = found
    label.draw(canvas, spot.x, spot.y)
    return canvas


def annotate(
    picture: Picture,
    subjects: Sequence[Subject],
    style: Style,
    labels: Sequence[Placed] | None = None,
) -> Picture:
    """Draw faces on a copy of the picture, in the same size, as for the frames of a video.

    Each face gets its heat map, its coloured box, and its label.

    Args:
        picture: RGB.
        subjects: the faces, most important first.
        style: how heat is drawn.
        labels: as placed by an `Arrangement`; None to place them here.

    Returns:
        RGB, of the same size.
    """
    canvas = picture.copy()
    room = (picture.shape[1], picture.shape[0])
    for subject in subjects:
        _draw_face(canvas, subject, style, type_size(room, subject))
    if labels is None:
        labels = Arrangement(room, style).place(subjects)
    for label, spot in labels:
        label.draw(canvas, spot.x, spot.y)
    return canvas


def _draw_face(canvas: Picture, subject: Subject, style: Style, unit: float) -> None:
    """Draw the heat map, the coloured box with a dark outline, and the landmarks."""
    lay_heat(canvas, subject.explanation.heat, subject.crop, style.alpha, style.colormap)
    face, line = subject.prediction.face, max(2.0, min(unit / 6, subject.zone.height / 70))
    radius = 0.06 * min(face.box.width, face.box.height)
    frame = clip(face.box, Box(0, 0, canvas.shape[1], canvas.shape[0]), line / 2)
    outline(canvas, frame, SLATE, line + 2, radius, opacity=0.4)
    outline(canvas, frame, subject.tone, line, radius)
    if style.landmarks:
        for x, y in face.landmarks or ():
            dot(canvas, x, y, 0.8 * line + 1, SLATE)
            dot(canvas, x, y, 0.8 * line, WHITE)


def _with_margin(picture: Picture, card: Card) -> Picture:
    """The picture with a dark margin for the card on the right, and below if needed."""
    height, width = picture.shape[:2]
    frame = round(2 * GAP * card.unit)
    right, below = card.size[0] + frame, max(0, card.size[1] + frame - height)
    if (height + below) * (width + right) - height * width > max(MOST_MARGIN, height * width):
        raise BadParameter(
            "the picture is too long and thin for a card beside it: send view=face or view=panel"
        )
    grown = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=SLATE)
    return np.asarray(grown, dtype=np.uint8)


def _in_margin(picture: Picture, subject: Subject, card: Card) -> Box:
    """The card's position in the margin, at the height of the face."""
    height, width = picture.shape[:2]
    gap = GAP * card.unit
    level = subject.zone.y + (subject.zone.height - card.size[1]) / 2
    top = max(gap, min(level, height - gap - card.size[1]))
    return Box(round(width + gap), round(top), *card.size)
