"""Annotated videos: tracked faces, their emotions, and heat maps on each frame."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

import numpy as np

from service.async_video import AsyncVideo
from service.drawing import Arrangement, Placed, Style, Subject, annotate
from service.errors import BadInput, ModelFailure, TooLarge
from service.explainer import Explainer
from service.explanation import ExplainedFace, Question
from service.intake import Intake
from service.own_thread import own_thread
from service.pipeline import overlapped
from service.records import FaceMode, FrameResult, Picture, Prediction, Scores
from service.settings import Settings
from service.tracks import Tracker
from service.video import Frame, Movie, Sound

MARGIN = 0.1
"""By how much a score must exceed that of the named emotion to replace it."""


@dataclass(frozen=True, slots=True)
class FramePlan:
    """What is drawn on a frame.

    Attributes:
        frame: the frame.
        subjects: the faces of the last analysed frame.
        labels: their labels, with positions.
    """

    frame: Frame
    subjects: Sequence[Subject]
    labels: Sequence[Placed]


Found = Sequence[ExplainedFace] | BadInput | ModelFailure | None
Looked = tuple[Frame, Found]
Planned = tuple[FramePlan, FrameResult | None]


class FramePlanner:
    """Turns explained faces into annotations that do not flicker."""

    def __init__(
        self,
        room: tuple[int, int],
        style: Style,
        tracker: Tracker | None,
        explained: int | None = None,
    ) -> None:
        """Start before the first frame.

        Args:
            room: width and height of the frames.
            style: how heat maps are drawn.
            tracker: follows people; None for no tracking.
            explained: index of the face whose heat map is drawn, the largest being 0; None for all.
        """
        self._style = style
        self._tracker = tracker
        self._explained = explained
        self._arrangement = Arrangement(room, style)
        self._named: dict[int, int] = {}
        self._subjects: list[Subject] = []
        self._labels: list[Placed] = []

    def plan(self, frame: Frame, faces: Found) -> Planned:
        """The annotations of the next frame, and its result if it was analysed.

        Nothing is drawn where the model failed or frames are damaged.
        """
        if faces is None:
            return FramePlan(frame, self._subjects, self._labels), None
        if isinstance(faces, BadInput | ModelFailure):
            self._subjects, self._labels = [], []
            return FramePlan(frame, (), ()), FrameResult(frame.index, frame.time, (), faces)
        predictions: Sequence[Prediction] = [face.prediction for face in faces]
        if self._tracker is not None:
            predictions = self._tracker.follow(frame.time, predictions)
        self._subjects = [
            self._subject(prediction, face, heated=self._explained in {None, index})
            for index, (prediction, face) in enumerate(zip(predictions, faces, strict=True))
        ]
        self._labels = self._arrangement.place(self._subjects)
        result = FrameResult(frame.index, frame.time, tuple(predictions))
        return FramePlan(frame, self._subjects, self._labels), result

    def draw(self, plan: FramePlan) -> Picture:
        """The annotated picture; safe to call from any thread."""
        return annotate(plan.frame.picture(), plan.subjects, self._style, plan.labels)

    def _subject(self, prediction: Prediction, face: ExplainedFace, *, heated: bool) -> Subject:
        reason = face.explanation
        if not heated:
            reason = replace(reason, heat=np.zeros_like(reason.heat))
        if prediction.track is None or prediction.smoothed is None:
            doubtful = prediction.confidence < self._style.threshold
            return Subject(prediction, face.crop_to_image, reason, doubtful=doubtful)
        label = steady(self._named.get(prediction.track), prediction.smoothed)
        self._named[prediction.track] = label
        shown = replace(prediction, scores=prediction.smoothed)
        doubtful = bool(shown.scores[label] < self._style.threshold)
        return Subject(
            shown, face.crop_to_image, reason, prediction.track, label, doubtful=doubtful
        )


def steady(named: int | None, scores: Scores) -> int:
    """The emotion to name: the previous one, until another exceeds it by `MARGIN`."""
    best = int(scores.argmax())
    return best if named is None or scores[best] > scores[named] + MARGIN else named


class Annotator:
    """Analyses the frames of a video, draws on them and writes them, in parallel."""

    def __init__(self, explainer: Explainer, intake: Intake, settings: Settings) -> None:
        self._explainer = explainer
        self._intake = intake
        self._settings = settings

    async def annotate(
        self,
        video: AsyncVideo,
        write: Callable[[Picture, float], Awaitable[None]],
        question: Question,
        faces: FaceMode,
        planner: FramePlanner,
        window: int,
    ) -> AsyncGenerator[FrameResult]:
        """Write every frame except damaged ones, and yield the results of those analysed.

        Args:
            video: the video.
            write: takes a picture and its time, in seconds from the start of the video.
            question: how each face is explained.
            faces: find faces, or take the whole picture as one aligned face crop.
            planner: decides what is drawn.
            window: most frames in progress.
        """

        async def look(frame: Frame) -> Looked:
            if not frame.sampled:
                return frame, None
            try:
                return frame, await self._explainer.explain_all(frame.picture, question, faces)
            except (BadInput, ModelFailure) as error:
                return frame, error

        async def planning() -> AsyncGenerator[Planned]:
            async with aclosing(overlapped(video.frames(), look, window)) as looked:
                async for frame, found in looked:
                    yield await self._plan(planner, frame, found)

        async def draw(planned: Planned) -> tuple[Picture | None, Planned]:
            return await self._draw(planner, planned[0]), planned

        async with aclosing(overlapped(planning(), draw, self._settings.decoders + 1)) as drawn:
            async for picture, (plan, result) in drawn:
                if picture is not None:
                    await write(picture, plan.frame.time)
                if result is not None:
                    yield result

    async def _plan(self, planner: FramePlanner, frame: Frame, found: Found) -> Planned:
        """In the pool if there are faces, since placing many labels takes time."""
        if not found:
            return planner.plan(frame, found)
        return await self._intake.run_in_turn("plan", planner.plan, frame, found)

    async def _draw(self, planner: FramePlanner, plan: FramePlan) -> Picture | None:
        if plan.frame.damaged:
            return None
        return await self._intake.run_in_turn("draw", planner.draw, plan)


@asynccontextmanager
async def writing(
    video: AsyncVideo, file: BinaryIO, out: BinaryIO, threads: int, max_bytes: int
) -> AsyncIterator[Callable[[Picture, float], Awaitable[None]]]:
    """Write a movie with the sound of a video, in a thread of its own.

    The file is complete when the context ends without an error.

    Args:
        video: the video.
        file: the file that it is read from.
        out: open for reading and writing, empty.
        threads: most threads that encode.
        max_bytes: limit for the size of `out`.

    Raises:
        TooLarge: over the limit.
        OSError: `out` cannot be written.
    """

    def put(step: Callable[[], None]) -> None:
        step()
        out.flush()
        if os.fstat(out.fileno()).st_size > max_bytes:
            raise TooLarge(
                f"the annotated video has more than {max_bytes:,} bytes: ask for parts of it, by "
                "start and end"
            )

    async with own_thread("movie") as thread:

        def begin() -> Movie:
            sound = thread.resources.enter_context(closing(Sound(file, *video.span)))
            movie = Movie(out, fps=video.info.fps, sound=sound, threads=threads)
            return thread.resources.enter_context(closing(movie))

        async def write(picture: Picture, time: float) -> None:
            await thread.run(put, partial(movie.write, picture, time))

        movie = await thread.run(begin)
        yield write
        await thread.run(put, movie.finish)
