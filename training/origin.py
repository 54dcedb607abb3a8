"""Where a run begins: with chance, where another run ended, or with a version of the store."""

import json
from pathlib import Path

import torch

from training import card
from training.artefact import load
from training.data import Digests
from training.errors import RunError
from training.network import GiMeFive
from training.recipe import Recipe

DATA = "data.json"
"""Of a run's folder: the digests of its data sets."""

Lineage = tuple[tuple[Recipe, ...], list[dict[str, float]]]
"""Recipes, earliest first, and what the runs saw on the way, images counted through."""


def is_version(start: str) -> bool:
    """Whether a run starts with a version of the store."""
    return bool(start) and (Path(start) / "card.json").exists()


def check(recipe: Recipe) -> None:
    """Make sure that a run finds what it starts from and is taught by, and may know that.

    Raises:
        RunError: a folder holds no weights; or they were learned from data cut by another seed, so
            that they may know what others are to be tried on; or they may know a fold that is left
            out; or teachers left out folds, and some fold has no teacher.
    """
    folders = [folder for folder in (recipe.start, *recipe.teachers) if folder]
    for folder in folders:
        others = {each.seed for each in _recipes(folder)} - {recipe.seed}
        if others:
            raise RunError(
                f"{folder} learned from data cut by seed {others.pop()}, so it knows faces that "
                f"are held out with seed {recipe.seed}: give the recipe its seed, or leave it out"
            )
    if recipe.left_out is None:
        _check_cross_fitted(recipe)
    elif unsure := [f for f in folders if left_out(f) != (recipe.left_out, recipe.folds)]:
        raise RunError(f"{unsure[0]} may know the fold that this run leaves out")


def check_data(recipe: Recipe, own: Digests) -> None:
    """Make sure that no data set was changed since what a run goes on from learned from it.

    It would be cut otherwise. Nothing is known of runs of which only the weights were kept.

    Raises:
        RunError: one was, so that it may know faces that are held out now.
    """
    folders = [Path(folder) for folder in (recipe.start, *recipe.teachers) if folder]
    for folder in folders:
        known = learned(folder) if is_version(str(folder)) or (folder / DATA).exists() else own
        for name, digest in known["train"].items():
            if own["train"].get(name, digest) != digest:
                raise RunError(
                    f"{name} was changed since {folder} learned from it, which may know faces that "
                    "are held out now: give the data set as it was, or leave that folder out"
                )


def learned(folder: Path) -> Digests:
    """Of the data sets of a run or a version; a card of before tells none.

    Raises:
        FileNotFoundError: the run's file is missing.
    """
    if not is_version(str(folder)):
        known: Digests = json.loads((folder / DATA).read_text())
        return known
    told = {s["name"]: s.get("sha256", {}) for s in card.read(folder)["data"]}
    return {
        part: {name: by_part[part] for name, by_part in told.items() if part in by_part}
        for part in ("train", "validation")
    }


def _check_cross_fitted(recipe: Recipe) -> None:
    """Make sure that each fold has a teacher that did not learn it, where teachers left out any."""
    taught = {left_out(teacher) for teacher in recipe.teachers}
    if taught <= {None}:
        return
    if taught != {(fold, recipe.folds) for fold in range(recipe.folds)}:
        raise RunError(
            f"the teachers must leave out each of {recipe.folds} folds (`folds`), and each teacher "
            "one of them"
        )
    if recipe.teachers_see == "faces":
        raise RunError("teachers that left out folds answer `inputs` or `mirrored`, not `faces`")


def left_out(folder: str) -> tuple[int, int] | None:
    """The fold of which a finished run learned no label, and of how many; none of a version."""
    recipe = _recipes(folder)[-1]
    if recipe.left_out is None or is_version(folder):
        return None
    return recipe.left_out, recipe.folds


def _recipes(folder: str) -> tuple[Recipe, ...]:
    """Of all that led to a version, or of a run alone."""
    if is_version(folder):
        return lineage(Path(folder))[0]
    if not (Path(folder) / "weights.pt").exists():
        raise RunError(f"there are no weights in {folder}; finish that run first")
    return (Recipe.load(Path(folder) / "recipe.json"),)


def begun(recipe: Recipe) -> GiMeFive:
    """The network that a run of `recipe` begins with, chance included.

    Raises:
        FileNotFoundError: as `network` says.
    """
    torch.manual_seed(recipe.seed)
    return network(recipe.start)


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
