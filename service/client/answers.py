"""What a client answers beyond the API's own models."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.client.problems import raised
from service.client.retries import Unreachable
from service.contract import lines


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


@dataclass(frozen=True, slots=True)
class DrawnVideo:
    """What is said of a video that was drawn on.

    Attributes:
        failed_frames: those that show nothing, since the model could not answer for them.
    """

    failed_frames: int


def video_line(line: str) -> lines.VideoLine:
    """One line of a video's answer.

    Raises:
        ServiceError: the line says that the work broke off.
        Unreachable: it is no such line.
    """
    with reading():
        content = json.loads(line)
        if "problem" in content and "frame" not in content:
            raise raised(content["problem"])
        return lines.typed(content)


@contextmanager
def reading() -> Iterator[None]:
    """Read what has been answered with success.

    Raises:
        Unreachable: whoever answered is no such service.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(
            "what answered is not a GiMeFive service: its answer cannot be read"
        ) from error
