"""Image corruptions do what their names say and are deterministic."""

import numpy as np
import pytest

from training.conditions import CONDITIONS, under
from training.data import Faces, FaceSet


def spot_faces(count: int, row: int = 32, column: int = 32) -> FaceSet:
    """Faces with one bright spot of 3x3 pixels."""
    faces = np.full((count, 64, 64), 60, dtype=np.uint8)
    faces[:, row - 1 : row + 2, column - 1 : column + 2] = 220
    return FaceSet("dots", faces, np.zeros(count, dtype=np.int64), ("",) * count)


def spot_position(face: Faces) -> tuple[float, float]:
    """The centre of brightness: row and column."""
    light = face.astype(float) - np.median(face)
    rows, columns = np.indices(face.shape)
    return float((light * rows).sum() / light.sum()), float((light * columns).sum() / light.sum())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition_is_deterministic_and_keeps_labels(condition: str) -> None:
    faces = spot_faces(4)
    once, again = under(condition, faces), under(condition, faces)
    np.testing.assert_array_equal(once.faces, again.faces)
    assert once.faces.dtype == np.uint8
    assert once.labels is faces.labels


def test_off_centre_crops_shift_faces_towards_each_corner() -> None:
    positions = [spot_position(face) for face in under("4 px off in x and y", spot_faces(4)).faces]
    assert {(round(row) - 32, round(column) - 32) for row, column in positions} == {
        (4, 4), (4, -4), (-4, 4), (-4, -4)
    }  # fmt: skip


def test_tilt_rotates_faces_to_both_sides_about_the_centre() -> None:
    one, other = under("tilted by 20 degrees", spot_faces(2, row=12)).faces
    left, right = spot_position(one), spot_position(other)
    assert abs(left[1] - right[1]) == pytest.approx(2 * 19.5 * np.sin(np.radians(20)), abs=0.5)
    assert left[0] == pytest.approx(31.5 - 19.5 * np.cos(np.radians(20)), abs=0.5)


def test_low_light_scales_the_darkest_and_brightest_pixels() -> None:
    (face,) = under("at 30% of the light", spot_faces(1)).faces
    assert (face.min(), face.max()) == (18, 66)


@pytest.mark.parametrize("condition", ["blurred, sigma 1.5 px", "enlarged from 24 px"])
def test_blur_and_enlargement_reduce_detail_without_moving_it(condition: str) -> None:
    (face,) = under(condition, spot_faces(1)).faces
    assert face.max() < 150
    assert spot_position(face) == pytest.approx((32, 32), abs=0.6)


def test_jpeg_compression_changes_pixels_slightly() -> None:
    faces = spot_faces(1)
    (face,) = under("JPEG at quality 30", faces).faces
    difference = np.abs(face.astype(int) - faces.faces[0])
    assert 0 < difference.mean() < 5
