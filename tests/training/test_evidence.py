"""What is derived from the scores of the files, above all the default precision."""

import numpy as np
import pytest

from training.evidence import Evidence, Findings
from training.report import Scored, measure


def evidence(right: int, faces: int = 1000) -> Evidence:
    """Scores of `faces` faces, of which the first `right` are answered correctly."""
    labels = np.arange(faces) % 6
    answers = np.where(np.arange(faces) < right, labels, (labels + 1) % 6)
    scored = Scored(3 * np.eye(6)[answers], labels)
    return Evidence((scored,), {"set": scored}, {})


@pytest.mark.parametrize(
    ("right", "default"), [(800, "int8"), (797, "int8"), (796, "fp32"), (805, "int8")]
)
def test_int8_is_the_default_if_it_costs_at_most_0_3_points_of_accuracy(
    right: int, default: str
) -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(right)})
    assert findings.default == default


def test_reason_states_the_accuracy_cost_of_int8() -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(790)})
    assert "int8 costs 1.00 points of held-out accuracy" in findings.reason


def test_agreement_is_the_share_of_equal_answers() -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(790)})
    assert findings.agreement == {"fp32": 1.0, "int8": 0.99}


def test_each_precision_is_evaluated_with_its_own_calibration() -> None:
    findings = Findings.of({"fp32": evidence(950), "int8": evidence(500)})
    assert findings.calibrations["fp32"].temperature < findings.calibrations["int8"].temperature
    for precision, share in (("fp32", 0.95), ("int8", 0.5)):
        report = findings.metrics["held_out"]["set"][precision]
        assert report["accuracy"]["value"] == share
        assert report["ece"]["after"] == pytest.approx(0, abs=1e-3)


def test_unseen_sets_are_evaluated_with_the_calibration_of_the_held_out_set() -> None:
    evidence_by_precision = {"fp32": evidence(950), "int8": evidence(500)}
    found = {
        precision: Evidence(each.validation, each.held_out, {"far": evidence(700).held_out["set"]})
        for precision, each in evidence_by_precision.items()
    }
    findings = Findings.of(found)
    for precision, each in found.items():
        far = each.unseen["far"]
        expected = measure(far, findings.calibrations[precision].scores(far.logits))
        assert findings.metrics["unseen"]["far"][precision] == expected
