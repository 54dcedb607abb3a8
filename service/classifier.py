"""Classifying pictures: faces found by the decode pool, scored in a lane."""

from collections.abc import Callable

from service.detection import DetectedImage
from service.intake import Intake
from service.metrics import Metrics
from service.model_lanes import ScoreLane, Submitter
from service.records import Classification, FaceMode, Picture, Prediction
from service.timings import Timings


class Classifier:
    """Classifies single pictures, and frames of batches and videos."""

    def __init__(self, intake: Intake, submitter: Submitter, metrics: Metrics) -> None:
        self._intake = intake
        self._submitter = submitter
        self._metrics = metrics

    async def classify_in_turn(
        self,
        decode: Callable[[], Picture],
        faces: FaceMode,
        lane: ScoreLane,
        timings: Timings,
        deadline: float | None = None,
    ) -> Classification:
        """Classify the faces of one of many pictures, waiting for room.

        Args:
            decode: returns the upright picture.
            faces: find faces, or take the whole picture as one aligned face crop.
            lane: where the faces are submitted.
            timings: told what each step took.
            deadline: moment on the batcher's clock after which nobody needs the answer.

        Raises:
            ServiceError: as `Engine.classify_frames` says.
        """
        detected = await self._intake.detect_in_turn(decode, faces, deadline)
        return await self.score(detected, lane, timings, deadline=deadline, wait=True)

    async def score(
        self,
        detected: DetectedImage,
        lane: ScoreLane,
        timings: Timings,
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> Classification:
        """Classify the faces that were found in a picture.

        Args:
            detected: the picture and its faces.
            lane: where the faces are submitted.
            timings: told what each step took, those before this one included.
            deadline: moment on the batcher's clock after which nobody needs the answer.
            wait: wait for room instead of being refused.

        Raises:
            ServiceError: as `Engine.classify` says.
        """
        timings.note(decode=detected.decode, detect=detected.detect)
        height, width = detected.picture.shape[:2]
        found, crops = detected.faces, detected.crops
        del detected  # the picture need not stay in memory while its crops wait for the model
        answers = await self._submitter.submit(lane, crops, deadline=deadline, wait=wait)
        for answer in answers:
            timings.note(queue=answer.queue, inference=answer.seconds)
        predictions = tuple(
            Prediction(face, answer.result) for face, answer in zip(found, answers, strict=True)
        )
        for prediction in predictions:
            self._metrics.classified(prediction.emotion)
        return Classification(width, height, predictions)
