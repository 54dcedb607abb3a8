import asyncio

import pytest

from service.errors import DeadlineExceeded, Overloaded
from tests.batching.harness import Notes, harness, lane
from tests.fakes import FakeWorker
from tests.waiting import settle

pytestmark = pytest.mark.anyio


async def test_faces_of_a_cancelled_call_are_not_computed() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with harness(worker, notes=notes) as d:
        first = d.ask(1)
        await settle()
        gone, stays = d.ask(2, 3), d.ask(4)
        await settle()
        gone.cancel()
        await settle()
        worker.gate.set()
        await asyncio.gather(first, stays)
    assert worker.batches == [[1], [4]]
    assert notes.abandoned == ["cancelled", "cancelled"]


async def test_faces_past_their_deadline_are_not_computed() -> None:
    now = [0.0]
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with harness(worker, notes=notes, clock=lambda: now[0]) as d:
        first = d.ask(1)
        await settle()
        late, in_time = d.ask(2, 3, deadline=1.0), d.ask(4, deadline=3.0)
        await settle()
        now[0] = 2.0
        worker.gate.set()
        with pytest.raises(DeadlineExceeded):
            await late
        assert [await first, await in_time] == [[1], [4]]
    assert worker.batches == [[1], [4]]
    assert notes.abandoned == ["expired", "expired"]


async def test_a_request_already_past_its_deadline_gets_deadline_exceeded() -> None:
    worker = FakeWorker()
    notes = Notes()
    async with harness(worker, notes=notes, clock=lambda: 5.0) as d:
        await d.submit(0)
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        for wait in (False, True):
            with pytest.raises(DeadlineExceeded):
                await d.submit(2, deadline=4.0, wait=wait)
        worker.gate.set()
        await running
    assert worker.batches == [[0], [1]]
    assert notes.abandoned == ["expired", "expired"]


async def test_a_call_cancelled_after_its_deadline_is_counted_as_expired() -> None:
    now = [0.0]
    worker = FakeWorker()
    worker.gate.clear()
    notes = Notes()
    async with harness(worker, notes=notes, clock=lambda: now[0]) as d:
        running = d.ask(1)
        await settle()
        late = d.ask(2, deadline=1.0)
        await settle()
        now[0] = 1.0
        late.cancel()
        await settle()
        assert notes.depth == 0
        worker.gate.set()
        await running
    assert notes.abandoned == ["expired"]


async def test_a_request_that_cannot_meet_its_deadline_is_refused_at_once() -> None:
    worker = FakeWorker(seconds=2.0)
    notes = Notes()
    async with harness(worker, max_batch=1, notes=notes) as d:
        await d.submit(0)
        worker.gate.clear()
        running, waiting = d.ask(1), d.ask(2)
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.submit(3, deadline=5.9)  # 4 s of wait, and 2 s for itself
        assert refused.value.retry_after == pytest.approx(4.0)
        accepted = d.ask(4, deadline=6.1)
        await settle()
        assert notes.depth == 2
        worker.gate.set()
        await asyncio.gather(running, waiting, accepted)
    assert notes.refused == ["deadline"]


async def test_the_prediction_counts_the_whole_batch_that_a_face_joins() -> None:
    worker = FakeWorker(seconds=1.0)
    async with harness(worker, max_batch=4) as d:
        await d.submit(0)  # so that a face is known to take 1 s
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        waiting = d.ask(2, 3)
        await settle()
        with pytest.raises(Overloaded):
            await d.submit(4, deadline=5.9)  # predicted: 3 s of wait, and 3 s for the batch
        accepted = d.ask(4, deadline=6.1)
        await settle()
        worker.gate.set()
        await asyncio.gather(running, waiting, accepted)


async def test_the_safety_margin_grows_only_after_answers_later_than_predicted() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    async with harness(worker, max_batch=1, clock=lambda: now[0]) as d:
        await d.submit(0)

        async def refused(deadline: float, delay: float = 0.0) -> bool:
            worker.gate.clear()
            running = d.ask(1)
            await settle()
            now[0] += delay
            asked = d.ask(2, deadline=now[0] + deadline)
            await settle()
            worker.gate.set()
            await running
            (answer,) = await asyncio.gather(asked, return_exceptions=True)
            return isinstance(answer, Overloaded)

        assert not await refused(2.1)  # 1 s for the running batch, 1 s for itself
        for _ in range(40):
            await refused(100, delay=0.5)
        assert not await refused(1.6, delay=0.5), "they came no later than expected"
        await refused(100, delay=5.0)
        assert await refused(2.1)


async def test_an_idle_worker_is_used_even_if_the_deadline_may_be_missed() -> None:
    busy, worker = FakeWorker(seconds=2.0), FakeWorker(seconds=2.0)
    async with harness(busy, worker) as d:
        assert await d.submit(1) == [1]
        await settle()
        busy.gate.clear()
        running = d.ask(2)
        await settle()
        assert await d.submit(3, deadline=0.5) == [3]
        busy.gate.set()
        await running


async def test_a_queued_face_that_would_be_late_is_dropped_for_one_that_is_in_time() -> None:
    worker = FakeWorker(seconds=2.0)
    worker.gate.clear()
    notes = Notes()
    async with harness(worker, max_batch=1, notes=notes) as d:
        running = d.ask(0)
        await settle()
        hurried, patient = d.ask(1, deadline=1.9), d.ask(2)
        await settle()
        worker.gate.set()  # only now is it known how slow it is
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert (await running, await patient) == ([0], [2])
    assert worker.batches == [[0], [2]]
    assert notes.abandoned == ["expired"]


async def test_a_queued_face_that_would_be_late_is_not_dropped_where_there_is_room_for_it() -> None:
    worker = FakeWorker(seconds=2.0)
    worker.gate.clear()
    async with harness(worker, max_batch=2) as d:
        running = d.ask(0)
        await settle()
        hurried, patient = d.ask(1, deadline=1.9), d.ask(2)
        await settle()
        worker.gate.set()
        assert (await running, await hurried, await patient) == ([0], [1], [2])


async def test_no_face_is_dropped_when_all_are_predicted_to_be_late() -> None:
    worker = FakeWorker(seconds=8.0)
    notes = Notes()
    async with harness(worker, max_batch=8, notes=notes) as d:
        await d.submit(*range(8))
        worker.seconds = 1.0  # but what was observed says 8
        assert await d.submit(*range(1, 21), deadline=7.0) == [*range(1, 21)]
    assert [len(batch) for batch in worker.batches] == [8, 8, 8, 4]
    assert notes.abandoned == []


async def test_another_lane_counts_in_the_predicted_wait_only_by_its_share() -> None:
    worker = FakeWorker(seconds=1.0)
    quick = lane("interactive", weight=8, max_batch=1)
    flood = lane("bulk", weight=2, max_batch=1)
    async with harness(worker, lanes=[quick, flood]) as d:
        await d.submit(1)
        await d.submit(1, lane=flood)
        worker.gate.clear()
        running = d.ask(0)
        await settle()
        requests = [d.ask(*range(1, 51), lane=flood), d.ask(*range(101, 109))]
        await settle()
        # 1 s for the running batch, 8 s of its own lane, 2 s of the other lane, 1 s for itself
        with pytest.raises(Overloaded):
            await d.submit(110, deadline=11.9)
        requests.append(d.ask(110, deadline=12.1))
        worker.gate.set()
        await asyncio.gather(running, *requests)


async def test_the_safety_margin_grows_when_an_outage_delayed_answers() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    async with harness(worker, max_batch=1, clock=lambda: now[0]) as d:
        await d.submit(0)
        worker.gate.clear()
        running, waiting = d.ask(1), d.ask(2)
        await settle()
        worker.alive.clear()
        worker.gate.set()
        await running
        now[0] = 5.0
        worker.alive.set()
        await waiting
        worker.gate.clear()
        running, late = d.ask(3), d.ask(4, deadline=now[0] + 2.3)
        await settle()
        worker.gate.set()
        await running
        with pytest.raises(Overloaded):
            await late


async def test_simultaneous_requests_count_in_the_predicted_wait() -> None:
    lanes = [lane(max_batch=1), lane("bulk")]
    async with harness(FakeWorker(seconds=2.0), lanes=lanes) as d:
        await d.submit(0)
        await settle()
        asked = [d.ask(number, deadline=3.0) for number in (1, 2)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers[0] == [1]
    assert isinstance(answers[1], Overloaded)


async def test_no_face_is_dropped_because_larger_batches_were_never_observed() -> None:
    worker = FakeWorker(seconds=1.0)  # for a batch of any size, but only size 1 was observed
    notes = Notes()
    async with harness(worker, max_batch=4, notes=notes) as d:
        await d.submit(0)
        hurried, patient = d.ask(1, 2, 3, 4, 5, deadline=3.5), d.ask(6)
        assert (await hurried, await patient) == ([1, 2, 3, 4, 5], [6])
    assert notes.abandoned == []
