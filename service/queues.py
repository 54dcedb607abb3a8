"""What waits in a lane: entries in order of arrival, and callers that wait for room."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from service.errors import DeadlineExceeded
from service.lanes import Cost, ItemT, Lane, ResultT, SafetyMargin
from service.limits import LoadShedder


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


@dataclass(slots=True, eq=False)
class Entry(Generic[ItemT, ResultT]):
    """An item that waits or is worked on.

    Attributes:
        item: what the model is asked about.
        deadline: moment after which nobody needs the answer; None for never.
        future: whoever submitted it waits for this.
        traced: the request it belongs to, for the tracer; None if that is not traced.
        enqueued: moment of its admission.
        expected: moment at which its answer was expected then; None if it waited for room.
        retried: whether a worker was lost with it already.
    """

    item: ItemT
    deadline: float | None
    future: asyncio.Future[Answer[ResultT]]
    traced: object = None
    enqueued: float = 0.0
    expected: float | None = None
    retried: bool = False

    def late(self, now: float) -> bool:
        """Whether its moment has passed."""
        return self.deadline is not None and now >= self.deadline

    def fail(self, error: Exception) -> None:
        """Tell whoever still waits."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """Tell whoever still waits that it is too late."""
        self.fail(DeadlineExceeded("the deadline passed before the model was free"))


Entries = Sequence[Entry[Any, Any]]


class Queue:
    """A lane's entries, what they cost, and what the lane has had so far.

    Attributes:
        cost: how long the model takes for a batch.
        pace: how long it is from one answer to the next: what the way to the model takes, too.
        margin: how far off the moments were at which answers were expected.
        shedder: whether more come than can be answered.
        cap: most items that a batch may hold, as far as the device's memory goes.
        virtual_time: model seconds over weight: the lane's place in virtual time.
        last_served: moment when a batch was last taken.
        parked: calls that wait for room, the longest waiting first.
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
        """The entry that waited longest; something must wait."""
        return next(iter(self._entries))

    @property
    def passed_over_since(self) -> float:
        """Moment since which something waits and nothing was taken; something must wait."""
        return max(self.last_served, self.first.enqueued)

    def largest(self, hurried: bool) -> int:
        """The most items that a batch may hold, while urgent work is expected or not."""
        budget = self.lane.budget if hurried else None
        return self.cap if budget is None else min(self.cap, self.cost.fitting(budget))

    def work(self, items: int) -> float:
        """Seconds in which so many items are answered by one worker."""
        return self.pace.seconds(items, self.cap)

    def has_room(self, items: int) -> bool:
        """Whether so many may join."""
        return len(self) + items <= self.lane.max_items

    def has_room_for_patient(self, items: int) -> bool:
        """Likewise for a caller that can wait: half of the lane is left to those who cannot."""
        return not len(self) or len(self) + items <= self.lane.max_items // 2

    def put(self, entries: Entries, now: float) -> None:
        """Let entries join at the end."""
        for entry in entries:
            entry.enqueued = now
            self._entries[entry] = True

    def put_back(self, entries: Entries) -> None:
        """Let entries that were taken already join at the front."""
        for entry in reversed(entries):
            self._entries[entry] = True
            self._entries.move_to_end(entry, last=False)

    def take(self) -> Entry[Any, Any]:
        """The entry that waited longest."""
        return self._entries.popitem(last=False)[0]

    def remove(self, entry: Entry[Any, Any]) -> bool:
        """Take an entry out; False if it does not wait here (any more)."""
        return self._entries.pop(entry, False)

    def clear(self) -> list[Entry[Any, Any]]:
        """Everything that waits, for a place or for room; nothing does afterwards."""
        left = [*self._entries, *(entry for entries in self.parked for entry in entries)]
        self._entries.clear()
        self.parked.clear()
        return left


def wait(queue: Queue, queues: Sequence[Queue], under_way: float, workers: int) -> float:
    """Seconds until the workers get to an item that joins `queue` now.

    What waits before it is worked off at the lane's share: meanwhile each other lane gets what its
    weight allows, or only what it has.

    Args:
        queue: the one it joins.
        queues: all of them.
        under_way: seconds that the workers' present batches still take, added up.
        workers: how many there are.
    """
    mine = queue.work(len(queue))
    others = sum(
        min(other.work(len(other)), mine * other.lane.weight / queue.lane.weight)
        for other in queues
        if other is not queue
    )
    return (mine + others + under_way) / workers
