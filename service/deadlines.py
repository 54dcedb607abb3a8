"""Deadlines: those of requests, and that of a service that is shutting down."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from service.errors import DeadlineExceeded, NotReady

T = TypeVar("T")


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[float]:
    """Cancel what takes longer than so many seconds; yields that moment, in monotonic seconds.

    Raises:
        DeadlineExceeded: it took longer.
    """
    moment = time.monotonic() + seconds
    try:
        # The event loop counts in milliseconds; later, so that the moment has certainly passed.
        async with asyncio.timeout(seconds + 0.001) as limit:
            yield moment
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise DeadlineExceeded(
            f"no answer within {seconds * 1000:.0f} ms: send a later deadline or try again"
        ) from error


class Cutoff:
    """A moment, known only once it comes, at which guarded work ends with an error."""

    def __init__(self, refused: Callable[[], None]) -> None:
        """Guard nothing yet; `refused` is called for each guarded block that it ends."""
        self._refused = refused
        self._limits: set[asyncio.Timeout] = set()
        self._reached = False

    def reach(self) -> None:
        """End all guarded work now, and whatever is guarded later."""
        self._reached = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if (when := limit.when()) is None or when > now:  # otherwise it is already ending
                limit.reschedule(now)

    @asynccontextmanager
    async def enforced(self, deadline: float | None = None) -> AsyncIterator[None]:
        """Guard a block, which also ends at a deadline of its own.

        Args:
            deadline: moment on the event loop's clock; None for no deadline.

        Raises:
            NotReady: the cutoff was reached.
            DeadlineExceeded: the deadline has passed.
        """
        when = asyncio.get_running_loop().time() if self._reached else deadline
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
            if self._reached:
                self._refused()
                raise NotReady("the service is shutting down: send the video again") from error
            raise DeadlineExceeded(
                "the deadline has passed: send a later one, or name a part with start and end"
            ) from error

    async def until(
        self, answers: AsyncIterator[T], deadline: float | None = None
    ) -> AsyncGenerator[T]:
        """Pass on `answers`, each awaited as a guarded block, as `enforced` says."""
        while True:
            async with self.enforced(deadline):
                try:
                    answer = await anext(answers)
                except StopAsyncIteration:
                    return
            yield answer
