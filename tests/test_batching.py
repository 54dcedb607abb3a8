import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching import Answer, Batcher, BatchPolicy, share
from service.errors import ModelFailure, NotReady, Overloaded, WorkerLost
from tests.fakes import (
    POISON,
    BrokenWorker,
    DyingWorker,
    FakeWorker,
    NotFiniteWorker,
    PoisonedWorker,
    face,
)

pytestmark = pytest.mark.anyio


@dataclass
class Notes:
    """An observer that writes down what it is told."""

    depth: int = 0
    batches: list[tuple[list[float], float]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)

    def waiting(self, items: int) -> None:
        self.depth = items

    def batch(self, queue_seconds: Sequence[float], model_seconds: float) -> None:
        self.batches.append((list(queue_seconds), model_seconds))

    def rejected(self, reason: str) -> None:
        self.refused.append(reason)

    def dropped(self, reason: str) -> None:
        self.abandoned.append(reason)


@asynccontextmanager
async def batcher(
    *workers: FakeWorker,
    max_batch: int = 8,
    queue_items: int = 100,
    notes: Notes | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Batcher]:
    opened = Batcher(workers, BatchPolicy(max_batch, queue_items), notes or Notes(), clock)
    try:
        yield opened
    finally:
        await opened.close()


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def values(answers: Sequence[Answer]) -> list[float]:
    return [float(answer.scores[0]) for answer in answers]


def ask(batcher: Batcher, *faces: int) -> asyncio.Task[list[Answer]]:
    return asyncio.create_task(batcher.submit([face(value) for value in faces]))


async def test_every_face_gets_its_own_scores_in_order() -> None:
    async with batcher(FakeWorker(), max_batch=3) as b:
        assert values(await b.submit([face(n) for n in range(10)])) == list(range(10))


async def test_a_request_without_faces_is_answered_without_the_model() -> None:
    worker = FakeWorker()
    async with batcher(worker) as b:
        assert await b.submit([]) == []
    assert worker.batches == []


async def test_an_idle_worker_takes_a_face_at_once_and_batches_form_while_it_is_busy() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with batcher(worker, max_batch=4) as b:
        first = ask(b, 1)
        await until_idle()
        others = [ask(b, n) for n in range(2, 8)]
        await until_idle()
        assert worker.batches == [[1]]
        worker.gate.set()
        await asyncio.gather(first, *others)
    assert worker.batches == [[1], [2, 3, 4, 5], [6, 7]]


async def test_two_idle_workers_share_what_arrives_together() -> None:
    workers = FakeWorker(), FakeWorker()
    for worker in workers:
        worker.gate.clear()
    async with batcher(*workers, max_batch=8) as b:
        await until_idle()
        request = ask(b, *range(6))
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
    async with batcher(worker, max_batch=1, queue_items=4, notes=notes) as b:
        await b.submit([face(0)])
        worker.gate.clear()
        running = ask(b, 1)
        await until_idle()
        waiting = [ask(b, 2), ask(b, 3), ask(b, 4)]
        await until_idle()
        with pytest.raises(Overloaded) as refused:
            await b.submit([face(5), face(6)])
        assert refused.value.retry_after == pytest.approx(3 * 2.0)
        accepted = ask(b, 7)
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
    async with batcher(worker, notes=notes) as b:
        first = ask(b, 1)
        await until_idle()
        gone, stays = ask(b, 2, 3), ask(b, 4)
        await until_idle()
        gone.cancel()
        await until_idle()
        worker.gate.set()
        await asyncio.gather(first, stays)
    assert worker.batches == [[1], [4]]
    assert notes.abandoned == ["cancelled", "cancelled"]


async def test_a_bad_face_fails_alone() -> None:
    worker = PoisonedWorker()
    async with batcher(worker, max_batch=8) as b:
        requests = [ask(b, n) for n in (1, 2, POISON, 4, 5)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers.pop(2), ModelFailure)
    assert [float(a[0].scores[0]) for a in answers if isinstance(a, list)] == [1, 2, 4, 5]


async def test_scores_that_are_not_finite_fail_only_their_own_face() -> None:
    async with batcher(NotFiniteWorker()) as b:
        good, bad = ask(b, 1), ask(b, POISON)
        answers = await asyncio.gather(good, bad, return_exceptions=True)
    assert isinstance(answers[1], ModelFailure)
    assert not isinstance(answers[0], BaseException)


async def test_what_a_lost_worker_had_is_tried_once_more_and_then_fails() -> None:
    worker = DyingWorker()
    async with batcher(worker) as b:
        with pytest.raises(WorkerLost):
            await b.submit([face(POISON)])
        assert values(await b.submit([face(7)])) == [7]
    assert worker.batches == [[POISON], [POISON], [7]]


async def test_another_worker_goes_on_with_what_a_dead_one_had() -> None:
    dying, sound = FakeWorker(), FakeWorker()
    dying.gate.clear()
    async with batcher(dying, sound) as b:
        request = ask(b, 1)
        await until_idle()

        def die(_: object) -> None:
            dying.alive.clear()
            raise WorkerLost("gone")

        dying.answer = die  # type: ignore[assignment,method-assign]  # it dies while it computes
        dying.gate.set()
        assert values(await request) == [1]
    assert sound.batches == [[1]]


async def test_an_unexpected_error_fails_its_batch_and_nothing_after_it() -> None:
    worker = BrokenWorker()
    async with batcher(worker) as b:
        with pytest.raises(ModelFailure):
            await b.submit([face(1)])
        worker.answer = FakeWorker().answer  # type: ignore[method-assign]  # mended
        assert values(await b.submit([face(2)])) == [2]


async def test_nothing_is_accepted_while_no_worker_is_up() -> None:
    worker = FakeWorker()
    worker.alive.clear()
    async with batcher(worker) as b:
        with pytest.raises(NotReady):
            await b.submit([face(1)])


async def test_closing_tells_everyone_who_still_waits() -> None:
    worker = FakeWorker()
    worker.gate.clear()
    async with batcher(worker, max_batch=1) as b:
        computing, waiting = ask(b, 1), ask(b, 2)
        await until_idle()
    answers = await asyncio.gather(computing, waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelFailure, NotReady]


async def test_the_observer_learns_how_long_each_face_waited() -> None:
    now = [10.0]
    worker = FakeWorker(seconds=0.5)
    worker.gate.clear()
    notes = Notes()
    async with batcher(worker, notes=notes, clock=lambda: now[0]) as b:
        first = ask(b, 1)
        await until_idle()
        second = ask(b, 2)
        await until_idle()
        now[0] = 13.0
        worker.gate.set()
        answers = [*await first, *await second]
    assert notes.batches == [([0.0], 0.5), ([3.0], 0.5)]
    assert [answer.queue for answer in answers] == [0.0, 3.0]
    assert np.allclose([answer.inference for answer in answers], 0.5)
