"""Temperature and threshold on faces whose true probabilities are known."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.generated import drawn
from training.calibrate import (
    choose_threshold,
    cross_fitted_temperatures,
    fit_offsets,
    fit_temperature,
)
from training.report import THRESHOLDS, Scored


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_true_temperature_is_found(true: float) -> None:
    assert fit_temperature([drawn(true, 8000, seed=3)]) == pytest.approx(true, rel=0.05)


def test_true_offsets_are_found_whatever_the_temperature() -> None:
    true = np.array([0.9, -0.3, 0.1, -0.4, 0.2, -0.5])
    scored = drawn(0.6, 8000, seed=8)
    moved = Scored(scored.logits - true, scored.labels)
    assert fit_offsets([moved]) == pytest.approx(true, abs=0.1)


def test_offsets_stay_finite_for_a_class_that_no_face_shows() -> None:
    scored = drawn(1.0, 400, seed=9)
    seen = scored.labels != 2
    offsets = fit_offsets([Scored(scored.logits[seen], scored.labels[seen])])
    assert offsets[2] == min(offsets)
    assert -50 < offsets[2] < -3


def test_no_other_temperature_is_likelier() -> None:
    scored = drawn(0.7, 300, seed=4)
    logits, labels = torch.from_numpy(scored.logits), torch.from_numpy(scored.labels)

    def loss(temperature: float) -> float:
        return float(functional.cross_entropy(logits / temperature, labels))

    found = fit_temperature([scored])
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.05, 20, 400)) + 1e-7


def test_data_sets_weigh_the_same_whatever_their_size() -> None:
    small, large = drawn(0.5, 200, seed=5), drawn(2.0, 200, seed=6)
    repeated = Scored.pool([large] * 9)
    assert fit_temperature([small, repeated]) == fit_temperature([small, large])


def test_a_face_has_no_part_in_the_temperature_that_it_is_measured_at() -> None:
    sets = [drawn(0.5, 40, seed=10), drawn(2.0, 25, seed=11)]
    others = [np.arange(len(part.labels)) % 10 != 3 for part in sets]
    rest = [Scored(s.logits[kept], s.labels[kept]) for s, kept in zip(sets, others, strict=True)]
    before = cross_fitted_temperatures(sets)
    assert before[1][3] == before[0][33] == fit_temperature(rest)
    sets[0].labels[3] = (sets[0].labels[3] + 1) % 6
    after = cross_fitted_temperatures(sets)
    for some, same, kept in zip(before, after, others, strict=True):
        assert ((some == same)[:, 0] == ~kept).all()


def test_a_face_that_is_alone_in_its_set_is_measured_at_the_temperature_of_the_others() -> None:
    one, others = drawn(1.0, 1, seed=12), drawn(0.7, 300, seed=13)
    (alone,), _ = cross_fitted_temperatures([one, others])
    assert alone == pytest.approx(0.7, rel=0.3)


def test_the_threshold_is_where_answers_begin_to_be_right_more_often_than_wrong() -> None:
    calibrated = drawn(1.0, 20000, seed=7)
    assert choose_threshold([calibrated], 1.0) == pytest.approx(0.5, abs=0.05)


def test_a_network_that_is_always_right_never_abstains() -> None:
    logits = np.eye(6) * 3
    assert choose_threshold([Scored(logits, np.arange(6))], 1.0) == 0.0


def test_faces_that_are_surely_wrong_are_left_out() -> None:
    sure = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.62, 0.38], [0.62, 0.38]]))
    scored = Scored(sure, np.array([0, 0, 1, 1]))
    threshold = choose_threshold([scored], 1.0)
    assert threshold == 0.65
    assert threshold in THRESHOLDS


def test_data_sets_weigh_the_same_for_offsets_and_threshold_too() -> None:
    small, large = drawn(0.5, 200, seed=5), drawn(2.0, 200, seed=6)
    moved = Scored(large.logits + np.eye(6)[0], large.labels)
    repeated = Scored.pool([moved] * 9)
    assert fit_offsets([small, repeated]) == pytest.approx(fit_offsets([small, moved]), abs=1e-3)
    wrong = Scored(np.eye(6)[[0] * 10], np.array([0] * 4 + [1] * 6))
    right = Scored(np.eye(6)[[0] * 90], np.array([0] * 50 + [1] * 40))
    often = Scored.pool([right] * 9)
    assert choose_threshold([wrong, often], 1.0) == choose_threshold([wrong, right], 1.0) > 0
