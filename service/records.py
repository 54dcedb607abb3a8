"""The values that travel through the service: frozen, with their own arithmetic only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.errors import BadInput, ModelFailure

Emotion = Literal["happiness", "surprise", "sadness", "anger", "disgust", "fear"]
"""The classes that the network tells apart."""

EMOTIONS: tuple[str, ...] = get_args(Emotion)
"""All of them, in the order of the network's outputs."""

FACE_SIZE = 64
"""Side of the square grey face that the network reads, in pixels."""

LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""The detector's five points; right and left are the person's own."""

FaceMode = Literal["detect", "whole"]
"""Find the faces of a picture, or take it whole as one aligned face."""

Picture = NDArray[np.uint8]
"""An upright RGB picture, ``[height, width, 3]``."""

FaceImage = NDArray[np.uint8]
"""A grey face as the network reads it, ``[64, 64]``."""

Scores = NDArray[np.float32]
"""Calibrated probabilities ``[6]`` in the order of `EMOTIONS`, or ``[N, 6]``."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in the upright picture, in pixels from its top left; it may reach outside."""

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
    """A face that was found in a picture.

    Attributes:
        box: where it is.
        landmarks: the points named in `LANDMARKS`, x and y in pixels; None if nobody looked.
        detection_score: the detector's confidence, 0 to 1; None if nobody looked.
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a face shows.

    Attributes:
        face: the face.
        scores: float32 ``[6]``, calibrated, summing to 1, not rounded.
        track: the person's number, from 1, where people are followed through frames.
        smoothed: there, the person's scores over the last moments, like `scores`.
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
class Timings:
    """Where the time of one request went, in seconds."""

    decode: float = 0.0
    detect: float = 0.0
    queue: float = 0.0
    inference: float = 0.0

    @classmethod
    def longest(cls, each: Iterable["Timings"]) -> "Timings":
        """Where the time of several at once went: what happened side by side counts once."""
        rows = [astuple(timings) for timings in each]
        return cls(*map(max, zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one picture.

    Attributes:
        width: of the upright picture, in pixels.
        height: likewise.
        predictions: one a face, the largest face first.
        timings: where the time went.
    """

    width: int
    height: int
    predictions: tuple[Prediction, ...]
    timings: Timings


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video says of itself.

    Attributes:
        width: of the upright picture, in pixels.
        height: likewise.
        fps: frames a second, on average; None if it does not say.
        duration: in seconds; None if it does not say.
        frames: how many there are; None if it does not say.
        sampled_frames: how many of them are to be looked at, nearly; None if that cannot be told.
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
        frame: its number in the video, from 0.
        time: when it is shown, in seconds from the video's start.
        predictions: one a face, the largest face first.
        problem: why there is no answer; None if there is.
    """

    frame: int
    time: float
    predictions: tuple[Prediction, ...]
    problem: BadInput | ModelFailure | None = None


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One person's time in a video.

    Attributes:
        track: the person's number.
        first_time: when first seen, in seconds from the video's start.
        last_time: when last seen.
        frames: in how many frames.
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
    """A video in a few numbers.

    Attributes:
        frames: that were looked at.
        faces: found in them.
        tracks: the people, in order of appearance; none where nobody was followed.
    """

    frames: int
    faces: int
    tracks: tuple[TrackSummary, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model as it is deployed.

    Attributes:
        name: in the store, ``gimefive``.
        version: in the store, ``1``.
        precision: ``fp32``, ``int8`` or ``fp16``.
        device: ``cpu`` or ``cuda:0``.
        sha256: of the artefact in use, hexadecimal.
        reason: why this precision and device, in words.
        max_batch: the largest batch that pays.
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
    """How a model process is to run.

    Attributes:
        store: the model store's folder.
        version: of gimefive; None for the highest.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``int8`` or ``fp16``.
        threads: torch's, in this process.
        max_batch: largest batch that it will be sent; None if it is to find out itself.
    """

    store: str
    version: str | None
    device: str
    precision: str
    threads: int
    max_batch: int | None


WorkerCommand = Callable[[WorkerConfig], Sequence[str]]
"""Makes the command line of a model process."""
