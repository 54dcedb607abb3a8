import asyncio
from typing import Any

import pytest

from service.errors import NotReady, Overloaded, TooLarge
from service.limits import FREE_QUEUE, OVERLOAD_HOLD
from tests.batching.harness import Notes, harness
from tests.fakes import FakeWorker
from tests.waiting import settle

pytestmark = pytest.mark.anyio


async def test_a_full_queue_refuses_a_whole_request_and_sets_retry_after() -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with harness(worker, max_batch=1, max_items=4, notes=notes) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        waiting = [d.ask(2), d.ask(3), d.ask(4)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(5, 6)
        assert refused.value.retry_after == pytest.approx((1 + 3) * 2.0)
        accepted = d.ask(7)
        await settle()
        assert notes.depth == 4
        worker.gate.set()
        await asyncio.gather(running, *waiting, accepted)
    assert notes.refused == ["queue_full"]
    assert [5] not in worker.batches


@pytest.mark.parametrize(("up", "seconds"), [(False, (1 + 2) * 2.0), (True, (2 + 2) * 2.0 / 2)])
async def test_retry_after_counts_only_the_workers_that_are_up(up: bool, seconds: float) -> None:
    worker, other = FakeWorker(seconds=2.0), FakeWorker(seconds=2.0)
    other.alive.clear()
    async with harness(worker, other, max_batch=1, max_items=2) as d:
        await d.submit(0)
        worker.gate.clear()
        other.gate.clear()
        if up:
            other.alive.set()
        running = [d.ask(1), *([d.ask(2)] if up else [])]
        await settle()
        waiting = [d.ask(3), d.ask(4)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(5)
        assert refused.value.retry_after == pytest.approx(seconds)
        worker.gate.set()
        other.gate.set()
        await asyncio.gather(*running, *waiting)


async def test_an_overdue_batch_does_not_shorten_the_predicted_wait() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=2.0)
    async with harness(worker, max_batch=1, max_items=3, clock=lambda: now[0]) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        waiting = d.ask(2, 3, 4)
        await settle()
        now[0] = 60.0
        with pytest.raises(Overloaded) as refused:
            await d.submit(5)
        assert refused.value.retry_after == pytest.approx(3 * 2.0)
        worker.gate.set()
        await asyncio.gather(running, waiting)


@pytest.mark.parametrize(
    ("limit", "refused"),
    [({"max_wait": 10}, ["queue_full"]), ({"max_wait": 1000}, []), ({}, [])],
)
async def test_over_free_queue_a_request_that_would_wait_over_max_wait_is_refused(
    limit: dict[str, Any], refused: list[str]
) -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with harness(worker, max_items=1000, notes=notes, **limit) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(0)
        await settle()
        asked = [d.ask(0) for _ in range(FREE_QUEUE + 1)]
        await settle()
        worker.gate.set()
        answers = await asyncio.gather(running, *asked, return_exceptions=True)
    assert [type(answer) for answer in answers].count(Overloaded) == len(refused)
    assert notes.refused == refused


async def test_after_a_refusal_the_queue_is_kept_short_until_overload_hold_passes() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=2.0)
    async with harness(worker, max_batch=2, max_items=1000, max_wait=10, clock=lambda: now[0]) as d:
        await d.submit(0, 1)

        async def refused(asked: int) -> int:
            """How many of `asked` requests are refused when sent at once to a busy model."""
            worker.gate.clear()
            running = d.ask(0)
            await settle()
            waiting = [d.ask(0) for _ in range(asked)]
            await settle()
            worker.gate.set()
            answers = await asyncio.gather(running, *waiting, return_exceptions=True)
            return [type(answer) for answer in answers].count(Overloaded)

        assert await refused(FREE_QUEUE) == 0
        assert await refused(FREE_QUEUE + 1) == 1
        assert await refused(FREE_QUEUE) > FREE_QUEUE // 2
        now[0] += OVERLOAD_HOLD / 2
        assert await refused(FREE_QUEUE) > FREE_QUEUE // 2
        now[0] += OVERLOAD_HOLD
        assert await refused(FREE_QUEUE) == 0


async def test_the_predicted_wait_includes_the_round_trip_to_the_worker() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    worker.gate.clear()
    async with harness(worker, max_batch=1, max_items=1, clock=lambda: now[0]) as d:
        learned = d.ask(0)
        await settle()
        now[0] = 3.0
        worker.gate.set()
        await learned
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        waiting = d.ask(2)
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(3)
        assert refused.value.retry_after == pytest.approx(1.0 + 3.0)
        worker.gate.set()
        await asyncio.gather(running, waiting)


class TestWaitingForRoom:
    """Callers with `wait=True`, who may occupy half of their lane."""

    async def test_waiting_callers_are_served_in_order_of_arrival(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        async with harness(worker, max_batch=1, max_items=8) as d:
            running = d.ask(0)
            await settle()
            chunks = [d.ask(1, 2, 3, wait=True), d.ask(4, 5, wait=True), d.ask(6, wait=True)]
            await settle()
            worker.gate.set()
            assert await asyncio.gather(running, *chunks) == [[0], [1, 2, 3], [4, 5], [6]]
        assert worker.batches == [[n] for n in range(7)]

    async def test_waiting_callers_leave_room_for_callers_that_cannot_wait(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        notes = Notes()
        async with harness(worker, max_batch=1, max_items=8, notes=notes) as d:
            running = d.ask(0)
            await settle()
            chunks = [d.ask(1, 2, 3, wait=True), d.ask(4, wait=True), d.ask(5, 6, wait=True)]
            await settle()
            assert notes.depth == 4
            frames = d.ask(7, 8, 9, 10)
            await settle()
            assert notes.depth == 8
            worker.gate.set()
            await asyncio.gather(running, frames, *chunks)
        assert notes.refused == []

    async def test_a_chunk_larger_than_half_the_lane_is_answered(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        async with harness(worker, max_batch=2, max_items=8) as d:
            running = d.ask(0)
            await settle()
            first, large = d.ask(1, 2, wait=True), d.ask(*range(3, 11), wait=True)
            await settle()
            worker.gate.set()
            await asyncio.gather(running, first)
            assert await large == list(range(3, 11))

    async def test_cancelled_calls_free_their_places_for_the_next_caller(self) -> None:
        worker = FakeWorker()
        worker.gate.clear()
        notes = Notes()
        async with harness(worker, max_batch=1, max_items=8, notes=notes) as d:
            running = d.ask(0)
            await settle()
            inside, parked, patient = (d.ask(n, n, n, wait=True) for n in (1, 2, 3))
            await settle()
            parked.cancel()
            inside.cancel()
            await settle()
            assert notes.depth == 3
            worker.gate.set()
            await asyncio.gather(running, patient)
        assert worker.batches == [[0], [3], [3], [3]]
        assert notes.abandoned == ["cancelled"] * 6

    @pytest.mark.parametrize("why", ["cancelled", "expired"])
    async def test_a_call_that_nobody_needs_any_more_lets_in_those_behind_it(
        self, why: str
    ) -> None:
        now, notes, worker = [0.0], Notes(), FakeWorker()
        worker.gate.clear()
        async with harness(
            worker, max_batch=1, max_items=8, notes=notes, clock=lambda: now[0]
        ) as d:
            calls = [d.ask(0)]
            await settle()
            calls += [d.ask(1, 2, wait=True)]
            gone = d.ask(3, 4, 5, wait=True, deadline=1.0)
            calls += [d.ask(6, wait=True)]
            await settle()
            assert notes.depth == 2
            if why == "cancelled":
                gone.cancel()
            else:
                now[0] = 1.0
            calls += [d.ask(7, wait=True)]
            await settle()
            assert notes.depth == 4
            assert notes.abandoned == [why] * 3
            assert gone.done()
            worker.gate.set()
            assert await asyncio.gather(*calls) == [[0], [1, 2], [6], [7]]
            await asyncio.gather(gone, return_exceptions=True)

    async def test_closing_answers_waiting_callers_with_not_ready(self) -> None:
        worker, notes = FakeWorker(), Notes()
        worker.gate.clear()
        async with harness(worker, max_batch=1, max_items=2, notes=notes) as d:
            calls = [d.ask(0)]
            await settle()
            calls += [d.ask(1, wait=True), d.ask(2, wait=True)]
            await settle()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [NotReady] * 3
        assert notes.abandoned == []

    async def test_waiting_callers_wait_for_a_worker_to_restart(self) -> None:
        worker = FakeWorker()
        worker.alive.clear()
        async with harness(worker) as d:
            chunk = d.ask(1, wait=True)
            await settle()
            worker.alive.set()
            assert await chunk == [1]


@pytest.mark.parametrize("wait", [False, True])
async def test_a_request_larger_than_its_lane_is_too_large(wait: bool) -> None:
    async with harness(FakeWorker(), max_items=4) as d:
        with pytest.raises(TooLarge, match="send at most 4"):
            await d.submit(*range(5), wait=wait)


async def test_requests_are_refused_while_no_worker_is_up() -> None:
    worker, notes = FakeWorker(), Notes()
    worker.alive.clear()
    async with harness(worker, notes=notes) as d:
        with pytest.raises(NotReady):
            await d.submit(1)
    assert notes.refused == ["not_ready"]


@pytest.mark.parametrize("wait", [False, True])
async def test_requests_are_refused_after_closing(wait: bool) -> None:
    async with harness(FakeWorker()) as d:
        pass
    with pytest.raises(NotReady):
        await d.submit(1, wait=wait)


async def test_closing_answers_running_and_queued_calls_with_not_ready() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with harness(worker, max_batch=1) as d:
        computing, waiting = d.ask(1), d.ask(2)
        await settle()
    answers = await asyncio.gather(computing, waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [NotReady, NotReady]
