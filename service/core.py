"""What exists once, however many fronts there are: models, batcher, limits, metrics."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

from service.batching import Batcher
from service.lanes import Answer, ItemT, Lane, ResultT
from service.limits import Quota, RateLimiter
from service.metrics import Metrics
from service.model_lanes import lanes_for
from service.records import ModelInfo, WorkerCommand
from service.remote import RemoteModel
from service.settings import Settings
from service.startup import running_workers
from service.tracer import UNTRACED, Tracer

Kind = Literal["camera", "video"]
"""Long-running work whose number is limited."""


class Core:
    """The part of the service that its fronts share, in this process. Made by `Core.open`.

    Attributes:
        info: the model in use.
        metrics: what is counted in this process.
        lanes: those of the batcher.
    """

    def __init__(
        self,
        settings: Settings,
        workers: Sequence[RemoteModel],
        info: ModelInfo,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self.info = info
        self.metrics = Metrics(info, workers)
        self.lanes = lanes_for(info.max_batch, settings.queue_items, settings.queue_seconds)
        self._workers = workers
        self._batcher = Batcher(workers, self.lanes, self.metrics, tracer=tracer)
        self._quotas = {
            "camera": Quota(
                settings.max_cameras,
                "cameras are connected",
                partial(self.metrics.rejected, "cameras_full"),
            ),
            "video": Quota(
                settings.max_videos,
                "videos are in progress",
                partial(self.metrics.rejected, "videos_full"),
            ),
        }
        for kind, places in self._quotas.items():
            self.metrics.in_progress(kind, places.held)
        limit = settings.rate_limit
        self._rate = RateLimiter(limit, settings.rate_burst) if limit else None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        command: WorkerCommand,
        tracer: Tracer = UNTRACED,
    ) -> AsyncIterator["Core"]:
        """Start the model processes; stop them with the context.

        Args:
            settings: what to serve, and how.
            command: returns the command line of a model process.
            tracer: told what was done for which request.

        Raises:
            StoreError: the model cannot be had, or cannot run as the settings wish.
        """
        async with running_workers(settings, command) as (workers, info):
            core = cls(settings, workers, info, tracer)
            try:
                yield core
            finally:
                await core.close()

    async def submit(
        self,
        lane: Lane[RemoteModel, ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[Answer[ResultT]]:
        """Ask the model, as `Batcher.submit` says."""
        return await self._batcher.submit(lane, items, deadline=deadline, wait=wait)

    async def check(
        self, lane: Lane[RemoteModel, ItemT, ResultT], items: int, deadline: float | None = None
    ) -> None:
        """As `Batcher.check`."""
        self._batcher.check(lane, items, deadline)

    async def up(self) -> bool:
        """Whether the model can be asked now."""
        return any(worker.up for worker in self._workers)

    async def healthy(self) -> bool:
        """False once a model process cannot be restarted, or the batcher has failed.

        Only restarting the service can help then.
        """
        return self._batcher.healthy and all(worker.healthy for worker in self._workers)

    @asynccontextmanager
    async def reserve(self, kind: Kind) -> AsyncIterator[None]:
        """Hold a place for long-running work.

        Raises:
            Overloaded: all places are held.
        """
        with self._quotas[kind].hold():
            yield

    async def take_token(self, key: str) -> None:
        """Count a request with a key.

        Raises:
            RateLimited: there were too many.
        """
        if self._rate:
            self._rate.take(key)

    async def render_metrics(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return self.metrics.text()

    async def close(self) -> None:
        """Ask the model nothing more, and tell all who wait."""
        await self._batcher.close()
