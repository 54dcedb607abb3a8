"""Placement of labels beside faces, stable from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.drawing.card import Card, Chip
from service.drawing.layout import Side, place
from service.drawing.scene import Style, Subject
from service.records import Box

LEAST_TYPE = 11.0
"""Smallest font size, in pixels."""

GAP = 0.7
"""Distance of a label from its face and from the picture's border, in font sizes."""

_LAG = 0.6  # Share of the distance to its target that remains after a frame,
_MOST_LAG = 0.5  # at most this much, in font sizes.
_RESIZED = 0.2  # Relative change of the font size above which a label adopts it.

Label: TypeAlias = Card | Chip
Placed: TypeAlias = tuple[Label, Box]
Room: TypeAlias = tuple[int, int]
"""A picture's width and height."""


@dataclass(frozen=True, slots=True)
class _Habit:
    """The label of a tracked person in the previous frame."""

    unit: float
    kind: type[Label]
    side: Side
    spot: Box


class Arrangement:
    """Places labels; those of tracked people keep their kind, size and side while possible.

    Each face gets a card with its scores if one fits without covering a face; else a chip with the
    emotion and its score, which is placed in the corner of the face only if there is no room
    outside.
    """

    def __init__(self, room: Room, style: Style) -> None:
        self._room = room
        self._style = style
        self._habits: dict[int, _Habit] = {}

    def place(self, subjects: Sequence[Subject]) -> list[Placed]:
        """Place the labels of a frame's faces, most important face first."""
        habits, self._habits = self._habits, {}
        zones = [subject.zone for subject in subjects]
        labels: list[Box] = []
        placed = []
        for index, subject in enumerate(subjects):
            habit = None if subject.track is None else habits.get(subject.track)
            rivals = zones[:index] + zones[index + 1 :]
            label, side, spot = self._find(subject, habit, labels, rivals)
            if subject.track is not None:
                if habit and habit.side == side and habit.kind is type(label):
                    spot = _following(spot, habit.spot, label.unit)
                self._habits[subject.track] = _Habit(label.unit, type(label), side, spot)
            placed.append((label, spot))
            labels.append(spot)
        return placed

    def _find(
        self,
        subject: Subject,
        habit: _Habit | None,
        others: Sequence[Box],
        rivals: Sequence[Box],
    ) -> tuple[Label, Side, Box]:
        unit = type_size(self._room, subject)
        if habit and abs(unit - habit.unit) <= _RESIZED * habit.unit:
            unit = habit.unit
        chip = Chip(subject, unit)
        labels: list[Label] = [*cards_of(subject, self._style, unit), chip]
        if habit:
            usual = [label for label in labels if type(label) is habit.kind]
            found = first_fit(usual, self._room, subject, others, rivals, only=habit.side)
            if found:
                return found
        found = first_fit(labels, self._room, subject, others, rivals)
        zone = subject.zone
        return found or (chip, "inside", Box(max(zone.x, 0), max(zone.y, 0), *chip.size))


def type_size(room: Room, subject: Subject) -> float:
    """The font size in whole pixels: proportional to the face, within limits set by the picture."""
    short = float(min(room))
    wished = min(max(subject.zone.height / 9, 0.019 * short), 0.025 * short)
    return max(LEAST_TYPE, round(wished))


def cards_of(subject: Subject, style: Style, unit: float) -> tuple[Card, ...]:
    """The card in its preferred size, and in a smaller one."""
    sizes = (unit, max(LEAST_TYPE, 0.8 * unit))
    return tuple(Card(subject, style.colormap, size) for size in sizes)


def first_fit(
    labels: Sequence[Label],
    room: Room,
    subject: Subject,
    others: Sequence[Box],
    rivals: Sequence[Box],
    only: Side | None = None,
) -> tuple[Label, Side, Box] | None:
    """The first label that fits, with its side and position; None if none fits.

    Args:
        labels: in order of preference.
        room: size of the picture.
        subject: the face.
        others: labels already placed.
        rivals: other faces.
        only: the only side to consider; None for all.
    """
    taken = [subject.zone, *rivals, *others]
    for label in labels:
        gap = GAP * label.unit
        found = place(label.size, subject.zone, room, taken, rivals, gap, only)
        if found is not None:
            return label, *found
    return None


def _following(spot: Box, before: Box, unit: float) -> Box:
    """Move a label part of the way to its target, so that it does not jitter."""

    def glide(now: float, then: float) -> float:
        most = _MOST_LAG * unit
        return now + max(-most, min(most, _LAG * (then - now)))

    return Box(glide(spot.x, before.x), glide(spot.y, before.y), spot.width, spot.height)
