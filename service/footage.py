"""Batches of frames, and videos: pictures that belong together."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import BinaryIO, TypeVar

from service.annotator import Annotator, FramePlanner, writing
from service.async_video import open_async_video
from service.classifier import Classifier
from service.drawing import Style
from service.errors import BadInput, ModelFailure, ServiceError
from service.explanation import Question
from service.intake import Intake
from service.model_lanes import ScoreLane
from service.pipeline import overlapped
from service.records import Classification, FaceMode, FrameResult, Picture, Summary, VideoInfo
from service.settings import Settings
from service.timings import Timings
from service.tracks import Summariser, Tracker
from service.video import Frame, Sampling, Video

T = TypeVar("T")

WINDOW_PIXELS = 50_000_000
"""Most pixels of one video in memory at a time."""

FRAME_SECONDS = 0.1
"""Assumed interval between the frames of a batch, which have no times."""


class Footage:
    """Classifies and annotates batches and videos; single pictures take precedence."""

    def __init__(
        self,
        classifier: Classifier,
        annotator: Annotator,
        intake: Intake,
        bulk: ScoreLane,
        settings: Settings,
    ) -> None:
        self._classifier = classifier
        self._annotator = annotator
        self._intake = intake
        self._bulk = bulk
        self._settings = settings
        self._window = max(bulk.max_batch, 2 * settings.decoders)

    async def frames(
        self,
        frames: Sequence[Callable[[], Picture]],
        faces: FaceMode,
        track: bool,
        timings: Timings,
        deadline: float,
    ) -> list[Classification | ServiceError]:
        """The result for each frame of a batch, in order; see `Engine.classify_frames`."""

        async def one(decode: Callable[[], Picture]) -> Classification | ServiceError:
            try:
                return await self._classifier.classify_in_turn(
                    decode, faces, self._bulk, timings, deadline
                )
            except (BadInput, ModelFailure) as error:
                return error

        with self._intake.reserve(len(frames)):
            async with aclosing(overlapped(_each(frames), one, self._window)) as results:
                answers = [answer async for answer in results]
        if not track:
            return answers
        return await self._intake.run_in_turn("track", self._followed, answers)

    async def watch(
        self, file: BinaryIO, sampling: Sampling, faces: FaceMode = "detect", *, track: bool = True
    ) -> AsyncGenerator[VideoInfo | FrameResult | Summary]:
        """Classify the faces of a video, frame by frame, in constant memory.

        A slow consumer slows the work down; closing the generator ends it.

        Args:
            file: seekable: MP4, MOV, WebM, MKV or AVI.
            sampling: which frames are analysed.
            faces: find faces, or take each frame as one aligned face crop.
            track: whether people are followed from frame to frame.

        Yields:
            What the file says of the video; then one result per frame, in order, with a problem
            where the model fails or a run of frames is damaged; then the summary.

        Raises:
            NotAVideo: no video, or it breaks off; the results before that were given.
            TooLarge: over a limit.
            BadParameter: no frame lies in the wanted part.
            NotReady: the service is shutting down.
        """

        async def look(frame: Frame) -> FrameResult:
            try:
                answer = await self._classifier.classify_in_turn(
                    frame.picture, faces, self._bulk, Timings()
                )
            except (BadInput, ModelFailure) as error:
                return FrameResult(frame.index, frame.time, (), error)
            return FrameResult(frame.index, frame.time, answer.predictions)

        tracker, summariser = self._tracker(track), Summariser()
        async with open_async_video(partial(self._open, file, sampling)) as video:
            yield video.info
            results = overlapped(video.sampled(), look, self._window_for(video.info))
            async with aclosing(results):
                async for result in results:
                    followed = _follow(tracker, result)
                    summariser.add(followed)
                    yield followed
        yield summariser.summary()

    async def annotate(
        self,
        file: BinaryIO,
        out: BinaryIO,
        sampling: Sampling,
        question: Question,
        style: Style,
        *,
        face: int | None = None,
        faces: FaceMode = "detect",
        track: bool = True,
    ) -> AsyncGenerator[VideoInfo | FrameResult | Summary]:
        """Draw on each frame of a video what `watch` finds, with explanations, and write an MP4.

        Args:
            file: as for `watch`, with a file descriptor.
            out: open for reading and writing, empty; complete with the last answer.
            sampling: which frames are analysed; the others repeat the last one's annotations.
            question: how each face is explained.
            style: how explanations are drawn.
            face: index of the face whose heat map is drawn, the largest being 0; None for all.
            faces: find faces, or take each frame as one aligned face crop.
            track: whether people are followed, which also keeps labels from flickering.

        Yields:
            As `watch` does.

        Raises:
            ServiceError: as for `watch`.
            OSError: `out` cannot be written.
        """
        summariser = Summariser()
        async with open_async_video(partial(self._open, file, sampling)) as video:
            yield video.info
            room = (video.info.width, video.info.height)
            planner = FramePlanner(room, style, self._tracker(track), face)
            threads, max_bytes = self._settings.decoders, self._settings.max_video_bytes
            async with writing(video, file, out, threads, max_bytes) as write:
                results = self._annotator.annotate(
                    video, write, question, faces, planner, self._window_for(video.info)
                )
                async with aclosing(results):
                    async for result in results:
                        summariser.add(result)
                        yield result
        yield summariser.summary()

    def _tracker(self, track: bool) -> Tracker | None:
        return Tracker(self._settings.half_life) if track else None

    def _open(self, file: BinaryIO, sampling: Sampling) -> Video:
        return Video(
            file,
            sampling,
            max_pixels=self._settings.max_pixels,
            max_seconds=self._settings.max_video_seconds,
            threads=self._settings.decoders,
        )

    def _window_for(self, info: VideoInfo) -> int:
        """How many frames of a video may be in progress: fewer if they are larger."""
        return max(2, min(self._window, WINDOW_PIXELS // (info.width * info.height)))

    def _followed(
        self, answers: Sequence[Classification | ServiceError]
    ) -> list[Classification | ServiceError]:
        tracker = Tracker(self._settings.half_life)
        return [
            replace(answer, predictions=tracker.follow(index * FRAME_SECONDS, answer.predictions))
            if isinstance(answer, Classification)
            else answer
            for index, answer in enumerate(answers)
        ]


def _follow(tracker: Tracker | None, result: FrameResult) -> FrameResult:
    if tracker is None or result.problem is not None:
        return result
    return replace(result, predictions=tracker.follow(result.time, result.predictions))


async def _each(items: Iterable[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item
