"""The client side of a model process, which is started, asked, watched and replaced; no torch."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from service import backoff, codec
from service.errors import ModelFailure, StoreError, WorkerLost
from service.explanation import Explanation, Question
from service.lanes import BatchResult, ResultT
from service.records import FaceImage, ModelInfo, Scores, WorkerConfig
from service.wire import Message
from service.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

USUAL_GROWTH = 1.25
"""A process may always grow by this factor after its start, however low the limit is set."""


class RemoteModel:
    """A model in a process of its own.

    Once started it is kept up: a process that dies, hangs or grows too large is replaced.

    Attributes:
        restarts: how often its process was replaced.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        start_timeout: float,
        batch_timeout: float = 30.0,
        memory: int | None = None,
        pause: Callable[[int], float] = backoff.pause,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            argv: command line of the process.
            start_timeout: longest that loading and warming up may take, in seconds.
            batch_timeout: seconds for a batch after which the process counts as hung.
            memory: bytes above which a process is replaced; None for no limit.
            pause: seconds to wait before a start after so many that failed.
            clock: monotonic seconds.
        """
        self._argv = argv
        self._start_timeout = start_timeout
        self._batch_timeout = batch_timeout
        self._memory = memory
        self._pause = pause
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._up = asyncio.Event()
        self._grown = asyncio.Event()
        self._watch: asyncio.Task[Any] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._failed_starts = 0
        self._exit_reason = ""
        self.restarts = 0

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""
        return self._up.is_set()

    @property
    def pid(self) -> int | None:
        """The process's ID, once there is one."""
        return self._process.pid if self._process else None

    @property
    def healthy(self) -> bool:
        """False once several starts in a row have failed."""
        return self.up or self._failed_starts < backoff.FAILED_STARTS

    async def ready(self) -> None:
        """Wait until it can be asked."""
        await self._up.wait()

    async def start(self) -> ModelInfo:
        """Start the process and wait until its model is loaded and warm.

        Raises:
            StoreError: the model cannot be loaded; the message says why.
            WorkerLost: the process ended, or was not ready in time.
        """
        self._watch = starting = asyncio.create_task(self._start())  # which `stop` ends, too
        return await starting

    def start_later(self) -> None:
        """Start the process in the background; `ready` waits for it."""
        self._watch = asyncio.create_task(self._start_and_supervise())

    async def scores(self, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        """Score faces; a face whose scores are not finite fails alone.

        Raises:
            OutOfMemory: there are too many.
            ModelFailure: the model could not answer for this batch.
            WorkerLost: the process died or hung; it is being replaced.
        """
        message = await self._ask(Message({"op": "scores"}, np.stack(faces).tobytes()))
        rows = codec.decode_scores(message)
        if len(rows) != len(faces):
            raise ModelFailure(
                f"the model did not answer a row per face: {len(rows)} for {len(faces)}"
            )
        return BatchResult([_finite(row, row) for row in rows], message.header["seconds"])

    async def explain(
        self, items: Sequence[tuple[FaceImage, Question]]
    ) -> BatchResult[Explanation]:
        """Explain faces, each as its question asks; a face whose map is not finite fails alone.

        Raises:
            OutOfMemory: there are too many.
            ModelFailure: the model could not answer for this batch.
            WorkerLost: the process died or hung; it is being replaced.
        """
        faces, questions = zip(*items, strict=True)
        message = await self._ask(codec.encode_request(faces, questions))
        explanations = codec.decode_response(message, questions)
        results = [_finite(each, each.heat, each.logits) for each in explanations]
        return BatchResult(results, message.header["seconds"])

    async def stop(self) -> None:
        """End the process, for good."""
        self._up.clear()
        ending = {self._watch, *self._retiring} if self._watch else set()
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)  # each ends a process that it is starting or retiring
        if self._process:
            await self._process.kill()

    async def _start(self) -> ModelInfo:
        process = await self._launch()
        self._watch = asyncio.create_task(self._supervise(process))
        return process.info

    async def _launch(self) -> WorkerProcess:
        process = await WorkerProcess.launch(self._argv, self._start_timeout)
        self._process = process
        self._exit_reason = "the model process ended while it was asked nothing"
        self._grown.clear()
        self._up.set()
        return process

    async def _ask(self, request: Message) -> Message:
        process = self._process
        if not self.up or process is None:
            raise WorkerLost("the model process is down; it is being restarted")
        try:
            message = await process.ask(request, self._batch_timeout)
        except WorkerLost as error:
            if process is self._process and self.up:  # or the next batch's error hides the reason
                self._up.clear()
                self._exit_reason = str(error)
            raise
        limit = self._memory and max(self._memory, USUAL_GROWTH * process.memory)
        if limit and message.header.get("memory", 0) > limit and process is self._process:
            self._grown.set()
        return message

    async def _start_and_supervise(self) -> None:
        await self._supervise(await self._relaunch())

    async def _supervise(self, process: WorkerProcess) -> None:
        while True:
            began = self._clock()
            lost = await self._ended_or_grown(process)
            self.restarts += 1
            self._failed_starts = backoff.failed_starts(self._failed_starts, self._clock() - began)
            if lost:
                self._up.clear()
                log.error(
                    "model process ended",
                    pid=process.pid,
                    status=process.status,
                    why=self._exit_reason,
                    restarts=self.restarts,
                )
            else:
                log.warning("model process grew too large", pid=process.pid, restarts=self.restarts)
            fresh = await self._relaunch()
            retiring = asyncio.create_task(process.retire(self._batch_timeout))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
            process = fresh

    async def _ended_or_grown(self, process: WorkerProcess) -> bool:
        """Wait until the process has ended or grown too large; True if it has ended."""
        ended = asyncio.ensure_future(process.wait())
        grown = asyncio.ensure_future(self._grown.wait())
        try:
            await asyncio.wait({ended, grown}, return_when=asyncio.FIRST_COMPLETED)
            return ended.done()
        finally:
            ended.cancel()
            grown.cancel()

    async def _relaunch(self) -> WorkerProcess:
        """Start processes, with growing pauses before them, until one is up."""
        while True:
            await asyncio.sleep(self._pause(self._failed_starts))
            try:
                process = await self._launch()
            except (StoreError, WorkerLost) as error:
                self._failed_starts += 1
                log.error("model process did not start", error=str(error))
            except Exception:  # or the model would never be restarted again
                self._failed_starts += 1
                log.exception("model process did not start")
            else:
                log.info("model process up", pid=process.pid, restarts=self.restarts)
                return process


def _finite(result: ResultT, *arrays: NDArray[np.float32]) -> ResultT | ModelFailure:
    if all(np.isfinite(array).all() for array in arrays):
        return result
    return ModelFailure("the model's answer for this face is not finite")


def worker_argv(config: WorkerConfig) -> tuple[str, ...]:
    """The command line of a model process."""
    return (sys.executable, "-P", "-m", "service.worker", json.dumps(asdict(config)))
