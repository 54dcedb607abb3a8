"""Where the parts meet: pictures in, predictions out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service import imaging, work
from service.batching import Batcher
from service.errors import DeadlineExceeded, Overloaded, StoreError, WorkerLost
from service.faces import FaceDetector, crop
from service.metrics import Metrics
from service.records import (
    Box,
    Classification,
    Face,
    FaceImage,
    ModelInfo,
    Prediction,
    Timings,
    WorkerConfig,
)
from service.remote import RemoteModel, worker_argv
from service.settings import Settings, cores
from service.store import ModelStore, StoredModel

FaceMode = Literal["detect", "whole"]

MAX_CPU_WORKERS = 8
NVIDIA = Path("/dev/nvidiactl")
"""There where an NVIDIA driver is loaded: how the front, which has no torch, knows of a GPU."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A picture, decoded and searched: its faces and the crops that the model reads."""

    width: int
    height: int
    faces: tuple[Face, ...]
    crops: tuple[FaceImage, ...]
    decode: float
    detect: float


class Engine:
    """The service without HTTP. Made by `Engine.open`."""

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        stored: StoredModel,
        workers: Sequence[RemoteModel],
        info: ModelInfo,
    ) -> None:
        self.settings = settings
        self.store = store
        self.stored = stored
        self.info = info
        self.metrics = Metrics(info, workers)
        self.draining = False
        self._workers = workers
        self._detector = FaceDetector(
            store.detector(),
            threshold=settings.detection_threshold,
            max_faces=settings.max_faces,
        )
        self._pool = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        self._preparing = 0
        self._interactive = work.interactive(settings.max_batch, settings.queue_items)
        self._batcher = Batcher(workers, [self._interactive], self.metrics)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, command: Callable[[WorkerConfig], Sequence[str]] = worker_argv
    ) -> AsyncIterator["Engine"]:
        """Start the model processes, and stop them at the end.

        Args:
            settings: what to serve, and how.
            command: makes the command line of a model process.

        Raises:
            StoreError: a model is missing or altered, or cannot run as the settings wish.
        """
        store = ModelStore(settings.model_store)
        stored = store.gimefive(settings.model_version)
        async with AsyncExitStack() as stack:
            workers, infos = await _start_workers(settings, command, stack)
            engine = cls(settings, store, stored, workers, infos[0])
            stack.push_async_callback(engine._close)
            yield engine

    @property
    def ready(self) -> bool:
        """Whether requests are welcome: warmed, up and not draining."""
        return not self.draining and any(worker.up for worker in self._workers)

    @property
    def sound(self) -> bool:
        """False once a model process could not be restarted: only a new start can help."""
        return all(worker.sound for worker in self._workers)

    @property
    def threshold(self) -> float:
        """Confidence below which an answer abstains."""
        wished = self.settings.threshold
        return self.stored.card.threshold if wished is None else wished

    async def classify(
        self, data: bytes, faces: FaceMode = "detect", deadline: float | None = None
    ) -> Classification:
        """Classify the faces of an encoded picture.

        Args:
            data: JPEG, PNG, WebP, BMP, TIFF or GIF.
            faces: find faces, or take the whole picture as one aligned face crop.
            deadline: seconds the answer may take; the settings' if None.

        Raises:
            BadInput: not a picture, broken, or over a limit.
            Overloaded: too much waits already.
            NotReady: no model process is up.
            DeadlineExceeded: it took too long.
            ModelFailure: the model could not answer.
        """
        limit = self.settings.deadline_ms / 1000 if deadline is None else deadline
        try:
            async with asyncio.timeout(limit):
                prepared = await self._prepare(data, faces)
                answers = await self._batcher.submit(self._interactive, prepared.crops)
        except TimeoutError as error:
            self.metrics.dropped("expired")
            raise DeadlineExceeded(
                f"no answer within {limit * 1000:.0f} ms: send a later deadline or try again"
            ) from error
        predictions = tuple(
            Prediction(face, answer.result)
            for face, answer in zip(prepared.faces, answers, strict=True)
        )
        for prediction in predictions:
            self.metrics.classified(prediction.emotion)
        timings = Timings(
            decode=prepared.decode,
            detect=prepared.detect,
            queue=max((answer.queue for answer in answers), default=0.0),
            inference=max((answer.seconds for answer in answers), default=0.0),
        )
        return Classification(prepared.width, prepared.height, predictions, timings)

    async def _prepare(self, data: bytes, faces: FaceMode) -> _Prepared:
        """Decode and detect in the pool, which is bounded like the queue behind it."""
        if self._preparing >= self.settings.queue_items:
            self.metrics.rejected("decode_full")
            raise Overloaded(
                f"{self._preparing} pictures wait to be decoded: try again in 1 s", 1.0
            )
        self._preparing += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._look, data, faces)
        finally:
            self._preparing -= 1

    def _look(self, data: bytes, faces: FaceMode) -> _Prepared:
        start = time.perf_counter()
        picture = imaging.decode(data, self.settings.max_pixels)
        decoded = time.perf_counter()
        height, width = picture.shape[:2]
        if faces == "whole":
            whole = Face(Box(0, 0, width, height))
            crops: tuple[FaceImage, ...] = (imaging.grey_face(picture),)
            return _Prepared(width, height, (whole,), crops, decoded - start, 0.0)
        found = self._detector.detect(picture)
        crops = tuple(crop(picture, face) for face in found)
        detected = time.perf_counter()
        return _Prepared(width, height, found, crops, decoded - start, detected - decoded)

    async def _close(self) -> None:
        await self._batcher.close()
        self._pool.shutdown(cancel_futures=True)


async def _start_workers(
    settings: Settings,
    command: Callable[[WorkerConfig], Sequence[str]],
    stack: AsyncExitStack,
) -> tuple[list[RemoteModel], list[ModelInfo]]:
    count, threads = _worker_plan(settings)
    config = WorkerConfig(
        store=str(settings.model_store.resolve()),
        version=settings.model_version,
        device=settings.device,
        precision=settings.precision,
        threads=threads,
        max_batch=settings.max_batch,
    )
    workers = [
        RemoteModel(command(config), start_timeout=settings.start_timeout) for _ in range(count)
    ]
    for worker in workers:
        stack.push_async_callback(worker.stop)
    try:
        return workers, list(await asyncio.gather(*(worker.start() for worker in workers)))
    except WorkerLost as error:
        raise StoreError(f"the model could not be loaded: {error}") from error


def _worker_plan(settings: Settings) -> tuple[int, int]:
    """How many model processes, and torch threads in each: one per GPU, or one per core."""
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and NVIDIA.exists())
    count = settings.workers or (1 if on_gpu else min(cores(), MAX_CPU_WORKERS))
    return count, settings.worker_threads or max(1, cores() // count)
