"""Values that a run computes once for each of its faces."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from training.saving import write


def shared_out(faces: Tensor, work: Callable[[Tensor], Tensor], file: Path) -> Tensor:
    """The results of `work` for every face, divided among the run's processes.

    Args:
        faces: uint8 ``[N, 64, 64]``.
        work: maps faces to one row each.
        file: keeps the results for a resumed run.

    Returns:
        The results ``[N, ...]``.
    """
    if file.exists():
        kept: Tensor = torch.load(file, mmap=True)
        return kept
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    own = work(faces[mine])
    results = own.new_zeros(len(faces), *own.shape[1:])
    results[mine] = own
    dist.all_reduce(results)
    if dist.get_rank() == 0:
        write(results, file)
    return results
