"""The moment from which what takes long has to end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from service.errors import NotReady

T = TypeVar("T")


class Cutoff:
    """Ends what is held to it with an error, so that whoever waits for it is told."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._reached = False

    def reach(self) -> None:
        """It is reached, for good."""
        self._reached = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """What is within ends when it is reached.

        Raises:
            NotReady: it is reached.
        """
        when = asyncio.get_running_loop().time() if self._reached else None
        try:
            async with asyncio.timeout_at(when) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise NotReady("the service is going down: send the video again") from error

    async def until(self, answers: AsyncIterator[T]) -> AsyncGenerator[T]:
        """What `answers` gives until then.

        Raises:
            NotReady: it is reached.
        """
        while True:
            async with self.enforced():
                try:
                    answer = await anext(answers)
                except StopAsyncIteration:
                    return
            yield answer
