"""Several fronts over one core: the process that starts them, answers them and ends them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from socket import socket

import structlog

from service import backoff
from service.core import Core
from service.front_process import GRACE, FrontProcess
from service.listeners import listeners
from service.records import WorkerCommand
from service.session import Session
from service.settings import Settings
from service.wire import Message

log = structlog.get_logger(__name__)


class Supervisor:
    """The fronts and what they share. Made by `Supervisor.open`.

    Attributes:
        settings: of the whole service.
        info: the model in use.
        metrics: what is counted in this process.
        draining: whether requests are no longer welcome, though still answered.
    """

    def __init__(self, settings: Settings, core: Core, sockets: list[list[socket]]) -> None:
        self.settings = settings
        self.info = core.info
        self.metrics = core.metrics
        self.draining = False
        self._core = core
        self._sockets = sockets
        own = settings.of_one_front().model_dump(mode="json")
        configuration = Message({"settings": own, "info": asdict(core.info)})
        self._fronts = [
            FrontProcess(
                theirs,
                configuration,
                self._session,
                self.metrics.front_lost,
                settings.start_timeout,
            )
            for theirs in sockets
        ]
        self._keeping = [asyncio.create_task(front.keep()) for front in self._fronts]

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, command: WorkerCommand) -> AsyncIterator["Supervisor"]:
        """Start the model processes, then the fronts, and end all of them at the end.

        Args:
            settings: what to serve, and how.
            command: makes the command line of a model process.

        Raises:
            ServiceError: the model or the address cannot be had, or a front could not start.
        """
        with listeners(settings.host, settings.port, settings.fronts) as sockets:
            async with Core.open(settings, command) as core:
                supervisor = cls(settings, core, sockets)
                try:
                    await supervisor._start()
                    yield supervisor
                finally:
                    supervisor.end()
                    await asyncio.gather(*supervisor._keeping, return_exceptions=True)

    async def ready(self) -> bool:
        """Whether requests are welcome: warmed, a front up and not draining."""
        up = any(front.up for front in self._fronts)
        return up and not self.draining and await self._core.up()

    async def healthy(self) -> bool:
        """False once a process could not be restarted: only a new start can help."""
        failed = max(front.failed_starts for front in self._fronts)
        return failed < backoff.FAILED_STARTS and await self._core.healthy()

    async def render_metrics(self) -> bytes:
        """All metrics of all processes in Prometheus' text format."""
        return self.metrics.text(await asyncio.gather(*(front.samples() for front in self._fronts)))

    async def serve(self) -> None:
        """Until the fronts have ended: the first signal has them drain, the second ends them."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self.drain_or_end, sign)
        done, _ = await asyncio.wait(self._keeping, return_when=asyncio.FIRST_EXCEPTION)
        for ended in done:
            if not ended.cancelled():
                ended.result()

    def drain_or_end(self, sign: signal.Signals) -> None:
        """Drain; end at once if it drains already."""
        if self.draining:
            self.end()
            return
        self.draining = True
        log.info("draining", signal=sign.name, delay=self.settings.drain_delay)
        for front in self._fronts:
            front.drain()
        asyncio.get_running_loop().call_later(self.settings.drain_delay, self._stop)

    def end(self) -> None:
        """End the fronts at once."""
        for task in self._keeping:
            task.cancel()

    def _stop(self) -> None:
        for theirs in self._sockets:
            for each in theirs:
                each.close()  # or connections would still be taken, and nobody answer them
        for front in self._fronts:
            front.stop()
        limit = self.settings.drain_timeout + GRACE
        asyncio.get_running_loop().call_later(limit, self.end)

    async def _start(self) -> None:
        """Wait until all fronts serve; fail with the first that cannot."""
        for front, keeping in zip(self._fronts, self._keeping, strict=True):
            served = asyncio.create_task(front.served())
            await asyncio.wait([served, keeping], return_when=asyncio.FIRST_COMPLETED)
            served.cancel()
            if keeping.done():
                keeping.result()

    def _session(self) -> Session:
        return Session(self._core, self.healthy, self.render_metrics)
