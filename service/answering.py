"""Having a worker answer a batch: what fails is tried again, and what it took is learned from."""

from collections.abc import Callable
from typing import Any

import structlog

from service.admission import Admission, Observer
from service.errors import ModelFailure, OutOfMemory, WorkerLost
from service.lanes import Answer, BatchResult
from service.queues import Entries, Queue
from service.tracer import Tracer
from service.worker_pool import Slot

log = structlog.get_logger(__name__)


class Answering:
    """Takes batches to workers, and their answers to the callers."""

    def __init__(
        self,
        admission: Admission,
        observer: Observer,
        clock: Callable[[], float],
        tracer: Tracer,
    ) -> None:
        """Do nothing yet.

        Args:
            admission: takes back what a lost worker had.
            observer: told what happens.
            clock: monotonic seconds.
            tracer: told what was done for which request.
        """
        self._admission = admission
        self._observer = observer
        self._clock = clock
        self._tracer = tracer

    async def answer(self, slot: Slot[Any], queue: Queue, batch: Entries, sent: float) -> None:
        """Have a worker answer a batch, sent to it at the moment `sent`."""
        ahead, answers = slot.batches > 1, slot.answers
        try:
            await self._attempt(slot, queue, batch, sent)
        except WorkerLost as error:
            if ahead and slot.answers == answers:  # it was lost over the batch before this one
                self._admission.readmit(queue, [e for e in batch if not e.future.done()])
            else:
                self._requeue(queue, batch, error)
        except Exception:
            log.exception("a batch failed unexpectedly")
            self._fail(
                queue, batch, ModelFailure("the service failed while it worked on this face")
            )

    def _requeue(self, queue: Queue, batch: Entries, error: WorkerLost) -> None:
        """Put a lost worker's batch back at the front of its queue; the second time it fails."""
        again = []
        for entry in batch:
            if entry.retried:
                self._fail(queue, [entry], error)
            elif not entry.future.done():
                entry.retried = True
                again.append(entry)
        self._admission.readmit(queue, again)

    async def _attempt(self, slot: Slot[Any], queue: Queue, batch: Entries, sent: float) -> None:
        """Run a batch; if it fails, try its halves, so that a bad item fails alone."""
        batch = self._admission.drop_unneeded(batch)  # a caller may just have gone
        if not batch:
            return
        try:
            await self._run(slot, queue, batch, sent)
        except WorkerLost:
            raise
        except ModelFailure as error:
            if isinstance(error, OutOfMemory):
                queue.cap = max(1, min(queue.cap, len(batch) // 2))
                log.warning("out of memory", lane=queue.lane.name, batch=len(batch), cap=queue.cap)
            if len(batch) == 1:
                self._fail(queue, batch, error)
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                await self._attempt(slot, queue, half, self._clock())

    async def _run(self, slot: Slot[Any], queue: Queue, batch: Entries, sent: float) -> None:
        """Have a worker answer a batch, and learn from how long it takes."""
        failure: ModelFailure | None = None
        try:
            answered = await queue.lane.run(slot.worker, [entry.item for entry in batch])
        except ModelFailure as error:
            failure = error
        begun = max(sent, slot.finished)  # a batch sent ahead waits for the one before it
        now = self._clock()
        took = now - begun
        self._tracer.batch_span(queue.lane.name, batch, begun, now, failure)
        if isinstance(failure, WorkerLost):  # a crash or a hang is not the lane's fault
            raise failure
        slot.answered(now)
        if failure:
            queue.virtual_time += took / queue.lane.weight
            raise failure
        queue.virtual_time += answered.seconds / queue.lane.weight
        queue.cost.learn(len(batch), answered.seconds)
        queue.pace.learn(len(batch), max(answered.seconds, took))
        self._resolve(queue, batch, answered, begun)

    def _resolve(
        self, queue: Queue, batch: Entries, answered: BatchResult[Any], begun: float
    ) -> None:
        waits = [begun - entry.enqueued for entry in batch]
        now = self._clock()
        for entry, result, waited in zip(batch, answered.results, waits, strict=True):
            if entry.expected is not None:
                queue.margin.learn(now - entry.expected)
            if isinstance(result, ModelFailure):
                self._fail(queue, [entry], result)
            elif not entry.future.done():
                entry.future.set_result(Answer(result, waited, answered.seconds))
        self._observer.batch(queue.lane.name, waits, answered.seconds)

    def _fail(self, queue: Queue, batch: Entries, error: ModelFailure) -> None:
        for entry in batch:
            entry.fail(error)
            self._observer.failed(queue.lane.name)
