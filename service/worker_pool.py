"""The workers, what each is busy with, and which lane each may serve next; nothing waits here."""

from collections.abc import Sequence
from math import ceil, inf
from typing import Generic, Protocol, TypeVar

from service.queues import Queue

LEAD = 0.002
"""How long before a batch should be done the next urgent one is sent, in seconds: about as long as
an answer and a request travel, during which the worker would be idle."""

AHEAD = 2
"""Most batches that a worker has at a time: the one it computes, and one sent ahead."""

UNKNOWN = inf
"""Seconds that a batch takes as long as nothing is known."""

RECENT = 2.0
"""Seconds after urgent work during which more is expected, and some workers are kept for it."""

MAX_PASSED_OVER = 1.0
"""Seconds after which a lane is served next even if others have used less of their share."""


class Worker(Protocol):
    """What the batcher needs of a worker."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    async def ready(self) -> None:
        """Wait until it can be asked."""


WorkerT = TypeVar("WorkerT", bound=Worker)


class Slot(Generic[WorkerT]):
    """A worker and its outstanding batches.

    Attributes:
        worker: the worker.
        batches: how many it was sent and has not answered.
        yielding: how many of them are of lanes that make way for urgent ones.
        busy_until: moment when all of them should be answered.
        answers: how many batches it has answered, well or with an error.
        finished: moment of its last answer.
        awaited: whether a task waits for it to come up.
    """

    def __init__(self, worker: WorkerT) -> None:
        self.worker = worker
        self.batches = self.yielding = self.answers = 0
        self.busy_until = self.finished = 0.0
        self.awaited = False

    @property
    def idle(self) -> bool:
        """Whether it could start on a batch at once."""
        return self.worker.up and not self.batches

    def due(self, now: float) -> bool:
        """Whether its answer is expected right now; one that is overdue may well hang."""
        return self.worker.up and abs(self.busy_until - now) <= LEAD

    def begin(self, queue: Queue, items: int, now: float) -> None:
        """It is sent a batch."""
        self.batches += 1
        self.yielding += not queue.lane.urgent
        self.busy_until = max(self.busy_until, now) + (
            queue.cost.seconds(items, queue.cap) or UNKNOWN
        )

    def answered(self, now: float) -> None:
        """It has answered, and begins with what it was sent ahead."""
        self.answers += 1
        self.finished = now

    def end(self, queue: Queue) -> None:
        """A batch of a lane was answered, or has failed."""
        self.batches -= 1
        self.yielding -= not queue.lane.urgent
        if not self.batches:
            self.busy_until = 0.0


class WorkerPool(Generic[WorkerT]):
    """All workers.

    Attributes:
        slots: one per worker.
        urgent_until: moment until which urgent work is expected.
        virtual_time: that of the lane served last.
    """

    def __init__(self, workers: Sequence[WorkerT]) -> None:
        self.slots = [Slot(worker) for worker in workers]
        self.urgent_until = 0.0
        self.virtual_time = 0.0

    @property
    def up(self) -> int:
        """How many can be asked now."""
        return sum(slot.worker.up for slot in self.slots)

    @property
    def idle(self) -> int:
        """How many could start on a batch at once."""
        return sum(slot.idle for slot in self.slots)

    def available(self, now: float) -> int:
        """How many share what waits: the idle ones, or else those whose answer is due."""
        return self.idle or sum(slot.due(now) for slot in self.slots)

    def remaining_seconds(self, now: float) -> float:
        """Seconds that their current batches should still take, added up."""
        ends = [
            slot.busy_until for slot in self.slots if slot.batches and slot.busy_until < UNKNOWN
        ]
        return sum(max(0.0, end - now) for end in ends)

    def may_begin(self, slot: Slot[WorkerT], queue: Queue, now: float) -> bool:
        """Whether a worker may be sent a batch of this lane now.

        If no worker is idle, urgent work is sent slightly ahead to one whose answer is due. While
        urgent work is expected, the other lanes get at most half of the workers, so that one is
        free soon.
        """
        if slot.batches:
            return slot.batches < AHEAD and queue.lane.urgent and not self.idle and slot.due(now)
        if queue.lane.urgent or now >= self.urgent_until:
            return True
        return sum(bool(other.yielding) for other in self.slots) < max(1, self.up // 2)

    def pause(self, now: float) -> float | None:
        """Seconds until `may_begin` changes by itself; None if only an event can change it."""
        moments = [slot.busy_until - LEAD for slot in self.slots if slot.batches]
        moments.append(self.urgent_until)
        return min((moment - now for moment in moments if now < moment < UNKNOWN), default=None)


def choose(queues: Sequence[Queue], now: float) -> Queue | None:
    """The lane to serve next, if one has work: that which has used the least of its share.

    One that was passed over for too long comes first, whatever its share.
    """
    waiting = [queue for queue in queues if len(queue)]
    overdue = [queue for queue in waiting if now - queue.passed_over_since > MAX_PASSED_OVER]
    if overdue:
        return min(overdue, key=lambda queue: queue.passed_over_since)
    return min(waiting, key=lambda queue: queue.virtual_time, default=None)


def share(waiting: int, idle: int, max_batch: int) -> int:
    """How many of the `waiting` items one of `idle` workers takes, so that all get some."""
    return min(max_batch, ceil(waiting / max(1, idle)))
