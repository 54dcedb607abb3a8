"""Calls between two processes: many at a time over one stream, each with its answer or its error.

A message with a `call` number wants an answer, which carries the number as `answer`; `cancel` takes
a call back. A message without a number is only told. Both sides may call.
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
        answer: Callable[[Message], Awaitable[Message]],
    ) -> None:
        """Nothing is read before `run`.

        Args:
            reader: what the other end says.
            writer: what is said to it.
            answer: answers its calls, or raises a ServiceError, which is raised there.
        """
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._working: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the other end has gone; what it had asked is cancelled then."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._take(await wire.receive(self._reader))
        finally:
            self.close()
            for task in [*self._working.values()]:
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def call(self, header: dict[str, Any], body: bytes = b"") -> Message:
        """The other end's answer; cancelling the call cancels the work for it there.

        Raises:
            ServiceError: what it raised there.
            NotReady: the other end has gone.
        """
        if self._writer.is_closing():
            raise _gone()
        number = next(self._numbers)
        asked: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self.tell({**header, "call": number}, body)
        try:
            return await asked
        except asyncio.CancelledError:
            self.tell({"cancel": number})
            raise
        finally:
            del self._asked[number]

    def tell(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Say what needs no answer; nobody hears it if the other end has gone."""
        if not self._writer.is_closing():
            self._writer.write(Message(header, body).pack())

    def close(self) -> None:
        """Hear and say nothing more; whoever waits for an answer is told."""
        self._writer.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_gone())

    def _take(self, message: Message) -> None:
        header = message.header
        if "answer" in header:
            asked = self._asked.get(header["answer"])
            if asked and not asked.done():
                _settle(asked, message)
        elif "cancel" in header:
            if task := self._working.get(header["cancel"]):
                task.cancel()
        else:
            number = header["call"] if "call" in header else -1 - next(self._numbers)
            task = asyncio.create_task(self._work(message))
            self._working[number] = task
            task.add_done_callback(lambda _: self._working.pop(number))

    async def _work(self, message: Message) -> None:
        try:
            answer = await self._answer(message)
        except ServiceError as error:
            answer = Message(_described(error))
        except Exception:
            log.exception("a call failed unexpectedly", op=message.header.get("op"))
            answer = Message(_described(ServiceError("the service failed; its log says more")))
        if "call" in message.header:
            self.tell({**answer.header, "answer": message.header["call"]}, answer.body)


def _settle(asked: asyncio.Future[Message], answer: Message) -> None:
    if "error" in answer.header:
        asked.set_exception(_raised(answer.header))
    else:
        asked.set_result(answer)


def _described(error: ServiceError) -> dict[str, Any]:
    described: dict[str, Any] = {"error": type(error).__name__, "words": str(error)}
    if isinstance(error, errors.RetryLater):
        described["retry_after"] = error.retry_after
    return described


def _raised(header: dict[str, Any]) -> ServiceError:
    kind = getattr(errors, header["error"], ServiceError)
    given = [header["retry_after"]] if "retry_after" in header else []
    error: ServiceError = kind(header["words"], *given)
    return error


def _gone() -> NotReady:
    return NotReady("the process that was asked has ended: try again")
