"""Immutable values shared by the parts of the service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.errors import BadInput, ModelFailure

Emotion = Literal["happiness", "surprise", "sadness", "anger", "disgust", "fear"]
"""The classes of the network."""

EMOTIONS: tuple[str, ...] = get_args(Emotion)
"""The classes, in the order of the network's outputs."""

FACE_SIZE = 64
"""Side of the square grey face that the network reads, in pixels."""

LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""The detector's five landmarks; right and left are those of the person."""

Refusal = Literal[
    "queue_full",
    "intake_full",
    "deadline",
    "not_ready",
    "memory_full",
    "disk_full",
    "videos_full",
    "cameras_full",
    "rate_limited",
]
"""Reasons for refusing requests, as counted by the metrics."""

DropReason = Literal["expired", "cancelled"]
"""Reasons for dropping accepted work, as counted by the metrics."""

FaceMode = Literal["detect", "whole"]
"""Detect the faces of a picture, or treat all of it as one aligned face."""

Picture = NDArray[np.uint8]
"""An upright RGB picture, ``[height, width, 3]``."""

FaceImage = NDArray[np.uint8]
"""A grey face, the network's input, ``[64, 64]``."""

Scores = NDArray[np.float32]
"""Calibrated probabilities ``[6]`` in the order of `EMOTIONS`, or ``[N, 6]``."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in the upright picture, in pixels from its top left; it may extend outside."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture.

    Attributes:
        box: its position.
        landmarks: the points of `LANDMARKS`, x and y in pixels; None without detection.
        detection_score: the detector's confidence, 0 to 1; None without detection.
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The emotion of a face.

    Attributes:
        face: the face.
        scores: float32 ``[6]``, calibrated, summing to 1, not rounded.
        track: the person's number, from 1; None without tracking.
        smoothed: the person's scores, averaged over recent frames; None without tracking.
    """

    face: Face
    scores: Scores
    track: int | None = None
    smoothed: Scores | None = None

    @property
    def emotion(self) -> str:
        """The emotion with the highest score."""
        return EMOTIONS[int(self.scores.argmax())]

    @property
    def confidence(self) -> float:
        """The highest score."""
        return float(self.scores.max())


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one picture.

    Attributes:
        width: of the upright picture, in pixels.
        height: likewise.
        predictions: one per face, largest face first.
    """

    width: int
    height: int
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The properties of a video that its container states; None for those it does not state.

    Attributes:
        width: of the upright picture, in pixels.
        height: likewise.
        fps: frames per second, on average.
        duration: in seconds.
        frames: number of frames.
        sampled_frames: approximate number of sampled frames; None if unknown.
    """

    width: int
    height: int
    fps: float | None
    duration: float | None
    frames: int | None
    sampled_frames: int | None


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The answer for one frame of a video.

    Attributes:
        frame: its index in the video, from 0.
        time: its presentation time, in seconds from the start of the video.
        predictions: one per face, largest face first.
        problem: the error, if there is no answer; else None.
    """

    frame: int
    time: float
    predictions: tuple[Prediction, ...]
    problem: BadInput | ModelFailure | None = None


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One person in a video.

    Attributes:
        track: the person's number.
        first_time: time of the first detection, in seconds from the start of the video.
        last_time: time of the last detection.
        frames: number of frames with the person.
        scores: float32 ``[6]``, the mean over those frames.
    """

    track: int
    first_time: float
    last_time: float
    frames: int
    scores: Scores

    @property
    def emotion(self) -> str:
        """The emotion with the highest mean score."""
        return EMOTIONS[int(self.scores.argmax())]


@dataclass(frozen=True, slots=True)
class Summary:
    """The totals of a video.

    Attributes:
        frames: number of sampled frames.
        faces: number of faces in them.
        tracks: the people, in order of appearance; empty without tracking.
    """

    frames: int
    faces: int
    tracks: tuple[TrackSummary, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model as it is deployed.

    Attributes:
        name: in the store, such as ``gimefive``.
        version: in the store, such as ``1``.
        precision: ``fp32``, ``int8`` or ``fp16``.
        device: ``cpu`` or ``cuda:0``.
        sha256: of the artefact in use, hexadecimal.
        reason: why this precision was chosen.
        max_batch: the largest efficient batch size; see `service.worker`.
    """

    name: str
    version: str
    precision: str
    device: str
    sha256: str
    reason: str
    max_batch: int


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a model process.

    Attributes:
        store: the model store's folder.
        version: of gimefive; None for the highest.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``int8`` or ``fp16``.
        threads: number of torch threads.
        max_batch: the largest batch to expect; None to measure the largest efficient size.
    """

    store: str
    version: str | None
    device: str
    precision: str
    threads: int
    max_batch: int | None


WorkerCommand = Callable[[WorkerConfig], Sequence[str]]
"""Returns the command line of a model process."""
