"""The commands that evaluate, calibrate, describe and compare stored versions."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from service.calibration import Calibration
from tests.training.conftest import Exported
from tests.training.generated import write_zip
from training import evaluate as evaluation
from training.__main__ import app
from training.artefact import score
from training.compare import compare
from training.data import read
from training.errors import ExportError
from training.network import logits_of

ROOT = Path(__file__).parents[2]


def output_of(*arguments: str | Path) -> list[str]:
    """The lines that a successful command prints."""
    result = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


def test_evaluate_prints_one_line_per_data_set(exported: Exported) -> None:
    lines = output_of(
        "evaluate", exported.folder / "model.fp32.pt", *exported.data, exported.unseen
    )
    faces = read(exported.unseen)
    right = score(exported.network(), faces).accuracy
    assert [line.split(":")[0] for line in lines] == ["raf-noise", "fer2013-noise", "elsewhere"]
    assert lines[2].startswith(f"elsewhere: 12 faces, accuracy {right:.1%} (")


@pytest.mark.parametrize("file", ["model.fp32.pt", "model.int8.pt"])
def test_evaluation_on_the_held_out_set_matches_the_card(
    exported: Exported, file: str, tmp_path: Path
) -> None:
    output_of(
        "evaluate", exported.folder / file, *exported.data, "--part", "held_out", "--out", tmp_path
    )
    card = json.loads((exported.folder / "card.json").read_text())
    for name in ("raf-noise", "fer2013-noise"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        written = card["metrics"]["held_out"][name][file.split(".")[1]]
        assert found["confusion"] == written["confusion"]
        assert found["nll"]["before"] == pytest.approx(written["nll"]["before"], rel=1e-4)


def test_evaluate_writes_a_figure(exported: Exported, tmp_path: Path) -> None:
    output_of(
        "evaluate", exported.folder / "model.int8.pt", exported.unseen, "--out", tmp_path / "new"
    )
    with Image.open(tmp_path / "new" / "elsewhere.png") as picture:
        assert picture.width > picture.height > 300
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 100


def test_mirrored_option_adds_accuracy_averaged_with_mirror_images(exported: Exported) -> None:
    file = exported.folder / "model.fp32.pt"
    _, line = output_of("evaluate", file, exported.unseen, "--mirrored")
    faces, network = read(exported.unseen), exported.network()
    seen = torch.from_numpy(faces.faces)
    answers = (logits_of(network, seen) + logits_of(network, seen.flip(2))).argmax(dim=1)
    right = float((answers.numpy() == faces.labels).mean())
    assert line == f"elsewhere, averaged with mirror images: {right:.1%}"


@pytest.mark.parametrize(("part", "faces"), [("train", 48), ("validation", 6), ("held_out", 6)])
def test_part_option_evaluates_the_number_of_faces_of_that_part(
    exported: Exported, part: str, faces: int
) -> None:
    (line,) = output_of(
        "evaluate", exported.folder / "model.fp32.pt", exported.data[0], "--part", part
    )
    assert line.startswith(f"raf-noise: {faces} faces")


@pytest.mark.parametrize("command", ["evaluate --part held_out", "calibrate"])
def test_parts_of_a_changed_or_unknown_data_set_are_rejected(
    command: str, exported: Exported, tmp_path: Path
) -> None:
    name, *rest = command.split()
    faces = read(exported.data[0])
    other = write_zip(faces.take(np.arange(len(faces) - 1)), tmp_path)
    for data in (other, exported.unseen):
        with pytest.raises(ExportError, match="held_out may contain training faces: give the"):
            output_of(name, exported.folder / "model.fp32.pt", data, *rest)
    assert output_of("evaluate", exported.folder / "model.fp32.pt", other)


def test_calibrate_reproduces_calibration_and_held_out_results_of_the_card(
    exported: Exported,
) -> None:
    card = json.loads((exported.folder / "card.json").read_text())
    entry = card["precisions"]["int8"]
    calibration = Calibration(entry["temperature"], entry["exponent"])
    lines = output_of("calibrate", exported.folder / "model.int8.pt", *exported.data)
    assert lines[:2] == [f"in the card: {calibration}", f"fitted here: {calibration}"]
    held_out = card["metrics"]["held_out"]
    assert list(held_out) == ["raf-noise", "fer2013-noise", "pooled"]
    assert lines[2:] == [evaluation.line(name, by["int8"]) for name, by in held_out.items()]


def test_describe_reproduces_page_and_figures(exported: Exported, tmp_path: Path) -> None:
    shutil.copy(exported.folder / "card.json", tmp_path)
    output_of("describe", tmp_path)
    for name in ("README.md", "curves.png", "confusion.png", "reliability.png"):
        assert (tmp_path / name).read_bytes() == (exported.folder / name).read_bytes(), name


def test_altered_file_is_rejected(exported: Exported, tmp_path: Path) -> None:
    shutil.copy(exported.folder / "card.json", tmp_path)
    (tmp_path / "model.int8.pt").write_bytes(b"something else")
    with pytest.raises(ExportError, match="was altered"):
        output_of("evaluate", tmp_path / "model.int8.pt", exported.unseen)


def test_file_that_is_not_in_the_card_is_rejected(exported: Exported) -> None:
    with pytest.raises(ExportError, match=r"does not name model\.onnx"):
        output_of("evaluate", exported.folder / "model.onnx", exported.unseen)


def test_command_error_is_one_line_without_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "describe", str(tmp_path)])
    monkeypatch.delitem(sys.modules, "training.__main__")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("training", run_name="__main__")
    assert exit_.value.code == f"error: {tmp_path}/card.json: No such file or directory"


def test_compare_tabulates_the_results_in_the_cards_of_versions(
    exported: Exported, tmp_path: Path
) -> None:
    card = json.loads((exported.folder / "card.json").read_text())
    precision = card["default_precision"]["cpu"]
    card["version"] = "10"
    card["metrics"]["held_out"]["raf-noise"][precision]["accuracy"]["value"] = 0.987
    del card["metrics"]["unseen"]["elsewhere"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    header, _, *lines = output_of("compare", tmp_path, exported.folder)
    assert [name.strip() for name in header.split("|")[2:-1]] == ["version 7", "version 10"]
    rows = {name.strip(): values for _, name, *values, _ in (line.split("|") for line in lines)}
    assert rows["raf-noise: accuracy, %"][1].strip() == "98.7"
    assert rows["elsewhere: NLL"][1].strip() == "-"
    tilted = card["robustness"]["tilted by 20 degrees"]["raf-noise"]["value"]
    assert [v.strip() for v in rows["raf-noise, tilted by 20 degrees: accuracy, %"]] == 2 * [
        f"{100 * tilted:.1f}"
    ]


def test_history_document_compares_every_stored_version() -> None:
    versions = (ROOT / "model_store" / "gimefive").iterdir()
    folders = sorted(versions, key=lambda folder: int(folder.name))
    assert compare(folders) in (ROOT / "training" / "HISTORY.md").read_text()
