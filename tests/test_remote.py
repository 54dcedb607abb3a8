import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

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


class Limits(TypedDict, total=False):
    """What a test may set of a `RemoteModel`."""

    start_timeout: float
    batch_timeout: float
    memory: int
    pause: Callable[[int], float]
    clock: Callable[[], float]


@asynccontextmanager
async def model_of(argv: Sequence[str], **limits: Unpack[Limits]) -> AsyncIterator[RemoteModel]:
    """A model that is not started yet; it does not pause between starts."""
    patient: Limits = {
        "start_timeout": LIMIT,
        "batch_timeout": LIMIT,
        "pause": lambda _: 0.0,
        **limits,
    }
    model = RemoteModel(argv, **patient)
    try:
        yield model
    finally:
        await model.stop()


@asynccontextmanager
async def started(
    process: Callable[[], None], *arguments: str, **limits: Unpack[Limits]
) -> AsyncIterator[RemoteModel]:
    async with model_of(processes.argv(process, *arguments), **limits) as model:
        assert await model.start() == processes.INFO
        yield model


async def rows(model: RemoteModel, faces: Sequence[FaceImage]) -> Scores:
    return np.array((await model.scores(faces)).results, dtype=np.float32)


def failed_starts(log: Sequence[EventDict]) -> list[EventDict]:
    return [line for line in log if line["event"] == "model process did not start"]


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
    async with model_of(["/no/such/program"]) as model:
        with pytest.raises(WorkerLost, match="could not be made"):
            await model.start()


async def test_a_process_that_never_gets_ready_times_out() -> None:
    with pytest.raises(WorkerLost, match=r"did not answer within 0\.2 s"):
        async with started(processes.never_gets_ready, start_timeout=0.2):
            pass


async def test_a_process_started_later_answers_once_it_is_ready() -> None:
    async with model_of(processes.argv(processes.sound)) as model:
        model.start_later()
        assert not model.up
        with pytest.raises(WorkerLost):
            await model.scores(GOOD)
        await model.ready()
        assert np.array_equal((await rows(model, GOOD)), scores_of(GOOD))


async def test_a_process_that_keeps_failing_to_start_is_unhealthy() -> None:
    async with model_of(processes.argv(processes.refuses)) as model:
        model.start_later()
        await until(lambda: not model.healthy)
        assert not model.up


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
    async with started(processes.leaks, memory=3500) as model:
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


async def test_a_memory_limit_below_the_models_need_causes_no_restart() -> None:
    async with started(processes.grows_once, "1000", memory=1) as model:
        await model.scores(GOOD)
        await settle()
        assert model.restarts == 0


@pytest.mark.parametrize(("grown", "restarts"), [(1250, 0), (1251, 1)])
async def test_a_low_memory_limit_still_allows_growth_by_a_quarter(
    grown: int, restarts: int
) -> None:
    async with started(processes.grows_once, str(grown), memory=1100) as model:
        await model.scores(GOOD)
        await settle()
        assert model.restarts == restarts


@pytest.mark.parametrize("lost", [True, False])
async def test_the_last_batch_of_a_replaced_process_does_not_affect_its_successor(
    tmp_path: Path, lost: bool
) -> None:
    gate = tmp_path / "gate"
    async with started(processes.leaks_behind_the_gate, str(gate), memory=1500) as model:
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


async def test_an_unexpected_start_error_is_logged_and_the_start_is_retried() -> None:
    argv = ["a program\0"]  # no program can have that name
    with capture_logs() as log:
        async with model_of(argv) as model:
            model.start_later()
            await until(lambda: not model.healthy)
            argv[:] = processes.argv(processes.sound)
            await asyncio.wait_for(model.ready(), LIMIT)
            assert np.array_equal(await rows(model, GOOD), scores_of(GOOD))
    assert len(failed_starts(log)) >= FAILED_STARTS
    assert all(line["exc_info"] for line in failed_starts(log))


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
    ("process", "limits", "why"),
    [
        (processes.dies, {}, "ended unexpectedly"),
        (processes.hangs, {"batch_timeout": 0.2}, "did not answer within 0.2 s"),
        (processes.sends_garbage, {}, "is no message"),
    ],
)
async def test_a_process_that_dies_hangs_or_sends_garbage_is_replaced(
    process: Callable[[], None], limits: Limits, why: str
) -> None:
    async with started(process, **limits) as model:
        with pytest.raises(WorkerLost):
            await model.scores(BAD)
        assert not model.up
        with pytest.raises(WorkerLost, match="being restarted"):
            await model.scores(GOOD)
        with capture_logs() as log:
            await asyncio.wait_for(model.ready(), LIMIT)
        assert [why in line["why"] for line in log if "why" in line] == [True]
        assert model.restarts == 1


async def test_the_log_says_that_a_process_hung_also_if_a_second_batch_was_sent() -> None:
    async with started(processes.hangs, batch_timeout=0.2) as model:
        with capture_logs() as log:
            asked = [model.scores(BAD), model.scores(GOOD)]
            lost = await asyncio.gather(*asked, return_exceptions=True)
            await asyncio.wait_for(model.ready(), LIMIT)
    assert [type(each) for each in lost] == [WorkerLost, WorkerLost]
    assert ["did not answer" in line["why"] for line in log if "why" in line] == [True]


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
    async with started(processes.gated, str(gate)) as model:
        with shut(gate):
            given_up = asyncio.create_task(model.scores(GOOD))
            await until((tmp_path / "gate.log").exists)
            given_up.cancel()
            await asyncio.wait([given_up])
        with pytest.raises(WorkerLost):
            await model.scores([face(7)])
        await asyncio.wait_for(model.ready(), LIMIT)
        assert np.array_equal(await rows(model, [face(7)]), scores_of([face(7)]))


async def test_stopping_cancels_a_start_in_progress() -> None:
    async with model_of(processes.argv(processes.never_gets_ready), start_timeout=2 * LIMIT) as it:
        starting = asyncio.create_task(it.start())
        await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT):
        await asyncio.wait([starting])
    assert starting.cancelled()


async def test_a_process_stopped_right_after_its_start_is_not_restarted() -> None:
    async with model_of(processes.argv(processes.sound)) as model:
        starting = asyncio.create_task(model.start())
        await until(lambda: model.up)
        assert not starting.done()
    await asyncio.wait([starting])
    await settle()
    assert model.restarts == 0


async def test_a_model_stays_healthy_if_its_overgrown_process_cannot_be_replaced(
    tmp_path: Path,
) -> None:
    place = str(tmp_path / "started")
    with capture_logs() as log:
        async with started(processes.leaks_and_starts_only_once, place, memory=1500) as model:
            await model.scores(GOOD)
            await until(lambda: len(failed_starts(log)) >= FAILED_STARTS)
            assert (await rows(model, GOOD)).shape == (3, 6)
            assert model.healthy


async def test_a_replacement_is_supervised_while_its_predecessor_is_still_ending() -> None:
    async with started(processes.leaks_and_stays, memory=3500) as model:
        first = model.pid
        while model.pid == first:
            await model.scores(GOOD)
        second = model.pid
        assert second is not None
        os.kill(second, signal.SIGKILL)
        await until(lambda: model.pid != second)
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
    async with model_of(("sh", "-c", script), clock=lambda: now[0]) as model:
        await model.start()
        for _ in range(FAILED_STARTS):  # each time two starts fail, and the third succeeds
            await settle()
            now[0] += SETTLED
            with pytest.raises(WorkerLost):
                await model.scores(BAD)
            await until(lambda: model.up or not model.healthy)
            assert model.up


async def test_pauses_grow_while_a_process_ends_soon_after_its_start() -> None:
    failed_starts: list[int] = []
    now = [0.0]

    def pause(failed: int) -> float:
        failed_starts.append(failed)
        return 0.0

    async with started(processes.dies, pause=pause, clock=lambda: now[0]) as model:
        for seconds in (0.0, SETTLED - 1, SETTLED, 0.0):
            await settle()
            now[0] += seconds
            with pytest.raises(WorkerLost):
                await model.scores(BAD)
            await model.ready()
    assert failed_starts == [1, 2, 0, 1]
