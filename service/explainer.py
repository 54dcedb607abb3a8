"""Faces explained: looked at in the pool, asked about in the explaining lane."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.classifier import timings
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
from service.intake import DetectedImage, Intake
from service.metrics import Metrics
from service.model_lanes import ExplainLane, ScoreLane, Submitter
from service.records import Classification, Face, FaceImage, FaceMode, Picture, Prediction


class Explainer:
    """The one way to explanations, for single pictures and for those of many."""

    def __init__(
        self,
        intake: Intake,
        submitter: Submitter,
        explaining: ExplainLane,
        scoring: ScoreLane,
        metrics: Metrics,
        temperature: float,
    ) -> None:
        """Use the parts.

        Args:
            intake: the pool.
            submitter: where the model is asked.
            explaining: the lane for explanations.
            scoring: the lane for the scores that measure a map.
            metrics: told of every face that gets scores.
            temperature: of the full network's logits.
        """
        self._intake = intake
        self._submitter = submitter
        self._explaining = explaining
        self._scoring = scoring
        self._metrics = metrics
        self._temperature = temperature

    async def explain(
        self,
        scene: DetectedImage,
        question: Question,
        face: int,
        *,
        measured: bool,
        deadline: float,
    ) -> Explained:
        """Explain one face of a picture that was looked at, as `Engine.explain` says."""
        _check_face(face, len(scene.faces))
        crop = scene.crops[face]
        (answer,) = await self._submitter.submit(
            self._explaining, [(crop, question)], deadline=deadline
        )
        faithful = await self._measure(crop, answer.result, deadline) if measured else None
        return Explained(
            scene.picture,
            self._explained(scene.faces[face], scene.crop_to_image[face], answer.result),
            tuple(other.box for other in scene.faces if other is not scene.faces[face]),
            faithful,
            timings(scene.decode, scene.detect, [answer]),
        )

    async def draw(self, explained: Explained, view: str, style: Style) -> bytes:
        """An explanation as a PNG file.

        Raises:
            BadParameter: no such view, or one that this explanation cannot give.
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
        self, scene: DetectedImage, question: Question, deadline: float
    ) -> LiveResult:
        """Classify and explain every face of a camera's frame, from one pass of the network."""
        asked = [(crop, question) for crop in scene.crops]
        answers = await self._submitter.submit(self._explaining, asked, deadline=deadline)
        explained = tuple(
            self._explained(face, crop_to_image, answer.result)
            for face, crop_to_image, answer in zip(
                scene.faces, scene.crop_to_image, answers, strict=True
            )
        )
        height, width = scene.picture.shape[:2]
        took = timings(scene.decode, scene.detect, answers)
        predictions = tuple(each.prediction for each in explained)
        return LiveResult(Classification(width, height, predictions, took), explained)

    async def explain_all(
        self, decode: Callable[[], Picture], question: Question, faces: FaceMode
    ) -> list[ExplainedFace]:
        """Explain every face of one of many pictures, the largest first; it waits for room."""
        scene = await self._intake.detect_in_turn(decode, faces)
        found, transforms = scene.faces, scene.crop_to_image
        asked = [(crop, question) for crop in scene.crops]
        del scene  # whoever waits for the model needs the crops alone
        answers = await self._submitter.submit(self._explaining, asked, wait=True)
        return [
            self._explained(face, crop_to_image, answer.result)
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

    def _explained(
        self, face: Face, crop_to_image: NDArray[np.float64], explanation: Explanation
    ) -> ExplainedFace:
        """The face with the probabilities that the full network's logits stand for."""
        scaled = explanation.logits / self._temperature
        powers = np.exp(scaled - scaled.max())
        prediction = Prediction(face, powers / powers.sum())
        self._metrics.classified(prediction.emotion)
        return ExplainedFace(prediction, crop_to_image, explanation)


def _png(view: str, picture: Picture, subject: Subject, style: Style) -> bytes:
    return encode_png(draw(view, picture, subject, style))


def _check_face(face: int, found: int) -> None:
    if not found:
        raise NoFace("no face was found: send a picture that shows one, or use faces=whole")
    if not 0 <= face < found:
        raise BadParameter(f"face is 0 to {found - 1} in this picture, not {face}")
