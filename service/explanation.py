"""Requests for explanations, and explanations: immutable values, without torch."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.errors import BadParameter
from service.records import EMOTIONS, Box, Classification, Picture, Prediction

Method = Literal["gradcam", "gradcam++", "layercam", "hirescam", "activations"]
Layer = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]
View = Literal["overlay", "face", "heatmap", "panel", "grid", "map"]
Colormap = Literal["jet", "turbo", "viridis", "inferno", "gray"]

METHODS = get_args(Method)
"""The explanation methods; the first is that of the paper."""

LAYERS = get_args(Layer)
"""The convolutional layers that can be explained; the last is that of the paper."""

STRONGEST = 16
"""Number of feature maps in an explanation by ``activations``."""

HeatMap = NDArray[np.float32]
"""Evidence per cell, ``[h, w]``, non-negative, in the method's own unit; 4x4 at conv5.

Cell ``(i, j)`` covers ``[j/w, (j+1)/w] x [i/h, (i+1)/h]`` of the face crop.
"""


@dataclass(frozen=True, slots=True)
class Question:
    """How to explain one face.

    Attributes:
        method: one of `METHODS`.
        layer: one of `LAYERS`.
        target: index in `EMOTIONS` of the emotion to explain; None for the predicted one.

    Raises:
        BadParameter: the method or layer is unknown, or the target out of range.
    """

    method: str = "gradcam"
    layer: str = "conv5"
    target: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadParameter(f"method is one of {', '.join(METHODS)}, not {self.method!r}")
        if self.layer not in LAYERS:
            raise BadParameter(f"layer is one of {', '.join(LAYERS)}, not {self.layer!r}")
        if self.target is not None and not 0 <= self.target < len(EMOTIONS):
            raise BadParameter(f"target is 0 to {len(EMOTIONS) - 1}, not {self.target}")


def check_view(view: str, method: str) -> None:
    """Refuse a view that will have nothing to show, before any work is done.

    Raises:
        BadParameter: ``grid``, which shows feature maps, with another method than ``activations``.
    """
    if view == "grid" and method != "activations":
        raise BadParameter("view=grid shows feature maps: ask for method=activations")


@dataclass(frozen=True, slots=True)
class Features:
    """The feature maps that respond most strongly to a face.

    Attributes:
        maps: float32 ``[K, h, w]``, the positive part, strongest first.
        channels: the channel of each, int64 ``[K]``.
        total: number of channels of the layer.
    """

    maps: NDArray[np.float32]
    channels: NDArray[np.int64]
    total: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a face's score.

    Attributes:
        question: the method, layer and target that were asked for.
        target: index in `EMOTIONS` of the emotion that is explained.
        logits: float32 ``[6]``, uncalibrated, from the same pass as the map.
        heat: the map before normalisation; all zero if there is no evidence for the target.
        features: the strongest feature maps; only for ``activations``.
    """

    question: Question
    target: int
    logits: NDArray[np.float32]
    heat: HeatMap
    features: Features | None = None

    @property
    def logit(self) -> float:
        """The target's logit."""
        return float(self.logits[self.target])

    @property
    def maximum(self) -> float:
        """The highest value of the map, before normalisation."""
        return float(self.heat.max())

    @property
    def empty(self) -> bool:
        """Whether there is no evidence for the target."""
        return self.maximum == 0.0


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How well a map shows the pixels that the score depends on; each number is from 0 to 1.

    Attributes:
        deletion: area under the target's probability while pixels are greyed out, strongest
            evidence first; lower is better (Petsiuk et al., 2018, arXiv 1806.07421).
        insertion: likewise while they are restored in a blurred face; higher is better.
        road_morf: mean probability while the most relevant pixels are imputed away; lower is
            better (Rong et al., 2022, arXiv 2202.00449).
        road_lerf: likewise for the least relevant; higher is better.
    """

    deletion: float
    insertion: float
    road_morf: float
    road_lerf: float


@dataclass(frozen=True, slots=True)
class ExplainedFace:
    """A face with its scores and their explanation.

    Attributes:
        prediction: the face and its scores, from the same pass as the map.
        crop_to_image: affine map from its crop to the picture, as in `DetectedImage`.
        explanation: the map.
    """

    prediction: Prediction
    crop_to_image: NDArray[np.float64]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanation of one face of a picture.

    Attributes:
        picture: the upright picture.
        face: the explained face.
        neighbours: the boxes of the other faces.
        faithfulness: of the map; None if the map is empty or this was not asked for.
    """

    picture: Picture
    face: ExplainedFace
    neighbours: tuple[Box, ...]
    faithfulness: Faithfulness | None


@dataclass(frozen=True, slots=True)
class LiveResult:
    """The result for one frame of a camera.

    Attributes:
        classification: its faces.
        explained: the same faces with explanations, if requested; else empty.
    """

    classification: Classification
    explained: tuple[ExplainedFace, ...] = ()
