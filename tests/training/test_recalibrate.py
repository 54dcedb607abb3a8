"""The command that calibrates and measures a stored version anew."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.training.conftest import Exported
from tests.training.generated import write_zip
from training.__main__ import app
from training.data import read
from training.errors import ExportError, TrainingError


@pytest.fixture
def stored(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the version, whose card is calibrated and measured as nobody would."""
    folder = tmp_path / "gimefive" / "7"
    shutil.copytree(exported.folder, folder)
    card = json.loads((folder / "card.json").read_text())
    for entry in card["precisions"].values():
        entry["temperature"] = 9.0
        del entry["exponent"]
    card |= {"threshold": 1.0, "torch": "2.0.0", "metrics": {}, "robustness": {}}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def recalibrate(folder: Path, *data: Path, unseen: Path, version: int = 8) -> str:
    words = ["recalibrate", folder, *data, "--unseen", unseen, "--version", version]
    outcome = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.output


def test_recalibrated_version_has_the_same_files_and_is_measured_anew(
    stored: Path, exported: Exported
) -> None:
    output = recalibrate(stored, *exported.data, unseen=exported.unseen)
    again = stored.with_name("8")
    assert output.splitlines()[-1] == f"{again}: calibrated anew"
    for name in ("model.fp32.pt", "model.int8.pt"):
        assert (again / name).read_bytes() == (exported.folder / name).read_bytes()
    original, card = (json.loads((f / "card.json").read_text()) for f in (exported.folder, again))
    data = f"{exported.data[0].name} {exported.data[1].name} --unseen {exported.unseen.name}"
    assert card["command"] == f"python -m training recalibrate {stored} {data} --version 8"
    differing = {"version": "8", "command": card["command"], "torch": "2.0.0"}
    assert card == original | differing | {"commit": card["commit"]}
    assert "version 8" in (again / "README.md").read_text()
    assert {"curves.png", "confusion.png", "reliability.png"} < {f.name for f in again.iterdir()}


@pytest.mark.parametrize("change", ["order", "faces", "unseen"])
def test_other_data_sets_than_those_of_the_card_are_rejected(
    stored: Path, exported: Exported, tmp_path: Path, change: str
) -> None:
    data, unseen = list(exported.data), exported.unseen
    faces = read(data[0])
    fewer = write_zip(faces.take(np.arange(len(faces) - 1)), tmp_path)
    match change:
        case "order":
            data.reverse()
        case "faces":
            data[0] = fewer
        case _:
            data, unseen = data[1:], fewer
    with pytest.raises(ExportError, match=f"not the data sets of {stored}: give raf-noise.zip"):
        recalibrate(stored, *data, unseen=unseen)
    assert [f.name for f in stored.parent.iterdir()] == ["7"]


def test_altered_file_or_an_existing_version_is_rejected(stored: Path, exported: Exported) -> None:
    def rejected(version: int) -> str:
        with pytest.raises(TrainingError) as caught:
            recalibrate(stored, *exported.data, unseen=exported.unseen, version=version)
        return str(caught.value)

    assert "versions never change" in rejected(7)
    (stored / "model.int8.pt").write_bytes(b"something else")
    assert "model.int8.pt was altered" in rejected(8)
    assert [f.name for f in stored.parent.iterdir()] == ["7"]
