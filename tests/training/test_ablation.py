"""Gains of recipe changes, and the table of them in the documentation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.training.conftest import Exported
from tests.training.generated import noise_faces
from tests.training.in_process import train_in_process
from training import ablation
from training.__main__ import app
from training.ablation import BASE, BEFORE, MIRRORED, Faces, Gain, Plan, ablate, load, table
from training.data import split
from training.feed import Data
from training.network import GiMeFive
from training.recipe import Recipe
from training.run import Execution

TRAINING = Path(__file__).parents[2] / "training"


def test_row_overrides_only_the_fields_it_names() -> None:
    plan = Plan(
        {"images": 640, "augmentation": {"flip": 0.1, "blur": 0.3}},
        {"sharp": {"augmentation": {"blur": 0.0}}, "long": {"images": 1280}},
    )
    recipes = plan.recipes()
    assert list(recipes) == [BASE, "sharp", "long"]
    assert recipes[BASE].augmentation.blur == recipes["long"].augmentation.blur == 0.3
    assert recipes["sharp"].augmentation.flip == recipes[BASE].augmentation.flip == 0.1
    assert recipes["sharp"].augmentation.blur == 0.0
    assert [recipe.images for recipe in recipes.values()] == [640, 640, 1280]


def test_gain_is_the_mean_paired_difference_with_its_confidence_interval() -> None:
    """By hand: in two sets, one face of four and two of eight become correct."""
    before = [np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0, 0, 0, 0, 0])]
    after = [np.array([1.0, 1, 0, 0]), np.array([1.0, 1, 1, 1, 0, 0, 0, 0])]
    gain = Gain.of(after, before)
    assert gain.value == pytest.approx(0.25)
    assert gain.reach == pytest.approx(1.96 * (0.1875 / 4 + 0.1875 / 8) ** 0.5 / 2, rel=1e-4)


def test_training_readme_contains_the_table_of_results() -> None:
    rows = load(TRAINING / "recipes" / "ablation.results.json")
    tried = Plan.load(TRAINING / "recipes" / "ablation.json")
    assert [row.name for row in rows] == [BEFORE, BASE, MIRRORED, *tried.rows]
    assert table(rows) in (TRAINING / "README.md").read_text()


def test_ablate_trains_and_compares_every_row_of_the_plan(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "train", train_in_process)
    shared = {"start": str(exported.folder), "images": 16, "batch": 8, "seed": 5}
    plan = tmp_path / "plan.json"
    small = {"stages": [{"share": 1.0, "pixels": 32}]}
    rows = {"still": {"learning_rate": 0.0}, "mixed": {"mixup": 0.4, "optimizer": "SGD"}}
    plan.write_text(json.dumps({"base": shared | small, "rows": rows}))
    arguments = ["ablate", str(plan), *map(str, exported.data), "--unseen", str(exported.unseen)]
    arguments += ["--out", str(tmp_path / "runs")]
    output = CliRunner().invoke(app, arguments, catch_exceptions=False).output

    results = load(tmp_path / "runs" / "results.json")
    assert [row.name for row in results] == [BEFORE, BASE, MIRRORED, "still", "mixed"]
    assert output.endswith(table(results) + "\n")
    assert list(results[0].accuracy) == ["raf-noise", "fer2013-noise", "elsewhere"]
    base = results[1]
    assert base.accuracy_gain == base.nll_gain == Gain(0.0, 0.0)
    for row in results:
        assert row.nll_gain.value == pytest.approx(row.nll - base.nll)
        held_out = [row.accuracy[name] - base.accuracy[name] for name in list(row.accuracy)[:2]]
        assert row.accuracy_gain.value == pytest.approx(np.mean(held_out))
    before, frozen, mixed = results[0], results[3], results[4]
    assert mixed.nll != base.nll != before.nll
    assert abs(frozen.nll - before.nll) < abs(base.nll - before.nll)


def test_plan_with_random_start_is_compared_with_its_initial_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untrained(recipe: Recipe, _data: Data, out: Path, _execution: Execution) -> Path:
        torch.manual_seed(recipe.seed)
        out.mkdir(parents=True)
        torch.save(GiMeFive().state_dict(), out / "weights.pt")
        (out / "recipe.json").write_text(recipe.to_json())
        return out / "weights.pt"

    monkeypatch.setattr(ablation, "train", untrained)
    faces = Faces((split(noise_faces("set", each=20), 5),), ())
    plan = Plan({"stages": [{"share": 1.0, "pixels": 64}], "seed": 5}, {})
    before, base, _ = ablate(plan, faces, tmp_path, Execution(), lambda _: None)
    assert (before.accuracy, before.nll) == (base.accuracy, base.nll)
