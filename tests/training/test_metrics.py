"""Each metric against examples computed by hand or by another library."""

from math import isnan, log, sqrt

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.calibration import softmax
from training import metrics

# Four faces, three classes: correct, correct, wrong, wrong; no face of class 2.
SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.3, 0.1, 0.6]])
LABELS = np.array([0, 1, 1, 0])


def test_accuracy_is_the_share_of_correct_answers() -> None:
    assert metrics.accuracy(SCORES[:3], LABELS[:3]) == pytest.approx(2 / 3)


def test_confusion_matrix_has_labels_in_rows_and_answers_in_columns() -> None:
    assert metrics.confusion(SCORES, LABELS).tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_recall_uses_rows_and_precision_uses_columns() -> None:
    counts = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(metrics.recall(counts), [0.8, 0.75, np.nan])
    np.testing.assert_allclose(metrics.precision(counts), [8 / 9, 3 / 5, np.nan])


def test_macro_recall_ignores_classes_without_faces() -> None:
    assert metrics.macro_recall(np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])) == pytest.approx(0.775)


def test_negative_log_likelihood_equals_cross_entropy() -> None:
    by_hand = -(log(0.7) + log(0.8) + log(0.1) + log(0.3)) / 4
    assert metrics.negative_log_likelihood(SCORES, LABELS) == pytest.approx(by_hand)
    logits = np.random.default_rng(1).normal(size=(50, 6))
    labels = np.arange(50) % 6
    by_torch = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    found = metrics.negative_log_likelihood(softmax(logits), labels)
    assert found == pytest.approx(float(by_torch))


def test_nll_is_finite_if_the_label_has_score_zero() -> None:
    assert np.isfinite(metrics.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])))


def test_calibration_error_weights_bins_by_number_of_faces() -> None:
    # Of 15 bins, 0.7 (twice), 0.6 and 0.8 lie in (10/15, 11/15], (8/15, 9/15], (11/15, 12/15].
    by_hand = (2 * abs(0.5 - 0.7) + abs(1 - 0.8) + abs(0 - 0.6)) / 4
    assert metrics.calibration_error(SCORES, LABELS) == pytest.approx(by_hand)


def test_chance_calibration_error_matches_labels_sampled_from_the_scores() -> None:
    rng = np.random.default_rng(3)
    tops = rng.beta(4, 2, size=300) * 0.5 + 0.5
    scores = np.stack([tops, 1 - tops], axis=1)
    drawn = (rng.random((2000, 300)) >= tops).astype(np.int64)
    simulated = np.mean([metrics.calibration_error(scores, labels) for labels in drawn])
    rows = metrics.reliability(scores, drawn[0])
    expected = metrics.chance_calibration_error([(r.faces, r.confidence) for r in rows if r.faces])
    assert expected == pytest.approx(simulated, rel=0.02)


@pytest.mark.parametrize(("faces", "score", "error"), [(1, 0.5, 0.5), (2, 0.5, 0.25), (9, 1.0, 0)])
def test_chance_calibration_error_of_a_single_bin(faces: int, score: float, error: float) -> None:
    assert metrics.chance_calibration_error([(faces, score)]) == pytest.approx(error)


def test_reliability_bins_include_their_upper_edge() -> None:
    tops = np.array([0.5, 0.5000001, 1.0])
    scores = np.stack([tops, 1 - tops], axis=1)
    rows = metrics.reliability(scores, np.zeros(3, dtype=np.int64), bins=2)
    assert [row.faces for row in rows] == [1, 2]
    assert [(row.low, row.high) for row in rows] == [(0.0, 0.5), (0.5, 1.0)]
    assert rows[1].confidence == pytest.approx(0.75, abs=1e-6)


def test_empty_bin_has_nan_confidence_and_accuracy() -> None:
    first = metrics.reliability(SCORES, LABELS)[0]
    assert first.faces == 0
    assert isnan(first.confidence)
    assert isnan(first.accuracy)


def test_coverage_falls_with_the_threshold() -> None:
    rows = metrics.coverage(SCORES, LABELS, np.array([0.0, 0.65, 0.8, 0.9]))
    assert [row.coverage for row in rows] == [1.0, 0.75, 0.25, 0.0]
    assert [row.accuracy for row in rows[:3]] == pytest.approx([0.5, 2 / 3, 1.0])
    assert isnan(rows[3].accuracy)


@pytest.mark.parametrize(("right", "total"), [(8, 10), (1, 40), (500, 600)])
def test_wilson_bounds_solve_the_score_test(right: int, total: int) -> None:
    share = right / total
    for bound in metrics.wilson(share, total):
        error = sqrt(bound * (1 - bound) / total)
        assert abs(share - bound) == pytest.approx(1.959964 * error)


def test_wilson_bounds_stay_between_zero_and_one() -> None:
    assert metrics.wilson(0.0, 5)[0] == 0.0
    assert metrics.wilson(1.0, 5)[1] == 1.0
    assert metrics.wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
