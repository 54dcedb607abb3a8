"""Distillation: targets that are partly the mean probabilities of earlier networks, the teachers.

Labels are noisy, and networks that agree on another emotion are often right. After Hinton, Vinyals
and Dean, *Distilling the Knowledge in a Neural Network* (arXiv 1503.02531), at a temperature of 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from training import origin
from training.feed import Data
from training.network import EMOTIONS, compiled, logits_of
from training.recipe import Recipe
from training.sharing import shared_out


def taught(data: Data, recipe: Recipe, device: torch.device, file: Path) -> Data:
    """The data with the teachers' answers mixed into the targets, if they answer each face once.

    Args:
        data: of the run.
        recipe: names the teachers and what they see.
        device: to run the teachers on.
        file: keeps the answers for a resumed run.
    """
    if not recipe.teachers or recipe.teachers_see != "faces":
        return data
    answers = shared_out(data.faces, partial(_mean_answer, recipe, device), file)
    return data.taught(answers, recipe.teaching)


@dataclass(frozen=True)
class Lesson:
    """The faces that a step draws from, and their teachers.

    Attributes:
        data: the faces.
        teachers: the networks that answer the augmented inputs, in evaluation mode.
    """

    data: Data
    teachers: tuple[nn.Module, ...]


def lessons(data: Data, recipe: Recipe, device: torch.device) -> tuple[Lesson, ...]:
    """The lessons that the steps of a run take in turns, on `device`.

    This is one lesson with all faces that the recipe does not leave out; or, if teachers left out
    folds, one lesson per fold, taught by the networks that left it out.
    """
    teachers = () if recipe.teachers_see == "faces" else recipe.teachers
    data = learned(data, recipe)
    folds = data.folds(recipe.folds)
    if recipe.left_out is None and any(map(origin.left_out, teachers)):
        return tuple(
            Lesson(
                data.where(folds == fold).to(device),
                _answering(
                    [t for t in teachers if origin.left_out(t) == (fold, recipe.folds)], device
                ),
            )
            for fold in range(recipe.folds)
        )
    return (Lesson(data.to(device), _answering(teachers, device)),)


def learned(data: Data, recipe: Recipe) -> Data:
    """The faces that a recipe does not leave out."""
    if recipe.left_out is None:
        return data
    return data.where(data.folds(recipe.folds) != recipe.left_out)


def _mean_answer(recipe: Recipe, device: torch.device, faces: Tensor) -> Tensor:
    """The teachers' mean probabilities for faces and their mirror images, float32 ``[N, 6]``."""
    views = (faces, faces.flip(-1))
    mean = torch.zeros(len(faces), len(EMOTIONS))
    for network in _ready(recipe.teachers, device):
        with recipe.arithmetic(device):
            for view in views:
                mean += torch.softmax(logits_of(network, view, device), 1)
    return mean / (len(recipe.teachers) * len(views))


def _answering(teachers: Sequence[str], device: torch.device) -> tuple[nn.Module, ...]:
    """The teachers that answer at every step, each time for a batch of the same size."""
    return tuple(compiled(network, device) for network in _ready(teachers, device))


def _ready(teachers: Sequence[str], device: torch.device) -> tuple[nn.Module, ...]:
    networks = [origin.network(teacher).eval() for teacher in teachers]
    return tuple(
        network.requires_grad_(requires_grad=False).to(  # type: ignore[call-overload]  # torch's stubs lack this pair
            device=device, memory_format=torch.channels_last
        )
        for network in networks
    )
