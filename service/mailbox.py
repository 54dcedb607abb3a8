"""One slot where the newest wins: what nobody has taken yet is passed over."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Letter(Generic[T]):
    """What was taken out.

    Attributes:
        seq: counts everything that was put in, from 0.
        dropped: how many were passed over since the last one was taken.
        time: when it was put in, in seconds on the mailbox's clock.
        content: what was put in.
    """

    seq: int
    dropped: int
    time: float
    content: T


class Mailbox(Generic[T]):
    """For one who puts in as fast as they like and one who takes out as fast as they can."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """It is empty."""
        self._clock = clock
        self._put = 0
        self._taken = 0
        self._newest: tuple[float, T] | None = None
        self._filled = asyncio.Event()

    def put(self, content: T) -> None:
        """Put something in, in place of what is there."""
        self._newest = self._clock(), content
        self._put += 1
        self._filled.set()

    async def take(self) -> Letter[T]:
        """Wait for something, and take it out."""
        while self._newest is None:
            await self._filled.wait()
        time, content = self._newest
        dropped = self._put - self._taken - 1
        self._newest, self._taken = None, self._put
        self._filled.clear()
        return Letter(self._put - 1, dropped, time, content)
