"""The uvicorn server that drains before it ends, and the one for probes and metrics."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from types import FrameType
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
from service.tracer import UNTRACED

if TYPE_CHECKING:
    from service.traces import Traces

log = structlog.get_logger(__name__)

ACCEPT_GRACE = 0.25
"""Seconds after the drain delay for which clients that have just connected are still heard."""

CUTOFF_LEAD = 5.0
"""At most so many seconds before draining ends, work that still runs is ended, so that its clients
can be told."""


class DrainingServer(uvicorn.Server):
    """A server whose first signal turns readiness off, and whose second ends it at once.

    uvicorn itself closes its listeners with the first signal, before any load balancer could know.

    Attributes:
        engine: what answers.
    """

    def __init__(self, engine: Engine, traces: "Traces | None" = None) -> None:
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
                ws_max_size=2 * settings.max_live_bytes,  # what is over the limit can be told so
                ws_ping_interval=settings.ping_seconds,
                ws_ping_timeout=settings.ping_seconds,
                ws_per_message_deflate=False,  # pictures are compressed already
                access_log=False,
                proxy_headers=False,  # nothing asks where a request came from
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=ceil(settings.drain_timeout),
            )
        )
        self.engine = engine
        self.servers = []  # uvicorn has none before it listens, and a signal may come sooner

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a signal handler's signature
        """Drain; end at once if it drains already.

        The loop does it: here a line of the log may be half written, and its lock be held.
        """
        asyncio.get_running_loop().call_soon_threadsafe(self._drain_or_end, sig)

    def _drain_or_end(self, sig: int) -> None:
        if self.engine.draining:
            self.end()
            return
        self.engine.draining = True
        delay = self.engine.settings.drain_delay
        log.info("draining", signal=signal.Signals(sig).name, delay=delay)
        asyncio.get_running_loop().call_later(delay, self.stop)

    def end(self) -> None:
        """End without waiting for what was accepted."""
        self.force_exit = self.should_exit = True

    def stop(self) -> None:
        """Let nobody new in, answer what was accepted, and end."""
        for server in self.servers:
            for listening in server.sockets:
                drop_new_connections(listening)
        self.engine.closing.set()  # before uvicorn closes what is open, without a word
        asyncio.get_running_loop().call_later(ACCEPT_GRACE, self._close)

    def _close(self) -> None:
        self.should_exit = True
        timeout = self.engine.settings.drain_timeout
        left = max(timeout - CUTOFF_LEAD, timeout / 2)
        asyncio.get_running_loop().call_later(left, self.engine.cutoff.reach)


class _OpsServer(uvicorn.Server):
    """Serves probes and metrics; signals are the other server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def operations(
    settings: Settings, operated: Operated, sockets: list[socket.socket]
) -> AsyncIterator[None]:
    """The operations port until the end of draining, if there are sockets for it."""
    if not sockets:
        yield
        return
    server = _OpsServer(
        uvicorn.Config(
            create_ops_app(operated),
            http=http_protocol(settings.client_timeout),
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve(sockets))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def freeze_gc() -> None:
    """What is loaded now stays: no collection of garbage needs to look at it again."""
    gc.collect()
    gc.freeze()


async def serve_alone(
    settings: Settings,
    core: Core,
    traces: "Traces | None",
    sockets: list[socket.socket],
    ops_sockets: list[socket.socket],
) -> None:
    """Serve what `core` answers at bound `sockets`, in this process, until a signal ends it.

    Raises:
        ServiceError: a model or the keys cannot be had.
    """
    async with Engine.around(core, settings, traces or UNTRACED) as engine:
        server = DrainingServer(engine, traces)
        freeze_gc()
        async with operations(settings, engine, ops_sockets):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)  # it has its own
            await server.serve(sockets)
