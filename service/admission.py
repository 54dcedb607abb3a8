"""Who may join a lane's queue, who is refused, who waits for room, and who leaves it unserved."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from service.errors import SHUTTING_DOWN, NotReady, Overloaded, TooLarge
from service.queues import Entries, Entry, Queue, predicted_wait
from service.records import DropReason, Refusal
from service.worker_pool import WorkerPool


class Observer(Protocol):
    """Is told what the batcher does, for metrics."""

    def waiting(self, lane: str, items: int) -> None:
        """So many items wait now."""

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:
        """A batch was answered: how long each item waited, and how long the model took."""

    def rejected(self, reason: Refusal) -> None:
        """A request was refused."""

    def failed(self, lane: str) -> None:
        """The model could not answer for an item."""

    def dropped(self, reason: DropReason) -> None:
        """An item was dropped before it was computed, since nobody needs its answer any more."""


class Admission:
    """Lets calls into the queues, and takes out those that are not to be served."""

    def __init__(
        self,
        queues: Sequence[Queue],
        pool: WorkerPool[Any],
        observer: Observer,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """Open.

        Args:
            queues: one per lane.
            pool: the workers.
            observer: told what happens.
            clock: monotonic seconds.
            wake: called when there is something to do.
        """
        self._queues = queues
        self._pool = pool
        self._observer = observer
        self._clock = clock
        self._wake = wake
        self._closed = False

    def admit(self, queue: Queue, entries: Entries) -> None:
        """Let a call join now.

        Raises:
            ServiceError: it is refused, as `Batcher.submit` says.
        """
        now, deadline = self._clock(), entries[0].deadline
        if entries[0].late(now):
            self.drop(entries, now)
            return
        seconds = self.check(queue, len(entries), deadline)
        for entry in entries:
            entry.expected = now + seconds
        self._put(queue, entries, now)

    def check(self, queue: Queue, items: int, deadline: float | None) -> float:
        """Check whether so many items could join now.

        Returns:
            Seconds until they should be answered; 0 if nothing is known yet.

        Raises:
            ServiceError: they would be refused, as `Batcher.submit` says.
        """
        self._check_possible(queue, items)
        if not self._pool.up:
            raise self._not_ready("no model process is up: try again shortly")
        now = self._clock()
        seconds = self._wait(queue, now)
        crowd = len(queue) + items
        if not queue.has_room(items) or queue.shedder.sheds(crowd, seconds, now):
            raise self._overloaded("queue_full", queue, seconds)
        answered = seconds + queue.seconds_for(min(queue.cap, crowd))
        if deadline and seconds and now + answered + queue.margin.seconds > deadline:
            raise self._overloaded("deadline", queue, seconds)
        return answered

    def admit_when_room(self, queue: Queue, entries: Entries) -> None:
        """Let a call join as soon as there is room.

        Raises:
            ServiceError: it is refused, as `Batcher.submit` says.
        """
        self._check_possible(queue, len(entries))
        queue.parked.append(entries)
        self.admit_parked(queue)

    def admit_parked(self, queue: Queue) -> None:
        """Let in calls that wait for room, as the queue's length has changed."""
        now = self._clock()
        while queue.parked:
            entries = queue.parked[0]
            if entries[0].late(now):
                self.drop(queue.parked.popleft(), now)
            elif queue.has_room_for_patient(len(entries)):
                self._put(queue, queue.parked.popleft(), now)
            else:
                break
        self.report_depth(queue)

    def readmit(self, queue: Queue, entries: Entries) -> None:
        """Put entries that a lost worker had back at the front of their queue."""
        if self._closed:
            for entry in entries:
                entry.fail(NotReady(SHUTTING_DOWN))
            return
        queue.put_back(entries)
        self.report_depth(queue)

    def withdraw(self, queue: Queue, entries: Entries) -> None:
        """Forget a call whose caller goes, with or without its answers."""
        if entries in queue.parked:
            queue.parked.remove(entries)
            gone = entries
        else:
            gone = [entry for entry in entries if queue.remove(entry)]
        if gone:
            self.drop(gone, self._clock())
            self.admit_parked(queue)
        for entry in entries:
            entry.future.cancel()  # one that has failed is not logged then: a call has one error

    def drop(self, entries: Entries, now: float) -> None:
        """Count entries that will not be computed, and tell the callers of those that are late."""
        for entry in entries:
            if entry.late(now):
                entry.expire()
                self._observer.dropped("expired")
            else:
                self._observer.dropped("cancelled")

    def drop_unneeded(self, entries: Entries, needed: float = 0.0) -> list[Entry[Any, Any]]:
        """Drop entries whose answer nobody needs in `needed` seconds, and return the others."""
        now = self._clock() + needed
        unneeded = [entry for entry in entries if entry.future.done() or entry.late(now)]
        self.drop(unneeded, now)
        return [entry for entry in entries if entry not in unneeded]

    def close(self) -> None:
        """Admit nothing more, and tell all who wait that the service is shutting down."""
        self._closed = True
        self.fail_waiting(SHUTTING_DOWN)

    def fail_waiting(self, why: str) -> None:
        """Fail everything that waits."""
        for queue in self._queues:
            for entry in queue.clear():
                entry.fail(NotReady(why))
            self.report_depth(queue)

    def report_depth(self, queue: Queue) -> None:
        """Tell the observer how many wait."""
        self._observer.waiting(queue.lane.name, len(queue))

    def _wait(self, queue: Queue, now: float) -> float:
        if self._pool.idle and not any(map(len, self._queues)):
            return 0.0
        return predicted_wait(queue, self._queues, self._pool.remaining_seconds(now), self._pool.up)

    def _put(self, queue: Queue, entries: Entries, now: float) -> None:
        if not len(queue):
            # A lane that was empty starts level with the one served last: idling saves up nothing.
            queue.virtual_time = max(queue.virtual_time, self._pool.virtual_time)
        queue.put(entries, now)
        self.report_depth(queue)
        self._wake()

    def _check_possible(self, queue: Queue, items: int) -> None:
        if self._closed:
            raise self._not_ready(SHUTTING_DOWN)
        if items > queue.lane.max_items:
            raise TooLarge(f"{items} faces at once: send at most {queue.lane.max_items}")

    def _not_ready(self, message: str) -> NotReady:
        self._observer.rejected("not_ready")
        return NotReady(message)

    def _overloaded(self, reason: Refusal, queue: Queue, seconds: float) -> Overloaded:
        self._observer.rejected(reason)
        seconds = max(0.1, seconds)
        return Overloaded(
            f"overloaded (faces waiting: {len(queue)}): try again in {seconds:.1f} s", seconds
        )
