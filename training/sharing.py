"""What a run works out once about the faces it learns from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from training.saving import write


def shared_out(
    faces: Sequence[Tensor], work: Callable[[Tensor], Tensor], file: Path
) -> list[Tensor]:
    """What `work` makes of every face; a run's processes share it out among them.

    Args:
        faces: per data set, uint8 ``[N, 64, 64]``.
        work: from some faces to as many rows of an answer.
        file: keeps the answers, for a run that goes on.

    Returns:
        Per data set the answers ``[N, ...]``.
    """
    if file.exists():
        kept: list[Tensor] = torch.load(file, mmap=True)
        return kept
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    answers = []
    for part in faces:
        done = work(part[mine])
        answer = done.new_zeros(len(part), *done.shape[1:])
        answer[mine] = done
        dist.all_reduce(answer)
        answers.append(answer)
    if dist.get_rank() == 0:
        write(answers, file)
    return answers
