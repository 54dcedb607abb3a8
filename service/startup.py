"""Starting the model processes: how many, and how many threads in each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from service.errors import StoreError, WorkerLost
from service.records import ModelInfo, WorkerCommand, WorkerConfig
from service.remote import RemoteModel
from service.settings import Settings, available_cpus

MAX_CPU_WORKERS = 8
NVIDIA = Path("/dev/nvidiactl")
"""Exists if an NVIDIA driver is loaded; tells of a GPU without importing torch."""


@asynccontextmanager
async def running_workers(
    settings: Settings, command: WorkerCommand
) -> AsyncIterator[tuple[list[RemoteModel], ModelInfo]]:
    """Start the model processes and wait until all but the last are warm; stop them at the end.

    The last one starts only then: the service can do without it at first, and its core is needed
    to import the HTTP modules.

    Raises:
        StoreError: the model cannot be loaded.
    """
    count, threads = worker_plan(settings, available_cpus())
    config = WorkerConfig(
        store=str(settings.model_store.resolve()),
        version=settings.model_version,
        device=settings.device,
        precision=settings.precision,
        threads=threads,
        max_batch=settings.max_batch,
    )
    memory = settings.worker_memory_mb and settings.worker_memory_mb * 2**20
    workers = [
        RemoteModel(command(config), start_timeout=settings.start_timeout, memory=memory)
        for _ in range(count)
    ]
    try:
        yield workers, await _start(workers)
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


async def _start(workers: Sequence[RemoteModel]) -> ModelInfo:
    first = workers[:-1] or workers
    try:
        infos = await asyncio.gather(*(worker.start() for worker in first))
    except WorkerLost as error:
        raise StoreError(f"the model could not be loaded: {error}") from error
    for worker in workers[len(first) :]:
        worker.start_later()
    return min(infos, key=lambda info: info.max_batch)


def worker_plan(settings: Settings, cores: int) -> tuple[int, int]:
    """How many model processes, one on a GPU or one per core, and torch threads in each."""
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and NVIDIA.exists())
    count = settings.workers or (1 if on_gpu else min(cores, MAX_CPU_WORKERS))
    return count, settings.worker_threads or max(1, cores // count)
