"""Running the service: one uvicorn server that drains before it ends."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import structlog
import uvicorn
import uvloop

from service import logs
from service.api.app import create_app
from service.engine import Engine
from service.settings import Settings

log = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """A server whose first signal turns readiness off, and whose second ends it at once.

    uvicorn itself closes its listeners with the first signal, before any load balancer could know.
    """

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings

        @asynccontextmanager
        async def opened(_: Settings) -> AsyncIterator[Engine]:
            yield engine

        super().__init__(
            uvicorn.Config(
                create_app(settings, opened),
                host=settings.host,
                port=settings.port,
                http="httptools",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=round(settings.drain_timeout),
            )
        )
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a signal handler's signature
        """Drain; end at once if it drains already."""
        if self._engine.draining:
            self.force_exit = self.should_exit = True
            return
        self._engine.draining = True
        delay = self._engine.settings.drain_delay
        log.info("draining", signal=signal.Signals(sig).name, delay=delay)
        asyncio.get_running_loop().call_later(delay, self._stop_accepting)

    def _stop_accepting(self) -> None:
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        StoreError: the model cannot be had; nothing was served.
    """
    logs.configure(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with Engine.open(settings) as engine:
        log.info(
            "ready",
            model=f"{engine.info.name} {engine.info.version}",
            precision=engine.info.precision,
            device=engine.info.device,
            why=engine.info.reason,
            url=f"http://{settings.host}:{settings.port}",
        )
        await DrainingServer(engine).serve()
    log.info("ended")
