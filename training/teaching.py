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
from training.network import EMOTIONS, logits_of


def answers(
    teachers: Sequence[str], faces: Sequence[Tensor], device: torch.device, file: Path
) -> list[Tensor]:
    """The teachers' mean probabilities; the processes of a run share the work.

    Args:
        teachers: folders of finished runs or of versions.
        faces: per data set, uint8 ``[N, 64, 64]``.
        device: where the networks answer.
        file: keeps the result, for a run that goes on.

    Returns:
        Per data set, float32 ``[N, 6]`` on the CPU.
    """
    if file.exists():
        kept: list[Tensor] = torch.load(file)
        return kept
    means = [torch.zeros(len(some), len(EMOTIONS)) for some in faces]
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    for teacher in teachers:
        network = origin.network(teacher).eval()
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        for some, mean in zip(faces, means, strict=True):
            mean[mine] += torch.softmax(logits_of(network, some[mine], device, 32), 1) / len(
                teachers
            )
    for mean in means:
        dist.all_reduce(mean)
    if dist.get_rank() == 0:
        part = file.with_suffix(".part")
        torch.save(means, part)
        part.replace(file)
    return means
