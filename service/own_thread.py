"""A thread of its own for what must not be touched by two, and for what it has open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """One thread, which runs one call after another. Made by `own_thread`.

    Attributes:
        resources: what the thread closes at the end.
    """

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.resources = ExitStack()
        self._executor = executor

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call gives, made in the thread."""
        future = self._executor.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(future)


@asynccontextmanager
async def own_thread(name: str) -> AsyncIterator[OwnThread]:
    """A thread until the end of the context, which waits for what has begun.

    Its resources are closed in it, also where whoever waits for that is cancelled again.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    thread = OwnThread(executor)
    try:
        yield thread
    finally:
        closed = executor.submit(thread.resources.close)
        executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closed))
