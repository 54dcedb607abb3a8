"""Who answers the command line: a service at a URL, or an engine in this process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.api import schemas
from service.client import AsyncClient
from service.drawing import Style
from service.engine import Engine
from service.errors import ServiceError
from service.explanation import Question
from service.intake import FaceMode
from service.records import EMOTIONS
from service.report import Row
from service.settings import Settings

AT_ONCE = 64
AT_ONCE_THERE = 16
"""Fewer where others may be asking, too."""

Classify = Callable[[bytes, FaceMode], Awaitable[schemas.ClassifyResponse]]
Explain = Callable[[bytes, dict[str, Any]], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Answerer:
    """Somebody who answers.

    Attributes:
        classify: answers for an encoded picture.
        explain: draws why, by the query of POST /explain.
        at_once: how many pictures to send at a time.
    """

    classify: Classify
    explain: Explain
    at_once: int


@asynccontextmanager
async def service_at(url: str, key: str | None) -> AsyncIterator[Answerer]:
    """The service at a URL."""
    async with AsyncClient(url, key=key) as client:

        async def classify(data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
            return await client.classify(data, faces=faces)

        async def explain(data: bytes, query: dict[str, Any]) -> bytes:
            return (await client.explain(data, **query)).png

        yield Answerer(classify, explain, AT_ONCE_THERE)


@asynccontextmanager
async def engine_here(settings: Settings) -> AsyncIterator[Answerer]:
    """An engine in this process."""
    async with Engine.open(settings) as engine:

        async def classify(data: bytes, faces: FaceMode) -> schemas.ClassifyResponse:
            answer = schemas.classification(
                await engine.classify(data, faces), engine.info, engine.threshold
            )
            return schemas.ClassifyResponse.model_validate(answer)

        async def explain(data: bytes, query: dict[str, Any]) -> bytes:
            target = query["target"] and EMOTIONS.index(query["target"])
            question = Question(query["method"], query["layer"], target)
            explained = await engine.explain(
                data, question, faces=query["faces"], face=query["face"]
            )
            style = Style(query["alpha"], query["colormap"])
            return await engine.draw(explained, query["view"], style)

        yield Answerer(classify, explain, AT_ONCE)


async def rows(answerer: Answerer, files: list[Path], faces: FaceMode) -> AsyncIterator[Row]:
    """The answers in the files' order, while the next ones are being worked on."""

    async def one(path: Path) -> Row:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            return Row(path, await answerer.classify(data, faces))
        except (ServiceError, OSError) as error:
            return Row(path, problem=str(error))

    under_way: deque[asyncio.Task[Row]] = deque()
    for path in files:
        under_way.append(asyncio.create_task(one(path)))
        if len(under_way) == answerer.at_once:
            yield await under_way.popleft()
    while under_way:
        yield await under_way.popleft()
