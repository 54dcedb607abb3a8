"""Dynamic batching: many requests, few model passes.

Work-conserving: a free worker takes what waits at once, so that batches form only while the
workers are busy and an idle service adds no delay. Everything waits in one bounded queue.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from service.errors import ModelFailure, NotReady, Overloaded, WorkerLost
from service.records import FaceImage, Scored, Scores

log = structlog.get_logger(__name__)


class Worker(Protocol):
    """What the batcher needs of a model."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    async def ready(self) -> None:
        """Wait until it can be asked."""

    async def scores(self, faces: NDArray[np.uint8]) -> Scored:
        """Score faces ``[N, 64, 64]``; raises ModelFailure, and WorkerLost if it is down."""


class Observer(Protocol):
    """Who is told what the batcher does, for metrics."""

    def waiting(self, items: int) -> None:
        """So many items wait now."""

    def batch(self, queue_seconds: Sequence[float], model_seconds: float) -> None:
        """A batch was answered: how long each item waited, how long the model took."""

    def rejected(self, reason: str) -> None:
        """A request was refused."""

    def dropped(self, reason: str) -> None:
        """An item was dropped before it was computed, since nobody waits for it any more."""


@dataclass(frozen=True)
class BatchPolicy:
    """How batches are formed.

    Attributes:
        max_batch: most items in one pass.
        queue_items: most items that may wait.
    """

    max_batch: int
    queue_items: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one item.

    Attributes:
        scores: float32 ``[6]``.
        queue: seconds it waited.
        inference: seconds its batch spent in the model.
    """

    scores: Scores
    queue: float
    inference: float


@dataclass(slots=True)
class _Item:
    face: FaceImage
    enqueued: float
    future: asyncio.Future[Answer]
    retried: bool = False


def share(waiting: int, idle: int, max_batch: int) -> int:
    """How many of the `waiting` items one of `idle` workers takes, so that all have work."""
    return min(max_batch, ceil(waiting / max(1, idle)))


class Batcher:
    """Brings the faces of many callers to a few workers, in order of arrival."""

    def __init__(
        self,
        workers: Sequence[Worker],
        policy: BatchPolicy,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._queue: deque[_Item] = deque()
        self._filled = asyncio.Event()
        self._idle = 0
        self._seconds_per_item = 0.0
        self._tasks = [asyncio.create_task(self._drive(worker)) for worker in workers]

    async def submit(self, faces: Sequence[FaceImage]) -> list[Answer]:
        """Score faces; all are accepted or none.

        Cancelling the call drops what has not been computed yet.

        Raises:
            Overloaded: the queue has no room for all of them.
            NotReady: no worker is up.
            ModelFailure: the model could not answer for one of them.
        """
        self._admit(len(faces))
        loop = asyncio.get_running_loop()
        now = self._clock()
        items = [_Item(face, now, loop.create_future()) for face in faces]
        self._put(items)
        try:
            return [await item.future for item in items]
        finally:
            for item in items:
                if not item.future.done():
                    item.future.cancel()
                elif not item.future.cancelled():
                    item.future.exception()  # mark it as seen: the caller gets the first one only

    async def close(self) -> None:
        """Stop taking batches; whoever still waits is told that the service is draining."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in self._queue:
            _fail(item, NotReady("the service is shutting down: try again"))
        self._queue.clear()

    def _admit(self, items: int) -> None:
        if not any(worker.up for worker in self._workers):
            self._observer.rejected("not_ready")
            raise NotReady("no model process is up: try again shortly")
        waiting = len(self._queue)
        if waiting + items > self._policy.queue_items:
            self._observer.rejected("queue_full")
            seconds = max(0.1, waiting * self._seconds_per_item / len(self._workers))
            raise Overloaded(f"{waiting} faces wait already: try again in {seconds:.1f} s", seconds)

    def _put(self, items: Sequence[_Item]) -> None:
        self._queue.extend(items)
        self._filled.set()
        self._observer.waiting(len(self._queue))

    async def _drive(self, worker: Worker) -> None:
        while True:
            await worker.ready()
            batch = await self._take()
            try:
                await self._answer(worker, batch)
            except WorkerLost as error:
                self._give_back(batch, error)
            except BaseException as error:
                # Whatever went wrong, nobody is left waiting; cancelling is how `close` ends this.
                for item in batch:
                    _fail(item, ModelFailure("the service failed while it classified this face"))
                if not isinstance(error, Exception):
                    raise
                log.exception("a batch failed unexpectedly")

    async def _take(self) -> list[_Item]:
        self._idle += 1
        try:
            while not (batch := self._collect()):
                self._filled.clear()
                await self._filled.wait()
            return batch
        finally:
            self._idle -= 1

    def _collect(self) -> list[_Item]:
        """The next batch of items that somebody still waits for."""
        wanted = share(len(self._queue), self._idle, self._policy.max_batch)
        batch: list[_Item] = []
        while self._queue and len(batch) < wanted:
            item = self._queue.popleft()
            if item.future.done():
                self._observer.dropped("cancelled")
            else:
                batch.append(item)
        self._observer.waiting(len(self._queue))
        return batch

    def _give_back(self, batch: Sequence[_Item], error: WorkerLost) -> None:
        """Give what a lost worker had a second chance, first in the queue; fail it after that."""
        for item in reversed(batch):
            if item.retried:
                _fail(item, error)
            elif not item.future.done():
                item.retried = True
                self._queue.appendleft(item)
        self._filled.set()

    async def _answer(self, worker: Worker, batch: Sequence[_Item]) -> None:
        """Run a batch; one that fails is tried in halves, so that a bad item fails alone."""
        started = self._clock()
        try:
            scored = await worker.scores(np.stack([item.face for item in batch]))
        except WorkerLost:
            raise
        except ModelFailure as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            middle = len(batch) // 2
            await self._answer(worker, batch[:middle])
            await self._answer(worker, batch[middle:])
            return
        self._resolve(batch, scored, started)

    def _resolve(self, batch: Sequence[_Item], scored: Scored, started: float) -> None:
        self._seconds_per_item = scored.seconds / len(batch)
        waits = [started - item.enqueued for item in batch]
        finite = [bool(np.isfinite(row).all()) for row in scored.scores]
        for item, row, sound, wait in zip(
            batch, scored.scores, finite, waits, strict=True
        ):
            if not sound:
                _fail(item, ModelFailure("the model gave no finite scores for this face"))
            elif not item.future.done():
                item.future.set_result(Answer(row, wait, scored.seconds))
        self._observer.batch(waits, scored.seconds)


def _fail(item: _Item, error: Exception) -> None:
    if not item.future.done():
        item.future.set_exception(error)
