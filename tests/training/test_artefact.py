"""The float file: the precision it is stored in, and its check against the network."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from tests.training.generated import noise_faces, random_network
from training import artefact
from training.artefact import SCRIPT_BOUND, load, score, write_float, write_int8
from training.data import FaceSet
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


@pytest.mark.parametrize("write", [write_float, write_int8])
def test_files_name_no_source_file_and_no_folder_of_the_machine(
    tmp_path: Path, write: Callable[[GiMeFive, Path, FaceSet], object]
) -> None:
    path = tmp_path / "model.pt"
    write(random_network(), path, FACES)
    with ZipFile(path) as records:
        content = b"".join(map(records.read, records.namelist()))
    for folder in (Path(artefact.__file__).parent, Path(torch.__file__).parent, tmp_path):
        assert str(folder).encode() not in content


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
    write = artefact._write

    def write_another(script: torch.jit.ScriptModule, path: Path) -> None:
        other = deepcopy(script)
        with torch.no_grad():
            other.fc3.bias[2] += 2 * SCRIPT_BOUND
        write(other, path)

    monkeypatch.setattr(artefact, "_write", write_another)
    with pytest.raises(ExportError, match="off by"):
        write_float(random_network(), tmp_path / "model.fp32.pt", FACES)
