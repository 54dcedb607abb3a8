"""Many pictures of the same people: batches of frames."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from service.errors import BadInput, ModelFailure, ServiceError
from service.intake import FaceMode, Intake
from service.pipeline import overlapped
from service.records import Classification, Picture
from service.settings import Settings
from service.sight import Sight
from service.tracks import Tracker
from service.work import ScoreLane

T = TypeVar("T")

FRAME_SECONDS = 0.1
"""How far apart the frames of a batch are taken to be, since nobody says."""


class Footage:
    """The ways of many pictures; they wait for room, so that single ones go first."""

    def __init__(self, sight: Sight, intake: Intake, bulk: ScoreLane, settings: Settings) -> None:
        self._sight = sight
        self._intake = intake
        self._bulk = bulk
        self._half_life = settings.half_life
        self._window = max(settings.max_batch, 2 * settings.decoders)

    async def frames(
        self,
        frames: Sequence[Callable[[], Picture]],
        faces: FaceMode,
        track: bool,
        deadline: float,
    ) -> list[Classification | ServiceError]:
        """What becomes of each frame of a batch, in order, as `Engine.classify_frames` says."""

        async def one(decode: Callable[[], Picture]) -> Classification | ServiceError:
            try:
                return await self._sight.classify(
                    decode, faces, self._bulk, deadline=deadline, patient=True
                )
            except (BadInput, ModelFailure) as error:
                return error

        with self._intake.places(len(frames)):
            async with aclosing(overlapped(_each(frames), one, self._window)) as results:
                answers = [answer async for answer in results]
        return self._followed(answers) if track else answers

    def _followed(
        self, answers: Sequence[Classification | ServiceError]
    ) -> list[Classification | ServiceError]:
        tracker = Tracker(self._half_life)
        return [
            replace(answer, predictions=tracker.follow(index * FRAME_SECONDS, answer.predictions))
            if isinstance(answer, Classification)
            else answer
            for index, answer in enumerate(answers)
        ]


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
