"""Keeping a front process up: starting it, talking to it, and replacing it when it ends."""

import asyncio
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from service import backoff
from service.aggregation import Samples, merged
from service.errors import ServiceError
from service.rpc import RpcConnection
from service.session import Session

log = structlog.get_logger(__name__)

GRACE = 5
"""Seconds that a front may take to end once it has closed its connection."""

HUNG = 20
"""Seconds between health checks of a front, and how long one may take. Each asks for its counts, so
that no more are lost with it."""

SAMPLES_TIMEOUT = 1
"""Seconds that a front may take to report its counts; after that the last ones are used."""


class FrontKeeper:
    """Keeps one front up: if its process ends by itself or hangs, another replaces it.

    The sockets stay open here: connections that come meanwhile wait for the next process.

    Attributes:
        failed_starts: consecutive fronts that ended soon after their start.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        configuration: dict[str, Any],
        session: Callable[[], Session],
        lost: Callable[[], None],
        start_timeout: float,
        pause: Callable[[int], float] = backoff.pause,
        clock: Callable[[], float] = time.monotonic,
        hung: float = HUNG,
        grace: float = GRACE,
    ) -> None:
        """Start nothing yet.

        Args:
            sockets: what the front listens on.
            configuration: its settings, and the model in use; the first message it gets.
            session: makes what answers it.
            lost: called when a front ends by itself.
            start_timeout: longest that a front may take to start serving, in seconds.
            pause: seconds to wait before a start after so many that failed.
            clock: monotonic seconds.
            hung: as `HUNG`.
            grace: as `GRACE`.
        """
        self.failed_starts = 0
        self._sockets = sockets
        self._configuration = configuration
        self._session = session
        self._lost = lost
        self._start_timeout = start_timeout
        self._pause = pause
        self._clock = clock
        self._hung = hung
        self._grace = grace
        self._connection: RpcConnection | None = None
        self._served = asyncio.Event()
        self._draining = False
        self._ending = asyncio.Event()
        self._past: Samples = []
        self._latest: Samples = []

    @property
    def up(self) -> bool:
        """Whether a front accepts connections now."""
        return self._connection is not None

    @property
    def healthy(self) -> bool:
        """False once several starts in a row have failed."""
        return self.up or self.failed_starts < backoff.FAILED_STARTS

    async def served(self) -> None:
        """Wait until the first front accepts connections."""
        await self._served.wait()

    def drain(self) -> None:
        """Have the front report that it is not ready, though it still serves."""
        self._draining = True
        self._notify()

    def stop(self) -> None:
        """Have the front accept nothing more, answer what it has, and end; start no other."""
        self._ending.set()
        self._notify()

    async def samples(self) -> Samples:
        """What this front and those it replaced have counted; never decreases."""
        if self._connection:
            with suppress(ServiceError, TimeoutError):
                await self._update(self._connection, SAMPLES_TIMEOUT)
        return merged([self._past, self._latest])

    async def keep(self) -> None:
        """Keep a front up until `stop`.

        Raises:
            ServiceError: the first one could not start, though nothing was draining.
        """
        while not self._ending.is_set():
            await self._run_one()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(self.failed_starts)):
                    await self._ending.wait()

    async def _run_one(self) -> None:
        """One front, from its start to its end."""
        try:
            process, connection, session = await self._launch()
        except OSError as error:
            if not self._served.is_set():
                raise ServiceError(f"a front could not be made: {error}") from error
            self.failed_starts += 1
            log.error("front could not be made", error=str(error))
            return
        try:
            served = await self._attend(connection, session)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await process.wait()
        finally:
            await session.close()
            if process.returncode is None:
                process.kill()
            await process.wait()
        if self._ending.is_set():
            return
        if not (self._served.is_set() or self._draining):
            raise ServiceError(session.fault or "a front ended before it served: see its log")
        self.failed_starts = backoff.failed_starts(self.failed_starts, served)
        self._lost()
        log.error("front ended", pid=process.pid, status=process.returncode, why=session.fault)

    async def _launch(self) -> tuple[Process, RpcConnection, Session]:
        ours, theirs = socket.socketpair()
        numbers = [each.fileno() for each in self._sockets]
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "service.front", *map(str, numbers)),
                    stdin=theirs.fileno(),
                    pass_fds=numbers,
                    start_new_session=True,  # Ctrl-C is for the supervisor, which drains
                )
            except BaseException:
                writer.close()
                raise
        session = self._session()
        connection = RpcConnection(reader, writer, session.answer)
        connection.notify(self._configuration)
        return process, connection, session

    async def _attend(self, connection: RpcConnection, session: Session) -> float:
        """Answer a front until it has gone, or hangs; returns the seconds for which it served."""
        started = asyncio.create_task(session.started.wait())
        running = asyncio.create_task(connection.run())
        tasks = [started, running]
        try:
            await asyncio.wait(
                tasks, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if started.done():
                return await self._serve(connection, running)
            if not running.done():
                log.error("front does not start", seconds=self._start_timeout)
            return 0.0
        finally:
            self._connection = None
            self._past, self._latest = merged([self._past, self._latest]), []
            for task in tasks:
                task.cancel()
            connection.close()
            await asyncio.wait(tasks)  # or a call still being handled could outlive the session

    async def _serve(self, connection: RpcConnection, running: asyncio.Task[None]) -> float:
        """As `_attend`, once the front has started."""
        began = self._clock()
        self._connection = connection
        self._served.set()
        self._notify()
        log.info("front up")
        hanging = asyncio.create_task(self._hanging(connection))
        try:
            await asyncio.wait([running, hanging], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hanging.cancel()
        if not running.done():
            log.error("front hangs", seconds=self._hung)
        return self._clock() - began

    def _notify(self) -> None:
        if self._connection and self._draining:
            self._connection.notify({"op": "drain"})
        if self._connection and self._ending.is_set():
            self._connection.notify({"op": "stop"})

    async def _hanging(self, connection: RpcConnection) -> None:
        """Return once a front, whose health is checked again and again, does not answer in time."""
        with suppress(TimeoutError, ServiceError):
            while True:
                await asyncio.sleep(self._hung)
                await self._update(connection, self._hung)

    async def _update(self, connection: RpcConnection, seconds: float) -> None:
        """Ask a front for its counts, which it has to report within so many seconds."""
        async with asyncio.timeout(seconds):
            reply = await connection.call({"op": "samples"})
        self._latest = reply.header["samples"]
