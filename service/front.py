"""A front process: ``python -m service.front SOCKETS``; its supervisor talks to it over stdin.

It ends when that connection does, so that no orphan is left even if the supervisor is killed.
`service.front_keeper.FrontKeeper` is the other side.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from service import logs, wire
from service.aggregation import samples_of
from service.engine import Engine
from service.errors import ServiceError
from service.records import ModelInfo
from service.remote_core import RemoteCore
from service.rpc import RpcConnection
from service.serve import tracing
from service.server import DrainingServer, freeze_gc
from service.settings import Settings
from service.tracer import UNTRACED
from service.wire import Message

if TYPE_CHECKING:
    from service.traces import Traces


class FrontServer(DrainingServer):
    """A server that obeys its supervisor."""

    def __init__(self, engine: Engine, supervisor: RpcConnection, traces: "Traces | None") -> None:
        super().__init__(engine, traces, partial(supervisor.notify, {"op": "started"}))

    async def handle(self, message: Message) -> Message:
        """Answer the supervisor."""
        match message.header["op"]:
            case "samples":
                return Message({"samples": samples_of(self.engine.metrics.registry)})
            case "drain":
                self.engine.draining = True
            case "stop":
                self.stop()
            case unknown:
                raise ServiceError(f"no operation {unknown!r}")
        return Message({})


async def _serve(sockets: list[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0))
    try:
        configuration = (await wire.receive(reader)).header
    except asyncio.IncompleteReadError:
        return  # the supervisor has already gone
    settings = Settings(**configuration["settings"])
    logs.configure(settings)

    async def handle(message: Message) -> Message:
        return await server.handle(message)  # the supervisor sends nothing before it has started

    connection = RpcConnection(reader, writer, handle)
    listening = asyncio.create_task(connection.run())
    async with AsyncExitStack() as stack:
        try:
            traces = stack.enter_context(tracing(settings))
            tracer = traces or UNTRACED
            core = RemoteCore(connection, settings, ModelInfo(**configuration["info"]), tracer)
            engine = await stack.enter_async_context(Engine.around(core, settings, tracer))
            server = FrontServer(engine, connection, traces)
        except ServiceError as error:
            await connection.call({"op": "failed", "words": str(error)})
            return
        freeze_gc()
        listening.add_done_callback(lambda _: server.end())
        await server.serve(sockets)


def main(numbers: Sequence[str]) -> None:
    """Serve on the sockets with these descriptors until the supervisor says stop, or is gone."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    uvloop.run(_serve([socket.socket(fileno=int(number)) for number in numbers]))


if __name__ == "__main__":
    main(sys.argv[1:])
