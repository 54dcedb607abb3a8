"""The float file: the precision it is stored in, and its check against the network."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from tests.training.generated import noise_faces, random_network
from training import artefact
from training.artefact import SCRIPT_BOUND, load, score, write_float
from training.errors import ExportError
from training.network import GiMeFive

FACES = noise_faces("set", each=1)


def test_float16_is_stored_if_the_logits_stay_close(tmp_path: Path) -> None:
    path = tmp_path / "model.fp32.pt"
    assert write_float(random_network(), path, FACES) == "float16"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    stored = torch.jit.load(path)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert {p.dtype for p in stored.parameters()} == {torch.float16}
    exact = score(random_network(), FACES)
    assert abs(score(load(path), FACES).logits - exact.logits).max() < 0.05


def test_float32_is_stored_if_a_weight_overflows_float16(tmp_path: Path) -> None:
    network = random_network()
    with torch.no_grad():
        network.fc3.bias.add_(70_000)  # the largest float16 is 65,504
    assert write_float(network, tmp_path / "model.fp32.pt", FACES) == "float32"
    assert [path.name for path in tmp_path.iterdir()] == ["model.fp32.pt"]
    assert {p.dtype for p in load(tmp_path / "model.fp32.pt").parameters()} == {torch.float32}


def test_script_with_deviating_logits_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_script = artefact._write_script

    def write_another(network: GiMeFive, path: Path) -> None:
        other = deepcopy(network)
        with torch.no_grad():
            other.fc3.bias[2] += 2 * SCRIPT_BOUND
        write_script(other, path)

    monkeypatch.setattr(artefact, "_write_script", write_another)
    with pytest.raises(ExportError, match="off by"):
        write_float(random_network(), tmp_path / "model.fp32.pt", FACES)
