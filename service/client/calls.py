"""Requests and how to read their answers, without any I/O: shared by both clients."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import httpx
from pydantic import BaseModel

from service.client.answers import DrawnVideo, ExplainedPicture, reading
from service.client.problems import raised
from service.client.queries import (
    DrawnVideoQuery,
    ExplainQuery,
    NumbersQuery,
    VideoQuery,
    known,
)
from service.client.retries import Unreachable
from service.contract.schemas import ClassifyResponse, ExplainResponse, FramesResponse
from service.errors import BadInput, BadParameter, ServiceError

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

Source = bytes | Path
"""An encoded picture or video, or the file that holds it."""

CHUNK = 1 << 18
READ_TIMEOUT = 60.0

ABSENT = (404, 502, 503)
"""Statuses that, without a problem document, say that no service is behind the URL."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request that can be sent repeatedly.

    Attributes:
        path: on the service.
        query: None values are left out.
        source: the body; None if there are `frames`.
        parse: turns a successful response into the result.
        accept: the media type to ask for.
        frames: pictures to send as a form.
        lasting: whether it has no time limit, and may pause at any length, as a video does.
    """

    path: str
    query: Mapping[str, object]
    source: Source | None
    parse: Callable[[httpx.Response], T]
    accept: str = "*/*"
    frames: Sequence[Source] = field(default=())
    lasting: bool = False

    def read(self, response: httpx.Response) -> T:
        """The result of a successful response.

        Raises:
            Unreachable: it does not come from the service.
        """
        with reading():
            return self.parse(response)

    def arguments(self, deadline: float | None) -> dict[str, Any]:
        """Arguments for httpx, without the body if it is a single file.

        Args:
            deadline: time limit for the service, in seconds; not used if `lasting`.
        """
        headers = {"Accept": self.accept}
        timeout = httpx.Timeout(READ_TIMEOUT + (deadline or 0), connect=10.0)
        if self.lasting:
            timeout = httpx.Timeout(READ_TIMEOUT, connect=10.0, read=None)
        elif deadline is not None:
            headers["X-Deadline-Ms"] = str(deadline * 1000)
        given: dict[str, Any] = {
            "params": plain(self.query),
            "headers": headers,
            "timeout": timeout,
        }
        if self.source is None:
            return {**given, "files": list(self._parts())}
        headers["Content-Type"] = "application/octet-stream"
        headers["Content-Length"] = str(_size(self.source))
        return given

    def _parts(self) -> Iterator[tuple[str, tuple[str, bytes]]]:
        for index, frame in enumerate(self.frames):
            name = frame.name if isinstance(frame, Path) else f"{index:06}"
            yield "files", (name, _content(frame))


def piece(file: BinaryIO, left: int) -> bytes:
    """The next piece of a file of which `left` bytes, at least one, are yet to be sent.

    Raises:
        OSError: the file has become shorter.
    """
    read = file.read(min(CHUNK, left))
    if not read:
        raise OSError(errno.EIO, "the file became shorter while it was sent", file.name)
    return read


def checked_deadline(seconds: float | None) -> float | None:
    """The deadline.

    Raises:
        BadParameter: it is not a positive number.
    """
    if seconds is not None and not 0 < seconds < inf:
        raise BadParameter(f"the deadline has to be a positive number of seconds, not {seconds}")
    return seconds


def checked(url: str) -> str:
    """The URL of a service.

    Raises:
        BadParameter: it is not one.
    """
    try:
        parsed = httpx.URL(url)
        sound = parsed.host and 0 <= (parsed.port or 0) < 2**16
    except httpx.InvalidURL:
        sound = False
    if not sound or not url.startswith(("http://", "https://")):
        likely = f"http://{url}" if url and "://" not in url else "http://localhost:8000"
        raise BadParameter(f"{url!r} is not a URL of a service: use {likely}, for instance")
    return url


def classify(image: Source, faces: str, threshold: float | None) -> Call[ClassifyResponse]:
    """POST /classify."""
    return Call("classify", {"faces": faces, "threshold": threshold}, image, _as(ClassifyResponse))


def frames(
    images: Sequence[Source], faces: str, threshold: float | None, track: bool
) -> Call[FramesResponse]:
    """POST /classify/frames."""
    if not images:
        raise BadInput("there are no frames: send at least one")
    query = {"faces": faces, "threshold": threshold, "track": track}
    return Call("classify/frames", query, None, _as(FramesResponse), frames=images)


def explain(image: Source, query: ExplainQuery) -> Call[ExplainedPicture]:
    """POST /explain, drawn."""
    return Call("explain", known(query, ExplainQuery), image, _explained)


def explain_numbers(image: Source, query: NumbersQuery) -> Call[ExplainResponse]:
    """POST /explain, as numbers."""
    return Call(
        "explain", known(query, NumbersQuery), image, _as(ExplainResponse), "application/json"
    )


def video(source: Source, query: VideoQuery) -> Call[httpx.Response]:
    """POST /classify/video, as lines of JSON, which say why an answer ends early."""
    query = known(query, VideoQuery)
    return Call("classify/video", query, source, _itself, "application/x-ndjson", lasting=True)


def explain_video(source: Source, query: DrawnVideoQuery) -> Call[DrawnVideo]:
    """POST /explain/video; nothing arrives until the whole video is annotated."""
    return Call("explain/video", known(query, DrawnVideoQuery), source, _drawn, lasting=True)


def failure(response: httpx.Response) -> ServiceError:
    """The error in an unsuccessful response, whose body has been read."""
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    if "type" not in problem and (response.is_redirect or response.status_code in ABSENT):
        return _absent(response)
    problem.setdefault("detail", f"status {response.status_code} without a problem document")
    return raised(problem, _seconds(response.headers.get("Retry-After")))


def plain(query: Mapping[str, object]) -> dict[str, str]:
    """A query as text, without what is None."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def unreachable(error: Exception, url: httpx.URL) -> Unreachable:
    """The error for a failed connection."""
    return Unreachable(f"no answer from {url}: {str(error) or type(error).__name__}")


def _absent(response: httpx.Response) -> Unreachable:
    to = response.headers.get("Location")
    told = f", a redirect to {to}" if to else ""
    status = response.status_code
    return Unreachable(f"what answered is not a GiMeFive service: status {status}{told}")


def _as(model: type[ModelT]) -> Callable[[httpx.Response], ModelT]:
    return lambda response: model.model_validate_json(response.content)


def _itself(response: httpx.Response) -> httpx.Response:
    return response


def _explained(response: httpx.Response) -> ExplainedPicture:
    said = response.headers
    return ExplainedPicture(
        response.content,
        said["X-Emotion"],
        float(said["X-Confidence"]),
        said["X-Target"],
        float(said["X-Map-Max"]),
        said["X-Map-Empty"] == "true",
    )


def _drawn(response: httpx.Response) -> DrawnVideo:
    return DrawnVideo(int(response.headers["X-Failed-Frames"]))


def _size(source: Source) -> int:
    match source:
        case Path():
            return source.stat().st_size
        case bytes():
            return len(source)
    raise _neither(source)


def _content(source: Source) -> bytes:
    match source:
        case Path():
            return source.read_bytes()
        case bytes():
            return source
    raise _neither(source)


def _neither(source: object) -> TypeError:
    return TypeError(f"give bytes, or the Path of a file, not {source!r}")


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdecimal() else 1.0
