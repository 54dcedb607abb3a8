"""A front process: ``python -m service.front SOCKETS``; its hub speaks to it over stdin.

It lives exactly as long as its hub: when the link ends it ends, so that no orphan is left even
where the hub was killed. `service.seat.Seat` is the other side.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import uvloop

from service import logs, wire
from service.distant import DistantCore
from service.engine import Engine
from service.errors import ServiceError
from service.link import Link
from service.records import ModelInfo
from service.serve import tracing
from service.server import DrainingServer, keep_loaded
from service.settings import Settings
from service.tallies import tally
from service.trail import UNTRACED
from service.wire import Message

if TYPE_CHECKING:
    from service.traces import Traces


class FrontServer(DrainingServer):
    """A server that does what its hub says; signals are the hub's."""

    def __init__(self, engine: Engine, link: Link, traces: "Traces | None") -> None:
        super().__init__(engine, traces)
        self._link = link

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and tell the hub."""
        await super().startup(sockets)
        self._link.tell({"op": "started"})

    async def obey(self, message: Message) -> Message:
        """Do what the hub says."""
        match message.header["op"]:
            case "tally":
                return Message({"tally": tally(self.engine.metrics.registry)})
            case "drain":
                self.engine.draining = True
            case "stop":
                self.stop()
        return Message({})


async def _serve(sockets: list[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0))
    try:
        welcome = (await wire.receive(reader)).header
    except asyncio.IncompleteReadError:
        return  # the hub has gone again
    settings = Settings(**welcome["settings"])
    logs.configure(settings)

    async def obey(message: Message) -> Message:
        return await server.obey(message)  # nothing is said before it has started

    link = Link(reader, writer, obey)
    listening = asyncio.create_task(link.run())
    async with AsyncExitStack() as stack:
        try:
            traces = stack.enter_context(tracing(settings))
            trail = traces or UNTRACED
            core = DistantCore(link, settings, ModelInfo(**welcome["info"]), trail)
            engine = await stack.enter_async_context(Engine.around(core, settings, trail))
            server = FrontServer(engine, link, traces)
        except ServiceError as error:
            await link.call({"op": "failed", "words": str(error)})
            return
        keep_loaded()
        listening.add_done_callback(lambda _: server.end())
        await server.serve(sockets)


def main(numbers: Sequence[str]) -> None:
    """Serve on the sockets with these numbers until the hub says otherwise, or is gone."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    uvloop.run(_serve([socket.socket(fileno=int(number)) for number in numbers]))


if __name__ == "__main__":
    main(sys.argv[1:])
