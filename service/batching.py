"""Dynamic batching: many requests, few model passes.

A free worker takes what waits at once: batches form only while all workers are busy, and an idle
service adds no delay. Each lane has a bounded queue; a free worker goes to the lane that has used
the least of its share, and some are kept free where urgent work is expected.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Generic

import structlog

from service.admission import Admission, Observer
from service.answering import Answering
from service.errors import SHUTTING_DOWN, NotReady
from service.lanes import Answer, ItemT, Lane, ResultT
from service.queues import Entries, Entry, Queue
from service.tracer import UNTRACED, Tracer
from service.worker_pool import RECENT, Slot, WorkerPool, WorkerT, choose, share

log = structlog.get_logger(__name__)

OUTAGE = 120.0
"""Longest that callers wait while no worker is up, in seconds."""


class Batcher(Generic[WorkerT]):
    """Brings the items of many callers to a few workers, first come, first served in each lane.

    Attributes:
        healthy: False once one of its tasks has failed, which should never happen.
    """

    def __init__(
        self,
        workers: Sequence[WorkerT],
        lanes: Sequence[Lane[WorkerT, Any, Any]],
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._queues = {lane: Queue(lane) for lane in lanes}
        self._clock = clock
        self._tracer = tracer
        self._changed = asyncio.Event()
        self._pool = WorkerPool(workers)
        queues = list(self._queues.values())
        self._admission = Admission(queues, self._pool, observer, clock, self._changed.set)
        self._answering = Answering(self._admission, observer, clock, tracer)
        self._outage_ends = inf
        self._tasks: set[asyncio.Task[None]] = set()
        self.healthy = True
        self._spawn(self._dispatch()).add_done_callback(lambda _: self._admission.close())

    async def submit(
        self,
        lane: Lane[WorkerT, ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[Answer[ResultT]]:
        """Have items computed; all of them are accepted or none.

        Cancelling the call drops what has not been computed yet.

        Args:
            lane: what to do with them.
            items: what the model is asked about.
            deadline: moment on the batcher's clock after which nobody needs the answer; what has
                not been computed by then is dropped.
            wait: wait for room instead of being refused. Callers that wait are let in in order of
                arrival, and leave half of the lane to those that do not wait. They also wait for
                a model process that is being restarted, for up to `OUTAGE`.

        Raises:
            Overloaded: the lane has no room for all of them, or could not answer in time.
            TooLarge: they are more than the lane may ever hold.
            NotReady: no worker is up, or the service is shutting down.
            DeadlineExceeded: the model was not free in time.
            ModelFailure: the model could not answer for one of them.
        """
        queue, loop = self._queues[lane], asyncio.get_running_loop()
        traced = self._tracer.current()
        entries: list[Entry[ItemT, ResultT]] = [
            Entry(item, deadline, loop.create_future(), traced) for item in items
        ]
        if not entries:
            return []
        (self._admission.admit_when_room if wait else self._admission.admit)(queue, entries)
        try:
            return [await entry.future for entry in entries]
        finally:
            self._admission.withdraw(queue, entries)

    def check(
        self, lane: Lane[WorkerT, ItemT, ResultT], items: int, deadline: float | None = None
    ) -> None:
        """Check whether `submit` would refuse so many items, before anything is spent on them.

        Raises:
            ServiceError: it would, with this error.
        """
        self._admission.check(self._queues[lane], items, deadline)

    async def close(self) -> None:
        """Stop, and tell all who still wait that the service is shutting down."""
        self._admission.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.healthy = False
            log.error("the batcher failed", exc_info=error)

    async def _dispatch(self) -> None:
        """Send batches to workers as soon as one may begin."""
        while True:
            self._changed.clear()
            now = self._clock()
            while self._waiting and any(self._begin(slot, now) for slot in self._pool.slots):
                now = self._clock()
            self._check_outage(now)
            await self._wait_for_change(self._pause(now))

    def _check_outage(self, now: float) -> None:
        """Fail everything that waits if no worker has been up for long."""
        if self._pool.up or not self._waiting:
            self._outage_ends = inf
        elif self._outage_ends == inf:
            self._outage_ends = now + OUTAGE
        elif now >= self._outage_ends:
            self._outage_ends = inf
            self._admission.fail_waiting("no model process has come back: try again later")

    def _pause(self, now: float) -> float | None:
        """Seconds until there may be something to do although nothing has changed, if ever."""
        if not self._waiting:
            return None
        return self._pool.pause(now) if self._pool.up else self._outage_ends - now

    def _begin(self, slot: Slot[WorkerT], now: float) -> bool:
        """Send a worker a batch that it may begin now; False if there is none."""
        if not slot.worker.up:
            if not slot.awaited:
                slot.awaited = True
                self._spawn(self._await_worker(slot))
            return False
        queue = choose(
            [queue for queue in self._queues.values() if self._pool.may_begin(slot, queue, now)],
            now,
        )
        if queue is None:
            return False
        if batch := self._collect(queue, now):
            slot.begin(queue, len(batch), now)
            work = self._spawn(self._answering.answer(slot, queue, batch, now))
            work.add_done_callback(partial(self._on_batch_done, slot, queue, batch))
        return True

    def _on_batch_done(
        self, slot: Slot[WorkerT], queue: Queue, batch: Entries, work: asyncio.Task[None]
    ) -> None:
        slot.end(queue)
        self._changed.set()
        if work.cancelled() or work.exception():
            for entry in batch:
                entry.fail(NotReady(SHUTTING_DOWN))

    async def _await_worker(self, slot: Slot[WorkerT]) -> None:
        """Wake the dispatcher once a worker has come up."""
        await slot.worker.ready()
        slot.awaited = False
        self._changed.set()

    async def _wait_for_change(self, seconds: float | None) -> None:
        """Wait until something has changed, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    @property
    def _waiting(self) -> bool:
        return any(map(len, self._queues.values()))

    def _collect(self, queue: Queue, now: float) -> Entries:
        """Take the next batch out of a queue, leaving out entries that nobody needs any more."""
        if queue.lane.urgent:
            self._pool.urgent_until = now + RECENT
        hurried = now < self._pool.urgent_until
        # What a worker was lost over is tried alone: the next may be lost over it, too.
        largest = 1 if queue.first.retried else queue.largest(hurried=hurried)
        wanted = share(len(queue), self._pool.available(now), largest)
        needed = 0.0
        if len(queue) > wanted:  # what would be late makes room for what can be in time, if any can
            seconds = queue.pace.least_seconds(wanted)
            needed = seconds if queue.has_entry_in_time(self._clock() + seconds) else 0.0
        batch: list[Entry[Any, Any]] = []
        while len(queue) and len(batch) < wanted:
            if batch and (batch[0].retried or queue.first.retried):
                break
            batch += self._admission.drop_unneeded([queue.take()], needed)
        queue.last_served, self._pool.virtual_time = now, queue.virtual_time
        self._admission.admit_parked(queue)
        return batch
