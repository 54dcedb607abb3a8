"""Temperature, offsets and threshold for faces whose true probabilities are known."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.generated import sampled_scores
from training.calibrate import (
    choose_threshold,
    cross_fitted_temperatures,
    fit_offsets,
    fit_temperature,
)
from training.report import THRESHOLDS, Scored


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_fit_temperature_recovers_the_true_temperature(true: float) -> None:
    assert fit_temperature([sampled_scores(true, 8000, seed=3)]) == pytest.approx(true, rel=0.05)


def test_fit_offsets_recovers_the_true_offsets_at_another_temperature() -> None:
    true = np.array([0.9, -0.3, 0.1, -0.4, 0.2, -0.5])
    scored = sampled_scores(0.6, 8000, seed=8)
    shifted = Scored(scored.logits - true, scored.labels)
    assert fit_offsets([shifted]) == pytest.approx(true, abs=0.1)


def test_offset_of_a_class_without_faces_is_finite_and_the_lowest() -> None:
    scored = sampled_scores(1.0, 400, seed=9)
    seen = scored.labels != 2
    offsets = fit_offsets([Scored(scored.logits[seen], scored.labels[seen])])
    assert offsets[2] == min(offsets)
    assert -50 < offsets[2] < -3


def test_fitted_temperature_minimises_the_nll() -> None:
    scored = sampled_scores(0.7, 300, seed=4)
    logits, labels = torch.from_numpy(scored.logits), torch.from_numpy(scored.labels)

    def loss(temperature: float) -> float:
        return float(functional.cross_entropy(logits / temperature, labels))

    found = fit_temperature([scored])
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.05, 20, 400)) + 1e-7


def test_temperature_weights_data_sets_equally_regardless_of_size() -> None:
    small, large = sampled_scores(0.5, 200, seed=5), sampled_scores(2.0, 200, seed=6)
    repeated = Scored.pool([large] * 9)
    assert fit_temperature([small, repeated]) == fit_temperature([small, large])


def test_cross_fitted_temperature_excludes_the_faces_of_its_own_fold() -> None:
    sets = [sampled_scores(0.5, 40, seed=10), sampled_scores(2.0, 25, seed=11)]
    others = [np.arange(len(part.labels)) % 10 != 3 for part in sets]
    rest = [Scored(s.logits[kept], s.labels[kept]) for s, kept in zip(sets, others, strict=True)]
    before = cross_fitted_temperatures(sets)
    assert before[1][3] == before[0][33] == fit_temperature(rest)
    sets[0].labels[3] = (sets[0].labels[3] + 1) % 6
    after = cross_fitted_temperatures(sets)
    for some, same, kept in zip(before, after, others, strict=True):
        assert ((some == same)[:, 0] == ~kept).all()


def test_single_face_set_gets_the_temperature_of_the_other_sets() -> None:
    one, others = sampled_scores(1.0, 1, seed=12), sampled_scores(0.7, 300, seed=13)
    (alone,), _ = cross_fitted_temperatures([one, others])
    assert alone == pytest.approx(0.7, rel=0.3)


def test_threshold_of_calibrated_scores_is_near_one_half() -> None:
    calibrated = sampled_scores(1.0, 20000, seed=7)
    assert choose_threshold([calibrated], 1.0) == pytest.approx(0.5, abs=0.05)


def test_threshold_is_zero_if_every_answer_is_correct() -> None:
    logits = np.eye(6) * 3
    assert choose_threshold([Scored(logits, np.arange(6))], 1.0) == 0.0


def test_threshold_is_just_above_scores_whose_answers_are_wrong() -> None:
    sure = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.62, 0.38], [0.62, 0.38]]))
    scored = Scored(sure, np.array([0, 0, 1, 1]))
    threshold = choose_threshold([scored], 1.0)
    assert threshold == 0.65
    assert threshold in THRESHOLDS


def test_offsets_and_threshold_weight_data_sets_equally_regardless_of_size() -> None:
    small, large = sampled_scores(0.5, 200, seed=5), sampled_scores(2.0, 200, seed=6)
    shifted = Scored(large.logits + np.eye(6)[0], large.labels)
    repeated = Scored.pool([shifted] * 9)
    assert fit_offsets([small, repeated]) == pytest.approx(fit_offsets([small, shifted]), abs=1e-3)
    wrong = Scored(np.eye(6)[[0] * 10], np.array([0] * 4 + [1] * 6))
    right = Scored(np.eye(6)[[0] * 90], np.array([0] * 50 + [1] * 40))
    often = Scored.pool([right] * 9)
    assert choose_threshold([wrong, often], 1.0) == choose_threshold([wrong, right], 1.0) > 0
