"""The process that starts several fronts, answers them from one core, and ends them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from socket import socket

import structlog

from service.core import Core
from service.front_keeper import GRACE, FrontKeeper
from service.records import WorkerCommand
from service.session import Session
from service.settings import Settings
from service.signals import drain_on_signals

log = structlog.get_logger(__name__)


class Supervisor:
    """The fronts and the core they share. Made by `Supervisor.open`.

    Attributes:
        settings: of the whole service.
        info: the model in use.
        metrics: what is counted in this process.
        draining: whether load balancers should send no more requests, though they are answered.
    """

    def __init__(self, settings: Settings, core: Core, sockets: list[list[socket]]) -> None:
        self.settings = settings
        self.info = core.info
        self.metrics = core.metrics
        self.draining = False
        self._core = core
        self._sockets = sockets
        own = settings.of_one_front().model_dump(mode="json")
        configuration = {"settings": own, "info": asdict(core.info)}
        self._fronts = [
            FrontKeeper(
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
    async def open(
        cls, settings: Settings, command: WorkerCommand, sockets: list[list[socket]]
    ) -> AsyncIterator["Supervisor"]:
        """Start the model processes, then the fronts; end all of them with the context.

        From the start of the fronts on, the first signal drains them, the second kills them.

        Args:
            settings: what to serve, and how.
            command: returns the command line of a model process.
            sockets: what each front listens on.

        Raises:
            ServiceError: the model cannot be had, or a front could not start.
        """
        async with Core.open(settings, command) as core:
            supervisor = cls(settings, core, sockets)
            drain_on_signals(supervisor.drain_or_end)
            try:
                await supervisor._start()
                yield supervisor
            finally:
                supervisor.end()
                await asyncio.gather(*supervisor._keeping, return_exceptions=True)

    async def ready(self) -> bool:
        """Whether to send requests: the model and a front are up, and nothing is draining."""
        up = any(front.up for front in self._fronts)
        return up and not self.draining and await self._core.up()

    async def healthy(self) -> bool:
        """False once a process cannot be restarted: only restarting the service can help."""
        return all(front.healthy for front in self._fronts) and await self._core.healthy()

    async def render_metrics(self) -> bytes:
        """All metrics of all processes in Prometheus' text format."""
        return self.metrics.text(await asyncio.gather(*(front.samples() for front in self._fronts)))

    async def serve(self) -> None:
        """Wait until the fronts have ended."""
        await asyncio.wait(self._keeping, return_when=asyncio.FIRST_EXCEPTION)
        self._check()

    def drain_or_end(self, sign: signal.Signals) -> None:
        """Drain, or end at once if already draining."""
        if self.draining:
            self.end()
            return
        self.draining = True
        log.info("draining", signal=sign.name, delay=self.settings.drain_delay)
        for front in self._fronts:
            front.drain()
        asyncio.get_running_loop().call_later(self.settings.drain_delay, self._stop)

    def end(self) -> None:
        """Kill the fronts."""
        for task in self._keeping:
            task.cancel()

    def _stop(self) -> None:
        for theirs in self._sockets:
            for each in theirs:
                each.close()  # the kernel would go on accepting connections, which nobody answers
        for front in self._fronts:
            front.stop()
        limit = self.settings.drain_timeout + GRACE
        asyncio.get_running_loop().call_later(limit, self._give_up, limit)

    def _give_up(self, seconds: float) -> None:
        """Kill the fronts that have not ended by now."""
        if late := sum(not task.done() for task in self._keeping):
            log.error("draining took too long", seconds=seconds, fronts=late)
        self.end()

    async def _start(self) -> None:
        """Wait until all fronts serve, or were ended; raise the error of the first that cannot."""
        for front, keeping in zip(self._fronts, self._keeping, strict=True):
            served = asyncio.create_task(front.served())
            await asyncio.wait([served, keeping], return_when=asyncio.FIRST_COMPLETED)
            served.cancel()
            self._check()

    def _check(self) -> None:
        """Raise the error of a front that could not start."""
        for keeping in self._keeping:
            if keeping.done() and not keeping.cancelled():
                keeping.result()

    def _session(self) -> Session:
        return Session(self._core, self.healthy, self.render_metrics)
