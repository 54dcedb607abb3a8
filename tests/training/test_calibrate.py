"""Calibration, offsets and threshold for faces whose true probabilities are known."""

from dataclasses import astuple, replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.calibration import Calibration
from tests.training.generated import sampled_scores
from training.calibrate import (
    choose_threshold,
    cross_fitted_scores,
    fit_calibration,
    fit_offsets,
)
from training.report import THRESHOLDS, Scored

UNCHANGED = Calibration(1.0)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_fit_recovers_the_true_calibration(temperature: float, exponent: float) -> None:
    scored = sampled_scores(temperature, 20000, seed=3, exponent=exponent)
    found = fit_calibration([scored])
    spread = scored.logits.std(axis=1)
    assert found.exponent == pytest.approx(exponent, abs=0.15)
    fitted = found.temperature / spread**found.exponent
    assert fitted == pytest.approx(temperature / spread**exponent, rel=0.15)


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


def test_fitted_calibration_minimises_the_nll() -> None:
    scored = sampled_scores(0.7, 300, seed=4, exponent=0.4)
    logits, labels = torch.from_numpy(scored.logits), torch.from_numpy(scored.labels)
    spread = logits.std(dim=1, correction=0, keepdim=True)

    def loss(temperature: float, exponent: float) -> float:
        return float(functional.cross_entropy(logits * spread**exponent / temperature, labels))

    found = fit_calibration([scored])
    others = product(np.geomspace(0.05, 20, 60), np.linspace(0, 2, 60))
    assert loss(found.temperature, found.exponent) <= min(loss(*other) for other in others) + 1e-4


def test_scores_that_would_have_to_be_flatter_where_logits_spread_get_one_temperature() -> None:
    assert fit_calibration([sampled_scores(1.0, 8000, seed=14, exponent=-0.5)]).exponent < 1e-3


def test_answers_that_are_all_right_are_scored_as_certain() -> None:
    right = Scored(np.eye(6) * 3, np.arange(6))
    assert fit_calibration([right]).scores(right.logits).max() > 0.999


def test_calibration_weights_data_sets_equally_regardless_of_size() -> None:
    small, large = sampled_scores(0.5, 200, seed=5), sampled_scores(2.0, 200, seed=6)
    repeated = fit_calibration([small, Scored.pool([large] * 9)])
    once = fit_calibration([small, large])
    assert astuple(repeated) == pytest.approx(astuple(once), abs=2e-4)


def test_rare_faces_of_an_evened_set_count_for_more_in_the_calibration() -> None:
    scored, other = sampled_scores(0.7, 400, seed=15), sampled_scores(1.5, 100, seed=16)
    most = np.array([22, 22, 22, 22, 22, 10])  # fear is half as frequent as one in six
    places = [np.flatnonzero(scored.labels == k)[:n] for k, n in enumerate(most)]
    uneven, doubled = (
        Scored(scored.logits[taken], scored.labels[taken])
        for taken in map(np.concatenate, (places, [*places, places[5]]))
    )
    found = fit_calibration([replace(uneven, evened=1.0), other])
    assert astuple(found) == pytest.approx(astuple(fit_calibration([doubled, other])), abs=2e-4)
    assert astuple(found) != pytest.approx(astuple(fit_calibration([uneven, other])), abs=2e-4)


def test_cross_fitted_scores_exclude_the_faces_of_their_own_fold() -> None:
    sets = [sampled_scores(0.5, 40, seed=10), sampled_scores(2.0, 25, seed=11)]
    others = [np.arange(len(part.labels)) % 10 != 3 for part in sets]
    rest = [Scored(s.logits[kept], s.labels[kept]) for s, kept in zip(sets, others, strict=True)]
    before = cross_fitted_scores(sets)
    np.testing.assert_allclose(before[1][3], fit_calibration(rest).scores(sets[1].logits[3]))
    sets[0].labels[3] = (sets[0].labels[3] + 1) % 6
    after = cross_fitted_scores(sets)
    for some, same, kept in zip(before, after, others, strict=True):
        assert ((some == same).all(axis=1) == ~kept).all()


def test_single_face_set_is_calibrated_by_the_other_sets() -> None:
    one, others = sampled_scores(1.0, 1, seed=12), sampled_scores(0.7, 300, seed=13)
    (alone,), _ = cross_fitted_scores([one, others])
    kept = np.arange(300) % 10 != 0
    rest = Scored(others.logits[kept], others.labels[kept])
    np.testing.assert_allclose(alone, fit_calibration([rest]).scores(one.logits[0]))


def test_threshold_of_calibrated_scores_is_near_one_half() -> None:
    calibrated = sampled_scores(1.0, 20000, seed=7)
    assert choose_threshold([calibrated], UNCHANGED) == pytest.approx(0.5, abs=0.05)


def test_threshold_is_zero_if_every_answer_is_correct() -> None:
    logits = np.eye(6) * 3
    assert choose_threshold([Scored(logits, np.arange(6))], UNCHANGED) == 0.0


def test_threshold_is_just_above_scores_whose_answers_are_wrong() -> None:
    sure = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.62, 0.38], [0.62, 0.38]]))
    scored = Scored(sure, np.array([0, 0, 1, 1]))
    threshold = choose_threshold([scored], UNCHANGED)
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
    threshold = choose_threshold([wrong, right], UNCHANGED)
    assert choose_threshold([wrong, often], UNCHANGED) == threshold > 0
