"""Working on several items of a source at once, with the results in order."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def overlapped(
    source: AsyncGenerator[T], work: Callable[[T], Awaitable[R]], window: int
) -> AsyncGenerator[R]:
    """Give the results of `work` on each item, in order, as soon as they are ready.

    A slow reader slows the source down. If the source fails, the results for its items so far come
    first. Closing the generator cancels outstanding work, and closes the source.

    Args:
        source: read one item ahead.
        work: called for several items at once.
        window: most items being worked on or waiting to be read.

    Raises:
        Exception: whatever `source` or `work` raises.
    """
    tasks: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    under_way: set[asyncio.Task[R]] = set()
    room = asyncio.Semaphore(window)

    async def feed() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await room.acquire()
                    task = asyncio.ensure_future(work(item))
                    under_way.add(task)
                    tasks.put_nowait(task)
        finally:
            tasks.put_nowait(None)

    feeder = asyncio.create_task(feed())
    try:
        while (task := await tasks.get()) is not None:
            yield await task
            under_way.discard(task)
            room.release()
        await feeder
    finally:
        left = [feeder, *under_way]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
