"""The schedule of a recipe, and its JSON form."""

import json
from math import cos, pi
from pathlib import Path

import pytest

from training.augment import Augmentation
from training.errors import RunError
from training.recipe import Recipe, Stage

RECIPE = Recipe(images=1000, batch=10, learning_rate=0.4, warm_up=0.2)


def test_learning_rate_rises_to_its_peak_and_falls_close_to_zero() -> None:
    rates = [RECIPE.rate(step) for step in range(RECIPE.steps)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(0.4)
    assert 0 < rates[0] <= 0.4 / 20
    assert 0 < rates[-1] < 0.4 / 1000


def test_warm_up_is_linear_and_decay_is_half_a_cosine() -> None:
    assert [RECIPE.rate(step) for step in (0, 9, 19)] == pytest.approx([0.02, 0.2, 0.4])
    assert RECIPE.rate(60) == pytest.approx(0.4 * (1 + cos(pi / 2)) / 2)


def test_stages_last_for_their_share_of_the_steps() -> None:
    stages = (Stage(0.5, 32), Stage(0.3, 48), Stage(0.2, 64))
    recipe = Recipe(images=1000, batch=10, stages=stages)
    pixels = [recipe.pixels(step) for step in range(recipe.steps)]
    assert pixels == [32] * 50 + [48] * 30 + [64] * 20


def test_recipe_round_trips_through_json(tmp_path: Path) -> None:
    recipe = Recipe(images=770, stages=(Stage(1.0, 40),), augmentation=Augmentation(flip=0.1))
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert Recipe.load(tmp_path / "recipe.json") == recipe


def test_missing_fields_keep_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"images": 990, "augmentation": {"flip": 0}}))
    expected = Recipe(images=990, augmentation=Augmentation(flip=0))
    assert Recipe.load(tmp_path / "recipe.json") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"imagse": 99}', "imagse"),
        ('{"augmentation": {"flips": 0.5}}', "augmentation.flips"),
        ('{"learning_rate": "fast"}', "learning_rate"),
        ('{"warm_up": 1.5}', "warm_up"),
        ('{"stages": [{"share": 0.5, "pixels": 64}]}', "add up to 1"),
        ('{"images": 64}', "fewer images than one batch"),
        ('{"until": 0.0001}', "too small for a single step"),
        ('{"folds": 3, "left_out": 3}', "one of 0 to folds - 1"),
        ('{"left_out": 0}', "folds at least 2"),
        ('{"images": 990,}', "JSON"),
    ],
)
def test_invalid_recipe_is_rejected_with_file_name_and_reason(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(RunError, match=message) as error:
        Recipe.load(tmp_path / "recipe.json")
    assert "recipe.json" in str(error.value)
