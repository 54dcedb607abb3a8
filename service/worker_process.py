"""One model process, from its start to its end."""

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
    """A process that answers in the order in which it is asked.

    Attributes:
        info: the model that it serves.
        memory: bytes it occupied when it was ready.
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
            StoreError: the model cannot be had; the message says why.
            WorkerLost: the process could not be made, ended, or was not ready within so many
                seconds.
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
            await _end(process)
            if isinstance(error, KeyError | TypeError):
                raise WorkerLost("the model process is of another version: restart all") from error
            if isinstance(error, ModelFailure) and not isinstance(error, WorkerLost):
                raise StoreError(str(error)) from error
            raise
        return cls(process, info, message.header.get("memory", 0))

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended, negative by a signal; None while it lives."""
        return self._process.returncode

    async def ask(self, request: Message, seconds: float) -> Message:
        """Its answer; one request may be sent before the one before it was answered.

        Raises:
            OutOfMemory: the batch is too large.
            ModelFailure: the model could not answer.
            WorkerLost: the process died, or did not answer in time and was ended.
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

    async def ended(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def retire(self, seconds: float) -> None:
        """Let it answer what it was asked, and end; end it after so many seconds."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        finally:
            await self.end()

    async def end(self) -> None:
        """End it at once."""
        await _end(self._process)


async def _receive(process: Process, seconds: float) -> Message:
    """The process's next message; it is ended if none comes in time, or something else."""
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


async def _end(process: Process) -> None:
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
