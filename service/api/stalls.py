"""Clients that take nothing of an answer: noticed, and dropped."""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any, cast

import structlog

log = structlog.get_logger(__name__)


class StallWatch:
    """Calls `stalled` when a client has read nothing of its answer for `seconds`."""

    def __init__(
        self, seconds: float, left: Callable[[], int], stalled: Callable[[], None]
    ) -> None:
        """Watch nothing yet.

        Args:
            seconds: how long.
            left: bytes that the client has yet to take.
            stalled: called then.
        """
        self._seconds = seconds
        self._left = left
        self._stalled = stalled
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """There is something to take."""
        later = asyncio.get_running_loop().call_later
        self._timer = later(self._seconds, self._check, self._left())

    def stop(self) -> None:
        """There is not."""
        if self._timer:
            self._timer.cancel()

    def _check(self, before: int) -> None:
        if self._left() < before:
            self.start()
        else:
            self._stalled()


class DropsStalledReaders(asyncio.Protocol):
    """Stands before a protocol whose clients are dropped when they read nothing for `seconds`."""

    seconds: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, from which to expect that it reads."""
        super().connection_made(transport)
        writing = cast("asyncio.Transport", transport)

        def abort() -> None:
            request = self.state().get("request_id")
            log.warning("the client reads no longer", id=request, seconds=self.seconds)
            writing.abort()

        self._reading = StallWatch(self.seconds, lambda: unsent_bytes(writing), abort)

    def pause_writing(self) -> None:
        """The client is behind."""
        super().pause_writing()
        self._reading.start()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._reading.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._reading.stop()
        super().connection_lost(exc)

    def state(self) -> dict[str, Any]:
        """That of the request which is answered, as ASGI has it."""
        raise NotImplementedError


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the client has not received yet, including the kernel's where it tells."""
    held = transport.get_write_buffer_size()
    try:
        number: int = transport.get_extra_info("socket").fileno()
        (sent,) = struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return held
    return held + int(sent)
