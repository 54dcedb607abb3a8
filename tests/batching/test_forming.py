import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ModelFailure, OutOfMemory
from service.worker_pool import LEAD, share
from tests.batching.harness import Harness, Notes, harness
from tests.fakes import POISON, CrampedWorker, FakeWorker, PoisonedWorker, face
from tests.waiting import settle

pytestmark = pytest.mark.anyio


async def test_every_face_gets_its_own_scores_in_order() -> None:
    async with harness(FakeWorker(), max_batch=3) as d:
        assert await d.submit(*range(10)) == list(range(10))


async def test_a_request_without_faces_is_answered_without_the_model() -> None:
    worker = FakeWorker()
    async with harness(worker) as d:
        assert await d.submit() == []
    assert worker.batches == []


async def test_an_idle_worker_takes_a_face_at_once_and_batches_form_while_it_is_busy() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with harness(worker, max_batch=4) as d:
        first = d.ask(1)
        await settle()
        others = [d.ask(n) for n in range(2, 8)]
        await settle()
        assert worker.batches == [[1]]
        worker.gate.set()
        await asyncio.gather(first, *others)
    assert worker.batches == [[1], [2, 3, 4, 5], [6, 7]]


async def test_a_worker_that_is_down_gets_no_share_of_a_request() -> None:
    worker, down = FakeWorker(), FakeWorker()
    down.alive.clear()
    async with harness(worker, down) as d:
        await d.submit(1, 2, 3, 4)
    assert worker.batches == [[1, 2, 3, 4]]


async def test_two_idle_workers_split_a_request_evenly() -> None:
    workers = FakeWorker(), FakeWorker()
    for worker in workers:
        worker.gate.clear()
    async with harness(*workers, max_batch=8) as d:
        await settle()
        request = d.ask(*range(6))
        await settle()
        for worker in workers:
            worker.gate.set()
        await request
    assert sorted(len(batch) for worker in workers for batch in worker.batches) == [3, 3]


@given(waiting=st.integers(0, 1000), idle=st.integers(0, 16), max_batch=st.integers(1, 64))
def test_shares_stay_within_the_cap_and_together_cover_the_queue(
    waiting: int, idle: int, max_batch: int
) -> None:
    taken = share(waiting, idle, max_batch)
    assert taken <= min(waiting, max_batch)
    assert (taken > 0) == (waiting > 0)
    assert taken * max(idle, 1) >= min(waiting, max_batch * max(idle, 1))


async def test_queue_time_is_reported_to_the_caller_and_the_observer() -> None:
    now = [10.0]
    worker = FakeWorker(seconds=0.5)
    worker.gate.clear()
    notes = Notes()
    async with harness(worker, notes=notes, clock=lambda: now[0]) as d:
        first = d.ask(1)
        await settle()
        second = asyncio.create_task(d.batcher.submit(d.lane, [face(2)]))
        await settle()
        now[0] = 13.0
        worker.gate.set()
        assert await first == [1]
        (answer,) = await second
    assert notes.batches == [("interactive", [0.0], 0.5), ("interactive", [3.0], 0.5)]
    assert (answer.result[0], answer.queue, answer.seconds) == (2, 3.0, 0.5)


class TestSendingAhead:
    """What is sent to a worker, whose batches take two seconds, before it has answered."""

    @asynccontextmanager
    async def busy(
        self,
        now: list[float],
        *idle: FakeWorker,
        **changes: Any,  # noqa: ANN401  # a lane's own fields
    ) -> AsyncIterator[tuple[Harness, FakeWorker, asyncio.Task[list[float]]]]:
        worker = FakeWorker(seconds=2.0)
        async with harness(worker, *idle, clock=lambda: now[0], **changes) as d:
            await d.submit(0)
            worker.gate.clear()
            running = d.ask(1)
            await settle()
            yield d, worker, running
            worker.gate.set()
            await running

    async def test_the_next_batch_is_sent_shortly_before_the_worker_is_ready(self) -> None:
        now = [0.0]
        async with self.busy(now) as (d, worker, _):
            early = d.ask(2)
            await settle()
            assert worker.batches == [[0], [1]]
            now[0] = 2.0 - 0.9 * LEAD
            last = d.ask(3)
            await settle()
            assert worker.batches == [[0], [1], [2, 3]]
            worker.gate.set()
            assert [await early, await last] == [[2], [3]]

    async def test_at_most_one_batch_is_sent_ahead(self) -> None:
        now = [0.0]
        async with self.busy(now, max_batch=1) as (d, worker, _):
            now[0] = 2.0
            request = d.ask(2, 3)
            await settle()
            assert worker.batches == [[0], [1], [2]]
            worker.gate.set()
            await request

    async def test_nothing_is_sent_ahead_to_an_overdue_worker(self) -> None:
        now = [0.0]
        async with self.busy(now) as (d, worker, _):
            now[0] = 2.1
            request = d.ask(2)
            await settle()
            assert worker.batches == [[0], [1]]
            worker.gate.set()
            await request

    async def test_nothing_is_sent_ahead_while_another_worker_is_idle(self) -> None:
        now = [0.0]
        idle = FakeWorker()
        async with self.busy(now, idle) as (d, _, _):
            now[0] = 2.0
            request = d.ask(2)
            await settle()
            assert idle.batches == [[2]]
            await request

    async def test_batches_of_a_lane_with_a_budget_are_not_sent_ahead(self) -> None:
        now = [0.0]
        async with self.busy(now, budget=9.0) as (d, worker, _):
            now[0] = 2.0
            request = d.ask(2)
            await settle()
            assert worker.batches == [[0], [1]]
            worker.gate.set()
            await request

    async def test_queue_time_of_a_batch_sent_ahead_ends_when_the_previous_is_answered(
        self,
    ) -> None:
        now = [0.0]
        notes = Notes()
        async with self.busy(now, notes=notes) as (d, worker, running):
            now[0] = 2.0
            request = d.ask(2)
            await settle()
            now[0] = 2.5
            worker.gate.set()
            await asyncio.gather(running, request)
        assert notes.batches[-1] == ("interactive", [0.5], 2.0)

    async def test_queue_time_of_a_batch_sent_ahead_ends_when_the_previous_fails(self) -> None:
        now, notes = [0.0], Notes()
        worker = PoisonedWorker(seconds=2.0)
        async with harness(worker, notes=notes, clock=lambda: now[0]) as d:
            await d.submit(0)
            worker.gate.clear()
            failing = d.ask(POISON)
            await settle()
            now[0] = 2.0
            request = d.ask(2)
            await settle()
            assert worker.batches == [[0], [POISON], [2]]
            now[0] = 2.5
            worker.gate.set()
            answers = await asyncio.gather(failing, request, return_exceptions=True)
        assert isinstance(answers[0], ModelFailure)
        assert notes.batches[-1] == ("interactive", [0.5], 2.0)


async def test_out_of_memory_halves_the_batch_cap_permanently() -> None:
    worker = CrampedWorker()
    async with harness(worker, max_batch=8) as d:
        assert await d.submit(*range(8)) == list(range(8))
        assert await d.submit(*range(8)) == list(range(8))
    sizes = [len(batch) for batch in worker.batches]
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2]


async def test_a_worker_without_memory_for_one_face_gets_single_faces_from_then_on() -> None:
    worker = CrampedWorker(room=0)
    async with harness(worker, max_batch=8) as d:
        with pytest.raises(OutOfMemory):
            await d.submit(1, 2)
        worker.batches.clear()
        worker.room = 1
        assert await d.submit(3, 4, 5) == [3, 4, 5]
    assert worker.batches == [[3], [4], [5]]
