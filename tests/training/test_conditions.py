"""Harder conditions do to a face what their names say, the same each time."""

import numpy as np
import pytest

from training.conditions import CONDITIONS, under
from training.data import Faces, FaceSet


def dots(count: int, row: int = 32, column: int = 32) -> FaceSet:
    """Faces with one bright spot of 3x3 pixels."""
    faces = np.full((count, 64, 64), 60, dtype=np.uint8)
    faces[:, row - 1 : row + 2, column - 1 : column + 2] = 220
    return FaceSet("dots", faces, np.zeros(count, dtype=np.int64), ("",) * count)


def spot(face: Faces) -> tuple[float, float]:
    """Where its light is: row and column."""
    light = face.astype(float) - np.median(face)
    rows, columns = np.indices(face.shape)
    return float((light * rows).sum() / light.sum()), float((light * columns).sum() / light.sum())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_the_same_each_time_and_keeps_labels(condition: str) -> None:
    faces = dots(4)
    once, again = under(condition, faces), under(condition, faces)
    np.testing.assert_array_equal(once.faces, again.faces)
    assert once.faces.dtype == np.uint8
    assert once.labels is faces.labels


def test_crops_miss_the_face_towards_every_corner() -> None:
    moved = [spot(face) for face in under("4 px off in x and y", dots(4)).faces]
    assert {(round(row) - 32, round(column) - 32) for row, column in moved} == {
        (4, 4), (4, -4), (-4, 4), (-4, -4)
    }  # fmt: skip


def test_heads_lean_to_both_sides_about_the_middle() -> None:
    one, other = under("tilted by 20 degrees", dots(2, row=12)).faces
    left, right = spot(one), spot(other)
    assert abs(left[1] - right[1]) == pytest.approx(2 * 19.5 * np.sin(np.radians(20)), abs=0.5)
    assert left[0] == pytest.approx(31.5 - 19.5 * np.cos(np.radians(20)), abs=0.5)


def test_less_light_keeps_the_picture() -> None:
    (face,) = under("at 30% of the light", dots(1)).faces
    assert (face.min(), face.max()) == (18, 66)


@pytest.mark.parametrize("condition", ["blurred, sigma 1.5 px", "enlarged from 24 px"])
def test_detail_is_lost_where_it_was(condition: str) -> None:
    (face,) = under(condition, dots(1)).faces
    assert face.max() < 150
    assert spot(face) == pytest.approx((32, 32), abs=0.6)


def test_hard_compression_is_seen_and_small() -> None:
    faces = dots(1)
    (face,) = under("JPEG at quality 30", faces).faces
    difference = np.abs(face.astype(int) - faces.faces[0])
    assert 0 < difference.mean() < 5
