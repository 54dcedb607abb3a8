import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching import Batcher
from service.errors import ModelFailure, NotReady, Overloaded, WorkerLost
from service.lanes import Batch, Cost, Lane, share
from service.records import FaceImage, Scores
from tests.fakes import (
    POISON,
    BrokenWorker,
    DyingWorker,
    FakeWorker,
    PoisonedWorker,
    face,
)

pytestmark = pytest.mark.anyio


@dataclass
class Notes:
    """An observer that writes down what it is told."""

    depth: int = 0
    batches: list[tuple[str, list[float], float]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)

    def waiting(self, lane: str, items: int) -> None:  # noqa: ARG002  # the seam's signature
        self.depth = items

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:
        self.batches.append((lane, list(queue_seconds), seconds))

    def rejected(self, reason: str) -> None:
        self.refused.append(reason)

    def dropped(self, reason: str) -> None:
        self.abandoned.append(reason)


FaceLane = Lane[FakeWorker, FaceImage, Scores]


async def run(worker: FakeWorker, faces: Sequence[FaceImage]) -> Batch[Scores]:
    scored = await worker.scores(np.stack(faces))
    return Batch(list(scored.scores), scored.seconds)


def lane(name: str = "interactive", **changes: Any) -> FaceLane:  # noqa: ANN401  # a lane's own fields
    return Lane(
        **{"name": name, "run": run, "weight": 1, "max_batch": 8, "max_items": 100, **changes}
    )


@dataclass
class Desk:
    """A batcher, and the lane that a test asks unless it says otherwise."""

    batcher: Batcher[FakeWorker]
    lane: FaceLane

    async def submit(self, *faces: int, lane: FaceLane | None = None) -> list[float]:
        answers = await self.batcher.submit(lane or self.lane, [face(value) for value in faces])
        return [float(answer.result[0]) for answer in answers]

    def ask(self, *faces: int, lane: FaceLane | None = None) -> asyncio.Task[list[float]]:
        return asyncio.create_task(self.submit(*faces, lane=lane))


@asynccontextmanager
async def desk(
    *workers: FakeWorker,
    lanes: Sequence[FaceLane] = (),
    notes: Notes | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    **changes: Any,  # noqa: ANN401  # a lane's own fields
) -> AsyncIterator[Desk]:
    lanes = lanes or [lane(**changes)]
    batcher = Batcher(workers, lanes, notes or Notes(), clock)
    try:
        yield Desk(batcher, lanes[0])
    finally:
        await batcher.close()


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_every_face_gets_its_own_scores_in_order() -> None:
    async with desk(FakeWorker(), max_batch=3) as d:
        assert await d.submit(*range(10)) == list(range(10))


async def test_a_request_without_faces_is_answered_without_the_model() -> None:
    worker = FakeWorker()
    async with desk(worker) as d:
        assert await d.submit() == []
    assert worker.batches == []


async def test_an_idle_worker_takes_a_face_at_once_and_batches_form_while_it_is_busy() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with desk(worker, max_batch=4) as d:
        first = d.ask(1)
        await until_idle()
        others = [d.ask(n) for n in range(2, 8)]
        await until_idle()
        assert worker.batches == [[1]]
        worker.gate.set()
        await asyncio.gather(first, *others)
    assert worker.batches == [[1], [2, 3, 4, 5], [6, 7]]


async def test_two_idle_workers_share_what_arrives_together() -> None:
    workers = FakeWorker(), FakeWorker()
    for worker in workers:
        worker.gate.clear()
    async with desk(*workers, max_batch=8) as d:
        await until_idle()
        request = d.ask(*range(6))
        await until_idle()
        for worker in workers:
            worker.gate.set()
        await request
    assert sorted(len(batch) for worker in workers for batch in worker.batches) == [3, 3]


@given(waiting=st.integers(0, 1000), idle=st.integers(0, 16), max_batch=st.integers(1, 64))
async def test_a_share_is_never_over_the_cap_and_never_leaves_all_workers_without_work(
    waiting: int, idle: int, max_batch: int
) -> None:
    taken = share(waiting, idle, max_batch)
    assert taken <= min(waiting, max_batch)
    assert (taken > 0) == (waiting > 0)
    assert taken * max(idle, 1) >= min(waiting, max_batch * max(idle, 1))


async def test_a_full_queue_refuses_all_faces_of_a_request_and_says_when_to_come_back() -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with desk(worker, max_batch=1, max_items=4, notes=notes) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(1)
        await until_idle()
        waiting = [d.ask(2), d.ask(3), d.ask(4)]
        await until_idle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(5, 6)
        assert refused.value.retry_after == pytest.approx(3 * 2.0)
        accepted = d.ask(7)
        await until_idle()
        assert notes.depth == 4
        worker.gate.set()
        await asyncio.gather(running, *waiting, accepted)
    assert notes.refused == ["queue_full"]
    assert [5] not in worker.batches


async def test_faces_whose_caller_has_gone_are_never_computed() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with desk(worker, notes=notes) as d:
        first = d.ask(1)
        await until_idle()
        gone, stays = d.ask(2, 3), d.ask(4)
        await until_idle()
        gone.cancel()
        await until_idle()
        worker.gate.set()
        await asyncio.gather(first, stays)
    assert worker.batches == [[1], [4]]
    assert notes.abandoned == ["cancelled", "cancelled"]


async def test_a_bad_face_fails_alone() -> None:
    worker = PoisonedWorker()
    async with desk(worker, max_batch=8) as d:
        requests = [d.ask(n) for n in (1, 2, POISON, 4, 5)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers.pop(2), ModelFailure)
    assert answers == [[1], [2], [4], [5]]


async def test_an_item_that_failed_alone_fails_alone() -> None:
    async def half(worker: FakeWorker, faces: Sequence[FaceImage]) -> Batch[Scores]:
        scored = await run(worker, faces)
        results = [
            row if row[0] < POISON else ModelFailure("not this one")
            for row in scored.results
            if not isinstance(row, ModelFailure)
        ]
        return Batch(results, 0.1)

    async with desk(FakeWorker(), run=half) as d:
        answers = await asyncio.gather(d.ask(1), d.ask(POISON), return_exceptions=True)
    assert answers[0] == [1]
    assert isinstance(answers[1], ModelFailure)


async def test_what_a_lost_worker_had_is_tried_once_more_and_then_fails() -> None:
    worker = DyingWorker()
    async with desk(worker) as d:
        with pytest.raises(WorkerLost):
            await d.submit(POISON)
        assert await d.submit(7) == [7]
    assert worker.batches == [[POISON], [POISON], [7]]


async def test_another_worker_goes_on_with_what_a_dead_one_had() -> None:
    dying, sound = FakeWorker(), FakeWorker()
    dying.gate.clear()
    async with desk(dying, sound) as d:
        request = d.ask(1)
        await until_idle()

        def die(_: object) -> None:
            dying.alive.clear()
            raise WorkerLost("gone")

        dying.answer = die  # type: ignore[assignment,method-assign]  # it dies while it computes
        dying.gate.set()
        assert await request == [1]
    assert sound.batches == [[1]]


async def test_an_unexpected_error_fails_its_batch_and_nothing_after_it() -> None:
    worker = BrokenWorker()
    async with desk(worker) as d:
        with pytest.raises(ModelFailure):
            await d.submit(1)
        worker.answer = FakeWorker().answer  # type: ignore[method-assign]  # mended
        assert await d.submit(2) == [2]


async def test_nothing_is_accepted_while_no_worker_is_up() -> None:
    worker = FakeWorker()
    worker.alive.clear()
    async with desk(worker) as d:
        with pytest.raises(NotReady):
            await d.submit(1)


async def test_closing_tells_everyone_who_still_waits() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with desk(worker, max_batch=1) as d:
        computing, waiting = d.ask(1), d.ask(2)
        await until_idle()
    answers = await asyncio.gather(computing, waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelFailure, NotReady]


async def test_the_observer_learns_how_long_each_face_waited() -> None:
    now = [10.0]
    worker = FakeWorker(seconds=0.5)
    worker.gate.clear()
    notes = Notes()
    async with desk(worker, notes=notes, clock=lambda: now[0]) as d:
        first = d.ask(1)
        await until_idle()
        second = d.ask(2)
        await until_idle()
        now[0] = 13.0
        worker.gate.set()
        answers = [*await first, *await second]
    assert notes.batches == [("interactive", [0.0], 0.5), ("interactive", [3.0], 0.5)]
    assert answers == [1, 2]


async def test_a_lane_that_floods_leaves_another_its_share() -> None:
    worker = FakeWorker(seconds=1.0)
    flood, quick = lane("bulk", max_batch=1), lane("interactive", weight=3, max_batch=1)
    worker.gate.clear()
    async with desk(worker, lanes=[flood, quick]) as d:
        first = d.ask(0, lane=flood)
        await until_idle()
        requests = [d.ask(*range(1, 9), lane=flood), d.ask(*range(101, 107), lane=quick)]
        await until_idle()
        worker.gate.set()
        await asyncio.gather(first, *requests)
    order = [batch[0] for batch in worker.batches][1:9]
    assert [value for value in order if value < 100] == [1, 2]
    assert [value for value in order if value > 100] == list(range(101, 107))


async def test_a_lane_with_a_budget_learns_to_hold_a_worker_no_longer() -> None:
    worker = FakeWorker()

    async def slow(worker: FakeWorker, faces: Sequence[FaceImage]) -> Batch[Scores]:
        batch = await run(worker, faces)
        return Batch(batch.results, 0.1 * len(faces))

    async with desk(worker, run=slow, max_batch=32, budget=0.35) as d:
        await d.submit(*range(10))
        assert await d.submit(*range(100, 112)) == list(range(100, 112))
    assert [len(batch) for batch in worker.batches] == [1, 3, 3, 3, 3, 3, 3, 3]


@given(
    slope=st.floats(0.001, 1), base=st.floats(0, 1), sizes=st.lists(st.integers(1, 64), min_size=2)
)
async def test_the_cost_of_batches_is_found(slope: float, base: float, sizes: list[int]) -> None:
    cost = Cost()
    for size in sizes:
        cost.learn(size, slope * size + base)
    if len(set(sizes)) > 1 and len(sizes) < 50:
        assert cost.fit() == pytest.approx((slope, base), rel=1e-3, abs=1e-3)
    for size in set(sizes):
        assert cost.seconds(size, 64) >= 0


def test_nothing_is_predicted_before_anything_was_seen() -> None:
    assert Cost().seconds(10, 8) == 0
    assert Cost().fitting(1.0) == 1
