"""The export command: complete versions, consistent with their card, never overwritten."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from service.calibration import Calibration
from service.store import ModelStore
from tests.training.conftest import Exported
from tests.training.generated import HISTORY, noise_faces, random_network, write_zip
from training import __main__ as commands
from training import evidence, export
from training.__main__ import app
from training.artefact import load
from training.data import FaceSet, read
from training.errors import DataError, ExportError, RunError
from training.network import GiMeFive, logits_of
from training.report import Scored

FACES = torch.from_numpy(noise_faces("other", each=1, seed=9).faces)


@pytest.fixture(scope="module")
def card(exported: Exported) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((exported.folder / "card.json").read_text())
    return document


def run_command(arguments: list[str], store: Path) -> None:
    CliRunner().invoke(app, [*arguments, "--store", str(store)], catch_exceptions=False)


def test_version_folder_contains_models_card_page_and_figures(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {
        "model.fp32.pt",
        "model.int8.pt",
        "card.json",
        "README.md",
        "curves.png",
        "confusion.png",
        "reliability.png",
    }
    assert [path.name for path in exported.folder.parent.iterdir()] == ["7"]


def test_card_records_digest_and_size_of_each_file(
    exported: Exported, card: dict[str, Any]
) -> None:
    for entry in card["precisions"].values():
        data = (exported.folder / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)


def test_model_store_accepts_the_exported_version(exported: Exported) -> None:
    stored = ModelStore(exported.folder.parent.parent).gimefive()
    assert stored.card.version == "7"
    assert set(stored.card.precisions) == {"fp32", "int8"}


def test_card_describes_input_layers_defaults_recipes_and_history(card: dict[str, Any]) -> None:
    assert card["input"] == {"shape": ["N", 64, 64], "dtype": "uint8", "colour": "grey"}
    assert card["layers"]["conv1"] == [64, 64, 64]
    assert card["layers"]["conv5"] == [1024, 4, 4]
    assert card["default_precision"]["cuda"] == "fp16"
    assert card["default_precision"]["cpu"] in {"fp32", "int8"}
    assert [recipe["images"] for recipe in card["recipes"]] == [500, 300]
    assert card["history"][: len(HISTORY)] == HISTORY
    assert [row["images"] for row in card["history"][len(HISTORY) :]] == [600, 700, 800, 900, 1000]


def test_card_lists_face_counts_and_licence_of_data_sets(card: dict[str, Any]) -> None:
    counted = {source["name"]: source for source in card["data"]}
    assert counted["raf-noise"]["images"] == 60
    assert counted["raf-noise"]["parts"] == {"train": 48, "validation": 6, "held_out": 6}
    assert counted["elsewhere"]["parts"] == {"unseen": 12}
    assert set(counted["fer2013-noise"]["classes"].values()) == {10}
    assert "non-commercial research only" in counted["raf-noise"]["licence"]
    assert "not known" in counted["elsewhere"]["licence"]


def test_card_command_names_data_sets_without_their_folders(
    exported: Exported, card: dict[str, Any]
) -> None:
    words = f"export {exported.run} raf-noise.zip fer2013-noise --unseen elsewhere.zip --version 7"
    assert card["command"] == f"python -m training {words}"


def test_pooled_confusion_is_the_sum_over_data_sets(card: dict[str, Any]) -> None:
    held_out = card["metrics"]["held_out"]
    for precision in ("fp32", "int8"):
        parts = [np.array(held_out[name][precision]["confusion"]) for name in held_out]
        np.testing.assert_array_equal(parts[0] + parts[1], parts[2])
        assert parts[2].sum() == held_out["pooled"][precision]["images"] == 12


def test_float_file_matches_the_network_and_keeps_its_methods(exported: Exported) -> None:
    module = load(exported.folder / "model.fp32.pt")
    network = exported.network()
    assert set(module.state_dict()) == set(GiMeFive().state_dict())
    with torch.inference_mode():
        logits = module(FACES)
        torch.testing.assert_close(logits, network(FACES), atol=0.05, rtol=0)
        torch.testing.assert_close(module.normalise(FACES), network.normalise(FACES))
        for layer in (1, 5):
            torch.testing.assert_close(module.head(module.features(FACES, layer), layer), logits)


def test_int8_file_has_logits_close_to_the_network(
    exported: Exported, card: dict[str, Any]
) -> None:
    engine = card["precisions"]["int8"]["engine"]
    exact = logits_of(exported.network(), FACES)
    found = logits_of(load(exported.folder / "model.int8.pt", engine), FACES)
    spread = logits_of(random_network(), FACES).std()
    assert float((found - exact).square().mean().sqrt()) < 0.05 * float(spread)


def test_existing_version_is_not_overwritten(exported: Exported) -> None:
    before = (exported.folder / "card.json").read_bytes()
    with pytest.raises(ExportError, match="versions never change: choose another --version"):
        run_command(exported.arguments, exported.folder.parent.parent)
    assert (exported.folder / "card.json").read_bytes() == before


def test_failed_export_leaves_no_files(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(network: GiMeFive, path: Path, faces: FaceSet) -> None:
        assert network.training is False
        path.write_bytes(faces.faces[:1].tobytes())
        raise ExportError(f"no room for {path.name}")

    monkeypatch.setattr(export, "write_int8", fail)
    with pytest.raises(ExportError, match=r"no room for model\.int8\.pt"):
        run_command(exported.arguments, tmp_path)
    assert list((tmp_path / "gimefive").iterdir()) == []


def test_unfinished_run_is_rejected(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.run, tmp_path / "run")
    (tmp_path / "run" / "weights.pt").unlink()
    arguments = ["export", str(tmp_path / "run"), *exported.arguments[2:]]
    with pytest.raises(RunError, match=r"weights\.pt is missing: is the run finished\?"):
        run_command(arguments, tmp_path)


def test_stored_version_can_be_exported_again(exported: Exported, tmp_path: Path) -> None:
    """The weights stay the same; offsets, temperatures and results are computed again."""
    run_command(["export", str(exported.folder), *exported.arguments[2:]], tmp_path)
    again = tmp_path / "gimefive" / "7"
    before, card = (json.loads((f / "card.json").read_text()) for f in (exported.folder, again))
    assert card["recipes"] == before["recipes"]
    assert list(card["offsets"].values()) == pytest.approx([0] * 6, abs=0.1)  # already included
    old, new = (load(f / "model.fp32.pt").state_dict() for f in (exported.folder, again))
    assert all(torch.equal(old[name], new[name]) for name in old if name != "fc3.bias")


def test_averaging_with_identical_weights_gives_them_no_share(
    exported: Exported, tmp_path: Path
) -> None:
    """Identical weights do not lower the validation loss."""
    same = exported.folder
    run_command([*exported.arguments, "--averaged-with", str(same)], tmp_path)
    again = tmp_path / "gimefive" / "7"
    card = json.loads((again / "card.json").read_text())
    assert card["averaged"] == {str(exported.run): 1, str(same): 0}
    assert f"--averaged-with {same}" in card["command"]
    page = " ".join((again / "README.md").read_text().split())
    assert f"`{exported.run}` 100%, `{same}` 0%" in page
    old, new = (load(f / "model.fp32.pt").state_dict() for f in (same, again))
    assert all(torch.equal(old[name], new[name]) for name in old if name != "fc3.bias")


def test_evened_data_set_is_on_the_card_and_counts_so_in_every_calibration(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []

    def fit(sets: Sequence[Scored]) -> Calibration:
        seen.append([part.evened for part in sets])
        return Calibration(1.0)

    monkeypatch.setattr(evidence, "fit_calibration", fit)
    monkeypatch.setattr(commands, "fit_calibration", fit)
    run_command([*exported.arguments, "--evened", "raf-noise=0.5"], tmp_path)
    again = tmp_path / "gimefive" / "7"
    card = json.loads((again / "card.json").read_text())
    assert card["evened"] == {"raf-noise": 0.5}
    assert "--evened raf-noise=0.5" in card["command"]
    assert "raf-noise (by 50%)" in " ".join((again / "README.md").read_text().split())
    data = [str(path) for path in exported.data]
    recalibrate = ["recalibrate", str(again), *data, "--unseen", str(exported.unseen)]
    CliRunner().invoke(app, [*recalibrate, "--version", "8"], catch_exceptions=False)
    calibrate = ["calibrate", str(again / "model.fp32.pt"), *data]
    CliRunner().invoke(app, calibrate, catch_exceptions=False)
    assert seen == [[0.5, 0.0]] * 5  # two files twice, and one


@pytest.mark.parametrize("option", ["raf-noise", "raf-noise=half", "raf-noise=1.5", "=0.5"])
def test_evened_option_without_a_name_or_a_share_is_rejected(
    exported: Exported, option: str
) -> None:
    result = CliRunner().invoke(app, [*exported.arguments, "--evened", option])
    assert result.exit_code == 2
    assert "a share from 0 to 1" in " ".join(result.output.replace("│", " ").split())


def test_runs_with_different_split_seeds_are_not_averaged(
    exported: Exported, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(exported.run.parent / "first", other)
    recipe = json.loads((other / "recipe.json").read_text())
    (other / "recipe.json").write_text(json.dumps(recipe | {"seed": 6}))
    with pytest.raises(RunError, match=r"different seeds: \[5, 6\]"):
        run_command([*exported.arguments, "--averaged-with", str(other)], tmp_path)


def test_run_is_not_averaged_with_itself(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="given twice"):
        run_command([*exported.arguments, "--averaged-with", str(exported.run)], tmp_path)


def test_data_sets_other_than_those_of_the_run_are_rejected(
    exported: Exported, tmp_path: Path
) -> None:
    """Otherwise training faces could be reported as held out."""
    command, folder, *sets = exported.arguments[:4]
    for data in (sets[::-1], sets[:1], [*sets, str(exported.unseen)]):
        with pytest.raises(RunError, match="run was trained on other data: give the same sets"):
            run_command([command, folder, *data, "--version", "7"], tmp_path)
    assert not (tmp_path / "gimefive").exists()


def without_last_face(data: Path, folder: Path) -> Path:
    """The data set under the same name, without its last face."""
    faces = read(data)
    return write_zip(faces.take(np.arange(len(faces) - 1)), folder)


def test_data_set_changed_since_training_is_rejected(exported: Exported, tmp_path: Path) -> None:
    """Its split would differ, and training faces could be reported as held out."""
    one, two = exported.data
    for start in (exported.run, exported.folder):
        arguments = [
            "export",
            str(start),
            str(without_last_face(one, tmp_path)),
            str(two),
            "--version",
            "8",
        ]
        with pytest.raises(RunError, match="other data: give the same sets, unchanged"):
            run_command(arguments, tmp_path)
    assert not (tmp_path / "gimefive").exists()


@pytest.mark.parametrize("command", ["export", "ablate"])
def test_unseen_set_that_overlaps_the_other_data_sets_is_rejected(
    command: str, exported: Exported, tmp_path: Path
) -> None:
    copy = shutil.copy(exported.data[0], tmp_path / "copy.zip")
    arguments = exported.arguments
    if command == "ablate":
        (tmp_path / "plan.json").write_text('{"base": {"seed": 5}, "rows": {}}')
        arguments = [
            "ablate",
            str(tmp_path / "plan.json"),
            *arguments[2:4],
            "--out",
            str(tmp_path / "runs"),
        ]
    else:
        arguments = [*arguments, "--store", str(tmp_path)]
    with pytest.raises(DataError, match="copy shares 60 of its 60 faces"):
        CliRunner().invoke(app, [*arguments, "--unseen", str(copy)], catch_exceptions=False)


def test_data_sets_with_the_same_name_are_rejected(exported: Exported, tmp_path: Path) -> None:
    arguments = [*exported.arguments, "--unseen", str(exported.data[0])]
    with pytest.raises(DataError, match="two data sets have the same name"):
        run_command(arguments, tmp_path)
