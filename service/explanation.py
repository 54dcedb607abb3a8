"""Questions about a prediction, and their explanations: immutable values, without torch."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.errors import BadParameter
from service.records import EMOTIONS, Box, Classification, Picture, Prediction, Timings

Method = Literal["gradcam", "gradcam++", "layercam", "hirescam", "activations"]
Layer = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]
View = Literal["overlay", "face", "heatmap", "panel", "grid", "map"]
Colormap = Literal["jet", "turbo", "viridis", "inferno", "gray"]

METHODS = get_args(Method)
"""The methods; the first is the paper's."""

LAYERS = get_args(Layer)
"""The convolutions that can be explained; the last is the paper's."""

STRONGEST = 16
"""How many feature maps an explanation by activations has."""

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


@dataclass(frozen=True, slots=True)
class Features:
    """The feature maps that respond most strongly to a face.

    Attributes:
        maps: float32 ``[K, h, w]``, the positive part, strongest first.
        channels: the channel of each, int64 ``[K]``.
        total: how many channels the layer has.
    """

    maps: NDArray[np.float32]
    channels: NDArray[np.int64]
    total: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a face got its score.

    Attributes:
        question: what was asked.
        target: index in `EMOTIONS` of the emotion that is explained.
        logits: float32 ``[6]``, uncalibrated, from the same pass as the map.
        heat: the map before normalising; all zero if there is no evidence for the target.
        features: the strongest feature maps; for ``activations`` only.
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
        """The strongest cell, before normalising."""
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
    """A face, and why it got its scores.

    Attributes:
        prediction: the face and its scores, from the same pass as the map.
        crop_to_image: from its crop to the picture, as in `DetectedImage`.
        explanation: the map.
    """

    prediction: Prediction
    crop_to_image: NDArray[np.float64]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one face of a picture got its scores.

    Attributes:
        picture: the upright picture.
        face: the one that is explained.
        neighbours: the boxes of the other faces.
        faithfulness: of the map; None if it is empty, or faithfulness was not asked for.
        timings: where the time went.
    """

    picture: Picture
    face: ExplainedFace
    neighbours: tuple[Box, ...]
    faithfulness: Faithfulness | None
    timings: Timings


@dataclass(frozen=True, slots=True)
class LiveResult:
    """What one frame of a camera shows.

    Attributes:
        classification: its faces.
        explained: the same faces with explanations, if they were asked for; else empty.
    """

    classification: Classification
    explained: tuple[ExplainedFace, ...] = ()
