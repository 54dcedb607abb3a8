"""Where a run begins: with chance, where another run ended, or with a version of the store."""

import json
from pathlib import Path

import torch
from torch import Tensor

from training import card
from training.artefact import load
from training.errors import RunError
from training.network import GiMeFive, with_measured_norms
from training.recipe import Recipe

Lineage = tuple[tuple[Recipe, ...], list[dict[str, float]]]
"""Recipes, earliest first, and what the runs saw on the way, images counted through."""


def check(start: str) -> None:
    """Make sure that a run can start there.

    Raises:
        RunError: the folder holds no weights.
    """
    folder = Path(start)
    if start and not _is_version(folder) and not (folder / "weights.pt").exists():
        raise RunError(f"there are no weights to start from in {start}; finish that run first")


def network(start: str, faces: Tensor) -> GiMeFive:
    """The network that a run starts with, in training mode.

    Args:
        start: folder of a finished run or of a version; none if empty.
        faces: uint8 ``[N, 64, 64]``, on which the folded norms of a version are measured again.

    """
    begun = GiMeFive()
    if not start:
        return begun
    folder = Path(start)
    if not _is_version(folder):
        begun.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu"))
        return begun
    file = folder / card.read(folder)["precisions"]["fp32"]["file"]
    begun.load_state_dict(load(file).state_dict())
    return with_measured_norms(begun, faces).train()


def lineage(folder: Path) -> Lineage:
    """What led to a finished run, or to a version.

    Raises:
        FileNotFoundError: a file of a run is missing.
    """
    if _is_version(folder):
        known = card.read(folder)
        return tuple(Recipe.of(values) for values in known["recipes"]), known["history"]
    recipe = Recipe.load(folder / "recipe.json")
    history = json.loads((folder / "history.json").read_text())
    if not recipe.start:
        return (recipe,), history
    recipes, before = lineage(Path(recipe.start))
    done = before[-1]["images"]
    return (*recipes, recipe), before + [row | {"images": done + row["images"]} for row in history]


def _is_version(folder: Path) -> bool:
    return (folder / "card.json").exists()
