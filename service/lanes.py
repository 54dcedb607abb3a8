"""Who is served next, and how much at once: the batcher's decisions, as functions of values."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Generic, TypeVar

from service.errors import ModelFailure

WorkerT = TypeVar("WorkerT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[ResultT]):
    """What a worker answers for one batch.

    Attributes:
        results: one an item, in order; an item that failed alone has its error here.
        seconds: spent in the model.
    """

    results: Sequence[ResultT | ModelFailure]
    seconds: float


@dataclass(frozen=True, eq=False)
class Lane(Generic[WorkerT, ItemT, ResultT]):
    """A kind of work with a queue of its own.

    Attributes:
        name: for metrics.
        run: brings a batch of items to a worker.
        weight: its share of the workers' time while other lanes wait, relative to theirs.
        max_batch: most items in one batch.
        max_items: most items that may wait.
        max_wait: longest that one more item may be predicted to wait in a crowd, in seconds.
        budget: longest that a batch should hold a worker while urgent work is expected, in
            seconds; None for the urgent lane itself.
    """

    name: str
    run: Callable[[WorkerT, Sequence[ItemT]], Awaitable[BatchResult[ResultT]]]
    weight: float
    max_batch: int
    max_items: int
    max_wait: float = inf
    budget: float | None = None

    @property
    def urgent(self) -> bool:
        """Whether the others make way for it."""
        return self.budget is None


class Cost:
    """How long a batch takes: t(n) = a * n + b, fitted to the last batches.

    Least squares over sums that forget, so that it follows a machine that slows down.
    """

    FORGET = 0.95

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def learn(self, items: int, seconds: float) -> None:
        """A batch of `items` took `seconds`."""
        keep = self.FORGET
        self._weight = self._weight * keep + 1
        self._n = self._n * keep + items
        self._t = self._t * keep + seconds
        self._nn = self._nn * keep + items * items
        self._nt = self._nt * keep + items * seconds

    def fit(self) -> tuple[float, float]:
        """The slope a and the base b, neither below 0; both 0 as long as nothing is known."""
        if not self._weight:
            return 0.0, 0.0
        spread = self._weight * self._nn - self._n * self._n
        if spread < 1e-6 * self._weight * self._nn:
            return self._t / self._n, 0.0
        slope = (self._weight * self._nt - self._n * self._t) / spread
        slope = min(max(slope, 0.0), self._t / self._n)
        return slope, (self._t - slope * self._n) / self._weight

    def seconds(self, items: int, max_batch: int) -> float:
        """How long one worker needs for so many items in batches of at most `max_batch`."""
        slope, base = self.fit()
        return slope * items + base * ceil(items / max_batch)

    def fitting(self, budget: float) -> int:
        """The largest batch that takes no longer than `budget` seconds; at least 1."""
        slope, base = self.fit()
        if slope:
            return max(1, int((budget - base) / slope))
        return sys.maxsize if 0 < base <= budget else 1  # as long for one as for many, or unknown


class SafetyMargin:
    """What to add to a prediction so that it is hardly ever exceeded.

    Their errors' average and two average deviations, as TCP adds to a round trip's time
    (V. Jacobson, Congestion Avoidance and Control, 1988).
    """

    KEEP = 0.95

    def __init__(self) -> None:
        self._mean = self._deviation = 0.0

    def learn(self, error: float) -> None:
        """Something took so many seconds longer than was predicted."""
        off = error - self._mean
        self._deviation += (1 - self.KEEP) * (abs(off) - self._deviation)
        self._mean += (1 - self.KEEP) * off

    @property
    def seconds(self) -> float:
        """Below 0 where everything takes less than is predicted."""
        return self._mean + 2 * self._deviation


def share(waiting: int, idle: int, max_batch: int) -> int:
    """How many of the `waiting` items one of `idle` workers takes, so that all have work."""
    return min(max_batch, ceil(waiting / max(1, idle)))
