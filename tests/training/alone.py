"""Runs by one process, that of the test: to start another takes longer than a short run."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch.distributed as dist

from training.feed import Data
from training.recipe import Recipe
from training.run import Execution
from training.train import prepare, take_part


def train_alone(
    recipe: Recipe,
    data: Data,
    out: Path,
    execution: Execution = Execution(),  # noqa: B008  # it is frozen
) -> Path:
    """What `train` does, without a process of its own, so that what goes wrong there is raised."""
    job = prepare(recipe, data, out, execution)
    with TemporaryDirectory() as meeting:
        try:
            take_part(0, Path(meeting), job)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
    return out / "weights.pt"
