"""What a run works out once about the faces it learns from."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from training.saving import write


def shared_out(faces: Tensor, work: Callable[[Tensor], Tensor], file: Path) -> Tensor:
    """What `work` makes of every face; a run's processes share it out among them.

    Args:
        faces: uint8 ``[N, 64, 64]``.
        work: from some faces to as many rows of an answer.
        file: keeps the answers, for a run that goes on.

    Returns:
        The answers ``[N, ...]``.
    """
    if file.exists():
        kept: Tensor = torch.load(file, mmap=True)
        return kept
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    done = work(faces[mine])
    answers = done.new_zeros(len(faces), *done.shape[1:])
    answers[mine] = done
    dist.all_reduce(answers)
    if dist.get_rank() == 0:
        write(answers, file)
    return answers
