"""Training: any number of processes, stops anywhere, resumes exactly.

Every step takes its order, augmentation and dropout from the recipe's seed and its own number
alone, so a run that was killed and resumed ends with the same weights as one that was not.
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
"""What glibc reads when a process starts: freed blocks stay, in huge pages. By default they go back
to the system and cost a page fault each time they return, a quarter to a third of a step."""


def train(recipe: Recipe, data: Data, out: Path, execution: Execution) -> Path:
    """Train, or go on with a run that stopped, and write its weights.

    Args:
        recipe: what to do.
        data: what to learn from.
        out: folder of the run: ``recipe.json``, ``data.json``, ``processes.txt``,
            ``checkpoint.pt``, ``history.json`` and at the end ``weights.pt``.
        execution: what to do it with.

    Returns:
        The path of ``weights.pt``, a state dict of `GiMeFive`.

    Raises:
        RunError: `out` holds a run of another recipe, other data or another number of processes,
            or one to start from or to be taught by is not finished, cut its data by another seed,
            or is of another network.
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
    """Make or check the folder of a run, and give what its processes are told.

    Raises:
        RunError: as `train` says.
    """
    origin.check(recipe)
    origin.check_data(recipe, data.digests)
    out.mkdir(parents=True, exist_ok=True)
    _check(recipe, data.digests, execution.processes, out)
    return Job(recipe, data, out, execution)


def take_part(rank: int, meeting: Path, job: Job) -> None:
    """Be one of the processes of a run, to its end.

    Args:
        rank: which of them, counted from 0.
        meeting: an empty folder, the same for all, in which they find each other.
        job: what to do.
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
    # torch interrupts it when its parent dies, which who runs in the background would ignore
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
    os._exit(0)  # gloo's threads outlive the group, and may abort a Python that takes itself apart


def _check(recipe: Recipe, digests: Digests, processes: int, out: Path) -> None:
    """Make sure that a run in `out` is this one, and would end as it would have."""
    choices, learned, shared = (out / n for n in ("recipe.json", origin.DATA, "processes.txt"))
    if choices.exists() and Recipe.load(choices) != recipe:
        raise RunError(f"{out} holds a run of another recipe; give this one a folder of its own")
    if choices.exists() and not learned.exists():
        raise RunError(
            f"{out} holds a run of an earlier version, which did not keep what it learned from: "
            "give this one a folder of its own"
        )
    data = json.dumps(digests, indent=2)
    if learned.exists() and learned.read_text() != data:
        raise RunError(
            f"{out} holds a run of other data; give the same data sets in the same order, "
            "or this run a folder of its own"
        )
    if shared.exists() and (begun := shared.read_text()) != str(processes):
        raise RunError(
            f"{out} holds a run begun with --processes {begun}, which with {processes} would end "
            "with other weights: give as many again, or this run a folder of its own"
        )
    # The recipe goes last: a run killed before it is not taken for one of an earlier version.
    write_text(data, learned)
    write_text(str(processes), shared)
    write_text(recipe.to_json(), choices)
