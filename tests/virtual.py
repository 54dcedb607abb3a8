"""An event loop with virtual time, which jumps ahead when every task sleeps."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class _Impatient(selectors.DefaultSelector):
    """Adds up the time it was asked to wait, instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everyone waits for something that never happens")
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` starts at 0; a sleep of an hour takes no time at all."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)
        self.faults: list[Mapping[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._impatient.passed
