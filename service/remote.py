"""The front's side of a model process: started, asked, watched and restarted. No torch here."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import structlog
from numpy.typing import NDArray

from service import codec, wire
from service.errors import ModelFailure, StoreError, WorkerLost
from service.explanation import Explanation, Question
from service.records import EMOTIONS, FaceImage, ModelInfo, Scored, WorkerConfig
from service.settings import worker_environment
from service.wire import Message

log = structlog.get_logger(__name__)

FAILED_STARTS = 3
"""Restarts that may fail in a row before the model counts as unsound."""

MAX_PAUSE = 30
"""Longest pause between restarts, in seconds."""


class RemoteModel:
    """A model in a process of its own, which answers one batch at a time.

    Once started it is kept up: when the process dies or is killed because it hung, another takes
    its place.
    """

    def __init__(
        self, argv: Sequence[str], *, start_timeout: float, batch_timeout: float = 30.0
    ) -> None:
        """Prepare, without starting.

        Args:
            argv: command line of the process.
            start_timeout: longest that loading and warming may take, in seconds.
            batch_timeout: longest that a batch may take before the process counts as hung.
        """
        self._argv = argv
        self._start_timeout = start_timeout
        self._batch_timeout = batch_timeout
        self._process: Process | None = None
        self._up = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._failed_starts = 0
        self.restarts = 0

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""
        return self._up.is_set()

    @property
    def pid(self) -> int | None:
        """The process's number, once there is one."""
        return self._process.pid if self._process else None

    @property
    def sound(self) -> bool:
        """False once it could not be restarted several times in a row."""
        return self._failed_starts < FAILED_STARTS

    async def ready(self) -> None:
        """Wait until it can be asked."""
        await self._up.wait()

    async def start(self) -> ModelInfo:
        """Start the process and wait until its model is loaded and warm.

        Raises:
            StoreError: the model cannot be had; the message says why.
            WorkerLost: the process ended or was too slow.
        """
        process, info = await self._launch()
        self._watch = asyncio.create_task(self._keep_up(process))
        return info

    async def scores(self, faces: NDArray[np.uint8]) -> Scored:
        """Score grey faces, uint8 ``[N, 64, 64]``.

        Raises:
            ModelFailure: the model could not answer for this batch.
            WorkerLost: the process died or hung; it is being replaced.
        """
        message = await self._ask(Message({"op": "scores"}, faces.tobytes()))
        scores = np.frombuffer(message.body, dtype=np.float32).reshape(-1, len(EMOTIONS))
        if len(scores) != len(faces):
            raise ModelFailure(f"the model answered {len(scores)} rows for {len(faces)} faces")
        return Scored(scores, message.header["seconds"])

    async def explain(
        self, faces: Sequence[FaceImage], questions: Sequence[Question]
    ) -> tuple[list[Explanation], float]:
        """Explain grey faces, each as its question asks; also the seconds spent in the model.

        Raises:
            ModelFailure: the model could not answer for this batch.
            WorkerLost: the process died or hung; it is being replaced.
        """
        message = await self._ask(codec.ask(faces, questions))
        return codec.answered(message, questions), message.header["seconds"]

    async def stop(self) -> None:
        """End the process; it cannot be asked afterwards."""
        self._up.clear()
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])  # it may be just starting a process
        if self._process:
            await _end(self._process)

    async def _launch(self) -> tuple[Process, ModelInfo]:
        # A session of its own: Ctrl-C in the terminal is for the front, which drains first.
        process = await asyncio.create_subprocess_exec(
            *self._argv, env=worker_environment(), stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        self._process = process
        try:
            message = await self._receive(process, self._start_timeout)
        except ModelFailure as error:
            await _end(process)
            if isinstance(error, WorkerLost):
                raise
            raise StoreError(str(error)) from error
        self._up.set()
        return process, ModelInfo(**message.header["ready"])

    async def _ask(self, request: Message) -> Message:
        process = self._process
        if not self.up or process is None or process.stdin is None:
            raise WorkerLost("the model process is down; it is being restarted")
        process.stdin.write(request.pack())
        return await self._receive(process, self._batch_timeout)

    async def _receive(self, process: Process, seconds: float) -> Message:
        """The process's next message; it is ended if none comes in time."""
        if process.stdout is None:
            raise WorkerLost("the model process has no output")
        try:
            async with asyncio.timeout(seconds):
                message = await wire.receive(process.stdout)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            self._up.clear()
            if process.returncode is None:
                process.kill()
            raise WorkerLost(_lost(error, seconds)) from error
        if "error" in message.header:
            raise ModelFailure(message.header["error"])
        return message

    async def _keep_up(self, process: Process) -> None:
        while True:
            status = await process.wait()
            self._up.clear()
            self.restarts += 1
            log.error("model process ended", status=status, restarts=self.restarts)
            process = await self._relaunch()

    async def _relaunch(self) -> Process:
        """Start another process, with growing pauses, until one is up."""
        while True:
            await asyncio.sleep(min(MAX_PAUSE, 2**self._failed_starts - 1))
            try:
                process, _ = await self._launch()
            except (StoreError, WorkerLost) as error:
                self._failed_starts += 1
                log.error("model process did not start", error=str(error))
            else:
                self._failed_starts = 0
                log.info("model process restarted", restarts=self.restarts)
                return process


def worker_argv(config: WorkerConfig) -> tuple[str, ...]:
    """The command line of a process that runs the model as `config` says."""
    return (sys.executable, "-m", "service.worker", json.dumps(asdict(config)))


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _lost(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the model process did not answer within {seconds:g} s and was ended"
    return "the model process ended unexpectedly"
