"""Explaining faces: found by the decode pool, explained in a lane, drawn in the pool."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.calibration import Calibration
from service.detection import DetectedImage
from service.drawing import Style, Subject, draw, encode_png
from service.errors import BadParameter, NoFace
from service.explanation import (
    Explained,
    ExplainedFace,
    Explanation,
    Faithfulness,
    LiveResult,
    Question,
)
from service.faithfulness import faithfulness, perturbed
from service.intake import Intake
from service.metrics import Metrics
from service.model_lanes import ExplainLane, ScoreLane, Submitter
from service.records import Classification, Face, FaceImage, FaceMode, Picture, Prediction
from service.timings import Timings


class Explainer:
    """Explains faces of single pictures, cameras and videos."""

    def __init__(
        self,
        intake: Intake,
        submitter: Submitter,
        explaining: ExplainLane,
        scoring: ScoreLane,
        metrics: Metrics,
        calibration: Calibration,
    ) -> None:
        """Do nothing yet.

        Args:
            intake: the decode pool.
            submitter: takes questions to the model.
            explaining: the lane for explanations.
            scoring: the lane for scores that measure faithfulness.
            metrics: count the emotions of faces.
            calibration: of the fp32 network's logits.
        """
        self._intake = intake
        self._submitter = submitter
        self._explaining = explaining
        self._scoring = scoring
        self._metrics = metrics
        self._calibration = calibration

    async def explain(
        self,
        detected: DetectedImage,
        question: Question,
        face: int,
        timings: Timings,
        *,
        measured: bool,
        deadline: float,
    ) -> Explained:
        """Explain one of the faces found in a picture, as `Engine.explained` says."""
        timings.note(decode=detected.decode, detect=detected.detect)
        _check_face(face, len(detected.faces))
        crop = detected.crops[face]
        (answer,) = await self._submitter.submit(
            self._explaining, [(crop, question)], deadline=deadline
        )
        timings.note(queue=answer.queue, inference=answer.seconds)
        faithful = await self._measure(crop, answer.result, deadline) if measured else None
        return Explained(
            detected.picture,
            self._explained_face(detected.faces[face], detected.crop_to_image[face], answer.result),
            tuple(other.box for other in detected.faces if other is not detected.faces[face]),
            faithful,
        )

    async def draw(self, explained: Explained, view: str, style: Style) -> bytes:
        """An explanation as a PNG file.

        Raises:
            BadParameter: there is no such view, or this explanation does not have it.
        """
        face = explained.face
        subject = Subject(
            face.prediction,
            face.crop_to_image,
            face.explanation,
            neighbours=explained.neighbours,
            doubtful=face.prediction.confidence < style.threshold,
        )
        return await self._intake.run("draw", _png, view, explained.picture, subject, style)

    async def explain_live(
        self, detected: DetectedImage, question: Question, deadline: float
    ) -> LiveResult:
        """Classify and explain every face of a camera's frame, from one pass of the network."""
        asked = [(crop, question) for crop in detected.crops]
        answers = await self._submitter.submit(self._explaining, asked, deadline=deadline)
        explained = tuple(
            self._explained_face(face, crop_to_image, answer.result)
            for face, crop_to_image, answer in zip(
                detected.faces, detected.crop_to_image, answers, strict=True
            )
        )
        height, width = detected.picture.shape[:2]
        predictions = tuple(each.prediction for each in explained)
        return LiveResult(Classification(width, height, predictions), explained)

    async def explain_all(
        self, decode: Callable[[], Picture], question: Question, faces: FaceMode
    ) -> list[ExplainedFace]:
        """Explain every face of one of many pictures, largest first, waiting for room."""
        detected = await self._intake.detect_in_turn(decode, faces)
        found, transforms = detected.faces, detected.crop_to_image
        asked = [(crop, question) for crop in detected.crops]
        del detected  # the picture need not stay in memory while its crops wait for the model
        answers = await self._submitter.submit(self._explaining, asked, wait=True)
        return [
            self._explained_face(face, crop_to_image, answer.result)
            for face, crop_to_image, answer in zip(found, transforms, answers, strict=True)
        ]

    async def _measure(
        self, crop: FaceImage, explanation: Explanation, deadline: float
    ) -> Faithfulness | None:
        if not explanation.heat.any():
            return None
        faces = await self._intake.run("measure", perturbed, crop, explanation.heat)
        scores: list[np.float32] = []
        most = self._scoring.max_items
        for start in range(0, len(faces), most):
            some = list(faces[start : start + most])
            answers = await self._submitter.submit(self._scoring, some, deadline=deadline)
            scores.extend(answer.result[explanation.target] for answer in answers)
        return faithfulness(np.array(scores))

    def _explained_face(
        self, face: Face, crop_to_image: NDArray[np.float64], explanation: Explanation
    ) -> ExplainedFace:
        """The face with its explanation, and probabilities from the same logits."""
        prediction = Prediction(face, self._calibration.scores(explanation.logits))
        self._metrics.classified(prediction.emotion)
        return ExplainedFace(prediction, crop_to_image, explanation)


def _png(view: str, picture: Picture, subject: Subject, style: Style) -> bytes:
    return encode_png(draw(view, picture, subject, style))


def _check_face(face: int, found: int) -> None:
    if not found:
        raise NoFace("no face was found: send a picture that shows one, or use faces=whole")
    if not 0 <= face < found:
        raise BadParameter(f"face {face}: this picture has {found}, of which the largest is face 0")
