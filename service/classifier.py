"""A picture's way to its classification: looked at in the pool, scored in a lane."""

from collections.abc import Callable, Sequence
from typing import Any

from service.intake import DetectedImage, Intake
from service.lanes import Answer
from service.metrics import Metrics
from service.model_lanes import ScoreLane, Submitter
from service.records import Classification, FaceMode, Picture, Prediction, Timings


class Classifier:
    """Classifies pictures, whether sent alone or as frames of a batch or a video."""

    def __init__(self, intake: Intake, submitter: Submitter, metrics: Metrics) -> None:
        self._intake = intake
        self._submitter = submitter
        self._metrics = metrics

    async def classify_in_turn(
        self,
        decode: Callable[[], Picture],
        faces: FaceMode,
        lane: ScoreLane,
        deadline: float | None = None,
    ) -> Classification:
        """Classify the faces of one of many pictures; it waits for room.

        Args:
            decode: gives the upright picture.
            faces: find faces, or take the whole picture as one aligned face crop.
            lane: whose turn it takes at the model.
            deadline: moment on the batcher's clock after which nobody needs the answer.

        Raises:
            ServiceError: as `Engine.classify_frames` says.
        """
        scene = await self._intake.detect_in_turn(decode, faces, deadline)
        return await self.score(scene, lane, deadline=deadline, wait=True)

    async def score(
        self,
        scene: DetectedImage,
        lane: ScoreLane,
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> Classification:
        """Classify the faces of a picture that was looked at.

        Args:
            scene: the picture.
            lane: whose turn it takes at the model.
            deadline: moment on the batcher's clock after which nobody needs the answer.
            wait: wait for room instead of being refused.

        Raises:
            ServiceError: as `Engine.classify` says.
        """
        height, width = scene.picture.shape[:2]
        found, crops, looked = scene.faces, scene.crops, (scene.decode, scene.detect)
        del scene  # whoever waits for the model needs the crops alone
        answers = await self._submitter.submit(lane, crops, deadline=deadline, wait=wait)
        predictions = tuple(
            Prediction(face, answer.result) for face, answer in zip(found, answers, strict=True)
        )
        for prediction in predictions:
            self._metrics.classified(prediction.emotion)
        return Classification(width, height, predictions, timings(*looked, answers))


def timings(decode: float, detect: float, answers: Sequence[Answer[Any]]) -> Timings:
    """Where the time of one picture went; what happened side by side counts once."""
    return Timings(
        decode=decode,
        detect=detect,
        queue=max((answer.queue for answer in answers), default=0.0),
        inference=max((answer.seconds for answer in answers), default=0.0),
    )
