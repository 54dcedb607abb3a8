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
from training.network import EMOTIONS, logits_of
from training.recipe import Recipe
from training.sharing import shared_out


def taught(data: Data, recipe: Recipe, device: torch.device, file: Path) -> Data:
    """The data with the targets that a recipe's teachers give them; as they are without any.

    Args:
        data: what a run learns from.
        recipe: names the teachers, and their share.
        device: where the networks answer.
        file: keeps the answers, for a run that goes on.
    """
    if not recipe.teachers:
        return data
    answers = shared_out(data.faces, partial(_mean_answer, recipe, device), file)
    return data.taught(answers, recipe.teaching)


def _mean_answer(recipe: Recipe, device: torch.device, faces: Tensor) -> Tensor:
    """The teachers' mean probabilities for faces and their mirror images, float32 ``[N, 6]``."""
    views = (faces, faces.flip(-1))
    mean = torch.zeros(len(faces), len(EMOTIONS))
    for teacher in recipe.teachers:
        network = origin.network(teacher).eval()
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        with recipe.arithmetic(device):
            for view in views:
                mean += torch.softmax(logits_of(network, view, device), 1)
    return mean / (len(recipe.teachers) * len(views))
