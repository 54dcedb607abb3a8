"""A camera's stream: frames out, answers in; only the newest waiting frame is sent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from service import errors
from service.client import calls
from service.client.answers import reading
from service.client.retries import Unreachable
from service.contract.schemas import LiveAnswer
from service.mailbox import Mailbox

AHEAD = 2
"""Frames in flight: one that is being processed, and the next."""

CLOSED: dict[int, Callable[[str], errors.ServiceError]] = {
    1008: errors.BadParameter,
    1009: errors.TooLarge,
    1012: errors.NotReady,
    1013: lambda reason: errors.Overloaded(reason, 10.0),
}
"""The error for each code the service closes with; `ServiceError` for any other."""


async def opened(url: httpx.URL, key: str | None) -> ClientConnection:
    """An open stream.

    Raises:
        ServiceError: the service refuses it, or cannot be reached.
    """
    where = str(url.copy_with(scheme={"https": "wss"}.get(url.scheme, "ws")))
    headers = {"X-API-Key": key} if key else {}
    try:
        # Answers with maps are large; pictures are compressed already.
        return await connect(where, additional_headers=headers, max_size=None, compression=None)
    except InvalidStatus as error:
        said = error.response
        response = httpx.Response(
            said.status_code, headers=list(said.headers.raw_items()), content=bytes(said.body)
        )
        raise calls.failure(response) from error
    except (OSError, InvalidHandshake) as error:
        raise calls.unreachable(error, url) from error


class Stream:
    """One stream."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._mailbox: Mailbox[bytes] = Mailbox()
        self._room = asyncio.Semaphore(AHEAD)
        self._out: deque[int] = deque()
        self._given = self._answered = self._received = 0
        self._complete = self._ending = False
        self._fault: Exception | None = None

    async def answers(self, frames: AsyncIterable[bytes]) -> AsyncGenerator[LiveAnswer]:
        """The answers to the frames, until those end and the last one is answered.

        Raises:
            ServiceError: the service ends the stream.
            Exception: what `frames` raises, or what sending a frame does.
        """
        feeder = asyncio.create_task(self._feed(frames))
        sender = asyncio.create_task(self._send())
        try:
            async for message in self._socket:
                yield self._read(message)
                if self._over:
                    return
            if not self._ending:
                raise Unreachable("the stream was closed")
            if self._fault:
                raise self._fault
        except ConnectionClosed as error:
            raise ended(error) from error
        finally:
            for task in (feeder, sender):
                task.cancel()
            await asyncio.gather(feeder, sender, return_exceptions=True)
            await self._socket.close()

    @property
    def _over(self) -> bool:
        return self._complete and self._answered == self._given

    async def _feed(self, frames: AsyncIterable[bytes]) -> None:
        try:
            async for frame in frames:
                self._mailbox.put(frame)
                self._given += 1
        except Exception as error:  # noqa: BLE001  # `answers` raises it
            await self._end(error)
        else:
            self._complete = True
            if self._over:
                await self._end()

    async def _end(self, fault: Exception | None = None) -> None:
        self._ending, self._fault = True, fault
        await self._socket.close()

    async def _send(self) -> None:
        try:
            while True:
                await self._room.acquire()
                letter = await self._mailbox.take()
                self._out.append(letter.seq)
                await self._socket.send(letter.content)
        except Exception as error:  # noqa: BLE001  # likewise
            await self._end(error)

    def _read(self, message: str | bytes) -> LiveAnswer:
        """An answer, renumbered to count the frames given here, not only those sent."""
        with reading():
            answer = LiveAnswer.model_validate_json(message)
        while self._received <= answer.seq:
            seq = self._out.popleft()
            self._received += 1
            self._room.release()
        answer.seq, answer.dropped = seq, seq - self._answered
        self._answered = seq + 1
        return answer


def ended(closed: ConnectionClosed) -> errors.ServiceError:
    """The error for a stream that the service closed."""
    if closed.rcvd is None:
        return Unreachable(f"the stream broke: {closed}")
    reason = closed.rcvd.reason or f"the stream was closed with code {closed.rcvd.code}"
    return CLOSED.get(closed.rcvd.code, errors.ServiceError)(reason)
