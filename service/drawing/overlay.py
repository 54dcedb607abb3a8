"""Faces explained in place, on the whole picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from service.drawing.brush import dot, outline
from service.drawing.card import Card, Chip
from service.drawing.heat import lay_heat
from service.drawing.layout import clip, place
from service.drawing.palette import EMOTION_COLOURS, SLATE, WHITE
from service.drawing.scene import Style, Subject
from service.records import Box, Picture

LEAST_TYPE = 11.0
"""Smallest size of type, in pixels."""

LEAST_PICTURE = 240
"""Shorter side, in pixels, to which a tiny picture is enlarged before type is set beside it."""

GAP = 0.7
"""Distance of a label from its face and from the picture's border, in sizes of its type."""

Label = Card | Chip


def overlay(picture: Picture, subject: Subject, style: Style) -> Picture:
    """Explain one face in place, its card beside it.

    A picture whose shorter side is under `LEAST_PICTURE` pixels is first enlarged by a whole
    factor, so that type can stand beside it. Where no card fits without covering the face, the
    picture gets a dark margin on the right, and its own pixels keep their places.

    Args:
        picture: RGB.
        subject: the face.
        style: how heat is drawn.

    Returns:
        RGB, a copy.
    """
    factor = -(-LEAST_PICTURE // min(picture.shape[:2]))
    if factor > 1:
        size = (picture.shape[1] * factor, picture.shape[0] * factor)
        larger = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        picture, subject = np.asarray(larger, dtype=np.uint8), subject.enlarged(factor)
    unit = _type_size(picture, subject)
    cards = _cards(subject, style, unit)
    found = _first_fit(cards, picture, subject, [subject.zone])
    canvas = picture.copy()
    _draw_face(canvas, subject, style, unit)
    if found is None:
        found = cards[0], _in_margin(picture, subject, cards[0])
        canvas = _with_margin(canvas, cards[0])
    label, spot = found
    label.draw(canvas, spot.x, spot.y)
    return canvas


def annotate(picture: Picture, subjects: Sequence[Subject], style: Style) -> Picture:
    """Draw faces on a copy of the picture, which keeps its size, as the frames of a video must.

    Each face gets its heat, its box in the colour of its emotion, and a card with its scores where
    one fits without covering a face; else a chip with the emotion and its score, which goes into
    the corner of the face only if there is no room outside.

    Args:
        picture: RGB.
        subjects: the faces, the most important first.
        style: how heat is drawn.

    Returns:
        RGB, of the same size.
    """
    canvas = picture.copy()
    units = [_type_size(picture, subject) for subject in subjects]
    for subject, unit in zip(subjects, units, strict=True):
        _draw_face(canvas, subject, style, unit)
    taken = [subject.zone for subject in subjects]
    for subject, unit in zip(subjects, units, strict=True):
        chip = Chip(subject.prediction, subject.track, unit)
        labels: list[Label] = [*_cards(subject, style, unit), chip]
        corner = Box(max(subject.zone.x, 0), max(subject.zone.y, 0), *chip.size)
        label, spot = _first_fit(labels, picture, subject, taken) or (chip, corner)
        label.draw(canvas, spot.x, spot.y)
        taken.append(spot)
    return canvas


def _draw_face(canvas: Picture, subject: Subject, style: Style, unit: float) -> None:
    """The heat, the box with a dark line around its coloured one, and the landmarks."""
    if subject.explanation is not None:
        lay_heat(canvas, subject.explanation.heat, subject.crop, style.alpha, style.colormap)
    face, line = subject.prediction.face, max(2.0, min(unit / 6, subject.zone.height / 70))
    radius = 0.06 * min(face.box.width, face.box.height)
    frame = clip(face.box, Box(0, 0, canvas.shape[1], canvas.shape[0]), line / 2)
    outline(canvas, frame, SLATE, line + 2, radius, opacity=0.4)
    outline(canvas, frame, EMOTION_COLOURS[subject.prediction.emotion], line, radius)
    if style.landmarks:
        for x, y in face.landmarks or ():
            dot(canvas, x, y, 0.8 * line + 1, SLATE)
            dot(canvas, x, y, 0.8 * line, WHITE)


def _type_size(picture: Picture, subject: Subject) -> float:
    """Size of the type, in whole pixels: by the face, within what reads well in the picture."""
    height, width = picture.shape[:2]
    short = float(min(height, width))
    wished = min(max(subject.zone.height / 9, 0.019 * short), 0.025 * short)
    return max(LEAST_TYPE, round(wished))


def _cards(subject: Subject, style: Style, unit: float) -> tuple[Card, ...]:
    """The card in the size that suits the picture, and smaller."""
    return tuple(
        Card(subject.prediction, subject.explanation, subject.track, style.colormap, size)
        for size in (unit, max(LEAST_TYPE, 0.8 * unit))
    )


def _first_fit(
    labels: Sequence[Label], picture: Picture, subject: Subject, taken: Sequence[Box]
) -> tuple[Label, Box] | None:
    """The first of the labels that has a place, and its place."""
    height, width = picture.shape[:2]
    for label in labels:
        gap = GAP * label.unit
        spot = place(label.size, subject.zone, (width, height), taken, gap)
        if spot is not None:
            return label, spot
    return None


def _with_margin(picture: Picture, card: Card) -> Picture:
    """The picture in the top left corner of a larger dark one, whose right holds the card."""
    height, width = picture.shape[:2]
    frame = round(2 * GAP * card.unit)
    room = (max(height, card.size[1] + frame), width + card.size[0] + frame, 3)
    canvas = np.full(room, SLATE, dtype=np.uint8)
    canvas[:height, :width] = picture
    return canvas


def _in_margin(picture: Picture, subject: Subject, card: Card) -> Box:
    """The card's place in the margin, level with the face."""
    height, width = picture.shape[:2]
    gap = GAP * card.unit
    level = subject.zone.y + (subject.zone.height - card.size[1]) / 2
    top = max(gap, min(level, height - gap - card.size[1]))
    return Box(round(width + gap), round(top), *card.size)
