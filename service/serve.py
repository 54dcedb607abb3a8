"""Running the service: one server with its models, or several fronts under a supervisor.

The HTTP modules take long to import, so that happens while the model processes start.
"""

import asyncio
import resource
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
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
from service.signals import end_on_sigterm
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
        command: returns the command line of a model process.

    Raises:
        ServiceError: the service cannot start; the message says why.
    """
    check_certificate(settings)
    check_storage(settings)
    logs.configure(settings)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run((_serve if settings.fronts == 1 else _serve_with_fronts)(settings, command))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


def raise_descriptor_limit() -> None:
    """Allow as many open files as the system does: every connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports a limit that it does not accept
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_certificate(settings: Settings) -> None:
    """Load the TLS certificate, if one is set.

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


def check_storage(settings: Settings) -> None:
    """Check that the model store has the model, and that videos can be stored.

    Raises:
        StoreError: there is no such model.
        ServiceError: no file can be created.
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
    """The sockets of the operations port; none if no port is set.

    Raises:
        ServiceError: the address cannot be used.
    """
    if settings.ops_port is None:
        yield []
        return
    with listeners(settings.host, settings.ops_port, 1) as (sockets,):
        yield sockets


@contextmanager
def tracing(settings: Settings) -> "Iterator[Traces | None]":
    """The traces, if they are enabled.

    Raises:
        TracesUnusable: the extra or an exporter is not installed.
    """
    if not settings.traces:
        yield None
        return
    try:
        from service.traces import exporting  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise TracesUnusable("traces need: pip install 'gimefive[traces]'") from error
    with exporting(trace_exporters()) as traces:
        yield traces


async def _serve(settings: Settings, command: WorkerCommand) -> None:
    end_on_sigterm()
    loading = asyncio.create_task(asyncio.to_thread(_import_server))
    with (
        tracing(settings) as traces,
        listeners(settings.host, settings.port, 1) as (sockets,),
        operations_sockets(settings) as ops_sockets,
    ):
        async with Core.open(settings, command, traces or UNTRACED) as core:
            await loading
            from service.server import serve_alone  # noqa: PLC0415  # imported by now

            started = partial(_log_ready, settings, core.info, sockets, ops_sockets)
            await serve_alone(settings, core, traces, sockets, ops_sockets, started)
    log.info("ended")


async def _serve_with_fronts(settings: Settings, command: WorkerCommand) -> None:
    end_on_sigterm()
    loading = asyncio.create_task(asyncio.to_thread(_import_server))
    with (
        listeners(settings.host, settings.port, settings.fronts) as sockets,
        operations_sockets(settings) as ops_sockets,
    ):
        async with Supervisor.open(settings, command, sockets) as supervisor:
            await loading
            from service.server import freeze_gc, operations  # noqa: PLC0415  # imported by now

            freeze_gc()
            async with operations(settings, supervisor, ops_sockets):
                if not supervisor.draining:
                    _log_ready(settings, supervisor.info, sockets[0], ops_sockets)
                await supervisor.serve()
    log.info("ended")


def _import_server() -> None:
    """Import the HTTP modules."""
    import service.server  # noqa: F401, PLC0415  # while the model processes start


def _log_ready(
    settings: Settings,
    info: ModelInfo,
    sockets: Sequence[socket.socket],
    ops_sockets: Sequence[socket.socket],
) -> None:
    """Log what is served, and where; the system chooses a port that is set to 0."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host  # RFC 3986, IPv6
    log.info(
        "ready",
        model=f"{info.name} {info.version}",
        precision=info.precision,
        device=info.device,
        why=info.reason,
        fronts=settings.fronts,
        url=f"{'https' if settings.tls_cert else 'http'}://{host}:{_port(sockets)}",
        ops_port=_port(ops_sockets),
    )


def _port(sockets: Sequence[socket.socket]) -> int | None:
    return sockets[0].getsockname()[1] if sockets else None
