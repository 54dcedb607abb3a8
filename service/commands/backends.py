"""Where the command line gets its answers: a service at a URL, or an engine in this process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, Protocol

import typer

from service import logs
from service.atomic import atomic_write
from service.client import AsyncClient, DrawnVideo, Retries, Unreachable
from service.commands.ending import settings_with
from service.commands.report import Row
from service.contract import lines, schemas
from service.contract.lines import VideoLine
from service.drawing import Style
from service.engine import Engine
from service.errors import NotFound, ServiceError, Unauthorised
from service.explanation import Question
from service.pipeline import overlapped
from service.records import EMOTIONS, FaceMode
from service.settings import Settings
from service.video import Sampling

Query = Mapping[str, Any]
"""A route's query, with every parameter that the command line has."""

PATIENT = Retries(refusals=100)
"""A command can wait longer than a program; a refusal says when to retry."""

DEADLINE = 50.0
"""Time limit for a picture, in seconds: many may be queued at a service."""

SAMPLING = ("fps", "every", "start", "end")


class Backend(Protocol):
    """A running service, or an engine in this process.

    Attributes:
        at_once: how many pictures to have in flight.
    """

    at_once: int

    async def classify(self, data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
        """Classify the faces in an encoded picture."""

    async def explain(self, data: bytes, query: Query) -> bytes:
        """Explain a face's score as a PNG; `query` is that of POST /explain."""

    def watch(self, source: Path, query: Query) -> AsyncGenerator[VideoLine]:
        """Classify a video; `query` is that of POST /explain/video, of which only part is used."""

    def annotate(
        self, source: Path, movie: Path, query: Query, *, told: bool
    ) -> AsyncGenerator[VideoLine | DrawnVideo]:
        """Annotate a video into an MP4, which exists only once it is complete.

        The lines of `watch` come as well if `told`; a service either classifies or annotates, so it
        is sent the video twice then. A `DrawnVideo` may come last.
        """


class _Remote:
    at_once = 16  # fewer where others may be asking, too

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def classify(self, data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
        return await self._client.classify(data, faces=faces)

    async def explain(self, data: bytes, query: Query) -> bytes:
        return (await self._client.explain(data, **query)).png

    def watch(self, source: Path, query: Query) -> AsyncGenerator[VideoLine]:
        wanted = {name: query[name] for name in (*SAMPLING, "faces")}
        return self._client.video(source, **wanted)

    async def annotate(
        self, source: Path, movie: Path, query: Query, *, told: bool
    ) -> AsyncGenerator[VideoLine | DrawnVideo]:
        if told:
            async with aclosing(self.watch(source, query)) as answers:
                async for line in answers:
                    yield line
        yield await self._client.explain_video(source, movie, **query)


class _Local:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.at_once = min(64, engine.settings.queue_items)

    async def classify(self, data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
        (seen,) = await self._engine.classify_frames([lambda: data], faces, deadline=inf)
        if isinstance(seen, ServiceError):
            raise seen
        answer = schemas.classification(seen, self._engine.info, self._engine.threshold())
        return schemas.ClassifyResponse.model_validate(answer)

    async def explain(self, data: bytes, query: Query) -> bytes:
        style = Style(query["alpha"], query["colormap"], threshold=self._engine.threshold())
        async with self._engine.explained(
            data, _question(query), faces=query["faces"], face=query["face"], deadline=inf
        ) as explained:
            return await self._engine.draw(explained, query["view"], style)

    async def watch(self, source: Path, query: Query) -> AsyncGenerator[VideoLine]:
        with source.open("rb") as file:
            answers = self._engine.footage.watch(file, sampling(query), query["faces"])
            async with aclosing(self._typed(answers)) as typed:
                async for line in typed:
                    yield line

    async def annotate(
        self,
        source: Path,
        movie: Path,
        query: Query,
        *,
        told: bool,  # noqa: ARG002  # it costs nothing here
    ) -> AsyncGenerator[VideoLine | DrawnVideo]:
        threshold = self._engine.threshold()
        style = Style(query["alpha"], query["colormap"], query["landmarks"], threshold)
        with source.open("rb") as file, atomic_write(movie) as out:
            answers = self._engine.footage.annotate(
                file, out, sampling(query), _question(query), style, faces=query["faces"]
            )
            async with aclosing(self._typed(answers)) as typed:
                async for line in typed:
                    yield line

    async def _typed(self, answers: AsyncGenerator[lines.Answer]) -> AsyncGenerator[VideoLine]:
        async with aclosing(answers):
            async for answer in answers:
                yield lines.typed(lines.content(answer, self._engine.threshold()))


def chosen(
    url: str | None,
    key_file: Path | None,
    device: str | None,
    precision: str | None,
    **changes: object,
) -> AbstractAsyncContextManager[Backend]:
    """The backend that the options name, yet to be opened.

    Args:
        url: of a service; None for an engine in this process.
        key_file: holds the service's API key.
        device: of the engine; the settings' if None.
        precision: likewise.
        **changes: to the engine's other settings.

    Raises:
        BadParameter: the options contradict each other, or the key's file holds none.
        OSError: the key's file cannot be read.
    """
    if url and (device or precision):
        raise typer.BadParameter("--device and --precision are for a model here, not for --url")
    if key_file and not url:
        raise typer.BadParameter("--key-file is for a service: add --url")
    settings = settings_with(device=device, precision=precision, **changes)
    if url is None:
        logs.configure(settings.with_changes(log_level="error"))
        return local_backend(settings)
    return remote_backend(url, None if key_file is None else _key(key_file))


@asynccontextmanager
async def remote_backend(url: str, key: str | None) -> AsyncIterator[Backend]:
    """The service at a URL."""
    async with AsyncClient(url, key=key, deadline=DEADLINE, retries=PATIENT) as client:
        try:
            yield _Remote(client)
        except Unauthorised as error:
            if key is None:
                raise Unauthorised("the service needs an API key: use --key-file") from error
            raise


@asynccontextmanager
async def local_backend(settings: Settings) -> AsyncIterator[Backend]:
    """An engine in this process."""
    async with Engine.open(settings) as engine:
        yield _Local(engine)


def rows(backend: Backend, files: list[Path], faces: FaceMode) -> AsyncGenerator[Row]:
    """The answers in the files' order, while the next files are in flight.

    Raises:
        ServiceError: the service cannot be asked at all.
    """

    async def one(path: Path) -> Row:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            return Row(path, await backend.classify(data, faces))
        except (Unreachable, Unauthorised, NotFound):
            raise  # no other picture would do better
        except ServiceError as error:
            return Row(path, problem=str(error))
        except OSError as error:
            return Row(path, problem=error.strerror or str(error))

    async def each() -> AsyncGenerator[Path]:
        for path in files:
            yield path

    return overlapped(each(), one, backend.at_once)


def sampling(query: Query) -> Sampling:
    """Which frames of a video to sample.

    Raises:
        BadParameter: the options contradict each other, or one is out of range.
    """
    return Sampling(*(query[name] for name in SAMPLING))


def _key(file: Path) -> str:
    key = file.read_bytes().strip().decode("ascii", "replace")
    if not (key and key.isascii() and key.isprintable()):
        raise typer.BadParameter(f"{file} holds no API key: it is one line of ASCII")
    return key


def _question(query: Query) -> Question:
    target = query["target"] and EMOTIONS.index(query["target"])
    return Question(query["method"], query["layer"], target)
