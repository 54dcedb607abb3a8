import asyncio
import gc
from collections.abc import Coroutine, Generator, Sequence
from typing import Any
from weakref import WeakSet

import pytest
from structlog.testing import capture_logs

from service.batching import OUTAGE
from service.errors import DeadlineExceeded, ModelFailure, NotReady, WorkerLost
from service.lanes import BatchResult
from service.records import FaceImage, Scores
from tests.batching.harness import Harness, Notes, harness, run
from tests.fakes import (
    POISON,
    BrokenWorker,
    DyingWorker,
    FakeWorker,
    PoisonedWorker,
    scores_of,
)
from tests.virtual import VirtualLoop
from tests.waiting import LIMIT, settle

pytestmark = pytest.mark.anyio


def lose(worker: FakeWorker) -> None:
    """Have it die over what it has, or else over what it is asked next."""

    def die(_: object) -> None:
        worker.alive.clear()
        raise WorkerLost("gone")

    worker.answer = die  # type: ignore[assignment,method-assign]  # it dies during a batch
    worker.gate.set()


def restart(worker: FakeWorker) -> None:
    worker.answer = scores_of  # type: ignore[method-assign]  # the class's own
    worker.alive.set()


async def test_a_face_that_fails_its_batch_fails_alone() -> None:
    worker, notes = PoisonedWorker(), Notes()
    async with harness(worker, max_batch=8, notes=notes) as d:
        requests = [d.ask(n) for n in (1, 2, POISON, 4, 5)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(answers.pop(2), ModelFailure)
        assert answers == [[1], [2], [4], [5]]
        await d.submit(*range(8))
    assert len(worker.batches[-1]) == 8, "batches become no smaller"
    assert (notes.failures, notes.abandoned) == (["interactive"], [])


async def test_a_failed_result_in_a_batch_fails_only_its_caller() -> None:
    async def half(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        scored = await run(worker, faces)
        results = [
            row if row[0] < POISON else ModelFailure("not this one")
            for row in scored.results
            if not isinstance(row, ModelFailure)
        ]
        return BatchResult(results, 0.1)

    async with harness(FakeWorker(), run=half) as d:
        answers = await asyncio.gather(d.ask(1), d.ask(POISON), return_exceptions=True)
    assert answers[0] == [1]
    assert isinstance(answers[1], ModelFailure)


async def test_a_call_whose_faces_all_fail_gets_one_error_and_the_log_none() -> None:
    async def fail(_: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        return BatchResult([ModelFailure("not this one") for _ in faces], 0.1)

    logged: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: logged.append(context["message"]))
    async with harness(FakeWorker(), run=fail) as d:
        with pytest.raises(ModelFailure):
            await d.submit(1, 2, 3)
    gc.collect()  # asyncio logs an error that nobody has read when its future is freed
    assert logged == []


async def test_a_worker_that_answers_for_too_few_faces_leaves_no_caller_waiting() -> None:
    async def short(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        return BatchResult((await run(worker, faces)).results[:-1], 0.1)

    async with harness(FakeWorker(), run=short) as d:
        requests = [d.ask(1), d.ask(2)]
        await settle()
        assert all(request.done() for request in requests)
        assert isinstance(requests[-1].exception(), ModelFailure)
        requests[0].exception()


async def test_a_batch_of_a_lost_worker_is_retried_once_and_then_fails() -> None:
    worker = DyingWorker()
    async with harness(worker) as d:
        with pytest.raises(WorkerLost):
            await d.submit(POISON)
        assert await d.submit(7) == [7]
    assert worker.batches == [[POISON], [POISON], [7]]


async def test_faces_of_a_lost_worker_are_retried_singly_so_that_the_others_succeed() -> None:
    workers, notes = (DyingWorker(), DyingWorker()), Notes()
    for worker in workers:
        worker.gate.clear()
    async with harness(*workers, notes=notes) as d:
        busy = [d.ask(1), d.ask(2)]
        await settle()
        requests = [d.ask(3), d.ask(POISON), d.ask(4)]
        await settle()
        for worker in workers:
            worker.gate.set()
        answers = await asyncio.gather(*busy, *requests, return_exceptions=True)
    assert [*answers[:3], answers[4]] == [[1], [2], [3], [4]]
    assert isinstance(answers[3], WorkerLost)
    assert notes.failures == ["interactive"]


async def test_another_worker_computes_the_batch_of_a_lost_worker() -> None:
    dying, sound = FakeWorker(), FakeWorker()
    dying.gate.clear()
    async with harness(dying, sound) as d:
        request = d.ask(1)
        await settle()
        lose(dying)
        assert await request == [1]
    assert sound.batches == [[1]]


async def sent_ahead(
    d: Harness, worker: FakeWorker, now: list[float], face: int, deadline: float | None = None
) -> tuple[asyncio.Task[list[float]], asyncio.Task[list[float]]]:
    """Calls for face 1, which the worker computes behind its gate, and for one sent after it."""
    await d.submit(0)
    worker.gate.clear()
    computing = d.ask(1)
    await settle()
    now[0] = 2.0
    ahead = d.ask(face, deadline=deadline)
    await settle()
    assert worker.batches == [[0], [1], [face]]
    return computing, ahead


async def test_a_face_that_was_only_sent_ahead_outlives_two_workers() -> None:
    now, workers = [0.0], [FakeWorker(seconds=2.0), FakeWorker(seconds=2.0)]
    async with harness(*workers, clock=lambda: now[0]) as d:
        await d.submit(0)
        for worker in workers:
            worker.gate.clear()
        computing = [d.ask(1), d.ask(2)]
        await settle()
        now[0] = 2.0
        ahead = d.ask(3)
        for worker in workers:
            await settle()
            assert worker.batches[-1] == [3]
            lose(worker)
        await settle()
        for worker in workers:
            restart(worker)
        assert await asyncio.gather(*computing, ahead) == [[1], [2], [3]]


async def test_a_face_sent_ahead_over_which_the_worker_is_then_lost_is_retried_once() -> None:
    now, worker = [0.0], DyingWorker(seconds=2.0)
    async with harness(worker, clock=lambda: now[0]) as d:
        computing, ahead = await sent_ahead(d, worker, now, POISON)
        worker.gate.set()
        assert await computing == [1]
        with pytest.raises(WorkerLost):
            await ahead
    assert worker.batches == [[0], [1], [POISON], [POISON]]


async def test_faces_of_a_lost_worker_are_retried_singly_when_those_sent_ahead_are_late() -> None:
    now, worker = [0.0], FakeWorker(seconds=2.0)
    async with harness(worker, clock=lambda: now[0]) as d:
        computing, ahead = await sent_ahead(d, worker, now, 2, deadline=3.0)
        lose(worker)
        await settle()
        others = d.ask(3, 4, wait=True)
        await settle()
        now[0] = 4.0
        restart(worker)
        assert await computing == [1]
        assert await others == [3, 4]
        with pytest.raises(DeadlineExceeded):
            await ahead
    assert worker.batches[3:] == [[1], [3, 4]]


async def test_faces_of_a_lost_worker_keep_their_order_until_it_is_up_again() -> None:
    worker, notes = FakeWorker(), Notes()
    lose(worker)
    async with harness(worker, notes=notes) as d:
        requests = [d.ask(1), d.ask(2)]
        await settle()
        assert notes.depth == 2
        restart(worker)
        assert await asyncio.gather(*requests) == [[1], [2]]
    assert worker.batches == [[1, 2], [1], [2]]
    assert notes.depth == 0


async def test_a_face_of_a_lost_worker_takes_no_place_once_its_caller_has_gone() -> None:
    worker, notes = FakeWorker(), Notes()
    worker.gate.clear()
    async with harness(worker, notes=notes) as d:
        gone, leaves, stays = d.ask(1), d.ask(2), d.ask(3)
        await settle()
        gone.cancel()
        await settle()
        lose(worker)
        await settle()
        assert notes.depth == 2
        leaves.cancel()
        await settle()
        assert notes.depth == 1
        restart(worker)
        assert await stays == [3]
    assert worker.batches == [[1, 2, 3], [3]]
    assert notes.abandoned == ["cancelled"]


async def test_a_call_cancelled_during_its_batch_does_not_affect_the_others() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with harness(worker) as d:
        gone, stays = d.ask(1), d.ask(2)
        await settle()
        assert worker.batches == [[1, 2]]
        gone.cancel()
        await settle()
        worker.gate.set()
        assert await stays == [2]


async def test_a_face_of_a_lost_worker_is_in_time_if_it_is_so_alone() -> None:
    async def slow(worker: FakeWorker, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        return BatchResult((await run(worker, faces)).results, 1.0 * len(faces))

    worker = FakeWorker()
    async with harness(worker, run=slow, max_batch=4) as d:
        await d.submit(0)
        await d.submit(1, 2, 3, 4)
        worker.gate.clear()
        requests = [d.ask(5, deadline=2.0), d.ask(6, 7, 8)]
        await settle()
        requests.append(d.ask(9))
        lose(worker)
        await settle()
        restart(worker)
        assert await asyncio.gather(*requests) == [[5], [6, 7, 8], [9]]


async def test_an_unexpected_error_is_logged_and_fails_only_its_batch() -> None:
    worker = BrokenWorker()
    async with harness(worker) as d:
        with pytest.raises(ModelFailure), capture_logs() as log:
            await d.submit(1)
        assert [line["exc_info"] for line in log] == [True], "the operator is told why"
        worker.answer = FakeWorker().answer  # type: ignore[method-assign]  # repaired
        assert await d.submit(2) == [2]


class BrokenNotes(Notes):
    """An observer that breaks the batcher's own task."""

    def dropped(self, reason: str) -> None:
        raise RuntimeError(reason)


async def test_a_failed_batcher_is_unhealthy_and_answers_all_calls() -> None:
    worker, now = FakeWorker(), [0.0]
    worker.gate.clear()
    async with harness(worker, max_batch=1, notes=BrokenNotes(), clock=lambda: now[0]) as d:
        busy = [d.ask(1), d.ask(2)]
        await settle()
        assert d.batcher.healthy
        late = d.ask(3, deadline=1.0)
        waiting = d.ask(4, wait=True)
        await settle()
        now[0] = 2.0
        worker.gate.set()
        with capture_logs() as log:
            await asyncio.gather(*busy)
            await settle()
        assert [str(line["exc_info"]) for line in log] == ["expired"], "the operator is told why"
        assert not d.batcher.healthy
        assert waiting.done()
        answers = await asyncio.gather(late, waiting, d.ask(5), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DeadlineExceeded, NotReady, NotReady]


class DeafNotes(Notes):
    """An observer that breaks whoever tells it of a failure."""

    def failed(self, lane: str) -> None:
        raise RuntimeError(lane)


async def test_no_call_is_left_waiting_when_a_failure_cannot_be_reported() -> None:
    async with harness(BrokenWorker(), notes=DeafNotes()) as d:
        requests = [d.ask(1), d.ask(2)]
        await settle()
        assert all(isinstance(each.exception(), ModelFailure | NotReady) for each in requests)
        assert not d.batcher.healthy


async def test_a_failed_batcher_does_not_requeue_the_batch_of_a_lost_worker() -> None:
    dying, busy, now = DyingWorker(), FakeWorker(), [0.0]
    for worker in (dying, busy):
        worker.gate.clear()
    async with harness(dying, busy, max_batch=1, notes=BrokenNotes(), clock=lambda: now[0]) as d:
        lost, answered = d.ask(POISON), d.ask(1)
        await settle()
        late = d.ask(2, deadline=1.0)
        await settle()
        now[0] = 2.0
        busy.gate.set()
        await asyncio.gather(answered, late, return_exceptions=True)
        assert not d.batcher.healthy
        dying.gate.set()
        await settle()
        assert lost.done()
    assert isinstance(lost.exception(), NotReady)


def test_a_call_waits_for_a_lost_worker_no_longer_than_outage() -> None:
    worker = FakeWorker()
    worker.alive.clear()
    loop = VirtualLoop()

    async def wait() -> None:
        async with harness(worker, clock=loop.time) as d:
            await asyncio.sleep(OUTAGE / 2)  # in which nobody waits
            with pytest.raises(NotReady, match="come back"):
                await d.submit(1, wait=True)
            assert loop.time() == OUTAGE * 1.5
            for number in (2, 3):
                back = loop.time() + OUTAGE * 0.9
                loop.call_at(back, worker.alive.set)
                assert await d.submit(number, wait=True) == [number]
                assert loop.time() == pytest.approx(back)
                worker.alive.clear()

    loop.run_until_complete(wait())
    loop.close()


def test_calls_wait_longer_than_outage_for_a_worker_that_is_back_and_busy() -> None:
    worker = FakeWorker(seconds=1.0)
    worker.alive.clear()
    worker.gate.clear()
    loop = VirtualLoop()

    async def wait() -> None:
        async with harness(worker, max_batch=1, clock=loop.time) as d:
            requests = [d.ask(number, wait=True) for number in (1, 2, 3)]
            loop.call_later(OUTAGE * 0.9, worker.alive.set)
            loop.call_later(OUTAGE * 2, worker.gate.set)
            assert await asyncio.gather(*requests) == [[1], [2], [3]]

    loop.run_until_complete(wait())
    loop.close()


async def test_answered_batches_leave_no_task_behind_even_while_a_worker_is_down() -> None:
    alive: WeakSet[asyncio.Task[Any]] = WeakSet()

    def recorded(
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        /,
        **options: Any,  # noqa: ANN401  # a task's own
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **options)
        alive.add(task)
        return task

    down = FakeWorker()
    down.alive.clear()
    asyncio.get_running_loop().set_task_factory(recorded)
    async with harness(down, FakeWorker()) as d:
        for number in range(20):
            await d.submit(number)
        await settle()
        gc.collect()
        assert len(alive) < 5


@pytest.mark.parametrize("steps", range(8))
async def test_closing_at_any_step_answers_all_calls_with_not_ready(steps: int) -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with harness(worker, max_batch=1) as d:
        requests = [d.ask(1), d.ask(2)]
        for _ in range(steps):
            await asyncio.sleep(0)
        await d.batcher.close()
        answers = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), LIMIT)
    assert [type(answer) for answer in answers] == [NotReady, NotReady]
