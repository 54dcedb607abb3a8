"""Each part of a data set is used only for its purpose; no result is on training faces."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.training.conftest import Exported
from tests.training.generated import (
    noise_faces,
    random_network,
    sampled_scores,
    write_run,
    write_zip,
)
from tests.training.in_process import train_in_process
from training import ablation, export, material
from training.__main__ import app
from training.ablation import BASE, Answers, Faces
from training.artefact import load, score
from training.calibrate import fit_calibration, fit_offsets
from training.data import FaceSet, digests, read, split
from training.errors import ExportError
from training.evening import evened
from training.evidence import Evidence, Findings
from training.material import Material, Order
from training.network import GiMeFive, with_folded_norms
from training.recipe import Recipe
from training.report import Scored


def test_split_for_a_seed_stays_the_same() -> None:
    """Otherwise training faces of stored versions would count as held out."""
    parts = split(noise_faces("set", each=20), seed=2402)
    kept = ("20.png", "28.png", "42.png", "65.png", "67.png", "105.png")
    assert parts.validation.files == kept


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_runs_use_only_the_training_and_validation_sets(
    command: str, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "train", train_in_process)
    data, chosen = write_zip(noise_faces("set", each=20), tmp_path), tmp_path / "chosen.json"
    recipe = {"images": 8, "batch": 8, "stages": [{"share": 1, "pixels": 32}], "seed": 5}
    base = {"base": recipe | {"start": str(exported.folder)}, "rows": {}}
    chosen.write_text(json.dumps(recipe if command == "train" else base))
    arguments = (
        [str(data), "--recipe", str(chosen)] if command == "train" else [str(chosen), str(data)]
    )
    run = tmp_path / "run"
    CliRunner().invoke(app, [command, *arguments, "--out", str(run)], catch_exceptions=False)
    parts = split(read(data), 5)
    data_file = (run if command == "train" else run / BASE) / "data.json"
    assert json.loads(data_file.read_text()) == digests([parts.train], [parts.validation])


def test_ablation_is_calibrated_on_the_validation_set() -> None:
    parts = split(noise_faces("set", each=40), 5)
    validation, held_out = sampled_scores(0.5, 200, seed=1), sampled_scores(2.0, 200, seed=2)
    scores = {id(parts.validation): validation, id(parts.held_out): held_out}
    answers = Answers.of(lambda part: scores[id(part)], Faces((parts,), ()))
    offsets = np.array(fit_offsets([validation]))
    calibration = fit_calibration([Scored(validation.logits + offsets, validation.labels)])
    expected = calibration.scale(held_out.logits + offsets)
    np.testing.assert_allclose(answers.held_out["set"].logits, expected)


def test_offsets_are_fitted_on_the_validation_set(exported: Exported) -> None:
    card = json.loads((exported.folder / "card.json").read_text())
    network = with_folded_norms(random_network())
    scored = [score(network, split(read(path), 5).validation) for path in exported.data]
    assert list(card["offsets"].values()) == pytest.approx(fit_offsets(scored), abs=1e-3)


def test_averaging_shares_are_chosen_on_the_validation_set(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[FaceSet] = []

    def averaged(
        networks: Sequence[torch.nn.Module], faces: Sequence[FaceSet]
    ) -> tuple[torch.nn.Module, tuple[float, ...]]:
        seen.extend(faces)
        return networks[0], (1.0,)

    monkeypatch.setattr(material, "averaged", averaged)
    arguments = [*exported.arguments, "--store", str(tmp_path)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    expected = [split(read(path), 5).validation.files for path in exported.data]
    assert [faces.files for faces in seen] == expected


def test_frequencies_are_evened_out_from_the_training_set_and_back_for_the_next_version(
    tmp_path: Path,
) -> None:
    faces = noise_faces("uneven", each=20)
    faces = faces.take(np.flatnonzero((faces.labels < 4) | (np.arange(len(faces)) < 30)))
    data, run = write_zip(faces, tmp_path), tmp_path / "run"
    write_run(run, [faces], Recipe(seed=5))

    def exported_from(folder: Path) -> GiMeFive:
        return Material.read(Order(folder, (), (data,), {}, (), tmp_path, version=2)).network

    network = exported_from(run)
    expected = evened(network, [split(faces, 5).train], {"uneven": 0.7}).fc3
    arguments = [str(run), str(data), "--evened", "uneven=0.7", "--store", str(tmp_path)]
    CliRunner().invoke(app, ["export", *arguments, "--version", "1"], catch_exceptions=False)
    version = tmp_path / "gimefive" / "1"
    stored = load(version / "model.fp32.pt").state_dict()
    assert (expected.bias - network.fc3.bias).abs().max() > 0.1
    torch.testing.assert_close(stored["fc3.bias"], expected.bias, atol=0.01, rtol=0)
    torch.testing.assert_close(stored["fc3.weight"], expected.weight, atol=0.01, rtol=0)
    again = exported_from(version).fc3
    torch.testing.assert_close(again.bias, network.fc3.bias, atol=0.01, rtol=0)
    torch.testing.assert_close(again.weight, network.fc3.weight, atol=0.01, rtol=0)


def test_int8_scales_are_calibrated_on_training_faces(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[FaceSet] = []

    def write_int8(_network: object, _path: object, faces: FaceSet) -> None:
        seen.append(faces)
        raise ExportError("enough")

    monkeypatch.setattr(export, "write_int8", write_int8)
    arguments = [*exported.arguments, "--store", str(tmp_path)]
    with pytest.raises(ExportError, match="enough"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    train = {face.tobytes() for path in exported.data for face in split(read(path), 5).train.faces}
    assert {face.tobytes() for face in seen[0].faces} <= train


def test_threshold_is_chosen_on_the_validation_set() -> None:
    labels = np.arange(600) % 6
    logits = 3 * np.eye(6)[labels]
    always_wrong = Scored(logits, (labels + 1) % 6)
    mostly_right = Scored(logits, np.where(np.arange(600) % 10 < 8, labels, (labels + 1) % 6))
    evidence = Evidence((always_wrong,), {"set": mostly_right}, {})
    assert Findings.of({"fp32": evidence, "int8": evidence}).threshold >= 0.8
