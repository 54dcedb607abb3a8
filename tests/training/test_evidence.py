"""What follows from what the files say: the default precision above all."""

import numpy as np
import pytest

from training.evidence import Evidence, Findings
from training.report import Scored, measure


def evidence(right: int, faces: int = 1000) -> Evidence:
    """Of `faces` held-out faces, `right` are answered rightly."""
    labels = np.arange(faces) % 6
    answers = np.where(np.arange(faces) < right, labels, (labels + 1) % 6)
    scored = Scored(3 * np.eye(6)[answers], labels)
    return Evidence((scored,), {"set": scored}, {})


@pytest.mark.parametrize(
    ("right", "default"), [(800, "int8"), (797, "int8"), (796, "fp32"), (805, "int8")]
)
def test_int8_is_the_default_while_it_costs_no_more_than_three_in_a_thousand(
    right: int, default: str
) -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(right)})
    assert findings.default == default


def test_the_reason_says_what_int8_costs() -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(790)})
    assert "int8 costs 1.00 points of held-out accuracy" in findings.reason


def test_agreement_is_the_part_of_equal_answers() -> None:
    findings = Findings.of({"fp32": evidence(800), "int8": evidence(790)})
    assert findings.agreement == {"fp32": 1.0, "int8": 0.99}


def test_each_precision_is_measured_at_its_own_temperature() -> None:
    findings = Findings.of({"fp32": evidence(950), "int8": evidence(500)})
    assert findings.temperatures["fp32"] < findings.temperatures["int8"]
    for precision, share in (("fp32", 0.95), ("int8", 0.5)):
        report = findings.metrics["held_out"]["set"][precision]
        assert report["accuracy"]["value"] == share
        assert report["ece"]["after"] == pytest.approx(0, abs=1e-3)


def test_sets_that_were_never_seen_are_measured_at_the_temperature_of_the_held_out_faces() -> None:
    said = {"fp32": evidence(950), "int8": evidence(500)}
    found = {
        precision: Evidence(each.validation, each.held_out, {"far": evidence(700).held_out["set"]})
        for precision, each in said.items()
    }
    findings = Findings.of(found)
    for precision, each in found.items():
        expected = measure(each.unseen["far"], findings.temperatures[precision])
        assert findings.metrics["unseen"]["far"][precision] == expected
