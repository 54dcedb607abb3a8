"""What a client answers beyond the API's own models."""

import json
from dataclasses import dataclass

from pydantic import BaseModel

from service.api.schemas import FaceModel, FollowedFaceModel, ScoresModel
from service.client.problems import raised
from service.explanation import Emotion


@dataclass(frozen=True, slots=True)
class ExplainedPicture:
    """A drawn explanation.

    Attributes:
        png: the picture.
        emotion: what the face shows.
        confidence: the score of that.
        target: the emotion that is explained.
        map_max: the map's maximum before normalising.
        empty: whether nothing speaks for the target.
    """

    png: bytes
    emotion: str
    confidence: float
    target: str
    map_max: float
    empty: bool


class VideoHead(BaseModel):
    """What a video says of itself; None where it says nothing."""

    width: int
    height: int
    fps: float | None
    duration: float | None
    frames: int | None
    sampled_frames: int | None


class VideoFrame(BaseModel):
    """The faces of one frame that was looked at."""

    frame: int
    time: float
    faces: list[FollowedFaceModel | FaceModel]


class TrackModel(BaseModel):
    """One person's time in a video."""

    track: int
    first_time: float
    last_time: float
    frames: int
    emotion: Emotion
    scores: ScoresModel


class VideoSummary(BaseModel):
    """What there was in all."""

    frames: int
    faces: int
    tracks: list[TrackModel]


VideoLine = VideoHead | VideoFrame | VideoSummary


def video_line(line: str) -> VideoLine:
    """One line of a video's answer.

    Raises:
        ServiceError: the line says that the work broke off.
    """
    content = json.loads(line)
    match content:
        case {"problem": problem}:
            raise raised(problem)
        case {"video": head}:
            return VideoHead.model_validate(head)
        case {"summary": summary}:
            return VideoSummary.model_validate(summary)
        case _:
            return VideoFrame.model_validate(content)
