"""What a run is taught beside the labels: the mean answer of networks trained before it.

Labels are noisy, and networks that agree on another emotion are often right. After Hinton, Vinyals
and Dean, *Distilling the Knowledge in a Neural Network* (arXiv 1503.02531), at a temperature of 1.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from training import origin
from training.feed import Data
from training.network import EMOTIONS, GiMeFive, logits_of, with_folded_norms
from training.recipe import Recipe
from training.sharing import shared_out


def taught(data: Data, recipe: Recipe, device: torch.device, file: Path) -> Data:
    """The data with targets that a recipe's teachers, answering each face once, have a share in.

    Args:
        data: what a run learns from.
        recipe: names the teachers, and what they see.
        device: where the networks answer.
        file: keeps the answers, for a run that goes on.
    """
    if not recipe.teachers or recipe.teachers_see != "faces":
        return data
    answers = shared_out(data.faces, partial(_mean_answer, recipe, device), file)
    return data.taught(answers, recipe.teaching)


def beside(recipe: Recipe, device: torch.device) -> tuple[GiMeFive, ...]:
    """The teachers that answer what the network sees, on `device`, in evaluation mode."""
    if recipe.teachers_see == "faces":
        return ()
    return tuple(_ready(teacher, device) for teacher in recipe.teachers)


def _mean_answer(recipe: Recipe, device: torch.device, faces: Tensor) -> Tensor:
    """The teachers' mean probabilities for faces and their mirror images, float32 ``[N, 6]``."""
    views = (faces, faces.flip(-1))
    mean = torch.zeros(len(faces), len(EMOTIONS))
    for teacher in recipe.teachers:
        network = _ready(teacher, device)
        with recipe.arithmetic(device):
            for view in views:
                mean += torch.softmax(logits_of(network, view, device), 1)
    return mean / (len(recipe.teachers) * len(views))


def _ready(teacher: str, device: torch.device) -> GiMeFive:
    network = with_folded_norms(origin.network(teacher).eval()).requires_grad_(requires_grad=False)
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stubs lack this pair
