"""A lane: one kind of work for the batcher, and what comes of its items."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from service.errors import ModelFailure

WorkerT = TypeVar("WorkerT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[ResultT]):
    """What a worker answers for one batch.

    Attributes:
        results: one per item, in order; an item that failed on its own has its error here.
        seconds: spent in the model.
    """

    results: Sequence[ResultT | ModelFailure]
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResultT]):
    """What a caller gets for one item.

    Attributes:
        result: the model's.
        queue: seconds the item waited.
        seconds: its batch spent in the model.
    """

    result: ResultT
    queue: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Lane(Generic[WorkerT, ItemT, ResultT]):
    """A kind of work with a queue of its own.

    Attributes:
        name: for metrics.
        run: has a worker process a batch of items.
        weight: its share of the workers' time, relative to other lanes that have work.
        max_batch: most items in one batch.
        max_items: most items that may wait.
        max_wait: longest predicted wait, in seconds, at which an overloaded lane still admits.
        budget: longest that one batch should occupy a worker while urgent work is expected, in
            seconds; None for an urgent lane.
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
        """Whether other lanes make way for it."""
        return self.budget is None
