"""The blocking client."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar, Unpack

import httpx

from service.atomic import atomic_write
from service.client import calls
from service.client.answers import DrawnVideo, ExplainedPicture, check_whole, video_line
from service.client.calls import Call, Source
from service.client.queries import DrawnVideoQuery, ExplainQuery, NumbersQuery, VideoQuery
from service.client.retries import Retries
from service.contract.lines import Table, VideoLine
from service.contract.schemas import ClassifyResponse, ExplainResponse, FramesResponse
from service.errors import ServiceError
from service.records import FaceMode

T = TypeVar("T")


class Client:
    """A client of a running service.

    Every method raises `ServiceError`: the service's error, or `Unreachable`; and `OSError` if a
    file cannot be read, or becomes shorter while it is sent. If the service says when to retry, the
    client does, as `retries` allows.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        deadline: float | None = None,
        retries: Retries = Retries(),  # noqa: B008  # frozen
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect on the first request.

        Args:
            url: of the service.
            key: an API key, if the service needs one.
            deadline: time limit for a picture or a batch, in seconds, for each attempt; None for
                the service's own. Videos have none.
            retries: when and how often to retry.
            transport: httpx's default if None.
            sleep: called to pause between attempts.
        """
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.Client(base_url=calls.checked(url), headers=headers, transport=transport)
        self._deadline = calls.checked_deadline(deadline)
        self._retries = retries
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self, image: Source, *, faces: FaceMode = "detect", threshold: float | None = None
    ) -> ClassifyResponse:
        """Classify the faces in a picture, the largest first."""
        return self._ask(calls.classify(image, faces, threshold))

    def frames(
        self,
        images: Sequence[Source],
        *,
        faces: FaceMode = "detect",
        threshold: float | None = None,
        track: bool = False,
    ) -> FramesResponse:
        """Classify the faces in a batch of frames, in order; a bad frame fails alone."""
        return self._ask(calls.frames(images, faces, threshold, track))

    def explain(self, image: Source, **query: Unpack[ExplainQuery]) -> ExplainedPicture:
        """Explain a face's score as a picture; `query` as for POST /explain."""
        return self._ask(calls.explain(image, query))

    def explain_numbers(self, image: Source, **query: Unpack[NumbersQuery]) -> ExplainResponse:
        """Explain a face's score as numbers; `query` as for POST /explain."""
        return self._ask(calls.explain_numbers(image, query))

    def video(self, source: Source, **query: Unpack[VideoQuery]) -> Iterator[VideoLine]:
        """Classify a video and stream the results; `query` as for POST /classify/video.

        First a `VideoHead`, then a `VideoFrame` per sampled frame, last the `VideoSummary`.
        """
        with self._stream(calls.video(source, query)) as response:
            line = None
            for text in response.iter_lines():
                line = video_line(text)
                yield line
            check_whole(line)

    def video_csv(self, source: Source, output: Path, **query: Unpack[VideoQuery]) -> None:
        """Classify a video into a CSV file, which exists only once it is complete."""
        with atomic_write(output) as file:
            table = Table(file)
            for line in self.video(source, **query):
                table.add(line)

    def explain_video(
        self, source: Source, output: Path, **query: Unpack[DrawnVideoQuery]
    ) -> DrawnVideo:
        """Annotate a video; the MP4 exists only once it is complete."""
        return self._save(calls.explain_video(source, query), output)

    def _ask(self, call: Call[T]) -> T:
        with self._stream(call) as response:
            response.read()
        return call.read(response)

    def _save(self, call: Call[T], output: Path) -> T:
        with atomic_write(output) as file, self._stream(call) as response:
            for chunk in response.iter_bytes():
                file.write(chunk)
            return call.read(response)

    @contextmanager
    def _stream(self, call: Call[T]) -> Iterator[httpx.Response]:
        """A successful response, yet to be read; retries as `retries` allows."""
        response = self._opened(call)
        try:
            yield response
        except httpx.HTTPError as error:
            raise calls.unreachable(error, self._http.base_url) from error
        finally:
            response.close()

    def _opened(self, call: Call[T]) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(call)
            except ServiceError as error:
                pause = self._retries.pause(error, attempt)
                if pause is None:
                    raise
                self._sleep(pause)

    def _once(self, call: Call[T]) -> httpx.Response:
        arguments = call.arguments(self._deadline)
        if call.source is not None:
            arguments["content"] = _content(call.source, arguments["headers"])
        try:
            request = self._http.build_request("POST", call.path, **arguments)
            response = self._http.send(request, stream=True)
            if response.is_success:
                return response
            try:
                response.read()
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise calls.unreachable(error, self._http.base_url) from error
        raise calls.failure(response)


def _content(source: Source, headers: Mapping[str, str]) -> bytes | Iterator[bytes]:
    if isinstance(source, bytes):
        return source
    return _pieces(source, int(headers["Content-Length"]))


def _pieces(path: Path, left: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while left:
            piece = calls.piece(file, left)
            left -= len(piece)
            yield piece
