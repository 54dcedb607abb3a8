"""What is drawn on videos does not flicker."""

from collections.abc import Sequence

import numpy as np
import pytest

from service.annotator import steady
from service.drawing import Arrangement, Style, Subject
from service.drawing.layout import overlap
from service.records import Box
from tests.drawing.scenes import PLAIN, explanation, subject

ROOM = (854, 480)


def shares(first: float, second: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([first, second, 0, 0, 0, 0], dtype=np.float32)


def test_the_named_emotion_changes_only_when_another_leads_clearly() -> None:
    wavering = [0.6, 0.52, 0.48, 0.51, 0.47, 0.5, 0.44, 0.3, 0.48, 0.53, 0.6]
    named, names = None, []
    for share in wavering:
        named = steady(named, shares(share, 1 - share))
        names.append(named)
    assert names == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def followed(box: Box, track: int) -> Subject:
    return Subject(subject(box).prediction, subject(box).crop, explanation(), track)


def trembling(box: Box, frames: int) -> Sequence[Box]:
    rng = np.random.default_rng(2)
    return [
        Box(*(np.array([box.x, box.y, box.width, box.height]) + rng.normal(0, 1.5, 4)))
        for _ in range(frames)
    ]


@pytest.mark.parametrize("x", [80, 370, 700])
def test_a_label_beside_a_face_that_trembles_keeps_its_side_and_hardly_moves(x: float) -> None:
    arrangement = Arrangement(ROOM, PLAIN)
    spots = []
    for box in trembling(Box(x, 150, 100, 130), 40):
        ((_, spot),) = arrangement.place([followed(box, 1)])
        spots.append((spot.x, spot.y, spot.width, spot.height))
    steps = np.abs(np.diff(spots, axis=0))
    assert steps.max() < 4
    assert (np.ptp(spots, axis=0)[2:] == 0).all(), "its size stays"


def test_a_label_follows_a_face_that_walks_and_never_covers_one() -> None:
    arrangement = Arrangement(ROOM, Style())
    for step in range(0, 500, 8):
        faces = [followed(Box(20 + step, 160, 100, 130), 1), followed(Box(650, 30, 90, 120), 2)]
        placed = arrangement.place(faces)
        for _, spot in placed:
            assert not any(overlap(spot, face.prediction.face.box) for face in faces)
