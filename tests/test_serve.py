"""The server around the app: what a signal does to it."""

import asyncio
import signal
import socket

import pytest

from service import server as serving
from service.errors import ServiceError
from service.serve import serve
from service.settings import Settings
from tests.served import served

pytestmark = pytest.mark.anyio


class Lines:
    """A log that is told of events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **_: object) -> None:
        self.events.append(event)


async def test_an_address_that_is_taken_is_told_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings().but(workers=1, port=other.getsockname()[1])
        with pytest.raises(ServiceError, match="cannot listen"):
            await asyncio.to_thread(serve, settings, lambda _: pytest.fail("it was"))


async def test_a_signal_handler_writes_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have come in the middle of a line, and would wait for ever for that line's end."""
    log = Lines()
    monkeypatch.setattr(serving, "log", log)
    async with served() as (server, _):
        server.handle_exit(signal.SIGTERM, None)
        assert not log.events
        await asyncio.sleep(0)
        assert log.events == ["draining"]
