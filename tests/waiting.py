"""Waiting, up to a limit, for conditions that signal no event."""

import asyncio
import time
from collections.abc import Callable

LIMIT = 300.0
"""Seconds until any wait in a test fails; a busy machine may take minutes to start a process."""


async def until(happened: Callable[[], object]) -> None:
    """Let other tasks run until the condition holds."""
    limit = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < limit, f"it has not happened within {LIMIT:g} s"
        await asyncio.sleep(0)


def wait_until(happened: Callable[[], object]) -> None:
    """As `until`, for a condition that another thread or process fulfils."""
    limit = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < limit, f"it has not happened within {LIMIT:g} s"
        time.sleep(0.001)


async def settle() -> None:
    """Let other tasks run until they all wait."""
    for _ in range(50):
        await asyncio.sleep(0)
