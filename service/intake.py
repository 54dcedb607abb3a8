"""Bytes to faces, and what is drawn of them: the bounded pool of threads that does both."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import cv2
import cv2.utils.logging
import numpy as np
from numpy.typing import NDArray

from service import imaging
from service.backlog import Backlog
from service.errors import NotReady, Overloaded, TooLarge
from service.faces import FRAMING, FaceDetector, cut
from service.limits import LoadShedder
from service.records import FACE_SIZE, Box, Face, FaceImage, FaceMode, Picture
from service.tracer import UNTRACED, Tracer

SMALL_BYTES = 8 * 1024
SMALL_PIXELS = 128 * 128
"""A face crop of this size is looked at where it comes in: a thread's wake-up would cost more.

Both bounds hold, and are told before a pixel is decoded, so that no file can hold the loop up."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Span:
    """When a call ran, on the monotonic clock; 0 as long as it has not."""

    began: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectedImage:
    """A picture that was looked at.

    Attributes:
        picture: upright RGB.
        faces: those in it, the largest first.
        crop_to_image: of each face, the affine map ``[2, 3]`` from pixel centres of its 64x64 crop
            to those of the picture.
        crops: what the model reads of each.
        began: moment when the looking began, on the monotonic clock.
        decode: seconds it took.
        detect: likewise, with cropping.
    """

    picture: Picture
    faces: tuple[Face, ...]
    crop_to_image: tuple[NDArray[np.float64], ...]
    crops: tuple[FaceImage, ...]
    began: float
    decode: float
    detect: float


def configure_opencv() -> None:
    """Have OpenCV use one core a call, as the pool uses them all, and log errors only."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


class Intake:
    """The threads that look at pictures, and draw them."""

    def __init__(
        self,
        detector: FaceDetector,
        *,
        threads: int,
        max_waiting: int,
        max_wait: float,
        refused: Callable[[str], None],
        dropped: Callable[[str], None],
        tracer: Tracer = UNTRACED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            detector: shared by the threads.
            threads: how many pictures are looked at together.
            max_waiting: most pictures under way or waiting; more are refused.
            max_wait: longest that one of a crowd of them should wait, in seconds.
            refused: told the reason when a picture is refused.
            dropped: told the reason when one is given up before it was looked at.
            tracer: told what was done for which request.
            clock: monotonic seconds, that of deadlines.
        """
        self._detector = detector
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
            decode: gives the upright picture; called in the pool.
            mode: find faces, or take the whole picture as one aligned face crop.
            deadline: monotonic moment after which the call is given up, if it is.
            size: bytes of the encoded picture, which tell how long it may take.

        Raises:
            BadInput: whatever `decode` finds wrong.
            Overloaded: too many pictures wait.
            NotReady: the service is shutting down.
        """
        size = max(1, size)  # without a byte it is refused like any other
        self._check_wait(size, deadline)
        look = partial(self._look, decode, mode)
        with self.reserve(1):
            scene, _ = await self._run("picture", look, deadline, size)
        return self._looked(scene)

    def detect_inline(self, data: bytes, max_pixels: int) -> DetectedImage | None:
        """A small face crop looked at here and now, since waking a thread would cost more.

        Returns:
            None for what is not small, or where nothing more is let in: `detect` says the rest.

        Raises:
            BadInput: it is no picture, or broken.
        """
        if len(data) > SMALL_BYTES or self._waiting >= self._max_waiting:
            return None
        decode = partial(imaging.decode, data, min(max_pixels, SMALL_PIXELS))
        try:
            return self._looked(self._look(decode, "whole"))
        except TooLarge:
            return None

    async def detect_in_turn(
        self, decode: Callable[[], Picture], mode: FaceMode, deadline: float | None = None
    ) -> DetectedImage:
        """Likewise for one of many pictures, as `run_in_turn` does."""
        async with self._turns:
            scene, _ = await self._run("frame", partial(self._look, decode, mode), deadline)
        return self._looked(scene)

    async def run(
        self, step: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in the pool.

        Args:
            step: what the function does, in a word for who follows the request.
            function: what runs.
            *args: it is given these,
            **kwargs: and these.

        Raises:
            Overloaded: too many calls wait.
            NotReady: the service is shutting down.
        """
        with self.reserve(1):
            return await self._step(step, partial(function, *args, **kwargs))

    async def run_in_turn(
        self, step: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Likewise for a caller that has many and can wait.

        Such calls keep the threads busy and no more, so that others never wait long behind them.
        """
        async with self._turns:
            return await self._step(step, partial(function, *args, **kwargs))

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold places for so many pictures, all or none.

        Raises:
            TooLarge: there could never be as many.
            Overloaded: too many pictures wait.
        """
        if count > self._max_waiting:
            raise TooLarge(f"{count} pictures at once: send at most {self._max_waiting}")
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
        """Whether one more would be looked at soon enough.

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
            raise _closed()
        span = _Span()
        future = self._pool.submit(self._timed, call, span)
        leave = partial(self._leave, kind, size, span, future)
        self._backlog.enter(kind, size)
        try:
            return await asyncio.wrap_future(future), span
        except asyncio.CancelledError:
            if self._closed and not _cancelled_by_caller():
                raise _closed() from None
            if future.cancel():  # it had not begun
                late = deadline is not None and self._clock() >= deadline
                self._dropped("expired" if late else "cancelled")
            raise
        finally:
            if future.running():  # its thread is not free yet, though nobody waits
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

    def _looked(self, scene: DetectedImage) -> DetectedImage:
        decoded = scene.began + scene.decode
        self._tracer.span("decode", scene.began, decoded)
        if scene.detect:
            self._tracer.span("detect", decoded, decoded + scene.detect)
        return scene

    def _look(self, decode: Callable[[], Picture], mode: FaceMode) -> DetectedImage:
        start = self._clock()
        picture = decode()
        decoded = self._clock()
        if mode == "whole":
            return _whole(picture, start, decoded - start)
        faces = self._detector.detect(picture)
        frames = tuple(FRAMING.frame(face) for face in faces)
        crops = tuple(cut(picture, frame) for frame in frames)
        detect = self._clock() - decoded
        crop_to_image = tuple(frame.matrix() for frame in frames)
        return DetectedImage(picture, faces, crop_to_image, crops, start, decoded - start, detect)


def _closed() -> NotReady:
    return NotReady("the service is shutting down: try again")


def _cancelled_by_caller() -> bool:
    """Whether the running task was cancelled, rather than only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _overloaded(waiting: int, seconds: float) -> Overloaded:
    seconds = max(0.1, seconds)
    return Overloaded(f"{waiting} pictures wait already: try again in {seconds:.1f} s", seconds)


def _whole(picture: Picture, began: float, decode: float) -> DetectedImage:
    height, width = picture.shape[:2]
    across, down = width / FACE_SIZE, height / FACE_SIZE
    crop_to_image = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])
    face = Face(Box(0, 0, width, height))
    crops = (imaging.grey_face(picture),)
    return DetectedImage(picture, (face,), (crop_to_image,), crops, began, decode, 0.0)
