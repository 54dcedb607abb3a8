"""Fronts that cannot be made or hang, by their keeper; what they do stands in `test_fronts`."""

import asyncio
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from service.core import Core
from service.errors import ServiceError
from service.front_process import FrontProcess
from service.listeners import listeners
from service.session import Session
from service.settings import Settings
from service.wire import Message
from tests import processes
from tests.waiting import until

pytestmark = pytest.mark.anyio


def nobody() -> Session:
    pytest.fail("no front asks")


def lost_none() -> None:
    pytest.fail("none was there to be lost")


async def test_a_first_front_that_cannot_be_made_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = FrontProcess([], Message({}), nobody, lost_none, start_timeout=30)
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    with pytest.raises(ServiceError, match="could not be made"):
        await front.keep()


def the_front() -> int:
    """The process number of the only front of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    (front,) = (pid for pid, command in commands.items() if b"service.front" in command)
    return front


async def nothing() -> bytes:
    return b""


async def test_a_front_that_hangs_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.front_process.HUNG", 0.5)
    monkeypatch.setattr("service.front_process.GRACE", 0)
    settings, lost = Settings(workers=1), asyncio.Event()
    with listeners("127.0.0.1", 0, 1) as sockets:
        async with Core.open(settings, lambda _: processes.argv(processes.sound)) as core:
            configuration = {
                "settings": settings.model_dump(mode="json"),
                "info": asdict(core.info),
            }
            front = FrontProcess(
                sockets[0],
                Message(configuration),
                lambda: Session(core, core.healthy, nothing),
                lost.set,
                start_timeout=120,
            )
            keeping = asyncio.create_task(front.keep())
            await front.served()
            first = the_front()
            os.kill(first, signal.SIGSTOP)
            await lost.wait()
            await until(lambda: front.up or keeping.done())
            assert the_front() != first
            front.stop()
            await keeping


async def test_a_first_front_that_does_not_get_ready_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr("service.front_process.GRACE", 0)
    async with Core.open(Settings(workers=1), lambda _: processes.argv(processes.sound)) as core:
        monkeypatch.setattr(sys, "executable", str(program))
        front = FrontProcess(
            [],
            Message({}),
            lambda: Session(core, core.healthy, nothing),
            lost_none,
            start_timeout=0.1,
        )
        with pytest.raises(ServiceError, match="before it served"):
            await asyncio.wait_for(front.keep(), 30)
