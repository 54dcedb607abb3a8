"""The float file: which form is stored, and when none is."""

from pathlib import Path

import pytest
import torch

from tests.training.generated import lively_network, noise_faces
from training import artefact
from training.artefact import load, score, write_float
from training.errors import ExportError

FACES = noise_faces("set", each=1)


def test_half_precision_is_stored_where_it_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.fp32.pt"
    assert write_float(lively_network(), path, FACES) == "float16"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    stored = torch.jit.load(path)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert {p.dtype for p in stored.parameters()} == {torch.float16}
    exact = score(lively_network(), FACES)
    assert abs(score(load(path), FACES).logits - exact.logits).max() < 0.05


def test_single_precision_is_stored_where_half_cannot_hold_a_weight(tmp_path: Path) -> None:
    network = lively_network()
    with torch.no_grad():
        network.fc3.bias.add_(70_000)  # the largest half is 65,504
    assert write_float(network, tmp_path / "model.fp32.pt", FACES) == "float32"
    assert [path.name for path in tmp_path.iterdir()] == ["model.fp32.pt"]
    assert {p.dtype for p in load(tmp_path / "model.fp32.pt").parameters()} == {torch.float32}


def test_a_script_that_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact, "SCRIPT_BOUND", -1.0)
    with pytest.raises(ExportError, match="off by"):
        write_float(lively_network(), tmp_path / "model.fp32.pt", FACES)
