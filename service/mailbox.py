"""A single slot in which the newest item wins: one that was not taken yet is dropped."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Letter(Generic[T]):
    """An item as it was taken out.

    Attributes:
        seq: its number among all items that were put in, from 0.
        dropped: how many were dropped since the previous one was taken.
        time: when it was put in, in seconds on the mailbox's clock.
        content: the item.
    """

    seq: int
    dropped: int
    time: float
    content: T


class Mailbox(Generic[T]):
    """Between a producer and a slower consumer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty."""
        self._clock = clock
        self._put = 0
        self._taken = 0
        self._newest: tuple[float, T] | None = None
        self._filled = asyncio.Event()

    def put(self, content: T) -> None:
        """Put an item in; it replaces one that was not taken yet."""
        self._newest = self._clock(), content
        self._put += 1
        self._filled.set()

    async def take(self) -> Letter[T]:
        """Wait for an item, and take it out."""
        while self._newest is None:
            await self._filled.wait()
        time, content = self._newest
        dropped = self._put - self._taken - 1
        self._newest, self._taken = None, self._put
        self._filled.clear()
        return Letter(self._put - 1, dropped, time, content)
