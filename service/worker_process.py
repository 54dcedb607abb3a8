"""One model process, from start to end."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from service import wire
from service.errors import ModelFailure, OutOfMemory, StoreError, WorkerLost
from service.records import ModelInfo
from service.settings import worker_environment
from service.wire import Message


class WorkerProcess:
    """A process that answers requests in the order in which they were sent.

    Attributes:
        info: the model that it serves.
        memory: bytes that it occupied when it was ready.
    """

    def __init__(self, process: Process, info: ModelInfo, memory: int) -> None:
        self.info = info
        self.memory = memory
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def launch(cls, argv: Sequence[str], seconds: float) -> Self:
        """Start a process and wait until its model is loaded and warm.

        Raises:
            StoreError: the model cannot be loaded; the message says why.
            WorkerLost: the process could not be created, ended, or was not ready in time.
        """
        # A session of its own: Ctrl-C in the terminal is for the front, which drains first.
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, env=worker_environment(), stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        except OSError as error:
            raise WorkerLost(f"the model process could not be made: {error}") from error
        try:
            message = await _receive(process, seconds)
            info = ModelInfo(**message.header["ready"])
        except BaseException as error:
            await _kill_and_wait(process)
            if isinstance(error, KeyError | TypeError):
                raise WorkerLost("the model process is of another version: restart all") from error
            if isinstance(error, ModelFailure) and not isinstance(error, WorkerLost):
                raise StoreError(str(error)) from error
            raise
        return cls(process, info, message.header.get("memory", 0))

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def ask(self, request: Message, seconds: float) -> Message:
        """Its answer to a request, which may be sent before the previous one is answered.

        Raises:
            OutOfMemory: the batch is too large.
            ModelFailure: the model could not answer.
            WorkerLost: the process died, or was killed since it did not answer in time.
        """
        if self._process.stdin is None or self._process.returncode is not None:
            raise WorkerLost("the model process is down; it is being restarted")
        self._process.stdin.write(request.pack())
        try:
            async with self._turn:
                return await _receive(self._process, seconds)
        except asyncio.CancelledError:  # its answer would be taken for the next one's
            _kill(self._process)
            raise

    async def wait(self) -> None:
        """Wait until it ends."""
        await self._process.wait()

    async def retire(self, seconds: float) -> None:
        """Let it answer what it was asked and end; kill it after so many seconds."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        await _kill_and_wait(self._process)


async def _receive(process: Process, seconds: float) -> Message:
    """The process's next message; if none comes in time, or no valid one, it is killed."""
    if process.stdout is None:
        raise WorkerLost("the model process has no output")
    try:
        async with asyncio.timeout(seconds):
            message = await wire.receive(process.stdout)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        _kill(process)
        raise WorkerLost(_lost(error, seconds)) from error
    if "error" in message.header:
        kind = OutOfMemory if message.header.get("memory_ran_out") else ModelFailure
        raise kind(message.header["error"])
    return message


async def _kill_and_wait(process: Process) -> None:
    _kill(process)
    await process.wait()


def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def _lost(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the model process did not answer within {seconds:g} s and was ended"
    if isinstance(error, ValueError):
        return "the model process answered something that is no message and was ended"
    return "the model process ended unexpectedly"
