"""The service without HTTP: pictures in, predictions out. The only module that joins the parts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from service import imaging
from service.annotator import Annotator
from service.camera import Camera
from service.classifier import Classifier
from service.core import Core
from service.deadlines import Cutoff, within
from service.detection import DetectedImage, configure_opencv
from service.drawing import Style
from service.errors import ServiceError
from service.explainer import Explainer
from service.explanation import Explained, LiveResult, Question
from service.faces import FaceDetector
from service.footage import Footage
from service.intake import Intake
from service.lanes import ItemT, Lane, ResultT
from service.limits import Quota
from service.records import Classification, FaceMode, Picture, WorkerCommand
from service.remote import RemoteModel, worker_argv
from service.remote_core import RemoteCore
from service.settings import Settings
from service.store import ModelStore
from service.timings import Timings
from service.tracer import UNTRACED, Tracer
from service.tracks import Tracker

BATCHES = 4
"""How many batches of frames fit into the memory for pictures, beside one decoded picture, all of
them as large as they may be."""


class Engine:
    """The service. Made by `Engine.open` or `Engine.around`.

    Attributes:
        settings: what to serve, and how.
        store: the model store.
        stored: the model in use, as stored.
        info: the model in use, as deployed.
        metrics: what is counted in this process.
        memory: a quota of bytes, for pictures that arrive encoded or are being explained.
        draining: whether load balancers should send no more requests, though they are answered.
        closing: set when connections of cameras must close.
        cutoff: ends videos before draining is over.
        footage: batches of frames, and videos.
    """

    def __init__(
        self, settings: Settings, core: Core | RemoteCore, tracer: Tracer = UNTRACED
    ) -> None:
        self.settings = settings
        self.store = ModelStore(settings.model_store)
        self.stored = self.store.gimefive(settings.model_version)
        self.info = core.info
        self.metrics = core.metrics
        self.draining = False
        self.closing = asyncio.Event()
        self.cutoff = Cutoff(partial(self.metrics.rejected, "not_ready"))
        self.memory = Quota(
            BATCHES * settings.max_frames_bytes + 3 * settings.max_pixels,
            "bytes of pictures are held",
            partial(self.metrics.rejected, "memory_full"),
        )
        self._core = core
        configure_opencv()
        detector = FaceDetector(
            self.store.detector(),
            threshold=settings.detection_threshold,
            max_faces=settings.max_faces,
        )
        self._intake = Intake(
            detector,
            threads=settings.decoders,
            max_waiting=settings.queue_items,
            max_wait=settings.queue_seconds,
            refused=self.metrics.rejected,
            dropped=self.metrics.dropped,
            tracer=tracer,
        )
        interactive, bulk, explaining = core.lanes
        self._interactive, self._explaining = interactive, explaining
        self._classifier = Classifier(self._intake, core, self.metrics)
        calibration = self.stored.card.precisions["fp32"].calibration
        self._explainer = Explainer(self._intake, core, explaining, bulk, self.metrics, calibration)
        annotator = Annotator(self._explainer, self._intake, settings)
        self.footage = Footage(self._classifier, annotator, self._intake, bulk, settings)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        command: WorkerCommand = worker_argv,
        tracer: Tracer = UNTRACED,
    ) -> AsyncIterator["Engine"]:
        """Start the model processes; stop them with the context.

        Args:
            settings: what to serve, and how.
            command: returns the command line of a model process.
            tracer: told what was done for which request.

        Raises:
            StoreError: a model is missing or altered, or cannot run as the settings wish.
        """
        async with (
            Core.open(settings, command, tracer) as core,
            cls.around(core, settings, tracer) as engine,
        ):
            yield engine

    @classmethod
    @asynccontextmanager
    async def around(
        cls, core: Core | RemoteCore, settings: Settings, tracer: Tracer = UNTRACED
    ) -> AsyncIterator["Engine"]:
        """An engine over a core that is already open, which it closes with the context.

        Raises:
            StoreError: a model is missing or altered.
        """
        engine = cls(settings, core, tracer)
        try:
            yield engine
        finally:
            await core.close()
            await engine._intake.close()

    async def ready(self) -> bool:
        """Whether to send requests: the model is up, and the service is not draining."""
        return not self.draining and await self._core.up()

    async def healthy(self) -> bool:
        """False once a process cannot be restarted: only restarting the service can help."""
        return await self._core.healthy()

    async def render_metrics(self) -> bytes:
        """All metrics of the service in Prometheus' text format."""
        return await self._core.render_metrics()

    async def take_token(self, key: str) -> None:
        """Count a request with a key.

        Raises:
            RateLimited: there were too many.
        """
        await self._core.take_token(key)

    def reserve_video(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for a video, from before its upload.

        Raises:
            Overloaded: too many are in progress.
        """
        return self._core.reserve("video")

    def threshold(self, asked: float | None = None) -> float:
        """Confidence below which an answer abstains: as asked, else as set, else the card's."""
        choices = (asked, self.settings.threshold, self.stored.card.threshold)
        return next(each for each in choices if each is not None)

    async def classify(
        self,
        data: bytes,
        faces: FaceMode = "detect",
        deadline: float | None = None,
        timings: Timings | None = None,
    ) -> Classification:
        """Classify the faces of an encoded picture.

        Args:
            data: JPEG, PNG, WebP, BMP, TIFF or GIF.
            faces: find faces, or take the whole picture as one aligned face crop.
            deadline: moment, in monotonic seconds, at which the caller gives up; if None, the
                settings' time from now.
            timings: told what each step took, also if a later one fails.

        Raises:
            BadInput: it is not a picture, broken, or over a limit.
            Overloaded: too much waits already.
            NotReady: no model process is up.
            DeadlineExceeded: it took too long.
            ModelFailure: the model could not answer.
        """
        async with self._deadline_or_default(deadline) as limit:
            return await self._classifier.score(
                await self._detect(data, faces, self._interactive, limit),
                self._interactive,
                timings or Timings(),
                deadline=limit,
            )

    async def classify_frames(
        self,
        frames: Sequence[Callable[[], bytes]],
        faces: FaceMode = "detect",
        *,
        track: bool = False,
        deadline: float | None = None,
        timings: Timings | None = None,
    ) -> list[Classification | ServiceError]:
        """Classify a batch of encoded video frames; all are admitted or none.

        Args:
            frames: each gives a picture as for `classify`, or raises why it cannot; in order.
            faces: as for `classify`.
            track: whether people are followed from frame to frame.
            deadline: moment, in monotonic seconds, at which the caller gives up; if None, the
                settings' time from now.
            timings: as for `classify`; of each step, the longest.

        Returns:
            For each frame its classification, or why it has none.

        Raises:
            Overloaded: too much waits already.
            NotReady: the service is shutting down.
            DeadlineExceeded: it took too long.
        """
        async with self._deadline_or_default(deadline) as limit:
            pictures = [partial(self._decode, frame) for frame in frames]
            return await self.footage.frames(pictures, faces, track, timings or Timings(), limit)

    @asynccontextmanager
    async def explained(
        self,
        data: bytes,
        question: Question,
        *,
        faces: FaceMode = "detect",
        face: int = 0,
        measured: bool = False,
        deadline: float | None = None,
        timings: Timings | None = None,
    ) -> AsyncIterator[Explained]:
        """Explain one face of an encoded picture, whose memory is reserved for the context.

        Args:
            data: as for `classify`.
            question: the emotion to explain, by which method, at which layer.
            faces: find faces, or take the whole picture as one aligned face crop.
            face: which one, the largest being 0.
            measured: whether to measure the map's faithfulness, on the scores that are served.
            deadline: moment, in monotonic seconds, at which the caller gives up; if None, the
                settings' time from now, which then limits the context.
            timings: as for `classify`.

        Raises:
            NoFace: there is none.
            BadParameter: there is no such face.
            ServiceError: as for `classify`.
        """
        async with self._deadline_or_default(deadline) as limit:
            detected = await self._detect(data, faces, self._explaining, limit)
            with self.memory.hold(detected.picture.nbytes):
                yield await self._explainer.explain(
                    detected,
                    question,
                    face,
                    timings or Timings(),
                    measured=measured,
                    deadline=limit,
                )

    @asynccontextmanager
    async def camera(
        self, faces: FaceMode = "detect", question: Question | None = None
    ) -> AsyncIterator[Camera]:
        """A live camera, for as long as the context.

        Args:
            faces: as for `classify`.
            question: how to explain each face; None for no explanations.

        Raises:
            Overloaded: too many cameras are connected.
        """
        async with self._core.reserve("camera"):
            look = partial(self._look, faces, question)
            yield Camera(look, Tracker(self.settings.half_life))

    async def _look(self, faces: FaceMode, question: Question | None, frame: bytes) -> LiveResult:
        if question is None:
            return LiveResult(await self.classify(frame, faces))
        async with self._deadline_or_default(None) as limit:
            detected = await self._detect(frame, faces, self._explaining, limit)
            return await self._explainer.explain_live(detected, question, limit)

    async def draw(self, explained: Explained, view: str, style: Style) -> bytes:
        """An explanation as a PNG file, as `Explainer.draw` says."""
        return await self._explainer.draw(explained, view, style)

    async def _detect(
        self, data: bytes, faces: FaceMode, lane: Lane[RemoteModel, ItemT, ResultT], deadline: float
    ) -> DetectedImage:
        """Decode a picture and find its faces, unless the lane would refuse them anyway."""
        await self._core.check(lane, 1, deadline)
        if faces == "whole" and (
            detected := self._intake.detect_inline(data, self.settings.max_pixels)
        ):
            return detected
        decode = partial(imaging.decode, data, self.settings.max_pixels)
        return await self._intake.detect(decode, faces, deadline, size=len(data))

    def _decode(self, read: Callable[[], bytes]) -> Picture:
        return imaging.decode(read(), self.settings.max_pixels)

    def _deadline_or_default(self, deadline: float | None) -> AbstractAsyncContextManager[float]:
        """The caller's deadline, which it enforces itself, or else the settings', enforced here."""
        if deadline is not None:
            return nullcontext(deadline)
        return within(self.settings.deadline_ms / 1000)
