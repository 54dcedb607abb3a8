"""Running the service: one server with its models, or several fronts below a supervisor.

What speaks HTTP takes long to import, so that is done while the model processes start.
"""

import asyncio
import resource
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog
import uvloop

from service import logs
from service.core import Core
from service.errors import ServiceError, TracesUnusable
from service.listeners import listeners
from service.records import ModelInfo, WorkerCommand
from service.remote import worker_argv
from service.settings import Settings, trace_exporters
from service.store import ModelStore
from service.supervisor import Supervisor
from service.tracer import UNTRACED

if TYPE_CHECKING:
    from service.traces import Traces

log = structlog.get_logger(__name__)


def serve(settings: Settings, command: WorkerCommand = worker_argv) -> None:
    """Serve until a signal ends it.

    Args:
        settings: what to serve, and how.
        command: makes the command line of a model process.

    Raises:
        ServiceError: the model or the address cannot be had, or traces are wanted and cannot be
            had; nothing was served.
    """
    check_certificate(settings)
    check_folders(settings)
    logs.configure(settings)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run((_serve if settings.fronts == 1 else _serve_together)(settings, command))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


def end_on_sigterm() -> None:
    """Have SIGTERM cancel the running task, which ends all that it has started.

    As the first process of a container nothing else would end this one.
    """
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def raise_descriptor_limit() -> None:
    """Allow as many open files as may be: every connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names a limit that it does not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_certificate(settings: Settings) -> None:
    """Load what TLS needs, if that is wanted.

    Raises:
        ServiceError: it cannot be used.
    """
    if settings.tls_cert is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except OSError as error:
        raise ServiceError(f"{settings.tls_cert} and its key cannot be used: {error}") from error


def check_folders(settings: Settings) -> None:
    """Read the card of the model, and make a file where videos lie.

    Raises:
        StoreError: there is no such model.
        ServiceError: no file can be made.
    """
    ModelStore(settings.model_store).gimefive(settings.model_version)
    try:
        tempfile.TemporaryFile(dir=settings.temp_dir).close()
    except OSError as error:
        folder = settings.temp_dir or "the temporary folder"
        raise ServiceError(
            f"videos cannot be kept in {folder} ({error.strerror}): set GIMEFIVE_TEMP_DIR"
        ) from error


@contextmanager
def operations_sockets(settings: Settings) -> Iterator[list[socket.socket]]:
    """Those of the operations port; none if none is set.

    Raises:
        ServiceError: the address cannot be had.
    """
    if settings.ops_port is None:
        yield []
        return
    with listeners(settings.host, settings.ops_port, 1) as (sockets,):
        yield sockets


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


async def _serve(settings: Settings, command: WorkerCommand) -> None:
    end_on_sigterm()
    loading = asyncio.create_task(asyncio.to_thread(_load))
    with (
        tracing(settings) as traces,
        listeners(settings.host, settings.port, 1) as (sockets,),
        operations_sockets(settings) as ops_sockets,
    ):
        async with Core.open(settings, command, traces or UNTRACED) as core:
            await loading
            from service.server import serve_alone  # noqa: PLC0415  # by now it is loaded

            _log_ready(settings, core.info)
            await serve_alone(settings, core, traces, sockets, ops_sockets)
    log.info("ended")


async def _serve_together(settings: Settings, command: WorkerCommand) -> None:
    end_on_sigterm()
    loading = asyncio.create_task(asyncio.to_thread(_load))
    with operations_sockets(settings) as sockets:
        async with Supervisor.open(settings, command) as supervisor:
            await loading
            from service.server import freeze_gc, operations  # noqa: PLC0415  # by now it is loaded

            _log_ready(settings, supervisor.info)
            freeze_gc()
            async with operations(settings, supervisor, sockets):
                await supervisor.serve()
    log.info("ended")


def _load() -> None:
    """Import what speaks HTTP."""
    import service.server  # noqa: F401, PLC0415  # while the model processes start


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
