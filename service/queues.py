"""A lane's queue: entries in order of arrival, callers waiting for room, and predicted waits."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from service.errors import DeadlineExceeded
from service.forecasts import Cost, SafetyMargin
from service.lanes import Answer, ItemT, Lane, ResultT
from service.limits import LoadShedder


@dataclass(slots=True, eq=False)
class Entry(Generic[ItemT, ResultT]):
    """An item that waits or is being worked on.

    Attributes:
        item: what the model is asked about.
        deadline: moment after which nobody needs the answer; None for never.
        future: what the caller awaits.
        traced: the request it belongs to, for the tracer; None if that is not traced.
        enqueued: moment of its admission.
        expected: moment its answer was predicted for at admission; None if it waited for room.
        retried: whether a worker was already lost while working on it.
    """

    item: ItemT
    deadline: float | None
    future: asyncio.Future[Answer[ResultT]]
    traced: object = None
    enqueued: float = 0.0
    expected: float | None = None
    retried: bool = False

    def late(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def fail(self, error: Exception) -> None:
        """Give the caller an error, unless it has its answer or has gone."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """Tell the caller that the answer would come after the deadline."""
        self.fail(
            DeadlineExceeded("the model was not free in time: send a later deadline or try again")
        )


Entries = Sequence[Entry[Any, Any]]


class Queue:
    """A lane's entries, what they cost, and what the lane has used so far.

    Attributes:
        cost: seconds that a batch takes in the model.
        pace: seconds from one answer to the next, so with the way to the worker and back.
        margin: how far off the predicted moments of answers were.
        shedder: whether more arrives than can be answered.
        cap: most items in a batch, as far as the device's memory allows.
        virtual_time: model seconds used, divided by the lane's weight, as in fair queueing.
        last_served: moment when a batch was last taken.
        parked: calls that wait for room, oldest first.
    """

    def __init__(self, lane: Lane[Any, Any, Any]) -> None:
        self.lane = lane
        self.cost = Cost()
        self.pace = Cost()
        self.margin = SafetyMargin()
        self.shedder = LoadShedder(lane.max_wait)
        self.cap = lane.max_batch
        self.virtual_time = 0.0
        self.last_served = 0.0
        self.parked: deque[Entries] = deque()
        self._entries: OrderedDict[Entry[Any, Any], bool] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first(self) -> Entry[Any, Any]:
        """The oldest entry; the queue must not be empty."""
        return next(iter(self._entries))

    @property
    def passed_over_since(self) -> float:
        """Moment since which entries wait and none was taken; the queue must not be empty."""
        return max(self.last_served, self.first.enqueued)

    def largest(self, hurried: bool) -> int:
        """Most items in the next batch; `hurried` while urgent work is expected."""
        budget = self.lane.budget if hurried else None
        return self.cap if budget is None else min(self.cap, self.cost.fitting(budget))

    def seconds_for(self, items: int) -> float:
        """How long one worker takes to answer so many items."""
        return self.pace.seconds(items, self.cap)

    def has_room(self, items: int) -> bool:
        """Whether so many may join."""
        return len(self) + items <= self.lane.max_items

    def has_room_for_patient(self, items: int) -> bool:
        """Likewise for a caller that can wait: half of the lane is left to those that cannot."""
        return not len(self) or len(self) + items <= self.lane.max_items // 2

    def has_entry_in_time(self, moment: float) -> bool:
        """Whether a moment is before the deadline of at least one entry."""
        return not all(entry.late(moment) for entry in self._entries)

    def put(self, entries: Entries, now: float) -> None:
        """Append entries."""
        for entry in entries:
            entry.enqueued = now
            self._entries[entry] = True

    def put_back(self, entries: Entries) -> None:
        """Put entries that were taken before back at the front."""
        for entry in reversed(entries):
            self._entries[entry] = True
            self._entries.move_to_end(entry, last=False)

    def take(self) -> Entry[Any, Any]:
        """Remove the oldest entry."""
        return self._entries.popitem(last=False)[0]

    def remove(self, entry: Entry[Any, Any]) -> bool:
        """Remove an entry; False if it is not here."""
        return self._entries.pop(entry, False)

    def clear(self) -> list[Entry[Any, Any]]:
        """Remove all entries, also those that wait for room."""
        left = [*self._entries, *(entry for entries in self.parked for entry in entries)]
        self._entries.clear()
        self.parked.clear()
        return left


def predicted_wait(queue: Queue, queues: Sequence[Queue], under_way: float, workers: int) -> float:
    """Seconds until the workers get to an item that joins `queue` now.

    While the entries before it are served, each other lane gets what its weight entitles it to, but
    no more than it has work for.

    Args:
        queue: the one it joins.
        queues: all of them.
        under_way: seconds that the workers' current batches still take, added up.
        workers: how many there are.
    """
    mine = queue.seconds_for(len(queue))
    others = sum(
        min(other.seconds_for(len(other)), mine * other.lane.weight / queue.lane.weight)
        for other in queues
        if other is not queue
    )
    return (mine + others + under_way) / workers
