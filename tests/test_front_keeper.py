"""The keeper of fronts that fail to start, hang or die; `test_fronts` tests the fronts."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from service import front_keeper
from service.backoff import FAILED_STARTS, SETTLED
from service.core import Core
from service.errors import ServiceError
from service.front_keeper import FrontKeeper
from service.listeners import listeners
from service.session import Session
from service.settings import Settings
from tests import processes
from tests.processes import shut
from tests.quiet_front import COUNTED
from tests.waiting import LIMIT, until

pytestmark = pytest.mark.anyio


def no_session() -> Session:
    pytest.fail("no front asks")


def none_lost() -> None:
    pytest.fail("none was there to be lost")


async def test_a_first_front_that_cannot_be_spawned_fails_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = FrontKeeper([], {}, no_session, none_lost, start_timeout=LIMIT)
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    with pytest.raises(ServiceError, match="could not be made"):
        await front.keep()


def the_front() -> int:
    """The process id of the only front of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    (front,) = (pid for pid, command in commands.items() if b"service.front" in command)
    return front


async def nothing() -> bytes:
    return b""


async def test_a_hanging_front_is_killed_and_replaced() -> None:
    settings, lost = Settings(workers=1), asyncio.Event()
    with listeners("127.0.0.1", 0, 1) as sockets:
        async with Core.open(settings, lambda _: processes.argv(processes.sound)) as core:
            configuration = {
                "settings": settings.model_dump(mode="json"),
                "info": asdict(core.info),
            }
            front = FrontKeeper(
                sockets[0],
                configuration,
                lambda: Session(core, core.healthy, nothing),
                lost.set,
                start_timeout=LIMIT,
                hung=0.5,
                grace=0,
            )
            keeping = asyncio.create_task(front.keep())
            await front.served()
            first = the_front()

            def gone() -> bool:
                with suppress(ProcessLookupError):
                    os.kill(first, signal.SIGSTOP)  # again and again: `tests.stall` continues it
                return lost.is_set()

            await until(gone)
            await until(lambda: front.up or keeping.done())
            assert the_front() != first
            front.stop()
            await keeping


@pytest.fixture
def hanging_program(tmp_path: Path) -> str:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    return str(program)


async def test_a_first_front_that_does_not_get_ready_in_time_fails_the_start(
    monkeypatch: pytest.MonkeyPatch, hanging_program: str
) -> None:
    async with Core.open(Settings(workers=1), lambda _: processes.argv(processes.sound)) as core:
        monkeypatch.setattr(sys, "executable", hanging_program)
        front = FrontKeeper(
            [],
            {},
            lambda: Session(core, core.healthy, nothing),
            none_lost,
            start_timeout=0.1,
            grace=0,
        )
        with pytest.raises(ServiceError, match="before it served"):
            await asyncio.wait_for(front.keep(), LIMIT)


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def test_cancelling_a_start_at_any_step_leaves_no_process_behind(
    monkeypatch: pytest.MonkeyPatch, hanging_program: str
) -> None:
    async with Core.open(Settings(workers=1), lambda _: processes.argv(processes.sound)) as core:
        monkeypatch.setattr(sys, "executable", hanging_program)
        others = children()
        for turns in range(10):
            front = FrontKeeper(
                [],
                {},
                lambda: Session(core, core.healthy, nothing),
                none_lost,
                start_timeout=LIMIT,
            )
            keeping = asyncio.create_task(front.keep())
            await until(lambda: children() != others)
            for _ in range(turns):
                await asyncio.sleep(0)
            keeping.cancel()
            await asyncio.wait([keeping])
            assert children() == others


@dataclass
class QuietFronts:
    """The keeper of quiet fronts, what they logged, and after how many failed starts it paused."""

    front: FrontKeeper
    folder: Path
    lost: asyncio.Event
    now: list[float]
    failed_starts: list[int]

    @property
    def notes(self) -> list[str]:
        """The lines that the fronts logged: their process ids, and what they were told."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    async def lose(self) -> None:
        """Wait until the front is up, kill it, and wait until the keeper has noticed."""
        await until(lambda: self.front.up)
        (*_, pid) = filter(str.isdecimal, self.notes)
        self.lost.clear()
        os.kill(int(pid), signal.SIGKILL)
        await self.lost.wait()

    async def counted(self) -> float:
        """The sum of the counters that the keeper reports."""
        return sum(value for *_, value in await self.front.samples())


@pytest.fixture
def hung() -> float:
    return front_keeper.HUNG


@pytest.fixture
async def quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hung: float
) -> AsyncIterator[QuietFronts]:
    """Fronts, not started yet, each of which takes the only place for a video."""
    monkeypatch.setattr(front_keeper, "SAMPLES_TIMEOUT", 60)
    settings, lost = Settings(workers=1, max_videos=1), asyncio.Event()
    argv, python = processes.argv(processes.sound), sys.executable
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec {python} -m tests.quiet_front {tmp_path}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    sessions: list[Session] = []  # kept, so that garbage collection frees none of their places
    async with Core.open(settings, lambda _: argv) as core:

        def session() -> Session:
            sessions.append(Session(core, core.healthy, nothing))
            return sessions[-1]

        now = [0.0]
        failed_starts: list[int] = []

        def pause(failed: int) -> float:
            failed_starts.append(failed)
            return 0.0

        front = FrontKeeper([], {}, session, lost.set, LIMIT, pause, lambda: now[0], hung)
        yield QuietFronts(front, tmp_path, lost, now, failed_starts)


async def test_metrics_of_a_lost_front_are_kept_in_the_totals(quiet: QuietFronts) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    await quiet.front.served()
    assert await quiet.counted() == COUNTED
    await quiet.lose()
    assert await quiet.counted() == COUNTED
    await until(lambda: quiet.front.up)
    assert await quiet.counted() == 2 * COUNTED
    quiet.front.stop()
    await keeping


@pytest.mark.parametrize("hung", [2.0])
async def test_what_a_lost_front_counted_until_its_last_health_check_is_kept(
    quiet: QuietFronts,
) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    await until(lambda: quiet.notes[-2:] == ["samples"] * 2)  # the first check has its answer
    await quiet.lose()
    assert await quiet.counted() >= COUNTED
    quiet.front.stop()
    await keeping


async def test_places_held_by_a_lost_front_are_freed_for_its_replacement(
    quiet: QuietFronts,
) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    await quiet.lose()
    await until(lambda: quiet.front.up or quiet.front.failed_starts > 1)
    assert quiet.front.up
    quiet.front.stop()
    await keeping


async def test_a_front_that_starts_late_is_told_to_drain_and_to_stop(quiet: QuietFronts) -> None:
    with shut(quiet.folder / "gate"):
        keeping = asyncio.create_task(quiet.front.keep())
        await until(lambda: quiet.notes)
        quiet.front.drain()
        quiet.front.stop()
    await asyncio.wait_for(keeping, LIMIT)
    assert quiet.notes[1:] == ["drain", "stop"]


async def test_a_first_front_that_dies_during_a_drain_is_replaced(quiet: QuietFronts) -> None:
    """Failing the start would end the other fronts, with the requests that they have."""
    with shut(quiet.folder / "gate"):
        keeping = asyncio.create_task(quiet.front.keep())
        await until(lambda: quiet.notes)
        quiet.front.drain()
        os.kill(int(quiet.notes[0]), signal.SIGKILL)
        await until(lambda: len(quiet.notes) > 1 or keeping.done())
        quiet.front.stop()
    await keeping


async def test_a_replacement_started_during_a_drain_is_told_to_drain(quiet: QuietFronts) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    await quiet.front.served()
    quiet.front.drain()
    await until(lambda: "drain" in quiet.notes)
    await quiet.lose()
    await until(lambda: quiet.notes.count("drain") == 2)
    quiet.front.stop()
    await keeping


@pytest.mark.parametrize("made", [True, False])
async def test_failed_replacements_are_counted_until_one_starts(
    quiet: QuietFronts, made: bool
) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    await quiet.front.served()
    program, broken = quiet.folder / "python", quiet.folder / "broken"
    if made:
        broken.touch()
    else:
        program.rename(broken)
    await quiet.lose()
    assert not quiet.front.up
    assert quiet.front.healthy  # so far
    await until(lambda: quiet.front.failed_starts >= FAILED_STARTS)
    assert not quiet.front.up
    assert not quiet.front.healthy
    if made:
        broken.unlink()
    else:
        broken.rename(program)
    await until(lambda: quiet.front.up)
    assert quiet.front.healthy
    quiet.front.stop()
    await keeping


async def test_pauses_grow_while_fronts_end_soon_after_their_start(quiet: QuietFronts) -> None:
    keeping = asyncio.create_task(quiet.front.keep())
    for served in (0.0, SETTLED - 1, SETTLED, 0.0):
        await until(lambda: quiet.front.up)
        quiet.now[0] += served
        await quiet.lose()
    assert quiet.failed_starts == [1, 2, 0, 1]
    quiet.front.stop()
    await keeping
