import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching import Batcher
from service.crew import LEAD, PATIENCE, RECENT
from service.errors import (
    DeadlineExceeded,
    ModelFailure,
    NotReady,
    Overloaded,
    TooLarge,
    WorkerLost,
)
from service.lanes import Batch, Cost, Doubt, Lane, share
from service.limits import CALM, CROWD
from service.records import FaceImage, Scores
from tests.fakes import (
    POISON,
    BrokenWorker,
    CrampedWorker,
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
        assert refused.value.retry_after == pytest.approx((1 + 3) * 2.0)
        accepted = d.ask(7)
        await until_idle()
        assert notes.depth == 4
        worker.gate.set()
        await asyncio.gather(running, *waiting, accepted)
    assert notes.refused == ["queue_full"]
    assert [5] not in worker.batches


@pytest.mark.parametrize(("up", "seconds"), [(False, (1 + 2) * 2.0), (True, (2 + 2) * 2.0 / 2)])
async def test_a_worker_that_is_not_up_shortens_no_predicted_wait(up: bool, seconds: float) -> None:
    worker, other = FakeWorker(seconds=2.0), FakeWorker(seconds=2.0)
    other.alive.clear()
    async with desk(worker, other, max_batch=1, max_items=2) as d:
        await d.submit(0)
        worker.gate.clear()
        other.gate.clear()
        if up:
            other.alive.set()
        running = [d.ask(1), *([d.ask(2)] if up else [])]
        await until_idle()
        waiting = [d.ask(3), d.ask(4)]
        await until_idle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(5)
        assert refused.value.retry_after == pytest.approx(seconds)
        worker.gate.set()
        other.gate.set()
        await asyncio.gather(*running, *waiting)


@pytest.mark.parametrize(("max_wait", "refused"), [(10, ["queue_full"]), (1000, [])])
async def test_a_crowd_may_wait_and_more_are_refused_where_it_takes_too_long(
    max_wait: float, refused: list[str]
) -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with desk(worker, max_items=1000, max_wait=max_wait, notes=notes) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(0)
        await until_idle()
        asked = [d.ask(0) for _ in range(CROWD + 1)]
        await until_idle()
        worker.gate.set()
        answers = await asyncio.gather(running, *asked, return_exceptions=True)
    assert [type(answer) for answer in answers].count(Overloaded) == len(refused)
    assert notes.refused == refused


async def test_once_there_are_too_many_nobody_waits_long_until_none_was_refused_for_a_while() -> (
    None
):
    now = [0.0]
    worker = FakeWorker(seconds=2.0)
    async with desk(worker, max_batch=2, max_items=1000, max_wait=10, clock=lambda: now[0]) as d:
        await d.submit(0, 1)

        async def refused(asked: int) -> int:
            """How many of so many are, who ask at once while the model is busy."""
            worker.gate.clear()
            running = d.ask(0)
            await until_idle()
            waiting = [d.ask(0) for _ in range(asked)]
            await until_idle()
            worker.gate.set()
            answers = await asyncio.gather(running, *waiting, return_exceptions=True)
            return [type(answer) for answer in answers].count(Overloaded)

        assert await refused(CROWD) == 0
        assert await refused(CROWD + 1) == 1
        assert await refused(CROWD) > CROWD // 2
        now[0] += CALM / 2
        assert await refused(CROWD) > CROWD // 2
        now[0] += CALM
        assert await refused(CROWD) == 0


async def test_the_predicted_wait_knows_what_the_way_to_the_model_takes() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    worker.gate.clear()
    async with desk(worker, max_batch=1, max_items=1, clock=lambda: now[0]) as d:
        learned = d.ask(0)
        await until_idle()
        now[0] = 3.0
        worker.gate.set()
        await learned
        worker.gate.clear()
        running = d.ask(1)
        await until_idle()
        waiting = d.ask(2)
        await until_idle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(3)
        assert refused.value.retry_after == pytest.approx(1.0 + 3.0)
        worker.gate.set()
        await asyncio.gather(running, waiting)


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


async def test_faces_whose_moment_has_passed_are_never_computed() -> None:
    now = [0.0]
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with desk(worker, notes=notes, clock=lambda: now[0]) as d:
        first = d.ask(1)
        await until_idle()
        late, in_time = d.ask(2, 3, deadline=1.0), d.ask(4, deadline=3.0)
        await until_idle()
        now[0] = 2.0
        worker.gate.set()
        with pytest.raises(DeadlineExceeded):
            await late
        assert [await first, await in_time] == [[1], [4]]
    assert worker.batches == [[1], [4]]
    assert notes.abandoned == ["expired", "expired"]


async def test_a_moment_that_has_passed_already_is_too_late() -> None:
    worker = FakeWorker()
    notes = Notes()
    async with desk(worker, notes=notes, clock=lambda: 5.0) as d:
        for wait in (False, True):
            with pytest.raises(DeadlineExceeded):
                await d.submit(1, deadline=4.0, wait=wait)
    assert worker.batches == []
    assert notes.abandoned == ["expired", "expired"]


async def test_a_caller_that_gives_up_after_its_moment_has_expired_and_not_cancelled() -> None:
    now = [0.0]
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with desk(worker, notes=notes, clock=lambda: now[0]) as d:
        running = d.ask(1)
        await until_idle()
        late = d.ask(2, deadline=1.0)
        await until_idle()
        now[0] = 1.0
        late.cancel()
        await until_idle()
        assert notes.depth == 0
        worker.gate.set()
        await running
    assert notes.abandoned == ["expired"]


async def test_what_cannot_be_reached_in_time_is_refused_at_once() -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with desk(worker, max_batch=1, notes=notes) as d:
        await d.submit(0)
        worker.gate.clear()
        running, waiting = d.ask(1), d.ask(2)
        await until_idle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(3, deadline=5.9)  # 4 s before it, and 2 its own
        assert refused.value.retry_after == pytest.approx(4.0)
        accepted = d.ask(4, deadline=6.1)
        await until_idle()
        assert notes.depth == 2
        worker.gate.set()
        await asyncio.gather(running, waiting, accepted)
    assert notes.refused == ["deadline"]


async def test_whoever_joins_a_batch_is_answered_with_the_whole_of_it() -> None:
    worker = FakeWorker(seconds=1.0)
    async with desk(worker, max_batch=4) as d:
        await d.submit(0)  # a second for each
        worker.gate.clear()
        running = d.ask(1)
        await until_idle()
        waiting = d.ask(2, 3)
        await until_idle()
        with pytest.raises(Overloaded):
            await d.submit(4, deadline=5.9)  # 3 s before the batch of three begins, as it seems
        accepted = d.ask(4, deadline=6.1)
        await until_idle()
        worker.gate.set()
        await asyncio.gather(running, waiting, accepted)


async def test_where_answers_came_later_than_expected_deadlines_are_doubted() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    async with desk(worker, max_batch=1, clock=lambda: now[0]) as d:
        await d.submit(0)

        async def refused(deadline: float, delay: float = 0.0) -> bool:
            worker.gate.clear()
            running = d.ask(1)
            await until_idle()
            now[0] += delay
            asked = d.ask(2, deadline=now[0] + deadline)
            await until_idle()
            worker.gate.set()
            await running
            (answer,) = await asyncio.gather(asked, return_exceptions=True)
            return isinstance(answer, Overloaded)

        assert not await refused(2.1)  # 1 s under way, 1 its own
        await refused(100, delay=5.0)
        assert await refused(2.1)


async def test_an_idle_worker_is_asked_even_if_it_may_be_too_slow() -> None:
    worker = FakeWorker(seconds=2.0)
    async with desk(worker) as d:
        assert await d.submit(1) == [1]
        await until_idle()
        assert await d.submit(2, deadline=0.5) == [2]


async def test_what_would_be_late_makes_way_for_what_can_be_in_time() -> None:
    worker = FakeWorker(seconds=2.0)
    worker.gate.clear()
    notes = Notes()
    async with desk(worker, max_batch=1, notes=notes) as d:
        running = d.ask(0)
        await until_idle()
        hurried, patient = d.ask(1, deadline=1.9), d.ask(2)
        await until_idle()
        worker.gate.set()  # and only now it shows how slow it is
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert (await running, await patient) == ([0], [2])
    assert worker.batches == [[0], [2]]
    assert notes.abandoned == ["expired"]


async def test_another_lane_counts_in_the_prediction_only_as_far_as_its_share_goes() -> None:
    worker = FakeWorker(seconds=1.0)
    quick, flood = lane("interactive", weight=4, max_batch=1), lane("bulk", max_batch=1)
    async with desk(worker, lanes=[quick, flood]) as d:
        await d.submit(1)
        await d.submit(1, lane=flood)
        worker.gate.clear()
        running = d.ask(0)
        await until_idle()
        requests = [d.ask(*range(1, 51), lane=flood), d.ask(*range(101, 109))]
        await until_idle()
        # 1 s under way, 8 s of its own lane, 2 s that the flood gets meanwhile, 1 s for itself
        with pytest.raises(Overloaded):
            await d.submit(110, deadline=11.9)
        requests.append(d.ask(110, deadline=12.1))
        worker.gate.set()
        await asyncio.gather(running, *requests)


class TestWaitingForRoom:
    """Of a lane for eight: callers that can wait get four of its places."""

    async def test_callers_that_can_wait_are_served_in_order_of_arrival(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        async with desk(worker, max_batch=1, max_items=8) as d:
            running = d.ask(0)
            await until_idle()
            chunks = [d.ask(1, 2, 3, wait=True), d.ask(4, 5, wait=True), d.ask(6, wait=True)]
            await until_idle()
            worker.gate.set()
            assert await asyncio.gather(running, *chunks) == [[0], [1, 2, 3], [4, 5], [6]]
        assert worker.batches == [[n] for n in range(7)]

    async def test_they_leave_room_for_those_who_cannot(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        notes = Notes()
        async with desk(worker, max_batch=1, max_items=8, notes=notes) as d:
            running = d.ask(0)
            await until_idle()
            chunks = [d.ask(1, 2, 3, wait=True), d.ask(4, 5, 6, wait=True)]
            await until_idle()
            assert notes.depth == 3
            frames = d.ask(7, 8, 9, 10, 11)
            await until_idle()
            assert notes.depth == 8
            worker.gate.set()
            await asyncio.gather(running, frames, *chunks)
        assert notes.refused == []

    async def test_a_chunk_over_half_the_lane_waits_until_it_is_empty(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        async with desk(worker, max_batch=2, max_items=8) as d:
            running = d.ask(0)
            await until_idle()
            first, large = d.ask(1, 2, wait=True), d.ask(*range(3, 11), wait=True)
            await until_idle()
            worker.gate.set()
            await asyncio.gather(running, first)
            assert await large == list(range(3, 11))

    async def test_one_that_gives_up_lets_the_next_one_in(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        notes = Notes()
        async with desk(worker, max_batch=1, max_items=8, notes=notes) as d:
            running = d.ask(0)
            await until_idle()
            inside, parked, patient = (d.ask(n, n, n, wait=True) for n in (1, 2, 3))
            await until_idle()
            parked.cancel()
            inside.cancel()
            await until_idle()
            assert notes.depth == 3
            worker.gate.set()
            await asyncio.gather(running, patient)
        assert worker.batches == [[0], [3], [3], [3]]
        assert notes.abandoned == ["cancelled"] * 6

    async def test_closing_wakes_them(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        async with desk(worker, max_batch=1, max_items=2) as d:
            calls = [d.ask(0)]
            await until_idle()
            calls += [d.ask(1, wait=True), d.ask(2, wait=True)]
            await until_idle()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [NotReady] * 3

    async def test_they_wait_for_a_worker_that_is_being_restarted(self) -> None:
        worker = FakeWorker()
        worker.alive.clear()
        async with desk(worker) as d:
            chunk = d.ask(1, wait=True)
            await until_idle()
            worker.alive.set()
            assert await chunk == [1]


@pytest.mark.parametrize("wait", [False, True])
async def test_more_than_a_lane_can_ever_hold_is_too_large(wait: bool) -> None:
    async with desk(FakeWorker(), max_items=4) as d:
        with pytest.raises(TooLarge, match="send at most 4"):
            await d.submit(*range(5), wait=wait)


@pytest.mark.parametrize("wait", [False, True])
async def test_nothing_is_accepted_after_closing(wait: bool) -> None:
    async with desk(FakeWorker()) as d:
        pass
    with pytest.raises(NotReady):
        await d.submit(1, wait=wait)


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
    assert [type(answer) for answer in answers] == [NotReady, NotReady]


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


class TestMakingWay:
    """Lanes that can wait, beside one that cannot."""

    async def slow(self, worker: FakeWorker, faces: Sequence[FaceImage]) -> Batch[Scores]:
        batch = await run(worker, faces)
        return Batch(batch.results, 0.1 * len(faces))

    def lanes(self) -> tuple[FaceLane, FaceLane]:
        quick = lane("interactive", run=self.slow)
        return quick, lane("bulk", run=self.slow, max_batch=32, budget=0.35)

    async def test_batches_are_short_while_urgent_work_is_expected(self) -> None:
        worker = FakeWorker()
        quick, bulk = self.lanes()
        async with desk(worker, lanes=[quick, bulk]) as d:
            await d.submit(1)
            await d.submit(*range(10, 20), lane=bulk)
            await d.submit(*range(20, 30), lane=bulk)
        assert [len(batch) for batch in worker.batches] == [1, 1, 3, 3, 3, 3, 3, 3, 1]

    async def test_batches_are_large_where_nobody_is_in_a_hurry(self) -> None:
        now = [0.0]
        worker = FakeWorker()
        quick, bulk = self.lanes()
        async with desk(worker, lanes=[quick, bulk], clock=lambda: now[0]) as d:
            await d.submit(1)
            now[0] = RECENT
            await d.submit(*range(10, 50), lane=bulk)
        assert [len(batch) for batch in worker.batches] == [1, 32, 8]

    async def test_a_worker_is_kept_for_urgent_work(self) -> None:
        now = [0.0]
        workers = FakeWorker(), FakeWorker()
        quick, bulk = self.lanes()
        async with desk(*workers, lanes=[quick, bulk], clock=lambda: now[0]) as d:
            await d.submit(1)
            for worker in workers:
                worker.gate.clear()
                worker.batches.clear()
            flood = d.ask(*range(10, 90), lane=bulk)
            await until_idle()
            assert sum(len(worker.batches) for worker in workers) == 1
            urgent = d.ask(2)
            await until_idle()
            assert [2] in [*workers[0].batches, *workers[1].batches]
            now[0] = RECENT
            for worker in workers:
                worker.gate.set()
            await asyncio.gather(flood, urgent)

    async def test_the_kept_worker_joins_in_when_no_urgent_work_came(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.batching.RECENT", 0.01)
        workers = FakeWorker(), FakeWorker()
        quick, bulk = self.lanes()
        async with desk(*workers, lanes=[quick, bulk], clock=time.monotonic) as d:
            await d.submit(1)
            for worker in workers:
                worker.gate.clear()
                worker.batches.clear()
            flood = d.ask(*range(10, 90), lane=bulk)
            async with asyncio.timeout(10):
                while not all(worker.batches for worker in workers):  # noqa: ASYNC110  # either way
                    await asyncio.sleep(0)
            for worker in workers:
                worker.gate.set()
            await flood


async def test_a_lane_that_was_passed_over_for_long_is_served_whatever_its_share() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    quick = lane("interactive", weight=1000, max_batch=1)
    bulk = lane("bulk", max_batch=1, budget=1.0)
    async with desk(worker, lanes=[quick, bulk], clock=lambda: now[0]) as d:
        await d.submit(0, lane=bulk)
        worker.gate.clear()
        running = d.ask(1)
        await until_idle()
        requests = [d.ask(2, 3), d.ask(100, lane=bulk)]
        await until_idle()
        now[0] = 2 * PATIENCE
        worker.gate.set()
        await asyncio.gather(running, *requests)
    assert worker.batches.index([100]) < worker.batches.index([3])


class TestSendingAhead:
    """What a worker of two-second batches is sent before it has answered."""

    @asynccontextmanager
    async def busy(
        self,
        now: list[float],
        *idle: FakeWorker,
        **changes: Any,  # noqa: ANN401  # a lane's own fields
    ) -> AsyncIterator[tuple[Desk, FakeWorker, asyncio.Task[list[float]]]]:
        worker = FakeWorker(seconds=2.0)
        async with desk(worker, *idle, clock=lambda: now[0], **changes) as d:
            await d.submit(0)
            worker.gate.clear()
            running = d.ask(1)
            await until_idle()
            yield d, worker, running
            worker.gate.set()
            await running

    async def test_a_worker_that_is_almost_ready_is_sent_the_next_batch(self) -> None:
        now = [0.0]
        async with self.busy(now) as (d, worker, _):
            early = d.ask(2)
            await until_idle()
            assert worker.batches == [[0], [1]]
            now[0] = 2.0 - 0.9 * LEAD
            last = d.ask(3)
            await until_idle()
            assert worker.batches == [[0], [1], [2, 3]]
            worker.gate.set()
            assert [await early, await last] == [[2], [3]]

    async def test_one_batch_ahead_and_no_more(self) -> None:
        now = [0.0]
        async with self.busy(now, max_batch=1) as (d, worker, _):
            now[0] = 2.0
            request = d.ask(2, 3)
            await until_idle()
            assert worker.batches == [[0], [1], [2]]
            worker.gate.set()
            await request

    async def test_nothing_is_sent_to_one_that_is_overdue(self) -> None:
        now = [0.0]
        async with self.busy(now) as (d, worker, _):
            now[0] = 2.1
            request = d.ask(2)
            await until_idle()
            assert worker.batches == [[0], [1]]
            worker.gate.set()
            await request

    async def test_work_that_can_wait_is_not_sent_ahead(self) -> None:
        now = [0.0]
        async with self.busy(now, budget=9.0) as (d, worker, _):
            now[0] = 2.0
            request = d.ask(2)
            await until_idle()
            assert worker.batches == [[0], [1]]
            worker.gate.set()
            await request

    async def test_what_was_sent_ahead_waits_until_the_batch_before_it_is_answered(self) -> None:
        now = [0.0]
        notes = Notes()
        async with self.busy(now, notes=notes) as (d, worker, running):
            now[0] = 2.0
            request = d.ask(2)
            await until_idle()
            now[0] = 2.5
            worker.gate.set()
            await asyncio.gather(running, request)
        assert notes.batches[-1] == ("interactive", [0.5], 2.0)


async def test_out_of_memory_halves_the_cap_for_good() -> None:
    worker = CrampedWorker()
    async with desk(worker, max_batch=8) as d:
        assert await d.submit(*range(8)) == list(range(8))
        assert await d.submit(*range(8)) == list(range(8))
    sizes = [len(batch) for batch in worker.batches]
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2]


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


@given(st.floats(-10, 10))
def test_an_error_that_stays_the_same_is_doubted_by_as_much(error: float) -> None:
    doubt = Doubt()
    for _ in range(500):
        doubt.learn(error)
    assert doubt.seconds == pytest.approx(error, abs=1e-3)


def test_errors_that_vary_are_doubted_by_more_than_most_of_them() -> None:
    errors = np.random.default_rng(1).normal(1.0, 0.5, 2000)
    doubt = Doubt()
    short = 0
    for error in errors:
        short += error > doubt.seconds
        doubt.learn(error)
    assert 0.01 < short / len(errors) < 0.15
