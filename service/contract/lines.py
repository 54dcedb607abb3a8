"""The answer to a video: lines of JSON, or rows of CSV."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

from pydantic import BaseModel, Field, RootModel

from service.contract import schemas
from service.contract.problems import Problem, problem_of
from service.csv_text import csv_text
from service.errors import ServiceError
from service.records import EMOTIONS, Emotion, FrameResult, Summary, TrackSummary, VideoInfo

COLUMNS: list[object] = [
    *("frame", "time", "track", "x", "y", "width", "height", "detection_score"),
    *("emotion", "confidence", *EMOTIONS),
]

Answer = VideoInfo | FrameResult | Summary


class VideoHead(BaseModel):
    """A video's properties; null where the container does not say."""

    width: int
    height: int
    fps: float | None
    duration: float | None
    frames: int | None
    sampled_frames: int | None = Field(
        description="How many frames are sampled: an estimate from rate and duration, which may be "
        "off where the rate varies. The summary's `frames` is exact."
    )


class VideoFrame(BaseModel):
    """The faces in one sampled frame, or why there is no answer for it."""

    frame: int = Field(description="Its number in the video, from 0.")
    time: float = Field(description="Its time in seconds from the video's start.")
    faces: list[schemas.FollowedFaceModel] = Field(default_factory=list)
    problem: Problem | None = None


class TrackModel(BaseModel):
    """One person in a video."""

    track: int
    first_time: float
    last_time: float
    frames: int
    emotion: Emotion
    scores: schemas.ScoresModel


class VideoSummary(BaseModel):
    """Totals, and the people who were seen."""

    frames: int
    faces: int
    tracks: list[TrackModel]


VideoLine = VideoHead | VideoFrame | VideoSummary


class FirstLine(BaseModel):
    """The first line: the video's properties."""

    video: VideoHead


class LastLine(BaseModel):
    """Totals, and the people who were seen."""

    summary: VideoSummary


class BrokenOff(BaseModel):
    """The last line of an answer that is cut short."""

    problem: Problem


class AnswerLine(RootModel[FirstLine | VideoFrame | LastLine | BrokenOff]):
    """Any line of the answer to a video."""


class FaceTable(RootModel[str]):
    """CSV with a header: a row per face; a frame with a problem has a row with empty cells."""


class Table:
    """A file written as CSV."""

    def __init__(self, file: BinaryIO) -> None:
        """Write the header."""
        self._file = file
        self._write([COLUMNS])

    def add(self, line: VideoLine) -> None:
        """Write the rows of a line, if it is a frame's."""
        if isinstance(line, VideoFrame):
            self._write(rows(line.model_dump()))

    def _write(self, written: list[list[object]]) -> None:
        self._file.write(csv_text(written).encode())


def content(answer: Answer, threshold: float = 0.0, request_id: str = "") -> dict[str, Any]:
    """A line of the answer to a video, as a dictionary."""
    match answer:
        case VideoInfo(duration=duration):
            seconds = None if duration is None else round(duration, 6)
            return {"video": {**asdict(answer), "duration": seconds}}
        case FrameResult(frame, time, _, ServiceError() as error):
            problem = problem_of(error, request_id)
            return {"frame": frame, "time": round(time, 6), "problem": problem}
        case FrameResult():
            faces = [schemas.face(prediction, threshold) for prediction in answer.predictions]
            return {"frame": answer.frame, "time": round(answer.time, 6), "faces": faces}
        case Summary():
            tracks = [_track(track) for track in answer.tracks]
            summary = {"frames": answer.frames, "faces": answer.faces, "tracks": tracks}
            return {"summary": summary}


def typed(line: Mapping[str, Any]) -> VideoLine:
    """The same line with types."""
    match line:
        case {"video": head}:
            return VideoHead.model_validate(head)
        case {"summary": summary}:
            return VideoSummary.model_validate(summary)
        case _:
            return VideoFrame.model_validate(line)


def rows(frame: Mapping[str, Any]) -> list[list[object]]:
    """A frame's line as rows of CSV: one per face, or one with empty cells for a problem."""
    if frame.get("problem"):
        return [[frame["frame"], frame["time"], *[None] * (len(COLUMNS) - 2)]]
    return [[frame["frame"], frame["time"], *_cells(face)] for face in frame["faces"]]


def _cells(face: Mapping[str, Any]) -> list[object]:
    place = [face.get("track"), *face["box"].values(), face["detection_score"]]
    return [*place, face["emotion"], face["confidence"], *face["scores"].values()]


def _track(track: TrackSummary) -> dict[str, Any]:
    return {
        "track": track.track,
        "first_time": round(track.first_time, 6),
        "last_time": round(track.last_time, 6),
        "frames": track.frames,
        "emotion": track.emotion,
        "scores": schemas.named(track.scores),
    }
