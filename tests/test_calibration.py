"""Scores from logits, against torch and by hand."""

from math import exp, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional

from service.calibration import Calibration, softmax

some_logits = arrays(np.float32, (3, 6), elements=st.floats(-30, 30, width=32))
calibrations = st.builds(Calibration, st.floats(0.1, 10), st.floats(0, 2))


def test_softmax_is_that_of_torch_also_for_large_logits() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    expected = functional.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-12)


@given(some_logits, st.floats(0.1, 10))
def test_without_an_exponent_all_logits_are_divided_by_the_temperature(
    logits: np.ndarray, temperature: float
) -> None:
    expected = functional.softmax(torch.from_numpy(logits) / temperature, dim=1).numpy()
    np.testing.assert_allclose(Calibration(temperature).scores(logits), expected, atol=1e-5)


def test_a_face_has_the_temperature_that_its_spread_gives() -> None:
    logits = np.array([3.0, 0, 0, 0, 0, 0])
    spread = sqrt((2.5**2 + 5 * 0.5**2) / 6)
    odds = exp(3 * spread**0.7 / 1.3)
    scores = Calibration(1.3, 0.7).scores(logits)
    assert scores == pytest.approx([odds / (odds + 5), *[1 / (odds + 5)] * 5])


def test_logits_that_spread_further_get_sharper_scores_and_others_flatter_ones() -> None:
    logits = np.array([[4.0, 0, 0, 0, 0, 0], [0.4, 0, 0, 0, 0, 0]])
    fixed, adaptive = Calibration(1.0).scores(logits), Calibration(1.0, 0.5).scores(logits)
    assert adaptive[0, 0] > fixed[0, 0]
    assert adaptive[1, 0] < fixed[1, 0]


@given(some_logits, calibrations)
def test_scores_are_probabilities_in_the_order_of_the_logits(
    logits: np.ndarray, calibration: Calibration
) -> None:
    scores = calibration.scores(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    ranks = np.take_along_axis(scores, logits.argsort(axis=1), axis=1)
    assert (np.diff(ranks, axis=1) >= 0).all()


def test_equal_logits_get_equal_scores() -> None:
    assert Calibration(0.8, 0.4).scores(np.full((2, 6), 7.0)) == pytest.approx(1 / 6)
