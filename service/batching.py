"""Dynamic batching: many requests, few model passes.

Work-conserving: a free worker takes what waits at once, so that batches form only while the
workers are busy and an idle service adds no delay. Each lane of work has a bounded queue; free
workers go to the lane that has used the least of its share.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic

import structlog

from service.admission import Admission, Observer
from service.crew import Crew, WorkerT
from service.errors import ModelFailure, NotReady, WorkerLost
from service.lanes import Batch, ItemT, Lane, ResultT, share
from service.queues import Answer, Entries, Entry, Queue

log = structlog.get_logger(__name__)


class Batcher(Generic[WorkerT]):
    """Brings the items of many callers to a few workers, in order of arrival within a lane."""

    def __init__(
        self,
        workers: Sequence[WorkerT],
        lanes: Sequence[Lane[WorkerT, Any, Any]],
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues = {lane: Queue(lane) for lane in lanes}
        self._observer = observer
        self._clock = clock
        self._filled = asyncio.Event()
        self._crew = Crew(workers)
        queues = list(self._queues.values())
        self._admission = Admission(queues, self._crew, observer, clock, self._filled.set)
        self._tasks = [asyncio.create_task(self._drive(worker)) for worker in workers]

    async def submit(
        self,
        lane: Lane[WorkerT, ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[Answer[ResultT]]:
        """Have items worked on; all are accepted or none.

        Cancelling the call drops what has not been computed yet.

        Args:
            lane: what is to be done with them.
            items: what the model is asked about.
            deadline: moment on the batcher's clock after which nobody needs the answer: what has
                not been computed by then is dropped.
            wait: wait for room instead of being refused, first come, first served. Those who
                wait leave half of the lane to those who do not. They also wait for a model
                process that is being restarted.

        Raises:
            Overloaded: the lane has no room for all of them, or will not get to them in time.
            TooLarge: the lane could never hold all of them.
            NotReady: no worker is up, or the service is shutting down.
            DeadlineExceeded: the deadline passed before the model was free.
            ModelFailure: the model could not answer for one of them.
        """
        queue, loop = self._queues[lane], asyncio.get_running_loop()
        entries: list[Entry[ItemT, ResultT]] = [
            Entry(item, deadline, loop.create_future()) for item in items
        ]
        if not entries:
            return []
        (self._admission.park if wait else self._admission.enter)(queue, entries)
        try:
            return [await entry.future for entry in entries]
        finally:
            self._admission.leave(queue, entries)

    async def close(self) -> None:
        """Stop taking batches; whoever still waits is told that the service is shutting down."""
        self._admission.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._admission.close()  # again: what a worker had may just have been given back

    async def _drive(self, worker: WorkerT) -> None:
        while True:
            await worker.ready()
            queue, batch = await self._take()
            try:
                await self._answer(worker, queue, batch)
            except WorkerLost as error:
                self._give_back(queue, batch, error)
            except asyncio.CancelledError:
                self._give_up(batch, NotReady("the service is shutting down: try again"))
                raise
            except Exception:
                log.exception("a batch failed unexpectedly")
                self._give_up(
                    batch, ModelFailure("the service failed while it worked on this face")
                )

    async def _take(self) -> tuple[Queue, Entries]:
        """The next batch, as soon as there is one."""
        with self._crew.idling():
            while True:
                waiting = [queue for queue in self._queues.values() if len(queue)]
                if not waiting:
                    self._filled.clear()
                    await self._filled.wait()
                    continue
                queue = min(waiting, key=lambda queue: queue.used)
                if batch := self._collect(queue):
                    return queue, batch

    def _collect(self, queue: Queue) -> Entries:
        """The next batch of entries that somebody still waits for."""
        wanted = share(len(queue), self._crew.idle, queue.largest)
        batch: list[Entry[Any, Any]] = []
        while len(queue) and len(batch) < wanted:
            batch += self._wanted([queue.take()])
        self._admission.room_made(queue)
        return batch

    def _wanted(self, entries: Entries) -> list[Entry[Any, Any]]:
        """Those entries that somebody still waits for."""
        now = self._clock()
        given_up = [entry for entry in entries if entry.future.done() or entry.late(now)]
        self._admission.drop(given_up, now)
        return [entry for entry in entries if entry not in given_up]

    def _give_up(self, batch: Entries, error: Exception) -> None:
        for entry in batch:
            entry.fail(error)

    def _give_back(self, queue: Queue, batch: Entries, error: WorkerLost) -> None:
        """Give what a lost worker had a second chance, first in its queue; fail it after that."""
        again = []
        for entry in batch:
            if entry.retried:
                entry.fail(error)
            elif not entry.future.done():
                entry.retried = True
                again.append(entry)
        queue.put_back(again)
        self._admission.tell(queue)
        self._filled.set()

    async def _answer(self, worker: WorkerT, queue: Queue, batch: Entries) -> None:
        """Run a batch; one that fails is tried in halves, so that a bad item fails alone."""
        started = self._clock()
        try:
            with self._crew.working(worker, until=started + queue.work(len(batch))):
                answered = await queue.lane.run(worker, [entry.item for entry in batch])
        except WorkerLost:
            raise
        except ModelFailure as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if wanted := self._wanted(half):
                    await self._answer(worker, queue, wanted)
            return
        self._resolve(queue, batch, answered, started)

    def _resolve(self, queue: Queue, batch: Entries, answered: Batch[Any], started: float) -> None:
        queue.cost.learn(len(batch), answered.seconds)
        queue.used += answered.seconds / queue.lane.weight
        waits = [started - entry.enqueued for entry in batch]
        for entry, result, waited in zip(batch, answered.results, waits, strict=True):
            if isinstance(result, ModelFailure):
                entry.fail(result)
            elif not entry.future.done():
                entry.future.set_result(Answer(result, waited, answered.seconds))
        self._observer.batch(queue.lane.name, waits, answered.seconds)
