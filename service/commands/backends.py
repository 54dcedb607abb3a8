"""Who answers the command line: a service at a URL, or an engine in this process."""

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
"""A route's, with every parameter that the command line has."""

PATIENT = Retries(refusals=100)
"""Nobody waits for a command but who started it; a refusal says when to come back."""

DEADLINE = 50.0
"""Seconds that a service may take for a picture: many may wait there."""

SAMPLING = ("fps", "every", "start", "end")


class Backend(Protocol):
    """What answers the command line: a running service, or an engine in this process.

    Attributes:
        at_once: how many pictures to send at a time.
    """

    at_once: int

    async def classify(self, data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
        """What an encoded picture shows."""

    async def explain(self, data: bytes, query: Query) -> bytes:
        """Why, drawn, by the query of POST /explain."""

    def watch(self, source: Path, query: Query) -> AsyncGenerator[VideoLine]:
        """What a video shows, by the query of POST /explain/video, of which less is needed."""

    def annotate(
        self, source: Path, movie: Path, query: Query, *, told: bool
    ) -> AsyncGenerator[VideoLine | DrawnVideo]:
        """Likewise, and drawn into an MP4, which is there when all of it is.

        Frames may be left out unless `told`: a service either tells or draws, so for both it is
        sent the video twice. A `DrawnVideo` comes last.
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
            answers = self._engine.footage.watch(file, _sampling(query), query["faces"])
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
                file, out, _sampling(query), _question(query), style, faces=query["faces"]
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
    """The backend that a command line asks for, yet to be opened.

    Args:
        url: of a service; None for an engine in this process.
        key_file: holds that service's API key.
        device: of the engine; the settings' if None.
        precision: likewise.
        **changes: of its other settings.

    Raises:
        BadParameter: the options contradict each other.
        OSError: the key's file cannot be read.
    """
    if url and (device or precision):
        raise typer.BadParameter("--device and --precision are of a model here, not at --url")
    settings = settings_with(device=device, precision=precision, **changes)
    if url is None:
        logs.configure(settings.with_changes(log_level="error"))
        return local_backend(settings)
    return remote_backend(url, None if key_file is None else key_file.read_text().strip())


@asynccontextmanager
async def remote_backend(url: str, key: str | None) -> AsyncIterator[Backend]:
    """The service at a URL."""
    async with AsyncClient(url, key=key, deadline=DEADLINE, retries=PATIENT) as client:
        yield _Remote(client)


@asynccontextmanager
async def local_backend(settings: Settings) -> AsyncIterator[Backend]:
    """An engine in this process."""
    async with Engine.open(settings) as engine:
        yield _Local(engine)


def rows(backend: Backend, files: list[Path], faces: FaceMode) -> AsyncGenerator[Row]:
    """The answers in the files' order, while the next ones are being worked on.

    Raises:
        ServiceError: the service cannot be asked at all.
    """

    async def one(path: Path) -> Row:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            return Row(path, await backend.classify(data, faces))
        except (Unreachable, Unauthorised, NotFound):
            raise  # no other picture would fare better
        except (ServiceError, OSError) as error:
            return Row(path, problem=str(error))

    async def each() -> AsyncGenerator[Path]:
        for path in files:
            yield path

    return overlapped(each(), one, backend.at_once)


def _sampling(query: Query) -> Sampling:
    return Sampling(*(query[name] for name in SAMPLING))


def _question(query: Query) -> Question:
    target = query["target"] and EMOTIONS.index(query["target"])
    return Question(query["method"], query["layer"], target)
