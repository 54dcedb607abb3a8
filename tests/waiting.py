"""Waiting for what sends no event, and not for ever."""

import asyncio
import time
from collections.abc import Callable

LIMIT = 60.0
"""Seconds after which it counts as never happening; a busy machine is slow."""


async def until(happened: Callable[[], object]) -> None:
    """Let everybody else run until it has happened."""
    limit = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < limit, f"it has not happened within {LIMIT:g} s"
        await asyncio.sleep(0)


def wait_until(happened: Callable[[], object]) -> None:
    """The same where it happens in another thread or process."""
    limit = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < limit, f"it has not happened within {LIMIT:g} s"
        time.sleep(0.001)


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0)
