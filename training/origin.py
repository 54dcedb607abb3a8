"""Where a run begins: with chance, where another run ended, or with a version of the store."""

import json
from pathlib import Path

import torch

from training import card
from training.artefact import load
from training.errors import RunError
from training.network import GiMeFive
from training.recipe import Recipe

Lineage = tuple[tuple[Recipe, ...], list[dict[str, float]]]
"""Recipes, earliest first, and what the runs saw on the way, images counted through."""


def is_version(start: str) -> bool:
    """Whether a run starts with a version of the store."""
    return (Path(start) / "card.json").exists()


def check(start: str, seed: int) -> None:
    """Make sure that there are weights, and that they were learned from data cut by `seed`.

    Raises:
        RunError: the folder holds no weights, or they may know what others are to be tried on.
    """
    if not start:
        return
    folder = Path(start)
    if is_version(start):
        recipes = lineage(folder)[0]
    elif (folder / "weights.pt").exists():
        recipes = (Recipe.load(folder / "recipe.json"),)
    else:
        raise RunError(f"there are no weights in {start}; finish that run first")
    others = {recipe.seed for recipe in recipes} - {seed}
    if others:
        raise RunError(
            f"{start} learned from data cut by seed {others.pop()}, so it knows faces that are "
            f"held out with seed {seed}: give the recipe its seed, or leave it out"
        )


def network(start: str) -> GiMeFive:
    """The network that a run starts with; a version's norms are folded.

    Args:
        start: folder of a finished run or of a version; none if empty.

    Raises:
        FileNotFoundError: the folder holds no weights.
    """
    begun, folder = GiMeFive(), Path(start)
    if is_version(start):
        file = folder / card.read(folder)["precisions"]["fp32"]["file"]
        begun.load_state_dict(load(file).state_dict())
    elif start:
        begun.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu"))
    return begun


def lineage(folder: Path) -> Lineage:
    """What led to a finished run, or to a version.

    Raises:
        FileNotFoundError: a file of a run is missing.
    """
    if is_version(str(folder)):
        known = card.read(folder)
        return tuple(Recipe.of(values) for values in known["recipes"]), known["history"]
    recipe = Recipe.load(folder / "recipe.json")
    history = json.loads((folder / "history.json").read_text())
    if not recipe.start:
        return (recipe,), history
    recipes, before = lineage(Path(recipe.start))
    done = before[-1]["images"]
    return (*recipes, recipe), before + [row | {"images": done + row["images"]} for row in history]
