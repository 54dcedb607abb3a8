"""The wire models: what the OpenAPI document promises, and how records become it.

Answers are built as plain dictionaries and not validated again; a test holds them to the models.
"""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.contract.problems import Problem
from service.explanation import Explained, LiveResult
from service.records import (
    EMOTIONS,
    LANDMARKS,
    Classification,
    Emotion,
    Face,
    ModelInfo,
    Prediction,
    Scores,
)


class ModelRef(BaseModel):
    """The model that answered."""

    name: str = Field(examples=["gimefive"])
    version: str = Field(examples=["1"])
    precision: Literal["fp32", "int8", "fp16"]


class ImageSize(BaseModel):
    """The upright image, in pixels."""

    width: int = Field(examples=[512])
    height: int = Field(examples=[512])


class BoxModel(BaseModel):
    """A rectangle in the upright image, in pixels; it may extend past the edges."""

    x: int
    y: int
    width: int
    height: int


class LandmarksModel(BaseModel):
    """Five points, x and y in pixels; right and left are the person's own."""

    right_eye: tuple[float, float]
    left_eye: tuple[float, float]
    nose: tuple[float, float]
    right_mouth: tuple[float, float]
    left_mouth: tuple[float, float]


class ScoresModel(BaseModel):
    """Calibrated probabilities; they sum to 1."""

    happiness: float
    surprise: float
    sadness: float
    anger: float
    disgust: float
    fear: float


class FaceModel(BaseModel):
    """A face and its scores."""

    box: BoxModel
    landmarks: LandmarksModel | None = Field(description="Null with faces=whole.")
    detection_score: float | None = Field(description="Null with faces=whole.")
    emotion: Emotion
    confidence: float = Field(description="The score of `emotion`.")
    abstained: bool = Field(description="Whether the confidence is below the threshold.")
    scores: ScoresModel


class FollowedFaceModel(FaceModel):
    """A face in a frame."""

    track: int | None = Field(
        None, description="The person's number, from 1; set if faces are tracked."
    )
    smoothed: ScoresModel | None = Field(
        None, description="The person's recent scores, averaged; set with `track`."
    )


class ClassifyResponse(BaseModel):
    """The faces of one image, the largest first."""

    model: ModelRef
    image: ImageSize
    faces: list[FaceModel]


class FrameModel(BaseModel):
    """The result for one frame of a batch."""

    index: int
    name: str = Field(description="The file's name.")
    status: Literal["ok", "error"]
    image: ImageSize | None = Field(None, description="Present if status is ok.")
    faces: list[FollowedFaceModel] | None = Field(None, description="Present if status is ok.")
    problem: Problem | None = Field(None, description="Present if status is error.")


class FramesResponse(BaseModel):
    """The faces of each frame of a batch, in order."""

    model: ModelRef
    frames: list[FrameModel]


class LiveFace(FollowedFaceModel):
    """A face in a camera's frame."""

    map: list[list[float]] | None = Field(None, description="The raw map, if `explain` was given.")
    place: list[list[float]] | None = Field(
        None, description="Where the map lies in the frame, as in /explain."
    )


class LiveAnswer(BaseModel):
    """The faces in one frame, or why there is no answer for it."""

    seq: int = Field(description="The frame's number, counted from 0.")
    dropped: int = Field(description="Frames skipped since the previous answer.")
    image: ImageSize | None = None
    faces: list[LiveFace] | None = None
    problem: Problem | None = None


class FaithfulnessModel(BaseModel):
    """How well the map finds the pixels that the score depends on, each from 0 to 1."""

    deletion: float = Field(description="Area under the curve; lower is better.")
    insertion: float = Field(description="Area under the curve; higher is better.")
    road_morf: float = Field(description="Most relevant first; lower is better.")
    road_lerf: float = Field(description="Least relevant first; higher is better.")


class ExplanationModel(BaseModel):
    """The evidence for the target."""

    method: str
    layer: str
    target: Emotion
    logit: float = Field(description="The target's logit, before softmax.")
    map: list[list[float]] = Field(description="Before normalising, at the layer's resolution.")
    place: list[list[float]] = Field(
        description="Where the map lies: the affine transform [2, 3] from pixels of the 64x64 face "
        "crop, which it covers, to those of the image, counted from their first pixel's centre."
    )
    max: float = Field(description="The map's maximum.")
    empty: bool = Field(description="Whether there is no evidence for the target.")
    faithfulness: FaithfulnessModel | None = Field(
        description="Null unless requested, and for an empty map, which ranks no pixel."
    )


class ExplainResponse(BaseModel):
    """The explanation of one face's score."""

    model: ModelRef
    image: ImageSize
    face: FaceModel
    explanation: ExplanationModel


class ModelEntry(BaseModel):
    """A model in the store."""

    name: str
    versions: list[str]
    serving: dict[str, str | int] | None = Field(
        description="What is served: version, precision, device, largest batch, SHA-256, and why; "
        "null for other models."
    )


class ModelList(BaseModel):
    """The models in the store."""

    models: list[ModelEntry]


def classification(answer: Classification, model: ModelInfo, threshold: float) -> dict[str, Any]:
    """A `ClassifyResponse`."""
    return {"model": model_ref(model), **found(answer, threshold)}


def model_ref(model: ModelInfo) -> dict[str, str]:
    """A `ModelRef`."""
    return {"name": model.name, "version": model.version, "precision": model.precision}


def found(answer: Classification, threshold: float) -> dict[str, Any]:
    """What was found in one picture: its size and its faces."""
    return {
        "image": {"width": answer.width, "height": answer.height},
        "faces": [face(prediction, threshold) for prediction in answer.predictions],
    }


def live_result(seen: LiveResult, threshold: float) -> dict[str, Any]:
    """What one frame of a camera shows; with explanations, each face has its raw map."""
    answer = found(seen.classification, threshold)
    for told, explained in zip(answer["faces"], seen.explained, strict=bool(seen.explained)):
        told["map"] = explained.explanation.heat.tolist()
        told["place"] = explained.crop_to_image.tolist()
    return answer


def explanation(explained: Explained, model: ModelInfo, threshold: float) -> dict[str, Any]:
    """An `ExplainResponse`."""
    found = explained.face.explanation
    height, width = explained.picture.shape[:2]
    return {
        "model": {"name": model.name, "version": model.version, "precision": "fp32"},
        "image": {"width": width, "height": height},
        "face": face(explained.face.prediction, threshold),
        "explanation": {
            "method": found.question.method,
            "layer": found.question.layer,
            "target": EMOTIONS[found.target],
            "logit": found.logit,
            "map": found.heat.tolist(),
            "place": explained.face.crop_to_image.tolist(),
            "max": found.maximum,
            "empty": found.empty,
            "faithfulness": explained.faithfulness and asdict(explained.faithfulness),
        },
    }


def explanation_headers(explained: Explained) -> dict[str, str]:
    """What the headers of a drawn explanation say."""
    found = explained.face.explanation
    return {
        "X-Emotion": explained.face.prediction.emotion,
        "X-Confidence": f"{explained.face.prediction.confidence:.6f}",
        "X-Target": EMOTIONS[found.target],
        "X-Map-Max": f"{found.maximum:.6g}",
        "X-Map-Empty": str(found.empty).lower(),
        "X-Map-Place": " ".join(f"{value:.6g}" for value in explained.face.crop_to_image.flat),
    }


def face(prediction: Prediction, threshold: float) -> dict[str, Any]:
    """A `FaceModel`, or where people are followed a `FollowedFaceModel`."""
    confidence = prediction.confidence
    return {
        **_geometry(prediction.face),
        "emotion": prediction.emotion,
        "confidence": confidence,
        "abstained": confidence < threshold,
        "scores": named(prediction.scores),
        **_person(prediction),
    }


def named(scores: Scores) -> dict[str, float]:
    """A `ScoresModel`."""
    return dict(zip(EMOTIONS, scores.tolist(), strict=True))


def _person(prediction: Prediction) -> dict[str, Any]:
    if prediction.smoothed is None:
        return {}
    return {"track": prediction.track, "smoothed": named(prediction.smoothed)}


def _geometry(found: Face) -> dict[str, Any]:
    box, points = found.box, found.landmarks
    return {
        "box": {side: round(getattr(box, side)) for side in ("x", "y", "width", "height")},
        "landmarks": points
        and {
            name: [round(x, 1), round(y, 1)] for name, (x, y) in zip(LANDMARKS, points, strict=True)
        },
        "detection_score": found.detection_score,
    }
