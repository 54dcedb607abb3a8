"""A batcher on a clock that the test controls, and ways to submit faces to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.batching import Batcher
from service.lanes import BatchResult, Lane
from service.records import FaceImage, Scores
from tests.fakes import FakeWorker, face


@dataclass
class Notes:
    """An observer that records what it is told."""

    depth: int = 0
    batches: list[tuple[str, list[float], float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)

    def waiting(self, lane: str, items: int) -> None:  # noqa: ARG002  # protocol signature
        self.depth = items

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:
        self.batches.append((lane, list(queue_seconds), seconds))

    def rejected(self, reason: str) -> None:
        self.refused.append(reason)

    def failed(self, lane: str) -> None:
        self.failures.append(lane)

    def dropped(self, reason: str) -> None:
        self.abandoned.append(reason)


FaceLane = Lane[FakeWorker, FaceImage, Scores]


async def run(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
    return await worker.scores(faces)


def lane(name: str = "interactive", **changes: Any) -> FaceLane:  # noqa: ANN401  # a lane's own fields
    return Lane(
        **{"name": name, "run": run, "weight": 1, "max_batch": 8, "max_items": 100, **changes}
    )


@dataclass
class Harness:
    """A batcher, and the lane that is used when a test names none."""

    batcher: Batcher[FakeWorker]
    lane: FaceLane

    async def submit(
        self,
        *faces: int,
        lane: FaceLane | None = None,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[float]:
        items = [face(value) for value in faces]
        answers = await self.batcher.submit(lane or self.lane, items, deadline=deadline, wait=wait)
        return [float(answer.result[0]) for answer in answers]

    def ask(
        self,
        *faces: int,
        lane: FaceLane | None = None,
        deadline: float | None = None,
        wait: bool = False,
    ) -> asyncio.Task[list[float]]:
        return asyncio.create_task(self.submit(*faces, lane=lane, deadline=deadline, wait=wait))


@asynccontextmanager
async def harness(
    *workers: FakeWorker,
    lanes: Sequence[FaceLane] = (),
    notes: Notes | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    **changes: Any,  # noqa: ANN401  # a lane's own fields
) -> AsyncIterator[Harness]:
    lanes = lanes or [lane(**changes)]
    batcher = Batcher(workers, lanes, notes or Notes(), clock)
    try:
        yield Harness(batcher, lanes[0])
    finally:
        await batcher.close()
