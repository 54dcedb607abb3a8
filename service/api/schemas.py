"""The wire models: what the OpenAPI document promises, and how records become it.

Answers are built as plain dictionaries and not validated again; a test holds them to the models.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.records import EMOTIONS, LANDMARKS, Classification, Face, ModelInfo, Prediction

Emotion = Literal["happiness", "surprise", "sadness", "anger", "disgust", "fear"]


class ModelRef(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["gimefive"])
    version: str = Field(examples=["1"])
    precision: Literal["fp32", "int8", "fp16"]


class ImageSize(BaseModel):
    """The upright image, in pixels."""

    width: int = Field(examples=[512])
    height: int = Field(examples=[512])


class BoxModel(BaseModel):
    """A rectangle in the upright image, in pixels; it may reach over the edge."""

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
    """One face and what it shows."""

    box: BoxModel
    landmarks: LandmarksModel | None = Field(description="Null with faces=whole.")
    detection_score: float | None = Field(description="Null with faces=whole.")
    emotion: Emotion
    confidence: float = Field(description="The score of `emotion`.")
    abstained: bool = Field(description="Whether the confidence is below the threshold.")
    scores: ScoresModel


class ClassifyResponse(BaseModel):
    """The faces of one image, the largest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": {"name": "gimefive", "version": "1", "precision": "int8"},
                    "image": {"width": 512, "height": 512},
                    "faces": [
                        {
                            "box": {"x": 171, "y": 58, "width": 126, "height": 170},
                            "landmarks": {
                                "right_eye": [203.1, 120.4],
                                "left_eye": [262.7, 118.9],
                                "nose": [236.0, 152.2],
                                "right_mouth": [212.5, 184.8],
                                "left_mouth": [259.3, 183.1],
                            },
                            "detection_score": 0.93,
                            "emotion": "happiness",
                            "confidence": 0.97,
                            "abstained": False,
                            "scores": {
                                "happiness": 0.97,
                                "surprise": 0.01,
                                "sadness": 0.0,
                                "anger": 0.01,
                                "disgust": 0.0,
                                "fear": 0.01,
                            },
                        }
                    ],
                }
            ]
        }
    )

    model: ModelRef
    image: ImageSize
    faces: list[FaceModel]


class ModelEntry(BaseModel):
    """A model of the store."""

    name: str
    versions: list[str]
    serving: dict[str, str] | None = Field(
        description="Version, precision, device, SHA-256 and why, of the one that answers."
    )


class ModelList(BaseModel):
    """The models of the store."""

    models: list[ModelEntry]


def classification(answer: Classification, model: ModelInfo, threshold: float) -> dict[str, Any]:
    """A `ClassifyResponse`."""
    return {
        "model": {"name": model.name, "version": model.version, "precision": model.precision},
        "image": {"width": answer.width, "height": answer.height},
        "faces": [face(prediction, threshold) for prediction in answer.predictions],
    }


def face(prediction: Prediction, threshold: float) -> dict[str, Any]:
    """A `FaceModel`."""
    scores = prediction.scores.tolist()
    confidence = prediction.confidence
    return {
        **_place(prediction.face),
        "emotion": prediction.emotion,
        "confidence": confidence,
        "abstained": confidence < threshold,
        "scores": dict(zip(EMOTIONS, scores, strict=True)),
    }


def _place(found: Face) -> dict[str, Any]:
    box, points = found.box, found.landmarks
    return {
        "box": {
            "x": round(box.x),
            "y": round(box.y),
            "width": round(box.width),
            "height": round(box.height),
        },
        "landmarks": points
        and {
            name: [round(x, 1), round(y, 1)] for name, (x, y) in zip(LANDMARKS, points, strict=True)
        },
        "detection_score": found.detection_score,
    }
