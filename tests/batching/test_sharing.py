import asyncio
import time
from collections.abc import Sequence
from math import inf

import pytest

from service.errors import ModelFailure
from service.lanes import BatchResult
from service.records import FaceImage, Scores
from service.worker_pool import MAX_PASSED_OVER, RECENT
from tests.batching.harness import FaceLane, harness, lane, run
from tests.fakes import FakeWorker
from tests.waiting import settle, until

pytestmark = pytest.mark.anyio


async def test_a_flooded_lane_does_not_take_the_share_of_another() -> None:
    worker = FakeWorker(seconds=1.0)
    flood, quick = lane("bulk", max_batch=1), lane("interactive", weight=3, max_batch=1)
    worker.gate.clear()
    async with harness(worker, lanes=[flood, quick]) as d:
        first = d.ask(0, lane=flood)
        await settle()
        requests = [d.ask(*range(1, 9), lane=flood), d.ask(*range(101, 107), lane=quick)]
        await settle()
        worker.gate.set()
        await asyncio.gather(first, *requests)
    order = [batch[0] for batch in worker.batches][1:9]
    assert [value for value in order if value < 100] == [1, 2]
    assert [value for value in order if value > 100] == list(range(101, 107))


async def test_a_lane_that_had_the_worker_alone_keeps_its_share_afterwards() -> None:
    worker = FakeWorker(seconds=1.0)
    old, new = lane("bulk", max_batch=1), lane("explain", max_batch=1)
    async with harness(worker, lanes=[old, new]) as d:
        for value in range(50):
            await d.submit(value, lane=old)
        worker.gate.clear()
        requests = [d.ask(*range(100, 110), lane=new), d.ask(*range(10), lane=old)]
        await settle()
        worker.gate.set()
        await asyncio.gather(*requests)
    first = [batch[0] for batch in worker.batches][50:60]
    assert 4 <= sum(value < 100 for value in first) <= 6


async def test_failed_batches_count_against_their_lanes_share() -> None:
    now = [0.0]

    async def take(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        batch = await run(worker, faces)
        now[0] += 0.01
        return BatchResult(batch.results, 0.01)

    async def fail(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        await take(worker, faces)
        raise ModelFailure("cannot compute this")

    worker = FakeWorker()
    sound = lane("bulk", run=take, max_batch=1)
    failing = lane("explain", run=fail, weight=2, max_batch=1)
    async with harness(worker, lanes=[sound, failing], clock=lambda: now[0]) as d:
        worker.gate.clear()
        first = d.ask(0)
        await settle()
        requests = [d.ask(value, lane=failing) for value in range(100, 110)]
        requests += [d.ask(value) for value in range(10)]
        await settle()
        worker.gate.set()
        await asyncio.gather(first, *requests, return_exceptions=True)
    served = [batch[0] for batch in worker.batches][:9]
    assert 2 <= sum(value < 100 for value in served) <= 4


class TestUrgentWork:
    """A lane whose work can wait, beside an urgent one."""

    async def slow(self, worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        batch = await run(worker, faces)
        return BatchResult(batch.results, 0.1 * len(faces))

    def lanes(self) -> tuple[FaceLane, FaceLane]:
        quick = lane("interactive", run=self.slow)
        return quick, lane("bulk", run=self.slow, max_batch=32, budget=0.35)

    async def test_batches_are_short_while_urgent_work_is_expected(self) -> None:
        worker = FakeWorker()
        quick, bulk = self.lanes()
        async with harness(worker, lanes=[quick, bulk]) as d:
            await d.submit(1)
            await d.submit(*range(10, 20), lane=bulk)
            await d.submit(*range(20, 30), lane=bulk)
        assert [len(batch) for batch in worker.batches] == [1, 1, 3, 3, 3, 3, 3, 3, 1]

    async def test_batches_are_large_without_recent_urgent_work(self) -> None:
        now = [0.0]
        worker = FakeWorker()
        quick, bulk = self.lanes()
        async with harness(worker, lanes=[quick, bulk], clock=lambda: now[0]) as d:
            await d.submit(1)
            now[0] = RECENT
            await d.submit(*range(10, 50), lane=bulk)
        assert [len(batch) for batch in worker.batches] == [1, 32, 8]

    async def test_a_batch_never_exceeds_its_lanes_max_batch(self) -> None:
        worker = FakeWorker(seconds=0.1)
        quick, bulk = lane("interactive"), lane("bulk", max_batch=2, budget=9.0)
        async with harness(worker, lanes=[quick, bulk]) as d:
            await d.submit(1, lane=bulk)
            await d.submit(1)
            await d.submit(*range(10, 20), lane=bulk)
        assert max(map(len, worker.batches)) == 2

    async def test_one_worker_is_kept_free_for_urgent_work(self) -> None:
        now = [0.0]
        workers = FakeWorker(), FakeWorker()
        quick, bulk = self.lanes()
        async with harness(*workers, lanes=[quick, bulk], clock=lambda: now[0]) as d:
            await d.submit(1)
            for worker in workers:
                worker.gate.clear()
                worker.batches.clear()
            flood = d.ask(*range(10, 90), lane=bulk)
            await settle()
            assert sum(len(worker.batches) for worker in workers) == 1
            urgent = d.ask(2)
            await settle()
            assert [2] in [*workers[0].batches, *workers[1].batches]
            now[0] = RECENT
            for worker in workers:
                worker.gate.set()
            await asyncio.gather(flood, urgent)

    async def test_the_worker_kept_free_is_one_that_is_up(self) -> None:
        workers = [FakeWorker() for _ in range(4)]
        for worker in workers[2:]:
            worker.alive.clear()
        quick, bulk = self.lanes()
        async with harness(*workers, lanes=[quick, bulk]) as d:
            await d.submit(1)
            for worker in workers[:2]:
                worker.gate.clear()
                worker.batches.clear()
            flood = d.ask(*range(10, 90), lane=bulk)
            await settle()
            assert sum(len(worker.batches) for worker in workers) == 1
            flood.cancel()

    async def test_the_worker_kept_free_is_used_when_no_urgent_work_came(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.batching.RECENT", 0.01)
        workers = FakeWorker(), FakeWorker()
        quick, bulk = self.lanes()
        async with harness(*workers, lanes=[quick, bulk], clock=time.monotonic) as d:
            await d.submit(1)
            for worker in workers:
                worker.gate.clear()
                worker.batches.clear()
            flood = d.ask(*range(10, 90), lane=bulk)
            await until(lambda: all(worker.batches for worker in workers))
            for worker in workers:
                worker.gate.set()
            await flood


@pytest.mark.parametrize("reads", range(1, 20))
async def test_no_work_is_left_queued_beside_an_idle_worker_whenever_the_clock_advances(
    reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that can wait may become admissible between two readings of the clock."""
    monkeypatch.setattr("service.batching.RECENT", 0.01)
    left = inf

    def clock() -> float:
        nonlocal left
        left -= 1
        return 0.0 if left > 0 else 0.02

    workers = FakeWorker(), FakeWorker()
    quick, bulk = lane("quick"), lane("bulk", budget=1.0)
    async with harness(*workers, lanes=[quick, bulk], clock=clock) as d:
        await d.submit(1)
        for worker in workers:
            worker.gate.clear()
            worker.batches.clear()
        left = reads
        flood = d.ask(*range(10, 90), lane=bulk)
        await until(lambda: all(worker.batches for worker in workers))
        flood.cancel()


async def test_a_lane_passed_over_for_too_long_is_served_regardless_of_its_share() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    quick = lane("interactive", weight=1000, max_batch=1)
    bulk = lane("bulk", max_batch=1, budget=1.0)
    async with harness(worker, lanes=[quick, bulk], clock=lambda: now[0]) as d:
        await d.submit(0, lane=bulk)
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        requests = [d.ask(2, 3), d.ask(100, lane=bulk)]
        await settle()
        now[0] = 2 * MAX_PASSED_OVER
        worker.gate.set()
        await asyncio.gather(running, *requests)
    assert worker.batches.index([100]) < worker.batches.index([3])


async def test_time_without_work_does_not_count_as_passed_over() -> None:
    now = [0.0]
    worker = FakeWorker(seconds=1.0)
    quick = lane("interactive", weight=1000, max_batch=1)
    bulk = lane("bulk", max_batch=1, budget=1.0)
    async with harness(worker, lanes=[quick, bulk], clock=lambda: now[0]) as d:
        await d.submit(0, lane=bulk)
        now[0] = 2 * MAX_PASSED_OVER
        worker.gate.clear()
        running = d.ask(1)
        await settle()
        requests = [d.ask(2, 3), d.ask(100, lane=bulk)]
        await settle()
        worker.gate.set()
        await asyncio.gather(running, *requests)
    assert worker.batches[2:] == [[2], [3], [100]]
