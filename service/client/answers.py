"""The client's results that are not models of the API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.client.problems import raised
from service.client.retries import Unreachable
from service.contract import lines


@dataclass(frozen=True, slots=True)
class ExplainedPicture:
    """An explanation as a picture.

    Attributes:
        png: the picture.
        emotion: the predicted one.
        confidence: its score.
        target: the emotion that is explained.
        map_max: the map's maximum before normalising.
        empty: whether there is no evidence for the target.
    """

    png: bytes
    emotion: str
    confidence: float
    target: str
    map_max: float
    empty: bool


@dataclass(frozen=True, slots=True)
class DrawnVideo:
    """What the service says about an annotated video.

    Attributes:
        failed_frames: how many frames have no annotations, damaged ones and those that the model
            failed on.
    """

    failed_frames: int


def video_line(line: str) -> lines.VideoLine:
    """One line of a video's answer.

    Raises:
        ServiceError: the line says why the answer ends early.
        Unreachable: it is not such a line.
    """
    with reading():
        content = json.loads(line)
        if "problem" in content and "frame" not in content:
            raise raised(content["problem"])
        return lines.typed(content)


def check_whole(last: lines.VideoLine | None) -> None:
    """Check the last line of a video's answer, which a proxy may have cut without a trace.

    Raises:
        Unreachable: it is not the summary.
    """
    if not isinstance(last, lines.VideoSummary):
        raise Unreachable("the answer ended early: the service or a proxy closed the connection")


@contextmanager
def reading() -> Iterator[None]:
    """Within this, a successful answer is parsed.

    Raises:
        Unreachable: it cannot be parsed: it does not come from the service.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(
            "what answered is not a GiMeFive service: its answer cannot be read"
        ) from error
