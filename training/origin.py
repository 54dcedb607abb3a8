"""Where a run starts: from random weights, from another run, or from a version of the store."""

import json
from pathlib import Path

import torch

from training import card
from training.artefact import load
from training.data import Digests
from training.errors import RunError
from training.network import GiMeFive
from training.recipe import Recipe
from training.residual import Residual

DATA = "data.json"
"""The file in a run's folder with the digests of its data sets."""

Lineage = tuple[tuple[Recipe, ...], list[dict[str, float]]]
"""Recipes and history of consecutive runs, earliest first, with images counted across them."""


def is_version(start: str) -> bool:
    """Whether `start` is the folder of a version of the store."""
    return bool(start) and (Path(start) / "card.json").exists()


def check(recipe: Recipe) -> None:
    """Make sure that a run's start and teachers exist and were not trained on faces held out here.

    The teachers of a run that leaves out a fold may know that fold: they are not asked about its
    faces, so the run learns no label that they have memorised for one of them. Its start may know
    it, too, and some of its labels are then still known in the end.

    Raises:
        RunError: a folder contains no weights; they were trained on data split by another seed, so
            possibly on faces held out here; the start is another network; or teachers left out
            folds, and some fold has no teacher.
    """
    folders = [folder for folder in (recipe.start, *recipe.teachers) if folder]
    for folder in folders:
        others = {each.seed for each in _recipes(folder)} - {recipe.seed}
        if others:
            raise RunError(
                f"{folder} was trained on data split by seed {others.pop()}, so on faces that are "
                f"held out with seed {recipe.seed}: use its seed in the recipe, or leave it out"
            )
    if recipe.left_out is None:
        _check_cross_fitted(recipe)
    if recipe.start and (kind := _recipes(recipe.start)[-1].network) != recipe.network:
        raise RunError(f"{recipe.start} is a {kind}: say so in the recipe (`network`)")


def check_data(recipe: Recipe, own: Digests) -> None:
    """Make sure that no data set has changed since a run's start or teachers were trained on it.

    A changed data set is split differently. Runs of which only the weights remain are not checked.

    Raises:
        RunError: one has changed, so its held-out faces may have been trained on.
    """
    folders = [Path(folder) for folder in (recipe.start, *recipe.teachers) if folder]
    for folder in folders:
        known = learned(folder) if is_version(str(folder)) or (folder / DATA).exists() else own
        for name, digest in known["train"].items():
            if own["train"].get(name, digest) != digest:
                raise RunError(
                    f"{name} has changed since {folder} was trained on it, possibly on faces that "
                    "are held out now: give the original data set, or leave that folder out"
                )


def learned(folder: Path) -> Digests:
    """The digests of the data sets of a run or a version; empty for early cards.

    Raises:
        FileNotFoundError: the run's file is missing.
    """
    if not is_version(str(folder)):
        known: Digests = json.loads((folder / DATA).read_text())
        return known
    by_set = {s["name"]: s.get("sha256", {}) for s in card.read(folder)["data"]}
    return {
        part: {name: by_part[part] for name, by_part in by_set.items() if part in by_part}
        for part in ("train", "validation")
    }


def evened_out(folder: Path) -> dict[str, float]:
    """How far data sets were evened out in a version, by name; none in a run."""
    return card.read(folder).get("evened", {}) if is_version(str(folder)) else {}


def _check_cross_fitted(recipe: Recipe) -> None:
    """Make sure that, if teachers left out folds, each fold has a teacher that left it out."""
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
    """The fold that a finished run left out, and the number of folds; none for a version."""
    recipe = _recipes(folder)[-1]
    if recipe.left_out is None or is_version(folder):
        return None
    return recipe.left_out, recipe.folds


def _recipes(folder: str) -> tuple[Recipe, ...]:
    """The recipes of all runs that led to a version, or of a run alone."""
    if is_version(folder):
        return lineage(Path(folder))[0]
    if not (Path(folder) / "weights.pt").exists():
        raise RunError(f"{folder} contains no weights: finish that run first")
    return (Recipe.load(Path(folder) / "recipe.json"),)


def initial_network(recipe: Recipe) -> GiMeFive | Residual:
    """The network that a run of `recipe` starts with; seeds torch's global generator.

    Raises:
        FileNotFoundError: as `network` says.
    """
    torch.manual_seed(recipe.seed)
    return network(recipe.start) if recipe.start else _untrained(recipe)


def network(start: str) -> GiMeFive | Residual:
    """The network of a finished run, or of a version, whose norms are folded.

    Args:
        start: folder of the run or version.

    Raises:
        FileNotFoundError: the folder contains no weights.
    """
    folder = Path(start)
    if is_version(start):
        version = GiMeFive()
        file = folder / card.read(folder)["precisions"]["fp32"]["file"]
        version.load_state_dict(load(file).state_dict())
        return version
    trained = _untrained(Recipe.load(folder / "recipe.json"))
    trained.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu"))
    return trained


def gimefive(folder: str) -> GiMeFive:
    """The network of a finished run or of a version, which can become a version.

    Raises:
        FileNotFoundError: as `network` says.
        RunError: it is another network than the published one.
    """
    trained = network(folder)
    if isinstance(trained, GiMeFive):
        return trained
    raise RunError(
        f"{folder} is a {type(trained).__name__}, which can only teach: give its student"
    )


def _untrained(recipe: Recipe) -> GiMeFive | Residual:
    return Residual() if recipe.network == "Residual" else GiMeFive()


def lineage(folder: Path) -> Lineage:
    """The recipes and history that led to a finished run or to a version.

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
