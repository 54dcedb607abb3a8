"""Training with any number of processes, which can be killed at any time and resumed exactly.

The order, augmentation and dropout of a step depend only on the recipe's seed and the step's
number, so a run that was killed and resumed ends with the same weights as one that was not.
"""

import json
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
from training.data import Digests
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
"""Settings for glibc: keep freed memory, in huge pages. By default it returns to the system, and
the page faults of allocating it again take a quarter to a third of a step."""


def train(recipe: Recipe, data: Data, out: Path, execution: Execution) -> Path:
    """Train, or resume a run that stopped, and write its weights.

    Args:
        recipe: the choices of the run.
        data: the training and validation faces.
        out: folder of the run: ``recipe.json``, ``data.json``, ``processes.txt``,
            ``checkpoint.pt``, ``history.json`` and at the end ``weights.pt``.
        execution: processes, device and the like.

    Returns:
        The path of ``weights.pt``, a state dict of `GiMeFive`.

    Raises:
        RunError: `out` contains a run of another recipe, other data or another number of processes;
            or the run's start or a teacher is unfinished, or may have been trained on faces that
            this run holds out.
    """
    job = prepare(recipe, data, out, execution)
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)  # noqa: TID251  # for the processes started below
    with tempfile.TemporaryDirectory() as meeting:
        spawn(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            _process, args=(Path(meeting), job), nprocs=execution.processes
        )
    return out / "weights.pt"


def prepare(recipe: Recipe, data: Data, out: Path, execution: Execution) -> Job:
    """Create or check the folder of a run; returns the task of its processes.

    Raises:
        RunError: as `train` says.
    """
    origin.check(recipe)
    origin.check_data(recipe, data.digests)
    out.mkdir(parents=True, exist_ok=True)
    _check(recipe, data.digests, execution.processes, out)
    return Job(recipe, data, out, execution)


def take_part(rank: int, meeting: Path, job: Job) -> None:
    """Run one of the processes of a run to its end.

    Args:
        rank: the number of the process, from 0.
        meeting: an empty folder, the same for all processes, for their rendezvous.
        job: the task.
    """
    backend = "cpu:gloo,cuda:nccl" if job.execution.device == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        init_method=f"file://{meeting}/rendezvous",
        rank=rank,
        world_size=job.execution.processes,
    )
    Run(job, rank).go()
    dist.destroy_process_group()


def _process(rank: int, meeting: Path, job: Job) -> None:
    # torch sends SIGINT when the parent dies; a process in the background ignores that by default
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threads = max(1, len(os.sched_getaffinity(0)) // job.execution.processes)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    if job.execution.device == "cuda":
        torch.cuda.set_device(job.execution.of(rank))
        torch.backends.cudnn.benchmark = True
    take_part(rank, meeting, job)
    sys.stdout.flush()
    os._exit(0)  # gloo's threads outlive the group and may abort Python's shutdown


def _check(recipe: Recipe, digests: Digests, processes: int, out: Path) -> None:
    """Make sure that `out` is new, or contains this run with the same data and processes."""
    choices, learned, shared = (out / n for n in ("recipe.json", origin.DATA, "processes.txt"))
    if choices.exists() and Recipe.load(choices) != recipe:
        raise RunError(f"{out} contains a run of another recipe: use another folder")
    if choices.exists() and not learned.exists():
        raise RunError(
            f"{out} contains a run of an earlier version, which did not record its data: "
            "use another folder"
        )
    data = json.dumps(digests, indent=2)
    if learned.exists() and learned.read_text() != data:
        raise RunError(
            f"{out} contains a run of other data: give the same data sets in the same order, "
            "or use another folder"
        )
    if shared.exists() and (begun := shared.read_text()) != str(processes):
        raise RunError(
            f"{out} contains a run with --processes {begun}, which with {processes} would end with "
            "other weights: use the same number, or another folder"
        )
    # The recipe is written last, so that a run killed before can be started again.
    write_text(data, learned)
    write_text(str(processes), shared)
    write_text(recipe.to_json(), choices)
