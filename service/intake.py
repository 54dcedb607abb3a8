"""The decode pool: a bounded pool of threads that decode pictures, find faces and draw."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from service import detection, imaging
from service.backlog import Backlog
from service.detection import DetectedImage
from service.errors import SHUTTING_DOWN, NotReady, Overloaded, TooLarge
from service.faces import FaceDetector
from service.limits import LoadShedder
from service.records import DropReason, FaceMode, Picture, Refusal
from service.tracer import UNTRACED, Tracer

SMALL_BYTES = 8 * 1024
SMALL_PIXELS = 128 * 128
"""A face crop within both limits is decoded on the event loop: waking a thread would cost more.

Both are checked before a pixel is decoded, so that no file can block the loop."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Span:
    """When a call began and ended, on the monotonic clock; 0 until then."""

    began: float = 0.0
    ended: float = 0.0


class Intake:
    """The pool. Its callers are refused when it cannot serve them in time."""

    def __init__(
        self,
        detector: FaceDetector,
        *,
        threads: int,
        max_waiting: int,
        max_wait: float,
        refused: Callable[[Refusal], None],
        dropped: Callable[[DropReason], None],
        tracer: Tracer = UNTRACED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            detector: shared by the threads.
            threads: how many there are.
            max_waiting: most pictures that wait or are being worked on.
            max_wait: longest that a picture should wait under overload, in seconds.
            refused: called with the reason when a picture is refused.
            dropped: called with the reason when one is dropped before work on it began.
            tracer: told what was done for which request.
            clock: monotonic seconds; deadlines refer to it.
        """
        self._detect = partial(detection.detect, detector, clock=clock)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="intake")
        self._threads = threads
        self._max_waiting = max_waiting
        self._shedder = LoadShedder(max_wait)
        self._refused = refused
        self._dropped = dropped
        self._tracer = tracer
        self._clock = clock
        self._waiting = 0
        self._backlog = Backlog(threads)
        self._turns = asyncio.Semaphore(threads + 1)
        self._closed = False

    async def detect(
        self,
        decode: Callable[[], Picture],
        mode: FaceMode,
        deadline: float | None = None,
        *,
        size: int,
    ) -> DetectedImage:
        """Decode a picture and find its faces, or take it as one whole face.

        Args:
            decode: returns the upright picture; called in the pool.
            mode: find faces, or take the whole picture as one aligned face crop.
            deadline: moment at which the caller gives up.
            size: bytes of the encoded picture, from which its duration is predicted.

        Raises:
            BadInput: `decode` raised it.
            Overloaded: too many pictures wait, or this one could not be ready in time.
            NotReady: the service is shutting down.
        """
        size = max(1, size)  # `decode` refuses an empty one like any other
        self._check_wait(size, deadline)
        detect = partial(self._detect, decode, mode)
        with self.reserve(1):
            detected, _ = await self._run("picture", detect, deadline, size)
        return self._traced(detected)

    def detect_inline(self, data: bytes, max_pixels: int) -> DetectedImage | None:
        """Decode a small face crop right here, as waking a thread would cost more.

        Returns:
            None if it is not small, or the pool is full: `detect` then answers or refuses.

        Raises:
            BadInput: it is not a picture, or broken.
        """
        if len(data) > SMALL_BYTES or self._waiting >= self._max_waiting:
            return None
        decode = partial(imaging.decode, data, min(max_pixels, SMALL_PIXELS))
        try:
            return self._traced(self._detect(decode, "whole"))
        except TooLarge:
            return None

    async def detect_in_turn(
        self, decode: Callable[[], Picture], mode: FaceMode, deadline: float | None = None
    ) -> DetectedImage:
        """As `detect`, for one of many pictures, which waits as in `run_in_turn`."""
        async with self._turns:
            detect = partial(self._detect, decode, mode)
            detected, _ = await self._run("frame", detect, deadline)
        return self._traced(detected)

    async def run(
        self, step: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in the pool.

        Args:
            step: what the function does, in a word, for traces.
            function: what to run.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            Overloaded: too many calls wait.
            NotReady: the service is shutting down.
        """
        with self.reserve(1):
            return await self._step(step, partial(function, *args, **kwargs))

    async def run_in_turn(
        self, step: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, for a caller that has many calls and can wait.

        Such calls keep the threads busy but do not queue up, so that others never wait long.
        """
        async with self._turns:
            return await self._step(step, partial(function, *args, **kwargs))

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold places for so many pictures, all or none.

        Raises:
            Overloaded: too many pictures wait.
        """
        if self._waiting + count > self._max_waiting:
            self._refused("intake_full")
            turns = max(0, self._waiting - len(self._backlog)) * self._backlog.expected("frame")
            raise _overloaded(self._waiting, self._backlog.seconds + turns / self._threads)
        self._waiting += count
        try:
            yield
        finally:
            self._waiting -= count

    async def close(self) -> None:
        """Drop what has not begun, whose callers are told, and wait for what has."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _check_wait(self, size: int, deadline: float | None) -> None:
        """Check whether one more would be ready soon enough.

        Raises:
            Overloaded: it would not.
        """
        pooled, seconds, now = len(self._backlog), self._backlog.seconds, self._clock()
        ready = now + seconds + self._backlog.expected("picture", size)
        late = deadline is not None and ready > deadline
        overfull = self._shedder.sheds(pooled + 1, seconds, now)
        if overfull or (pooled and late):
            self._refused("deadline" if late else "intake_full")
            raise _overloaded(pooled, seconds)

    async def _run(
        self, kind: str, call: Callable[[], T], deadline: float | None = None, size: int = 1
    ) -> tuple[T, _Span]:
        if self._closed:
            raise NotReady(SHUTTING_DOWN)
        span = _Span()
        future = self._pool.submit(self._timed, call, span)
        leave = partial(self._leave, kind, size, span, future)
        self._backlog.enter(kind, size)
        try:
            return await asyncio.wrap_future(future), span
        except asyncio.CancelledError:
            if self._closed and not _cancelled_by_caller():
                raise NotReady(SHUTTING_DOWN) from None
            if future.cancel():  # it had not begun
                late = deadline is not None and self._clock() >= deadline
                self._dropped("expired" if late else "cancelled")
            raise
        finally:
            if future.running():  # the caller has gone, but the thread is not free yet
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(leave))
            else:
                leave()

    def _leave(self, kind: str, size: int, span: _Span, future: Future[T]) -> None:
        self._backlog.leave(kind, size)
        if span.ended:
            failed = future.exception() is not None
            self._backlog.learn(kind, size, span.ended - span.began, failed=failed)

    def _timed(self, call: Callable[[], T], span: _Span) -> T:
        span.began = self._clock()
        try:
            return call()
        finally:
            span.ended = self._clock()

    async def _step(self, name: str, call: Callable[[], T]) -> T:
        result, span = await self._run(name, call)
        self._tracer.span(name, span.began, span.ended)
        return result

    def _traced(self, detected: DetectedImage) -> DetectedImage:
        decoded = detected.began + detected.decode
        self._tracer.span("decode", detected.began, decoded)
        if detected.detect:
            self._tracer.span("detect", decoded, decoded + detected.detect)
        return detected


def _cancelled_by_caller() -> bool:
    """Whether the running task was cancelled, rather than only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _overloaded(waiting: int, seconds: float) -> Overloaded:
    seconds = max(0.1, seconds)
    return Overloaded(
        f"overloaded (pictures waiting: {waiting}): try again in {seconds:.1f} s", seconds
    )
