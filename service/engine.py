"""Where the parts meet: pictures in, predictions out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service import imaging, work
from service.batching import Batcher
from service.drawing import Style, Subject, draw, encode_png
from service.errors import BadParameter, DeadlineExceeded, NoFace, ServiceError
from service.explanation import Explained, Explanation, Faithfulness, Question
from service.faces import FaceDetector
from service.faithfulness import faithfulness
from service.footage import Footage
from service.intake import FaceMode, Intake, configure_opencv
from service.metrics import Metrics
from service.records import (
    Classification,
    FaceImage,
    ModelInfo,
    Picture,
    Prediction,
    Scores,
    WorkerConfig,
)
from service.remote import RemoteModel, worker_argv
from service.settings import Settings
from service.sight import Sight, timings
from service.starting import start_workers
from service.store import ModelStore, StoredModel


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
        configure_opencv()
        detector = FaceDetector(
            store.detector(),
            threshold=settings.detection_threshold,
            max_faces=settings.max_faces,
        )
        self._intake = Intake(
            detector,
            threads=settings.decoders,
            max_waiting=settings.queue_items,
            refused=self.metrics.rejected,
            dropped=self.metrics.dropped,
        )
        self._interactive = work.interactive(settings.max_batch, settings.queue_items)
        self._explaining = work.explaining(settings.queue_items)
        self._bulk = work.bulk(settings.max_batch, settings.queue_items)
        lanes = (self._interactive, self._bulk, self._explaining)
        self._batcher = Batcher(workers, lanes, self.metrics)
        self._sight = Sight(self._intake, self._batcher, self.metrics)
        self._footage = Footage(self._sight, self._intake, self._bulk, settings)

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
            workers, info = await start_workers(settings, command, stack)
            engine = cls(settings, store, stored, workers, info)
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
        async with self._within(deadline) as moment:
            return await self._sight.classify(
                self._decoding(data), faces, self._interactive, deadline=moment
            )

    async def classify_frames(
        self,
        frames: Sequence[bytes],
        faces: FaceMode = "detect",
        *,
        track: bool = False,
        deadline: float | None = None,
    ) -> list[Classification | ServiceError]:
        """Classify a batch of encoded video frames; all are admitted or none.

        Args:
            frames: pictures as for `classify`, in order.
            faces: as for `classify`.
            track: whether people are followed from frame to frame.
            deadline: seconds the answer may take; the settings' if None.

        Returns:
            For each frame its classification, or why it has none.

        Raises:
            TooLarge: more frames than may ever wait.
            Overloaded: too much waits already.
            NotReady: the service is shutting down.
            DeadlineExceeded: it took too long.
        """
        async with self._within(deadline) as moment:
            decoding = [self._decoding(frame) for frame in frames]
            return await self._footage.frames(decoding, faces, track, moment)

    async def explain(
        self,
        data: bytes,
        question: Question,
        *,
        faces: FaceMode = "detect",
        face: int = 0,
        measured: bool = False,
        deadline: float | None = None,
    ) -> Explained:
        """Explain one face of an encoded picture.

        Args:
            data: as for `classify`.
            question: the emotion to explain, by which method, at which layer.
            faces: find faces, or take the whole picture as one aligned face crop.
            face: which one, the largest being 0.
            measured: whether the map's faithfulness is measured too, on the scores that are served.
            deadline: seconds the answer may take; the settings' if None.

        Raises:
            NoFace: there is none.
            BadParameter: there are not as many.
            ServiceError: as for `classify`.
        """
        async with self._within(deadline) as moment:
            scene = await self._intake.look(self._decoding(data), faces, moment)
            _check_face(face, len(scene.faces))
            crop = scene.crops[face]
            (answer,) = await self._batcher.submit(
                self._explaining, [(crop, question)], deadline=moment
            )
            explanation = answer.result
            faithful = await self._measure(crop, explanation, moment) if measured else None
        prediction = Prediction(scene.faces[face], self._calibrated(explanation.logits))
        return Explained(
            scene.picture,
            scene.places[face],
            prediction,
            explanation,
            faithful,
            timings(scene.decode, scene.detect, [answer]),
        )

    async def draw(self, explained: Explained, view: str, style: Style) -> bytes:
        """An explanation as a PNG file.

        Raises:
            BadParameter: no such view, or one that this explanation cannot give.
        """
        subject = Subject(explained.prediction, explained.place, explained.explanation)
        return await self._intake.run(_png, view, explained.picture, subject, style)

    async def _measure(
        self, crop: FaceImage, explanation: Explanation, deadline: float
    ) -> Faithfulness | None:
        loop = asyncio.get_running_loop()

        def score(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            submitted = self._batcher.submit(self._bulk, list(faces), deadline=deadline)
            answers = asyncio.run_coroutine_threadsafe(submitted, loop).result()
            return np.array([answer.result[explanation.target] for answer in answers])

        return await self._intake.run(
            faithfulness, crop, explanation.heat, score, self.settings.queue_items
        )

    def _decoding(self, data: bytes) -> Callable[[], Picture]:
        return partial(imaging.decode, data, self.settings.max_pixels)

    def _calibrated(self, logits: NDArray[np.float32]) -> Scores:
        """The probabilities that the full network's logits stand for."""
        scaled = logits / self.stored.card.precisions["fp32"].temperature
        powers = np.exp(scaled - scaled.max())
        scores: Scores = powers / powers.sum()
        return scores

    @asynccontextmanager
    async def _within(self, deadline: float | None) -> AsyncIterator[float]:
        """What takes longer than `deadline` seconds, or the settings', is given up.

        Gives the moment when that is, on the batcher's clock.
        """
        limit = self.settings.deadline_ms / 1000 if deadline is None else deadline
        moment = time.monotonic() + limit
        try:
            # The event loop counts in milliseconds: later, so that the moment has surely passed.
            async with asyncio.timeout(limit + 0.001):
                yield moment
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {limit * 1000:.0f} ms: send a later deadline or try again"
            ) from error

    async def _close(self) -> None:
        await self._batcher.close()
        self._intake.close()


def _check_face(face: int, found: int) -> None:
    if not found:
        raise NoFace("no face was found: send a picture that shows one, or use faces=whole")
    if not 0 <= face < found:
        raise BadParameter(f"face is 0 to {found - 1} in this picture, not {face}")


def _png(view: str, picture: Picture, subject: Subject, style: Style) -> bytes:
    return encode_png(draw(view, picture, subject, style))
