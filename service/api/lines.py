"""What is told of a video: lines of JSON, or rows of CSV."""

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from service.api import problems, schemas
from service.errors import ServiceError
from service.records import EMOTIONS, Moment, Prediction, Summary, TrackSummary, VideoInfo

COLUMNS: list[object] = [
    *("frame", "time", "track", "x", "y", "width", "height", "detection_score"),
    *("emotion", "confidence", *EMOTIONS),
]

Answer = VideoInfo | Moment | Summary
Answers = AsyncIterator[Answer]


async def ndjson(
    first: Answer, others: Answers, threshold: float, request_id: str
) -> AsyncIterator[str]:
    """A line of JSON for each answer; if they break off, the last line is the problem."""
    yield _line(content(first, threshold))
    try:
        async for answer in others:
            yield _line(content(answer, threshold))
    except ServiceError as error:
        yield _line({"problem": problems.content(error, request_id)})


async def table(answers: Answers) -> AsyncIterator[str]:
    """CSV, a row a face.

    Raises:
        ServiceError: the answers break off; the transfer, cut short, tells the client.
    """
    yield text([COLUMNS])
    async for answer in answers:
        if isinstance(answer, Moment) and answer.predictions:
            yield text(rows(answer))


def text(lines: list[list[object]]) -> str:
    """Rows as CSV."""
    with io.StringIO() as out:
        csv.writer(out, lineterminator="\n").writerows(lines)
        return out.getvalue()


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def content(answer: Answer, threshold: float) -> dict[str, Any]:
    """A line of what is told of a video."""
    match answer:
        case VideoInfo():
            return {"video": asdict(answer)}
        case Moment():
            faces = [schemas.face(prediction, threshold) for prediction in answer.predictions]
            return {"frame": answer.frame, "time": round(answer.time, 6), "faces": faces}
        case Summary():
            tracks = [_track(track) for track in answer.tracks]
            summary = {"frames": answer.frames, "faces": answer.faces, "tracks": tracks}
            return {"summary": summary}


def rows(moment: Moment) -> list[list[object]]:
    """A frame's faces as rows of CSV."""
    return [
        [moment.frame, round(moment.time, 6), each.track, *_cells(each)]
        for each in moment.predictions
    ]


def _cells(prediction: Prediction) -> list[object]:
    box, score = prediction.face.box, prediction.face.detection_score
    place = [round(value) for value in (box.x, box.y, box.width, box.height)]
    shown = [prediction.emotion, prediction.confidence, *prediction.scores.tolist()]
    return [*place, score, *shown]


def _track(track: TrackSummary) -> dict[str, Any]:
    return {
        "track": track.track,
        "first_time": round(track.first_time, 6),
        "last_time": round(track.last_time, 6),
        "frames": track.frames,
        "emotion": track.emotion,
        "scores": schemas.named(track.scores),
    }
