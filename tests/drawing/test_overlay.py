"""Overlays: cards and labels cover no face, and nothing else changes."""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.drawing import Style, Subject, annotate, draw
from service.drawing.arrangement import Arrangement
from service.drawing.layout import distance, overlap, place
from service.drawing.palette import SLATE, WHITE
from service.errors import BadParameter
from service.records import FACE_SIZE, Box, Picture
from tests.drawing.scenes import PLAIN, SCENES, bounding_box, box_mask, noise, outline_mask, subject


def enlarged_for_overlay(picture: Picture) -> tuple[int, Picture]:
    """The scale factor and the image as the overlay shows it: at least 240 pixels a side."""
    height, width = picture.shape[:2]
    factor = -(-240 // min(height, width))
    if factor == 1:
        return 1, picture
    size = (width * factor, height * factor)
    return factor, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize(("width", "height", "box"), SCENES)
def test_overlay_adds_a_card_beside_the_face_and_changes_nothing_else(
    width: int, height: int, box: Box
) -> None:
    picture = noise(width, height)
    factor, shown = enlarged_for_overlay(picture)
    face = subject(box).enlarged(factor)
    drawn = draw("overlay", picture, subject(box), PLAIN)
    photograph = drawn[: shown.shape[0], : shown.shape[1]]
    changed = (photograph != shown).any(axis=2)
    changed &= ~outline_mask(face.prediction.face.box, shown.shape)
    if drawn.shape == shown.shape:
        card = bounding_box(changed)
        assert not overlap(card, face.zone)
        assert changed.sum() > 0.98 * card.width * card.height, "one box, corners rounded"
        assert card.x > 0
        assert card.y > 0
        assert card.x + card.width < shown.shape[1]
        assert card.y + card.height < shown.shape[0]
    else:
        assert not changed.any()
        margin = drawn[:, shown.shape[1] :]
        card = bounding_box((margin != SLATE).any(axis=2))
        assert card.x + card.width < margin.shape[1]
    assert card.width >= 180, "type of 11 pixels or more"
    assert card.width < max(0.6 * min(shown.shape[:2]), 190)


def test_card_does_not_cover_neighbouring_faces() -> None:
    picture = noise(640, 480)
    face, beside = subject(Box(40, 150, 150, 180)), Box(230, 150, 150, 180)
    drawn = draw("overlay", picture, replace(face, neighbours=(beside,)), PLAIN)
    assert (drawn[150:330, 230:380] == picture[150:330, 230:380]).all()
    alone = draw("overlay", picture, face, PLAIN)
    assert (alone[150:330, 230:380] != picture[150:330, 230:380]).any()


@pytest.mark.parametrize(("width", "height", "box"), SCENES[:-1])
def test_heat_map_changes_only_the_face(width: int, height: int, box: Box) -> None:
    picture = noise(width, height)
    drawn = draw("overlay", picture, subject(box, angle=10), Style())
    plain = draw("overlay", picture, subject(box, angle=10), PLAIN)
    changed = (drawn != plain).any(axis=2)
    zone = subject(box, angle=10).enlarged(enlarged_for_overlay(picture)[0]).zone
    assert changed.any()
    assert not (changed & ~box_mask(zone, changed.shape)).any()


def whole_image_subject(width: int, height: int) -> Subject:
    """A subject whose face is the whole image, whatever its aspect ratio."""
    x, y = width / FACE_SIZE, height / FACE_SIZE
    crop = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
    return replace(subject(Box(0, 0, width, height)), crop=crop)


@pytest.mark.parametrize(("width", "height"), [(1, 10_000), (10_000, 1), (3, 4000), (200, 4000)])
def test_enlargement_of_a_narrow_image_is_limited(width: int, height: int) -> None:
    drawn = draw("overlay", noise(width, height), whole_image_subject(width, height), Style())
    assert drawn.size < 3 * 10_000_000


@pytest.mark.parametrize(("width", "height"), [(1, 1_000_000), (1_000_000, 1)])
def test_overlay_of_an_image_one_pixel_wide_is_rejected(width: int, height: int) -> None:
    strip = noise(width, height), whole_image_subject(width, height)
    with pytest.raises(BadParameter, match="view=face"):
        draw("overlay", *strip, Style())
    for view in ("face", "panel"):
        assert draw(view, *strip, Style()).size < 3 * 1_000_000


class TestAnnotate:
    boxes = (Box(60, 80, 140, 180), Box(420, 60, 160, 210), Box(700, 150, 60, 80))

    def test_frame_keeps_its_size_and_labels_cover_no_face(self) -> None:
        frame = noise(854, 480)
        faces = [subject(box) for box in self.boxes]
        drawn = annotate(frame, faces, PLAIN)
        assert drawn.shape == frame.shape
        changed = (drawn != frame).any(axis=2)
        for box in self.boxes:
            changed &= ~outline_mask(box, frame.shape)
        assert changed.any()
        for face in faces:
            assert not (changed & box_mask(face.zone, frame.shape)).any()

    def test_small_chip_is_drawn_at_the_top_when_there_is_no_room_for_a_card(self) -> None:
        frame = noise(300, 240)
        drawn = annotate(frame, [subject(Box(0, 0, 300, 240))], PLAIN)
        changed = (drawn != frame).any(axis=2) & ~outline_mask(Box(0, 0, 300, 240), frame.shape)
        assert drawn.shape == frame.shape
        assert bounding_box(changed).height < 30
        assert bounding_box(changed).y < 30

    def test_landmarks_are_drawn_only_on_request(self) -> None:
        frame = np.full((480, 854, 3), 128, dtype=np.uint8)
        face = subject(self.boxes[1])
        without = annotate(frame, [face], PLAIN)
        marked = annotate(frame, [face], Style(alpha=0, landmarks=True))
        for x, y in face.prediction.face.landmarks or ():
            assert marked[int(y), int(x)].tolist() == list(WHITE)
            assert without[int(y), int(x)].tolist() == [128, 128, 128]

    def test_frame_without_faces_is_unchanged(self) -> None:
        frame = noise(64, 48)
        assert (annotate(frame, [], Style()) == frame).all()


sizes = st.integers(1, 500)


@given(
    size=st.tuples(sizes, sizes),
    face=st.builds(Box, x=sizes, y=sizes, width=sizes, height=sizes),
    room=st.tuples(sizes, sizes),
    others=st.lists(st.builds(Box, x=sizes, y=sizes, width=sizes, height=sizes), max_size=4),
)
def test_placement_is_inside_the_image_and_overlaps_nothing(
    size: tuple[int, int], face: Box, room: tuple[int, int], others: list[Box]
) -> None:
    found = place(size, face, room, [face, *others], others, gap=7)
    if found is not None:
        _, spot = found
        assert (spot.width, spot.height) == size
        assert spot.x >= 6.5
        assert spot.y >= 6.5
        assert spot.x + spot.width <= room[0] - 6.5
        assert spot.y + spot.height <= room[1] - 6.5
        assert not any(overlap(spot, other) for other in (face, *others))
        assert all(distance(spot, face) <= max(8, distance(spot, other)) for other in others)


def test_label_is_closer_to_its_own_face_than_to_another() -> None:
    """There is no room above or below, and none for a card on either side of its face."""
    ours, theirs = subject(Box(430, 70, 180, 210)), subject(Box(140, 45, 65, 75))
    for (_, spot), own, other in zip(
        Arrangement((640, 360), PLAIN).place([ours, theirs]),
        (ours.zone, theirs.zone),
        (theirs.zone, ours.zone),
        strict=True,
    ):
        assert distance(spot, own) < distance(spot, other)


CORNERS = {"top right": (230, 10), "top left": (10, 10), "bottom right": (230, 150)}


@pytest.mark.parametrize(
    ("face", "taken", "side", "corner"),
    [
        (Box(110, 80, 20, 40), [], "right", (140, 80)),
        (Box(170, 80, 20, 40), [], "left", (100, 80)),
        (Box(60, 80, 40, 40), [Box(120, 80, 9, 9)], "below", (50, 130)),
        (Box(60, 40, 180, 40), [], "below", (120, 90)),
        (Box(60, 110, 180, 80), [], "above", (120, 60)),
        (Box(0, 0, 300, 200), [], "top right", CORNERS["top right"]),
        (Box(0, 0, 300, 200), ["top right"], "top left", CORNERS["top left"]),
        (Box(0, 0, 300, 200), ["top right", "top left"], "bottom right", CORNERS["bottom right"]),
        (Box(0, 0, 300, 200), [*CORNERS], "bottom left", (10, 150)),
    ],
)
def test_placement_is_beside_the_face_if_there_is_room_or_else_in_a_corner(
    face: Box, taken: list[Box | str], side: str, corner: tuple[int, int]
) -> None:
    boxes = [Box(*CORNERS[each], 60, 40) if isinstance(each, str) else each for each in taken]
    put = partial(place, (60, 40), face, (300, 200), boxes, [], 10)
    assert put() == put(only=side) == (side, Box(*corner, 60, 40))
    assert put(only="elsewhere") is None


def test_label_adjacent_to_its_face_may_be_between_two_faces() -> None:
    face, rival = Box(60, 80, 40, 40), Box(175, 80, 40, 40)
    assert place((60, 40), face, (300, 200), [rival], [rival], 10) == (
        "right",
        Box(110, 80, 60, 40),
    )
