"""What a run is taught beside the labels: the mean answer of networks trained before it.

Labels are noisy, and networks that agree on another emotion are often right. After Hinton, Vinyals
and Dean, *Distilling the Knowledge in a Neural Network* (arXiv 1503.02531), at a temperature of 1.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from training import origin
from training.feed import Data
from training.network import EMOTIONS, logits_of
from training.recipe import Recipe
from training.saving import write


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
    return data.taught(_answers(recipe.teachers, data.faces, device, file), recipe.teaching)


def _answers(
    teachers: Sequence[str], faces: Sequence[Tensor], device: torch.device, file: Path
) -> list[Tensor]:
    """Their mean probabilities, per data set ``[N, 6]``; a run's processes share the work."""
    if file.exists():
        kept: list[Tensor] = torch.load(file)
        return kept
    means = [torch.zeros(len(some), len(EMOTIONS)) for some in faces]
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    for teacher in teachers:
        network = origin.network(teacher).eval()
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        for some, mean in zip(faces, means, strict=True):
            mean[mine] += torch.softmax(logits_of(network, some[mine], device), 1) / len(teachers)
    for mean in means:
        dist.all_reduce(mean)
    if dist.get_rank() == 0:
        write(means, file)
    return means
