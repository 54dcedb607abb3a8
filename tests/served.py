"""The production server in the test's own event loop, over a fake model."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.engine import Engine
from service.listeners import listeners
from service.server import DrainingServer
from service.settings import Settings
from service.tracer import UNTRACED
from service.traces import Traces
from tests import processes
from tests.waiting import until


@asynccontextmanager
async def served(
    model: tuple[str, ...] = processes.argv(processes.sound),
    traces: Traces | None = None,
    /,
    **changes: object,
) -> AsyncIterator[tuple[DrainingServer, str]]:
    """A server over a model process, and its URL; requests are traced with `traces`."""
    settings = Settings().with_changes(**{"workers": 1, **changes})
    with listeners("127.0.0.1", 0, 1) as (sockets,):
        port = sockets[0].getsockname()[1]
        async with Engine.open(settings, lambda _: model, traces or UNTRACED) as engine:
            server = DrainingServer(engine, traces)
            serving = asyncio.create_task(server.serve(sockets))
            await until(lambda: server.started or serving.done())
            try:
                yield server, f"http://127.0.0.1:{port}"
            finally:
                server.should_exit = True
                await serving


def open_files(folder: Path, process: int | str = "self") -> list[str]:
    """The open files of a process in a folder, unlinked ones included (Linux only)."""
    links = []
    for number in Path(f"/proc/{process}/fd").iterdir():
        try:
            links.append(str(number.readlink()))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return [link for link in links if link.startswith(f"{folder}{os.sep}")]
