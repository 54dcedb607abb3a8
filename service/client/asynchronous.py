"""The client for asyncio."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar, Unpack

import httpx

from service.atomic import atomic_write
from service.client import calls, live
from service.client.answers import DrawnVideo, ExplainedPicture, check_whole, video_line
from service.client.calls import Call, Source
from service.client.queries import (
    DrawnVideoQuery,
    ExplainQuery,
    LiveQuery,
    NumbersQuery,
    VideoQuery,
    known,
)
from service.client.retries import Retries
from service.contract.lines import Table, VideoLine
from service.contract.schemas import ClassifyResponse, ExplainResponse, FramesResponse, LiveAnswer
from service.errors import ServiceError
from service.records import FaceMode

T = TypeVar("T")


class AsyncClient:
    """A client of a running service for asyncio; otherwise like `Client`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        deadline: float | None = None,
        retries: Retries = Retries(),  # noqa: B008  # frozen
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Connect on the first request; the arguments are those of `Client`."""
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.AsyncClient(
            base_url=calls.checked(url), headers=headers, transport=transport
        )
        self._key = key
        self._deadline = calls.checked_deadline(deadline)
        self._retries = retries
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self, image: Source, *, faces: FaceMode = "detect", threshold: float | None = None
    ) -> ClassifyResponse:
        """As `Client.classify`."""
        return await self._ask(calls.classify(image, faces, threshold))

    async def frames(
        self,
        images: Sequence[Source],
        *,
        faces: FaceMode = "detect",
        threshold: float | None = None,
        track: bool = False,
    ) -> FramesResponse:
        """As `Client.frames`."""
        return await self._ask(calls.frames(images, faces, threshold, track))

    async def explain(self, image: Source, **query: Unpack[ExplainQuery]) -> ExplainedPicture:
        """As `Client.explain`."""
        return await self._ask(calls.explain(image, query))

    async def explain_numbers(
        self, image: Source, **query: Unpack[NumbersQuery]
    ) -> ExplainResponse:
        """As `Client.explain_numbers`."""
        return await self._ask(calls.explain_numbers(image, query))

    async def video(self, source: Source, **query: Unpack[VideoQuery]) -> AsyncGenerator[VideoLine]:
        """As `Client.video`."""
        async with self._stream(calls.video(source, query)) as response:
            line = None
            async for text in response.aiter_lines():
                line = video_line(text)
                yield line
            check_whole(line)

    async def video_csv(self, source: Source, output: Path, **query: Unpack[VideoQuery]) -> None:
        """As `Client.video_csv`."""
        with atomic_write(output) as file:
            table = Table(file)
            async with aclosing(self.video(source, **query)) as answers:
                async for line in answers:
                    table.add(line)

    async def explain_video(
        self, source: Source, output: Path, **query: Unpack[DrawnVideoQuery]
    ) -> DrawnVideo:
        """As `Client.explain_video`."""
        return await self._save(calls.explain_video(source, query), output)

    async def live(
        self, frames: AsyncIterable[bytes], **query: Unpack[LiveQuery]
    ) -> AsyncGenerator[LiveAnswer]:
        """Classify a camera's frames live; `query` as for WebSocket /live.

        A frame that waits to be sent is dropped when the next one comes. The stream ends once
        `frames` has ended and the last of them is answered. The blocking client has no such method,
        since frames come and answers go at the same time.

        Args:
            frames: encoded pictures, consumed as fast as they come.
            query: of the route.
        """
        url = self._http.base_url.join("live").copy_merge_params(
            calls.plain(known(query, LiveQuery))
        )
        socket = await self._patiently(partial(live.opened, url, self._key))
        async with aclosing(live.Stream(socket).answers(frames)) as answers:
            async for answer in answers:
                yield answer

    async def _ask(self, call: Call[T]) -> T:
        async with self._stream(call) as response:
            await response.aread()
        return call.read(response)

    async def _save(self, call: Call[T], output: Path) -> T:
        with atomic_write(output) as file:
            async with self._stream(call) as response:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                return call.read(response)

    @asynccontextmanager
    async def _stream(self, call: Call[T]) -> AsyncIterator[httpx.Response]:
        response = await self._patiently(partial(self._once, call))
        try:
            yield response
        except httpx.HTTPError as error:
            raise calls.unreachable(error, self._http.base_url) from error
        finally:
            await response.aclose()

    async def _patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await once()
            except ServiceError as error:
                pause = self._retries.pause(error, attempt)
                if pause is None:
                    raise
                await self._sleep(pause)

    async def _once(self, call: Call[T]) -> httpx.Response:
        arguments = await asyncio.to_thread(call.arguments, self._deadline)  # which reads files
        if call.source is not None:
            arguments["content"] = _content(call.source, arguments["headers"])
        try:
            request = self._http.build_request("POST", call.path, **arguments)
            response = await self._http.send(request, stream=True)
            if response.is_success:
                return response
            try:
                await response.aread()
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise calls.unreachable(error, self._http.base_url) from error
        raise calls.failure(response)


def _content(source: Source, headers: Mapping[str, str]) -> bytes | AsyncIterator[bytes]:
    if isinstance(source, bytes):
        return source
    return _pieces(source, int(headers["Content-Length"]))


async def _pieces(path: Path, left: int) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while left:
            piece = await asyncio.to_thread(calls.piece, file, left)
            left -= len(piece)
            yield piece
