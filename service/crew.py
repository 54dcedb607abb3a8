"""The workers and what each is at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Worker(Protocol):
    """What the batcher needs of whoever does the work."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    async def ready(self) -> None:
        """Wait until it can be asked."""


WorkerT = TypeVar("WorkerT", bound=Worker)


class Crew(Generic[WorkerT]):
    """The workers and what each is at.

    Attributes:
        workers: all of them, up or not.
        idle: how many have nothing to do.
    """

    def __init__(self, workers: Sequence[WorkerT]) -> None:
        self.workers = workers
        self.idle = 0
        self._until: dict[WorkerT, float] = {}

    @property
    def up(self) -> bool:
        """Whether any can be asked now."""
        return any(worker.up for worker in self.workers)

    @contextmanager
    def idling(self) -> Iterator[None]:
        """One of them has nothing to do."""
        self.idle += 1
        try:
            yield
        finally:
            self.idle -= 1

    @contextmanager
    def working(self, worker: WorkerT, until: float) -> Iterator[None]:
        """One works on a batch that should be ready at the moment `until`."""
        self._until[worker] = until
        try:
            yield
        finally:
            del self._until[worker]

    def under_way(self, now: float) -> float:
        """Seconds that their present batches should still take, added up."""
        return sum(max(0.0, until - now) for until in self._until.values())
