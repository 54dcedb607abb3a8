"""Dynamic batching: many requests, few model passes.

Work-conserving: a free worker takes what waits at once, so that batches form only while the
workers are busy and an idle service adds no delay. Each lane of work has a bounded queue; free
workers go to the lane that has used the least of its share.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import structlog

from service.errors import ModelFailure, NotReady, Overloaded, WorkerLost
from service.lanes import Batch, Cost, ItemT, Lane, ResultT, share

log = structlog.get_logger(__name__)


class Worker(Protocol):
    """What the batcher needs of whoever does the work."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    async def ready(self) -> None:
        """Wait until it can be asked."""


WorkerT = TypeVar("WorkerT", bound=Worker)


class Observer(Protocol):
    """Who is told what the batcher does, for metrics."""

    def waiting(self, lane: str, items: int) -> None:
        """So many items wait now."""

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:
        """A batch was answered: how long each item waited, how long the model took."""

    def rejected(self, reason: str) -> None:
        """A request was refused."""

    def dropped(self, reason: str) -> None:
        """An item was dropped before it was computed, since nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResultT]):
    """What became of one item.

    Attributes:
        result: what the model says.
        queue: seconds it waited.
        seconds: its batch spent in the model.
    """

    result: ResultT
    queue: float
    seconds: float


@dataclass(slots=True)
class _Entry(Generic[ItemT, ResultT]):
    item: ItemT
    enqueued: float
    future: asyncio.Future[Answer[ResultT]]
    retried: bool = False


class _Queue:
    """What waits in a lane, and what the lane has had so far."""

    def __init__(self, lane: Lane[Any, Any, Any]) -> None:
        self.lane = lane
        self.entries: deque[_Entry[Any, Any]] = deque()
        self.cost = Cost()
        self.used = 0.0
        """Model seconds over weight: the lane's place in virtual time."""

    def wait(self, workers: int) -> float:
        """How long what waits here will take, in seconds, if no other lane interferes."""
        return self.cost.seconds(len(self.entries), self.lane.max_batch) / workers

    @property
    def largest(self) -> int:
        """The most items that a batch may hold now."""
        budget = self.lane.budget
        fitting = self.lane.max_batch if budget is None else self.cost.fitting(budget)
        return min(self.lane.max_batch, fitting)


class Batcher(Generic[WorkerT]):
    """Brings the items of many callers to a few workers, in order of arrival within a lane."""

    def __init__(
        self,
        workers: Sequence[WorkerT],
        lanes: Sequence[Lane[WorkerT, Any, Any]],
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._queues = {lane: _Queue(lane) for lane in lanes}
        self._observer = observer
        self._clock = clock
        self._filled = asyncio.Event()
        self._idle = 0
        self._tasks = [asyncio.create_task(self._drive(worker)) for worker in workers]

    async def submit(
        self, lane: Lane[WorkerT, ItemT, ResultT], items: Sequence[ItemT]
    ) -> list[Answer[ResultT]]:
        """Have items worked on; all are accepted or none.

        Cancelling the call drops what has not been computed yet.

        Raises:
            Overloaded: the lane's queue has no room for all of them.
            NotReady: no worker is up.
            ModelFailure: the model could not answer for one of them.
        """
        queue = self._queues[lane]
        self._admit(queue, len(items))
        loop, now = asyncio.get_running_loop(), self._clock()
        entries: list[_Entry[ItemT, ResultT]] = [
            _Entry(item, now, loop.create_future()) for item in items
        ]
        self._put(queue, entries)
        try:
            return [await entry.future for entry in entries]
        finally:
            for entry in entries:
                if not entry.future.done():
                    entry.future.cancel()
                elif not entry.future.cancelled():
                    entry.future.exception()  # seen: the caller gets the first error only

    async def close(self) -> None:
        """Stop taking batches; whoever still waits is told that the service is draining."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues.values():
            for entry in queue.entries:
                _fail(entry, NotReady("the service is shutting down: try again"))
            queue.entries.clear()

    def _admit(self, queue: _Queue, items: int) -> None:
        if not any(worker.up for worker in self._workers):
            self._observer.rejected("not_ready")
            raise NotReady("no model process is up: try again shortly")
        waiting = len(queue.entries)
        if waiting + items > queue.lane.max_items:
            self._observer.rejected("queue_full")
            seconds = max(0.1, queue.wait(len(self._workers)))
            raise Overloaded(f"{waiting} faces wait already: try again in {seconds:.1f} s", seconds)

    def _put(self, queue: _Queue, entries: Sequence[_Entry[Any, Any]]) -> None:
        if not queue.entries:
            # A lane that comes back starts level with those that waited; it saved nothing up.
            busy = [other.used for other in self._queues.values() if other.entries]
            queue.used = max(queue.used, min(busy, default=queue.used))
        queue.entries.extend(entries)
        self._observer.waiting(queue.lane.name, len(queue.entries))
        self._filled.set()

    async def _drive(self, worker: WorkerT) -> None:
        while True:
            await worker.ready()
            queue, batch = await self._take()
            try:
                await self._answer(worker, queue, batch)
            except WorkerLost as error:
                self._give_back(queue, batch, error)
            except BaseException as error:
                # Whatever went wrong, nobody is left waiting; cancelling is how `close` ends this.
                for entry in batch:
                    _fail(entry, ModelFailure("the service failed while it worked on this face"))
                if not isinstance(error, Exception):
                    raise
                log.exception("a batch failed unexpectedly")

    async def _take(self) -> tuple[_Queue, list[_Entry[Any, Any]]]:
        self._idle += 1
        try:
            while True:
                waiting = [queue for queue in self._queues.values() if queue.entries]
                if not waiting:
                    self._filled.clear()
                    await self._filled.wait()
                    continue
                queue = min(waiting, key=lambda queue: queue.used)
                if batch := self._collect(queue):
                    return queue, batch
        finally:
            self._idle -= 1

    def _collect(self, queue: _Queue) -> list[_Entry[Any, Any]]:
        """The next batch of items that somebody still waits for."""
        entries = queue.entries
        wanted = share(len(entries), self._idle, queue.largest)
        batch: list[_Entry[Any, Any]] = []
        while entries and len(batch) < wanted:
            entry = entries.popleft()
            if entry.future.done():
                self._observer.dropped("cancelled")
            else:
                batch.append(entry)
        self._observer.waiting(queue.lane.name, len(entries))
        return batch

    def _give_back(
        self, queue: _Queue, batch: Sequence[_Entry[Any, Any]], error: WorkerLost
    ) -> None:
        """Give what a lost worker had a second chance, first in its queue; fail it after that."""
        for entry in reversed(batch):
            if entry.retried:
                _fail(entry, error)
            elif not entry.future.done():
                entry.retried = True
                queue.entries.appendleft(entry)
        self._filled.set()

    async def _answer(
        self, worker: WorkerT, queue: _Queue, batch: Sequence[_Entry[Any, Any]]
    ) -> None:
        """Run a batch; one that fails is tried in halves, so that a bad item fails alone."""
        started = self._clock()
        try:
            answered = await queue.lane.run(worker, [entry.item for entry in batch])
        except WorkerLost:
            raise
        except ModelFailure as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            middle = len(batch) // 2
            await self._answer(worker, queue, batch[:middle])
            await self._answer(worker, queue, batch[middle:])
            return
        self._resolve(queue, batch, answered, started)

    def _resolve(
        self,
        queue: _Queue,
        batch: Sequence[_Entry[Any, Any]],
        answered: Batch[Any],
        started: float,
    ) -> None:
        queue.cost.learn(len(batch), answered.seconds)
        queue.used += answered.seconds / queue.lane.weight
        waits = [started - entry.enqueued for entry in batch]
        for entry, result, wait in zip(batch, answered.results, waits, strict=True):
            if isinstance(result, ModelFailure):
                _fail(entry, result)
            elif not entry.future.done():
                entry.future.set_result(Answer(result, wait, answered.seconds))
        self._observer.batch(queue.lane.name, waits, answered.seconds)


def _fail(entry: _Entry[Any, Any], error: Exception) -> None:
    if not entry.future.done():
        entry.future.set_exception(error)
