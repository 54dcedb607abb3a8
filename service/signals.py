"""What SIGTERM and Ctrl-C do, handled by the event loop.

A handler of Python's own runs wherever the signal interrupts, even in the log, which holds a lock.
"""

import asyncio
import signal
from collections.abc import Callable


def end_on_sigterm() -> None:
    """Have SIGTERM cancel the running task, which ends everything it has started.

    As the first process of a container, this one would otherwise ignore the signal.
    """
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def drain_on_signals(drain_or_end: Callable[[signal.Signals], None]) -> None:
    """Have each of the two signals call `drain_or_end` from now on, in place of what it did."""
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, drain_or_end, sign)
