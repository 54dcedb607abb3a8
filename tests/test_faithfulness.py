"""Faithfulness compared with cases worked by hand and a direct solution of the equations."""

from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from service.explanation import Faithfulness, HeatMap
from service.faithfulness import STEPS, faithfulness, impute, perturbed, ranking

LEFT = np.zeros((64, 64), dtype=np.float32)
LEFT[:, :32] = 1

CHECKERBOARD = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)


def kept_on_the_left(faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The share of the left half that is still the checkerboard: a linear score, 0 to 1."""
    same: NDArray[np.float64] = (faces == CHECKERBOARD)[:, :, :32].mean(axis=(1, 2))
    return same


def measured(heat: HeatMap) -> Faithfulness:
    return faithfulness(kept_on_the_left(perturbed(CHECKERBOARD, heat)))


def test_a_map_of_the_relevant_pixels_gets_the_hand_computed_scores() -> None:
    answer = measured(LEFT)
    # Half the face is relevant. Deleted first, the score falls from 1 to 0 over half the steps.
    assert answer.deletion == pytest.approx(1 / 4)
    # Inserted first, it rises from 0 to 1 over half the steps and stays.
    assert answer.insertion == pytest.approx(3 / 4)
    # Without 10, 20, .. 90 % of the face, the score is 0.8, 0.6, 0.4, 0.2 and five times 0.
    assert answer.road_morf == pytest.approx(2 / 9, abs=0.002)
    # In the opposite order: five times 1, then 0.8, 0.6, 0.4, 0.2.
    assert answer.road_lerf == pytest.approx(7 / 9, abs=0.002)


def test_a_map_of_the_irrelevant_pixels_gets_the_opposite_scores() -> None:
    answer = measured(1 - LEFT)
    assert answer.deletion == pytest.approx(3 / 4)
    assert answer.insertion == pytest.approx(1 / 4)
    assert answer.road_morf == pytest.approx(7 / 9, abs=0.002)
    assert answer.road_lerf == pytest.approx(2 / 9, abs=0.002)


def test_faithfulness_is_deterministic() -> None:
    heat = np.random.default_rng(3).random((4, 4), dtype=np.float32)
    assert measured(heat) == measured(heat)


def test_the_strongest_cell_is_ranked_first_and_every_pixel_once() -> None:
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[1, 2] = 1
    order = ranking(heat)
    rows, columns = np.divmod(order[:64], 64)
    assert (np.hypot(rows - 23.5, columns - 39.5) < 7).all()  # the middle of the cell, as drawn
    assert sorted(order) == list(range(64 * 64))


def test_pixels_without_relevance_are_ranked_all_over_the_face() -> None:
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[0, 0] = 1
    rows, columns = np.divmod(ranking(heat)[1:401], 64)
    assert 25 < rows.mean() < 38
    assert 25 < columns.mean() < 38


def test_imputed_pixels_solve_the_papers_equations() -> None:
    random = np.random.default_rng(4)
    face = random.integers(0, 256, (11, 9)).astype(np.uint8)
    missing = random.random((3, 11, 9)) < np.array([0.2, 0.5, 0.9])[:, None, None]
    for hole, filled in zip(missing, impute(face, missing, tolerance=1e-6), strict=True):
        equations, values = np.eye(face.size), face.astype(np.float64).ravel()
        for y, x in zip(*np.nonzero(hole), strict=True):
            near = {
                (y + dy) * 9 + x + dx: 1 / 6 if dy * dx == 0 else 1 / 12
                for dy, dx in product((-1, 0, 1), repeat=2)
                if (dy, dx) != (0, 0) and 0 <= y + dy < 11 and 0 <= x + dx < 9
            }
            row = y * 9 + x
            values[row] = 0
            for neighbour, weight in near.items():
                equations[row, neighbour] = -weight / sum(near.values())
        expected = np.linalg.solve(equations, values).reshape(face.shape)
        np.testing.assert_allclose(filled, expected, atol=1e-3)


def test_imputation_restores_a_linear_gradient() -> None:
    face = np.tile(np.arange(0, 128, 2, dtype=np.uint8), (64, 1))
    hole = np.zeros((1, 64, 64), dtype=np.bool_)
    hole[0, 10:50, 15:45] = True
    np.testing.assert_allclose(impute(face, hole)[0], face, atol=1)


def test_pixels_are_deleted_to_mean_grey_inserted_into_a_blur_and_imputed_with_noise() -> None:
    """In this order: 0 to 100 % deleted, 0 to 100 % inserted, 10 to 90 % imputed."""
    heat = np.random.default_rng(1).random((4, 4), dtype=np.float32)
    edge = np.where(np.arange(64) < 32, 0, 200).astype(np.uint8)[None].repeat(64, axis=0)
    assert (perturbed(edge, heat)[STEPS] == 115).all()
    for picture, pixel in ((edge, (32, 37)), (edge.T.copy(), (37, 32))):
        blurred = perturbed(picture, heat)[STEPS + 1]
        assert blurred[pixel] == pytest.approx(200 * NormalDist(sigma=6).cdf(5.5), abs=6)
    flat = np.full((64, 64), 100, dtype=np.uint8)
    most = perturbed(flat, heat)[2 * STEPS + 2 + 8].astype(float) - 100
    assert most[most != 0].std() == pytest.approx(2.55, abs=0.6)
    assert most[most != 0].mean() == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_plain_face_stays_plain_when_blurred_or_imputed(level: int) -> None:
    """Neither do its edges darken nor does the noise leave the range of grey levels."""
    plain = np.full((64, 64), level, dtype=np.uint8)
    faces = perturbed(plain, LEFT).astype(int)
    assert len(faces) == 84
    assert (faces[33:66] == level).all()
    assert np.abs(faces[66:] - level).max() < 6 * 2.55
