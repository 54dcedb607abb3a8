"""Running the service: a uvicorn server that drains before it ends, or several below a hub."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn
import uvloop

from service import logs
from service.api.app import create_app, create_ops_app
from service.api.connections import patient
from service.api.state import Operated
from service.engine import Engine
from service.errors import TracesUnusable
from service.hub import Hub
from service.records import ModelInfo, WorkerConfig
from service.remote import worker_argv
from service.settings import Settings, trace_exporters
from service.trail import UNTRACED

if TYPE_CHECKING:
    from service.traces import Traces

log = structlog.get_logger(__name__)

LAST_WORDS = 5.0
"""Seconds before the end of draining, at most, when what is still worked on ends and is told."""


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
                http=patient(settings.client_timeout),
                timeout_keep_alive=settings.keep_alive,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                ws="websockets-sansio",
                ws_max_size=settings.max_live_bytes,
                ws_ping_interval=settings.ping_seconds,
                ws_ping_timeout=settings.ping_seconds,
                ws_per_message_deflate=False,  # pictures are compressed already
                access_log=False,
                proxy_headers=False,  # nothing asks where a request came from
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=round(settings.drain_timeout),
            )
        )
        self.engine = engine

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
        """Accept nothing more, answer what was accepted, and end."""
        self.engine.closing.set()
        self.should_exit = True
        timeout = self.engine.settings.drain_timeout
        left = max(timeout - LAST_WORDS, timeout / 2)
        asyncio.get_running_loop().call_later(left, self.engine.curfew.come)


def serve(
    settings: Settings, command: Callable[[WorkerConfig], Sequence[str]] = worker_argv
) -> None:
    """Serve until a signal ends it.

    Args:
        settings: what to serve, and how.
        command: makes the command line of a model process.

    Raises:
        ServiceError: the model or the address cannot be had, or traces are wanted and cannot be
            had; nothing was served.
    """
    logs.configure(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run((_serve if settings.fronts == 1 else _serve_together)(settings, command))


class _OpsServer(uvicorn.Server):
    """Serves probes and metrics; signals are the other server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _operations(settings: Settings, operated: Operated) -> AsyncIterator[None]:
    """The operations port, if one is set, until the end of draining."""
    if settings.ops_port is None:
        yield
        return
    server = _OpsServer(
        uvicorn.Config(
            create_ops_app(operated),
            host=settings.host,
            port=settings.ops_port,
            http=patient(settings.client_timeout),
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@contextmanager
def tracing(settings: Settings) -> "Iterator[Traces | None]":
    """What follows requests, if that is wanted."""
    if not settings.traces:
        yield None
        return
    try:
        from service.traces import exporting  # noqa: PLC0415  # an extra, which costs a start's time
    except ImportError as error:
        raise TracesUnusable("traces need: pip install 'gimefive[traces]'") from error
    with exporting(trace_exporters()) as traces:
        yield traces


async def _serve(settings: Settings, command: Callable[[WorkerConfig], Sequence[str]]) -> None:
    with tracing(settings) as traces:
        async with Engine.open(settings, command, traces or UNTRACED) as engine:
            _log_ready(settings, engine.info)
            keep_loaded()
            async with _operations(settings, engine):
                await DrainingServer(engine, traces).serve()
    log.info("ended")


async def _serve_together(
    settings: Settings, command: Callable[[WorkerConfig], Sequence[str]]
) -> None:
    async with Hub.open(settings, command) as hub:
        _log_ready(settings, hub.info)
        keep_loaded()
        async with _operations(settings, hub):
            await hub.serve()
    log.info("ended")


def keep_loaded() -> None:
    """What is loaded now stays: no collection of garbage needs to look at it again."""
    gc.collect()
    gc.freeze()


def _log_ready(settings: Settings, info: ModelInfo) -> None:
    log.info(
        "ready",
        model=f"{info.name} {info.version}",
        precision=info.precision,
        device=info.device,
        why=info.reason,
        fronts=settings.fronts,
        url=f"{'https' if settings.tls_cert else 'http'}://{settings.host}:{settings.port}",
    )
