import asyncio
import fcntl
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.backoff import FAILED_STARTS, SETTLED
from service.errors import ModelFailure, OutOfMemory, StoreError, WorkerLost
from service.explanation import Question
from service.records import FaceImage, Scores
from service.remote import RemoteModel
from service.settings import Settings
from service.startup import running_workers
from tests import processes
from tests.fakes import POISON, face, scores_of
from tests.processes import shut
from tests.servers import wait_for_the_end_of
from tests.waiting import LIMIT, settle, until

pytestmark = pytest.mark.anyio

GOOD = [face(1), face(2), face(3)]
BAD = [face(POISON)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.backoff.MAX_PAUSE", 0)


@asynccontextmanager
async def started(
    process: Callable[[], None], *arguments: str, batch_timeout: float = 60
) -> AsyncIterator[RemoteModel]:
    argv = processes.argv(process, *arguments)
    model = RemoteModel(argv, start_timeout=LIMIT, batch_timeout=batch_timeout)
    try:
        assert await model.start() == processes.INFO
        yield model
    finally:
        await model.stop()


async def rows(model: RemoteModel, faces: Sequence[FaceImage]) -> Scores:
    return np.array((await model.scores(faces)).results, dtype=np.float32)


class Events:
    """A log that records its events."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def warning(self, event: str, **_: object) -> None:
        self._events.append(event)

    error = info = warning


async def test_a_batch_returns_its_scores_and_duration() -> None:
    async with started(processes.sound) as model:
        scored = await model.scores(GOOD)
        assert np.array_equal(np.array(scored.results), scores_of(GOOD))
        assert scored.seconds == 0.25


async def test_a_batch_larger_than_a_pipe_buffer_is_answered() -> None:
    many = [face(0)] * 256
    async with started(processes.sound) as model:
        assert (await rows(model, many)).shape == (256, 6)


async def test_a_load_failure_raises_store_error_with_its_reason() -> None:
    with pytest.raises(StoreError, match=r"model\.pt is altered"):
        async with started(processes.refuses):
            pass


async def test_a_process_that_exits_before_it_is_ready_is_lost() -> None:
    with pytest.raises(WorkerLost, match="ended unexpectedly"):
        async with started(processes.ends_at_once):
            pass


async def test_a_process_that_cannot_be_spawned_is_lost() -> None:
    with pytest.raises(WorkerLost, match="could not be made"):
        await RemoteModel(["/no/such/program"], start_timeout=LIMIT).start()


async def test_a_process_that_never_gets_ready_times_out() -> None:
    model = RemoteModel(processes.argv(processes.never_gets_ready), start_timeout=0.2)
    with pytest.raises(WorkerLost, match=r"did not answer within 0\.2 s"):
        await model.start()
    await model.stop()


async def test_a_process_started_later_answers_once_it_is_ready() -> None:
    model = RemoteModel(processes.argv(processes.sound), start_timeout=LIMIT)
    model.start_later()
    try:
        assert not model.up
        with pytest.raises(WorkerLost):
            await model.scores(GOOD)
        await model.ready()
        assert np.array_equal((await rows(model, GOOD)), scores_of(GOOD))
    finally:
        await model.stop()


async def test_a_process_that_keeps_failing_to_start_is_unhealthy() -> None:
    model = RemoteModel(processes.argv(processes.refuses), start_timeout=LIMIT)
    model.start_later()
    try:
        await until(lambda: not model.healthy)
        assert not model.up
    finally:
        await model.stop()


async def test_startup_does_not_wait_for_the_last_worker() -> None:
    settings = Settings().with_changes(workers=3)
    argv = processes.argv(processes.sound)
    async with running_workers(settings, lambda _: argv) as (workers, info):
        assert info == processes.INFO
        assert [worker.up for worker in workers] == [True, True, False]
        await workers[-1].ready()


async def test_a_model_error_does_not_restart_the_process() -> None:
    async with started(processes.raises) as model:
        with pytest.raises(ModelFailure, match="cannot compute this"):
            await model.scores(BAD)
        assert (await rows(model, GOOD)).shape == (3, 6)
        assert model.restarts == 0


async def test_a_second_batch_may_be_sent_before_the_first_is_answered() -> None:
    async with started(processes.answers_only_two_together) as model:
        first, second = await asyncio.gather(rows(model, GOOD), rows(model, GOOD[:2]))
    assert np.array_equal(first, scores_of(GOOD))
    assert np.array_equal(second, scores_of(GOOD[:2]))


async def test_out_of_memory_raises_its_own_error_and_keeps_the_process() -> None:
    async with started(processes.runs_out_of_memory) as model:
        with pytest.raises(OutOfMemory, match="no memory left"):
            await model.scores(GOOD)
        assert model.up


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is configured to keep memory")
async def test_memory_of_a_batch_is_reused_by_the_next() -> None:
    async with started(processes.needs_much_memory) as model:
        first, second = [(await rows(model, GOOD))[0, 0] for _ in range(2)]
    assert first * resource.getpagesize() > 32 * 2**20
    assert second < first / 100


async def test_a_process_over_its_memory_limit_is_replaced_without_downtime() -> None:
    model = RemoteModel(processes.argv(processes.leaks), start_timeout=LIMIT, memory=3500)
    await model.start()
    try:
        first = model.pid
        assert first is not None
        generations = [int((await rows(model, GOOD))[0, 0]) for _ in range(3)]
        assert generations == [2, 3, 4]
        while model.pid == first:
            assert model.up
            await model.scores(GOOD)
        assert (await rows(model, GOOD))[0, 0] < 4
        await asyncio.to_thread(wait_for_the_end_of, [first])
        await model.scores(GOOD)
        assert model.restarts == 1
    finally:
        await model.stop()


async def test_a_memory_limit_below_the_models_need_causes_no_restart() -> None:
    argv = processes.argv(processes.grows_once, "1000")
    model = RemoteModel(argv, start_timeout=LIMIT, memory=1)
    await model.start()
    try:
        await model.scores(GOOD)
        await settle()
        assert model.restarts == 0
    finally:
        await model.stop()


@pytest.mark.parametrize(("grown", "restarts"), [(1250, 0), (1251, 1)])
async def test_a_low_memory_limit_still_allows_growth_by_a_quarter(
    grown: int, restarts: int
) -> None:
    argv = processes.argv(processes.grows_once, str(grown))
    model = RemoteModel(argv, start_timeout=LIMIT, memory=1100)
    await model.start()
    try:
        await model.scores(GOOD)
        await settle()
        assert model.restarts == restarts
    finally:
        await model.stop()


@pytest.mark.parametrize("lost", [True, False])
async def test_the_last_batch_of_a_replaced_process_does_not_affect_its_successor(
    tmp_path: Path, lost: bool
) -> None:
    gate = tmp_path / "gate"
    argv = processes.argv(processes.leaks_behind_the_gate, str(gate))
    model = RemoteModel(argv, start_timeout=LIMIT, batch_timeout=LIMIT, memory=1500)
    await model.start()
    try:
        first = model.pid
        assert first is not None
        with shut(gate):
            await model.scores(GOOD)  # after this batch it is over the limit
            late = asyncio.create_task(model.scores(BAD))
            await until(lambda: model.pid != first)
            if lost:
                os.kill(first, signal.SIGKILL)
                with pytest.raises(WorkerLost):
                    await late
        if not lost:
            await late
        await settle()
        assert model.up
        assert model.restarts == 1
        assert np.array_equal(await rows(model, GOOD), scores_of(GOOD))
    finally:
        await model.stop()


async def test_an_unexpected_start_error_is_logged_and_the_start_is_retried() -> None:
    argv = ["a program\0"]  # no program can have that name
    model = RemoteModel(argv, start_timeout=LIMIT)
    with capture_logs() as log:
        model.start_later()
        try:
            await until(lambda: not model.healthy)
            argv[:] = processes.argv(processes.sound)
            await asyncio.wait_for(model.ready(), LIMIT)
            assert np.array_equal(await rows(model, GOOD), scores_of(GOOD))
        finally:
            await model.stop()
    failed = [line for line in log if line["event"] == "model process did not start"]
    assert len(failed) >= FAILED_STARTS
    assert all(line["exc_info"] for line in failed)


async def test_a_wrong_number_of_rows_fails_the_batch() -> None:
    async with started(processes.answers_too_few) as model:
        with pytest.raises(ModelFailure, match="a row per face: 2 for 3"):
            await model.scores(GOOD)


async def test_a_nan_answer_fails_only_its_own_face() -> None:
    async with started(processes.answers_nan) as model:
        scored = await model.scores([*BAD, *GOOD])
        explained = await model.explain([(each, Question("gradcam")) for each in (*BAD, *GOOD)])
    for results in (scored.results, explained.results):
        assert [isinstance(each, ModelFailure) for each in results] == [True, False, False, False]


async def test_a_killed_process_is_down_until_its_replacement_is_up() -> None:
    with capture_logs() as log:
        async with started(processes.sound) as model:
            assert model.pid is not None
            os.kill(model.pid, signal.SIGKILL)
            await until(lambda: model.restarts)
            assert not model.up
            await model.ready()
            assert (await rows(model, GOOD)).shape == (3, 6)
        assert not model.up, "it was stopped"
    assert [(line["status"], line["why"]) for line in log if "why" in line] == [
        (-signal.SIGKILL, "the model process ended while it was asked nothing")
    ]


@pytest.mark.parametrize(
    ("process", "seconds", "why"),
    [
        (processes.dies, 60, "ended unexpectedly"),
        (processes.hangs, 0.2, "did not answer within 0.2 s"),
        (processes.sends_garbage, 60, "is no message"),
    ],
)
async def test_a_process_that_dies_hangs_or_sends_garbage_is_replaced(
    process: Callable[[], None], seconds: float, why: str
) -> None:
    async with started(process, batch_timeout=seconds) as model:
        with pytest.raises(WorkerLost):
            await model.scores(BAD)
        model._batch_timeout = 60  # the replacement does not hang, however slow it is
        assert not model.up
        with pytest.raises(WorkerLost, match="being restarted"):
            await model.scores(GOOD)
        with capture_logs() as log:
            await asyncio.wait_for(model.ready(), LIMIT)
        assert [why in line["why"] for line in log if "why" in line] == [True]
        assert np.array_equal((await rows(model, GOOD)), scores_of(GOOD))
        assert model.restarts == 1


@pytest.mark.parametrize(
    "process", [processes.starts_only_once, processes.restarts_as_another_version]
)
async def test_a_model_that_cannot_be_restarted_is_unhealthy(
    process: Callable[[], None], tmp_path: Path
) -> None:
    async with started(process, str(tmp_path / "started")) as model:
        assert model.healthy
        with pytest.raises(WorkerLost):
            await model.scores(BAD)
        await until(lambda: not model.healthy)
        assert not model.up


async def test_the_answer_to_a_cancelled_batch_is_not_given_to_the_next_call(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    model = RemoteModel(processes.argv(processes.gated, str(gate)), start_timeout=LIMIT)
    await model.start()
    try:
        with gate.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            given_up = asyncio.create_task(model.scores(GOOD))
            await until((tmp_path / "gate.log").exists)
            given_up.cancel()
            await asyncio.wait([given_up])
        with pytest.raises(WorkerLost):
            await model.scores([face(7)])
        await asyncio.wait_for(model.ready(), LIMIT)
        assert np.array_equal(await rows(model, [face(7)]), scores_of([face(7)]))
    finally:
        await model.stop()


async def test_stopping_cancels_a_start_in_progress() -> None:
    model = RemoteModel(processes.argv(processes.never_gets_ready), start_timeout=2 * LIMIT)
    starting = asyncio.create_task(model.start())
    await asyncio.sleep(0)
    await model.stop()
    async with asyncio.timeout(LIMIT):
        await asyncio.wait([starting])
    assert starting.cancelled()


async def test_a_process_stopped_right_after_its_start_is_not_restarted() -> None:
    model = RemoteModel(processes.argv(processes.sound), start_timeout=LIMIT)
    starting = asyncio.create_task(model.start())
    await until(lambda: model.up)
    assert not starting.done()
    await model.stop()
    await asyncio.wait([starting])
    await settle()
    assert model.restarts == 0


async def test_a_model_stays_healthy_if_its_overgrown_process_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr("service.remote.log", Events(events))
    argv = processes.argv(processes.leaks_and_starts_only_once, str(tmp_path / "started"))
    model = RemoteModel(argv, start_timeout=LIMIT, memory=1500)
    await model.start()
    try:
        await model.scores(GOOD)
        await until(lambda: events.count("model process did not start") >= FAILED_STARTS)
        assert (await rows(model, GOOD)).shape == (3, 6)
        assert model.healthy
    finally:
        await model.stop()


async def test_a_replacement_is_supervised_while_its_predecessor_is_still_ending() -> None:
    model = RemoteModel(
        processes.argv(processes.leaks_and_stays),
        start_timeout=LIMIT,
        batch_timeout=LIMIT,
        memory=3500,
    )
    await model.start()
    try:
        first = model.pid
        while model.pid == first:
            await model.scores(GOOD)
        second = model.pid
        assert second is not None
        os.kill(second, signal.SIGKILL)
        await until(lambda: model.pid != second)
    finally:
        await model.stop()
    assert first is not None
    await asyncio.to_thread(wait_for_the_end_of, [first])


async def test_stopping_leaves_no_process_behind() -> None:
    async with started(processes.sound) as model:
        assert model.pid is not None
        pid = model.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_failed_starts_are_forgotten_once_a_process_has_been_up_for_long(
    tmp_path: Path,
) -> None:
    """Otherwise rare failures would add up over weeks until the process is given up."""
    count, now = tmp_path / "starts", [0.0]
    count.write_text("-1")
    script = (
        f"n=$(($(cat {count}) + 1)); echo $n > {count}; [ $((n % 3)) = 0 ] || exit 1; "
        f"exec {sys.executable} -m tests.processes dies"
    )
    model = RemoteModel(("sh", "-c", script), start_timeout=LIMIT, clock=lambda: now[0])
    await model.start()
    try:
        for _ in range(FAILED_STARTS):  # each time two starts fail, and the third succeeds
            await settle()
            now[0] += SETTLED
            with pytest.raises(WorkerLost):
                await model.scores(BAD)
            await until(lambda: model.up or not model.healthy)
            assert model.up
    finally:
        await model.stop()


async def test_pauses_grow_while_a_process_ends_soon_after_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed_starts: list[int] = []
    now = [0.0]

    def pause(failed: int) -> float:
        failed_starts.append(failed)
        return 0.0

    monkeypatch.setattr("service.backoff.pause", pause)
    argv = processes.argv(processes.dies)
    model = RemoteModel(argv, start_timeout=LIMIT, clock=lambda: now[0])
    await model.start()
    try:
        for seconds in (0.0, SETTLED - 1, SETTLED, 0.0):
            await settle()
            now[0] += seconds
            with pytest.raises(WorkerLost):
                await model.scores(BAD)
            await model.ready()
        assert failed_starts == [1, 2, 0, 1]
    finally:
        await model.stop()
