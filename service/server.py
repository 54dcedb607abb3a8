"""The uvicorn server, which drains before it ends, and a second one for probes and metrics."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from typing import TYPE_CHECKING

import structlog
import uvicorn

from service.api.app import create_app, create_ops_app
from service.api.connections import http_protocol, websocket_protocol
from service.api.state import Operated
from service.core import Core
from service.engine import Engine
from service.listeners import drop_new_connections
from service.settings import Settings
from service.signals import drain_on_signals
from service.tracer import UNTRACED

if TYPE_CHECKING:
    from service.traces import Traces

log = structlog.get_logger(__name__)

ACCEPT_GRACE = 0.25
"""Seconds after the drain delay in which connections made just before are still accepted."""

CUTOFF_LEAD = 5.0
"""Seconds, or half of the drain timeout if that is less, between the cutoff of work that still runs
and the end of draining: time to tell its clients."""


class _Server(uvicorn.Server):
    """A server that says when it accepts connections, and leaves signals to what runs it."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DrainingServer(_Server):
    """A server that drains on the first signal, and ends at once on the second.

    uvicorn alone would close its listeners on the first signal, before load balancers could know.

    Attributes:
        engine: what answers.
    """

    def __init__(
        self,
        engine: Engine,
        traces: "Traces | None" = None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen on nothing yet.

        Args:
            engine: what answers.
            traces: follows requests.
            started: called when connections are accepted.

        Raises:
            KeysUnusable: the file of API keys cannot be read.
        """
        settings = engine.settings

        @asynccontextmanager
        async def opened(_: Settings) -> AsyncIterator[Engine]:
            yield engine

        super().__init__(
            uvicorn.Config(
                create_app(settings, opened, traces),
                host=settings.host,
                port=settings.port,
                http=http_protocol(settings.client_timeout),
                timeout_keep_alive=settings.keep_alive,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                ws=websocket_protocol(settings.client_timeout),
                ws_max_size=2 * settings.max_live_bytes,  # a frame over the limit gets an answer
                ws_ping_interval=settings.ping_seconds,
                ws_ping_timeout=settings.ping_seconds,
                ws_per_message_deflate=False,  # pictures are compressed already
                access_log=False,
                proxy_headers=False,  # nothing asks where a request came from
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=ceil(settings.drain_timeout),
            ),
            started,
        )
        self.engine = engine
        self.servers = []  # uvicorn sets this when it listens, but a signal may come earlier

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End connections and the application.

        uvicorn alone would not end the application if forced to exit, but log it as an error.
        """
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    def drain_or_end(self, sign: signal.Signals) -> None:
        """Drain, or end at once if already draining."""
        if self.engine.draining:
            self.end()
            return
        self.engine.draining = True
        delay = self.engine.settings.drain_delay
        log.info("draining", signal=sign.name, delay=delay)
        asyncio.get_running_loop().call_later(delay, self.stop)

    def end(self) -> None:
        """End without waiting for accepted requests."""
        self.force_exit = self.should_exit = True

    def stop(self) -> None:
        """Accept no new connections, answer accepted requests, and end."""
        for server in self.servers:
            for listening in server.sockets:
                drop_new_connections(listening)
        self.engine.closing.set()  # before uvicorn closes WebSockets without telling why
        asyncio.get_running_loop().call_later(ACCEPT_GRACE, self._close)

    def _close(self) -> None:
        self.should_exit = True
        timeout = self.engine.settings.drain_timeout
        left = max(timeout - CUTOFF_LEAD, timeout / 2)
        asyncio.get_running_loop().call_later(left, self.engine.cutoff.reach)


@asynccontextmanager
async def operations(
    settings: Settings, operated: Operated, sockets: list[socket.socket]
) -> AsyncIterator[None]:
    """Serve the operations port for as long as the context, if there are sockets for it.

    Connections are accepted when the context begins.
    """
    if not sockets:
        yield
        return
    started = asyncio.Event()
    server = _Server(
        uvicorn.Config(
            create_ops_app(operated),
            http=http_protocol(settings.client_timeout),
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        ),
        started.set,
    )
    serving = asyncio.create_task(server.serve(sockets))
    listening = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([serving, listening], return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        listening.cancel()
        server.should_exit = True
        await serving


def freeze_gc() -> None:
    """Exempt everything loaded so far, which stays anyway, from garbage collection."""
    gc.collect()
    gc.freeze()


async def serve_alone(
    settings: Settings,
    core: Core,
    traces: "Traces | None",
    sockets: list[socket.socket],
    ops_sockets: list[socket.socket],
    started: Callable[[], None],
) -> None:
    """Serve on bound `sockets` in this process, over `core`, until a signal ends it.

    `started` is called when connections are accepted.

    Raises:
        ServiceError: a model or the keys cannot be read.
    """
    async with Engine.around(core, settings, traces or UNTRACED) as engine:
        server = DrainingServer(engine, traces, started)
        freeze_gc()
        async with operations(settings, engine, ops_sockets):
            drain_on_signals(server.drain_or_end)
            await server.serve(sockets)
