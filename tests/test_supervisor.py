"""What probes are told about several fronts; `test_fronts` tests the fronts."""

import asyncio

import pytest

from service.backoff import FAILED_STARTS
from service.core import Core
from service.front_keeper import FrontKeeper
from service.settings import Settings
from service.supervisor import Supervisor
from tests import processes

pytestmark = pytest.mark.anyio


async def test_a_front_that_cannot_start_makes_it_unhealthy_and_draining_makes_it_unready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def keep(_: FrontKeeper) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FrontKeeper, "keep", keep)
    monkeypatch.setattr(FrontKeeper, "up", True)
    settings = Settings().with_changes(workers=1, fronts=2)
    async with Core.open(settings, lambda _: processes.argv(processes.sound)) as core:
        supervisor = Supervisor(settings, core, [[], []])
        assert await supervisor.healthy()
        assert await supervisor.ready()
        supervisor.draining = True
        assert not await supervisor.ready()
        assert await supervisor.healthy()
        monkeypatch.setattr(FrontKeeper, "up", False)
        assert await supervisor.healthy()
        supervisor._fronts[1].failed_starts = FAILED_STARTS
        assert not await supervisor.healthy()
        supervisor.end()
