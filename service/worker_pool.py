"""The workers, what each is at, and what each may begin now: decisions, apart from the loops."""

from collections.abc import Sequence
from math import inf
from typing import Generic, Protocol, TypeVar

from service.queues import Queue

LEAD = 0.002
"""How long before a batch should be ready the next urgent one is sent, in seconds: about what an
answer and a question need on their way, in which a worker would have nothing to do."""

AHEAD = 2
"""Most batches that a worker is sent before it has answered the first."""

UNKNOWN = inf
"""Seconds that a batch takes of which nothing is known."""

RECENT = 2.0
"""For so many seconds after urgent work, the next is expected: some workers are kept for it."""

MAX_PASSED_OVER = 1.0
"""Longest that a lane with work is passed over for one with a greater share, in seconds."""


class Worker(Protocol):
    """What the batcher needs of whoever does the work."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    async def ready(self) -> None:
        """Wait until it can be asked."""


WorkerT = TypeVar("WorkerT", bound=Worker)


class Slot(Generic[WorkerT]):
    """A worker and what it is at.

    Attributes:
        worker: who works here.
        batches: how many it was sent and has not answered.
        yielding: how many of them are of lanes that can wait.
        busy_until: moment when all of them should be ready, as far as that can be told.
        finished: moment when it answered last.
        awaited: whether somebody waits for it to be up.
    """

    def __init__(self, worker: WorkerT) -> None:
        self.worker = worker
        self.batches = self.yielding = 0
        self.busy_until = self.finished = 0.0
        self.awaited = False

    @property
    def idle(self) -> bool:
        """Whether it could begin at once."""
        return self.worker.up and not self.batches

    def due(self, now: float) -> bool:
        """Whether what it is at is as good as ready; one that is overdue may well hang."""
        return self.worker.up and abs(self.busy_until - now) <= LEAD

    def begin(self, queue: Queue, items: int, now: float) -> None:
        """It is sent a batch."""
        self.batches += 1
        self.yielding += not queue.lane.urgent
        self.busy_until = max(self.busy_until, now) + (
            queue.cost.seconds(items, queue.cap) or UNKNOWN
        )

    def end(self, queue: Queue) -> None:
        """A batch is answered, or given up."""
        self.batches -= 1
        self.yielding -= not queue.lane.urgent
        if not self.batches:
            self.busy_until = 0.0


class WorkerPool(Generic[WorkerT]):
    """All workers."""

    def __init__(self, workers: Sequence[WorkerT]) -> None:
        self.slots = [Slot(worker) for worker in workers]
        self.urgent_until = 0.0
        """Until then, urgent work is expected."""
        self.virtual_time = 0.0
        """What the lane that was served last had used by then: virtual time."""

    @property
    def up(self) -> int:
        """How many can be asked now."""
        return sum(slot.worker.up for slot in self.slots)

    @property
    def idle(self) -> int:
        """How many could begin at once."""
        return sum(slot.idle for slot in self.slots)

    def available(self, now: float) -> int:
        """How many share what waits: those that are idle, else those that soon will be."""
        return self.idle or sum(slot.due(now) for slot in self.slots)

    def remaining_seconds(self, now: float) -> float:
        """Seconds that their present batches should still take, added up."""
        ends = [
            slot.busy_until for slot in self.slots if slot.batches and slot.busy_until < UNKNOWN
        ]
        return sum(max(0.0, end - now) for end in ends)

    def may_begin(self, slot: Slot[WorkerT], queue: Queue, now: float) -> bool:
        """Whether a worker may be sent a batch of this lane now.

        Urgent work is sent a little ahead to a worker that is almost ready, if no other is idle.
        While urgent work is expected, lanes that can wait hold at most half of the workers, so
        that another is soon free.
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
    """The lane that is served next, of those that have work.

    It is the one that has used the least of its share; but first one that was passed over for too
    long, whatever its share.
    """
    waiting = [queue for queue in queues if len(queue)]
    overdue = [queue for queue in waiting if now - queue.passed_over_since > MAX_PASSED_OVER]
    if overdue:
        return min(overdue, key=lambda queue: queue.passed_over_since)
    return min(waiting, key=lambda queue: queue.virtual_time, default=None)
