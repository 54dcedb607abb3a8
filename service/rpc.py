"""Remote procedure calls between two processes, many at a time over one stream, both ways.

A message with a `call` number is a call; its reply carries the number as `answer`, and `cancel`
takes the call back. A message without a number is a notification, which gets no reply.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any

import structlog

from service import errors, wire
from service.errors import NotReady, ServiceError
from service.wire import Message

log = structlog.get_logger(__name__)


class RpcConnection:
    """One end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Callable[[Message], Awaitable[Message]],
    ) -> None:
        """Read nothing before `run`.

        Args:
            reader: from the other end.
            writer: to the other end.
            handle: answers a call of the other end; a ServiceError that it raises is raised there.
        """
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._turn = asyncio.Lock()
        self._numbers = count()
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._handling: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Handle messages until the other end has gone, then cancel what it had asked for.

        An end that sends what is no message has gone, too.
        """
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._receive(await wire.receive(self._reader))
        except Exception:
            log.exception("the other end sent what is no message: the connection ends")
        finally:
            self.close()
            for task in [*self._handling.values()]:
                task.cancel()
            await asyncio.gather(*self._handling.values(), return_exceptions=True)

    async def call(self, header: dict[str, Any], body: bytes = b"") -> Message:
        """Call the other end; if this is cancelled, so is the work there.

        Raises:
            ServiceError: whatever was raised there.
            NotReady: the other end has gone.
        """
        number = next(self._numbers)
        await self._send(Message({**header, "call": number}, body))
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[number] = reply
        try:
            return await reply
        except asyncio.CancelledError:
            self.notify({"cancel": number})
            raise
        finally:
            del self._pending[number]

    def notify(self, header: dict[str, Any]) -> None:
        """Send a short message that gets no reply; it is lost if the other end has gone."""
        if not self._writer.is_closing():
            self._writer.write(Message(header).pack())

    def close(self) -> None:
        """Send and receive nothing more; pending calls fail."""
        self._writer.transport.abort()  # `close` would wait for an end that does not read
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(_gone())

    async def _send(self, message: Message) -> None:
        """Send a message once the other end has read enough of those before it.

        Raises:
            NotReady: the other end has gone.
        """
        async with self._turn:
            with suppress(ConnectionError):
                await self._writer.drain()
            if self._writer.is_closing():
                raise _gone()
            self._writer.write(message.pack())

    def _receive(self, message: Message) -> None:
        header = message.header
        if "answer" in header:
            reply = self._pending.get(header["answer"])
            if reply and not reply.done():
                _settle(reply, message)
        elif "cancel" in header:
            if task := self._handling.get(header["cancel"]):
                task.cancel()
        else:
            number = header["call"] if "call" in header else -1 - next(self._numbers)
            task = asyncio.create_task(self._reply(message))
            self._handling[number] = task
            task.add_done_callback(lambda _: self._handling.pop(number))

    async def _reply(self, message: Message) -> None:
        try:
            answer = await self._handle(message)
        except ServiceError as error:
            answer = Message(_encode_error(error))
        except Exception:
            log.exception("a call failed unexpectedly", op=message.header.get("op"))
            answer = Message(_encode_error(ServiceError("the service failed; its log says more")))
        if "call" in message.header:
            with suppress(NotReady):
                await self._send(
                    Message({**answer.header, "answer": message.header["call"]}, answer.body)
                )


def _settle(reply: asyncio.Future[Message], answer: Message) -> None:
    if "error" in answer.header:
        reply.set_exception(_decode_error(answer.header))
    else:
        reply.set_result(answer)


def _encode_error(error: ServiceError) -> dict[str, Any]:
    header: dict[str, Any] = {"error": type(error).__name__, "words": str(error)}
    if isinstance(error, errors.RetryLater):
        header["retry_after"] = error.retry_after
    return header


def _decode_error(header: dict[str, Any]) -> ServiceError:
    kind = getattr(errors, header["error"], ServiceError)
    given = [header["retry_after"]] if "retry_after" in header else []
    error: ServiceError = kind(header["words"], *given)
    return error


def _gone() -> NotReady:
    return NotReady("the process that was asked has ended: try again")
