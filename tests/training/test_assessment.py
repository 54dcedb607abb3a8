"""What a card says of a version's files follows from the files themselves."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.conftest import Exported
from training.artefact import load
from training.calibrate import fit_calibration
from training.conditions import CONDITIONS, under
from training.data import FaceSet, read, split
from training.report import Scored


@pytest.fixture(scope="module")
def card(exported: Exported) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((exported.folder / "card.json").read_text())
    return document


@pytest.fixture(scope="module")
def held_out(exported: Exported) -> list[FaceSet]:
    return [split(read(path), 5).held_out for path in exported.data]


def logits(exported: Exported, entry: dict[str, Any], faces: FaceSet) -> NDArray[np.float64]:
    """The logits ``[N, 6]`` of one of the files."""
    module = load(exported.folder / entry["file"], entry.get("engine"))
    with torch.inference_mode():
        values: NDArray[np.float64] = module(torch.from_numpy(faces.faces)).double().numpy()
    return values


def test_each_file_has_the_calibration_and_the_agreement_of_its_own_answers(
    exported: Exported, card: dict[str, Any], held_out: list[FaceSet]
) -> None:
    answers = {}
    for precision, entry in card["precisions"].items():
        scored = [Scored(logits(exported, entry, faces), faces.labels) for faces in held_out]
        fitted = fit_calibration(scored)
        assert entry["temperature"] == pytest.approx(fitted.temperature, rel=0.01)
        assert entry["exponent"] == pytest.approx(fitted.exponent, abs=0.01)
        answers[precision] = np.concatenate([part.logits.argmax(axis=1) for part in scored])
    for precision, entry in card["precisions"].items():
        same = answers[precision] == answers["fp32"]
        assert entry["agreement"] == pytest.approx(same.mean(), abs=1e-6)


def test_robustness_is_the_accuracy_of_the_default_file_on_changed_held_out_faces(
    exported: Exported, card: dict[str, Any], held_out: list[FaceSet]
) -> None:
    assert set(card["robustness"]) == set(CONDITIONS)
    entry = card["precisions"][card["default_precision"]["cpu"]]
    for condition, by_set in card["robustness"].items():
        for faces in held_out:
            right = logits(exported, entry, under(condition, faces)).argmax(axis=1) == faces.labels
            assert by_set[faces.name]["value"] == pytest.approx(right.mean(), abs=1e-6)
