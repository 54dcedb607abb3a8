"""Faces explained: looked at in the pool, asked about in the explaining lane."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.classifier import timings
from service.errors import BadParameter, NoFace
from service.explanation import Explained, Explanation, Faithfulness, Glance, Question
from service.faithfulness import faithfulness, perturbed
from service.intake import Intake, Scene
from service.metrics import Metrics
from service.model_lanes import ExplainLane, ScoreLane, Submitter
from service.records import Classification, Face, FaceImage, FaceMode, Picture, Prediction


@dataclass(frozen=True, slots=True)
class ExplainedFace:
    """A face of a frame, and why it got its scores.

    Attributes:
        prediction: the face and its scores, from the same pass as the map.
        place: where the face's crop lies in the picture, as in `Scene.places`.
        explanation: the map.
    """

    prediction: Prediction
    place: NDArray[np.float64]
    explanation: Explanation


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
        scene: Scene,
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
        explanation = answer.result
        faithful = await self._measure(crop, explanation, deadline) if measured else None
        prediction = self._prediction(scene.faces[face], explanation)
        return Explained(
            scene.picture,
            scene.places[face],
            tuple(other.box for other in scene.faces if other is not scene.faces[face]),
            prediction,
            explanation,
            faithful,
            timings(scene.decode, scene.detect, [answer]),
        )

    async def glance(self, scene: Scene, question: Question, deadline: float) -> Glance:
        """Classify and explain every face of a camera's frame, from one pass of the network."""
        asked = [(crop, question) for crop in scene.crops]
        answers = await self._submitter.submit(self._explaining, asked, deadline=deadline)
        explanations = tuple(answer.result for answer in answers)
        predictions = tuple(
            self._prediction(face, explanation)
            for face, explanation in zip(scene.faces, explanations, strict=True)
        )
        height, width = scene.picture.shape[:2]
        took = timings(scene.decode, scene.detect, answers)
        seen = Classification(width, height, predictions, took)
        return Glance(seen, explanations, scene.places)

    async def explain_all(
        self, decode: Callable[[], Picture], question: Question, faces: FaceMode
    ) -> list[ExplainedFace]:
        """Explain every face of one of many pictures, the largest first; it waits for room."""
        scene = await self._intake.look_in_turn(decode, faces)
        found, places = scene.faces, scene.places
        asked = [(crop, question) for crop in scene.crops]
        del scene  # whoever waits for the model needs the crops alone
        answers = await self._submitter.submit(self._explaining, asked, wait=True)
        return [
            ExplainedFace(self._prediction(face, answer.result), place, answer.result)
            for face, place, answer in zip(found, places, answers, strict=True)
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

    def _prediction(self, face: Face, explanation: Explanation) -> Prediction:
        """The face with the probabilities that the full network's logits stand for."""
        scaled = explanation.logits / self._temperature
        powers = np.exp(scaled - scaled.max())
        prediction = Prediction(face, powers / powers.sum())
        self._metrics.classified(prediction.emotion)
        return prediction


def _check_face(face: int, found: int) -> None:
    if not found:
        raise NoFace("no face was found: send a picture that shows one, or use faces=whole")
    if not 0 <= face < found:
        raise BadParameter(f"face is 0 to {found - 1} in this picture, not {face}")
