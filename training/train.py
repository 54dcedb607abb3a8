"""Training: any number of processes, stops anywhere, resumes exactly.

Every step takes its order, augmentation and dropout from the recipe's seed and its own number
alone, so a run that was killed and resumed ends with the same weights as one that was not.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import cv2
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from training import origin
from training.errors import RunError
from training.feed import Data
from training.recipe import Recipe
from training.run import Execution, Job, Run
from training.saving import write_text

KEEP_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
}
"""What glibc reads when a process starts: freed blocks stay, in huge pages. By default they go back
to the system and cost a page fault each time they return, a quarter to a third of a step."""


def train(recipe: Recipe, data: Data, out: Path, execution: Execution) -> Path:
    """Train, or go on with a run that stopped, and write its weights.

    Args:
        recipe: what to do.
        data: what to learn from.
        out: folder of the run: ``recipe.json``, ``data.sha256``, ``checkpoint.pt``,
            ``history.json`` and at the end ``weights.pt``.
        execution: what to do it with.

    Returns:
        The path of ``weights.pt``, a state dict of `GiMeFive`.

    Raises:
        RunError: `out` holds a run of another recipe or other data, or one to start from or to be
            taught by is not finished, cut its data by another seed, or is of another network.
    """
    origin.check(recipe)
    out.mkdir(parents=True, exist_ok=True)
    _check(recipe, data.digest(), out)
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)  # noqa: TID251  # for the processes started below
    job = Job(recipe, data, out, execution)
    with tempfile.TemporaryDirectory() as meeting:
        spawn(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            _process, args=(f"file://{meeting}/rendezvous", job), nprocs=execution.processes
        )
    return out / "weights.pt"


def _process(rank: int, meeting: str, job: Job) -> None:
    # torch interrupts it when its parent dies, which who runs in the background would ignore
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    processes = job.execution.processes
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    backend = "gloo"
    if job.execution.device == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(job.execution.of(rank))
        torch.backends.cudnn.benchmark = True
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    Run(job, rank).go()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads outlive the group, and may abort a Python that takes itself apart


def _check(recipe: Recipe, digest: str, out: Path) -> None:
    """Make sure that a run in `out` is this one, of the same data in the same order."""
    choices, learned = out / "recipe.json", out / "data.sha256"
    if choices.exists() and Recipe.load(choices) != recipe:
        raise RunError(f"{out} holds a run of another recipe; give this one a folder of its own")
    if learned.exists() and learned.read_text() != digest:
        raise RunError(
            f"{out} holds a run of other data; give the same data sets in the same order, "
            "or this run a folder of its own"
        )
    write_text(recipe.to_json(), choices)
    write_text(digest, learned)
