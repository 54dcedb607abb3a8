"""A dedicated thread for objects that only one thread may use, and that it closes at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """A thread that runs one call after another. Made by `own_thread`.

    Attributes:
        resources: closed in the thread at the end.
    """

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.resources = ExitStack()
        self._executor = executor

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread, and return its result."""
        future = self._executor.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(future)


@asynccontextmanager
async def own_thread(name: str) -> AsyncIterator[OwnThread]:
    """A thread for as long as the context, which waits at its end for a call that has begun.

    The resources are closed in the thread even if that wait is cancelled.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    thread = OwnThread(executor)
    try:
        yield thread
    finally:
        closed = executor.submit(thread.resources.close)
        executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closed))
